//! The picture of messages: a line a host, time going down, an arrow from sender to receiver, what it says beside it.
//!
//! As in the diagrams of the Raft and Paxos papers. Arrows stand at equal distances, for thousands of messages lie within milliseconds;
//! their times stand on the left. What was lost ends in a cross half-way.

use super::layout::Frame;
use super::messages::{Arrow, Diagram};
use super::scene::Scene;
use super::svg::{Anchor, Svg, fit, width};
use super::words;
use crate::capture::Fate;

const TOP: f64 = 26.0;
const HEAD: f64 = 6.0;

/// Where things are in one frame.
#[derive(Debug, Clone, Copy)]
struct Plan {
    width: f64,
    /// Where times end, and where the first host's line is.
    times: f64,
    first: f64,
    /// Between two hosts' lines.
    step: f64,
    /// Where words begin.
    words: f64,
    /// Height of an arrow's row.
    row: f64,
    /// How far beneath its arrow a message's words stand.
    below: f64,
}

impl Plan {
    fn new(frame: Frame, hosts: usize) -> Self {
        let gaps = hosts.saturating_sub(1).max(1) as f64;
        match frame {
            Frame::Wide => {
                let step = (330.0 / gaps).clamp(24.0, 64.0);
                let words = (112.0 + step * gaps + 30.0).min(620.0);
                Self {
                    width: 860.0,
                    times: 76.0,
                    first: 112.0,
                    step: step.min((words - 142.0) / gaps),
                    words,
                    row: 21.0,
                    below: 4.0,
                }
            }
            Frame::Narrow => Self {
                width: 400.0,
                times: 76.0,
                first: 108.0,
                step: (262.0 / gaps).min(60.0),
                words: 88.0,
                row: 36.0,
                below: 16.0,
            },
        }
    }

    fn x(&self, host: usize) -> f64 {
        self.first + self.step * host as f64
    }
}

/// One row, from the top to the bottom.
enum Row<'d> {
    Arrow(&'d Arrow),
    Mark(f64, &'d str),
    Pause(f64),
}

/// Draws a diagram for a page and for a phone; empty where there is nothing to draw. `id` is unique in the page.
pub(super) fn draw(scene: &Scene<'_>, diagram: &Diagram, id: &str) -> String {
    if diagram.arrows.is_empty() {
        return String::new();
    }
    framed(scene, diagram, Frame::Wide, id)
        + &framed(scene, diagram, Frame::Narrow, &format!("{id}n"))
}

fn framed(scene: &Scene<'_>, diagram: &Diagram, frame: Frame, id: &str) -> String {
    let plan = Plan::new(frame, diagram.hosts.len());
    let rows = rows(diagram);
    let bottom = TOP + plan.row * rows.len() as f64 + 8.0;
    let mut svg = Svg::default();
    svg.text(
        (plan.times, 16.0),
        Anchor::End,
        "t-tick",
        &format!("time, {}", scene.unit().0),
    );
    for (host, name) in diagram.hosts.iter().enumerate() {
        let x = plan.x(host);
        let name = fit(name, plan.step.max(30.0) - 4.0);
        svg.text((x, 16.0), Anchor::Middle, "t-row", &name);
        svg.line((x, 22.0), (x, bottom), "life");
    }
    let mut y = TOP;
    for row in &rows {
        match row {
            Row::Arrow(arrow) => draw_arrow(&mut svg, scene, diagram, &plan, arrow, y),
            Row::Mark(at, text) => draw_mark(&mut svg, scene, &plan, (*at, text), y),
            Row::Pause(ns) => {
                let text = format!("{} later", words::duration(*ns));
                across(&mut svg, &plan, y + 11.0, ("cut", "t-flag", &text));
            }
        }
        y += plan.row;
    }
    let title = "Messages between the hosts, by time";
    svg.finish(frame.class(), id, (plan.width, bottom + 4.0), title)
}

fn rows(diagram: &Diagram) -> Vec<Row<'_>> {
    let arrows = diagram.arrows.iter().map(|a| (a.at, Row::Arrow(a)));
    let marks = diagram
        .marks
        .iter()
        .map(|(at, text)| (*at, Row::Mark(*at, text)));
    let mut timed: Vec<(f64, Row<'_>)> = arrows.chain(marks).collect();
    timed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let span = |at: f64| {
        diagram
            .spans
            .iter()
            .position(|(from, to)| *from <= at && at <= *to)
    };
    let mut rows = Vec::new();
    let mut before: Option<f64> = None;
    for (at, row) in timed {
        if let Some(before) = before.filter(|before| span(*before) != span(at)) {
            rows.push(Row::Pause(at - before));
        }
        before = Some(at);
        rows.push(row);
    }
    rows
}

/// A time with as many decimals as tell packets apart.
fn time(scene: &Scene<'_>, at: f64) -> String {
    let (_, ns) = scene.unit();
    let decimals = if ns >= 1e9 { 5 } else { 3 };
    format!("{:.decimals$}", at.max(0.0) / ns)
}

fn draw_mark(svg: &mut Svg, scene: &Scene<'_>, plan: &Plan, (at, text): (f64, &str), y: f64) {
    svg.text(
        (plan.times, y + 15.0),
        Anchor::End,
        "t-tick",
        &time(scene, at),
    );
    across(svg, plan, y + 11.0, ("band-edge", "t-what", text));
}

/// A line over all hosts, and what it is.
fn across(svg: &mut Svg, plan: &Plan, y: f64, (line, class, text): (&str, &str, &str)) {
    let beside = plan.words > plan.first;
    let end = if beside {
        plan.words - 8.0
    } else {
        plan.width - 8.0
    };
    svg.line((plan.times + 8.0, y), (end, y), line);
    let text = fit(text, plan.width - plan.words - 8.0);
    svg.text((plan.words, y + plan.below), Anchor::Start, class, &text);
}

fn draw_arrow(
    svg: &mut Svg,
    scene: &Scene<'_>,
    diagram: &Diagram,
    plan: &Plan,
    arrow: &Arrow,
    y: f64,
) {
    let (x0, x1, mid) = (plan.x(arrow.from), plan.x(arrow.to), y + 11.0);
    let half = f64::midpoint(x0, x1);
    let class = class(arrow);
    svg.open(&sentence(scene, diagram, arrow));
    svg.text(
        (plan.times, mid + 4.0),
        Anchor::End,
        "t-tick",
        &time(scene, arrow.at),
    );
    match arrow.fate {
        Fate::Delivered | Fate::Unknown => {
            svg.line((x0, mid), (x1, mid), class);
            head(svg, (x1, mid), x1 > x0, class);
        }
        Fate::Partly => {
            svg.line((x0, mid), (x1, mid), class);
            head(svg, (x1, mid), x1 > x0, class);
            cross(svg, (half, mid), class);
        }
        Fate::Lost => {
            svg.line((x0, mid), (half, mid), class);
            cross(svg, (half, mid), class);
        }
        Fate::FromRouter => {
            svg.line((half, mid), (x1, mid), class);
            head(svg, (x1, mid), x1 > x0, class);
        }
    }
    let text = label(scene, arrow, plan.width - plan.words - 4.0);
    let name = if arrow.own { "t-msg own" } else { "t-msg" };
    svg.text((plan.words, mid + plan.below), Anchor::Start, name, &text);
    svg.close();
}

fn class(arrow: &Arrow) -> &'static str {
    match (arrow.fate, arrow.own) {
        (Fate::Lost | Fate::Partly | Fate::FromRouter, _) => "msg lost",
        (Fate::Unknown, _) => "msg unsure",
        (Fate::Delivered, true) => "msg own",
        (Fate::Delivered, false) => "msg",
    }
}

