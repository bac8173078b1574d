//! `causal-reverse`: who sees a write sees every write that was acknowledged before that one was invoked.
//!
//! After Jepsen's `causal_reverse.clj` (jepsen/src/jepsen/tests), for sets that only grow: `add` and `read`, or its own form, `write` of an element and
//! `read` of the list of all. Serializable systems that order transactions by clocks show the later insert without the earlier one; no strictly
//! serializable one does. Better than there: O(n log n) in what was read instead of a set of predecessors for each write; an insert that failed or is unknown
//! is not missed, an element that was inserted twice counts from its earliest attempt, keys are apart, final reads (a replica's own
//! state) are left out, and two inserts and a read are named. A lost insert that nobody inserted after is `set`'s business.

use crate::findings::{Advice, Findings, anomaly};
use crate::intern::{Interner, Val};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Outcome};
use serde_json::Value;

/// The property.
pub(super) struct CausalReverse;

const ADVICE: Advice = Advice {
    cause: "Transactions are ordered by clocks that differ between nodes, or shards answer a read from different moments.",
    mend: "Give a transaction a timestamp later than every acknowledged one (commit wait, or one source of timestamps), and read all shards at one timestamp.",
};

impl Property for CausalReverse {
    fn name(&self) -> &'static str {
        "causal-reverse"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "who sees an insert sees every one that was acknowledged before that was invoked"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Set) || history.has(Shape::Siblings)
    }

    /// A list that writes make may as well be siblings, of which older ones are gone by right.
    fn fits_unasked(&self, history: &Prepared<'_>) -> bool {
        sets(history).any(|keyed| keyed.shape == Shape::Set && is_read(history, keyed))
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        if !sets(history).any(|keyed| is_read(history, keyed)) {
            findings.doubt(|| "no read before the final ones was answered".to_owned());
        }
        for (done, keyed) in sets(history).enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            check_key(history, keyed, &mut findings, budget);
        }
        findings.result()
    }
}

fn sets<'p>(history: &'p Prepared<'_>) -> impl Iterator<Item = &'p Keyed<'p>> {
    let sets = history.keys_of(Shape::Set);
    sets.chain(history.keys_of(Shape::Siblings))
}

/// Whether there is anything to judge: final reads are a replica's own state.
fn is_read(history: &Prepared<'_>, keyed: &Keyed<'_>) -> bool {
    let ops = keyed.ops.iter().map(|&i| &history.ops[i]);
    let mut reads = ops.filter(|op| op.f() == "read" && !op.is_final());
    reads.any(|op| op.result().is_some_and(Value::is_array))
}

/// What is known of an element.
#[derive(Clone, Copy, Default)]
struct Element<'p> {
    /// The insert that was acknowledged first.
    acknowledged: Option<&'p Op<'p>>,
    /// The earliest that may have happened.
    begun: Option<&'p Op<'p>>,
    /// The last read (counted from 1) that has it.
    seen: u32,
}

fn check_key(
    history: &Prepared<'_>,
    keyed: &Keyed<'_>,
    findings: &mut Findings,
    budget: &Budget<'_>,
) {
    let ops = || keyed.ops.iter().map(|&i| &history.ops[i]);
    let late = || format!("in the inserts into {}", words::key(keyed.key));
    let mut values = Interner::new();
    let mut elements: Vec<Element<'_>> = Vec::new();
    let inserts = ops().filter(|op| op.f() != "read" && op.outcome() != Outcome::Fail);
    for op in budget.lasting(inserts) {
        let number = values.intern(op.argument()) as usize;
        elements.resize(values.len().max(elements.len()), Element::default());
        let element = &mut elements[number];
        element.begun = element.begun.or(Some(op));
        let sooner = element
            .acknowledged
            .is_none_or(|known| op.end() < known.end());
        if op.is_ok() && sooner {
            element.acknowledged = Some(op);
        }
    }
    if findings.out_of_time(budget, late) {
        return;
    }
    // In the order of acknowledgement: the first that a read lacks is the one to miss.
    let mut acknowledged: Vec<(Val, &Op<'_>)> = (0..)
        .zip(&elements)
        .filter_map(|(number, element)| Some((number, element.acknowledged?)))
        .collect();
    acknowledged.sort_by_cached_key(|(_, op)| (op.end(), op.index()));
    let reads = || ops().filter(|op| op.f() == "read" && !op.is_final());
    let lists = || reads().filter_map(|op| Some((op, op.result()?.as_array()?)));
    let all = lists().count();
    for (turn, (read, list)) in (1..).zip(lists()) {
        let key = || words::key(keyed.key);
        if findings.out_of_time(budget, || {
            format!("after {} of {all} reads of {}", turn - 1, key())
        }) {
            return;
        }
        findings.checked(1);
        let latest = see(&values, &mut elements, list, turn);
        let missing = acknowledged
            .iter()
            .find(|(number, _)| elements[*number as usize].seen != turn);
        if let (Some(later), Some((_, earlier))) = (latest, missing)
            && earlier.end() < later.start()
        {
            findings.violate(|| reversed(keyed, earlier, later, read));
        }
    }
}

/// Marks what a read has; the element among that whose earliest insert began last.
fn see<'p>(
    values: &Interner<'_>,
    elements: &mut [Element<'p>],
    list: &[Value],
    turn: u32,
) -> Option<&'p Op<'p>> {
    let mut latest: Option<&Op<'_>> = None;
    for value in list {
        let known = values
            .known(value)
            .and_then(|number| elements.get_mut(number as usize));
        let Some(element) = known else {
            continue;
        };
        element.seen = turn;
        let later = element
            .begun
            .filter(|op| latest.is_none_or(|l| op.index() > l.index()));
        latest = later.or(latest);
    }
    latest
}

fn reversed(keyed: &Keyed<'_>, earlier: &Op<'_>, later: &Op<'_>, read: &Op<'_>) -> Anomaly {
    let message = format!(
        "{} found {} and not {}, although {} had been acknowledged before {} was invoked.",
        words::noun_short(read),
        words::value(later.argument()),
        words::value(earlier.argument()),
        words::noun(earlier),
        words::noun(later)
    );
    let operations = vec![earlier.index(), later.index(), read.index()];
    let gap = later.start().since(earlier.end()) as f64 / 1e6;
    anomaly("later-without-earlier", operations, message, &ADVICE)
        .with("key", words::key(keyed.key))
        .with("apart_ms", gap)
}
