//! A small writer of SVG: every text that goes in is cleaned and escaped here, so that no caller can forget it.
//!
//! Colours are classes of the page's style sheet: a drawing is light or dark as the page is. It also places labels: text widths
//! are estimated on the wide side, for there is no font to ask.

use super::escape;
use std::fmt::Write as _;

/// Width of a character of the monospaced labels at 12 px.
const MONO: f64 = 7.3;

/// A drawing of known width; its height is known at the end.
#[derive(Debug, Default)]
pub(super) struct Svg {
    body: String,
}

/// Where a text is fastened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// A rectangle.
    pub(super) fn rect(&mut self, (x, y): (f64, f64), (w, h): (f64, f64), class: &str) {
        let _ = write!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}" class="{class}"/>"#,
            w.max(0.0),
            h.max(0.0)
        );
    }

    /// A straight line.
    pub(super) fn line(&mut self, (x0, y0): (f64, f64), (x1, y1): (f64, f64), class: &str) {
        let _ = write!(
            self.body,
            r#"<path d="M{x0:.1} {y0:.1}L{x1:.1} {y1:.1}" class="{class}"/>"#
        );
    }

    /// Any path; `d` is ours, never from outside.
    pub(super) fn path(&mut self, d: &str, class: &str) {
        let _ = write!(self.body, r#"<path d="{d}" class="{class}"/>"#);
    }

    /// A text, on one line.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let text = escape::line(text);
        let text = escape::xml(&text);
        let _ = write!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}"{anchor} class="{class}">{text}</text>"#
        );
    }

    /// A rectangle that fades to the right; `id` as in [`Svg::finish`].
    pub(super) fn fade(&mut self, (x, y): (f64, f64), (w, h): (f64, f64), id: &str) {
        if !self.body.contains("<linearGradient") {
            let stops = r#"<stop class="fade"/><stop offset="1" class="fade gone"/>"#;
            let _ = write!(
                self.body,
                r#"<linearGradient id="{id}-f">{stops}</linearGradient>"#
            );
        }
        let _ = write!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{h:.1}" fill="url(#{id}-f)"/>"#,
            w.max(0.0)
        );
    }

    /// Opens a group that says `title`, if that is not empty, when it is pointed at.
    pub(super) fn open(&mut self, title: &str) {
        self.body.push_str("<g>");
        if !title.is_empty() {
            let title = escape::line(title);
            let _ = write!(self.body, "<title>{}</title>", escape::xml(&title));
        }
    }

    /// Closes a group.
    pub(super) fn close(&mut self) {
        self.body.push_str("</g>");
    }

    /// The whole drawing; `id` is ours and unique in the page.
    pub(super) fn finish(self, class: &str, id: &str, (w, h): (f64, f64), title: &str) -> String {
        let title = escape::line(title);
        format!(
            r#"<svg class="pic {class}" viewBox="0 0 {w:.0} {h:.0}" role="img" aria-labelledby="{id}-t"><title id="{id}-t">{}</title>{}</svg>"#,
            escape::xml(&title),
            self.body
        )
    }
}

/// Pixels that a monospaced label takes.
pub(super) fn width(text: &str) -> f64 {
    text.chars()
        .map(|c| {
            if c.is_ascii() || "…→–·✓✗×∅µ".contains(c) {
                MONO
            } else {
                2.0 * MONO
            }
        })
        .sum()
}

/// The text cut so that it takes at most `room` pixels.
pub(super) fn fit(text: &str, room: f64) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = MONO;
    for c in text.chars() {
        used += width(c.encode_utf8(&mut [0; 4]));
        if used > room {
            break;
        }
        short.push(c);
    }
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// Rows of labels above a drawing: each goes into the first row where it fits.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    ends: Vec<f64>,
}

impl Lanes {
    /// The row for a label from `x`, as wide as it is; `None` when `most` rows are full there.
    pub(super) fn place(&mut self, x: f64, width: f64, most: usize) -> Option<usize> {
        let lane = match self.ends.iter().position(|&end| end <= x) {
            Some(lane) => lane,
            None if self.ends.len() < most => {
                self.ends.push(0.0);
                self.ends.len() - 1
            }
            None => return None,
        };
        self.ends[lane] = x + width + MONO;
        Some(lane)
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_leave_its_text() {
        let mut svg = Svg::default();
        svg.open("</title><script>");
        svg.text(
            (0.0, 0.0),
            Anchor::Start,
            "t",
            "</svg><script>alert(1)</script>\u{202e}",
        );
        svg.close();
        let text = svg.finish("wide", "p", (10.0, 10.0), "<b>\"'&");
        assert!(!text.contains("<script") && !text.contains("<b>") && !text.contains('\u{202e}'));
        assert_eq!(text.matches("</svg>").count(), 1);
    }

    #[test]
    fn labels_fit_and_do_not_overlap() {
        assert!(width(&fit(&"x".repeat(1000), 100.0)) <= 100.0);
        assert_eq!(fit("short", 100.0), "short");
        let mut lanes = Lanes::default();
        assert_eq!(lanes.place(0.0, 50.0, 2), Some(0));
        assert_eq!(lanes.place(10.0, 50.0, 2), Some(1));
        assert_eq!(lanes.place(20.0, 50.0, 2), None);
        assert_eq!(lanes.place(70.0, 50.0, 2), Some(0));
    }
}
