//! `linearizable`: every operation takes effect at one moment between its invocation and its completion.
//!
//! Herlihy and Wing 1990, for registers with reads, writes and compare-and-sets. The property is local, so each key is searched alone
//! ([`crate::linearize`]). A violation is cut down to its shortest failing prefix, then to a set of operations that is a violation by
//! itself: a write is only left out together with those who saw its value, so that what is left still needs no other operation.

use crate::findings::{Advice, Findings, anomaly};
use crate::linearize::{Linearization, linearize};
use crate::register::{Action, Register, RegisterOp};
use crate::search::{Found, search};
use crate::stream::{Fold, Windows};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Outcome, Time};

/// The property.
pub(super) struct Linearizable;

pub(crate) const ADVICE: Advice = Advice {
    cause: "Reads from a replica that lags or from a deposed leader, writes that were acknowledged and then lost, or two leaders at once.",
    mend: "Let all reads and writes of a key go through one order that a majority agrees on: ack=majority with \
                    failover=consensus, and reads that confirm the leader (read=leader-quorum).",
};

impl Property for Linearizable {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn summary(&self) -> &'static str {
        "every operation takes effect at one moment between its invocation and its completion"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Register)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        for keyed in history.keys_of(Shape::Register) {
            let register = Register::new(history, keyed);
            if let Some(why) = &register.strange {
                findings.doubt(|| why.clone());
            }
            findings.checked(register.ops.len());
            match linearize(&register.ops, register.values.len(), budget) {
                Linearization::Exists => {}
                Linearization::Impossible(places) => {
                    findings.violate(|| explain(history, keyed, &register, &places, budget));
                }

                Linearization::OutOf(what, place) => findings.doubt(|| {
                    let at = register.ops.get(place).map_or_else(String::new, |op| {
                        format!(", at {}", words::noun(history.op(op)))
                    });
                    format!(
                        "{}: the search ran out of {what}{at}",
                        words::key(keyed.key)
                    )
                }),
            }
        }
        findings.result()
    }

    fn stream<'s>(&self, survey: &'s Prepared<'_>) -> Option<Box<dyn Fold<'s> + 's>> {
        Some(Box::new(Windows::new(survey)))
    }
}

/// How many operations a sentence names.
const SAID: usize = 8;

/// `places` are known to be a violation by themselves; none: all of them together are.
fn explain(
    history: &Prepared<'_>,
    keyed: &Keyed<'_>,
    register: &Register<'_>,
    places: &[usize],
    budget: &Budget<'_>,
) -> Anomaly {
    let alone: Vec<RegisterOp> = places.iter().map(|place| register.ops[*place]).collect();
    let suspects = if alone.is_empty() {
        &register.ops
    } else {
        &alone
    };
    let core = minimal(suspects, register.values.len(), budget);
    let noun = |op: &RegisterOp| words::noun(history.op(op));
    let mut said: Vec<String> = core.iter().take(SAID).map(noun).collect();
    if core.len() > SAID {
        said.push(format!("{} more", core.len() - SAID));
    }
    let key = words::key(keyed.key);
    let message = match core.as_slice() {
        [seer] if seer.action.needs().is_some() => {
            let refused = refused_writer(history, keyed, register, seer);
            let why = refused.map_or_else(String::new, |op| {
                format!(": {} was definitely refused", words::noun(op))
            });
            format!(
                "{} of {key} saw a value that nobody had written by then{why}.",
                said[0]
            )
        }
        _ => format!(
            "No order of these operations on {key} fits their times and values: {}.",
            words::list(&said)
        ),
    };
    let operations = core.iter().map(|op| history.op(op).index()).collect();
    anomaly("not-linearizable", operations, message, &ADVICE).with("key", key)
}

/// A write of the value that this operation saw, which was definitely refused.
fn refused_writer<'p>(
    history: &'p Prepared<'_>,
    keyed: &Keyed<'_>,
    register: &Register<'_>,
    seer: &RegisterOp,
) -> Option<&'p Op<'p>> {
    let value = register.values.value(seer.action.needs()?);
    let ops = keyed.ops.iter().map(|&i| &history.ops[i]);
    let mut refused = ops.filter(|op| op.outcome() == Outcome::Fail);
    refused.find(|op| match op.f() {
        "write" => op.argument() == value,
        "cas" => op.argument().get(1) == Some(value),
        _ => false,
    })
}

/// A smallest set of operations, as far as leaving out one group after another finds it, that no order explains.
fn minimal(ops: &[RegisterOp], values: usize, budget: &Budget<'_>) -> Vec<RegisterOp> {
    let fails = |ops: &[RegisterOp]| {
        !budget.is_exhausted() && search(ops, values, budget) == Found::Nothing
    };
    let mut core = failing_prefix(ops, &fails);
    // Refused compare-and-sets depend on which writes happened between, so writes may only be left out when there are none.
    let without: Vec<RegisterOp> = core
        .iter()
        .filter(|op| !matches!(op.action, Action::Refused(_)))
        .copied()
        .collect();
    let pure = fails(&without);
    if pure {
        core = without;
    }
    let mut size = core.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < core.len() {
            let fewer = leave_out(&core, at, size, pure);
            if fewer.len() < core.len() && fails(&fewer) {
                core = fewer;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    core
}

/// What was known at the earliest moment by which it already failed: later ends are unknown, later reads are not there.
fn failing_prefix(ops: &[RegisterOp], fails: &impl Fn(&[RegisterOp]) -> bool) -> Vec<RegisterOp> {
    let mut moments: Vec<Time> = ops
        .iter()
        .map(|op| op.end)
        .filter(|end| !end.is_infinite())
        .collect();
    moments.sort_unstable();
    moments.dedup();
    let (mut passing, mut failing) = (0, moments.len());
    while failing - passing > 1 {
        let middle = usize::midpoint(passing, failing);
        if fails(&known_at(ops, moments[middle - 1])) {
            failing = middle;
        } else {
            passing = middle;
        }
    }
    let prefix = moments
        .get(failing.wrapping_sub(1))
        .map(|at| known_at(ops, *at));
    prefix.filter(|p| fails(p)).unwrap_or_else(|| ops.to_vec())
}

fn known_at(ops: &[RegisterOp], at: Time) -> Vec<RegisterOp> {
    let begun = ops.iter().take_while(|op| op.start <= at);
    let known = begun.filter(|op| op.end <= at || op.action.writes().is_some());
    known
        .map(|op| RegisterOp {
            end: if op.end <= at { op.end } else { Time::INFINITY },
            ..*op
        })
        .collect()
}

/// Without `size` operations from `at` on, and without all that saw the values that those wrote, transitively.
fn leave_out(ops: &[RegisterOp], at: usize, size: usize, writes_too: bool) -> Vec<RegisterOp> {
    let mut out: Vec<bool> = (0..ops.len())
        .map(|i| (at..at + size).contains(&i))
        .collect();
    if !writes_too {
        (0..ops.len()).for_each(|i| out[i] &= ops[i].action.writes().is_none());
    }
    loop {
        let gone: std::collections::BTreeSet<_> = (0..ops.len())
            .filter(|i| out[*i])
            .filter_map(|i| ops[i].action.writes())
            .collect();
        let orphan =
            |i: &usize| !out[*i] && ops[*i].action.needs().is_some_and(|v| gone.contains(&v));
        let orphans: Vec<usize> = (0..ops.len()).filter(orphan).collect();
        if orphans.is_empty() {
            break;
        }
        for i in orphans {
            out[i] = true;
        }
    }
    (0..ops.len())
        .filter(|i| !out[*i])
        .map(|i| ops[i])
        .collect()
}
