//! `monotonic-reads`: a session never reads an older version of a key than it has read before.
//!
//! Terry et al. 1994. Which version is older, [`crate::order`] finds out; where no order is known, only contradictions between what
//! sessions saw are violations, so a single session that goes back where nobody went forward is not found.

use crate::findings::{Advice, Findings};
use crate::order::{self, Guarantee};
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, Shape};

/// The property.
pub(super) struct MonotonicReads;

const ADVICE: Advice = Advice {
    cause: "A session's reads went to replicas with different lag, or its replica was replaced by one that is behind.",
    mend: "Send a session's reads to one replica (read=sticky), or let a replica wait until it has what the session has seen.",
};

/// Also what other guarantees take from the reads of a session.
pub(super) const GUARANTEE: Guarantee = Guarantee {
    name: "read-went-back",
    advice: &ADVICE,
    binds: order::read,
    bound: order::read,
};

impl Property for MonotonicReads {
    fn name(&self) -> &'static str {
        "monotonic-reads"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "a session never reads an older version than it has read before"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Register)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        GUARANTEE.check(history, &mut findings, budget);
        findings.result()
    }
}
