//! The ground of the plots, by plotters: faults, axes with ticks of our own, and the legend.
//!
//! Latency is drawn as its logarithm on a linear axis, for plotters panics on empty and on degenerate logarithmic ranges: every range
//! here is finite and wider than nothing.

use super::ReportError;
use super::axis::round_numbers;
use super::layout::Frame;
use super::samples::Area;
use super::scene::Scene;
use super::svg::Lanes;
use super::theme::{self, Ink};
use plotters::coord::types::RangedCoordf64;
use plotters::coord::{CoordTranslate, Shift};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const HEAD: u32 = 24;
const LABELS_X: u32 = 26;
const BAND_LINE: u32 = 15;
const BAND_LINES_MAX: usize = 3;
/// Bands that are drawn.
const BANDS_MAX: usize = 300;
/// plotters writes 1.24 times smaller letters than it is asked for.
const LETTERS: f64 = 12.0 * 1.24;
/// Width of a letter, estimated on the wide side.
const LETTER: f64 = 7.0;

/// What plotters draws on.
pub(super) type Root<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Time and value to pixels.
pub(super) type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// What the y axis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// log10 of ns.
    Latency,
    /// Operations a second.
    Rate,
}

/// A plot's measures, for a page or for a phone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas<'s, 'h> {
    pub(super) scene: &'s Scene<'h>,
    width: u32,
    height: u32,
    /// Room for the labels of the y axis.
    left: u32,
    right: u32,
    ticks: f64,
}

pub(super) fn failed(error: impl std::fmt::Display) -> ReportError {
    ReportError::Plot(error.to_string())
}

impl<'s, 'h> Canvas<'s, 'h> {
    pub(super) fn new(scene: &'s Scene<'h>, frame: Frame) -> Self {
        let (width, height, left, right, ticks) = match frame {
            Frame::Wide => (880, 300, 66, 46, 11.0),
            Frame::Narrow => (400, 260, 60, 34, 5.0),
        };
        Self {
            scene,
            width,
            height,
            left,
            right,
            ticks,
        }
    }

    /// Where points lie, for thinning them.
    pub(super) fn area(&self, log_latency: (f64, f64)) -> Area {
        Area {
            time: (self.scene.from, self.scene.to),
            log_latency,
            pixels: (
                f64::from(self.width - self.left - self.right),
                f64::from(self.height - HEAD - LABELS_X),
            ),
        }
    }

