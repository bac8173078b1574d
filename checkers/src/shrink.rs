//! From operations that no order explains to few of them that none explains: the shortest failing prefix by binary search, then delta
//! debugging (Zeller and Hildebrandt 2002).
//!
//! An operation is only left out together with all that need it ([`Piece::needs`]), so that what is left is wrong for the reason for which
//! the whole was wrong, and not for want of what was left out. The prefix takes O(log n) decisions, the rest O(n log n) of them at worst.

use crate::register::{Action, RegisterOp};
use crate::wgl::Timed;
use schism_history::Time;
use std::collections::BTreeMap;

/// What leaving out needs to know of an operation. The numbers stand for whatever binds operations together, such as values.
pub(crate) trait Piece: Clone {
    /// Its invocation.
    fn start(&self) -> Time;
    /// Its completion; infinity where the outcome is unknown.
    fn end(&self) -> Time;
    /// What it says before its answer is known: of unknown outcome, or nothing at all.
    fn unanswered(&self) -> Option<Self>;
    /// Others need it for these.
    fn gives(&self) -> Vec<u32>;
    /// It is out of place without any one that gives these.
    fn needs(&self) -> Vec<u32>;
    /// Whether it was refused, and so depends on all that may have changed the state by then.
    fn refused(&self) -> bool;
    /// Whether it must stay, because others may need it in ways that no number says.
    fn stays(&self) -> bool;
}

/// What a call of a model tells to [`Piece`].
pub(crate) trait Call: Clone {
    /// See [`Piece::unanswered`].
    fn unanswered(&self) -> Option<Self>;
    /// See [`Piece::gives`].
    fn gives(&self) -> Vec<u32>;
    /// See [`Piece::needs`].
    fn needs(&self) -> Vec<u32>;
    /// See [`Piece::stays`].
    fn stays(&self) -> bool;
}

impl<C: Call> Piece for Timed<C> {
    fn start(&self) -> Time {
        self.start
    }

    fn end(&self) -> Time {
        self.end
    }

    fn unanswered(&self) -> Option<Self> {
        let call = self.call.unanswered()?;
        Some(Self {
            call,
            end: Time::INFINITY,
            ..*self
        })
    }

    fn gives(&self) -> Vec<u32> {
        self.call.gives()
    }

    fn needs(&self) -> Vec<u32> {
        self.call.needs()
    }

    fn refused(&self) -> bool {
        false
    }

    fn stays(&self) -> bool {
        self.call.stays()
    }
}

impl Piece for RegisterOp {
    fn start(&self) -> Time {
        self.start
    }

    fn end(&self) -> Time {
        self.end
    }

    fn unanswered(&self) -> Option<Self> {
        let end = Time::INFINITY;
        self.action.writes().map(|_| Self { end, ..*self })
    }

    fn gives(&self) -> Vec<u32> {
        self.action.writes().into_iter().collect()
    }

    fn needs(&self) -> Vec<u32> {
        self.action.needs().into_iter().collect()
    }

    fn refused(&self) -> bool {
        matches!(self.action, Action::Refused(_))
    }

    fn stays(&self) -> bool {
        false
    }
}

/// How many operations are decided over, all tries together, before what is left is good enough.
const WORK_MAX: usize = 1 << 23;

/// A smallest set of operations, as far as leaving out one group after another finds it, for which `fails` is true. `ops` are sorted by start.
pub(crate) fn minimal<P: Piece>(ops: &[P], fails: &dyn Fn(&[P]) -> bool) -> Vec<P> {
    let mut core = failing_prefix(ops, fails);
    if !fails(&core) {
        // There is no time left to find out more.
        return core;
    }
    // Refusals depend on which writes happened between, so writes may only be left out when there are none.
    let without: Vec<P> = core.iter().filter(|op| !op.refused()).cloned().collect();
    let pure = fails(&without);
    if pure {
        core = without;
    }
    let may_go = |op: &P| !op.stays() && (pure || op.gives().is_empty());
    left_out_in_turn(core, &may_go, fails)
}

