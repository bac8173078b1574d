//! Colours of the plots: plotters writes fixed ones, the page wants its own, light or dark.
//!
//! We draw with the light theme's colours, each a different one, and inside the page each is replaced by the style sheet's
//! variable of the same name. A plot in a file of its own keeps the light ones, on a white ground.

use plotters::style::RGBColor;

/// A colour with the name of its CSS variable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ink {
    variable: &'static str,
    rgb: (u8, u8, u8),
}

impl Ink {
    const fn new(variable: &'static str, rgb: (u8, u8, u8)) -> Self {
        Self { variable, rgb }
    }

    /// As plotters wants it.
    pub(super) const fn color(self) -> RGBColor {
        RGBColor(self.rgb.0, self.rgb.1, self.rgb.2)
    }

    /// As plotters writes it.
    pub(super) fn hex(self) -> String {
        let (r, g, b) = self.rgb;
        format!("#{r:02X}{g:02X}{b:02X}")
    }
}

pub(super) const OK: Ink = Ink::new("--op-ok", (0x0b, 0x66, 0xae));
pub(super) const FAIL: Ink = Ink::new("--op-fail", (0xc2, 0x4a, 0x0a));
pub(super) const INFO: Ink = Ink::new("--op-info", (0x8e, 0x44, 0x9b));
pub(super) const BAND: Ink = Ink::new("--band", (0xb5, 0x8a, 0x00));
pub(super) const TEXT: Ink = Ink::new("--fg", (0x1c, 0x21, 0x28));
pub(super) const MUTED: Ink = Ink::new("--muted", (0x57, 0x60, 0x6b));
pub(super) const GRID: Ink = Ink::new("--grid", (0xe1, 0xe5, 0xea));
/// From the slowest quantile to the median.
pub(super) const QUANTILES: [Ink; 4] = [
    Ink::new("--q-max", (0xa1, 0x2b, 0x5e)),
    Ink::new("--q-p99", (0xd0, 0x6a, 0x1c)),
    Ink::new("--q-p95", (0x2b, 0x8a, 0x7b)),
    Ink::new("--q-p50", (0x24, 0x5f, 0xb2)),
];

fn all() -> impl Iterator<Item = Ink> {
    [OK, FAIL, INFO, BAND, TEXT, MUTED, GRID]
        .into_iter()
        .chain(QUANTILES)
}

/// What both kinds share: a title and a description for those who cannot see it, and no needless attributes.
fn described(svg: &str, id: &str, (title, desc): (&str, &str)) -> String {
    let (title, desc) = (super::escape::xml(title), super::escape::xml(desc));
    let head = format!(r#"<title id="{id}-t">{title}</title><desc id="{id}-d">{desc}</desc>"#);
    let svg = svg
        .replace(" opacity=\"1\"", "")
        .replace(" stroke=\"none\"", "")
        .replace(" stroke-width=\"1\"", "");
    match svg.find('>') {
        Some(end) => format!("{}>{head}{}", &svg[..end], &svg[end + 1..]),
        None => svg,
    }
}

/// For inside the page: the style sheet's colours, and as wide as there is room.
pub(super) fn inline(svg: &str, class: &str, id: &str, words: (&str, &str)) -> String {
    let mut svg = described(svg, id, words).replace(" xmlns=\"http://www.w3.org/2000/svg\"", "");
    for ink in all() {
        let variable = format!("\"var({})\"", ink.variable);
        svg = svg.replace(&format!("\"{}\"", ink.hex()), &variable);
    }
    let Some(at) = svg.find("viewBox") else {
        return svg;
    };
    format!(
        r#"<svg class="plot {class}" role="img" aria-labelledby="{id}-t {id}-d" {}"#,
        &svg[at..]
    )
}

/// For a file of its own: light, on white.
pub(super) fn standalone(svg: &str, id: &str, words: (&str, &str)) -> String {
    let svg = described(svg, id, words);
    let end = svg.find("</desc>").map_or(0, |at| at + "</desc>".len());
    format!(
        "{}<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>{}",
        &svg[..end],
        &svg[end..]
    )
}

/// The variables as the page's style sheet must define them for the light theme; a test compares.
#[cfg(test)]
pub(super) fn light() -> Vec<String> {
    all()
        .map(|i| {
            format!(
                "{}:#{:02x}{:02x}{:02x}",
                i.variable, i.rgb.0, i.rgb.1, i.rgb.2
            )
        })
        .collect()
}
