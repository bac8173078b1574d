//! `sequential`: there is one order of all operations that keeps the order of each session, and every read returns the last write of its key.
//!
//! Lamport 1979, for registers with reads, writes and compare-and-sets, all keys together: real time between sessions says nothing, so the property is not
//! local. NP-complete. First what is fast: what is not `causal` or not `pram` is not sequential, and neither is a history where what reads knew before they
//! returned other writes goes round in a circle; what is linearizable key by key is sequential. Then a search under the budget
//! ([`crate::total_order`]); a violation is cut down to a set of operations that is one by itself.
//!
//! Jepsen's `sequential` (cockroachdb/src/jepsen/cockroach/sequential.clj) is accepted as well: a client inserts the parts of a key one after another, and reads
//! ask for them in reverse order, so whoever finds a part must find those that were inserted before it. Of each such read the list (last part first)
//! must have no null after a part. Better than there: a part of a key that nobody wrote is a violation, a key that was written by
//! several is `unknown`, and the write is named.

use super::causal;
use super::pram::{self, said};
use crate::accesses::{Access, Accesses, minimal};
use crate::causality::Causality;
use crate::findings::{Advice, Findings, anomaly};
use crate::total_order::{self, Found};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::Op;
use serde_json::Value;
use std::collections::BTreeMap;

/// The property.
pub(super) struct Sequential;

const ADVICE: Advice = Advice {
    cause: "Keys (or replicas) apply writes in orders of their own, so that sessions see them in orders that do not fit together.",
    mend: "Put the writes of all keys into one order that every replica applies, and let a session read only where all that it saw and wrote is.",
};

impl Property for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "one order of all operations on all keys keeps the order of each session"
    }

    fn only_when_named(&self) -> bool {
        true
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Register) || history.has(Shape::Subkeys)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let late = || "before the operations were put in order".to_owned();
        if findings.out_of_time(budget, late) {
            return findings.result();
        }
        for keyed in history.keys_of(Shape::Subkeys) {
            check_parts(history, keyed, &mut findings, budget);
        }
        let accesses = Accesses::new(history, budget);
        if findings.out_of_time(budget, late) {
            return findings.result();
        }
        for why in &accesses.strange {
            findings.doubt(|| why.clone());
        }
        findings.checked(accesses.all.len());
        check_registers(&accesses, budget, &mut findings);
        findings.result()
    }
}

fn check_registers(accesses: &Accesses<'_>, budget: &Budget<'_>, findings: &mut Findings) {
    let causality = Causality::new(&accesses.all, &accesses.space, budget);
    if causality.is_violated() {
        return causal::violations(accesses, &causality, budget, findings);
    }
    if accesses.linearizable(budget) == Some(true) {
        return;
    }
    let views = pram::Views::new(&accesses.all, &accesses.space, budget);
    if !views.contradictions.is_empty() {
        return pram::violations(accesses, &views, budget, findings);
    }
    if causality.convergent == Some(false) {
        let circle = |part: &[Access]| {
            Causality::new(part, &accesses.space, &Budget::unlimited()).convergent == Some(false)
        };
        return findings.violate(|| explain(accesses, &minimal(&accesses.all, budget, &circle)));
    }
    match total_order::search(&accesses.all, &accesses.space, budget) {
        Found::Order => {}
        Found::Nothing => {
            let none = |part: &[Access]| {
                total_order::search(part, &accesses.space, budget) == Found::Nothing
            };
            findings.violate(|| explain(accesses, &minimal(&accesses.all, budget, &none)));
        }
        Found::OutOf(what, at, taken) => findings.doubt(|| {
            let (all, at) = (
                accesses.all.len(),
                accesses.noun(&accesses.all[at as usize]),
            );
            format!("the search ran out of {what} after {taken} of {all} operations, at {at}")
        }),
    }
}

fn explain(accesses: &Accesses<'_>, core: &[Access]) -> Anomaly {
    let said = said(core.iter().map(|a| accesses.noun(a)));
    let message = format!(
        "No one order of these operations keeps each session's order and fits what they saw: {}.",
        words::list(&said)
    );
    anomaly("not-sequential", accesses.indexes(core), message, &ADVICE)
}

// --- Jepsen's keys in parts ------------------------------------------------------------------------------------------------

fn check_parts(
    history: &Prepared<'_>,
    keyed: &Keyed<'_>,
    findings: &mut Findings,
    budget: &Budget<'_>,
) {
    let ops = || keyed.ops.iter().map(|&i| &history.ops[i]);
    let mut writes: BTreeMap<String, Vec<&Op<'_>>> = BTreeMap::new();
    for op in budget.lasting(ops().filter(|op| op.f() == "write")) {
        writes
            .entry(op.argument().to_string())
            .or_default()
            .push(op);
    }
    let (mut all, mut some, mut none) = (0_u64, 0_u64, 0_u64);
    let reads = ops().filter(|op| op.f() == "read");
    for (done, read) in reads.enumerate() {
        let late = || format!("reads of {}", words::key(keyed.key));
        if findings.out_of_time_after(budget, (done, keyed.ops.len()), late) {
            return;
        }
        let Some(parts) = read.result().and_then(|v| v[1].as_array()) else {
            continue;
        };
        findings.checked(1);
        let there = parts.iter().filter(|part| !part.is_null()).count();
        match there {
            0 => none += 1,
            n if n == parts.len() => all += 1,
            _ => some += 1,
        }
        let gap = parts
            .iter()
            .skip_while(|part| part.is_null())
            .any(Value::is_null);
        let key = words::value(read.argument());
        // Parts are inserted one by one, so a write that failed may have inserted the first of them.
        match writes.get(&read.argument().to_string()).map(Vec::as_slice) {
            None | Some([]) if there > 0 => findings.violate(|| {
                let message = format!("{} found parts of {key}, which nobody had written.", words::noun_short(read));
                anomaly("thin-air-read", vec![read.index()], message, &ADVICE)
            }),
            Some([write]) if gap => findings.violate(|| {
                let message = format!(
                    "{} found {}, last part first: a later part of {key} is there and an earlier one is not, though {} inserted them one after another.",
                    words::noun_short(read),
                    read.result().map_or_else(String::new, |v| v[1].to_string()),
                    words::noun_short(write)
                );
                anomaly("later-part-without-earlier", vec![write.index(), read.index()], message, &ADVICE)
            }),
            Some(_) if gap => findings.doubt(|| {
                format!("{} found a later part of {key} without an earlier one, but {key} was written more than once", words::noun_short(read))
            }),
            _ => {}
        }
    }
    findings.detail("reads_of_all_parts", all);
    findings.detail("reads_of_some_parts", some);
    findings.detail("reads_of_no_part", none);
}
