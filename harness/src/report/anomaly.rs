//! One anomaly as it is shown: its sentence, what mends it, the picture and the table of its operations.

use super::escape;
use super::headline;
use super::op_picture;
use super::op_words;
use super::scene::Scene;
use super::words;
use schism_checkers::verdict::Anomaly;
use schism_history::Op;
use serde_json::Value;

/// Rows of the table; a picture has fewer.
const ROWS_MAX: usize = 60;

/// An anomaly, ready for the template.
#[derive(Debug)]
pub(super) struct AnomalyView {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) message: String,
    pub(super) mend: String,
    pub(super) figures: Vec<(String, String)>,
    /// SVG, or empty.
    pub(super) picture: String,
    pub(super) rows: Vec<OpRow>,
    pub(super) has_keys: bool,
    pub(super) has_terms: bool,
    pub(super) unit: &'static str,
    /// What is missing from picture and table, and why.
    pub(super) notes: Vec<String>,
}

/// One operation in the table.
#[derive(Debug)]
pub(super) struct OpRow {
    pub(super) index: u64,
    pub(super) process: String,
    pub(super) f: String,
    pub(super) is_final: bool,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) whole: String,
    pub(super) node: String,
    pub(super) term: String,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) took: String,
    pub(super) outcome: String,
    pub(super) error: String,
    /// Class of the style sheet: `ok`, `fail`, `info`.
    pub(super) class: &'static str,
}

/// Turns an anomaly into words and a picture; `id` is unique in the page.
pub(super) fn view(scene: &Scene<'_>, anomaly: &Anomaly, number: usize, id: &str) -> AnomalyView {
    let ops: Vec<&Op<'_>> = anomaly
        .operations
        .iter()
        .filter_map(|&i| scene.op(i))
        .collect();
    let focus = op_words::focus(anomaly, &ops).cloned();
    let title = format!("Operations of anomaly {number}, {}", anomaly.name);
    let decimals = decimals(scene, &ops);
    let rows: Vec<OpRow> = ops
        .iter()
        .take(ROWS_MAX)
        .map(|op| row(scene, op, focus.as_ref(), decimals))
        .collect();
    AnomalyView {
        number,
        name: escape::shorten(&anomaly.name, 80),
        message: escape::shorten(&anomaly.message, 2000),
        mend: escape::shorten(&anomaly.mend, 1000),
        figures: headline::figures(&Value::Object(anomaly.details.clone()), &[]),
        picture: op_picture::draw(scene, &ops, focus.as_ref(), id, &title),
        has_keys: rows.iter().any(|r| !r.key.is_empty()),
        has_terms: rows.iter().any(|r| !r.term.is_empty()),
        unit: scene.unit().0,
        notes: notes(scene, anomaly, &ops),
        rows,
    }
}

fn notes(scene: &Scene<'_>, anomaly: &Anomaly, ops: &[&Op<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    let missing: Vec<String> = anomaly
        .operations
        .iter()
        .filter(|&&i| scene.op(i).is_none())
        .map(u64::to_string)
        .collect();
    if !missing.is_empty() {
        let few = missing
            .iter()
            .take(10)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let more = if missing.len() > 10 { ", …" } else { "" };
        notes.push(format!(
            "{} named here and not in this history, left out: index {few}{more}.",
            words::plural(missing.len() as u64, "operation")
        ));
    }
    if ops.len() > op_picture::DRAWN_MAX {
        notes.push(format!(
            "The picture shows the first {} of {} operations.",
            op_picture::DRAWN_MAX,
            ops.len()
        ));
    }
    if ops.len() > ROWS_MAX {
        notes.push(format!(
            "The table lists the first {ROWS_MAX} of {} operations.",
            ops.len()
        ));
    }
    notes
}

/// Decimals of a time that keep the shortest operation's start and end apart.
fn decimals(scene: &Scene<'_>, ops: &[&Op<'_>]) -> usize {
    let ends = ops.iter().filter(|op| !op.end().is_infinite());
    let shortest = ends
        .map(|op| op.end().since(op.start()))
        .filter(|&ns| ns > 0)
        .min();
    let (_, unit_ns) = scene.unit();
    let needed = shortest.map_or(3.0, |ns| (unit_ns / ns as f64).log10().ceil() + 1.0);
    let most = unit_ns.log10();
    needed.clamp(3.0f64.min(most), most.min(6.0)) as usize
}

fn row(scene: &Scene<'_>, op: &Op<'_>, focus: Option<&Value>, decimals: usize) -> OpRow {
    let (_, ns) = scene.unit();
    let time = |t: schism_history::Time| format!("{:.decimals$}", t.0 as f64 / ns);
    let value = op_words::cell(op, focus);
    let (outcome, error) = op_words::outcome(op);
    let infinite = op.end().is_infinite();
    let waited = op
        .completion
        .map(|c| words::duration(c.time.since(op.start()) as f64));
    let process = op.process().to_string();
    OpRow {
        index: op.index(),
        process: process.trim_start_matches("process ").to_owned(),
        f: escape::shorten(op.f(), 40),
        is_final: op.is_final(),
        key: op_words::key(op),
        value: value.text,
        whole: value.whole,
        node: op_words::node(op)
            .map(|n| escape::shorten(&n.0, 40))
            .unwrap_or_default(),
        term: op_words::term(op)
            .map(|t| t.to_string())
            .unwrap_or_default(),
        start: time(op.start()),
        end: if infinite {
            "?".to_owned()
        } else {
            time(op.end())
        },
        took: match waited {
            Some(waited) if infinite => format!(">{waited}"),
            Some(waited) => waited,
            None => "–".to_owned(),
        },
        outcome,
        error,
        class: match op.outcome() {
            schism_history::Outcome::Ok => "ok",
            schism_history::Outcome::Fail => "fail",
            schism_history::Outcome::Info => "info",
        },
    }
}