fn head(svg: &mut Svg, (x, y): (f64, f64), right: bool, class: &str) {
    let back = if right { -HEAD } else { HEAD };
    let d = format!(
        "M{:.1} {:.1}L{x:.1} {y:.1}L{:.1} {:.1}",
        x + back,
        y - 3.5,
        x + back,
        y + 3.5
    );
    svg.path(&d, class);
}

fn cross(svg: &mut Svg, (x, y): (f64, f64), class: &str) {
    let d = format!(
        "M{:.1} {:.1}l9 9M{:.1} {:.1}l-9 9",
        x - 4.5,
        y - 4.5,
        x + 4.5,
        y - 4.5
    );
    svg.path(&d, class);
}

/// Slower than this is told.
const SLOW: f64 = 2e6;

/// What stands beside an arrow. The words are cut, if need be, and not how many there were.
fn label(scene: &Scene<'_>, arrow: &Arrow, room: f64) -> String {
    let fate = match arrow.fate {
        Fate::Lost => "✗ ",
        Fate::Partly => "✗ partly ",
        Fate::Unknown => "? ",
        Fate::Delivered | Fate::FromRouter => "",
    };
    let many = if arrow.count > 1 {
        format!(" ×{} until {}", arrow.count, time(scene, arrow.last))
    } else {
        String::new()
    };
    let late = match arrow.took {
        Some(ns) if ns > SLOW => format!(" ({} under way)", words::duration(ns)),
        _ => String::new(),
    };
    let rest = width(&many) + width(&late) + width(fate);
    let words = fit(&arrow.words, (room - rest).max(60.0));
    fit(&format!("{fate}{words}{many}{late}"), room)
}

fn sentence(scene: &Scene<'_>, diagram: &Diagram, arrow: &Arrow) -> String {
    let name = |host: usize| diagram.hosts.get(host).map_or("?", String::as_str);
    let fate = match arrow.fate {
        Fate::Delivered => "delivered",
        Fate::Partly => "lost in part",
        Fate::Lost => "lost",
        Fate::Unknown => "whether it arrived is not known",
        Fate::FromRouter => "made by the router's rule, in the name of the sender",
    };
    let (unit, many) = (scene.unit().0, arrow.count);
    format!(
        "{} to {} at {} {unit}: {}; {many} of the kind, {fate}",
        name(arrow.from),
        name(arrow.to),
        time(scene, arrow.at),
        arrow.words
    )
}
