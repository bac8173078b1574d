//! `counter`: `add` of a whole number, `read` of the sum; zero at first.
//!
//! First each read alone: one that is less than what was surely added before it, or more than all that was tried by its end, is impossible
//! (O(n log n)). Then searched ([`crate::wgl`]). Adds of one number are alike, so where all add the same (mostly 1) there is never a choice, and the search is a
//! straight line. With many different numbers in flight or unknown it is a subset sum, and may run out of its budget.
//!
//! A counterexample is minimal. Of a read that is too low it has just enough sure increments, the greatest first, to exceed it; a read that is too high is one
//! alone (fewer adds make it no better), and so is one that no choice of adds makes. Reads that contradict one another only together stand with the adds
//! that explain each of them without the others.

use super::{Fails, Kind, Object, read};
use crate::Budget;
use crate::counts::{Bounds, enough};
use crate::linearize::Linearization;
use crate::shrink;
use crate::wgl::{Specification, Timed, search};
use crate::{Prepared, words};
use schism_history::Op;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// The model.
pub(super) struct Counter;

/// What is done to the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Add(i128),
    Read(i128),
}

impl shrink::Call for Call {
    fn unanswered(&self) -> Option<Self> {
        matches!(self, Self::Add(_)).then_some(*self)
    }

    fn gives(&self) -> Vec<u32> {
        Vec::new()
    }

    fn needs(&self) -> Vec<u32> {
        Vec::new()
    }

    fn stays(&self) -> bool {
        matches!(self, Self::Add(_))
    }
}

impl<'h> Kind<'h> for Counter {
    type Call = Call;

    fn call(&mut self, op: &Op<'h>) -> Result<Option<Call>, String> {
        let (value, call): (_, fn(i128) -> Call) = match op.f() {
            "add" => (Some(op.argument()), Call::Add),
            _ => (op.result(), Call::Read),
        };
        let strange = |value| format!("a counter has whole numbers, not {value}");
        let number = value.map(|value| words::whole(value).ok_or_else(|| strange(value)));
        Ok(number.transpose()?.map(call))
    }

    fn decide(&self, ops: &[Timed<Call>], budget: &Budget<'_>) -> Linearization {
        match out_of_bounds(ops) {
            Some(core) => Linearization::Impossible(core),
            None => search(ops, Sum(0), budget),
        }
    }

    fn fewer(
        &self,
        ops: &[Timed<Call>],
        core: Vec<Timed<Call>>,
        fails: Fails<'_, Call>,
    ) -> Vec<Timed<Call>> {
        let is_read = |op: &Timed<Call>| matches!(op.call, Call::Read(_));
        // As they stand in the history: what was not known yet when it was too late is known now.
        let places: BTreeSet<u32> = core.iter().map(|op| op.place).collect();
        let whole = ops.iter().filter(|op| places.contains(&op.place));
        let core = shrink::minimal_together(whole.cloned().collect(), &is_read, fails);
        let mut reads = core.iter().filter(|op| is_read(op));
        match (reads.next(), reads.next()) {
            (Some(read), None) => no_choice(ops, read),
            _ => core,
        }
    }
}

/// What one read may return at least and at most.
fn bounds(ops: &[Timed<Call>]) -> Bounds {
    let adds = || {
        ops.iter().filter_map(|op| match op.call {
            Call::Add(by) => Some((op, by)),
            Call::Read(_) => None,
        })
    };
    let sure = adds().filter(|(op, _)| op.certain());
    Bounds::new(
        sure.map(|(op, by)| (op.end, by)).collect(),
        adds().map(|(op, by)| (op.start, by)).collect(),
    )
}

