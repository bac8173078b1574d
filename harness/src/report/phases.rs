//! Figures by phase of the run: before, during, between and after the faults, and the final reads; and by function.

use super::samples::quantile;
use super::scene::Scene;
use super::words;
use schism_history::{Op, Outcome, Time};
use std::collections::BTreeMap;

/// Figures of one group of operations, ready to be shown.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: String,
    /// How long the phase was, `–` where that means nothing.
    pub(super) lasted: String,
    pub(super) attempts: String,
    pub(super) ok: String,
    pub(super) fail: String,
    pub(super) info: String,
    /// Share of attempts that succeeded.
    pub(super) share: String,
    pub(super) rate: String,
    /// p50, p95, p99, max of the successful ones.
    pub(super) latency: [String; 4],
}

/// Where in the run an operation lies, by its invocation; in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Before,
    During,
    Between,
    After,
    Final,
}

impl Phase {
    fn name(self, faults: bool) -> &'static str {
        match self {
            Self::Before if !faults => "the whole run",
            Self::Before => "before the first fault",
            Self::During => "during faults",
            Self::Between => "between faults",
            Self::After => "after the last heal",
            Self::Final => "final reads",
        }
    }
}

fn phase_at(scene: &Scene<'_>, time: Time) -> Phase {
    let faults = &scene.faults;
    match faults.first() {
        None => Phase::Before,
        Some(first) if time < first.inject => Phase::Before,
        Some(_) if faults.iter().any(|f| f.in_force(time)) => Phase::During,
        Some(_) if faults.iter().all(|f| f.inject <= time) => Phase::After,
        Some(_) => Phase::Between,
    }
}

/// A row a phase that has operations, and one for all.
pub(super) fn by_phase(scene: &Scene<'_>) -> Vec<Row> {
    let mut groups: BTreeMap<Phase, Vec<&Op<'_>>> = BTreeMap::new();
    for op in &scene.ops {
        let phase = if op.is_final() {
            Phase::Final
        } else {
            phase_at(scene, op.start())
        };
        groups.entry(phase).or_default().push(op);
    }
    let lasted = lengths(scene);
    let faults = !scene.faults.is_empty();
    let mut rows: Vec<Row> = groups
        .iter()
        .map(|(phase, ops)| row(phase.name(faults), ops, lasted.get(phase).copied()))
        .collect();
    if rows.len() > 1 {
        let all: Vec<&Op<'_>> = scene.ops.iter().collect();
        rows.push(row("all", &all, None));
    }
    rows
}

/// Functions that have a row.
const FUNCTIONS_MAX: usize = 30;

/// A row a function.
pub(super) fn by_function(scene: &Scene<'_>) -> Vec<Row> {
    let mut groups: BTreeMap<String, Vec<&Op<'_>>> = BTreeMap::new();
    for op in &scene.ops {
        let suffix = if op.is_final() { " (final)" } else { "" };
        let f = super::escape::shorten(op.f(), 60);
        groups.entry(format!("{f}{suffix}")).or_default().push(op);
    }
    let shown = groups.iter().take(FUNCTIONS_MAX);
    shown.map(|(f, ops)| row(f, ops, None)).collect()
}

/// How often each kind of error came, most frequent first.
pub(super) fn errors(scene: &Scene<'_>) -> Vec<(String, String)> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for op in scene.ops.iter().filter(|op| op.outcome() != Outcome::Ok) {
        let word = if op.outcome() == Outcome::Fail {
            "fail"
        } else {
            "unknown"
        };
        let kind = op.completion.map_or("never answered", |c| {
            c.error_kind().unwrap_or("no error given")
        });
        *counts.entry((word, kind)).or_default() += 1;
    }
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    let text = |((word, kind), n): ((&str, &str), u64)| {
        (
            format!("{word}: {}", super::escape::shorten(kind, 60)),
            words::thousands(n),
        )
    };
    sorted.into_iter().take(20).map(text).collect()
}

/// ns that the clients' part of the run spent in each phase.
fn lengths(scene: &Scene<'_>) -> BTreeMap<Phase, f64> {
    let begin = scene
        .phase("main")
        .or(scene.ops.first().map(Op::start))
        .unwrap_or_default();
    let last = scene
        .ops
        .iter()
        .rev()
        .find(|op| !op.is_final())
        .map(Op::start);
    let end = scene.phase("heal").or(last).unwrap_or(begin);
    let mut edges = vec![begin, end];
    let stages = scene.faults.iter().flat_map(|f| [f.inject, f.end()]);
    edges.extend(stages.filter(|t| begin < *t && *t < end));
    edges.sort_unstable();
    let mut lengths = BTreeMap::new();
    for pair in edges.windows(2) {
        *lengths.entry(phase_at(scene, pair[0])).or_insert(0.0) += pair[1].since(pair[0]) as f64;
    }
    lengths
}

fn row(name: &str, ops: &[&Op<'_>], lasted: Option<f64>) -> Row {
    let count = |outcome: Outcome| ops.iter().filter(|op| op.outcome() == outcome).count() as u64;
    let (ok, all) = (count(Outcome::Ok), ops.len() as u64);
    let mut latencies: Vec<f64> = ops
        .iter()
        .filter(|op| op.is_ok())
        .map(|op| op.end().since(op.start()) as f64)
        .collect();
    latencies.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| quantile(&latencies, q).map_or_else(|| "–".to_owned(), words::duration);
    let lasted = lasted.filter(|ns| *ns > 0.0);
    let rate = lasted.map(|ns| ok as f64 / ns * 1e9);
    Row {
        name: name.to_owned(),
        lasted: lasted.map_or_else(|| "–".to_owned(), words::duration),
        attempts: words::thousands(all),
        ok: words::thousands(ok),
        fail: words::thousands(count(Outcome::Fail)),
        info: words::thousands(count(Outcome::Info)),
        share: words::percent(ok, all),
        rate: rate.map_or_else(
            || "–".to_owned(),
            |r| {
                if r < 10.0 {
                    format!("{r:.1}")
                } else {
                    words::thousands(r as u64)
                }
            },
        ),
        latency: [at(0.5), at(0.95), at(0.99), at(1.0)],
    }
}
