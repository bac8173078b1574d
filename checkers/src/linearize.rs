//! Whether the operations on one register can be put into one order: by zones where they decide, else by search.

use crate::Budget;
use crate::register::{ABSENT, RegisterOp};
use crate::search::{self, Found};
use crate::zones::{self, Zones};

/// The answer for one register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Linearization {
    /// There is an order.
    Exists,
    /// There is none. Places of operations that show it by themselves, where they are known already; else empty.
    Impossible(Vec<usize>),
    /// The budget ran out: of what, and the place of the operation that the search never came past.
    OutOf(&'static str, usize),
}

/// Decides for one register that starts absent (value 0). `ops` are sorted by start; every value is below `values`.
///
/// O(n log n) where every value is written once, but for refused compare-and-sets that fit nowhere at first; else a search under `budget`.
///
/// ```
/// use schism_checkers::Budget;
/// use schism_checkers::linearize::{Linearization, linearize};
/// use schism_checkers::register::{Action, RegisterOp};
/// use schism_history::Time;
///
/// let op = |action, start, end, place| RegisterOp { action, start: Time(start), end: Time(end), place };
/// let ops = [op(Action::Write(1), 0, 1, 0), op(Action::Write(2), 2, 3, 1), op(Action::Read(1), 4, 5, 2)];
/// assert_eq!(linearize(&ops, 3, &Budget::unlimited()), Linearization::Impossible(vec![0, 1, 2]));
/// ```
pub fn linearize(ops: &[RegisterOp], values: usize, budget: &Budget<'_>) -> Linearization {
    match zones::decide(ops, values) {
        Zones::Linearizable => Linearization::Exists,
        Zones::Contradiction(places) => Linearization::Impossible(places),
        Zones::Unsure => search(ops, values, budget),
    }
}

fn search(ops: &[RegisterOp], values: usize, budget: &Budget<'_>) -> Linearization {
    if let Some(place) = seen_from_nowhere(ops, values) {
        return Linearization::Impossible(vec![place]);
    }
    match search::search(ops, values, budget) {
        Found::Order(_) => Linearization::Exists,
        Found::Nothing => Linearization::Impossible(Vec::new()),
        Found::OutOf(what, place) => Linearization::OutOf(what, place),
    }
}

/// Who surely saw a value that nobody can have put there: then there is nothing to search for.
fn seen_from_nowhere(ops: &[RegisterOp], values: usize) -> Option<usize> {
    let mut written = vec![false; values];
    written[ABSENT as usize] = true;
    for value in ops.iter().filter_map(|op| op.action.writes()) {
        written[value as usize] = true;
    }
    let unwritten = |op: &RegisterOp| op.action.needs().is_some_and(|v| !written[v as usize]);
    ops.iter().position(|op| op.certain() && unwritten(op))
}
