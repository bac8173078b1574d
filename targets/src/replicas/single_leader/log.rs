//! The log as the replica sees it: the entries after a base, in memory.
//!
//! Knows positions and terms, nothing of commits or disks. What lies at or before the base has been
//! compacted away (Raft, section 7); the base's term stays, for the consistency check.

use std::collections::VecDeque;
use std::sync::Arc;

use super::message::{Command, Entry};
use crate::replicas::{LogPosition, Term};

/// Entries after a base position.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    base: LogPosition,
    base_term: Term,
    entries: VecDeque<Arc<Entry>>,
}

impl Log {
    /// A log that begins after `base`. Entries that do not continue it are dropped.
    pub(super) fn new(base: (Term, LogPosition), entries: Vec<Arc<Entry>>) -> Self {
        let mut log = Self {
            base: base.1,
            base_term: base.0,
            entries: VecDeque::new(),
        };
        for entry in entries {
            if entry.position == log.last().next() {
                log.entries.push_back(entry);
            }
        }
        log
    }

    /// The position before the first entry that is still here.
    pub(super) fn base(&self) -> LogPosition {
        self.base
    }

    /// The last position.
    pub(super) fn last(&self) -> LogPosition {
        LogPosition(self.base.0 + self.entries.len() as u64)
    }

    /// The last entry's term and position, as votes compare them.
    pub(super) fn last_id(&self) -> (Term, LogPosition) {
        let term = self
            .entries
            .back()
            .map_or(self.base_term, |entry| entry.term);
        (term, self.last())
    }

    /// The entry at a position, if it is here.
    pub(super) fn get(&self, position: LogPosition) -> Option<&Arc<Entry>> {
        let offset = position.0.checked_sub(self.base.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The term at a position; the base's is known too.
    pub(super) fn term_at(&self, position: LogPosition) -> Option<Term> {
        if position == self.base {
            return Some(self.base_term);
        }
        self.get(position).map(|entry| entry.term)
    }

    /// Appends.
    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        debug_assert_eq!(entry.position, self.last().next(), "a log has no gaps");
        self.entries.push_back(entry);
    }

    /// Entries from `first` on, so many and of about so many bytes at most, but one at least.
    pub(super) fn slice(&self, first: LogPosition, count: usize, bytes: usize) -> Vec<Arc<Entry>> {
        let skip = first.0.saturating_sub(self.base.0 + 1) as usize;
        let mut budget = bytes;
        let mut slice = Vec::new();
        for entry in self.entries.iter().skip(skip).take(count) {
            let size = entry.command.size();
            if size > budget && !slice.is_empty() {
                break;
            }
            budget = budget.saturating_sub(size);
            slice.push(Arc::clone(entry));
        }
        slice
    }

    /// Cuts everything after `position`; answers how many entries that were.
    pub(super) fn truncate(&mut self, position: LogPosition) -> usize {
        let keep = position.0.saturating_sub(self.base.0) as usize;
        let cut = self.entries.len().saturating_sub(keep);
        self.entries.truncate(keep);
        cut
    }

    /// Moves the base up to `position`.
    pub(super) fn drop_through(&mut self, position: LogPosition) {
        while self.base < position {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.base = entry.position;
            self.base_term = entry.term;
        }
    }

    /// The last position before `position` whose term differs from the one there: a leader steps back a
    /// term at a time, not an entry (Raft, end of section 5.3).
    pub(super) fn before_term_of(&self, position: LogPosition) -> LogPosition {
        let term = self.term_at(position);
        let mut at = position;
        while at > self.base && self.term_at(at) == term {
            at = at.previous();
        }
        at
    }
}

impl Command {
    /// About how many bytes it takes on the wire.
    pub(super) fn size(&self) -> usize {
        40 + match self {
            Self::Noop | Self::GenerateId => 0,
            Self::Members(members) => members.iter().map(|name| name.as_str().len() + 3).sum(),
            Self::Write { key, value } => key.len() + size_of_value(value),
            Self::Cas { key, old, new } => key.len() + size_of_value(old) + size_of_value(new),
            Self::Add { key, element } | Self::Enqueue { key, element } => {
                key.len() + size_of_value(element)
            }
            Self::Increment { key, .. } => key.len() + 8,
            Self::Dequeue { key, expect } => key.len() + expect.as_ref().map_or(0, size_of_value),
            Self::Drain { key } => key.len(),
            Self::Transact { expect, write } => size_of_fields(expect) + size_of_fields(write),
            Self::Transfer { from, to, .. } => from.len() + to.len() + 8,
        }
    }
}

fn size_of_value(value: &serde_json::Value) -> usize {
    use serde_json::Value::{Array, Object, String};
    match value {
        String(text) => text.len() + 2,
        Array(items) => 2 + items.iter().map(size_of_value).sum::<usize>(),
        Object(fields) => size_of_fields(fields),
        _ => 8,
    }
}

fn size_of_fields<'v>(
    fields: impl IntoIterator<Item = (&'v String, &'v serde_json::Value)>,
) -> usize {
    let sizes = fields
        .into_iter()
        .map(|(name, value)| name.len() + 4 + size_of_value(value));
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(terms: &[u64]) -> Log {
        let entries = terms.iter().enumerate().map(|(i, term)| {
            let position = LogPosition(i as u64 + 1);
            Arc::new(Entry {
                term: Term(*term),
                position,
                command: Command::Noop,
            })
        });
        Log::new((Term(0), LogPosition(0)), entries.collect())
    }

    #[test]
    fn positions_count_from_one_and_survive_compaction() {
        let mut log = log(&[1, 1, 2, 3]);
        assert_eq!(log.last_id(), (Term(3), LogPosition(4)));
        log.drop_through(LogPosition(2));
        assert_eq!((log.base(), log.last()), (LogPosition(2), LogPosition(4)));
        assert_eq!(log.term_at(LogPosition(2)), Some(Term(1)));
        assert_eq!(log.term_at(LogPosition(1)), None);
        assert_eq!(log.slice(LogPosition(3), 10, 1 << 20).len(), 2);
        assert_eq!(log.slice(LogPosition(3), 10, 1).len(), 1);
        assert_eq!(log.truncate(LogPosition(3)), 1);
        assert_eq!(log.last(), LogPosition(3));
    }

    #[test]
    fn a_conflict_steps_back_a_whole_term() {
        let log = log(&[1, 1, 2, 2, 2]);
        assert_eq!(log.before_term_of(LogPosition(5)), LogPosition(2));
        assert_eq!(log.before_term_of(LogPosition(2)), LogPosition(0));
    }
}
