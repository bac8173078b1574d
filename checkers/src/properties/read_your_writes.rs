//! `read-your-writes`: a session reads its own acknowledged writes, or newer ones.
//!
//! Terry et al. 1994. "It is not my last write" is no violation by itself: somebody else may have written since. [`crate::order`] says which
//! version is older. A write without an acknowledgement gives no right to see it.

use crate::findings::{Advice, Findings};
use crate::order::{self, Guarantee};
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, Shape};

/// The property.
pub(super) struct ReadYourWrites;

const ADVICE: Advice = Advice {
    cause: "A session wrote at the leader and read from a replica that had not the write yet, or the write was lost with its leader.",
    mend: "Read from the leader after an own write, or carry the write's position and let a replica wait until it has it.",
};

const GUARANTEE: Guarantee = Guarantee {
    name: "own-write-missed",
    advice: &ADVICE,
    binds: order::acknowledged,
    bound: order::read,
};

impl Property for ReadYourWrites {
    fn name(&self) -> &'static str {
        "read-your-writes"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "a session reads its own acknowledged writes, or newer ones"
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
