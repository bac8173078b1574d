//! The plots, by plotters: latency of every operation, its quantiles over time, and the rate, all with the faults behind.
//!
//! Latency is drawn as its logarithm on a linear axis with ticks of our own, for plotters panics on empty and on degenerate
//! logarithmic ranges: every range here is finite and wider than nothing.

use super::ReportError;
use super::axis::round_numbers;
use super::samples::{self, Area, Buckets, Point, QUANTILES};
use super::scene::Scene;
use super::svg::Lanes;
use super::theme::{self, Ink};
use super::words;
use plotters::coord::types::RangedCoordf64;
use plotters::coord::{CoordTranslate, Shift};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use schism_history::Outcome;
use std::fmt::Write as _;

const WIDTH: u32 = 880;
const HEIGHT: u32 = 300;
const HEAD: u32 = 24;
const LABELS_X: u32 = 30;
const LABELS_Y: u32 = 66;
const RIGHT: u32 = 46;
const BAND_LINE: u32 = 15;
const BAND_LINES_MAX: usize = 3;
/// Points of the raw plot; about 75 bytes each.
const POINTS_MAX: usize = 8000;
/// plotters writes 1.24 times smaller letters than it is asked for.
const LETTERS: f64 = 12.0 * 1.24;
/// Width of a letter, estimated on the wide side.
const LETTER: f64 = 7.0;

/// One plot: as plotters drew it, and what is said of it.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) caption: String,
    svg: String,
}

impl Plot {
    /// For inside the page.
    pub(super) fn inline(&self) -> String {
        theme::inline(&self.svg, self.name, self.title, &self.caption)
    }

    /// For a file of its own.
    pub(super) fn standalone(&self) -> String {
        theme::standalone(&self.svg, self.name, self.title, &self.caption)
    }
}

type Root<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

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

fn failed(error: impl std::fmt::Display) -> ReportError {
    ReportError::Plot(error.to_string())
}

fn latency_raw(scene: &Scene<'_>, points: &[Point], open: usize) -> Result<Plot, ReportError> {
    let range = log_range(points.iter().map(|p| p.latency));
    let pixels = (
        f64::from(WIDTH - LABELS_Y - RIGHT),
        f64::from(HEIGHT - HEAD - LABELS_X),
    );
    let area = Area {
        time: (scene.from, scene.to),
        log_latency: range,
        pixels,
    };
    let (thinned, cell) = samples::thin(points.to_vec(), area, POINTS_MAX);
    let svg = paint(scene, range, "", |root, chart| {
        let inks = [
            (theme::OK, "ok"),
            (theme::FAIL, "fail"),
            (theme::INFO, "unknown (info)"),
        ];
        legend(root, &inks, true)?;
        draw_points(chart, &thinned)
    })?;
    let caption = raw_caption(points.len(), thinned.len(), cell, open);
    Ok(Plot {
        name: "latency-raw",
        title: "Latency of every operation",
        caption,
        svg,
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
            "{} points stand for {} operations, by when they were invoked: of those with one outcome that fall within {cell} \
             pixels of one another only the slowest is drawn, so no outlier is missing.",
            words::thousands(drawn as u64),
            words::thousands(all as u64)
        )
    };
    caption.push_str(" Unknown ones last until their client stopped waiting.");
    if open > 0 {
        let open = words::thousands(open as u64);
        let _ = write!(caption, " {open} never completed and cannot be drawn.");
    }
    caption
}

