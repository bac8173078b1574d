//! A time axis: linear, or cut where nothing happens for long, with ticks at round numbers.
//!
//! An acknowledged write and the final read that misses it lie seconds apart and last milliseconds. Drawn to scale both are hair
//! lines; so the axis is cut between them, visibly, and each part keeps its own scale and ticks.

/// Pixels that a cut takes, and the share of the axis that it takes at most.
const CUT_WIDTH: f64 = 46.0;
const CUT_WIDTH_SHARE: f64 = 0.075;
/// At most this many cuts.
const CUTS_MAX: usize = 3;
/// A stretch without operations is cut out when it is more than this share of what is shown.
const CUT_SHARE: f64 = 0.6;
/// No part is narrower than this share of the axis.
const PART_SHARE_MIN: f64 = 0.2;

/// A map from time in ns to pixels.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    parts: Vec<Part>,
    /// How many ns a unit of the labels has.
    unit_ns: f64,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    from: f64,
    to: f64,
    x0: f64,
    x1: f64,
}

/// A mark on the axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub(super) x: f64,
    pub(super) label: String,
}

impl Axis {
    /// To scale, from one time to another.
    pub(super) fn linear((from, to): (f64, f64), (x0, x1): (f64, f64), unit_ns: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self {
            parts: vec![Part { from, to, x0, x1 }],
            unit_ns,
        }
    }

    /// Over intervals in ns, cut where there are long stretches between them.
    pub(super) fn around(intervals: &[(f64, f64)], (x0, x1): (f64, f64), unit_ns: f64) -> Self {
        let mut clusters = merged(intervals);
        let mut cuts = gaps(&clusters);
        cuts.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut left = clusters.last().map_or(0.0, |c| c.1) - clusters.first().map_or(0.0, |c| c.0);
        let mut after = Vec::new();
        for (at, gap) in cuts.into_iter().take(CUTS_MAX) {
            if gap <= left * CUT_SHARE {
                break;
            }
            left -= gap;
            after.push(at);
        }
        after.sort_unstable();
        let spans = split(&mut clusters, &after);
        Self {
            parts: lay_out(&spans, x0, x1),
            unit_ns,
        }
    }

    /// Where a time is. A cut is as a very narrow part: what lies inside it keeps its order. Outside the axis: at its edge.
    pub(super) fn x(&self, time: f64) -> f64 {
        let mut edges = self
            .parts
            .iter()
            .flat_map(|p| [(p.from, p.x0), (p.to, p.x1)]);
        let mut before = edges.next().unwrap_or_default();
        if time <= before.0 {
            return before.1;
        }
        for edge in edges {
            if time < edge.0 {
                let share = (time - before.0) / (edge.0 - before.0);
                return before.1 + share * (edge.1 - before.1);
            }
            before = edge;
        }
        before.1
    }

    /// The parts' edges in pixels.
    pub(super) fn parts(&self) -> impl Iterator<Item = (f64, f64)> {
        self.parts.iter().map(|p| (p.x0, p.x1))
    }

    /// First and last time shown.
    pub(super) fn shown(&self) -> (f64, f64) {
        (
            self.parts.first().map_or(0.0, |p| p.from),
            self.parts.last().map_or(1.0, |p| p.to),
        )
    }

    /// The middle of each cut, in pixels.
    pub(super) fn cuts(&self) -> Vec<f64> {
        self.parts
            .windows(2)
            .map(|w| f64::midpoint(w[0].x1, w[1].x0))
            .collect()
    }

    /// Round numbers whose labels, `width` of a text being known, do not touch one another.
    pub(super) fn ticks(&self, width: impl Fn(&str) -> f64) -> Vec<Tick> {
        let mut ticks: Vec<Tick> = Vec::new();
        let mut free_from = f64::NEG_INFINITY;
        for part in &self.parts {
            let most = ((part.x1 - part.x0) / 85.0).clamp(2.0, 12.0);
            let (from, to) = (part.from / self.unit_ns, part.to / self.unit_ns);
            for (value, label) in round_numbers(from, to, most) {
                let share = (value - from) / (to - from);
                let x = part.x0 + share * (part.x1 - part.x0);
                let half = width(&label) / 2.0;
                if x - half >= free_from {
                    free_from = x + half + 8.0;
                    ticks.push(Tick { x, label });
                }
            }
        }
        ticks
    }
}

/// Intervals that touch become one; sorted.
fn merged(intervals: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut sorted = intervals.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut clusters: Vec<(f64, f64)> = Vec::new();
    for (from, to) in sorted {
        match clusters.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => clusters.push((from, to.max(from))),
        }
    }
    clusters
}

