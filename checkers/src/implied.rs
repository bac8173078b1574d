//! What is settled by what: a property that is undecided by itself holds where one holds that implies it.
//!
//! Herlihy and Wing 1990, Lamport 1979, Viotti and Vukolic 2016: an order of all operations that keeps real time has no stale reads, and one that keeps
//! the order of each session is what the weaker properties ask for. It is only taken where the sets of operations are the same: all of these read registers by
//! [`crate::register::Register`] (no final reads, no definite failures, what is unknown ends at infinity and binds nobody), so not where a weaker
//! one judges sets or keys in parts as well, nor where another model than a register was checked. Nothing is ever made worse, and what looked at nothing stays unknown.

use crate::properties::stats::Tally;
use crate::verdict::{Decision, PropertyResult};
use crate::{LINEARIZABLE, Model, Prepared, Shape};
use std::collections::BTreeMap;

/// Stronger, and what it implies on registers. `tests/hierarchy.rs` holds each pair against random histories.
const IMPLIES: [(&str, &[&str]); 2] = [
    (
        LINEARIZABLE,
        &[
            STALE_READS,
            "monotonic-reads",
            "read-your-writes",
            "monotonic-writes",
            "writes-follow-reads",
            "sequential",
            "causal",
            "pram",
        ],
    ),
    (
        "sequential",
        &[
            "monotonic-reads",
            "read-your-writes",
            "monotonic-writes",
            "writes-follow-reads",
            "causal",
            "pram",
        ],
    ),
];

const STALE_READS: &str = "stale-reads";

/// Settles what is undecided.
pub(crate) fn settle(
    history: &Prepared<'_>,
    tally: &Tally,
    results: &mut BTreeMap<String, PropertyResult>,
) {
    let registers = matches!(
        history.model,
        None | Some(Model::Register | Model::CasRegister)
    );
    if !registers || history.has(Shape::Set) || history.has(Shape::Subkeys) {
        return;
    }
    for (stronger, weaker) in IMPLIES {
        let holds = results
            .get(stronger)
            .is_some_and(|result| result.verdict == Decision::Holds);
        for name in weaker.iter().filter(|_| holds) {
            let looked_at = looked_at(name, history, tally, results);
            if let Some(result) = results.get_mut(*name)
                && result.verdict == Decision::Unknown
                && looked_at > 0
            {
                result.verdict = Decision::Holds;
                result.checked = looked_at;
                let by_itself = std::mem::take(&mut result.why);
                result.why = format!(
                    "{stronger} holds, and that implies this; by itself it was undecided: {by_itself}"
                );
            }
        }
    }
}

/// How many operations there are that the property judges. One that was not looked at itself (for want of time, or of memory for the whole history) takes
/// them from what else is known.
fn looked_at(
    name: &str,
    history: &Prepared<'_>,
    tally: &Tally,
    results: &BTreeMap<String, PropertyResult>,
) -> u64 {
    let own = results.get(name).map_or(0, |result| result.checked);
    if own > 0 {
        return own;
    }
    match name {
        "monotonic-reads" | "read-your-writes" => {
            results.get(STALE_READS).map_or(0, |result| result.checked)
        }
        "monotonic-writes" | "writes-follow-reads"
            if history.keys.iter().all(|key| key.shape == Shape::Register) =>
        {
            tally.succeeded("write") + tally.succeeded("cas")
        }
        _ => 0,
    }
}
