//! The plots: latency of every operation, its quantiles over time, and the rate, all with the faults behind.
//!
//! plotters draws them. The points alone are written here, one path an outcome: as elements of their own they would be most of the
//! report.

use super::ReportError;
use super::chart::{self, Canvas, Chart, Unit};
use super::layout::Frame;
use super::samples::{self, Buckets, Point, QUANTILES};
use super::scene::Scene;
use super::theme::{self, Ink};
use super::words;
use plotters::coord::CoordTranslate;
use schism_history::Outcome;
use std::fmt::Write as _;

/// One plot: as plotters drew it, and what is said of it.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) caption: String,
    wide: String,
    narrow: String,
}

impl Plot {
    fn draw(
        (name, title): (&'static str, &'static str),
        caption: String,
        draw: impl Fn(Frame) -> Result<String, ReportError>,
    ) -> Result<Self, ReportError> {
        Ok(Self {
            name,
            title,
            caption,
            wide: draw(Frame::Wide)?,
            narrow: draw(Frame::Narrow)?,
        })
    }

    /// For inside the page: for a screen and for a phone.
    pub(super) fn inline(&self) -> String {
        let inline = |svg: &str, frame: Frame, id: &str| {
            theme::inline(svg, frame.class(), id, (self.title, &self.caption))
        };
        inline(&self.wide, Frame::Wide, self.name)
            + &inline(&self.narrow, Frame::Narrow, &format!("{}-n", self.name))
    }

    /// For a file of its own.
    pub(super) fn standalone(&self) -> String {
        theme::standalone(&self.wide, self.name, (self.title, &self.caption))
    }
}

/// All plots; none for a history without a completed operation.
pub(super) fn all(scene: &Scene<'_>) -> Result<Vec<Plot>, ReportError> {
    let (points, open) = samples::points(scene);
    if points.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![
        latency_raw(scene, &points, open)?,
        latency_quantiles(scene, &points)?,
        rate(scene, &points)?,
    ])
}

const OUTCOMES: [(Ink, &str); 3] = [
    (theme::OK, "ok"),
    (theme::FAIL, "fail"),
    (theme::INFO, "unknown (info)"),
];

/// Points of the raw plot; each takes 10 to 25 bytes.
const fn points_max(frame: Frame) -> usize {
    match frame {
        Frame::Wide => 12_000,
        Frame::Narrow => 4000,
    }
}

fn latency_raw(scene: &Scene<'_>, points: &[Point], open: usize) -> Result<Plot, ReportError> {
    let range = chart::log_range(points.iter().map(|p| p.latency));
    let thinned = |frame| {
        let area = Canvas::new(scene, frame).area(range);
        samples::thin(points.to_vec(), area, points_max(frame))
    };
    let (drawn, cell) = thinned(Frame::Wide);
    let caption = raw_caption(points.len(), drawn.len(), cell, open);
    let name = ("latency-raw", "Latency of every operation");
    Plot::draw(name, caption, |frame| {
        let canvas = Canvas::new(scene, frame);
        let mut marks = String::new();
        let svg = canvas.paint(range, Unit::Latency, |root, chart| {
            marks = paths(chart, &thinned(frame).0);
            canvas.legend(root, &OUTCOMES, true)
        })?;
        Ok(svg.replace("</svg>", &format!("{marks}</svg>")))
    })
}

fn raw_caption(all: usize, drawn: usize, cell: u32, open: usize) -> String {
    let mut caption = if cell == 0 {
        format!(
            "Each of {}, by when it was invoked.",
            words::plural(all as u64, "operation")
        )
    } else {
        format!(
            "{} points stand for {} operations, by when they were invoked: of those with one outcome that fall within {} \
             of one another only the slowest is drawn, so no outlier is missing.",
            words::thousands(drawn as u64),
            words::thousands(all as u64),
            words::plural(u64::from(cell), "pixel"),
        )
    };
    caption.push_str(" Unknown ones last until their client stopped waiting.");
    if open > 0 {
        let open = words::thousands(open as u64);
        let _ = write!(caption, " {open} never completed and cannot be drawn.");
    }
    caption
}

/// Up to so many points the dots are thick.
const FEW: usize = 300;

