//! `convergence`: after recovery all replicas hold the same.
//!
//! The final reads are each replica's own state, taken after every fault was healed and the target had said that it had recovered. They must
//! be equal for every key. One difference is no proof: a request whose outcome is unknown may still have been on its way and have
//! landed between two of the reads. Where that could explain a difference, the verdict is `unknown`.

use crate::findings::{Advice, Findings, anomaly};
use crate::verdict::PropertyResult;
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Outcome, Time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The property.
pub(super) struct Convergence;

const ADVICE: Advice = Advice {
    cause: "A replica missed changes (a gap after a restart, a snapshot without its position, a lost hint) and nothing brings them later, or replicas settle the same conflict differently.",
    mend: "Make replicas exchange what they lack (log matching with truncation of what no quorum has, anti-entropy), and \
                    settle conflicts by one rule that all apply (consensus on the order, or a commutative merge).",
};

impl Property for Convergence {
    fn name(&self) -> &'static str {
        "convergence"
    }

    fn summary(&self) -> &'static str {
        "after recovery the final reads of all replicas are equal, for every key"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.ops.iter().any(|op| is_final_read(op))
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let recovered = history.recovered();
        for (done, keyed) in history.keys.iter().enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let finals: Vec<&Op<'_>> = keyed
                .ops
                .iter()
                .map(|&i| &history.ops[i])
                .filter(|op| is_final_read(op))
                .collect();
            let (read, silent): (Vec<&Op<'_>>, Vec<&Op<'_>>) =
                finals.into_iter().partition(|op| op.is_ok());
            findings.checked(read.len());
            for op in silent {
                findings.doubt(|| {
                    format!(
                        "{} was not answered: a replica is not known",
                        words::noun(op)
                    )
                });
            }
            if !recovered {
                continue;
            }
            let groups = by_state(is_set(history, keyed), &read, budget);
            if findings.out_of_time(budget, || {
                format!("in the final reads of {}", words::key(keyed.key))
            }) {
                break;
            }
            if groups.len() < 2 {
                continue;
            }
            if may_be_late(history, keyed, &groups) {
                findings.doubt(|| {
                    let name = words::key(keyed.key);
                    format!("replicas differ in {name} by writes whose outcome is unknown: they may have landed between the reads")
                });
            } else {
                differ(keyed, &groups, &mut findings);
            }
        }
        if !recovered {
            findings
                .doubt(|| "the target had not recovered when its replicas were read".to_owned());
        }
        findings.result()
    }
}

fn is_final_read(op: &Op<'_>) -> bool {
    op.f() == "read" && op.is_final()
}

/// What a replica holds: one value, or the elements of a set, sorted, each as often as it is there.
type State = Vec<String>;
/// Replicas by what they hold.
type Groups<'p> = BTreeMap<State, Vec<&'p Op<'p>>>;

/// Not of all where the time is up.
fn by_state<'p>(unordered: bool, reads: &[&'p Op<'p>], budget: &Budget<'_>) -> Groups<'p> {
    let mut groups: Groups<'p> = BTreeMap::new();
    for op in reads.iter().take_while(|_| !budget.is_exhausted()) {
        let mut state: State = match op.result() {
            Some(Value::Array(elements)) if unordered => {
                elements.iter().map(Value::to_string).collect()
            }
            Some(Value::Null) | None => Vec::new(),
            Some(value) => vec![value.to_string()],
        };
        state.sort_unstable();
        groups.entry(state).or_default().push(op);
    }
    groups
}

/// Whether lists read from this key are sets, whose order says nothing.
fn is_set(history: &Prepared<'_>, keyed: &Keyed<'_>) -> bool {
    let only = |f: &str| matches!(f, "add" | "remove" | "read");
    keyed.shape == Shape::Set || keyed.ops.iter().all(|&i| only(history.ops[i].f()))
}