/// The first read to end that is out of its bounds, with as many sure adds as show that.
fn out_of_bounds(ops: &[Timed<Call>]) -> Option<Vec<usize>> {
    let bounds = bounds(ops);
    let wrong = ops.iter().enumerate().filter_map(|(at, op)| {
        let Call::Read(n) = op.call else { return None };
        let (least, most) = bounds.between(op.start, op.end);
        (!(least..=most).contains(&n)).then_some((at, n, if n < least { 1 } else { -1 }))
    });
    let (at, n, sign) = wrong.min_by_key(|(at, ..)| (ops[*at].end, *at))?;
    let before = |(add, op): (usize, &Timed<Call>)| match op.call {
        Call::Add(by) if by * sign > 0 && op.end < ops[at].start => Some((add, by * sign)),
        _ => None,
    };
    let mut adds: Vec<(usize, i128)> = ops.iter().enumerate().filter_map(before).collect();
    adds.sort_by_key(|(add, by)| (Reverse(*by), *add));
    adds.truncate(enough(adds.iter().map(|(_, by)| *by), n * sign));
    Some(adds.into_iter().map(|(add, _)| add).chain([at]).collect())
}

/// A read inside its bounds that no choice of adds makes. Without any add nothing but 0 can be read; and with one that surely happened, not 0.
fn no_choice(ops: &[Timed<Call>], read: &Timed<Call>) -> Vec<Timed<Call>> {
    let sure =
        |op: &&Timed<Call>| op.end < read.start && !matches!(op.call, Call::Add(0) | Call::Read(_));
    let shows = matches!(read.call, Call::Read(0)).then(|| ops.iter().find(sure));
    shows.flatten().into_iter().chain([read]).cloned().collect()
}

/// Why these operations of a counter are impossible: a name for it, and a sentence that says what the whole history allows.
pub(crate) fn reason(
    history: &Prepared<'_>,
    object: &Object,
    ops: &[&Op<'_>],
) -> Option<(&'static str, String)> {
    let calls = read(&mut Counter, history, &object.indexes).ok()?;
    let reads: Vec<&&Op<'_>> = ops.iter().filter(|op| op.f() == "read").collect();
    let name = &object.name;
    let [alone] = reads.as_slice() else {
        let nouns: Vec<String> = reads.iter().map(|op| words::noun(op)).collect();
        let adds = words::plural(ops.len() - reads.len(), "add");
        let reads = words::list(&nouns);
        return Some((
            "reads-exclude-each-other",
            format!(
                "No one order of {adds} on {name} explains these together, though it explains each of them without the others: {reads}."
            ),
        ));
    };
    let n = words::whole(alone.result()?)?;
    let (least, most) = bounds(&calls).between(alone.start(), alone.end());
    let noun = words::noun(alone);
    Some(if n < least {
        (
            "too-low",
            format!(
                "{noun} on {name} is too low: at least {least} was there, by the increments that were acknowledged before it began and every decrement \
                 that was tried by its end."
            ),
        )
    } else if n > most {
        (
            "too-high",
            format!(
                "{noun} on {name} is too high: at most {most} was there, by every increment that was tried by its end and the decrements that were \
                 acknowledged before it began."
            ),
        )
    } else {
        (
            "no-such-sum",
            format!(
                "{noun} on {name} is a sum that never was: what was acknowledged before it began, and no choice of the adds that may have taken effect \
                 besides, add up to that."
            ),
        )
    })
}

/// The sum so far: it follows from which adds were taken.
struct Sum(i128);

impl Specification for Sum {
    type Call = Call;

    /// To add nothing changes nothing.
    fn observes(call: &Call) -> bool {
        matches!(call, Call::Read(_) | Call::Add(0))
    }

    /// Adds can change places, so one that may be left out can wait until somebody reads.
    fn serves(_: &Call, open: &[&Call]) -> bool {
        open.iter().any(|call| matches!(call, Call::Read(_)))
    }

    fn ways(&self, call: &Call, ways: &mut Vec<u32>) {
        let allowed = match call {
            Call::Read(sum) => *sum == self.0,
            Call::Add(_) => true,
        };
        ways.extend(allowed.then_some(0));
    }

    fn apply(&mut self, call: &Call, _: u32) {
        if let Call::Add(n) = call {
            self.0 += n;
        }
    }

    fn undo(&mut self, call: &Call, _: u32) {
        if let Call::Add(n) = call {
            self.0 -= n;
        }
    }

    fn fingerprint(&self) -> u128 {
        0
    }
}
