//! The picture of an anomaly: its operations as bars on a real time axis, a row a process, the faults behind them.
//!
//! As in Porcupine's and Elle's drawings a bar runs from invocation to completion. A bar whose outcome nobody knows runs out of
//! the picture and fades. Every label has a place of its own: inside its bar, beside it, or on a further line of its row.

use super::axis::Axis;
use super::op_words;
use super::scene::{Fault, Scene};
use super::svg::{Anchor, Lanes, Svg, fit, width};
use schism_history::{Op, Outcome};
use serde_json::Value;

const WIDTH: f64 = 860.0;
const GUTTER: f64 = 132.0;
const RIGHT: f64 = WIDTH - 14.0;
const LINE: f64 = 30.0;
const BAR: f64 = 20.0;
const BAND_LINE: f64 = 17.0;
const BAND_LINES_MAX: usize = 4;
const BAR_WIDTH_MIN: f64 = 5.0;
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

/// Draws operations; `id` is unique in the page. Empty when there is nothing to draw.
pub(super) fn draw(
    scene: &Scene<'_>,
    ops: &[&Op<'_>],
    focus: Option<&Value>,
    id: &str,
    title: &str,
) -> String {
    if ops.is_empty() {
        return String::new();
    }
    let mut ops: Vec<&Op<'_>> = ops.iter().take(DRAWN_MAX).copied().collect();
    ops.sort_by_key(|op| (op.start(), op.index()));
    let axis = Axis::around(&intervals(&ops), (GUTTER, RIGHT), scene.unit().1);
    let (rows, bars) = place(&ops, focus, &axis);

    let mut svg = Svg::default();
    let faults = in_sight(scene, &axis);
    let (bands, lanes) = band_labels(scene, &faults, &axis);
    let top = 8.0 + BAND_LINE * lanes as f64;
    let height: f64 = rows.iter().map(|r| r.lines.len() as f64 * LINE).sum();
    let bottom = top + height + 4.0;
    draw_bands(&mut svg, scene, &faults, &axis, (2.0, bottom));
    for (x, lane, text) in bands {
        svg.text(
            (x, 14.0 + BAND_LINE * lane as f64),
            Anchor::Start,
            "t-band",
            &text,
        );
    }
    let tops = draw_rows(&mut svg, &rows, top);
    draw_axis(&mut svg, scene, &axis, (top, bottom));
    for bar in &bars {
        draw_bar(&mut svg, bar, tops[bar.row] + bar.line as f64 * LINE, id);
    }
    let desc = ops
        .iter()
        .map(|op| op_words::sentence(op))
        .collect::<Vec<_>>()
        .join("; ");
    svg.finish(
        id,
        (WIDTH, bottom + 24.0),
        title,
        &super::escape::shorten(&desc, 1500),
    )
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

fn place<'a, 'h>(
    ops: &[&'a Op<'h>],
    focus: Option<&Value>,
    axis: &Axis,
) -> (Vec<Row>, Vec<Bar<'a, 'h>>) {
    let mut rows: Vec<Row> = Vec::new();
    let mut bars = Vec::with_capacity(ops.len());
    for &op in ops {
        let row = rows
            .iter()
            .position(|r| r.process == op.process())
            .unwrap_or_else(|| {
                let name = row_name(ops, op);
                rows.push(Row {
                    process: op.process(),
                    name,
                    lines: vec![Vec::new()],
                });
                rows.len() - 1
            });
        let x0 = axis.x(op.start().0 as f64);
        let end = if op.end().is_infinite() {
            RIGHT
        } else {
            axis.x(op.end().0 as f64)
        };
        let x1 = end.max(x0 + BAR_WIDTH_MIN).min(WIDTH - 4.0);
        let label = fit(&op_words::label(op, focus), (RIGHT - GUTTER) / 2.0 - 20.0);
        let (line, text_x) = find_room(&mut rows[row].lines, (x0, x1), width(&label));
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
    (rows, bars)
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
        Some(node) => format!("{} · {node}", short(of)),
        None => short(of),
    }
}

fn short(op: &Op<'_>) -> String {
    match op.process() {
        schism_history::Process::Client(n) => format!("p{n}"),
        schism_history::Process::Nemesis => "nemesis".to_owned(),
    }
}

/// The first line of a row where bar and label fit: inside the bar, else right of it, else left of it.
fn find_room(lines: &mut Vec<Vec<(f64, f64)>>, (x0, x1): (f64, f64), text: f64) -> (usize, f64) {
    let inside = x1 - x0 >= text + 10.0;
    for line in 0.. {
        if line == lines.len() {
            lines.push(Vec::new());
        }
        let choices = if inside {
            vec![(x0, x1, x0 + 5.0)]
        } else {
            vec![
                (x0, x1 + 6.0 + text, x1 + 6.0),
                (x0 - 6.0 - text, x1, x0 - 6.0 - text),
            ]
        };
        for (from, to, text_x) in choices {
            let free = lines[line]
                .iter()
                .all(|&(a, b)| to + 4.0 < a || b + 4.0 < from);
            let last_resort = line > DRAWN_MAX;
            if last_resort || (free && from >= GUTTER - 2.0 && to <= WIDTH - 4.0) {
                lines[line].push((from, to));
                return (line, text_x);
            }
        }
    }
    (0, x0)
}

/// The faults that are in force at some time that the axis shows.
fn in_sight<'s>(scene: &'s Scene<'_>, axis: &Axis) -> Vec<&'s Fault> {
    let (from, to) = axis.shown();
    let seen = |f: &&Fault| (f.inject.0 as f64) < to && scene.finite(f.end()) > from;
    scene.faults.iter().filter(seen).collect()
}

/// A fault's stretch in pixels, at least visible.
fn band(scene: &Scene<'_>, fault: &Fault, axis: &Axis) -> (f64, f64) {
    let x0 = axis.x(fault.inject.0 as f64);
    let end = if fault.end().is_infinite() {
        f64::INFINITY
    } else {
        scene.finite(fault.end())
    };
    (x0, axis.x(end).max(x0 + 2.0))
}

fn band_labels(
    scene: &Scene<'_>,
    faults: &[&Fault],
    axis: &Axis,
) -> (Vec<(f64, usize, String)>, usize) {
    let mut lanes = Lanes::default();
    let mut labels = Vec::new();
    for fault in faults {
        let (x0, _) = band(scene, fault, axis);
        let text = fit(&fault_label(scene, fault), RIGHT - GUTTER);
        let x = (x0 + 4.0).min(RIGHT - width(&text));
        if let Some(lane) = lanes.place(x, width(&text), BAND_LINES_MAX) {
            labels.push((x, lane, text));
        }
    }
    (labels, lanes.len())
}

fn fault_label(scene: &Scene<'_>, fault: &Fault) -> String {
    let (unit, ns) = scene.unit();
    let end = match fault.end() {
        end if end.is_infinite() => "end".to_owned(),
        end => format!("{:.2} {unit}", end.0 as f64 / ns),
    };
    format!("{} ({:.2}–{end})", fault.name(), fault.inject.0 as f64 / ns)
}

fn draw_bands(
    svg: &mut Svg,
    scene: &Scene<'_>,
    faults: &[&Fault],
    axis: &Axis,
    (top, bottom): (f64, f64),
) {
    for fault in faults {
        let (x0, x1) = band(scene, fault, axis);
        svg.open(&format!("{}: {}", fault_label(scene, fault), fault.what));
        svg.rect((x0, top), (x1 - x0, bottom - top), "band");
        svg.line((x0, top), (x0, bottom), "band-edge");
        svg.close();
    }
}

fn draw_rows(svg: &mut Svg, rows: &[Row], top: f64) -> Vec<f64> {
    let mut y = top;
    let mut tops = Vec::with_capacity(rows.len());
    for row in rows {
        tops.push(y);
        let height = row.lines.len() as f64 * LINE;
        svg.open(&row.name);
        svg.text(
            (GUTTER - 12.0, y + 19.0),
            Anchor::End,
            "t-row",
            &fit(&row.name, GUTTER - 14.0),
        );
        svg.close();
        y += height;
        svg.line((4.0, y), (RIGHT, y), "rule");
    }
    tops
}

fn draw_axis(svg: &mut Svg, scene: &Scene<'_>, axis: &Axis, (top, bottom): (f64, f64)) {
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
    for tick in axis.ticks(width) {
        svg.line((tick.x, bottom), (tick.x, bottom + 4.0), "axis");
        let half = width(&tick.label) / 2.0;
        let x = tick.x.clamp(GUTTER - 8.0 + half, WIDTH - 2.0 - half);
        svg.text((x, bottom + 17.0), Anchor::Middle, "t-tick", &tick.label);
    }
    svg.text(
        (GUTTER - 12.0, bottom + 17.0),
        Anchor::End,
        "t-tick",
        &format!("time, {}", scene.unit().0),
    );
}

fn draw_bar(svg: &mut Svg, bar: &Bar<'_, '_>, top: f64, id: &str) {
    let y = top + (LINE - BAR) / 2.0;
    let size = (bar.x1 - bar.x0, BAR);
    svg.open(&op_words::sentence(bar.op));
    match bar.op.outcome() {
        Outcome::Ok => svg.rect((bar.x0, y), size, "bar ok"),
        Outcome::Fail => svg.rect((bar.x0, y), size, "bar fail"),
        Outcome::Info => draw_open(svg, bar, y, id),
    }
    svg.text((bar.text_x, y + 14.0), Anchor::Start, "t-op", &bar.label);
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

    #[test]
    fn unknown_outcomes_run_out_of_the_picture_and_far_operations_stay_wide() {
        let history = History::dsl(
            "0: add s 17 @6000..6002 node=n1; 1: add s 18 @6001..?; 2: read s [1] @20000..20003 final node=n2",
        )
        .unwrap();
        let scene = Scene::new(&history);
        let ops: Vec<&Op<'_>> = scene.ops.iter().collect();
        let svg = draw(&scene, &ops, None, "p", "title");
        assert!(svg.contains("add 17 ok") && svg.contains("add 18 ?"));
        assert!(svg.contains("url(#p-f)") && svg.contains(r#"class="cut""#));
        assert!(draw(&scene, &[], None, "p", "").is_empty());
    }

    #[test]
    fn labels_of_one_row_never_overlap() {
        let text: Vec<String> = (0..30)
            .map(|i| format!("0: write x {} @{}..{}", 1_000_000 + i, i * 2, i * 2 + 1))
            .collect();
        let history = History::dsl(&text.join(";")).unwrap();
        let scene = Scene::new(&history);
        let ops: Vec<&Op<'_>> = scene.ops.iter().collect();
        let axis = Axis::around(&intervals(&ops), (GUTTER, RIGHT), 1e6);
        let (_, bars) = place(&ops, None, &axis);
        for (i, a) in bars.iter().enumerate() {
            assert!(a.text_x >= GUTTER - 4.0 && a.text_x + width(&a.label) <= WIDTH);
            for b in &bars[i + 1..] {
                let apart = a.text_x + width(&a.label) <= b.text_x
                    || b.text_x + width(&b.label) <= a.text_x;
                assert!(apart || a.line != b.line, "{} and {}", a.label, b.label);
            }
        }
    }
}
