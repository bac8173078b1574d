//! An order of writes that gives every read its prefix, where the order of a register's versions is not known: a search with memoization.
//!
//! Whether there is one is NP-complete (as view serializability, Papadimitriou 1979), so the budget bounds it. A state is what of the graph was
//! taken: a write is not taken while somebody still looks for what it replaces, so what registers hold beyond that is of no use to anybody. What
//! keeps it small, each step argued:
//!
//! - A read whose turn it is and that finds what it looks for is taken at once, and so is a helping node: neither changes anything.
//! - A write is taken at once if, for each of its registers, all other writes still to come are later by right, or nobody looks for its value:
//!   any order that fits still fits with this write moved to its beginning, for nobody there looks for what it replaces.
//!
//! The write that ended first is tried first. So there is a choice only among writes of one register that overlap and are read:
//! O(n log n) if no choice is ever regretted.

use super::Keys;
use super::graph::{Graph, Order};
use crate::Budget;
use crate::fixed::FixedMap;
use crate::intern::{ABSENT, Val};
use crate::search::spread;
use crate::transactions::Transactions;
use schism_history::Time;
use std::collections::BTreeSet;

/// What the search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is an order.
    Order,
    /// There is none.
    Nothing,
    /// The budget ran out: of what; how many writes and reads were put in order where the search came furthest, and the first write that was not.
    OutOf(&'static str, usize, Option<usize>),
}

const BYTES_A_STATE: u64 = 32;
const STEPS_A_LOOK: u64 = 1 << 10;

/// Searches for an order of a graph without cycles.
pub(crate) fn search(
    txns: &Transactions<'_>,
    keys: &Keys<'_>,
    graph: &Graph,
    order: Order,
    budget: &Budget<'_>,
) -> Found {
    Search::new(txns, keys, graph, order).run(budget)
}

/// A value of a register, by the transaction that left it there.
type Version = u32;

struct Search<'a> {
    graph: &'a Graph,
    order: Order,
    /// By transaction, its invocation and completion.
    times: Vec<(Time, Time)>,
    /// By transaction, the versions that it looks for, and what it leaves where.
    looks: Vec<Vec<Version>>,
    puts: Vec<Vec<(usize, Version)>>,
    /// By version, its register, who looks for it, and how many of these are still to come.
    home: Vec<usize>,
    seers: Vec<Vec<usize>>,
    wants: Vec<u32>,
    /// By register, what it holds, and the writes still to come.
    holds: Vec<Version>,
    left: Vec<BTreeSet<(Time, usize)>>,
    /// By node, how many must come before it and are still to come.
    before: Vec<u32>,
    is_taken: Vec<bool>,
    /// Writes whose turn it is.
    turn: BTreeSet<(Time, Time, usize)>,
    taken: Vec<usize>,
    /// How many of these are writes and reads.
    events: usize,
    /// What writes replaced, in the order in which they were taken.
    replaced: Vec<Version>,
    hash: u128,
    furthest: (usize, Option<usize>),
}

/// A choice: how much was taken before it, and what is still to be tried.
struct Choice {
    taken: usize,
    options: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(txns: &Transactions<'_>, keys: &Keys<'_>, graph: &'a Graph, order: Order) -> Self {
        let (all, nodes) = (txns.all.len(), graph.edges.len());
        let mut search = Self {
            graph,
            order,
            times: txns
                .all
                .iter()
                .map(|t| (t.op.start(), t.op.end()))
                .collect(),
            looks: vec![Vec::new(); all],
            puts: vec![Vec::new(); all],
            home: Vec::new(),
            seers: Vec::new(),
            wants: Vec::new(),
            holds: Vec::new(),
            left: Vec::new(),
            before: vec![0; nodes],
            is_taken: vec![false; nodes],
            turn: BTreeSet::new(),
            taken: Vec::with_capacity(nodes),
            events: 0,
            replaced: Vec::new(),
            hash: 0,
            furthest: (0, None),
        };
        for number in 0..keys.all.len() as Val {
            search.register(keys, number);
        }
        for (next, _) in graph.edges.iter().flatten() {
            search.before[*next] += 1;
        }
        search
    }