/// Leaves out one group after another, smaller and smaller ones, and single ones until none can go any more.
fn left_out_in_turn<P: Piece>(
    mut core: Vec<P>,
    may_go: &dyn Fn(&P) -> bool,
    fails: &dyn Fn(&[P]) -> bool,
) -> Vec<P> {
    let (mut size, mut work) = (core.len().div_ceil(2), 0);
    while size > 0 {
        let (mut at, before) = (0, core.len());
        while at < core.len() && work < WORK_MAX {
            let end = core.len().min(at + size);
            let fewer = leave_out(&core, at..end, may_go);
            work += core.len();
            if fewer.len() < core.len() && fails(&fewer) {
                core = fewer;
            } else {
                at += size;
            }
        }
        size = match size {
            1 if core.len() == before || work >= WORK_MAX => 0,
            1 => 1,
            _ => size.div_ceil(2),
        };
    }
    core
}

/// Fewer of the operations that contradict one another together and not without any one of the `others`: what stays is what those need to be explained, each
/// by itself. For objects on which nobody knows who needs whom, such as sums.
pub(crate) fn minimal_together<P: Piece>(
    core: Vec<P>,
    is_other: &dyn Fn(&P) -> bool,
    fails: &dyn Fn(&[P]) -> bool,
) -> Vec<P> {
    let together = |part: &[P]| {
        let others = (0..part.len()).filter(|i| is_other(&part[*i]));
        let mut without = others.map(|i| {
            let mut fewer = part.to_vec();
            fewer.remove(i);
            fewer
        });
        // Last, because the budget may run out in between, and then nothing fails.
        without.all(|fewer| !fails(&fewer)) && fails(part)
    };
    let core = left_out_in_turn(core, is_other, fails);
    left_out_in_turn(core, &|op| !is_other(op), &together)
}

/// What was known at the earliest moment by which it already failed: later ends are unknown, later answers are not there.
fn failing_prefix<P: Piece>(ops: &[P], fails: &dyn Fn(&[P]) -> bool) -> Vec<P> {
    let ends = ops.iter().map(P::end).filter(|end| !end.is_infinite());
    let mut moments: Vec<Time> = ends.collect();
    moments.sort_unstable();
    moments.dedup();
    let (mut passing, mut failing) = (0, moments.len());
    while failing - passing > 1 {
        let middle = usize::midpoint(passing, failing);
        if fails(&known_at(ops, moments[middle - 1])) {
            failing = middle;
        } else {
            passing = middle;
        }
    }
    let prefix = moments
        .get(failing.wrapping_sub(1))
        .map(|at| known_at(ops, *at));
    prefix.filter(|p| fails(p)).unwrap_or_else(|| ops.to_vec())
}

fn known_at<P: Piece>(ops: &[P], at: Time) -> Vec<P> {
    let begun = ops.iter().take_while(|op| op.start() <= at);
    let known = begun.filter_map(|op| {
        if op.end() <= at {
            Some(op.clone())
        } else {
            op.unanswered()
        }
    });
    known.collect()
}

/// Without the operations of a range that may go, and without all that need what those gave, transitively.
fn leave_out<P: Piece>(
    ops: &[P],
    range: std::ops::Range<usize>,
    may_go: &dyn Fn(&P) -> bool,
) -> Vec<P> {
    let mut out = vec![false; ops.len()];
    for i in range {
        out[i] = may_go(&ops[i]);
    }
    if !out.contains(&true) {
        return ops.to_vec();
    }
    let mut needy: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (i, op) in ops.iter().enumerate() {
        for need in op.needs() {
            needy.entry(need).or_default().push(i);
        }
    }
    let mut gone: Vec<usize> = (0..ops.len()).filter(|i| out[*i]).collect();
    while let Some(giver) = gone.pop() {
        let given = ops[giver].gives().into_iter();
        for orphan in given.filter_map(|v| needy.remove(&v)).flatten() {
            if !std::mem::replace(&mut out[orphan], true) {
                gone.push(orphan);
            }
        }
    }
    let kept = (0..ops.len()).filter(|i| !out[*i]);
    kept.map(|i| ops[i].clone()).collect()
}
