//! Which reads say what became of a set in the end.
//!
//! A run of ours marks its final reads: each replica's own state, after recovery. A bare history (Jepsen's) marks none: there the reads that
//! began after everything had been acknowledged stand in.

use crate::{Keyed, Prepared};
use schism_history::{Op, Time};

/// The reads that say what became of a set.
pub(crate) enum Finals<'p> {
    /// Successful final reads, in order of time.
    Marked(Vec<&'p Op<'p>>),
    /// The reads after everything was acknowledged, where a bare history marks none.
    Last(Vec<&'p Op<'p>>),
    /// There is nothing to judge by.
    None(&'static str),
}

/// The final reads of a set.
pub(crate) fn final_reads<'p>(history: &'p Prepared<'_>, keyed: &Keyed<'_>) -> Finals<'p> {
    let ops = || keyed.ops.iter().map(|&i| &history.ops[i]);
    let reads = || {
        ops().filter(|op| {
            op.f() == "read" && op.result().is_some_and(|v| v.is_array() || v.is_null())
        })
    };
    let marked: Vec<_> = reads().filter(|op| op.is_final()).collect();
    if !marked.is_empty() {
        return Finals::Marked(marked);
    }
    if history.is_run() || ops().any(|op| op.f() == "read" && op.is_final()) {
        return Finals::None("no final read was answered");
    }
    let acknowledged = ops()
        .filter(|op| op.f() != "read" && op.is_ok())
        .map(Op::end)
        .max()
        .unwrap_or(Time::ZERO);
    let last: Vec<_> = reads().filter(|op| op.start() > acknowledged).collect();
    if last.is_empty() {
        Finals::None("no read began after the last acknowledgement")
    } else {
        Finals::Last(last)
    }
}
