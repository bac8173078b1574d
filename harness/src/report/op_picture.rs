//! The picture of an anomaly: its operations as bars on a real time axis, a row a process, the faults behind them.
//!
//! As in Porcupine's and Elle's drawings a bar runs from invocation to completion. A bar whose outcome nobody knows runs out of
//! the picture and fades. Every label has a place of its own: inside its bar, beside it, or on a further line of its row.

use super::axis::Axis;
use super::bands::Bands;
use super::escape;
use super::layout::{Frame, Layout};
use super::op_words::{self, Style};
use super::scene::Scene;
use super::strip;
use super::svg::{Anchor, Svg, fit, width};
use schism_history::{Op, Outcome};

const LINE: f64 = 30.0;
const BAR: f64 = 20.0;
const BAR_WIDTH_MIN: f64 = 5.0;
/// Between a bar and the label beside it, and between what stands on one line.
const GAP: f64 = 6.0;
/// Operations of one anomaly that are drawn; the table lists more.
pub(super) const DRAWN_MAX: usize = 30;

/// One operation with its place.
struct Bar<'a, 'h> {
    op: &'a Op<'h>,
    label: String,
    x0: f64,
    x1: f64,
    /// Where its label begins.
    text_x: f64,
    row: usize,
    line: usize,
}

/// One process.
struct Row {
    process: schism_history::Process,
    name: String,
    /// What is taken of each of its lines.
    lines: Vec<Vec<(f64, f64)>>,
}

/// How operations are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing<'a> {
    /// Unique in the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) style: Style<'a>,
    pub(super) frame: Frame,
}

/// Draws operations. Empty when there is nothing to draw.
pub(super) fn draw(scene: &Scene<'_>, ops: &[&Op<'_>], how: Drawing<'_>) -> String {
    if ops.is_empty() {
        return String::new();
    }
    let mut ops: Vec<&Op<'_>> = ops.iter().take(DRAWN_MAX).copied().collect();
    ops.sort_by_key(|op| (op.start(), op.index()));
    let mut rows = rows(&ops);
    let names = rows.iter().map(|r| width(&r.name)).fold(0.0, f64::max);
    let at = Layout::new(how.frame, names);
    let axis = Axis::around(&intervals(&ops), at.time(), scene.unit().1);
    let bars = place(&mut rows, &ops, how.style, &axis, &at);

    let mut svg = Svg::default();
    let bands = Bands::new(scene, &axis, &at);
    let top = 8.0 + bands.height();
    let height: f64 = rows.iter().map(|r| r.lines.len() as f64 * LINE).sum();
    let bottom = top + height + 4.0;
    bands.draw(&mut svg, (2.0, bottom));
    let tops = draw_rows(&mut svg, &rows, &at, top);
    at.draw_axis(&mut svg, scene, &axis, (top, bottom));
    for bar in &bars {
        let y = tops[bar.row] + bar.line as f64 * LINE;
        draw_bar(&mut svg, bar, y, how);
    }
    strip::draw(&mut svg, scene, &ops, &at, bottom + 24.0);
    let size = (at.width, bottom + 24.0 + strip::HEIGHT);
    svg.finish(how.frame.class(), how.id, size, how.title)
}

/// What the axis must show, in ns; of an operation whose outcome is unknown only the beginning.
fn intervals(ops: &[&Op<'_>]) -> Vec<(f64, f64)> {
    let end = |op: &Op<'_>| {
        if op.end().is_infinite() {
            op.start()
        } else {
            op.end()
        }
    };
    ops.iter()
        .map(|op| (op.start().0 as f64, end(op).0 as f64))
        .collect()
}

/// A row a process, by its first operation.
fn rows(ops: &[&Op<'_>]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for op in ops {
        if !rows.iter().any(|r| r.process == op.process()) {
            rows.push(Row {
                process: op.process(),
                name: row_name(ops, op),
                lines: vec![Vec::new()],
            });
        }
    }
    rows
}

fn place<'a, 'h>(
    rows: &mut [Row],
    ops: &[&'a Op<'h>],
    style: Style<'_>,
    axis: &Axis,
    at: &Layout,
) -> Vec<Bar<'a, 'h>> {
    let mut bars = Vec::with_capacity(ops.len());
    for &op in ops {
        let Some(row) = rows.iter().position(|r| r.process == op.process()) else {
            continue;
        };
        let x0 = axis.x(op.start().0 as f64).min(at.right - BAR_WIDTH_MIN);
        let end = if op.end().is_infinite() {
            at.right
        } else {
            axis.x(op.end().0 as f64)
        };
        let x1 = end.max(x0 + BAR_WIDTH_MIN).min(at.width - 4.0);
        let (label, choices) = choices(&op_words::label(op, style), (x0, x1), axis, at);
        let (line, text_x) = find_room(&mut rows[row].lines, &choices);
        bars.push(Bar {
            op,
            label,
            x0,
            x1,
            text_x,
            row,
            line,
        });
    }
    bars
}

