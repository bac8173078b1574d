//! Whether operations on one object can be put into one order that its [`Specification`] allows: the search of Wing and Gong (1993) with
//! Lowe's memoization (2017), for any object. Registers have a search of their own ([`crate::search`]) that knows more of them.
//!
//! Operations are taken one after another, each only while no other one that has to come first is open. Each step that keeps it small is argued:
//!
//! - Observers that the present state allows are taken at once: they change nothing, and sooner is never worse than later.
//! - Of open operations with equal calls only the one that must end first is tried: in any order they could change places.
//! - What may be left out (unknown outcomes) is tried last, and only where it can be of use ([`Specification::serves`]); what has to come
//!   soonest is tried first.
//! - A set of operations with the state that they led to is tried once. Memo keys are 128-bit sums, as in [`crate::search`].
//!
//! Exponential at worst, in the operations that are in flight at once or unknown; so it asks its [`Budget`].

use crate::Budget;
use crate::fixed::{FixedMap, mix};
use crate::linearize::Linearization;
use schism_history::Time;
use std::collections::BTreeMap;

/// One operation: what it does, in which interval; an unknown outcome ends at infinity and may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timed<C> {
    pub(crate) call: C,
    pub(crate) start: Time,
    pub(crate) end: Time,
    /// Its name: its place in [`crate::Prepared::ops`].
    pub(crate) place: u32,
}

impl<C> Timed<C> {
    /// Whether it surely happened.
    pub(crate) fn certain(&self) -> bool {
        !self.end.is_infinite()
    }
}

/// A sequential object: its state, changed in place, and what the state allows.
pub(crate) trait Specification {
    /// What an operation asks and answers. Equal calls do the same.
    type Call: Ord;

    /// Whether the call changes no state.
    fn observes(call: &Self::Call) -> bool;

    /// Whether a call of unknown outcome can be of use before the next of these open ones; else it can wait, or be left out.
    fn serves(_: &Self::Call, _: &[&Self::Call]) -> bool {
        true
    }

    /// In which ways the present state allows the call; none: it does not.
    fn ways(&self, call: &Self::Call, ways: &mut Vec<u32>);

    /// Performs it, in one of its ways.
    fn apply(&mut self, call: &Self::Call, way: u32);

    /// Takes back what was applied last.
    fn undo(&mut self, call: &Self::Call, way: u32);

    /// What of the state does not follow from which operations were taken.
    fn fingerprint(&self) -> u128;
}

/// Bytes that one remembered state takes: its key, and the free space of a hash table.
const BYTES_A_STATE: u64 = 32;
/// Steps between two looks at the clock.
const STEPS_A_LOOK: u64 = 1 << 10;

/// Searches for an order of `ops` (sorted by start) that an object allows which starts as `object`.
pub(crate) fn search<S: Specification>(
    ops: &[Timed<S::Call>],
    object: S,
    budget: &Budget<'_>,
) -> Linearization {
    Search::new(ops, object).run(budget)
}

struct Search<'o, S: Specification> {
    ops: &'o [Timed<S::Call>],
    object: S,
    /// Equal calls have equal numbers.
    class: Vec<usize>,
    /// Operations not taken yet, as a list in order of start; the last place stands for head and tail.
    next: Vec<usize>,
    prev: Vec<usize>,
    /// How many certain operations are not taken yet.
    due: usize,
    hash: u128,
    /// Taken so far, in order, and in which way.
    order: Vec<Move>,
    /// How many were taken in the state that came furthest, and its first open operation.
    furthest: (usize, usize),
}

/// One operation to take.
#[derive(Debug, Clone, Copy)]
struct Move {
    op: usize,
    way: u32,
}

/// A point at which the search had to choose: how many were taken before, and what else to try, the most promising last.
struct Choice {
    length: usize,
    moves: Vec<Move>,
}

impl<'o, S: Specification> Search<'o, S> {
    fn new(ops: &'o [Timed<S::Call>], object: S) -> Self {
        let n = ops.len();
        Self {
            object,
            class: classes(ops),
            next: (1..=n).chain([0]).collect(),
            prev: std::iter::once(n).chain(0..n).collect(),
            due: ops.iter().filter(|op| op.certain()).count(),
            hash: 0,
            order: Vec::with_capacity(n),
            furthest: (0, 0),
            ops,
        }
    }

