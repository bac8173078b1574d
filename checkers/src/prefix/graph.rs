//! What is sure of the order of writes and reads, as a graph: if it has a cycle, no order fits.
//!
//! Linear in what was read and written, whatever writes are ordered by.

use super::{ADVICE, Keys};
use crate::Budget;
use crate::findings::{Findings, anomaly};
use crate::intern::{ABSENT, Val};
use crate::transactions::Transactions;
use crate::verdict::Anomaly;
use schism_history::Time;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Why one event comes before another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edge {
    /// The read saw the write.
    Saw(Val),
    /// The read did not see the write of this key, which came after what it saw, as this transaction shows.
    Missed(Val, Option<usize>),
    /// To the helping node of a key: nothing of it was seen, or the whole list.
    To(Val, Option<usize>),
    /// From there to a write that was not seen.
    From,
    /// From one helping node to the next.
    Pass,
    /// The write was acknowledged by the moment that this node stands for.
    Acknowledged,
    /// The write was invoked after it.
    Invoked,
    /// One session's writes.
    Session,
    /// This read shows the list in this order.
    Listed(Val, usize),
    /// A transaction reads before it writes.
    Own,
}

/// By what writes are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// By their sessions alone.
    Sessions,
    /// A write that was acknowledged before another was invoked comes first.
    RealTime,
}

/// Events: the writes and the reads of each transaction, and helping nodes: one a key, which stands before all writes that no read saw; and, in real
/// time, one for each acknowledgement, and one for each write of a register, which stands before it and all that were invoked later.
pub(crate) struct Graph {
    pub(crate) edges: Vec<Vec<(usize, Edge)>>,
    pub(crate) transactions: usize,
    /// Whether a register has writes of which the order is not known.
    pub(crate) is_open: bool,
    order: Order,
}

