//! Whether updates that may have landed between the final reads explain that replicas differ in one register.
//!
//! Each value that some replicas have and others lack must have a cause: it is late itself; or a late update that may have seen it has replaced it,
//! over whatever keys; or the replica without it has a late value or none after a late deletion, where the last write wins. One without a cause is
//! a difference that stays. What is not sure counts as explained: carts, registers that are strange, and what is past the bound of steps.

use crate::happens_before::{Causality, Holds, Updates};
use crate::intern::{ABSENT, Val};
use std::collections::BTreeSet;

/// How many steps all searches of one register may take together.
const STEPS_MAX: usize = 20_000_000;

/// Whether late updates of a register may be all that makes its final reads differ.
pub(crate) fn explains(
    register: &Updates<'_>,
    number: usize,
    causality: &Causality<'_, '_>,
) -> bool {
    let from = register.finals.iter().map(|read| read.op.start()).min();
    let late = register
        .all
        .iter()
        .filter(|u| from.is_some_and(|from| u.op.end() >= from));
    let (operations, values): (BTreeSet<u64>, BTreeSet<Val>) =
        late.map(|u| (u.op.index(), u.value)).unzip();
    if operations.is_empty() {
        return false;
    }
    if register.holds == Holds::Carts || register.strange.is_some() {
        return true;
    }
    let states: BTreeSet<BTreeSet<Val>> = register
        .finals
        .iter()
        .map(|read| read.values.iter().copied().collect())
        .collect();
    let all: BTreeSet<Val> = states.iter().flatten().copied().collect();
    let overwrote = |state: &BTreeSet<Val>| {
        !state.is_disjoint(&values) || (state.is_empty() && values.contains(&ABSENT))
    };
    let mut steps = STEPS_MAX;
    let unexplained = |value: &&Val| {
        let mut without = states.iter().filter(|state| !state.contains(*value));
        !values.contains(*value) && without.any(|state| !overwrote(state))
    };
    all.iter()
        .filter(unexplained)
        .all(|value| causality.may_have_seen(number, *value, &operations, &mut steps))
}
