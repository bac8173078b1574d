//! Jepsen's causal registers (jepsen/src/jepsen/tests/causal.clj): a `:read-init` is a read, and the 0 that stands in a register before
//! anything was written is our null.

use crate::{Event, EventKind, Key};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;

const READ_INIT: &str = "read-init";

/// Makes plain reads of them; says how many there were. Where there is none, nothing is changed.
pub(super) fn rename(events: &mut [Event]) -> u64 {
    if events.iter().all(|e| e.f != READ_INIT) {
        return 0;
    }
    let zero = |e: &Event| e.value == 0;
    let written: BTreeSet<Option<Key>> = events
        .iter()
        .filter(|e| e.f == "write" && e.kind == EventKind::Invoke && zero(e))
        .map(|e| e.key.clone())
        .collect();
    let mut count = 0;
    for event in events {
        if event.f == READ_INIT {
            event.f = Cow::Borrowed("read");
            count += 1;
        }
        if event.f == "read" && zero(event) && !written.contains(&event.key) {
            event.value = Value::Null;
        }
    }
    count
}
