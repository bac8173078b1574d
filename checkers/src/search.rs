//! Whether the operations on one register can be put into one order: the search of Wing and Gong (1993) with Lowe's memoization (2017).
//!
//! Operations are taken one after another, each only while no other one that has to come first is open (`start` of the one
//! at most the least `end` of all). What keeps the search small, each step argued:
//!
//! - Observers (reads, refused compare-and-sets) that the present value allows are taken at once: they change nothing, and
//!   sooner is never worse than later.
//! - A plain write whose value nobody still wants ([`Search::unwanted`]) changes nothing for anyone but the next write: it is taken just before
//!   another write, which hides it, or when its deadline has come. Only a refused compare-and-set can have use for it,
//!   namely to displace the value that it must not find; then it is tried as well. Such writes are interchangeable (but for those
//!   whose own value one must not find), so the one with the earliest deadline stands for all.
//! - A write of unknown outcome has no deadline and may be left out; one that nobody wants is.
//! - Where a value has one writer only and somebody is known to have seen it, that writer happened, before its observers ended: that is its
//!   deadline.
//!
//! Memo keys are 128-bit sums over the operations taken, and the value. That two of `n` states collide has a chance of about
//! `n^2 / 2^129`, far below that of a broken memory bit.

use crate::Budget;
use crate::fixed::{FixedMap, mix};
use crate::intern::{ABSENT, Val};
use crate::register::{Action, RegisterOp};
use schism_history::Time;

/// What the search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// An order: places in the given list. Writes of unknown outcome that are not in it did not happen.
    Order(Vec<usize>),
    /// There is none.
    Nothing,
    /// The budget ran out; the operation (place in the given list) past which the search never came, and what ran out.
    OutOf(&'static str, usize),
}

/// Bytes that one remembered state takes: its key, and the free space of a hash table.
const BYTES_A_STATE: u64 = 32;
/// Steps between two looks at the clock.
const STEPS_A_LOOK: u64 = 1 << 12;
const NONE: usize = usize::MAX;

/// Searches for an order of `ops` (sorted by start) on a register that starts absent.
pub(crate) fn search(ops: &[RegisterOp], values: usize, budget: &Budget<'_>) -> Found {
    Search::new(ops, values).run(budget)
}

struct Search<'o> {
    ops: &'o [RegisterOp],
    /// The latest moment at which each can take effect: its end, or earlier (see above); infinity: it may be left out.
    deadline: Vec<Time>,
    /// Operations not taken yet, as a list in order of start; the last place stands for head and tail.
    next: Vec<usize>,
    prev: Vec<usize>,
    taken: Vec<bool>,
    /// How many operations not taken yet need each value.
    wants: Vec<u32>,
    /// How many refused compare-and-sets not taken yet must not find each value.
    refused: Vec<u32>,
    /// How many operations with a deadline are not taken yet.
    due: usize,
    value: Val,
    hash: u128,
    /// Taken so far, in order.
    order: Vec<usize>,
    /// The operations that may come next, as [`Self::look`] found them last.
    open: Vec<usize>,
    /// The first open operation of the state that came furthest.
    furthest: (usize, usize),
}

/// A point at which the search had to choose.
struct Choice {
    /// How many were taken before.
    length: usize,
    value: Val,
    /// Where what else there is to try begins on the stack of moves, the most promising last.
    moves: usize,
}

/// One operation to take.
#[derive(Debug, Clone, Copy)]
struct Move {
    op: usize,
    /// Whether unwanted writes are taken just before it.
    hides: bool,
}

impl<'o> Search<'o> {
    fn new(ops: &'o [RegisterOp], values: usize) -> Self {
        let n = ops.len();
        let mut writer = vec![NONE; values];
        let mut unique = true;
        for (i, op) in ops.iter().enumerate() {
            if let Some(v) = op.action.writes() {
                unique &= v != ABSENT && std::mem::replace(&mut writer[v as usize], i) == NONE;
            }
        }
        let mut wants = vec![0; values];
        ops.iter()
            .filter_map(|op| op.action.needs())
            .for_each(|v| wants[v as usize] += 1);
        let mut refused = vec![0; values];
        for op in ops {
            if let Action::Refused(v) = op.action {
                refused[v as usize] += 1;
            }
        }
        let deadline = deadlines(ops, if unique { &writer } else { &[] });
        Self {
            due: deadline.iter().filter(|d| !d.is_infinite()).count(),
            ops,
            deadline,
            next: (1..=n).chain([0]).collect(),
            prev: std::iter::once(n).chain(0..n).collect(),
            taken: vec![false; n],
            wants,
            refused,
            value: ABSENT,
            hash: 0,
            order: Vec::with_capacity(n),
            open: Vec::new(),
            furthest: (0, 0),
        }
    }