/// A path an outcome: dots, crosses above and triangles above those, for the rarer ones must be seen.
fn paths(chart: &Chart<'_, '_>, points: &[Point]) -> String {
    let mut out = String::new();
    for (outcome, ink, look) in [
        (Outcome::Fail, theme::FAIL, r#"fill="none""#),
        (
            Outcome::Ok,
            theme::OK,
            if points.len() > FEW {
                r#"fill="none" stroke-width="2.4" stroke-linecap="round""#
            } else {
                r#"fill="none" stroke-width="5" stroke-linecap="round""#
            },
        ),
        (Outcome::Info, theme::INFO, r#"stroke-width="1""#),
    ] {
        let mut d = String::new();
        for point in points.iter().filter(|p| p.outcome == outcome) {
            let at = (point.at, point.latency.log10());
            let (x, y) = chart.as_coord_spec().translate(&at);
            let _ = match outcome {
                Outcome::Ok => write!(d, "M{x} {y}h0"),
                Outcome::Fail => write!(d, "M{} {}l4 4m0-4l-4 4", x - 2, y - 2),
                Outcome::Info => write!(d, "M{x} {}l4 7h-8z", y - 4),
            };
        }
        if !d.is_empty() {
            let hex = ink.hex();
            let fill = if outcome == Outcome::Info {
                format!(r#" fill="{hex}""#)
            } else {
                String::new()
            };
            let _ = write!(out, r#"<path d="{d}" stroke="{hex}"{fill} {look}/>"#);
        }
    }
    out
}

fn latency_quantiles(scene: &Scene<'_>, points: &[Point]) -> Result<Plot, ReportError> {
    let buckets = Buckets::over(scene);
    let quantiles = samples::quantiles(points, buckets);
    let range = chart::log_range(quantiles.iter().flatten().flatten().copied());
    let inks: Vec<(Ink, &str)> = theme::QUANTILES
        .into_iter()
        .zip(QUANTILES)
        .map(|(ink, (_, name))| (ink, name))
        .collect();
    let caption = format!(
        "Quantiles of the successful operations invoked in each {}; a gap is a stretch without any.",
        words::duration(buckets.width)
    );
    let name = ("latency-quantiles", "Latency quantiles over time");
    Plot::draw(name, caption, |frame| {
        let canvas = Canvas::new(scene, frame);
        canvas.paint(range, Unit::Latency, |root, chart| {
            canvas.legend(root, &inks, false)?;
            for (i, (ink, _)) in inks.iter().enumerate() {
                let value = |b: usize| quantiles[b].map(|q| (buckets.middle(b), q[i].log10()));
                // Where two quantiles are equal the slower one shows as a rim.
                let stroke = if i == 0 { 4 } else { 2 };
                chart::draw_runs(chart, (0..buckets.count).map(value), *ink, stroke)?;
            }
            let last = quantiles.iter().flatten().next_back();
            let ends: Vec<(f64, Ink, &str)> = last
                .into_iter()
                .flat_map(|values| values.iter().zip(&inks))
                .map(|(value, (ink, name))| (value.log10(), *ink, *name))
                .collect();
            canvas.label_ends(root, chart, &ends)
        })
    })
}

fn rate(scene: &Scene<'_>, points: &[Point]) -> Result<Plot, ReportError> {
    let buckets = Buckets::over(scene);
    let rates = samples::rates(points, buckets, scene.to);
    let top = rates.iter().flatten().copied().fold(0.0, f64::max);
    let range = (0.0, if top > 0.0 { top * 1.08 } else { 1.0 });
    let caption = format!(
        "Operations completed a second, by outcome, in each {}.",
        words::duration(buckets.width)
    );
    Plot::draw(("rate", "Rate by outcome"), caption, |frame| {
        let canvas = Canvas::new(scene, frame);
        canvas.paint(range, Unit::Rate, |root, chart| {
            canvas.legend(root, &OUTCOMES, false)?;
            for (series, (ink, _)) in rates.iter().zip(OUTCOMES) {
                if series.iter().any(|&r| r > 0.0) {
                    let value = |b: usize| Some((buckets.middle(b), series[b]));
                    chart::draw_runs(chart, (0..buckets.count).map(value), ink, 2)?;
                }
            }
            Ok(())
        })
    })
}
