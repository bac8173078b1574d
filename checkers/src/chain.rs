//! A register that only compare-and-sets change, each to a value of its own: its versions are a chain, so that a lost one shows.
//!
//! A value that is replaced is the one that the next compare-and-set found. So an acknowledged value that nobody found and that no final read has is
//! lost; and two that were acknowledged and found the same value are a fork, of which one side is lost whatever is there in the end
//! (Gibbons and Korach 1997 call such links forced). Where only a compare-and-set of unknown outcome, whose own value nobody saw, may have found
//! it: unknown. Linear.

use crate::findings::{Advice, Findings, anomaly};
use crate::happens_before::{Holds, Seen, Update, Updates, holds};
use crate::intern::{ABSENT, Val};
use crate::verdict::Anomaly;
use crate::{Budget, Keyed, Prepared, words};
use schism_history::Op;

const ADVICE: Advice = Advice {
    cause: "The leader acknowledged before the write was on other nodes (or on disk), failed, and one without the write took over; or two leaders compared with states of their own.",
    mend: "Acknowledge a write only when a majority has it (ack=majority), and elect only a leader that has every \
           acknowledged write (failover=consensus).",
};
const ADVICE_FALSE: Advice = Advice {
    cause: "A refusal by somebody who did not know whether the write had taken effect.",
    mend: "Refuse definitely only what can no longer take effect.",
};

/// Whether nothing but compare-and-sets may have changed a register.
pub(crate) fn is_chain(history: &Prepared<'_>, keyed: &Keyed<'_>) -> bool {
    let is = |f: &str| keyed.ops.iter().any(|&i| history.ops[i].f() == f);
    is("cas") && !is("write") && holds(history, keyed) == Holds::One
}

/// Looks for forks and lost values; what is absent is lost only where the target had `recovered` before the final reads. Returns how many were acknowledged and how many of them lost.
pub(crate) fn check(
    register: &Updates<'_>,
    recovered: bool,
    findings: &mut Findings,
    budget: &Budget<'_>,
) -> (u64, u64) {
    let key = || words::key(register.keyed.key);
    if let Some(why) = &register.strange {
        findings.doubt(|| why.clone());
        return (0, 0);
    }
    if let Some(again) = register.all.iter().find(|u| !register.is_unique(u.value)) {
        findings.doubt(|| {
            let value = words::value(register.values.value(again.value));
            format!(
                "{} was set to {value} more than once, or deleted: it is no chain of versions",
                key()
            )
        });
        return (0, 0);
    }
    forks(register, findings);
    for read in &register.finals {
        for value in read
            .values
            .iter()
            .filter(|v| register.writers(**v).next().is_none())
        {
            findings.violate(|| unexpected(register, read, *value));
        }
    }
    if register.finals.is_empty() {
        findings.doubt(|| format!("{}: no final read was answered", key()));
        return (0, 0);
    }
    let (mut acknowledged, mut lost) = (0, 0);
    let all = register.all.len();
    for (done, update) in register.all.iter().enumerate() {
        if findings.out_of_time_after(budget, (done, all), || format!("updates of {}", key())) {
            break;
        }
        if !update.op.is_ok() {
            continue;
        }
        acknowledged += 1;
        findings.checked(1);
        lost += u64::from(is_lost(register, update, recovered, findings));
    }
    (acknowledged, lost)
}

/// What is in no final read of a target that had not recovered.
pub(crate) fn not_recovered(update: &Op<'_>) -> String {
    let noun = words::noun(update);
    format!(
        "the target had not recovered before the final reads, which lack {noun}: it is lost, or only not applied yet"
    )
}

fn is_lost(
    register: &Updates<'_>,
    update: &Update<'_>,
    recovered: bool,
    findings: &mut Findings,
) -> bool {
    let noun = || words::noun(update.op);
    let finals = register.finals_after(update.op);
    if finals.is_empty() {
        findings.doubt(|| format!("no final read began after {} was acknowledged", noun()));
        return false;
    }
    let there = finals
        .iter()
        .any(|read| read.values.contains(&update.value));
    let mut next = register.finders(update.value).peekable();
    let Some(first) = next.peek().map(|u| u.op) else {
        if !there && !recovered {
            findings.doubt(|| not_recovered(update.op));
        } else if !there {
            findings.violate(|| lost(register, update, finals));
        }
        return !there && recovered;
    };
    if !there && !next.any(|u| register.happened(u)) {
        findings.doubt(|| {
            let by = words::noun(first);
            format!("{} is not there in the end, and nobody knows whether {by} replaced it: replaced, or lost", noun())
        });
    }
    false
}

fn forks(register: &Updates<'_>, findings: &mut Findings) {
    for value in 0..register.values.len() as Val {
        // What nobody wrote can have been there twice.
        if value != ABSENT && !register.is_unique(value) {
            continue;
        }
        let mut acknowledged = register.finders(value).filter(|u| u.op.is_ok());
        let first = acknowledged.next();
        for second in acknowledged {
            if let Some(first) = first {
                findings.violate(|| fork(register, value, first.op, second.op));
            }
        }
    }
}

fn fork(register: &Updates<'_>, value: Val, one: &Op<'_>, other: &Op<'_>) -> Anomaly {
    let message = format!(
        "{} and {} of {} were both acknowledged, and there is one {} for only one of them to find: the other one is lost.",
        words::noun(one),
        words::noun(other),
        words::key(register.keyed.key),
        words::value(register.values.value(value)),
    );
    let writer = register.writers(value).map(|u| u.op.index());
    let operations = writer.chain([one.index(), other.index()]).collect();
    named(register, "forked", operations, message, &ADVICE)
}

fn lost(register: &Updates<'_>, update: &Update<'_>, finals: &[Seen<'_>]) -> Anomaly {
    let message = format!(
        "{} of {} was lost: {} acknowledged it, nobody found {} afterwards, and none of {} after it has it{}.",
        words::noun(update.op),
        words::key(register.keyed.key),
        words::answerer(update.op),
        words::value(register.values.value(update.value)),
        words::plural(finals.len(), "final read"),
        words::replicas(finals.iter().map(|read| read.op)),
    );
    let reads = finals.iter().map(|read| read.op.index());
    let operations = reads.chain([update.op.index()]).collect();
    named(register, "lost", operations, message, &ADVICE)
}

fn unexpected(register: &Updates<'_>, read: &Seen<'_>, value: Val) -> Anomaly {
    let refused = register.refused.iter().find(|(v, _)| *v == value);
    let why = match refused {
        Some((_, op)) => format!("{} was definitely refused", words::noun(op)),
        None => "nobody ever wrote it".to_owned(),
    };
    let message = format!(
        "{} of {} is in {}, and yet {why}.",
        words::value(register.values.value(value)),
        words::key(register.keyed.key),
        words::noun(read.op),
    );
    let refused = refused.map(|(_, op)| op.index()).into_iter();
    let operations = refused.chain([read.op.index()]).collect();
    named(register, "unexpected", operations, message, &ADVICE_FALSE)
}

fn named(
    register: &Updates<'_>,
    name: &str,
    operations: Vec<u64>,
    message: String,
    advice: &Advice,
) -> Anomaly {
    anomaly(name, operations, message, advice).with("key", words::key(register.keyed.key))
}
