//! Counters of replicas that count for themselves and merge later (Shapiro et al. 2011: G-Counter, PN-Counter).
//!
//! A read is what some replica has by then: some of the adds that were invoked before its end, each once or not at all, and nobody knows which;
//! so a stale read is none of its violations. In the end, after recovery, each replica has all that was acknowledged, and
//! some of what is unknown ([`crate::counts`]): that all have the same is for `convergence`. Of a counter that only grows, a replica's reads do not
//! go back, nor a session's while it stays with its replica; where both answers name their nodes and these differ, the session has moved, and going
//! back is counted in the details only. O(n log n), times the ranges of sums where the numbers are odd ones ([`crate::sums`]).

use crate::counts::{ADVICE_HIGH, ADVICE_LOW, Add, Counts, indexes};
use crate::findings::{Advice, Findings};
use crate::sums::{Sums, common_divisor};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Prepared, Shape, words};
use schism_history::{NodeId, Op};
use std::collections::{BTreeMap, BTreeSet};

const ADVICE_BACK: Advice = Advice {
    cause: "A replica forgot what it had counted (a restart without its data, a snapshot that was behind), or took a smaller number for a newer one.",
    mend: "Keep each replica's count on disk before it is answered, and merge by the greatest count of each replica.",
};
const ADVICE_SUM: Advice = Advice {
    cause: "Replicas exchange sums, or half of an add, instead of the counts by replica.",
    mend: "Merge counts by replica, the greatest of each; apply an add in one step.",
};

/// Checks every counter; one that only grows takes no decrements.
pub(crate) fn check(
    history: &Prepared<'_>,
    only_grows: bool,
    budget: &Budget<'_>,
) -> PropertyResult {
    let mut findings = Findings::new();
    let mut moved_back = 0_u64;
    for (done, keyed) in history.keys_of(Shape::Counter).enumerate() {
        if findings.out_of_time_at(budget, done, keyed) {
            break;
        }
        let counts = Counts::new(history, keyed, &mut findings, budget);
        if findings.out_of_time_at(budget, done, keyed) {
            break;
        }
        let down = counts.adds.iter().find(|add| only_grows && add.by < 0);
        if let Some(add) = down {
            findings.doubt(|| {
                let noun = words::noun(add.op);
                format!("{noun} takes away, which a counter that only grows cannot do: pn-counter is for that")
            });
        } else if !counts.strange {
            findings.checked(counts.reads.len());
            counts.doubt_silence(history, &mut findings);
            check_reads(&counts, &mut findings, budget);
            counts.check_finals(history, &counts.bounds(), budget, &mut findings);
            if only_grows {
                moved_back += check_growth(&counts, &mut findings, budget);
            }
        }
    }
    if only_grows {
        findings.detail("went_back_at_another_node", moved_back);
    }
    findings.result()
}

