//! `writes-follow-reads`: what a session writes comes after what it had read, everywhere.
//!
//! Terry et al. 1994: a server that has a write has those that its session had seen before, and orders them so. A read of a set
//! that only grows shows what its server has, so there it is decided ([`crate::closure`]). On a register a session that read what it
//! had not yet written, or what was written later by the only writer, is a contradiction by itself; that others see the versions in
//! another order may as well be their reads going back (`monotonic-reads`), so that is `unknown`. Under different keys a node's answers to
//! one session decide ([`crate::across`]).

use super::monotonic_reads;
use crate::across::Across;
use crate::closure::Closure;
use crate::findings::{Advice, Findings};
use crate::order::{self, Guarantee};
use crate::register::Action;
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, Shape};
use schism_history::Op;
use serde_json::Value;

/// The property.
pub(super) struct WritesFollowReads;

const ADVICE: Advice = Advice {
    cause: "A session read at one replica and wrote at another that had not what it had read.",
    mend: "Send with a write what its session has seen (its version vector or log position), and let a replica hold it back until it \
                    has that.",
};

const GUARANTEE: Guarantee = Guarantee {
    name: "write-before-its-cause",
    advice: &ADVICE,
    binds: order::read,
    bound: order::written,
};

const CLOSURE: Closure = Closure {
    name: "cause-missing",
    advice: &ADVICE,
    verb: "read",
    elements,
};

const ACROSS: Across = Across {
    name: "cause-missing",
    advice: &ADVICE,
    verb: "read",
    knows: |action| matches!(action, Action::Read(_)),
};

impl Property for WritesFollowReads {
    fn name(&self) -> &'static str {
        "writes-follow-reads"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "who sees a session's write sees what it had read before"
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

/// What an answered read returned.
fn elements<'h>(op: &Op<'h>) -> &'h [Value] {
    let list = op.result().filter(|_| op.f() == "read");
    list.and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}
