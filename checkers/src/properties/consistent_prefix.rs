//! `consistent-prefix`: there is one order of the writes, and every transaction reads the state after some prefix of it.
//!
//! Terry 2013 (consistent prefix), Cerone et al. 2015 (prefix consistency), for transactions: how old the prefix is does not matter,
//! only that it has no gaps. A read of one key alone is always a prefix, so plain registers are not what this is about. Each transaction is two events, its
//! reads and, later, its writes, each at one moment. Sure of the order are: reads come after the writes that they saw, and before the next
//! ones of those keys; writes of a session keep its order. Versions of a list stand in the order in which reads show it (reads of
//! a list must be prefixes of one another); those of a register in the order of its writer where one session alone wrote it, one after
//! another. A transaction that reads its own
//! appends says what it read before them. If these have a cycle, no order fits, and if not, one does. Other registers are `unknown` unless the rest decides. Writes of
//! unknown outcome count only if they were seen. Linear in what was read and written.

use crate::cycles::{Step, cycles};
use crate::findings::{Advice, Findings, anomaly};
use crate::fixed::FixedMap;
use crate::intern::{ABSENT, Interner, Val};
use crate::transactions::{Read, Transactions};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Prepared, Property, Shape, questions};
use schism_history::Time;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The property.
pub(super) struct ConsistentPrefix;

const ADVICE: Advice = Advice {
    cause: "Partitions or replicas with different lag answer one transaction, or changes are applied one by one.",
    mend: "Let replicas apply one log in its order, a transaction at a time, and answer all reads of a transaction from one snapshot.",
};

impl Property for ConsistentPrefix {
    fn name(&self) -> &'static str {
        "consistent-prefix"
    }

    fn summary(&self) -> &'static str {
        "every transaction reads the state after some prefix of one order of the writes"
    }

    /// Lists, or registers whose versions have a known order: else there is nothing to judge by.
    fn fits(&self, history: &Prepared<'_>) -> bool {
        if history.has(Shape::Questions) {
            return true;
        }
        if !history.has(Shape::Transactions) {
            return false;
        }
        let txns = Transactions::new(history, &Budget::unlimited());
        let mut keys = Keys::new(&txns);
        if keys.all.iter().any(|key| key.is_list) {
            return true;
        }
        keys.observe(&txns, &Budget::unlimited());
        keys.all.iter().all(|key| key.is_ordered(&txns))
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        if history.has(Shape::Questions) {
            questions::check(history, &mut findings, budget);
        }
        if !history.has(Shape::Transactions) {
            return findings.result();
        }
        let txns = Transactions::new(history, budget);
        if let Some(why) = &txns.strange {
            findings.doubt(|| why.clone());
        }
        findings.checked(txns.all.iter().filter(|txn| !txn.reads.is_empty()).count());
        let mut keys = Keys::new(&txns);
        keys.observe(&txns, budget);
        if findings.out_of_time(budget, || "before all transactions were read".to_owned()) {
            return findings.result();
        }
        // Each edge stands for itself: a cycle of some of them is one.
        let graph = Graph::new(&txns, &keys, &mut findings, budget);
        for cycle in cycles(&graph.edges, budget) {
            findings.violate(|| said(&txns, &graph, &cycle));
        }
        findings.out_of_time(budget, || {
            "in the search for contradictions between what transactions saw".to_owned()
        });
        findings.result()
    }
}

/// A write: its transaction and its value.
type Written = (usize, Val);

/// What is known of one key.
#[derive(Default)]
struct Key<'p> {
    is_list: bool,
    is_register: bool,
    /// Two writes that may have happened put the same value there.
    repeated: bool,
    /// By invocation; those that happened.
    writes: Vec<Written>,
    /// Reads with their transactions.
    reads: Vec<(usize, Read<'p>)>,
}

impl Key<'_> {
    /// Whether one session alone wrote it, one transaction after another.
    fn is_ordered(&self, txns: &Transactions<'_>) -> bool {
        self.writes.windows(2).all(|pair| {
            let (first, second) = (pair[0].0, pair[1].0);
            let (a, b) = (txns.all[first].op, txns.all[second].op);
            first == second || (a.session() == b.session() && a.precedes(b))
        })
    }
}

struct Keys<'p> {
    /// By the key's number.
    all: Vec<Key<'p>>,
    values: Interner<'p>,
    /// Who may have written a value under a key.
    writers: FixedMap<(Val, Val), usize>,
    /// By transaction, whether its writes happened.
    happened: Vec<bool>,
}

impl<'p> Keys<'p> {
    fn new(txns: &Transactions<'p>) -> Self {
        let mut keys = Self {
            all: (0..txns.keys.len()).map(|_| Key::default()).collect(),
            values: Interner::new(),
            writers: FixedMap::new(),
            happened: txns.all.iter().map(|txn| txn.op.is_ok()).collect(),
        };
        for (number, txn) in txns.all.iter().enumerate() {
            for write in &txn.writes {
                let value = keys.values.intern(write.value);
                let key = &mut keys.all[write.key as usize];
                key.is_list |= write.append;
                key.is_register |= !write.append;
                key.writes.push((number, value));
                key.repeated |= keys.writers.insert((write.key, value), number).is_some();
            }
        }
        for (number, txn) in txns.all.iter().enumerate() {
            for read in &txn.reads {
                let key = &mut keys.all[read.key as usize];
                key.is_list |= read.value.is_array() && !key.is_register;
                key.reads.push((number, *read));
            }
        }
        keys
    }

