//! The faults behind the picture of an anomaly: bands from injection to heal, each with its name above.

use super::axis::Axis;
use super::layout::Layout;
use super::scene::{Fault, Scene};
use super::svg::{Anchor, Lanes, Svg, fit, width};

const LINE: f64 = 17.0;
const LINES_MAX: usize = 4;
/// Bands that are drawn.
const DRAWN_MAX: usize = 100;

/// The faults in force at some time that an axis shows.
#[derive(Debug)]
pub(super) struct Bands {
    bands: Vec<Band>,
    lanes: usize,
}

#[derive(Debug)]
struct Band {
    x0: f64,
    x1: f64,
    title: String,
    /// Where the name begins, in which line, and the name; `None` where there is no room.
    label: Option<(f64, usize, String)>,
}

impl Bands {
    /// Finds them, and places their names.
    pub(super) fn new(scene: &Scene<'_>, axis: &Axis, at: &Layout) -> Self {
        let (from, to) = axis.shown();
        let seen = |f: &&Fault| (f.inject.0 as f64) < to && scene.finite(f.end()) > from;
        let mut lanes = Lanes::default();
        let mut bands = Vec::new();
        for fault in scene.faults.iter().filter(seen).take(DRAWN_MAX) {
            let (x0, x1) = stretch(scene, fault, axis);
            let name = name(scene, fault);
            let text = fit(&name, at.right - at.gutter);
            let x = (x0 + 4.0).min(at.right - width(&text));
            let lane = lanes.place(x, width(&text), LINES_MAX);
            bands.push(Band {
                x0,
                x1,
                title: format!("{name}: {}", fault.what),
                label: lane.map(|lane| (x, lane, text)),
            });
        }
        let lanes = lanes.len();
        Self { bands, lanes }
    }

    /// What the names take of the height.
    pub(super) fn height(&self) -> f64 {
        LINE * self.lanes as f64
    }

    /// Draws all.
    pub(super) fn draw(&self, svg: &mut Svg, (top, bottom): (f64, f64)) {
        for band in &self.bands {
            svg.open(&band.title);
            svg.rect((band.x0, top), (band.x1 - band.x0, bottom - top), "band");
            svg.line((band.x0, top), (band.x0, bottom), "band-edge");
            svg.close();
        }
        for (x, lane, text) in self.bands.iter().filter_map(|b| b.label.as_ref()) {
            let y = 14.0 + LINE * *lane as f64;
            svg.text((*x, y), Anchor::Start, "t-band", text);
        }
    }
}

/// A fault's stretch in pixels, at least visible.
fn stretch(scene: &Scene<'_>, fault: &Fault, axis: &Axis) -> (f64, f64) {
    let x0 = axis.x(fault.inject.0 as f64);
    let end = if fault.end().is_infinite() {
        f64::INFINITY
    } else {
        scene.finite(fault.end())
    };
    (x0, axis.x(end).max(x0 + 2.0))
}

fn name(scene: &Scene<'_>, fault: &Fault) -> String {
    let (unit, ns) = scene.unit();
    let from = fault.inject.0 as f64 / ns;
    match fault.end() {
        end if end.is_infinite() => {
            format!("{} (from {from:.2} {unit}, never healed)", fault.name())
        }
        end => format!(
            "{} ({from:.2}–{:.2} {unit})",
            fault.name(),
            end.0 as f64 / ns
        ),
    }
}