impl Graph {
    /// What is sure. Doubts and lists that contradict one another go to the findings.
    pub(crate) fn new<'p>(
        txns: &Transactions<'p>,
        keys: &Keys<'p>,
        order: Order,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) -> Self {
        let transactions = txns.all.len();
        let mut graph = Self {
            edges: vec![Vec::new(); 2 * transactions + keys.all.len()],
            transactions,
            is_open: false,
            order,
        };
        for txn in 0..transactions {
            graph.edges[Self::reads(txn)].push((Self::writes(txn), Edge::Own));
        }
        match order {
            Order::Sessions => graph.sessions(txns, keys),
            Order::RealTime => graph.real_time(txns, keys),
        }
        for number in 0..keys.all.len() as Val {
            let late = || format!("after {number} of {} keys", keys.all.len());
            if findings.out_of_time(budget, late) {
                break;
            }
            if keys.all[number as usize].is_list {
                graph.list(txns, keys, number, findings, budget);
            } else {
                graph.register(txns, keys, number, findings, budget);
            }
        }
        graph
    }

    pub(crate) fn writes(txn: usize) -> usize {
        2 * txn
    }

    pub(crate) fn reads(txn: usize) -> usize {
        2 * txn + 1
    }

    fn helper(&self, key: Val) -> usize {
        2 * self.transactions + key as usize
    }

    /// The writes of a session in its order, those without an acknowledgement only after others.
    fn sessions(&mut self, txns: &Transactions<'_>, keys: &Keys<'_>) {
        let mut sessions: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (number, txn) in txns.all.iter().enumerate() {
            let session = txn
                .op
                .session()
                .filter(|_| keys.happened[number] && !txn.writes.is_empty());
            if let Some(session) = session {
                sessions.entry(session).or_default().push(number);
            }
        }
        for writes in sessions.values() {
            for txn in writes {
                for next in next_after(txns, writes, *txn) {
                    self.edges[Self::writes(*txn)].push((Self::writes(next), Edge::Session));
                }
            }
        }
    }

    fn add_node(&mut self) -> usize {
        self.edges.push(Vec::new());
        self.edges.len() - 1
    }

    /// Each acknowledgement comes before the next one, and before the writes that were invoked before that but after this: two edges a write.
    fn real_time(&mut self, txns: &Transactions<'_>, keys: &Keys<'_>) {
        let happened = (0..txns.all.len())
            .filter(|txn| keys.happened[*txn] && !txns.all[*txn].writes.is_empty());
        let starts: Vec<usize> = happened.collect();
        let mut ends: Vec<usize> = starts.clone();
        ends.retain(|txn| txns.all[*txn].op.is_ok());
        ends.sort_by_key(|txn| txns.all[*txn].op.end());
        let (mut last, mut at) = (None, 0);
        for txn in ends {
            let end = txns.all[txn].op.end();
            let before = starts[at..]
                .iter()
                .take_while(|next| txns.all[**next].op.start() <= end);
            let before = before.count();
            for next in &starts[at..at + before] {
                let invoked = |node: usize| (node, (Self::writes(*next), Edge::Invoked));
                if let Some((node, edge)) = last.map(invoked) {
                    self.edges[node].push(edge);
                }
            }
            at += before;
            let node = self.add_node();
            if let Some(last) = last {
                self.edges[last].push((node, Edge::Pass));
            }
            self.edges[Self::writes(txn)].push((node, Edge::Acknowledged));
            last = Some(node);
        }
        if let Some(last) = last {
            let rest = starts[at..]
                .iter()
                .map(|next| (Self::writes(*next), Edge::Invoked));
            self.edges[last].extend(rest);
        }
    }

    /// A helping node for each write of a register, before it and before the next one's.
    fn chain(&mut self, writes: &[usize]) -> usize {
        let first = self.edges.len();
        for (place, txn) in writes.iter().enumerate() {
            let node = self.add_node();
            self.edges[node].push((Self::writes(*txn), Edge::From));
            if place + 1 < writes.len() {
                self.edges[node].push((node + 1, Edge::Pass));
            }
        }
        first
    }

    fn register(
        &mut self,
        txns: &Transactions<'_>,
        keys: &Keys<'_>,
        number: Val,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) {
        let key = &keys.all[number as usize];
        if key.reads.is_empty() {
            return;
        }
        if key.repeated {
            findings.doubt(|| format!("{} was given one value more than once", txns.key(number)));
            return;
        }
        let in_time = self.order == Order::RealTime;
        let ordered = match self.order {
            Order::Sessions => key.is_ordered(txns),
            Order::RealTime => key.is_ordered_in_time(txns),
        };
        self.is_open |= !ordered;
        let writes: Vec<usize> = key.writes.iter().map(|(txn, _)| *txn).collect();
        let helper = self.helper(number);
        let chain = if in_time {
            let chain = self.chain(&writes);
            if !writes.is_empty() {
                self.edges[helper].push((chain, Edge::Pass));
            }
            chain
        } else {
            let all = writes.iter().map(|txn| (Self::writes(*txn), Edge::From));
            self.edges[helper].extend(all);
            helper
        };
        for (done, (txn, read)) in key.reads.iter().enumerate() {
            let what = || format!("reads of {}", txns.key(number));
            if findings.out_of_time_after(budget, (done, key.reads.len()), what) {
                return;
            }
            let node = Self::reads(*txn);
            let value = keys.values.known(read.value);
            if value == Some(ABSENT) {
                self.edges[node].push((helper, Edge::To(number, None)));
                continue;
            }
            let writer = value.and_then(|value| keys.writer(number, value));
            let Some(writer) = writer else {
                findings.doubt(|| {
                    format!(
                        "nobody had written what {} read of {}",
                        txns.noun(*txn),
                        txns.key(number)
                    )
                });
                continue;
            };
            self.edges[Self::writes(writer)].push((node, Edge::Saw(number)));
            // What it wrote over itself was never the state after it.
            let after = key.writes.partition_point(|(txn, _)| *txn <= writer);
            let last = key.writes[..after].last();
            if last.is_some_and(|(_, last)| Some(*last) != value) {
                let edge = Edge::Missed(number, Some(writer));
                self.edges[node].push((Self::writes(writer), edge));
            }
            if in_time {
                let end = txns.all[writer].op.end();
                let later = writes.partition_point(|txn| txns.all[*txn].op.start() <= end);
                if later < writes.len() {
                    let edge = Edge::To(number, Some(writer));
                    self.edges[node].push((chain + later, edge));
                }
            } else if ordered {
                for next in next_after(txns, &writes, writer) {
                    let edge = Edge::Missed(number, Some(writer));
                    self.edges[node].push((Self::writes(next), edge));
                }
            }
        }
    }

    fn list(
        &mut self,
        txns: &Transactions<'_>,
        keys: &Keys<'_>,
        number: Val,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) {
        let key = &keys.all[number as usize];
        let Some((shows, longest)) = key.reads.iter().max_by_key(|(_, read)| read.list().len())
        else {
            return;
        };
        let (shows, longest) = (*shows, longest.list());
        let mut agree = true;
        for (done, (txn, read)) in key.reads.iter().enumerate() {
            let late = || {
                format!(
                    "after {done} of {} reads of {}",
                    key.reads.len(),
                    txns.key(number)
                )
            };
            if findings.out_of_time(budget, late) {
                return;
            }
            if !longest.starts_with(read.list()) {
                agree = false;
                findings.violate(|| incompatible(txns, number, *txn, shows));
            }
        }
        if !agree {
            return;
        }
        let Some(order) = writers(txns, keys, number, shows, longest, findings) else {
            return;
        };
        for pair in order.windows(2).filter(|pair| pair[0] != pair[1]) {
            let edge = Edge::Listed(number, shows);
            self.edges[Self::writes(pair[0])].push((Self::writes(pair[1]), edge));
        }
        let helper = self.helper(number);
        let listed: BTreeSet<usize> = order.iter().copied().collect();
        let unread = key.writes.iter().filter(|(txn, _)| !listed.contains(txn));
        self.edges[helper].extend(unread.map(|(txn, _)| (Self::writes(*txn), Edge::From)));
        for (txn, read) in &key.reads {
            let (node, seen) = (Self::reads(*txn), read.list().len());
            if let Some(last) = seen.checked_sub(1) {
                self.edges[Self::writes(order[last])].push((node, Edge::Saw(number)));
            }
            self.edges[node].push(match order.get(seen) {
                Some(next) => (Self::writes(*next), Edge::Missed(number, Some(shows))),
                None => (helper, Edge::To(number, Some(shows))),
            });
        }
    }
}

