//! `convergence`: after recovery all replicas hold the same.
//!
//! The final reads are each replica's own state, taken after every fault was healed and the target had said that it had recovered. They must
//! be equal for every key. One difference is no proof: a request whose outcome is unknown may still have been on its way and have
//! landed between two of the reads. Where that could explain a difference, the verdict is `unknown`.

use crate::findings::{Findings, anomaly};
use crate::verdict::PropertyResult;
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The property.
pub(super) struct Convergence;

const MEND: &str = "Make replicas exchange what they lack (log matching with truncation of what no quorum has, anti-entropy), and \
                    settle conflicts by one rule that all apply (consensus on the order, or a commutative merge).";

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

    fn check(&self, history: &Prepared<'_>, _: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let recovered = history
            .driver
            .recovery
            .is_none_or(|e| e.value["recovered"].as_bool() == Some(true));
        for keyed in &history.keys {
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
            let groups = by_state(&read);
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

/// Replicas by what they hold; lists are compared without regard to order.
type Groups<'p> = BTreeMap<BTreeSet<String>, Vec<&'p Op<'p>>>;

fn by_state<'p>(reads: &[&'p Op<'p>]) -> Groups<'p> {
    let mut groups: Groups<'p> = BTreeMap::new();
    for op in reads {
        let state = match op.result() {
            Some(Value::Array(elements)) => elements.iter().map(Value::to_string).collect(),
            Some(Value::Null) | None => BTreeSet::new(),
            Some(value) => BTreeSet::from([value.to_string()]),
        };
        groups.entry(state).or_default().push(op);
    }
    groups
}

/// Whether requests of unknown outcome, landing between the reads, could have made the difference.
fn may_be_late(history: &Prepared<'_>, keyed: &Keyed<'_>, groups: &Groups<'_>) -> bool {
    let open = keyed
        .ops
        .iter()
        .map(|&i| &history.ops[i])
        .filter(|op| op.outcome() == Outcome::Info);
    let late: BTreeSet<String> = open
        .filter_map(|op| match op.f() {
            "write" | "add" => Some(op.argument().to_string()),
            "cas" => Some(op.argument()[1].to_string()),
            _ => None,
        })
        .collect();
    if keyed.shape == Shape::Register {
        // All but the oldest state must have come late.
        return groups
            .keys()
            .filter(|state| !state.is_subset(&late) || state.is_empty())
            .count()
            < 2;
    }
    let mut without_late = groups
        .keys()
        .map(|state| state.difference(&late).collect::<BTreeSet<_>>());
    let first = without_late.next();
    without_late.all(|state| Some(&state) == first.as_ref())
}

fn differ(keyed: &Keyed<'_>, groups: &Groups<'_>, findings: &mut Findings) {
    findings.violate(|| {
        let mut largest: Vec<(&BTreeSet<String>, &Vec<&Op<'_>>)> = groups.iter().collect();
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
        let anomaly = anomaly("diverged", operations, message, MEND);
        match keyed.key {
            Some(key) => anomaly.with("key", key.to_string()),
            None => anomaly,
        }
    });
}

/// `n1 and n3 hold 7`.
fn holds(shape: Shape, state: &BTreeSet<String>, ops: &[&Op<'_>]) -> String {
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
fn example(a: &BTreeSet<String>, b: &BTreeSet<String>) -> String {
    let only = |x: &BTreeSet<String>, y: &BTreeSet<String>| x.difference(y).next().cloned();
    match (only(a, b), only(b, a)) {
        (Some(one), None) => format!(" (only the former has {one})"),
        (None, Some(one)) => format!(" (only the latter has {one})"),
        (Some(one), Some(other)) => {
            format!(" (only the former has {one}, only the latter {other})")
        }
        (None, None) => String::new(),
    }
}