fn latency_quantiles(scene: &Scene<'_>, points: &[Point]) -> Result<Plot, ReportError> {
    let buckets = Buckets::over(scene);
    let quantiles = samples::quantiles(points, buckets);
    let range = log_range(quantiles.iter().flatten().flatten().copied());
    let svg = paint(scene, range, "", |root, chart| {
        let names: Vec<(Ink, &str)> = theme::QUANTILES
            .into_iter()
            .zip(QUANTILES)
            .map(|(ink, (_, name))| (ink, name))
            .collect();
        legend(root, &names, false)?;
        for (i, ink) in theme::QUANTILES.into_iter().enumerate() {
            let value = |b: usize| quantiles[b].map(|q| (buckets.middle(b), q[i].log10()));
            // Where two quantiles are equal the slower one shows as a rim.
            let stroke = if i == 0 { 4 } else { 2 };
            draw_runs(chart, (0..buckets.count).map(value), ink, stroke)?;
        }
        let last = quantiles.iter().flatten().next_back().copied();
        last.map_or(Ok(()), |last| label_ends(root, chart, scene, last))
    })?;
    let caption = format!(
        "Quantiles of the successful operations invoked in each {}; a gap is a stretch without any.",
        words::duration(buckets.width)
    );
    Ok(Plot {
        name: "latency-quantiles",
        title: "Latency quantiles over time",
        caption,
        svg,
    })
}

fn rate(scene: &Scene<'_>, points: &[Point]) -> Result<Plot, ReportError> {
    let buckets = Buckets::over(scene);
    let rates = samples::rates(points, buckets, scene.to);
    let top = rates.iter().flatten().copied().fold(0.0, f64::max);
    let range = (0.0, if top > 0.0 { top * 1.08 } else { 1.0 });
    let svg = paint(scene, range, "ops/s", |root, chart| {
        let inks = [
            (theme::OK, "ok"),
            (theme::FAIL, "fail"),
            (theme::INFO, "unknown (info)"),
        ];
        legend(root, &inks, false)?;
        for (series, (ink, _)) in rates.iter().zip(inks) {
            if series.iter().all(|&r| r <= 0.0) {
                continue;
            }
            let value = |b: usize| Some((buckets.middle(b), series[b]));
            draw_runs(chart, (0..buckets.count).map(value), ink, 2)?;
        }
        Ok(())
    })?;
    let caption = format!(
        "Operations completed a second, by outcome, in each {}.",
        words::duration(buckets.width)
    );
    Ok(Plot {
        name: "rate",
        title: "Rate by outcome",
        caption,
        svg,
    })
}

/// A finite range of log10 around the values, never empty.
fn log_range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .map(f64::log10)
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
    if low > high {
        (0.0, 1.0)
    } else {
        (low - 0.15, high + 0.15)
    }
}