/// Who wrote each element of the longest read; nothing where that is not known, or where an element is there twice.
fn writers(
    txns: &Transactions<'_>,
    keys: &Keys<'_>,
    key: Val,
    shows: usize,
    longest: &[Value],
    findings: &mut Findings,
) -> Option<Vec<usize>> {
    if keys.all[key as usize].repeated {
        findings.doubt(|| format!("one value was appended to {} more than once", txns.key(key)));
        return None;
    }
    let values: Vec<Option<Val>> = longest.iter().map(|v| keys.values.known(v)).collect();
    let mut seen = BTreeSet::new();
    if let Some(twice) = values.iter().position(|v| !seen.insert(*v)) {
        findings.violate(|| {
            let message = format!(
                "{} is in {} twice in {}, and was appended once: that is no prefix of any order.",
                longest[twice],
                txns.key(key),
                txns.noun(shows)
            );
            let value = values[twice].and_then(|value| keys.writer(key, value));
            let operations = [Some(shows), value].into_iter().flatten();
            let operations = operations.map(|txn| txns.all[txn].op.index()).collect();
            anomaly("duplicated", operations, message, &ADVICE)
        });
        return None;
    }
    let writers = values.iter().map(|v| v.and_then(|v| keys.writer(key, v)));
    let writers: Option<Vec<usize>> = writers.collect();
    if writers.is_none() {
        findings.doubt(|| {
            format!(
                "nobody had appended all of what {} read of {}",
                txns.noun(shows),
                txns.key(key)
            )
        });
    }
    writers
}

/// Of these, ordered by invocation, those that began after one of them had ended and before any other such one had.
fn next_after(txns: &Transactions<'_>, writes: &[usize], txn: usize) -> Vec<usize> {
    let end = txns.all[txn].op.end();
    let first = writes.partition_point(|w| txns.all[*w].op.start() <= end);
    let mut next = Vec::new();
    let mut first_end = Time::INFINITY;
    for other in &writes[first..] {
        let op = txns.all[*other].op;
        if op.start() > first_end {
            break;
        }
        if next.last() != Some(other) {
            next.push(*other);
        }
        first_end = first_end.min(op.end());
    }
    next
}

fn incompatible(txns: &Transactions<'_>, key: Val, txn: usize, shows: usize) -> Anomaly {
    let message = format!(
        "{} and {} read {} in orders of which neither is a prefix of the other.",
        txns.noun(txn),
        txns.noun(shows),
        txns.key(key)
    );
    let operations = [txn, shows].map(|txn| txns.all[txn].op.index());
    anomaly("incompatible-order", operations.to_vec(), message, &ADVICE).with("key", txns.key(key))
}
