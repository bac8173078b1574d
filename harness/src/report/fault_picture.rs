//! The picture of the faults: a row a fault from injection to heal, over the phases of the run.
//!
//! Full colour is where the effect was seen until healing began; the lighter ends are injection until effect, and healing until
//! it was seen to be healed.

use super::axis::Axis;
use super::layout::{Frame, Layout};
use super::scene::{Fault, Scene};
use super::svg::{Anchor, Lanes, Svg, fit, width};
use super::words;
use schism_history::Time;

const ROW: f64 = 42.0;
const FLAG_LINE: f64 = 16.0;
const FLAG_LINES_MAX: usize = 5;
/// Faults that are drawn; the table lists all.
pub(super) const DRAWN_MAX: usize = 40;

/// Draws faults and phases for a page and for a phone; empty where there are neither.
pub(super) fn draw(scene: &Scene<'_>) -> String {
    if scene.faults.is_empty() && marks(scene).is_empty() {
        return String::new();
    }
    framed(scene, Frame::Wide) + &framed(scene, Frame::Narrow)
}

fn framed(scene: &Scene<'_>, frame: Frame) -> String {
    let shown = &scene.faults[..scene.faults.len().min(DRAWN_MAX)];
    let names: Vec<(String, String)> = shown.iter().map(|f| names(f, frame)).collect();
    let widest = names.iter().map(|n| width(&n.0)).fold(0.0, f64::max);
    let at = Layout::new(frame, widest);
    let axis = Axis::linear((scene.from, scene.to), at.time(), scene.unit().1);
    let mut svg = Svg::default();
    let (flags, lanes) = place_flags(scene, &axis, &at);
    let top = 10.0 + FLAG_LINE * lanes as f64;
    let bottom = top + ROW * shown.len() as f64 + 4.0;
    for flag in &flags {
        let y = 15.0 + FLAG_LINE * flag.lane as f64;
        svg.line((flag.x, y - 10.0), (flag.x, bottom), "flag");
        svg.text((flag.text_x, y), Anchor::Start, "t-flag", &flag.text);
    }
    let row = Row { scene, axis, at };
    for (i, (fault, (name, what))) in shown.iter().zip(&names).enumerate() {
        let y = top + ROW * i as f64;
        svg.line((4.0, y), (at.right, y), "rule");
        svg.open(&sentence(fault));
        row.name(&mut svg, fault, (name, what), y + 21.0);
        row.bar(&mut svg, fault, y + 21.0);
        svg.close();
    }
    at.draw_axis(&mut svg, scene, &row.axis, (top, bottom));
    let id = match frame {
        Frame::Wide => "faults-pic",
        Frame::Narrow => "faults-pic-n",
    };
    let size = (at.width, bottom + 24.0);
    svg.finish(frame.class(), id, size, "Faults and phases over time")
}

/// What stands before a fault's row and above its bar; on a phone there is little room before it.
fn names(fault: &Fault, frame: Frame) -> (String, String) {
    let sign = if fault.proved() { "✓" } else { "?" };
    match frame {
        Frame::Wide => (format!("{} {sign}", fault.name()), fault.what.clone()),
        Frame::Narrow => {
            let what = format!("{}: {}", fault.family, fault.what);
            (format!("{} {sign}", fault.id), what)
        }
    }
}

struct Flag {
    x: f64,
    text_x: f64,
    lane: usize,
    text: String,
}

/// The phases' names, the recovery and nodes that ended by themselves, each beside a line at its time.
fn place_flags(scene: &Scene<'_>, axis: &Axis, at: &Layout) -> (Vec<Flag>, usize) {
    let mut lanes = Lanes::default();
    let mut flags = Vec::new();
    for (time, text) in marks(scene) {
        let x = axis.x(time.0 as f64);
        let text = fit(&text, at.right - at.gutter);
        let text_x = if x + 4.0 + width(&text) > at.width {
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

fn marks(scene: &Scene<'_>) -> Vec<(Time, String)> {
    let phase = |name: &str| match name {
        "main" => "clients begin".to_owned(),
        "hold" => "clients stop, all is held".to_owned(),
        "heal" => "clients stop, all is healed".to_owned(),
        "final-reads" => "final reads".to_owned(),
        other => other.to_owned(),
    };
    let phases = scene.phases.iter().map(|(name, at)| (*at, phase(name)));
    let crashes = scene.crashes.iter();
    let crashes = crashes.map(|c| (c.at, format!("{} ended by itself", c.node)));
    let gave_up = scene.gave_up.iter();
    let gave_up = gave_up.map(|c| (c.at, format!("{} stopped: its disk had failed", c.node)));
    let recovery = scene.recovery.iter().map(|recovery| {
        let text = match recovery.after_ms {
            Some(ms) if recovery.recovered => {
                format!("recovered after {}", words::duration(ms * 1e6))
            }
            _ if recovery.recovered => "recovered".to_owned(),
            _ => "NOT recovered".to_owned(),
        };
        (recovery.at, text)
    });
    let ends = crashes.chain(gave_up);
    let mut marks: Vec<(Time, String)> = phases.chain(ends).chain(recovery).collect();
    marks.sort_by_key(|(at, _)| *at);
    marks
}

/// What every row of the picture needs.
struct Row<'s, 'h> {
    scene: &'s Scene<'h>,
    axis: Axis,
    at: Layout,
}

impl Row<'_, '_> {
    fn name(&self, svg: &mut Svg, fault: &Fault, (name, what): (&str, &str), y: f64) {
        let name = fit(name, self.at.name_room());
        svg.text((self.at.name_end(), y + 11.0), Anchor::End, "t-row", &name);
        let what = fit(what, self.at.right - self.at.gutter);
        let x = self.axis.x(fault.inject.0 as f64);
        let x = x.min(self.at.right - width(&what)).max(self.at.gutter);
        svg.text((x, y - 6.0), Anchor::Start, "t-what", &what);
    }

    fn bar(&self, svg: &mut Svg, fault: &Fault, y: f64) {
        let x = |t: f64| self.axis.x(t);
        let x0 = x(fault.inject.0 as f64);
        let x3 = x(self.scene.finite(fault.end()));
        let x1 = fault.effect.as_ref().map_or(x0, |s| x(s.at.0 as f64));
        let x2 = fault.heal.map_or(x3, |at| x(at.0 as f64));
        let class = if fault.proved() {
            "fault"
        } else {
            "fault unproved"
        };
        svg.rect((x0, y), ((x3 - x0).max(3.0), 14.0), "fault light");
        svg.rect((x1, y), ((x2 - x1).max(1.5), 14.0), class);
        if fault.end().is_infinite() {
            svg.path(&format!("M{:.1} {y:.1}l7 7l-7 7", x3 + 2.0), "axis");
        }
    }
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