/// After which cluster there is a gap, and how long it is.
fn gaps(clusters: &[(f64, f64)]) -> Vec<(usize, f64)> {
    clusters
        .windows(2)
        .map(|w| w[1].0 - w[0].1)
        .enumerate()
        .collect()
}

fn split(clusters: &mut [(f64, f64)], after: &[usize]) -> Vec<(f64, f64)> {
    let mut spans = Vec::new();
    let mut begin = 0;
    for &end in after
        .iter()
        .chain(std::iter::once(&clusters.len().saturating_sub(1)))
    {
        if let (Some(first), Some(last)) = (clusters.get(begin), clusters.get(end)) {
            spans.push((first.0, last.1));
        }
        begin = end + 1;
    }
    if spans.is_empty() {
        vec![(0.0, 1.0)]
    } else {
        spans
    }
}

/// Gives every span a margin and its share of the pixels.
fn lay_out(spans: &[(f64, f64)], x0: f64, x1: f64) -> Vec<Part> {
    let padded: Vec<(f64, f64)> = spans
        .iter()
        .map(|&(from, to)| {
            let pad = ((to - from) * 0.08).max(0.5);
            ((from - pad).max(0.0), to + pad)
        })
        .collect();
    let total: f64 = padded.iter().map(|(from, to)| to - from).sum();
    let shares: Vec<f64> = padded
        .iter()
        .map(|(from, to)| ((to - from) / total).max(PART_SHARE_MIN))
        .collect();
    let all: f64 = shares.iter().sum();
    let cut = CUT_WIDTH.min((x1 - x0) * CUT_WIDTH_SHARE);
    let room = x1 - x0 - cut * (spans.len() - 1) as f64;
    let mut x = x0;
    let mut parts = Vec::with_capacity(spans.len());
    for (&(from, to), share) in padded.iter().zip(shares) {
        let width = room * share / all;
        parts.push(Part {
            from,
            to,
            x0: x,
            x1: x + width,
        });
        x += width + cut;
    }
    parts
}

/// Multiples of 1, 2 or 5 times a power of ten inside the interval, at most about `most`, with labels just long enough.
pub(super) fn round_numbers(from: f64, to: f64, most: f64) -> Vec<(f64, String)> {
    let span = to - from;
    if !span.is_finite() || span <= 0.0 {
        return Vec::new();
    }
    let raw = span / most.max(1.0);
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|&s| s >= raw * 0.999)
        .unwrap_or(power * 10.0);
    let decimals = (-(step * 1.001).log10().floor()).clamp(0.0, 9.0) as usize;
    let first = (from / step - 1e-9).ceil();
    let count = ((to / step + 1e-9).floor() - first).clamp(-1.0, 1000.0) + 1.0;
    (0..count as usize)
        .map(|i| (first + i as f64) * step)
        .map(|value| {
            (
                value,
                format!("{:.decimals$}", if value == 0.0 { 0.0 } else { value }),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_numbers_are_round() {
        let labels = |from, to, most| -> Vec<String> {
            round_numbers(from, to, most)
                .into_iter()
                .map(|(_, label)| label)
                .collect()
        };
        assert_eq!(labels(0.0, 20.0, 5.0), ["0", "5", "10", "15", "20"]);
        assert_eq!(labels(6.121, 6.126, 3.0), ["6.122", "6.124", "6.126"]);
        assert!(labels(1.0, 1.0, 5.0).is_empty());
        assert!(labels(0.0, f64::INFINITY, 5.0).is_empty());
    }

    #[test]
    fn a_long_stretch_of_nothing_is_cut_out() {
        let axis = Axis::around(&[(6e9, 6.002e9), (20e9, 20.004e9)], (100.0, 800.0), 1e9);
        assert_eq!(axis.cuts().len(), 1);
        assert!(axis.x(6.002e9) - axis.x(6e9) > 100.0);
        assert!(axis.x(20e9) < axis.x(20.004e9) && axis.x(20.004e9) <= 800.0);
        assert!(axis.x(12e9) < axis.x(20e9));
        assert!(
            Axis::around(&[(1e9, 2e9), (3e9, 4e9)], (0.0, 100.0), 1e9)
                .cuts()
                .is_empty()
        );
    }

    #[test]
    fn nothing_at_all_is_still_an_axis() {
        for axis in [
            Axis::around(&[], (0.0, 100.0), 1.0),
            Axis::around(&[(5.0, 5.0)], (0.0, 100.0), 1.0),
            Axis::linear((3.0, 3.0), (0.0, 100.0), 1.0),
        ] {
            assert!((0.0..=100.0).contains(&axis.x(5.0)));
            axis.ticks(|_| 10.0);
        }
    }
}
