//! `monotonic-writes`: the writes of a session take effect in its order, everywhere.
//!
//! Terry et al. 1994: a server that has a write has those that its session had made before, and orders them so. A read of a set that
//! only grows shows what its server has, so there it is decided ([`crate::closure`]). A register shows one version: that a session reads
//! the later write and then the earlier one may as well be its reads going back (`monotonic-reads`), so that is `unknown`; where the two are
//! under different keys, a node's answers to one session decide ([`crate::across`]). A write without an acknowledgement binds nothing.

use super::monotonic_reads;
use crate::across::Across;
use crate::closure::Closure;
use crate::findings::{Advice, Findings};
use crate::order::{self, Guarantee};
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, Shape};
use schism_history::Op;
use serde_json::Value;

/// The property.
pub(super) struct MonotonicWrites;

const ADVICE: Advice = Advice {
    cause: "A session's writes went to different leaders or partitions, and replicas apply them in another order.",
    mend: "Let every replica apply a session's writes in its order: one log, or each write with the position of the one before it, held \
                    back until that is there.",
};

const GUARANTEE: Guarantee = Guarantee {
    name: "writes-out-of-order",
    advice: &ADVICE,
    binds: order::acknowledged,
    bound: order::written,
};

const CLOSURE: Closure = Closure {
    name: "earlier-write-missing",
    advice: &ADVICE,
    verb: "added",
    elements,
};

const ACROSS: Across = Across {
    name: "earlier-write-missing",
    advice: &ADVICE,
    verb: "written",
    knows: |action| action.writes().is_some(),
};

impl Property for MonotonicWrites {
    fn name(&self) -> &'static str {
        "monotonic-writes"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "who sees a session's write sees the writes that it had made before"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Register) || history.has(Shape::Set)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        GUARANTEE.check(history, &mut findings, budget);
        GUARANTEE.beside(&monotonic_reads::GUARANTEE, history, &mut findings, budget);
        ACROSS.check(history, &mut findings, budget);
        CLOSURE.check(history, &mut findings, budget);
        findings.result()
    }
}

/// The element of an acknowledged add.
fn elements<'h>(op: &Op<'h>) -> &'h [Value] {
    if op.f() == "add" && op.is_ok() {
        std::slice::from_ref(op.argument())
    } else {
        &[]
    }
}
