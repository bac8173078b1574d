//! `unique-ids`: which ids were handed out, in runs where they are numbers in a row, else as 128 bits each. One that was handed out twice is collected.

use super::digest::{self, Digest};
use super::{Again, Finish, Fold, Part};
use crate::fixed::FixedMap;
use crate::verdict::{ANOMALIES_LISTED, Decision, PropertyResult};
use schism_history::Op;
use std::collections::{BTreeMap, BTreeSet};

/// About what a run of numbers and any other id take.
const RUN_BYTES: u64 = 40;
const ID_BYTES: u64 = 34;
/// How many operations without an id are looked at again, and how many that got the same one.
const NULLS_MAX: usize = 5;
const TWINS_MAX: u32 = 100;

/// The ids so far.
pub(crate) struct Ids {
    /// From a first number to a last one, all of them handed out.
    runs: BTreeMap<i64, i64>,
    others: FixedMap<Digest, ()>,
    twice: BTreeMap<Digest, u32>,
    nulls: BTreeSet<u64>,
    checked: u64,
    duplicates: u64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self {
            runs: BTreeMap::new(),
            others: FixedMap::new(),
            twice: BTreeMap::new(),
            nulls: BTreeSet::new(),
            checked: 0,
            duplicates: 0,
        }
    }

    /// Whether it is new.
    fn insert(&mut self, n: i64) -> bool {
        let before = self.runs.range(..=n).next_back().map(|(a, b)| (*a, *b));
        if before.is_some_and(|(_, last)| last >= n) {
            return false;
        }
        let first = before.filter(|(_, last)| n.checked_sub(1) == Some(*last));
        let next = n.checked_add(1).and_then(|next| self.runs.remove(&next));
        let first = first.map_or(n, |(first, _)| first);
        self.runs.insert(first, next.unwrap_or(n));
        true
    }
}

fn is_answered(op: &Op<'_>) -> bool {
    op.f() == "generate" && op.is_ok()
}

impl<'s> Fold<'s> for Ids {
    fn ended(&mut self, op: &Op<'_>) {
        if !is_answered(op) {
            return;
        }
        let Some(id) = op.result().filter(|id| !id.is_null()) else {
            if self.nulls.len() < NULLS_MAX {
                self.nulls.insert(op.index());
            }
            return;
        };
        self.checked += 1;
        let is_new = match id.as_i64() {
            Some(n) => self.insert(n),
            None => self.others.insert(digest::of_value(id), ()).is_none(),
        };
        if !is_new {
            self.duplicates += 1;
            if self.twice.len() < ANOMALIES_LISTED {
                self.twice.insert(digest::of_value(id), 0);
            }
        }
    }

    fn bytes(&self) -> u64 {
        RUN_BYTES * self.runs.len() as u64 + ID_BYTES * self.others.len() as u64
    }

    fn finish(self: Box<Self>) -> Finish<'s> {
        let Self {
            mut twice, nulls, ..
        } = *self;
        let suspicious = !(twice.is_empty() && nulls.is_empty());
        let select = move |op: &Op<'_>| {
            let twin = |twins: &mut u32| {
                *twins += 1;
                *twins <= TWINS_MAX
            };
            let takes = is_answered(op)
                && (nulls.contains(&op.index())
                    || op
                        .result()
                        .is_some_and(|id| twice.get_mut(&digest::of_value(id)).is_some_and(twin)));
            takes.then_some(0)
        };
        let part = Part {
            what: "the ids that were handed out twice".to_owned(),
            sure: None,
        };
        Finish {
            result: PropertyResult {
                verdict: Decision::Holds,
                checked: self.checked,
                ..PropertyResult::unknown("")
            },
            count: (self.duplicates > 0).then_some(self.duplicates),
            again: suspicious.then(|| Again {
                select: Box::new(select),
                parts: vec![part],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_grow_together_and_know_what_they_hold() {
        let mut ids = Ids::new();
        let numbers = [5, 3, 4, 9, i64::MAX, 8, 7, i64::MIN, 6, i64::MAX - 1];
        assert!(numbers.iter().all(|n| ids.insert(*n)));
        assert!(numbers.iter().all(|n| !ids.insert(*n)));
        let runs: Vec<_> = ids.runs.into_iter().collect();
        assert_eq!(
            runs,
            [(i64::MIN, i64::MIN), (3, 9), (i64::MAX - 1, i64::MAX)]
        );
    }
}