/// Where bar and label may be together: from, to, and where the label begins.
type Choice = (f64, f64, f64);

/// The label, as long as there is room for it anywhere, and its places: inside the bar, else right of it, else left of it. One that runs
/// over a cut of the axis comes last: there it would seem to belong to another time.
fn choices(text: &str, (x0, x1): (f64, f64), axis: &Axis, at: &Layout) -> (String, Vec<Choice>) {
    let (inside, right, left) = (
        x1 - x0 - 2.0 * GAP,
        at.width - 4.0 - x1 - GAP,
        x0 - GAP - at.gutter,
    );
    let label = fit(text, inside.max(right).max(left));
    let room = width(&label);
    if room <= inside {
        return (label, vec![(x0, x1, x0 + GAP)]);
    }
    let mut choices = Vec::new();
    if room <= right {
        choices.push((x0, x1 + GAP + room, x1 + GAP));
    }
    if room <= left {
        choices.push((x0 - GAP - room, x1, x0 - GAP - room));
    }
    let cut = |c: &Choice| axis.cuts().iter().any(|x| c.2 < *x && *x < c.2 + room);
    choices.sort_by_key(cut);
    (label, choices)
}

/// The first line of a row where one of the choices is free.
fn find_room(lines: &mut Vec<Vec<(f64, f64)>>, choices: &[Choice]) -> (usize, f64) {
    for (number, line) in lines.iter_mut().enumerate() {
        for &(from, to, text_x) in choices {
            if line.iter().all(|&(a, b)| to + GAP < a || b + GAP < from) {
                line.push((from, to));
                return (number, text_x);
            }
        }
    }
    let (from, to, text_x) = choices.first().copied().unwrap_or_default();
    lines.push(vec![(from, to)]);
    (lines.len() - 1, text_x)
}