/// Whether requests that may have landed between the reads could have made the difference: those of unknown outcome, and those that were
/// still in flight when the first replica was read.
fn may_be_late(history: &Prepared<'_>, keyed: &Keyed<'_>, groups: &Groups<'_>) -> bool {
    let first = groups
        .values()
        .flatten()
        .map(|op| op.start())
        .min()
        .unwrap_or(Time::INFINITY);
    let ops = keyed.ops.iter().map(|&i| &history.ops[i]);
    let changes = |op: &&Op<'_>| op.f() != "read" && op.outcome() != Outcome::Fail;
    let late: Vec<&Op<'_>> = ops.filter(changes).filter(|op| op.end() >= first).collect();
    match keyed.shape {
        Shape::Register => {
            let written = |op: &&Op<'_>| match (op.f(), op.argument()) {
                ("cas", Value::Array(pair)) => pair.get(1).cloned().unwrap_or_default(),
                (_, value) => value.clone(),
            };
            let late: BTreeSet<State> = late.iter().map(|op| one(&written(op))).collect();
            // All but the oldest state must have come late.
            groups.keys().filter(|state| !late.contains(*state)).count() < 2
        }
        Shape::Set => {
            let late: BTreeSet<String> = late.iter().map(|op| op.argument().to_string()).collect();
            let without = |state: &State| -> State {
                state
                    .iter()
                    .filter(|e| !late.contains(*e))
                    .cloned()
                    .collect()
            };
            groups.keys().map(without).collect::<BTreeSet<_>>().len() < 2
        }
        // What such a request does, nobody here knows.
        _ => !late.is_empty(),
    }
}

fn one(value: &Value) -> State {
    if value.is_null() {
        Vec::new()
    } else {
        vec![value.to_string()]
    }
}

fn differ(keyed: &Keyed<'_>, groups: &Groups<'_>, findings: &mut Findings) {
    findings.violate(|| {
        let mut largest: Vec<(&State, &Vec<&Op<'_>>)> = groups.iter().collect();
        largest.sort_by_key(|(_, ops)| (std::cmp::Reverse(ops.len()), ops[0].index()));
        let said: Vec<String> = largest
            .iter()
            .map(|(state, ops)| holds(keyed.shape, state, ops))
            .collect();
        let mut operations: Vec<u64> = largest.iter().map(|(_, ops)| ops[0].index()).collect();
        operations.sort_unstable();
        let difference = match largest.as_slice() {
            [(a, _), (b, _)] if keyed.shape == Shape::Set => example(a, b),
            _ => String::new(),
        };
        let name = words::key(keyed.key);
        let message = format!(
            "After recovery the replicas differ in {name}: {}{difference}.",
            words::list(&said)
        );
        let anomaly = anomaly("diverged", operations, message, &ADVICE);
        match keyed.key {
            Some(key) => anomaly.with("key", key.to_string()),
            None => anomaly,
        }
    });
}

/// `n1 and n3 hold 7`.
fn holds(shape: Shape, state: &State, ops: &[&Op<'_>]) -> String {
    let who: Vec<String> = ops
        .iter()
        .map(|op| words::node(op).map_or_else(|| op.process().to_string(), ToString::to_string))
        .collect();
    let what = match (shape, state.first()) {
        (Shape::Set, _) => words::plural(state.len(), "element"),
        (_, None) => "nothing".to_owned(),
        (_, Some(value)) => value.clone(),
    };
    let verb = if who.len() == 1 { "holds" } else { "hold" };
    format!("{} {verb} {what}", words::list(&who))
}

/// One element that only one side has.
fn example(a: &State, b: &State) -> String {
    let only = |x: &State, y: &State| x.iter().find(|e| y.binary_search(e).is_err()).cloned();
    match (only(a, b), only(b, a)) {
        (Some(one), None) => format!(" (only the former has {one})"),
        (None, Some(one)) => format!(" (only the latter has {one})"),
        (Some(one), Some(other)) => {
            format!(" (only the former has {one}, only the latter {other})")
        }
        (None, None) => " (the same ones, but not as often)".to_owned(),
    }
}