    /// Finds out which writes of unknown outcome happened, and forgets the others; not of all where the time is up.
    fn observe(&mut self, txns: &Transactions<'p>, budget: &Budget<'_>) {
        for read in txns.all.iter().flat_map(|txn| &txn.reads) {
            if budget.is_exhausted() {
                return;
            }
            let is_list = self.all[read.key as usize].is_list;
            let seen = if is_list {
                read.list()
            } else {
                std::slice::from_ref(read.value)
            };
            for value in seen {
                let value = self.values.intern(value);
                if let Some(writer) = self.writers.get(&(read.key, value)) {
                    self.happened[*writer] = true;
                }
            }
        }
        for key in &mut self.all {
            key.writes.retain(|(txn, _)| self.happened[*txn]);
        }
    }

    fn writer(&self, key: Val, value: Val) -> Option<usize> {
        self.writers.get(&(key, value)).copied()
    }
}

/// Why one event comes before another.
#[derive(Debug, Clone, Copy)]
enum Edge {
    /// The read saw the write.
    Saw(Val),
    /// The read did not see the write of this key, which came after what it saw, as this transaction shows.
    Missed(Val, Option<usize>),
    /// To the helping node of a key: nothing of it was seen, or the whole list.
    To(Val, Option<usize>),
    /// From there to a write that was not seen.
    From,
    /// One session's writes.
    Session,
    /// This read shows the list in this order.
    Listed(Val, usize),
    /// A transaction reads before it writes.
    Own,
}

/// Events: the writes and the reads of each transaction, and one helping node a key, which stands before all writes that no read saw.
struct Graph {
    edges: Vec<Vec<(usize, Edge)>>,
    transactions: usize,
}

impl Graph {
    fn new<'p>(
        txns: &Transactions<'p>,
        keys: &Keys<'p>,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) -> Self {
        let transactions = txns.all.len();
        let mut graph = Self {
            edges: vec![Vec::new(); 2 * transactions + keys.all.len()],
            transactions,
        };
        for txn in 0..transactions {
            graph.edges[Self::reads(txn)].push((Self::writes(txn), Edge::Own));
        }
        graph.sessions(txns, keys);
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

    fn writes(txn: usize) -> usize {
        2 * txn
    }

    fn reads(txn: usize) -> usize {
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
        let ordered = key.is_ordered(txns);
        if !ordered {
            findings.doubt(|| {
                let key = txns.key(number);
                format!("{key} was not written by one session, one write after another, so the order of its versions is not known")
            });
        }
        for (txn, _) in &key.writes {
            let helper = self.helper(number);
            self.edges[helper].push((Self::writes(*txn), Edge::From));
        }
        let writes: Vec<usize> = key.writes.iter().map(|(txn, _)| *txn).collect();
        for (done, (txn, read)) in key.reads.iter().enumerate() {
            let what = || format!("reads of {}", txns.key(number));
            if findings.out_of_time_after(budget, (done, key.reads.len()), what) {
                return;
            }
            let node = Self::reads(*txn);
            let value = keys.values.known(read.value);
            if value == Some(ABSENT) {
                let helper = self.helper(number);
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
            if ordered {
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

fn said(txns: &Transactions<'_>, graph: &Graph, cycle: &[Step<Edge>]) -> Anomaly {
    let mut operations: BTreeSet<usize> = BTreeSet::new();
    let mut why = Vec::new();
    // A way over a helping node begins with the read that leads there.
    let at = cycle
        .iter()
        .position(|(from, ..)| from % 2 == 1 && *from < 2 * graph.transactions);
    let turned = cycle.iter().cycle().skip(at.unwrap_or(0)).take(cycle.len());
    let mut held: Option<(usize, Val)> = None;
    for (from, to, edge) in turned {
        let nodes = [*from, *to]
            .into_iter()
            .filter(|node| *node < 2 * graph.transactions);
        operations.extend(nodes.map(|node| node / 2));
        let txn = |node: usize| txns.noun(node / 2);
        let missed = |reader: usize, key: Val, writer: usize| {
            format!(
                "{} did not see what {} wrote to {}",
                txn(reader),
                txn(writer),
                txns.key(key)
            )
        };
        match edge {
            Edge::Saw(key) => why.push(format!(
                "{} saw what {} wrote to {}",
                txn(*to),
                txn(*from),
                txns.key(*key)
            )),
            Edge::Missed(key, witness) => {
                operations.extend(witness);
                why.push(missed(*from, *key, *to));
            }
            Edge::To(key, witness) => {
                operations.extend(witness);
                held = Some((*from, *key));
            }
            Edge::From => why.extend(held.map(|(reader, key)| missed(reader, key, *to))),
            Edge::Session => why.push(format!(
                "{} came before {} in one session",
                txn(*from),
                txn(*to)
            )),
            Edge::Listed(key, witness) => {
                operations.insert(*witness);
                why.push(format!(
                    "{} shows {} before {} in {}",
                    txns.noun(*witness),
                    txn(*from),
                    txn(*to),
                    txns.key(*key)
                ));
            }
            Edge::Own => {}
        }
    }
    let message = format!(
        "No order of the writes has a prefix for every read: {}: a contradiction.",
        why.join("; ")
    );
    let operations = operations.into_iter().map(|txn| txns.all[txn].op.index());
    anomaly("no-prefix", operations.collect(), message, &ADVICE)
}