    fn run(mut self, budget: &Budget<'_>) -> Found {
        let mut seen: FixedMap<u128, ()> = FixedMap::new();
        let mut choices: Vec<Choice> = Vec::new();
        let mut moves: Vec<Move> = Vec::new();
        let mut steps = 0_u64;
        loop {
            self.take_observers();
            if self.due == 0 {
                return Found::Order(self.order);
            }
            if self.order.len() >= self.furthest.0 {
                self.furthest = (self.order.len(), self.next[self.ops.len()]);
            }
            steps += 1;
            if steps.is_multiple_of(STEPS_A_LOOK) {
                if budget.is_exhausted() {
                    return Found::OutOf("time", self.furthest.1);
                }
                if seen.len() as u64 * BYTES_A_STATE > budget.memory_bytes {
                    return Found::OutOf("memory", self.furthest.1);
                }
            }
            let from = moves.len();
            self.moves(&mut moves);
            // A state with one way on costs one step more when it is met again, unless there are many in a row.
            let remembered = moves.len() - from > 1 || self.order.len().is_multiple_of(8);
            if remembered && seen.insert(self.state(), ()).is_some() {
                moves.truncate(from);
            }
            choices.push(Choice {
                length: self.order.len(),
                value: self.value,
                moves: from,
            });
            // Back to the last point that has something left to try.
            let next = loop {
                let Some(choice) = choices.last() else {
                    return Found::Nothing;
                };
                if moves.len() > choice.moves {
                    let (length, value) = (choice.length, choice.value);
                    self.back_to(length, value);
                    break moves
                        .pop()
                        .expect("there is one more than before the choice");
                }
                choices.pop();
            };
            self.perform(next);
        }
    }

    fn state(&self) -> u128 {
        self.hash ^ spread(u64::from(self.value) | 1 << 63)
    }

    /// Looks for the open operations that may come next: none that has to come first is open. The least deadline of them.
    fn look(&mut self) -> Time {
        self.open.clear();
        let mut least = Time::INFINITY;
        let mut at = self.next[self.ops.len()];
        while at != self.ops.len() && self.ops[at].start <= least {
            least = least.min(self.deadline[at]);
            self.open.push(at);
            at = self.next[at];
        }
        // Those before the least end was known may have begun after it.
        let ops = self.ops;
        self.open.retain(|i| ops[*i].start <= least);
        least
    }

    /// Takes every observer that the present value allows, until none is left.
    fn take_observers(&mut self) {
        loop {
            self.look();
            let before = self.order.len();
            for at in 0..self.open.len() {
                let i = self.open[at];
                let allowed = match self.ops[i].action {
                    Action::Read(v) => v == self.value,
                    Action::Refused(v) => v != self.value,
                    Action::Write(_) | Action::Cas(..) => false,
                };
                if allowed {
                    self.take(i);
                }
            }
            if self.order.len() == before {
                return;
            }
        }
    }

    /// Puts what may be done now onto the stack, the most promising last.
    fn moves(&mut self, moves: &mut Vec<Move>) {
        let from = moves.len();
        let least = self.look();
        let is_refused = |i: &usize| matches!(self.ops[*i].action, Action::Refused(_));
        let blocked = self.open.iter().any(is_refused);
        let mut junk: Option<usize> = None;
        let mut reserved = false;
        for &i in &self.open {
            match self.ops[i].action {
                Action::Write(v) if self.unwanted(i) && self.refused[v as usize] == 0 => {
                    reserved |= !self.deadline[i].is_infinite() && self.reserved(i);
                    if junk.is_none_or(|j| self.deadline[i] < self.deadline[j]) {
                        junk = Some(i);
                    }
                }
                Action::Write(_) => moves.push(Move { op: i, hides: true }),
                Action::Cas(old, _)
                    if old == self.value
                    // One that may be left out, and whose value nobody wants, can only serve to displace the present value.
                    && (blocked || !self.deadline[i].is_infinite() || !self.unwanted(i)) =>
                {
                    moves.push(Move {
                        op: i,
                        hides: false,
                    });
                }
                _ => {}
            }
        }
        if let Some(op) = junk.filter(|j| blocked || reserved || self.deadline[*j] == least) {
            moves.push(Move { op, hides: true });
        }
        // The one whose deadline comes first is tried first.
        moves[from..].sort_by_key(|m| std::cmp::Reverse((self.deadline[m.op], m.op)));
    }

