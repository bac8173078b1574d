//! What replicas hold of a register in the end, against what was written: for the registers of Shapiro et al. 2011.
//!
//! Replicas that have merged hold the same; each value there was written; none is left that an acknowledged update had seen and overwritten
//! ([`crate::happens_before`], own key only: what a client has read of other keys no version vector of this one knows); and something is there
//! once a write was acknowledged, unless somebody deleted. A difference that
//! updates in flight or of unknown outcome may have made is a doubt ([`crate::late`]). Linear, but for who overwrote what is left in the end.

use crate::findings::{Advice, Findings, anomaly};
use crate::happens_before::{Causality, Replaced, Seen, Update, Updates};
use crate::intern::{ABSENT, Val};
use crate::late;
use crate::verdict::Anomaly;
use crate::{Budget, words};
use schism_history::Op;
use std::collections::{BTreeMap, BTreeSet};

const ADVICE_DIVERGED: Advice = Advice {
    cause: "A replica lacks updates that nothing brings it later, or replicas settle concurrent writes differently (by arrival, by clocks that tie).",
    mend: "Exchange states until all have merged all (anti-entropy), with a merge that is commutative, associative and idempotent.",
};
const ADVICE_BACK: Advice = Advice {
    cause: "The order was told by clocks, and the one of the first writer was ahead; or a replica that lagged brought the old value back.",
    mend: "Order by causality (a version vector, or a hybrid logical clock that is never behind what was read), not by the clock of a machine.",
};
const ADVICE_NOTHING: Advice = Advice {
    cause: "The write was acknowledged before anybody else had it, and its replica was lost; or a deletion won that nobody had asked for.",
    mend: "Acknowledge a write when enough replicas have it on disk, and let only a newer write win.",
};
const ADVICE_FALSE: Advice = Advice {
    cause: "A write took effect that had been definitely refused, or a merge made a value that nobody wrote.",
    mend: "Refuse definitely only what can no longer take effect, and let a merge choose among what was written.",
};