    /// Registers of which something is known: those that were read, and whose values tell who wrote them.
    fn register(&mut self, keys: &Keys<'_>, number: Val) {
        let key = &keys.all[number as usize];
        if key.is_list || key.repeated || key.reads.is_empty() {
            return;
        }
        let register = self.holds.len();
        let absent = self.version(register);
        self.holds.push(absent);
        self.left.push(BTreeSet::new());
        let mut versions: FixedMap<usize, Version> = FixedMap::new();
        for (txn, _) in &key.writes {
            if versions.get(txn).is_none() {
                let version = self.version(register);
                versions.insert(*txn, version);
                self.puts[*txn].push((register, version));
                self.left[register].insert((self.times[*txn].0, *txn));
            }
        }
        for (txn, read) in &key.reads {
            let version = match keys.values.known(read.value) {
                Some(ABSENT) => Some(absent),
                value => {
                    let writer = value.and_then(|value| keys.writer(number, value));
                    writer.and_then(|writer| versions.get(&writer).copied())
                }
            };
            if let Some(version) = version {
                self.looks[*txn].push(version);
                self.seers[version as usize].push(*txn);
                self.wants[version as usize] += 1;
            }
        }
    }

    fn version(&mut self, register: usize) -> Version {
        self.home.push(register);
        self.seers.push(Vec::new());
        self.wants.push(0);
        self.home.len() as Version - 1
    }

    fn run(&mut self, budget: &Budget<'_>) -> Found {
        let mut seen: FixedMap<u128, ()> = FixedMap::new();
        let mut choices: Vec<Choice> = Vec::new();
        let mut steps = 0_u64;
        self.begin();
        loop {
            while let Some(txn) = self.forced() {
                self.take(Graph::writes(txn));
                steps += 1;
                if steps.is_multiple_of(STEPS_A_LOOK) && budget.is_exhausted() {
                    return self.out_of("time");
                }
            }
            if self.taken.len() == self.graph.edges.len() {
                return Found::Order;
            }
            self.note();
            steps += 1;
            if steps.is_multiple_of(STEPS_A_LOOK) && budget.is_exhausted() {
                return self.out_of("time");
            }
            if seen.insert(self.hash, ()).is_none() {
                let may = self.turn.iter().rev().map(|(_, _, txn)| *txn);
                let options = may
                    .filter(|txn| self.replaces_nothing_wanted(*txn))
                    .collect();
                let taken = self.taken.len();
                choices.push(Choice { taken, options });
            }
            if seen.len() as u64 > budget.memory_bytes / BYTES_A_STATE {
                return self.out_of("memory");
            }
            if !self.choose(&mut choices) {
                return Found::Nothing;
            }
        }
    }

    /// Takes the next option of the last choice that has one.
    fn choose(&mut self, choices: &mut Vec<Choice>) -> bool {
        while let Some(choice) = choices.last_mut() {
            let option = choice.options.pop();
            self.back_to(choice.taken);
            if let Some(txn) = option {
                self.take(Graph::writes(txn));
                return true;
            }
            choices.pop();
        }
        false
    }

    fn out_of(&mut self, what: &'static str) -> Found {
        self.note();
        let (taken, first) = self.furthest;
        Found::OutOf(what, taken, first)
    }

    fn note(&mut self) {
        if self.events >= self.furthest.0 {
            self.furthest = (self.events, self.turn.first().map(|(_, _, txn)| *txn));
        }
    }

    fn is_event(&self, node: usize) -> bool {
        node < 2 * self.times.len()
    }

    fn is_write(&self, node: usize) -> bool {
        self.is_event(node) && node.is_multiple_of(2)
    }

    fn is_read(&self, node: usize) -> bool {
        self.is_event(node) && !node.is_multiple_of(2)
    }

    /// A write that no order is spoilt by.
    fn forced(&self) -> Option<usize> {
        let turn = self.turn.iter().map(|(_, _, txn)| *txn);
        turn.filter(|txn| self.replaces_nothing_wanted(*txn))
            .find(|txn| {
                let mut puts = self.puts[*txn].iter();
                puts.all(|(register, version)| {
                    self.wants[*version as usize] == 0 || self.is_first(*register, *txn)
                })
            })
    }

    fn replaces_nothing_wanted(&self, txn: usize) -> bool {
        let mut puts = self.puts[txn].iter();
        puts.all(|(register, _)| self.wants[self.holds[*register] as usize] == 0)
    }

