//! The witness of a danger: what clients must have seen before a fault may come or go.
//!
//! A schedule by the clock alone misses its moment on a slow machine. So a written fault may wait: it comes once the fault before it
//! has shown something, and goes as soon as it has itself. Judged by what clients record, never by what a node says of itself.

use schism_history::{Event, EventKind, Key, Process};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What may be waited for. "There" are the nodes that the fault hits, "elsewhere" all others; only operations count that were invoked after the
/// fault came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// A node there acknowledged an update.
    AcknowledgedThere,
    /// A node elsewhere acknowledged an update.
    AcknowledgedElsewhere,
    /// A node there acknowledged an update that was invoked after one had been acknowledged elsewhere.
    AcknowledgedThereAfter,
    /// A node there answered a read that was invoked after an update of the same key had been acknowledged elsewhere.
    ReadThereAfter,
}

impl Witness {
    /// Its name in specs and histories.
    pub fn name(self) -> &'static str {
        match self {
            Self::AcknowledgedThere => "acknowledged-there",
            Self::AcknowledgedElsewhere => "acknowledged-elsewhere",
            Self::AcknowledgedThereAfter => "acknowledged-there-after",
            Self::ReadThereAfter => "read-there-after",
        }
    }
}

/// What one fault has shown so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    there: BTreeSet<String>,
    /// Operations in flight that were invoked since: their invocations' indexes.
    open: BTreeMap<u64, u64>,
    /// The index of the first acknowledgement elsewhere, of each key.
    elsewhere: BTreeMap<Option<Key>, u64>,
    seen: BTreeMap<Witness, u64>,
}

impl Watch {
    /// Of a fault that hits these nodes.
    pub fn new(there: impl IntoIterator<Item = String>) -> Self {
        Self {
            there: there.into_iter().collect(),
            ..Self::default()
        }
    }

    /// What was seen, each with the invocation's index of the first operation that showed it.
    pub fn seen(&self) -> &BTreeMap<Witness, u64> {
        &self.seen
    }

    /// Whether all of these were seen.
    pub fn has_seen(&self, all: &[Witness]) -> bool {
        all.iter().all(|w| self.seen.contains_key(w))
    }

    /// Takes the next event of the history.
    pub fn observe(&mut self, event: &Event) {
        let Process::Client(process) = event.process else {
            return;
        };
        if event.kind == EventKind::Invoke {
            self.open.insert(process, event.index);
            return;
        }
        let Some(invoked) = self.open.remove(&process) else {
            return;
        };
        if let (EventKind::Ok, Some(node)) = (event.kind, &event.node) {
            let there = self.there.contains(&*node.0);
            self.answered(event, invoked, there);
        }
    }

    fn answered(&mut self, event: &Event, invoked: u64, there: bool) {
        let is_read = event.f == "read";
        let after = |at: Option<&u64>| at.is_some_and(|at| *at < invoked);
        let mut shown = Vec::new();
        match (there, is_read) {
            (true, true) if after(self.elsewhere.get(&event.key)) => {
                shown.push(Witness::ReadThereAfter);
            }
            (true, false) => {
                shown.push(Witness::AcknowledgedThere);
                if after(self.elsewhere.values().min()) {
                    shown.push(Witness::AcknowledgedThereAfter);
                }
            }
            (false, false) => {
                self.elsewhere
                    .entry(event.key.clone())
                    .or_insert(event.index);
                shown.push(Witness::AcknowledgedElsewhere);
            }
            _ => {}
        }
        for witness in shown {
            self.seen.entry(witness).or_insert(invoked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schism_history::History;

    fn seen(text: &str) -> Vec<&'static str> {
        let mut watch = Watch::new(["n1".to_owned()]);
        for event in &History::dsl(text).unwrap().events {
            watch.observe(event);
        }
        watch.seen().keys().map(|w| w.name()).collect()
    }

    #[test]
    fn there_is_where_the_fault_is() {
        assert_eq!(seen("0: write x 1 @0..1 node=n1"), ["acknowledged-there"]);
        assert_eq!(
            seen("0: write x 1 @0..1 node=n2"),
            ["acknowledged-elsewhere"]
        );
        assert!(seen("0: read x null @0..1 node=n1; 1: write x 1 @0..1 info").is_empty());
    }

    #[test]
    fn after_is_after_the_acknowledgement() {
        let all = [
            "acknowledged-there",
            "acknowledged-elsewhere",
            "acknowledged-there-after",
        ];
        let first = "0: write x 1 @0..2 node=n2";
        assert_eq!(seen(&format!("{first}; 1: write x 2 @3..4 node=n1")), all);
        assert_eq!(
            seen(&format!("{first}; 1: write x 2 @1..4 node=n1")),
            all[..2]
        );
        let read = |key: &str| format!("{first}; 1: read {key} null @3..4 node=n1");
        assert_eq!(
            seen(&read("x")),
            ["acknowledged-elsewhere", "read-there-after"]
        );
        assert_eq!(seen(&read("y")), ["acknowledged-elsewhere"]);
    }
}
