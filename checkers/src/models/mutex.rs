//! `mutex`: a lock that is free at first; `acquire` and `release` alternate. Whoever may release it, as in Knossos.
//!
//! Operations of one kind are alike, and the kinds take turns, so there is nothing to gain by doing anything before it must be done. At the earliest
//! deadline of all, that operation is taken; if it is the other kind's turn, then first one of that kind, of those that have begun the one that must
//! end first. In any order that exists, all that comes up to there can be put off to this moment, and whoever stands in these places can change
//! with these, for they may stay at least as long. So this finds an order if there is one: O(n log n).
//!
//! A violation is told by a stretch of time: so many acquires lie wholly in it, and too few releases can; or the other way round.

use super::Kind;
use crate::Budget;
use crate::linearize::Linearization;
use crate::shrink;
use crate::wgl::Timed;
use schism_history::{Op, Time};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// The model.
#[derive(Default)]
pub(super) struct Mutex {
    /// The pair that each session is in, and how many there are.
    pairs: BTreeMap<Option<u64>, u32>,
    count: u32,
}

/// What is done to the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Acquire,
    Release,
}

/// The same, with the acquire and the releases that belong together as their session did them: for explanations, the lock does not mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    turn: Turn,
    pair: u32,
}

impl shrink::Call for Call {
    fn unanswered(&self) -> Option<Self> {
        Some(*self)
    }

    fn gives(&self) -> Vec<u32> {
        vec![self.pair]
    }

    fn needs(&self) -> Vec<u32> {
        vec![self.pair]
    }

    fn stays(&self) -> bool {
        false
    }
}

impl<'h> Kind<'h> for Mutex {
    type Call = Call;

    fn call(&mut self, op: &Op<'h>) -> Result<Option<Call>, String> {
        let turn = if op.f() == "acquire" {
            Turn::Acquire
        } else {
            Turn::Release
        };
        let known = self.pairs.get(&op.session()).copied();
        let pair = known.filter(|_| turn == Turn::Release).unwrap_or_else(|| {
            self.count += 1;
            self.count
        });
        self.pairs.insert(op.session(), pair);
        Ok(Some(Call { turn, pair }))
    }

    fn decide(&self, ops: &[Timed<Call>], _: &Budget<'_>) -> Linearization {
        match first_excess(ops) {
            None => Linearization::Exists,
            Some((at, kind)) => Linearization::Impossible(stretch(ops, at, kind)),
        }
    }
}

/// By when somebody had to be taken, and of which kind, when it was the other kind's turn and none of that had begun.
fn first_excess(ops: &[Timed<Call>]) -> Option<(Time, Turn)> {
    let mut due: Vec<usize> = (0..ops.len()).filter(|i| ops[*i].certain()).collect();
    due.sort_by_key(|i| (ops[*i].end, *i));
    let mut begun: [BinaryHeap<Reverse<(Time, usize)>>; 2] = [BinaryHeap::new(), BinaryHeap::new()];
    let mut taken = vec![false; ops.len()];
    let mut next = ops.iter().enumerate().peekable();
    let mut turn = Turn::Acquire;
    for i in due {
        while !taken[i] {
            let end = ops[i].end;
            while let Some((new, op)) = next.next_if(|(_, op)| op.start <= end) {
                begun[op.call.turn as usize].push(Reverse((op.end, new)));
            }
            let Some(Reverse((_, first))) = begun[turn as usize].pop() else {
                return Some((end, ops[i].call.turn));
            };
            taken[first] = true;
            turn = match turn {
                Turn::Acquire => Turn::Release,
                Turn::Release => Turn::Acquire,
            };
        }
    }
    None
}

/// A stretch of more operations than this tells nobody anything: then pairs are left out as long as what is left is a violation.
const STRETCH_MAX: usize = 8;

/// The shortest stretch of time up to `at` that shows the excess: what of the kind lies wholly in it, and what of the other kind can. Nothing, where
/// no short stretch does.
fn stretch(ops: &[Timed<Call>], at: Time, kind: Turn) -> Vec<usize> {
    let must: Vec<usize> = (0..ops.len())
        .filter(|i| ops[*i].call.turn == kind && ops[*i].end <= at)
        .collect();
    let mut may: Vec<usize> = (0..ops.len())
        .filter(|i| ops[*i].call.turn != kind && ops[*i].start <= at)
        .collect();
    may.sort_by_key(|i| (ops[*i].end, *i));
    for (k, &i) in must.iter().enumerate().rev() {
        // A stretch that begins with this one. The lock may be in either state by then, so one of the kind is to spare.
        let gone = may.partition_point(|o| ops[*o].end < ops[i].start);
        if must.len() - k > may.len() - gone + 1 {
            let stretch: Vec<usize> = must[k..].iter().chain(&may[gone..]).copied().collect();
            return if stretch.len() <= STRETCH_MAX {
                stretch
            } else {
                Vec::new()
            };
        }
    }
    Vec::new()
}