    /// Draws faults and axes, then what `draw` adds.
    pub(super) fn paint(
        &self,
        y: (f64, f64),
        unit: Unit,
        draw: impl FnOnce(&Root<'_>, &mut Chart<'_, '_>) -> Result<(), ReportError>,
    ) -> Result<String, ReportError> {
        let mut svg = String::new();
        {
            let root =
                SVGBackend::with_string(&mut svg, (self.width, self.height)).into_drawing_area();
            let labels = self.band_labels();
            let rows = labels.iter().map(|l| l.1 + 1).max().unwrap_or(0) as u32;
            let mut chart = ChartBuilder::on(&root)
                .margin_top(HEAD + BAND_LINE * rows)
                .margin_right(self.right)
                .x_label_area_size(LABELS_X)
                .y_label_area_size(self.left)
                .build_cartesian_2d(self.scene.from..self.scene.to, y.0..y.1)
                .map_err(failed)?;
            self.draw_bands(&root, &mut chart, y, &labels)?;
            self.draw_axes(&root, &mut chart, y, unit)?;
            draw(&root, &mut chart)?;
            root.present().map_err(failed)?;
        }
        Ok(svg)
    }

    /// Pixel of a time.
    fn pixel(&self, time: f64) -> f64 {
        let room = f64::from(self.width - self.left - self.right);
        f64::from(self.left) + (time - self.scene.from) / (self.scene.to - self.scene.from) * room
    }

    /// For each fault that has room for it: where its name begins, in which row, and the name.
    fn band_labels(&self) -> Vec<(f64, usize, String)> {
        let mut lanes = Lanes::default();
        let mut labels = Vec::new();
        for fault in self.scene.faults.iter().take(BANDS_MAX) {
            let name = super::escape::shorten(&super::escape::line(&fault.name()), 24);
            let width = name.chars().count() as f64 * LETTER;
            let begin = self.pixel(fault.inject.0 as f64) + 3.0;
            let x = begin.min(f64::from(self.width) - width - 2.0);
            if let Some(lane) = lanes.place(x, width, BAND_LINES_MAX) {
                labels.push((x, lane, name));
            }
        }
        labels
    }

    fn draw_bands(
        &self,
        root: &Root<'_>,
        chart: &mut Chart<'_, '_>,
        y: (f64, f64),
        labels: &[(f64, usize, String)],
    ) -> Result<(), ReportError> {
        let (first, last) = (self.scene.from, self.scene.to);
        for fault in self.scene.faults.iter().take(BANDS_MAX) {
            let from = (fault.inject.0 as f64).clamp(first, last);
            let to = self.scene.finite(fault.end()).clamp(first, last);
            let ground = theme::BAND.color().mix(0.16).filled();
            let edge = theme::BAND.color().mix(0.7);
            chart
                .draw_series([Rectangle::new([(from, y.0), (to, y.1)], ground)])
                .map_err(failed)?;
            chart
                .draw_series([PathElement::new(vec![(from, y.0), (from, y.1)], edge)])
                .map_err(failed)?;
        }
        let style = letters(theme::MUTED, HPos::Left);
        for (x, lane, name) in labels {
            let at = (*x as i32, (HEAD + BAND_LINE * *lane as u32) as i32 + 6);
            root.draw_text(name, &style, at).map_err(failed)?;
        }
        Ok(())
    }

    fn draw_axes(
        &self,
        root: &Root<'_>,
        chart: &mut Chart<'_, '_>,
        y: (f64, f64),
        unit: Unit,
    ) -> Result<(), ReportError> {
        let (first, last) = (self.scene.from, self.scene.to);
        let rows = match unit {
            Unit::Latency => log_ticks(y),
            Unit::Rate => round_numbers(y.0, y.1, 6.0),
        };
        let line = |at: f64, ink: Ink| PathElement::new(vec![(first, at), (last, at)], ink.color());
        let mut lines: Vec<_> = rows.iter().map(|(at, _)| line(*at, theme::GRID)).collect();
        lines.push(line(y.0, theme::MUTED));
        chart.draw_series(lines).map_err(failed)?;

        let pixel = |at: (f64, f64)| chart.as_coord_spec().translate(&at);
        let write = |text: &str, at: (i32, i32), h: HPos| {
            root.draw_text(text, &letters(theme::MUTED, h), at)
                .map_err(failed)
        };
        for (value, label) in rows {
            let (x, y) = pixel((first, value));
            write(&label, (x - 8, y), HPos::Right)?;
        }
        let (name, ns) = self.scene.unit();
        let below = pixel((first, y.0)).1 + 14;
        for (value, label) in round_numbers(first / ns, last / ns, self.ticks) {
            let (x, _) = pixel((value * ns, y.0));
            write(&label, (x, below), HPos::Center)?;
        }
        let before = self.left as i32 - 14;
        // On a phone there is no room for more than the unit.
        let axis = if self.ticks > 8.0 { "time, " } else { "" };
        write(&format!("{axis}{name}"), (before, below), HPos::Right)?;
        if unit == Unit::Rate {
            write("ops/s", (before, 12), HPos::Right)?;
        }
        Ok(())
    }

    /// Names and signs in the top row; shapes for points, strokes for lines.
    pub(super) fn legend(
        &self,
        root: &Root<'_>,
        entries: &[(Ink, &str)],
        shapes: bool,
    ) -> Result<(), ReportError> {
        let mut x = self.left as i32;
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
            root.draw_text(name, &letters(theme::TEXT, HPos::Left), (x + 22, 12))
                .map_err(failed)?;
            x += 22 + (name.len() as f64 * LETTER) as i32 + 24;
        }
        Ok(())
    }

    /// Names at the right edge, at the heights of their values, highest first, kept apart.
    pub(super) fn label_ends(
        &self,
        root: &Root<'_>,
        chart: &Chart<'_, '_>,
        ends: &[(f64, Ink, &str)],
    ) -> Result<(), ReportError> {
        const APART: i32 = 13;
        let mut below = i32::MIN;
        for (i, (value, ink, name)) in ends.iter().enumerate() {
            let (x, y) = chart.as_coord_spec().translate(&(self.scene.to, *value));
            // Those still to come need room above the axis.
            let to_come = (ends.len() - 1 - i) as i32;
            let y = y.min((self.height - LABELS_X) as i32 - APART * to_come);
            let y = y.max(below);
            below = y + APART;
            root.draw_text(name, &letters(*ink, HPos::Left), (x + 6, y))
                .map_err(failed)?;
        }
        Ok(())
    }
}

fn letters(ink: Ink, h: HPos) -> TextStyle<'static> {
    ("sans-serif", LETTERS)
        .into_font()
        .color(&ink.color())
        .pos(Pos::new(h, VPos::Center))
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

/// A finite range of log10 around the values, never empty.
pub(super) fn log_range(values: impl Iterator<Item = f64>) -> (f64, f64) {
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

/// A line that is broken where there is no value; a single value between two gaps is a dot.
pub(super) fn draw_runs(
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