/// Draws ground, faults and axes, then what `draw` adds. An empty `unit` means that the y axis is log10 of ns.
fn paint(
    scene: &Scene<'_>,
    y: (f64, f64),
    unit: &str,
    draw: impl FnOnce(&Root<'_>, &mut Chart<'_, '_>) -> Result<(), ReportError>,
) -> Result<String, ReportError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let lanes = band_labels(scene);
        let rows = lanes.iter().map(|l| l.1 + 1).max().unwrap_or(0) as u32;
        let mut chart = ChartBuilder::on(&root)
            .margin_top(HEAD + BAND_LINE * rows)
            .margin_right(RIGHT)
            .x_label_area_size(LABELS_X)
            .y_label_area_size(LABELS_Y)
            .build_cartesian_2d(scene.from..scene.to, y.0..y.1)
            .map_err(failed)?;
        draw_bands(&root, &mut chart, scene, y, &lanes)?;
        draw_axes(&root, &mut chart, scene, y, unit)?;
        draw(&root, &mut chart)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

fn letters(ink: Ink, h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", LETTERS)
        .into_font()
        .color(&ink.color())
        .pos(Pos::new(h, v))
}

/// Pixel of a time.
fn pixel(scene: &Scene<'_>, time: f64) -> f64 {
    let room = f64::from(WIDTH - LABELS_Y - RIGHT);
    f64::from(LABELS_Y) + (time - scene.from) / (scene.to - scene.from) * room
}

/// For each fault that has room for it: where its name begins, in which row, and the name.
fn band_labels(scene: &Scene<'_>) -> Vec<(f64, usize, String)> {
    let mut lanes = Lanes::default();
    let mut labels = Vec::new();
    for fault in &scene.faults {
        let name = super::escape::shorten(&super::escape::line(&fault.name()), 24);
        let width = name.chars().count() as f64 * LETTER;
        let x = (pixel(scene, fault.inject.0 as f64) + 3.0).min(f64::from(WIDTH) - width - 2.0);
        if let Some(lane) = lanes.place(x, width, BAND_LINES_MAX) {
            labels.push((x, lane, name));
        }
    }
    labels
}

fn draw_bands(
    root: &Root<'_>,
    chart: &mut Chart<'_, '_>,
    scene: &Scene<'_>,
    y: (f64, f64),
    labels: &[(f64, usize, String)],
) -> Result<(), ReportError> {
    for fault in &scene.faults {
        let (from, to) = (fault.inject.0 as f64, scene.finite(fault.end()));
        let (from, to) = (
            from.clamp(scene.from, scene.to),
            to.clamp(scene.from, scene.to),
        );
        let ground = theme::BAND.color().mix(0.16).filled();
        let edge = theme::BAND.color().mix(0.7);
        chart
            .draw_series([Rectangle::new([(from, y.0), (to, y.1)], ground)])
            .map_err(failed)?;
        chart
            .draw_series([PathElement::new(vec![(from, y.0), (from, y.1)], edge)])
            .map_err(failed)?;
    }
    for (x, lane, name) in labels {
        let at = (*x as i32, (HEAD + BAND_LINE * *lane as u32) as i32 + 6);
        root.draw_text(name, &letters(theme::MUTED, HPos::Left, VPos::Center), at)
            .map_err(failed)?;
    }
    Ok(())
}

fn draw_axes(
    root: &Root<'_>,
    chart: &mut Chart<'_, '_>,
    scene: &Scene<'_>,
    y: (f64, f64),
    unit: &str,
) -> Result<(), ReportError> {
    let line = |points: Vec<(f64, f64)>, ink: Ink| PathElement::new(points, ink.color());
    let place = |at: (f64, f64)| chart.as_coord_spec().translate(&at);
    let mut texts: Vec<(String, (i32, i32), TextStyle<'_>)> = Vec::new();
    let mut lines = Vec::new();
    let rows = if unit.is_empty() {
        log_ticks(y)
    } else {
        round_numbers(y.0, y.1, 6.0)
    };
    for (value, label) in rows {
        let (px, py) = place((scene.from, value));
        texts.push((
            label,
            (px - 8, py),
            letters(theme::MUTED, HPos::Right, VPos::Center),
        ));
        lines.push(line(
            vec![(scene.from, value), (scene.to, value)],
            theme::GRID,
        ));
    }
    let (name, ns) = scene.unit();
    for (value, label) in round_numbers(scene.from / ns, scene.to / ns, 11.0) {
        let (px, py) = place((value * ns, y.0));
        texts.push((
            label,
            (px, py + 14),
            letters(theme::MUTED, HPos::Center, VPos::Center),
        ));
    }
    lines.push(line(vec![(scene.from, y.0), (scene.to, y.0)], theme::MUTED));
    chart.draw_series(lines).map_err(failed)?;
    texts.push((
        format!("time, {name}"),
        ((WIDTH - RIGHT) as i32, HEIGHT as i32 - 6),
        letters(theme::MUTED, HPos::Right, VPos::Center),
    ));
    if !unit.is_empty() {
        texts.push((
            unit.to_owned(),
            (8, 12),
            letters(theme::MUTED, HPos::Left, VPos::Center),
        ));
    }
    for (text, at, style) in texts {
        root.draw_text(&text, &style, at).map_err(failed)?;
    }
    Ok(())
}

/// Decades, and twos and fives between them where there are few.
fn log_ticks((from, to): (f64, f64)) -> Vec<(f64, String)> {
    let steps: &[f64] = match to - from {
        span if span > 4.0 => &[1.0],
        span if span > 2.5 => &[1.0, 3.0],
        _ => &[1.0, 2.0, 5.0],
    };
    let mut ticks = Vec::new();
    for decade in from.floor() as i32..=to.ceil() as i32 {
        for step in steps {
            let ns = step * 10f64.powi(decade);
            if (from..=to).contains(&ns.log10()) {
                ticks.push((ns.log10(), tick_label(ns)));
            }
        }
    }
    ticks
}

fn tick_label(ns: f64) -> String {
    match ns * 1.000_001 {
        t if t < 1e3 => format!("{ns:.0} ns"),
        t if t < 1e6 => format!("{:.0} µs", ns / 1e3),
        t if t < 1e9 => format!("{:.0} ms", ns / 1e6),
        _ => format!("{:.0} s", ns / 1e9),
    }
}

/// Names and signs in the top row; shapes for points, strokes for lines.
fn legend(root: &Root<'_>, entries: &[(Ink, &str)], shapes: bool) -> Result<(), ReportError> {
    let mut x = LABELS_Y as i32;
    for (i, (ink, name)) in entries.iter().enumerate() {
        let style = ink.color().filled();
        let result = match (shapes, i) {
            (false, _) => root.draw(&PathElement::new(
                vec![(x, 12), (x + 16, 12)],
                ink.color().stroke_width(3),
            )),
            (true, 0) => root.draw(&Circle::new((x + 8, 12), 3, style)),
            (true, 1) => root.draw(&Cross::new((x + 8, 12), 4, ink.color().stroke_width(2))),
            (true, _) => root.draw(&TriangleMarker::new((x + 8, 12), 5, style)),
        };
        result.map_err(failed)?;
        let text = letters(theme::TEXT, HPos::Left, VPos::Center);
        root.draw_text(name, &text, (x + 22, 12)).map_err(failed)?;
        x += 22 + (name.len() as f64 * LETTER) as i32 + 24;
    }
    Ok(())
}

fn draw_points(chart: &mut Chart<'_, '_>, points: &[Point]) -> Result<(), ReportError> {
    let of = |outcome: Outcome| {
        points
            .iter()
            .filter(move |p| p.outcome == outcome)
            .map(|p| (p.at, p.latency.log10()))
    };
    let ok = theme::OK.color().filled();
    chart
        .draw_series(of(Outcome::Ok).map(|at| Circle::new(at, 1, ok)))
        .map_err(failed)?;
    let fail = theme::FAIL.color().stroke_width(1);
    chart
        .draw_series(of(Outcome::Fail).map(|at| Cross::new(at, 3, fail)))
        .map_err(failed)?;
    let info = theme::INFO.color().filled();
    chart
        .draw_series(of(Outcome::Info).map(|at| TriangleMarker::new(at, 4, info)))
        .map_err(failed)?;
    Ok(())
}

/// Names of the quantiles at the right edge, at the height of their last values, kept apart.
fn label_ends(
    root: &Root<'_>,
    chart: &Chart<'_, '_>,
    scene: &Scene<'_>,
    last: [f64; 4],
) -> Result<(), ReportError> {
    const APART: i32 = 13;
    let mut below = i32::MIN;
    let room = QUANTILES.len() as i32;
    for (i, (value, (_, name))) in last.into_iter().zip(QUANTILES).enumerate() {
        let (x, y) = chart.as_coord_spec().translate(&(scene.to, value.log10()));
        // The slowest is the highest; those still to come need room above the axis.
        let lowest = (HEIGHT - LABELS_X) as i32 - APART * (room - 1 - i as i32);
        let y = y.min(lowest).max(below);
        below = y + APART;
        let style = letters(theme::QUANTILES[i], HPos::Left, VPos::Center);
        root.draw_text(name, &style, (x + 6, y)).map_err(failed)?;
    }
    Ok(())
}

/// A line that is broken where there is no value; a single value between two gaps is a dot.
fn draw_runs(
    chart: &mut Chart<'_, '_>,
    values: impl Iterator<Item = Option<(f64, f64)>>,
    ink: Ink,
    stroke: u32,
) -> Result<(), ReportError> {
    let mut runs: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for value in values {
        match (value, runs.last_mut()) {
            (Some(point), Some(run)) => run.push(point),
            _ => runs.push(Vec::new()),
        }
    }
    for run in runs {
        match run.as_slice() {
            [] => {}
            [alone] => {
                let dot = Circle::new(*alone, 2, ink.color().filled());
                chart.draw_series([dot]).map_err(failed)?;
            }
            _ => {
                let line = LineSeries::new(run, ink.color().stroke_width(stroke));
                chart.draw_series(line).map_err(failed)?;
            }
        }
    }
    Ok(())
}
