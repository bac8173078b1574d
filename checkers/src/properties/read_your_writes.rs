//! `read-your-writes`: a session reads its own acknowledged writes, or newer ones.
//!
//! Terry et al. 1994. "It is not my last write" is no violation by itself: somebody else may have written since. [`crate::order`] says which
//! version is older. A write without an acknowledgement gives no right to see it.

use crate::findings::Findings;
use crate::order::{Guarantee, Pair};
use crate::register::{Action, RegisterOp};
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, Shape};

/// The property.
pub(super) struct ReadYourWrites;

const GUARANTEE: Guarantee = Guarantee {
    name: "own-write-missed",
    mend: "Read from the leader after an own write, or carry the write's position and let a replica wait until it has it.",
    pairs,
};

impl Property for ReadYourWrites {
    fn name(&self) -> &'static str {
        "read-your-writes"
    }

    fn summary(&self) -> &'static str {
        "a session reads its own acknowledged writes, or newer ones"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Register)
    }

    fn check(&self, history: &Prepared<'_>, _: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        GUARANTEE.check(history, &mut findings);
        findings.result()
    }
}

/// Each read with the session's last acknowledged write before it.
fn pairs(session: &[RegisterOp]) -> Vec<Pair> {
    let mut last: Option<(u32, RegisterOp)> = None;
    let mut pairs = Vec::new();
    for op in session {
        match (op.action, last) {
            (Action::Read(to), Some((from, first))) => pairs.push(Pair {
                from,
                to,
                first,
                second: *op,
            }),
            (Action::Write(value) | Action::Cas(_, value), _) if op.certain() => {
                last = Some((value, *op));
            }
            _ => {}
        }
    }
    pairs
}
