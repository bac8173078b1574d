//! From transactions that no order explains to few of them that none explains, by the delta debugger that all searches share ([`crate::shrink`]).
//!
//! Whatever is left out, an order that fits the whole fits the rest: so what is left over is a contradiction by itself. A read without its
//! writer says nothing.

use super::Keys;
use super::graph::{Graph, Order};
use super::search::{Found, search};
use crate::Budget;
use crate::cycles::components;
use crate::findings::Findings;
use crate::shrink::{self, Piece};
use crate::transactions::Transactions;
use schism_history::{Op, Time};

/// Whether no order explains these; not so where the budget runs out.
pub(crate) fn contradict(ops: &[&Op<'_>], order: Order, budget: &Budget<'_>) -> bool {
    let txns = Transactions::of(ops.to_vec(), budget);
    let mut keys = Keys::new(&txns);
    keys.observe(&txns, budget);
    let mut findings = Findings::new();
    let graph = Graph::new(&txns, &keys, order, &mut findings, budget);
    if budget.is_exhausted() {
        return false;
    }
    findings.anomalies() > 0
        || components(&graph.edges, budget).iter().any(|c| c.len() > 1)
        || (graph.is_open && search(&txns, &keys, &graph, order, budget) == Found::Nothing)
}

/// A smallest part of what contradicts itself, as far as leaving out one group after another finds it. They are ordered by invocation.
pub(crate) fn minimal<'p>(ops: &[&'p Op<'p>], budget: &Budget<'_>) -> Vec<&'p Op<'p>> {
    shrink::minimal(ops, &|ops| contradict(ops, Order::RealTime, budget))
}

/// Any of them can go by itself.
impl Piece for &Op<'_> {
    fn start(&self) -> Time {
        Op::start(self)
    }

    fn end(&self) -> Time {
        Op::end(self)
    }

    /// Of one whose outcome nobody knows nothing more comes later.
    fn unanswered(&self) -> Option<Self> {
        Op::end(self).is_infinite().then_some(*self)
    }

    fn gives(&self) -> Vec<u32> {
        Vec::new()
    }

    fn needs(&self) -> Vec<u32> {
        Vec::new()
    }

    fn refused(&self) -> bool {
        false
    }

    fn stays(&self) -> bool {
        false
    }
}
