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
use std::collections::BinaryHeap;

/// The model.
pub(super) struct Mutex;

/// What is done to the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Acquire,
    Release,
}

impl shrink::Call for Call {
    fn unanswered(&self) -> Option<Self> {
        Some(*self)
    }

    fn gives(&self) -> Vec<u32> {
        Vec::new()
    }

    fn needs(&self) -> Vec<u32> {
        Vec::new()
    }

    fn stays(&self) -> bool {
        true
    }
}

impl<'h> Kind<'h> for Mutex {
    type Call = Call;

    fn call(&mut self, op: &Op<'h>) -> Result<Option<Call>, String> {
        let acquires = op.f() == "acquire";
        Ok(Some(if acquires {
            Call::Acquire
        } else {
            Call::Release
        }))
    }

    fn decide(&self, ops: &[Timed<Call>], _: &Budget<'_>) -> Linearization {
        match first_excess(ops) {
            None => Linearization::Exists,
            Some((at, kind)) => Linearization::Impossible(stretch(ops, at, kind)),
        }
    }
}

/// By when somebody had to be taken, and of which kind, when it was the other kind's turn and none of that had begun.
fn first_excess(ops: &[Timed<Call>]) -> Option<(Time, Call)> {
    let mut due: Vec<usize> = (0..ops.len()).filter(|i| ops[*i].certain()).collect();
    due.sort_by_key(|i| (ops[*i].end, *i));
    let mut begun: [BinaryHeap<Reverse<(Time, usize)>>; 2] = [BinaryHeap::new(), BinaryHeap::new()];
    let mut taken = vec![false; ops.len()];
    let mut next = ops.iter().enumerate().peekable();
    let mut turn = Call::Acquire;
    for i in due {
        while !taken[i] {
            let end = ops[i].end;
            while let Some((new, op)) = next.next_if(|(_, op)| op.start <= end) {
                begun[op.call as usize].push(Reverse((op.end, new)));
            }
            let Some(Reverse((_, first))) = begun[turn as usize].pop() else {
                return Some((end, ops[i].call));
            };
            taken[first] = true;
            turn = match turn {
                Call::Acquire => Call::Release,
                Call::Release => Call::Acquire,
            };
        }
    }
    None
}

/// The shortest stretch of time up to `at` that shows the excess: what of the kind lies wholly in it, and what of the other kind can. Nothing, where
/// no stretch does.
fn stretch(ops: &[Timed<Call>], at: Time, kind: Call) -> Vec<usize> {
    let must: Vec<usize> = (0..ops.len())
        .filter(|i| ops[*i].call == kind && ops[*i].end <= at)
        .collect();
    let mut may: Vec<usize> = (0..ops.len())
        .filter(|i| ops[*i].call != kind && ops[*i].start <= at)
        .collect();
    may.sort_by_key(|i| (ops[*i].end, *i));
    for (k, &i) in must.iter().enumerate().rev() {
        // A stretch that begins with this one. The lock may be in either state by then, so one of the kind is to spare.
        let gone = may.partition_point(|o| ops[*o].end < ops[i].start);
        if must.len() - k > may.len() - gone + 1 {
            return must[k..].iter().chain(&may[gone..]).copied().collect();
        }
    }
    // From the beginning of time the lock is free, and for acquires none is to spare.
    if kind == Call::Release && must.len() > may.len() {
        return must.into_iter().chain(may).collect();
    }
    Vec::new()
}