/// `p3 · n1`: the node only where all that this process did was answered by one.
fn row_name(ops: &[&Op<'_>], of: &Op<'_>) -> String {
    let mut nodes = ops
        .iter()
        .filter(|op| op.process() == of.process())
        .map(|op| op_words::node(op));
    let first = nodes.next().flatten();
    let same = nodes.all(|node| node == first);
    match first.filter(|_| same) {
        Some(node) => format!("{} · {}", short(of), escape::shorten(&node.0, 40)),
        None => short(of),
    }
}

fn short(op: &Op<'_>) -> String {
    match op.process() {
        schism_history::Process::Client(n) => format!("p{n}"),
        schism_history::Process::Nemesis => "nemesis".to_owned(),
    }
}

fn draw_rows(svg: &mut Svg, rows: &[Row], at: &Layout, top: f64) -> Vec<f64> {
    let mut y = top;
    let mut tops = Vec::with_capacity(rows.len());
    for row in rows {
        tops.push(y);
        let height = row.lines.len() as f64 * LINE;
        let name = fit(&row.name, at.name_room());
        svg.open(if name == row.name { "" } else { &row.name });
        svg.text((at.name_end(), y + 19.0), Anchor::End, "t-row", &name);
        svg.close();
        y += height;
        svg.line((4.0, y), (at.right, y), "rule");
    }
    tops
}

fn draw_bar(svg: &mut Svg, bar: &Bar<'_, '_>, top: f64, how: Drawing<'_>) {
    let y = top + (LINE - BAR) / 2.0;
    let size = (bar.x1 - bar.x0, BAR);
    // Nothing can be pointed at on a phone.
    let title = match how.frame {
        Frame::Wide => op_words::sentence(bar.op, how.style),
        Frame::Narrow => String::new(),
    };
    svg.open(&title);
    match bar.op.outcome() {
        Outcome::Ok => svg.rect((bar.x0, y), size, "bar ok"),
        Outcome::Fail => svg.rect((bar.x0, y), size, "bar fail"),
        Outcome::Info => draw_open(svg, bar, y, how.id),
    }
    let class = if bar.text_x > bar.x0 && bar.text_x < bar.x1 {
        "t-op"
    } else {
        "t-op beside"
    };
    svg.text((bar.text_x, y + 14.0), Anchor::Start, class, &bar.label);
    svg.close();
}

/// A bar that fades, with an arrow head: it may take effect at any later time, or never.
fn draw_open(svg: &mut Svg, bar: &Bar<'_, '_>, y: f64, id: &str) {
    let head = 7.0f64.min((bar.x1 - bar.x0) / 2.0);
    svg.fade((bar.x0, y), (bar.x1 - bar.x0 - head, BAR), id);
    let (x0, x1, mid) = (bar.x0, bar.x1, y + BAR / 2.0);
    let neck = x1 - head;
    let d = format!(
        "M{neck:.1} {y:.1}H{x0:.1}V{:.1}H{neck:.1}M{neck:.1} {y:.1}L{x1:.1} {mid:.1}L{neck:.1} {:.1}",
        y + BAR,
        y + BAR
    );
    svg.path(&d, "open");
}

#[cfg(test)]
mod tests {
    use super::*;
    use schism_history::History;

    fn how(frame: Frame) -> Drawing<'static> {
        Drawing {
            id: "p",
            title: "title",
            style: Style::default(),
            frame,
        }
    }

    #[test]
    fn unknown_outcomes_run_out_of_the_picture_and_far_operations_stay_wide() {
        let history = History::dsl(
            "0: add s 17 @6000..6002 node=n1; 1: add s 18 @6001..?; 2: read s [1] @20000..20003 final node=n2",
        )
        .unwrap();
        let scene = Scene::new(&history);
        let ops: Vec<&Op<'_>> = scene.ops.iter().collect();
        let svg = draw(&scene, &ops, how(Frame::Wide));
        assert!(svg.contains(">add 17<") && svg.contains(">add 18 ?<"));
        assert!(svg.contains("url(#p-f)") && svg.contains(r#"class="cut""#));
        assert!(svg.contains("p0 · n1") && svg.contains("whole run"));
        assert!(draw(&scene, &[], how(Frame::Wide)).is_empty());
    }

    /// Every label lies inside the picture, and no two of one line touch.
    fn neat(text: &str, frame: Frame) {
        let history = History::dsl(text).unwrap();
        let scene = Scene::new(&history);
        let ops: Vec<&Op<'_>> = scene.ops.iter().take(DRAWN_MAX).collect();
        let at = Layout::new(frame, 60.0);
        let axis = Axis::around(&intervals(&ops), at.time(), 1e6);
        let mut rows = rows(&ops);
        let bars = place(&mut rows, &ops, Style::default(), &axis, &at);
        assert_eq!(bars.len(), ops.len());
        assert!(rows.iter().all(|r| r.lines.len() <= ops.len()));
        for (i, a) in bars.iter().enumerate() {
            assert!(a.text_x >= at.gutter - 4.0 && a.text_x + width(&a.label) <= at.width);
            for b in bars[i + 1..].iter().filter(|b| b.row == a.row) {
                let apart = a.text_x + width(&a.label) <= b.text_x
                    || b.text_x + width(&b.label) <= a.text_x;
                assert!(apart || a.line != b.line, "{} and {}", a.label, b.label);
            }
        }
    }

    #[test]
    fn labels_of_one_row_never_overlap() {
        let many: Vec<String> = (0..30)
            .map(|i| format!("0: write x {} @{}..{}", 1_000_000 + i, i * 2, i * 2 + 1))
            .collect();
        let long = "v".repeat(200);
        let middle = format!(
            "0: write x 1 @0..1; 1: write x \"{long}\" @30..70; 0: write x 2 @99..100; 2: write x \"{long}\" @50..?"
        );
        for frame in [Frame::Wide, Frame::Narrow] {
            neat(&many.join(";"), frame);
            neat(&middle, frame);
        }
    }

    #[test]
    fn a_label_does_not_run_over_a_cut_when_there_is_room_elsewhere() {
        let history =
            History::dsl("0: write x 123456789 @0..1; 1: write x 123456789 @9000..9001").unwrap();
        let scene = Scene::new(&history);
        let ops: Vec<&Op<'_>> = scene.ops.iter().collect();
        let at = Layout::new(Frame::Narrow, 60.0);
        let axis = Axis::around(&intervals(&ops), at.time(), 1e6);
        let cut = axis.cuts()[0];
        for bar in place(&mut rows(&ops), &ops, Style::default(), &axis, &at) {
            let (from, to) = (bar.text_x, bar.text_x + width(&bar.label));
            assert!(to <= cut || cut <= from, "{from} to {to}, cut at {cut}");
        }
    }
}