    /// Whether nobody who is still to come needs the value of this write.
    fn unwanted(&self, write: usize) -> bool {
        self.ops[write]
            .action
            .writes()
            .is_some_and(|v| self.wants[v as usize] == 0)
    }

    /// Whether this unwanted write may still be needed to displace a value that a refused compare-and-set must not find: only a value
    /// that can come to stand before this write's deadline.
    fn reserved(&self, write: usize) -> bool {
        let mut at = self.next[self.ops.len()];
        while at != self.ops.len() && self.ops[at].start <= self.deadline[write] {
            let stands = self.ops[at].action.writes().filter(|_| at != write);
            if stands.is_some_and(|v| self.refused[v as usize] > 0) {
                return true;
            }
            at = self.next[at];
        }
        false
    }

    fn perform(&mut self, next: Move) {
        if next.hides {
            self.look();
            let mut hidden = std::mem::take(&mut self.open);
            hidden.retain(|&i| {
                i != next.op
                    && !self.deadline[i].is_infinite()
                    && matches!(self.ops[i].action, Action::Write(_))
                    && self.unwanted(i)
                    && !self.reserved(i)
            });
            for i in &hidden {
                self.take(*i);
            }
            self.open = hidden;
        }
        self.take(next.op);
    }

    fn take(&mut self, i: usize) {
        let (before, after) = (self.prev[i], self.next[i]);
        self.next[before] = after;
        self.prev[after] = before;
        self.taken[i] = true;
        self.hash ^= spread(i as u64);
        self.due -= usize::from(!self.deadline[i].is_infinite());
        if let Some(v) = self.ops[i].action.needs() {
            self.wants[v as usize] -= 1;
        }
        if let Action::Refused(v) = self.ops[i].action {
            self.refused[v as usize] -= 1;
        }
        if let Some(v) = self.ops[i].action.writes() {
            self.value = v;
        }
        self.order.push(i);
    }

    fn back_to(&mut self, length: usize, value: Val) {
        while self.order.len() > length {
            let i = self.order.pop().expect("the order is longer than zero");
            let (before, after) = (self.prev[i], self.next[i]);
            self.next[before] = i;
            self.prev[after] = i;
            self.taken[i] = false;
            self.hash ^= spread(i as u64);
            self.due += usize::from(!self.deadline[i].is_infinite());
            if let Some(v) = self.ops[i].action.needs() {
                self.wants[v as usize] += 1;
            }
            if let Action::Refused(v) = self.ops[i].action {
                self.refused[v as usize] += 1;
            }
        }
        self.value = value;
    }
}

/// 128 bits of an operation's number that look random.
pub(crate) fn spread(word: u64) -> u128 {
    u128::from(mix(word)) << 64 | u128::from(mix(word ^ 0x5851_F42D_4C95_7F2D))
}

