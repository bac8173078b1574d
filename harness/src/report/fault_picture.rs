//! The picture of the faults: a row a fault from injection to heal, over the phases of the run.
//!
//! Full colour is where the effect was seen until healing began; the lighter ends are injection until effect, and healing until
//! it was seen to be healed.

use super::axis::Axis;
use super::scene::{Fault, Scene};
use super::svg::{Anchor, Lanes, Svg, fit, width};
use super::words;

const WIDTH: f64 = 860.0;
const GUTTER: f64 = 132.0;
const RIGHT: f64 = WIDTH - 14.0;
const ROW: f64 = 42.0;
const FLAG_LINE: f64 = 16.0;
const FLAG_LINES_MAX: usize = 5;
/// Faults that are drawn; the table lists all.
pub(super) const DRAWN_MAX: usize = 40;

/// Draws faults and phases; `None` where there are neither.
pub(super) fn draw(scene: &Scene<'_>) -> Option<String> {
    if scene.faults.is_empty() && scene.phases.is_empty() {
        return None;
    }
    let axis = Axis::linear((scene.from, scene.to), (GUTTER, RIGHT), scene.unit().1);
    let mut svg = Svg::default();
    let (flags, lanes) = place_flags(scene, &axis);
    let top = 10.0 + FLAG_LINE * lanes as f64;
    let shown = &scene.faults[..scene.faults.len().min(DRAWN_MAX)];
    let bottom = top + ROW * shown.len() as f64 + 4.0;
    for flag in &flags {
        let y = 15.0 + FLAG_LINE * flag.lane as f64;
        svg.line((flag.x, y - 10.0), (flag.x, bottom), "flag");
        svg.text((flag.text_x, y), Anchor::Start, "t-flag", &flag.text);
    }
    for (i, fault) in shown.iter().enumerate() {
        draw_fault(&mut svg, scene, fault, &axis, top + ROW * i as f64);
    }
    draw_axis(&mut svg, scene, &axis, bottom);
    let desc: Vec<String> = shown.iter().map(sentence).collect();
    let desc = super::escape::shorten(&desc.join("; "), 1500);
    Some(svg.finish(
        "faults-pic",
        (WIDTH, bottom + 24.0),
        "Faults and phases over time",
        &desc,
    ))
}

struct Flag {
    x: f64,
    text_x: f64,
    lane: usize,
    text: String,
}

/// The phases' names and the recovery, each beside a line at its time.
fn place_flags(scene: &Scene<'_>, axis: &Axis) -> (Vec<Flag>, usize) {
    let mut marks: Vec<(f64, String)> = scene
        .phases
        .iter()
        .map(|(name, at)| (at.0 as f64, name.clone()))
        .collect();
    if let Some(recovery) = &scene.recovery {
        let text = match recovery.after_ms {
            Some(ms) if recovery.recovered => {
                format!("recovered after {}", words::duration(ms * 1e6))
            }
            _ if recovery.recovered => "recovered".to_owned(),
            _ => "NOT recovered".to_owned(),
        };
        marks.push((recovery.at.0 as f64, text));
    }
    marks.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lanes = Lanes::default();
    let mut flags = Vec::new();
    for (at, text) in marks {
        let x = axis.x(at);
        let text = fit(&text, RIGHT - GUTTER);
        let text_x = if x + 4.0 + width(&text) > WIDTH {
            x - 4.0 - width(&text)
        } else {
            x + 4.0
        };
        let from = text_x.min(x);
        if let Some(lane) = lanes.place(from, width(&text) + 4.0, FLAG_LINES_MAX) {
            flags.push(Flag {
                x,
                text_x,
                lane,
                text,
            });
        }
    }
    (flags, lanes.len())
}

fn draw_fault(svg: &mut Svg, scene: &Scene<'_>, fault: &Fault, axis: &Axis, top: f64) {
    let x = |t: f64| axis.x(t);
    let (x0, x3) = (x(fault.inject.0 as f64), x(scene.finite(fault.end())));
    let x1 = fault.effect.as_ref().map_or(x0, |s| x(s.at.0 as f64));
    let x2 = fault.heal.map_or(x3, |at| x(at.0 as f64));
    let y = top + 21.0;
    svg.line((4.0, top), (RIGHT, top), "rule");
    svg.open(&sentence(fault));
    let sign = if fault.proved() { "✓" } else { "?" };
    let name = fit(&fault.name(), GUTTER - 34.0);
    svg.text(
        (GUTTER - 12.0, y + 11.0),
        Anchor::End,
        "t-row",
        &format!("{name} {sign}"),
    );
    svg.rect((x0, y), ((x3 - x0).max(3.0), 14.0), "fault light");
    let class = if fault.proved() {
        "fault"
    } else {
        "fault unproved"
    };
    svg.rect((x1, y), ((x2 - x1).max(1.5), 14.0), class);
    if fault.end().is_infinite() {
        svg.path(&format!("M{:.1} {:.1}l7 7l-7 7", x3 + 2.0, y), "axis");
    }
    let what = fit(&fault.what, RIGHT - GUTTER);
    svg.text(
        (x0.min(RIGHT - width(&what)).max(GUTTER), y - 6.0),
        Anchor::Start,
        "t-what",
        &what,
    );
    svg.close();
}

fn draw_axis(svg: &mut Svg, scene: &Scene<'_>, axis: &Axis, bottom: f64) {
    svg.line((GUTTER, bottom), (RIGHT, bottom), "axis");
    for tick in axis.ticks(width) {
        svg.line((tick.x, bottom), (tick.x, bottom + 4.0), "axis");
        let half = width(&tick.label) / 2.0;
        let at = tick.x.clamp(GUTTER - 8.0 + half, WIDTH - 2.0 - half);
        svg.text((at, bottom + 17.0), Anchor::Middle, "t-tick", &tick.label);
    }
    svg.text(
        (GUTTER - 12.0, bottom + 17.0),
        Anchor::End,
        "t-tick",
        &format!("time, {}", scene.unit().0),
    );
}

fn sentence(fault: &Fault) -> String {
    let end = if fault.end().is_infinite() {
        "never healed".to_owned()
    } else {
        format!("healed at {}", fault.end())
    };
    let proof = if fault.proved() {
        "proved"
    } else {
        "not proved"
    };
    format!(
        "{} ({}), injected at {}, effect {proof}, {end}",
        fault.name(),
        fault.what,
        fault.inject
    )
}