    fn run(mut self, budget: &Budget<'_>) -> Linearization {
        let mut seen: FixedMap<u128, ()> = FixedMap::new();
        let mut choices: Vec<Choice> = Vec::new();
        let mut steps = 0_u64;
        loop {
            self.take_observers();
            if self.due == 0 {
                return Linearization::Exists;
            }
            if self.order.len() >= self.furthest.0 {
                self.furthest = (self.order.len(), self.next[self.ops.len()]);
            }
            steps += 1;
            if steps.is_multiple_of(STEPS_A_LOOK) {
                if budget.is_exhausted() {
                    return Linearization::OutOf("time", self.furthest.1);
                }
                if seen.len() as u64 * BYTES_A_STATE > budget.memory_bytes {
                    return Linearization::OutOf("memory", self.furthest.1);
                }
            }
            if seen.insert(self.state(), ()).is_none() {
                let (length, moves) = (self.order.len(), self.moves());
                choices.push(Choice { length, moves });
            }
            let Some(next) = self.back(&mut choices) else {
                return Linearization::Impossible(Vec::new());
            };
            self.take(next);
        }
    }

    /// Back to the last point that has something left to try.
    fn back(&mut self, choices: &mut Vec<Choice>) -> Option<Move> {
        loop {
            let choice = choices.last_mut()?;
            let (length, next) = (choice.length, choice.moves.pop());
            self.back_to(length);
            if next.is_some() {
                return next;
            }
            choices.pop();
        }
    }

    fn state(&self) -> u128 {
        self.hash ^ spread(1 << 63) ^ self.object.fingerprint()
    }

    /// The open operations that may come next: none that has to come first is open.
    fn open(&self) -> Vec<usize> {
        let mut open = Vec::new();
        let mut least = Time::INFINITY;
        let mut at = self.next[self.ops.len()];
        while at != self.ops.len() && self.ops[at].start <= least {
            least = least.min(self.ops[at].end);
            open.push(at);
            at = self.next[at];
        }
        open
    }

    /// Takes every observer that the present state allows, until none is left.
    fn take_observers(&mut self) {
        let mut ways = Vec::new();
        loop {
            let before = self.order.len();
            for op in self.open() {
                let call = &self.ops[op].call;
                if S::observes(call) {
                    ways.clear();
                    self.object.ways(call, &mut ways);
                    if let Some(&way) = ways.first() {
                        self.take(Move { op, way });
                    }
                }
            }
            if self.order.len() == before {
                return;
            }
        }
    }

    /// What may be done now, the most promising last.
    fn moves(&self) -> Vec<Move> {
        let mut best: BTreeMap<usize, usize> = BTreeMap::new();
        let open = self.open();
        let calls: Vec<&S::Call> = open.iter().map(|op| &self.ops[*op].call).collect();
        for (op, call) in open.iter().copied().zip(&calls) {
            let useful = self.ops[op].certain() || S::serves(call, &calls);
            if useful && !S::observes(call) {
                let first = best.entry(self.class[op]).or_insert(op);
                if self.ops[op].end < self.ops[*first].end {
                    *first = op;
                }
            }
        }
        let mut moves = Vec::new();
        let mut ways = Vec::new();
        for &op in best.values() {
            ways.clear();
            self.object.ways(&self.ops[op].call, &mut ways);
            moves.extend(ways.iter().map(|&way| Move { op, way }));
        }
        moves.sort_by_key(|m| std::cmp::Reverse((self.ops[m.op].end, m.op)));
        moves
    }

    fn take(&mut self, taken: Move) {
        let i = taken.op;
        let (before, after) = (self.prev[i], self.next[i]);
        self.next[before] = after;
        self.prev[after] = before;
        self.hash ^= spread(i as u64);
        self.due -= usize::from(self.ops[i].certain());
        self.object.apply(&self.ops[i].call, taken.way);
        self.order.push(taken);
    }

    fn back_to(&mut self, length: usize) {
        while self.order.len() > length {
            let Some(taken) = self.order.pop() else {
                return;
            };
            let i = taken.op;
            let (before, after) = (self.prev[i], self.next[i]);
            self.next[before] = i;
            self.prev[after] = i;
            self.hash ^= spread(i as u64);
            self.due += usize::from(self.ops[i].certain());
            self.object.undo(&self.ops[i].call, taken.way);
        }
    }
}

fn classes<C: Ord>(ops: &[Timed<C>]) -> Vec<usize> {
    let mut first: BTreeMap<&C, usize> = BTreeMap::new();
    let class = |(i, op)| *first.entry(op).or_insert(i);
    let calls = ops.iter().map(|op| &op.call).enumerate();
    calls.map(class).collect()
}

/// 128 bits of a number that look random.
pub(crate) fn spread(word: u64) -> u128 {
    u128::from(mix(word)) << 64 | u128::from(mix(word ^ 0x5851_F42D_4C95_7F2D))
}