/// Each read is the sum of some of the adds that were invoked before its end.
fn check_reads(counts: &Counts<'_>, findings: &mut Findings, budget: &Budget<'_>) {
    let mut sums = Sums::of_multiples(common_divisor(counts.adds.iter().map(|add| add.by)));
    let mut adds = counts.adds.iter().peekable();
    let bounds = counts.bounds();
    let reads = counts.reads.iter().filter(|(_, op)| !op.is_final());
    let mut reads: Vec<&(i128, &Op<'_>)> = reads.collect();
    reads.sort_by_cached_key(|(_, op)| (op.end(), op.index()));
    let all = reads.len();
    for (done, (n, read)) in reads.into_iter().enumerate() {
        let what = || format!("reads of {}", words::key(counts.keyed.key));
        if findings.out_of_time_after(budget, (done, all), what) {
            return;
        }
        while let Some(add) = adds.next_if(|add| add.maybe_by(read)) {
            sums.add(add.by);
        }
        let (least, most) = bounds.anywhere(read);
        if (least..=most).contains(n) {
            match sums.has(*n) {
                Some(true) => {}
                Some(false) => findings.violate(|| no_such_sum(counts, *n, read)),
                None => findings.doubt(|| {
                    let noun = words::noun_short(read);
                    format!("whether some of the adds before it make what {noun} returned is too large a question")
                }),
            }
        } else {
            findings.violate(|| beyond(counts, *n, read, most));
        }
    }
}

fn beyond(counts: &Counts<'_>, n: i128, read: &Op<'_>, most: i128) -> Anomaly {
    let high = n > most;
    let (name, all, advice) = if high {
        ("read-too-high", "increments", &ADVICE_HIGH)
    } else {
        ("read-too-low", "decrements", &ADVICE_LOW)
    };
    let message = format!(
        "{} of {} returned {n}, beyond all {all} that had been tried by its end.",
        words::noun_short(read),
        words::key(counts.keyed.key),
    );
    // Fewer adds make it no better, so it is a proof alone.
    let operations = counts.named(&[], Add::of_side(!high), read);
    counts.anomaly(name, operations, message, advice)
}

fn no_such_sum(counts: &Counts<'_>, n: i128, read: &Op<'_>) -> Anomaly {
    let tried = counts.adds.iter().filter(|add| add.maybe_by(read));
    let tried: Vec<&Add<'_>> = tried.collect();
    let message = format!(
        "{} of {} returned {n}, and no choice of the {} that had been tried by its end adds up to that.",
        words::noun_short(read),
        words::key(counts.keyed.key),
        words::plural(tried.len(), "add"),
    );
    let operations = counts.named(&[], |add| add.by != n, read);
    counts
        .anomaly("no-such-sum", operations, message, &ADVICE_SUM)
        .with("may_be_in_it", indexes(&tried))
}

/// Who must not go back: a replica, or a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Reader<'p> {
    Node(&'p NodeId),
    Session(u64),
}

/// A read that ended, with what it returned.
type Sight<'p> = (i128, &'p Op<'p>);

/// Reads of one replica, or of one session with it, never go back. Returns how often a session did that had moved.
fn check_growth(counts: &Counts<'_>, findings: &mut Findings, budget: &Budget<'_>) -> u64 {
    let mut readers: BTreeMap<Reader<'_>, Vec<Sight<'_>>> = BTreeMap::new();
    for (n, read) in budget.lasting(counts.reads.iter().copied()) {
        let session = read.session().map(Reader::Session);
        for reader in words::node(read)
            .map(Reader::Node)
            .into_iter()
            .chain(session)
        {
            readers.entry(reader).or_default().push((n, read));
        }
    }
    let mut moved = 0;
    let mut told: BTreeSet<u64> = BTreeSet::new();
    let late = || {
        format!(
            "in the reads of {} by replica",
            words::key(counts.keyed.key)
        )
    };
    if findings.out_of_time(budget, late) {
        return moved;
    }
    for (reader, reads) in &readers {
        if findings.out_of_time(budget, late) {
            break;
        }
        for (earlier, later) in went_back(reads) {
            let nodes = (words::node(earlier.1), words::node(later.1));
            let (Some(one), Some(other)) = nodes else {
                findings.violate(|| backwards(counts, reader, earlier, later));
                continue;
            };
            if one != other {
                moved += 1;
            } else if told.insert(later.1.index()) {
                findings.violate(|| backwards(counts, reader, earlier, later));
            }
        }
    }
    moved
}

/// Each read that returned less than one that had ended before it began, with the greatest of these.
fn went_back<'p>(reads: &[Sight<'p>]) -> Vec<(Sight<'p>, Sight<'p>)> {
    let mut ended = reads.to_vec();
    ended.sort_by_key(|(_, op)| (op.end(), op.index()));
    let mut ended = ended.into_iter().peekable();
    let mut greatest: Option<Sight<'p>> = None;
    let mut found = Vec::new();
    for later in reads {
        while let Some(read) = ended.next_if(|(_, op)| op.precedes(later.1)) {
            let best = greatest.filter(|(n, _)| *n >= read.0);
            greatest = best.or(Some(read));
        }
        found.extend(greatest.filter(|(n, _)| *n > later.0).map(|g| (g, *later)));
    }
    found
}

fn backwards(
    counts: &Counts<'_>,
    reader: &Reader<'_>,
    earlier: Sight<'_>,
    later: Sight<'_>,
) -> Anomaly {
    let who = match reader {
        Reader::Node(node) => format!("{node} answered"),
        Reader::Session(_) => "the same session had".to_owned(),
    };
    let message = format!(
        "{} of {} came after {who} {}: a counter that only grows does not go back.",
        words::noun(later.1),
        words::key(counts.keyed.key),
        words::noun(earlier.1),
    );
    let mut operations = counts.named(&[], Add::of_side(true), later.1);
    operations.push(earlier.1.index());
    counts.anomaly("went-back", operations, message, &ADVICE_BACK)
}
