//! From transactions that no order explains to few of them that none explains: the shortest failing beginning by binary search, then delta
//! debugging (Zeller and Hildebrandt 2002).
//!
//! Whatever is left out, an order that fits the whole fits the rest: so what is left over is a contradiction by itself. A read without its
//! writer says nothing.

use super::Keys;
use super::graph::{Graph, Order};
use super::search::{Found, search};
use crate::Budget;
use crate::cycles::components;
use crate::findings::Findings;
use crate::transactions::Transactions;
use schism_history::Op;

/// How many transactions are decided over, all tries together, before what is left is good enough.
const WORK_MAX: usize = 1 << 21;

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
    let fails = |ops: &[&Op<'_>]| contradict(ops, Order::RealTime, budget);
    let (mut passing, mut failing) = (0, ops.len());
    while failing - passing > 1 {
        let middle = usize::midpoint(passing, failing);
        if fails(&ops[..middle]) {
            failing = middle;
        } else {
            passing = middle;
        }
    }
    let mut core = ops[..failing].to_vec();
    let (mut size, mut work) = (core.len().div_ceil(2), 0);
    while size > 0 {
        let mut at = 0;
        while at < core.len() && work < WORK_MAX {
            let end = core.len().min(at + size);
            let fewer: Vec<&Op<'_>> = [&core[..at], &core[end..]].concat();
            work += core.len();
            if fails(&fewer) {
                core = fewer;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    core
}
