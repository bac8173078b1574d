//! The whole run as a strip beneath the picture of an anomaly: where its operations lie, and where the faults.
//!
//! The picture itself shows milliseconds, with the seconds between them cut out; here everything is to scale.

use super::axis::Axis;
use super::layout::Layout;
use super::scene::Scene;
use super::svg::{Anchor, Svg, width};
use super::words;
use schism_history::Op;

/// What the strip takes of the height.
pub(super) const HEIGHT: f64 = 43.0;
const BAR: f64 = 14.0;
/// Faults that are drawn.
const FAULTS_MAX: usize = 200;

/// Draws it from `top` on.
pub(super) fn draw(svg: &mut Svg, scene: &Scene<'_>, ops: &[&Op<'_>], at: &Layout, top: f64) {
    let axis = Axis::linear((scene.from, scene.to), at.time(), scene.unit().1);
    let y = top + 9.0;
    svg.open("The whole run, to scale: its faults, and where the operations above lie");
    svg.text((at.name_end(), y + 11.0), Anchor::End, "t-row", "whole run");
    svg.rect((at.gutter, y), (at.right - at.gutter, BAR), "frame");
    draw_faults(svg, scene, &axis, y);
    let mut last = f64::NEG_INFINITY;
    for op in ops {
        let x = axis.x(op.start().0 as f64);
        if x - last >= 1.0 {
            svg.path(
                &format!("M{x:.1} {:.1}V{y:.1}l-3.5 -6h7l-3.5 6", y + BAR),
                "mark",
            );
            last = x;
        }
    }
    let (end, y) = (words::duration(scene.to), y + BAR + 13.0);
    svg.text((at.gutter, y), Anchor::Start, "t-tick", "0");
    svg.text((at.right, y), Anchor::End, "t-tick", &end);
    svg.close();
}

/// The faults, each with its number where there is room for it before the next one.
fn draw_faults(svg: &mut Svg, scene: &Scene<'_>, axis: &Axis, y: f64) {
    let shown = &scene.faults[..scene.faults.len().min(FAULTS_MAX)];
    let x0 = |i: usize| shown.get(i).map(|f| axis.x(f.inject.0 as f64));
    for (i, fault) in shown.iter().enumerate() {
        let (from, to) = (
            axis.x(fault.inject.0 as f64),
            axis.x(scene.finite(fault.end())),
        );
        svg.rect((from, y), ((to - from).max(1.5), BAR), "spell");
        let number = fault.id.to_string();
        let room = x0(i + 1).map_or(to, |next| next.min(to)) - from;
        if width(&number) + 4.0 <= room {
            svg.text((from + 3.0, y + 11.0), Anchor::Start, "t-tick", &number);
        }
    }
}