/// Judges all registers.
pub(crate) fn judge(registers: &[Updates<'_>], findings: &mut Findings, budget: &Budget<'_>) {
    let all = Causality::new(registers, budget);
    for (number, register) in registers.iter().enumerate() {
        if findings.out_of_time(budget, || at(register)) {
            return;
        }
        unexpected(register, findings, budget);
        if findings.out_of_time(budget, || at(register)) {
            return;
        }
        diverged(register, number, &all, findings);
        emptied(register, findings);
        overwritten_ones(register, findings, budget);
    }
}

/// Where the time was up.
fn at(register: &Updates<'_>) -> String {
    format!("at the final reads of {}", words::key(register.keyed.key))
}

fn overwritten_ones(register: &Updates<'_>, findings: &mut Findings, budget: &Budget<'_>) {
    let left: BTreeSet<Val> = register
        .finals
        .iter()
        .flat_map(|r| &r.values)
        .copied()
        .collect();
    let causality = Causality::new(std::slice::from_ref(register), budget);
    for value in left {
        if findings.out_of_time(budget, || at(register)) {
            return;
        }
        overwritten(register, &causality, value, findings, budget);
    }
    findings.out_of_time(budget, || at(register));
}

/// An anomaly of one register.
pub(crate) fn named(
    register: &Updates<'_>,
    name: &str,
    operations: Vec<u64>,
    message: String,
    advice: &Advice,
) -> Anomaly {
    anomaly(name, operations, message, advice).with("key", words::key(register.keyed.key))
}

/// Nothing is there although a write was acknowledged and nobody deleted: whatever replaced it would be there, acknowledged or not.
fn emptied(register: &Updates<'_>, findings: &mut Findings) {
    let acknowledged = register.all.iter().filter(|u| u.op.is_ok());
    let Some(first) = acknowledged.min_by_key(|u| (u.op.end(), u.op.index())) else {
        return;
    };
    if register.strange.is_some() || register.finals.is_empty() {
        return;
    }
    let may_be_absent = register.all.iter().any(|u| u.value == ABSENT);
    let finals = register.finals_after(first.op);
    if finals.is_empty() {
        let noun = words::noun(first.op);
        findings.doubt(|| format!("no final read began after {noun} was acknowledged"));
    } else if !may_be_absent && finals.iter().all(|read| read.values.is_empty()) {
        findings.violate(|| nothing(register, first, finals));
    }
}

fn nothing(register: &Updates<'_>, first: &Update<'_>, finals: &[Seen<'_>]) -> Anomaly {
    let message = format!(
        "{} is empty in each of {} after {}: no write is left, and nobody deleted anything.",
        words::key(register.keyed.key),
        words::plural(finals.len(), "final read"),
        words::noun(first.op),
    );
    let reads = finals.iter().map(|read| read.op.index());
    let operations = reads.chain([first.op.index()]).collect();
    named(
        register,
        "nothing-left",
        operations,
        message,
        &ADVICE_NOTHING,
    )
}

/// Values that nobody had begun to write by the end of the read.
fn unexpected(register: &Updates<'_>, findings: &mut Findings, budget: &Budget<'_>) {
    for read in budget.lasting(register.reads.iter().chain(&register.finals)) {
        findings.checked(1);
        for value in &read.values {
            let begun = |u: &Update<'_>| u.op.start() <= read.op.end();
            if !register.writers(*value).any(begun) {
                findings.violate(|| thin_air(register, read, *value));
            }
        }
    }
}

fn thin_air(register: &Updates<'_>, read: &Seen<'_>, value: Val) -> Anomaly {
    let later = register.writers(value).map(|u| u.op).next();
    let refused = register.refused.iter().find(|(v, _)| *v == value);
    let (write, why) = match (later, refused) {
        (Some(op), _) => (Some(op), format!("{} began only later", words::noun(op))),
        (None, Some((_, op))) => (
            Some(*op),
            format!("{} was definitely refused", words::noun(op)),
        ),
        (None, None) => (None, "nobody ever wrote it".to_owned()),
    };
    let message = format!(
        "{} of {} is in {}, and yet {why}.",
        words::value(register.values.value(value)),
        words::key(register.keyed.key),
        words::noun(read.op),
    );
    let operations = write.map(Op::index).into_iter();
    let operations = operations.chain([read.op.index()]).collect();
    named(register, "unexpected", operations, message, &ADVICE_FALSE)
}

fn diverged(
    register: &Updates<'_>,
    number: usize,
    all: &Causality<'_, '_>,
    findings: &mut Findings,
) {
    let mut states: BTreeMap<BTreeSet<Val>, &Seen<'_>> = BTreeMap::new();
    for read in &register.finals {
        let state = read.values.iter().copied().collect();
        states.entry(state).or_insert(read);
    }
    let mut reads: Vec<&Seen<'_>> = states.into_values().collect();
    reads.sort_by_key(|read| read.op.index());
    let [first, second, ..] = reads.as_slice() else {
        return;
    };
    let from = register.finals.iter().map(|read| read.op.start()).min();
    let late = register
        .all
        .iter()
        .find(|u| from.is_some_and(|f| u.op.end() >= f));
    let key = words::key(register.keyed.key);
    if let Some(late) = late.filter(|_| late::explains(register, number, all)) {
        findings.doubt(|| {
            let noun = words::noun(late.op);
            format!("replicas differ in {key}, and {noun} may have landed between the reads")
        });
        return;
    }
    findings.violate(|| {
        let message = format!(
            "Replicas differ in {key} in the end: {}, and {}.",
            words::noun(first.op),
            words::noun(second.op)
        );
        let operations = vec![first.op.index(), second.op.index()];
        named(register, "diverged", operations, message, &ADVICE_DIVERGED)
    });
}

/// A value that is in every final read although what put it there was overwritten by somebody who had seen it.
fn overwritten(
    register: &Updates<'_>,
    causality: &Causality<'_, '_>,
    value: Val,
    findings: &mut Findings,
    budget: &Budget<'_>,
) {
    let in_all =
        |after: &[Seen<'_>]| !after.is_empty() && after.iter().all(|r| r.values.contains(&value));
    if !register.is_unique(value) {
        let replaced = |u: &Update<'_>| !matches!(register.replaced(u, budget), Replaced::No);
        let mut writers = register.writers(value).peekable();
        if writers.peek().is_some() && in_all(&register.finals) && writers.all(replaced) {
            findings.doubt(|| {
                let shown = words::value(register.values.value(value));
                let key = words::key(register.keyed.key);
                format!("{shown} of {key} is there in the end and was written more than once, so nobody knows whether who overwrote it had seen each")
            });
        }
        return;
    }
    let Some(update) = register.writers(value).next() else {
        return;
    };
    let way = causality.overwritten(0, update, budget);
    let Some(by) = way.first() else {
        return;
    };
    let finals = register.finals_after(by);
    if in_all(finals) {
        findings.violate(|| came_back(register, update, &way, finals));
    }
}

/// `way` is from who overwrote it back to who saw it.
fn came_back(
    register: &Updates<'_>,
    update: &Update<'_>,
    way: &[&Op<'_>],
    finals: &[Seen<'_>],
) -> Anomaly {
    let saw: Vec<String> = way[1..].iter().rev().map(|op| words::noun(op)).collect();
    let how = if saw.is_empty() {
        String::new()
    } else {
        format!(", having seen it by {}", words::list(&saw))
    };
    let message = format!(
        "{} of {} is in each of {} although {} had overwritten {}{how}.",
        words::value(register.values.value(update.value)),
        words::key(register.keyed.key),
        words::plural(finals.len(), "final read"),
        words::noun(way[0]),
        words::noun(update.op),
    );
    let reads = finals.iter().map(|read| read.op);
    let all = reads.chain([update.op]).chain(way.iter().copied());
    let operations = all.map(Op::index).collect();
    named(
        register,
        "overwritten-and-there",
        operations,
        message,
        &ADVICE_BACK,
    )
}
