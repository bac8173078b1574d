//! The ground that drawings share: how wide they are, where time lies in them, and the time axis itself.
//!
//! Each drawing is made twice, for a page and for a phone: a wide one shrunk to a phone cannot be read, and one that must be pushed
//! sideways hides what belongs together. The style sheet shows the one that fits.

use super::axis::Axis;
use super::scene::Scene;
use super::svg::{Anchor, Svg, width};

/// For which screen a drawing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// Pages and paper.
    Wide,
    /// Phones.
    Narrow,
}

impl Frame {
    /// Class of the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Wide => "wide-only",
            Self::Narrow => "narrow-only",
        }
    }
}

/// Widths, in pixels of the drawing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) width: f64,
    /// Where the names of the rows end and time begins.
    pub(super) gutter: f64,
    /// Where time ends.
    pub(super) right: f64,
}

impl Layout {
    /// With room for row names of this width, as far as that is sensible.
    pub(super) fn new(frame: Frame, names: f64) -> Self {
        let (width, most) = match frame {
            Frame::Wide => (860.0, 150.0),
            Frame::Narrow => (400.0, 92.0),
        };
        Self {
            width,
            gutter: (names + 20.0).clamp(78.0, most),
            right: width - 14.0,
        }
    }

    /// Where time lies.
    pub(super) fn time(&self) -> (f64, f64) {
        (self.gutter, self.right)
    }

    /// Room for the name of a row.
    pub(super) fn name_room(&self) -> f64 {
        self.gutter - 16.0
    }

    /// Where the name of a row ends.
    pub(super) fn name_end(&self) -> f64 {
        self.gutter - 12.0
    }

    /// Draws the axis with its ticks and its unit; cuts are signs on it and lines up to `top`.
    pub(super) fn draw_axis(
        &self,
        svg: &mut Svg,
        scene: &Scene<'_>,
        axis: &Axis,
        (top, bottom): (f64, f64),
    ) {
        for (x0, x1) in axis.parts() {
            svg.line((x0, bottom), (x1, bottom), "axis");
        }
        for x in axis.cuts() {
            let y = bottom - 6.0;
            svg.path(
                &format!("M{:.1} {y:.1}l-4 12M{:.1} {y:.1}l-4 12", x - 1.0, x + 5.0),
                "axis",
            );
            svg.line((x, top), (x, bottom - 8.0), "cut");
        }
        let unit = format!("time, {}", scene.unit().0);
        let mut free_from = self.name_end() + 6.0;
        for tick in axis.ticks(width) {
            let half = width(&tick.label) / 2.0;
            let x = tick.x.min(self.width - 2.0 - half);
            svg.line((tick.x, bottom), (tick.x, bottom + 4.0), "axis");
            if x - half >= free_from {
                svg.text((x, bottom + 17.0), Anchor::Middle, "t-tick", &tick.label);
                free_from = x + half + 6.0;
            }
        }
        svg.text(
            (self.name_end() - 4.0, bottom + 17.0),
            Anchor::End,
            "t-tick",
            &unit,
        );
    }
}