/// Ends; a writer whose value somebody has surely seen must come before the seer's end, transitively.
fn deadlines(ops: &[RegisterOp], writer: &[usize]) -> Vec<Time> {
    let mut deadline: Vec<Time> = ops.iter().map(|op| op.end).collect();
    let mut work: Vec<usize> = (0..ops.len())
        .filter(|i| !deadline[*i].is_infinite())
        .collect();
    while let Some(i) = work.pop() {
        let Some(source) = ops[i]
            .action
            .needs()
            .and_then(|v| writer.get(v as usize))
            .filter(|w| **w != NONE)
        else {
            continue;
        };
        if deadline[*source] > deadline[i] {
            deadline[*source] = deadline[i];
            work.push(*source);
        }
    }
    deadline
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// By the definition: every subset of the unknown ones, every order, no pruning at all.
    fn brute(ops: &[RegisterOp]) -> bool {
        fn go(ops: &[RegisterOp], taken: &mut Vec<bool>, value: Val) -> bool {
            if (0..ops.len()).all(|i| taken[i] || !ops[i].certain()) {
                return true;
            }
            let least = (0..ops.len())
                .filter(|i| !taken[*i])
                .map(|i| ops[i].end)
                .min()
                .unwrap_or(Time::INFINITY);
            for i in 0..ops.len() {
                if taken[i] || ops[i].start > least {
                    continue;
                }
                let after = match ops[i].action {
                    Action::Read(v) if v == value => value,
                    Action::Refused(v) if v != value => value,
                    Action::Write(v) => v,
                    Action::Cas(old, new) if old == value => new,
                    _ => continue,
                };
                taken[i] = true;
                let found = go(ops, taken, after);
                taken[i] = false;
                if found {
                    return true;
                }
            }
            false
        }
        go(ops, &mut vec![false; ops.len()], ABSENT)
    }

    /// Whether an order is one: by the definition.
    fn explains(ops: &[RegisterOp], order: &[usize]) -> bool {
        let mut value = ABSENT;
        let mut latest = Time::ZERO;
        let mut taken = vec![false; ops.len()];
        for &i in order {
            latest = latest.max(ops[i].start);
            taken[i] = true;
            value = match ops[i].action {
                Action::Read(v) if v == value => value,
                Action::Refused(v) if v != value => value,
                Action::Write(v) => v,
                Action::Cas(old, new) if old == value => new,
                _ => return false,
            };
            if latest > ops[i].end {
                return false;
            }
        }
        (0..ops.len()).all(|i| taken[i] || !ops[i].certain())
    }

    fn random(rng: &mut ChaCha8Rng, unique: bool) -> Vec<RegisterOp> {
        let n = rng.random_range(1..9);
        let span = rng.random_range(4..30);
        let mut next = 1;
        let mut ops: Vec<RegisterOp> = (0..n)
            .map(|place| {
                let start = rng.random_range(0..span);
                let mut fresh = |rng: &mut ChaCha8Rng| {
                    next += 1;
                    if unique {
                        next - 1
                    } else {
                        rng.random_range(0..3)
                    }
                };
                let any = |rng: &mut ChaCha8Rng| rng.random_range(0..if unique { 6 } else { 3 });
                let action = match rng.random_range(0..10) {
                    0..3 => Action::Read(any(rng)),
                    3..6 => Action::Write(fresh(rng)),
                    6..8 => Action::Cas(any(rng), fresh(rng)),
                    _ => Action::Refused(any(rng)),
                };
                let unknown = action.writes().is_some() && rng.random_range(0..4) == 0;
                let end = if unknown {
                    Time::INFINITY
                } else {
                    Time(start + rng.random_range(0..12))
                };
                RegisterOp {
                    action,
                    start: Time(start),
                    end,
                    place,
                }
            })
            .collect();
        ops.sort_by_key(|op| (op.start, op.place));
        ops
    }

    /// 40,000 histories by default; the nightly sets `SCHISM_ORACLE_CASES`.
    #[test]
    fn it_agrees_with_brute_force_on_small_random_histories() {
        let cases = std::env::var("SCHISM_ORACLE_CASES")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(40_000_u64);
        let (mut yes, mut no) = (0_u64, 0_u64);
        for case in 0..cases {
            let ops = random(&mut ChaCha8Rng::seed_from_u64(case), case.is_multiple_of(2));
            let expected = brute(&ops);
            let found = search(&ops, 16, &Budget::unlimited());
            match &found {
                Found::Order(order) => assert!(
                    explains(&ops, order),
                    "case {case}: {order:?} does not explain {ops:#?}"
                ),
                Found::Nothing => assert!(!expected, "case {case} is linearizable: {ops:#?}"),
                Found::OutOf(..) => panic!("case {case} ran out"),
            }
            *(if expected { &mut yes } else { &mut no }) += 1;
        }
        // The oracle must have had something to say on both sides.
        assert!(
            yes > cases / 20 && no > cases / 20,
            "{yes} linearizable, {no} not"
        );
    }

    #[test]
    fn a_budget_of_nothing_is_said_to_be_out() {
        // Concurrent writes of few values, and two reads after them that no order explains: the search must try every order.
        let mut ops: Vec<RegisterOp> = (0..40)
            .map(|place| RegisterOp {
                action: if place % 2 == 0 {
                    Action::Write(place as Val % 5 + 1)
                } else {
                    Action::Cas(place as Val % 5 + 1, place as Val % 4 + 1)
                },
                start: Time(0),
                end: Time(100),
                place,
            })
            .collect();
        for (place, value, start) in [(40, 1, 200), (41, 2, 400)] {
            let (start, end) = (Time(start), Time(start + 100));
            ops.push(RegisterOp {
                action: Action::Read(value),
                start,
                end,
                place,
            });
        }
        let budget = Budget {
            exhausted: &|| true,
            memory_bytes: u64::MAX,
        };
        assert!(matches!(search(&ops, 16, &budget), Found::OutOf("time", _)));
        let budget = Budget {
            exhausted: &|| false,
            memory_bytes: 1,
        };
        assert!(matches!(
            search(&ops, 16, &budget),
            Found::OutOf("memory", _)
        ));
    }
}