    /// Whether all other writes of a register still to come are later by right.
    fn is_first(&self, register: usize, txn: usize) -> bool {
        let other = self.left[register].iter().find(|(_, other)| *other != txn);
        let in_time = self.order == Order::RealTime;
        other.is_none_or(|(start, _)| in_time && self.times[txn].1 < *start)
    }

    fn begin(&mut self) {
        let free: Vec<usize> = (0..self.before.len())
            .filter(|node| self.before[*node] == 0)
            .collect();
        let mut ready = Vec::new();
        for node in free {
            self.comes_up(node, &mut ready);
        }
        self.take_all(ready);
    }

    /// The turn of a node has come.
    fn comes_up(&mut self, node: usize, ready: &mut Vec<usize>) {
        if self.is_write(node) {
            let (start, end) = self.times[node / 2];
            self.turn.insert((end, start, node / 2));
        } else if !self.is_read(node) || self.finds(node / 2) {
            ready.push(node);
        }
    }

    /// Whether the registers hold what a transaction looks for.
    fn finds(&self, txn: usize) -> bool {
        let holds = |version: &Version| self.holds[self.home[*version as usize]] == *version;
        self.looks[txn].iter().all(holds)
    }

    /// Takes a write, and all that can be taken at once then.
    fn take(&mut self, node: usize) {
        self.take_all(vec![node]);
    }

    fn take_all(&mut self, mut ready: Vec<usize>) {
        while let Some(node) = ready.pop() {
            if !std::mem::replace(&mut self.is_taken[node], true) {
                self.apply(node, &mut ready);
            }
        }
    }

    fn apply(&mut self, node: usize, ready: &mut Vec<usize>) {
        self.taken.push(node);
        self.events += usize::from(self.is_event(node));
        self.hash ^= spread(node as u64);
        if self.is_write(node) {
            self.put(node / 2);
        } else if self.is_read(node) {
            for version in &self.looks[node / 2] {
                self.wants[*version as usize] -= 1;
            }
        }
        let graph = self.graph;
        for (next, _) in &graph.edges[node] {
            self.before[*next] -= 1;
            if self.before[*next] == 0 {
                self.comes_up(*next, ready);
            }
        }
        if self.is_write(node) {
            let versions = self.puts[node / 2]
                .iter()
                .map(|(_, version)| *version as usize);
            let seers = versions.flat_map(|version| &self.seers[version]);
            let up = |txn: &&usize| self.before[Graph::reads(**txn)] == 0 && self.finds(**txn);
            ready.extend(seers.filter(up).map(|txn| Graph::reads(*txn)));
        }
    }

    fn put(&mut self, txn: usize) {
        let (start, end) = self.times[txn];
        self.turn.remove(&(end, start, txn));
        for place in 0..self.puts[txn].len() {
            let (register, version) = self.puts[txn][place];
            self.replaced.push(self.holds[register]);
            self.holds[register] = version;
            self.left[register].remove(&(start, txn));
        }
    }

    /// Takes back what was taken after so many.
    fn back_to(&mut self, taken: usize) {
        let graph = self.graph;
        for node in self.taken.split_off(taken).into_iter().rev() {
            for (next, _) in &graph.edges[node] {
                if self.before[*next] == 0 && self.is_write(*next) {
                    let (start, end) = self.times[next / 2];
                    self.turn.remove(&(end, start, next / 2));
                }
                self.before[*next] += 1;
            }
            if self.is_write(node) {
                self.take_back(node / 2);
            } else if self.is_read(node) {
                for version in &self.looks[node / 2] {
                    self.wants[*version as usize] += 1;
                }
            }
            self.hash ^= spread(node as u64);
            self.is_taken[node] = false;
            self.events -= usize::from(self.is_event(node));
        }
    }

    fn take_back(&mut self, txn: usize) {
        let (start, end) = self.times[txn];
        for place in (0..self.puts[txn].len()).rev() {
            let register = self.puts[txn][place].0;
            let replaced = self
                .replaced
                .pop()
                .expect("each write noted what it replaced");
            self.holds[register] = replaced;
            self.left[register].insert((start, txn));
        }
        self.turn.insert((end, start, txn));
    }
}
