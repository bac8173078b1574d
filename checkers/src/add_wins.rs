//! Whether an element that was removed may be there: an add that no remove has seen wins.
//!
//! Shapiro et al. 2011 (the OR-set). What a remove has seen, its replica knows; a history says it in two cases. It surely has *not* seen
//! an add that began after it had ended. It surely has seen one that its session had acknowledged before, or read the element of, where
//! no other add could have put it there: a client removes what it sees. Between these nobody knows, and both are right.

use crate::elements::{Element, Elements};
use schism_history::{Op, Time};

/// What the adds and removes of one element say of it.
pub(crate) enum Fate<'p> {
    /// No remove can have seen this acknowledged add.
    There(&'p Op<'p>),
    /// Each add was seen by a remove, from this time on; with the operations that show it.
    Gone(Time, Vec<&'p Op<'p>>),
    /// Each add had ended before some remove began, which may or may not have seen it.
    Perhaps,
    /// It may be there or not.
    Free,
}

/// The add that was acknowledged first among those that no remove can have seen.
pub(crate) fn sure<'p>(element: &Element<'p>) -> Option<&'p Op<'p>> {
    let unseen = |add: &&Op<'_>| add.is_ok() && element.removes.iter().all(|r| r.precedes(add));
    let unseen = element.adds.iter().copied().filter(unseen);
    unseen.min_by_key(|op| (op.end(), op.index()))
}

/// What the rule says of an element that may have been removed.
pub(crate) fn fate<'p>(set: &Elements<'p>, element: &Element<'p>) -> Fate<'p> {
    let unseen = |add: &&&Op<'_>| add.is_ok() && element.removes.iter().all(|r| r.precedes(add));
    if let Some(add) = element.adds.iter().find(unseen) {
        return Fate::There(add);
    }
    let certain: Vec<&Op<'_>> = element
        .removes
        .iter()
        .copied()
        .filter(|r| r.is_ok())
        .collect();
    let seen = element
        .adds
        .iter()
        .map(|add| earliest(set, element, add, &certain));
    if let Some(seen) = seen.collect::<Option<Vec<Seen<'_>>>>() {
        let since = seen
            .iter()
            .map(|s| s.remove.end())
            .max()
            .unwrap_or(Time::ZERO);
        let removes = seen.iter().flat_map(|s| [s.remove, s.witness]);
        return Fate::Gone(since, removes.chain(element.adds.iter().copied()).collect());
    }
    let removed = |add: &&Op<'_>| certain.iter().any(|remove| add.precedes(remove));
    if element.adds.iter().all(removed) {
        Fate::Perhaps
    } else {
        Fate::Free
    }
}

/// A remove that saw an add, and the operation of its session before it that shows it.
struct Seen<'p> {
    remove: &'p Op<'p>,
    witness: &'p Op<'p>,
}

/// The first remove to end of those that surely saw an add.
fn earliest<'p>(
    set: &Elements<'p>,
    element: &Element<'p>,
    add: &'p Op<'p>,
    removes: &[&'p Op<'p>],
) -> Option<Seen<'p>> {
    let alone = |read: &Op<'_>| {
        let mut begun = element.adds.iter().filter(|a| a.start() <= read.end());
        begun
            .next()
            .is_some_and(|first| first.index() == add.index())
            && begun.next().is_none()
    };
    let witnesses: Vec<&Op<'_>> = set
        .seen_by(element)
        .filter(|read| alone(read))
        .chain(std::iter::once(add).filter(|add| add.is_ok()))
        .collect();
    let seen = removes.iter().filter_map(|remove| {
        let shows = |op: &&&Op<'_>| op.session() == remove.session() && op.precedes(remove);
        let witness = witnesses.iter().find(shows)?;
        Some(Seen { remove, witness })
    });
    seen.min_by_key(|seen| (seen.remove.end(), seen.remove.index()))
}
