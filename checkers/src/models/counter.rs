//! `counter`: `add` of a whole number, `read` of the sum; zero at first.
//!
//! Searched ([`crate::wgl`]). Adds of one number are alike, so where all add the same (mostly 1) there is never a choice, and the search is a
//! straight line. With many different numbers in flight or unknown it is a subset sum, and may run out of its budget.
//! The sum at a read is that of all adds before it, so a violation names all of those.

use super::Kind;
use crate::Budget;
use crate::linearize::Linearization;
use crate::shrink;
use crate::wgl::{Specification, Timed, search};
use crate::words;
use schism_history::Op;

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
        search(ops, Sum(0), budget)
    }
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
