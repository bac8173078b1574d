//! Whether an element that was removed may be there: an add that no remove has seen wins.
//!
//! Shapiro et al. 2011 (the OR-set). What a remove has seen, its replica knows; a history says it in two cases. It surely has *not* seen
//! an add that began after it had ended. It surely has seen one that its session had acknowledged before, or read the element of, where
//! no other add could have put it there: a client removes what it sees. Between these nobody knows, and both are right. O(n log n) in the operations
//! on an element and the reads that have it.

use crate::elements::{Element, Elements};
use schism_history::{Op, Time};
use std::collections::BTreeMap;

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
    unseen(element).min_by_key(|op| (op.end(), op.index()))
}

/// The acknowledged adds that began after every remove had ended.
fn unseen<'e, 'p>(element: &'e Element<'p>) -> impl Iterator<Item = &'p Op<'p>> + 'e {
    let last = element.removes.iter().map(|remove| remove.end()).max();
    let acknowledged = element.adds.iter().copied().filter(|add| add.is_ok());
    acknowledged.filter(move |add| last.is_none_or(|end| end < add.start()))
}

/// What the rule says of an element that may have been removed.
pub(crate) fn fate<'p>(set: &Elements<'p>, element: &Element<'p>) -> Fate<'p> {
    if let Some(add) = unseen(element).next() {
        return Fate::There(add);
    }
    let removes = element.removes.iter().copied().filter(|r| r.is_ok());
    let certain = Removes::new(removes.clone());
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
    let last = removes.map(Op::start).max();
    let removed = |add: &&Op<'_>| last.is_some_and(|start| add.end() < start);
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

/// The removes of one element by session: each with the first to end of it and those that began later.
struct Removes<'p>(BTreeMap<Option<u64>, Vec<(Time, &'p Op<'p>)>>);

/// Which of two operations is named where both would do: the one that ends first.
fn end(op: &Op<'_>) -> (Time, u64) {
    (op.end(), op.index())
}

impl<'p> Removes<'p> {
    fn new(removes: impl Iterator<Item = &'p Op<'p>>) -> Self {
        let mut sessions: BTreeMap<Option<u64>, Vec<(Time, &Op<'_>)>> = BTreeMap::new();
        for remove in removes {
            let own = sessions.entry(remove.session()).or_default();
            own.push((remove.start(), remove));
        }
        for own in sessions.values_mut() {
            own.sort_by_key(|(start, _)| *start);
            for i in (1..own.len()).rev() {
                if end(own[i].1) < end(own[i - 1].1) {
                    own[i - 1].1 = own[i].1;
                }
            }
        }
        Self(sessions)
    }

    /// The first to end of those that an operation's session began after it.
    fn after(&self, op: &Op<'_>) -> Option<&'p Op<'p>> {
        let own = self.0.get(&op.session())?;
        let later = own.partition_point(|(start, _)| *start <= op.end());
        own.get(later).map(|(_, first)| *first)
    }
}

/// The first remove to end of those that surely saw an add.
fn earliest<'p>(
    set: &Elements<'p>,
    element: &Element<'p>,
    add: &'p Op<'p>,
    removes: &Removes<'p>,
) -> Option<Seen<'p>> {
    // A read shows only the first add, and only if the next one had not begun.
    let first = element.adds[0].index() == add.index();
    let second = element
        .adds
        .get(1)
        .map_or(Time::INFINITY, |add| add.start());
    let alone = |read: &&Op<'_>| add.start() <= read.end() && read.end() < second;
    let reads = set.seen_by(element).take_while(|_| first).filter(alone);
    let witnesses = reads.chain(std::iter::once(add).filter(|add| add.is_ok()));
    let seen = witnesses.filter_map(|witness| {
        let remove = removes.after(witness)?;
        Some(Seen { remove, witness })
    });
    seen.min_by_key(|seen| end(seen.remove))
}
