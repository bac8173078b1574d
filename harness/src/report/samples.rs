//! The numbers behind the plots: latencies thinned without losing outliers, quantiles over time, rates.
//!
//! Quantiles are exact: each bucket's latencies are sorted, not sketched.

use super::scene::Scene;
use schism_history::Outcome;

/// One operation in the raw plot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Invocation, ns.
    pub(super) at: f64,
    /// Until its client knew, or gave up, ns; at least 1.
    pub(super) latency: f64,
    pub(super) outcome: Outcome,
}

/// Every completed operation, and how many never were.
pub(super) fn points(scene: &Scene<'_>) -> (Vec<Point>, usize) {
    let mut open = 0;
    let mut points = Vec::with_capacity(scene.ops.len());
    for op in &scene.ops {
        let Some(completion) = op.completion else {
            open += 1;
            continue;
        };
        points.push(Point {
            at: op.start().0 as f64,
            latency: (completion.time.since(op.start()) as f64).max(1.0),
            outcome: op.outcome(),
        });
    }
    (points, open)
}

/// The area that points are drawn into: ns and log10 ns to pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) time: (f64, f64),
    pub(super) log_latency: (f64, f64),
    pub(super) pixels: (f64, f64),
}

/// Thins points to at most `most`: of those of one outcome that would be drawn within the same few pixels the slowest stays.
/// Says how many pixels that is; 0 when nothing was thinned.
pub(super) fn thin(mut points: Vec<Point>, area: Area, most: usize) -> (Vec<Point>, u32) {
    let mut pixels = 0;
    while points.len() > most && pixels < 64 {
        pixels += 1;
        points = slowest_by_cell(points, area, f64::from(pixels));
    }
    (points, pixels)
}

fn slowest_by_cell(points: Vec<Point>, area: Area, size: f64) -> Vec<Point> {
    let cell = |v: f64, (from, to): (f64, f64), pixels: f64| {
        ((v - from) / (to - from) * pixels / size) as i64
    };
    let mut keyed: Vec<((u8, i64, i64), Point)> = points
        .into_iter()
        .map(|p| {
            let x = cell(p.at, area.time, area.pixels.0);
            let y = cell(p.latency.log10(), area.log_latency, area.pixels.1);
            ((p.outcome as u8, x, y), p)
        })
        .collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.latency.total_cmp(&a.1.latency)));
    keyed.dedup_by_key(|(cell, _)| *cell);
    keyed.into_iter().map(|(_, point)| point).collect()
}

/// The quantiles that are drawn, and their names, slowest first.
pub(super) const QUANTILES: [(f64, &str); 4] =
    [(1.0, "max"), (0.99, "p99"), (0.95, "p95"), (0.5, "p50")];

/// The value that a share of the sorted values does not exceed (nearest rank); `None` when there are none.
pub(super) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).checked_sub(1)?).copied()
}

/// Equal stretches of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets {
    pub(super) from: f64,
    /// ns.
    pub(super) width: f64,
    pub(super) count: usize,
}

impl Buckets {
    /// A round width that makes about 30 to 75 of them.
    pub(super) fn over(scene: &Scene<'_>) -> Self {
        let span = scene.to - scene.from;
        let raw = (span / 60.0).max(1.0);
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0]
            .into_iter()
            .map(|m| m * power)
            .find(|&w| w >= raw);
        let width = step.unwrap_or(power * 10.0);
        Self {
            from: scene.from,
            width,
            count: (span / width).ceil().clamp(1.0, 200.0) as usize,
        }
    }

    fn of(&self, time: f64) -> usize {
        (((time - self.from) / self.width).max(0.0) as usize).min(self.count - 1)
    }

    /// The middle of a bucket, ns.
    pub(super) fn middle(&self, bucket: usize) -> f64 {
        self.from + (bucket as f64 + 0.5) * self.width
    }
}

/// For each bucket the quantiles of the latencies of successes invoked in it, in the order of [`QUANTILES`].
pub(super) fn quantiles(points: &[Point], buckets: Buckets) -> Vec<Option<[f64; 4]>> {
    let mut latencies: Vec<Vec<f64>> = vec![Vec::new(); buckets.count];
    for point in points.iter().filter(|p| p.outcome == Outcome::Ok) {
        latencies[buckets.of(point.at)].push(point.latency);
    }
    let all = |mut bucket: Vec<f64>| {
        bucket.sort_unstable_by(f64::total_cmp);
        let mut values = [0.0; 4];
        for (value, (q, _)) in values.iter_mut().zip(QUANTILES) {
            *value = quantile(&bucket, q)?;
        }
        Some(values)
    };
    latencies.into_iter().map(all).collect()
}

/// For each outcome (ok, fail, info) operations a second by when they completed; the last bucket may be shorter.
pub(super) fn rates(points: &[Point], buckets: Buckets, end: f64) -> [Vec<f64>; 3] {
    let mut counts = [
        vec![0.0; buckets.count],
        vec![0.0; buckets.count],
        vec![0.0; buckets.count],
    ];
    for point in points {
        counts[point.outcome as usize][buckets.of(point.at + point.latency)] += 1.0;
    }
    for series in &mut counts {
        for (i, count) in series.iter_mut().enumerate() {
            let begin = buckets.from + i as f64 * buckets.width;
            let seconds = (end - begin).clamp(buckets.width * 0.25, buckets.width) / 1e9;
            *count /= seconds;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: f64, latency: f64) -> Point {
        Point {
            at,
            latency,
            outcome: Outcome::Ok,
        }
    }

    #[test]
    fn thinning_keeps_the_slowest() {
        let mut points: Vec<Point> = (0..50_000)
            .map(|i| point(f64::from(i), 1e6 + f64::from(i % 7)))
            .collect();
        points.push(point(25_000.0, 9e9));
        let area = Area {
            time: (0.0, 50_000.0),
            log_latency: (5.0, 10.0),
            pixels: (800.0, 250.0),
        };
        let (thinned, pixels) = thin(points.clone(), area, 1000);
        assert!(thinned.len() <= 1000 && pixels > 0);
        assert!(thinned.contains(&point(25_000.0, 9e9)));
        let (all, pixels) = thin(points.clone(), area, 60_000);
        assert_eq!((all.len(), pixels), (points.len(), 0));
    }

    #[test]
    fn quantiles_by_nearest_rank() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.5), Some(50.0));
        assert_eq!(quantile(&sorted, 0.99), Some(99.0));
        assert_eq!(quantile(&sorted, 1.0), Some(100.0));
        assert_eq!(quantile(&[7.0], 0.5), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
