//! Whether all reads of a text show its runs in one order.
//!
//! Attiya et al. 2016 (the list specification): where two runs stood in an order once, they stand so in every read that has both. All reads together
//! as edges between neighbours have no cycle where that holds (linear, by components); where there is one, the reads that have runs of it are compared
//! pair by pair, under the budget. A cycle over three reads of which no two disagree breaks the strong form of the specification only, which
//! Jupiter and what descends from it does not promise.

use crate::Budget;
use crate::cycles::components;
use crate::runs::{RunId, Runs};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of the order.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Two reads (by place) and two runs: the first read has them in this order, the other one in the other.
    pub(crate) contradictions: Vec<(usize, usize, RunId, RunId)>,
    /// No two reads disagree, and yet no one order fits all.
    pub(crate) only_together: bool,
    /// The comparison was stopped at this read.
    pub(crate) stopped_at: Option<usize>,
}

/// How many contradictions are looked for.
const FOUND_MAX: usize = 20;

/// Compares all reads of a text.
pub(crate) fn order(text: &Runs<'_>, budget: &Budget<'_>) -> Order {
    let reads = distinct(text);
    if let Some(first) = reads.first().filter(|_| budget.is_exhausted()) {
        return Order {
            stopped_at: Some(*first),
            ..Order::default()
        };
    }
    let mut edges: Vec<Vec<(usize, ())>> = vec![Vec::new(); text.all.len()];
    for r in &reads {
        for pair in text.reads[*r].whole.windows(2) {
            edges[pair[0] as usize].push((pair[1] as usize, ()));
        }
    }
    for next in &mut edges {
        next.sort_unstable();
        next.dedup();
    }
    let cyclic = components(&edges, budget)
        .into_iter()
        .filter(|c| c.len() > 1)
        .flatten();
    let cyclic: BTreeSet<RunId> = cyclic.map(|run| run as RunId).collect();
    if cyclic.is_empty() {
        let stopped_at = reads.first().filter(|_| budget.is_exhausted()).copied();
        return Order {
            stopped_at,
            ..Order::default()
        };
    }
    let in_cycle = |r: usize| -> Vec<RunId> {
        let whole = text.reads[r].whole.iter().copied();
        whole.filter(|run| cyclic.contains(run)).collect()
    };
    let lists: Vec<(usize, Vec<RunId>)> = reads.into_iter().map(|r| (r, in_cycle(r))).collect();
    compare(&lists, budget)
}

/// The reads with different texts, by the first of each.
fn distinct(text: &Runs<'_>) -> Vec<usize> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let reads = text.reads.iter().enumerate();
    reads
        .filter(|(_, r)| seen.insert(r.text))
        .map(|(i, _)| i)
        .collect()
}

fn compare(lists: &[(usize, Vec<RunId>)], budget: &Budget<'_>) -> Order {
    let mut order = Order::default();
    let mut told: BTreeSet<(RunId, RunId)> = BTreeSet::new();
    for (i, (one, list)) in lists.iter().enumerate() {
        let places: BTreeMap<RunId, usize> = list.iter().copied().zip(0..).collect();
        for (other, later) in &lists[i + 1..] {
            if budget.is_exhausted() {
                order.stopped_at = Some(*one);
                return order;
            }
            if let Some((a, b)) = backwards(&places, later)
                && told.insert((a.min(b), a.max(b)))
            {
                order.contradictions.push((*one, *other, a, b));
            }
        }
        if order.contradictions.len() >= FOUND_MAX {
            return order;
        }
    }
    order.only_together = order.contradictions.is_empty();
    order
}

/// Two runs that these places have in this order, and the list in the other one: then there are two neighbours among those that are in both.
fn backwards(places: &BTreeMap<RunId, usize>, list: &[RunId]) -> Option<(RunId, RunId)> {
    let shared = list
        .iter()
        .filter_map(|run| Some((*places.get(run)?, *run)));
    let shared: Vec<(usize, RunId)> = shared.collect();
    let mut pairs = shared.windows(2);
    let pair = pairs.find(|pair| pair[0].0 > pair[1].0)?;
    Some((pair[1].1, pair[0].1))
}
