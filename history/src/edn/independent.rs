//! Jepsen's `independent` keys: there the value of every operation is a tuple `[key value]`, printed like any other vector.
//!
//! What tells them from plain values is a read that is invoked with `[key nil]`: where every read is, and every other operation
//! of a client has a pair as well, the key becomes a field of its own.

use crate::{Event, EventKind, Key, Process};
use serde_json::Value;
use std::sync::Arc;

/// Splits the tuples, if these are such; says how many there were.
pub(super) fn split(events: &mut [Event]) -> u64 {
    let mut tuples = Tuples::default();
    for event in events.iter() {
        tuples.look(event);
    }
    if !tuples.are() {
        return 0;
    }
    events.iter_mut().map(|e| u64::from(split_one(e))).sum()
}

/// Splits one, where it is one.
pub(super) fn split_one(event: &mut Event) -> bool {
    if event.process == Process::Nemesis {
        return false;
    }
    let Some((key, value)) = tuple(&event.value) else {
        return false;
    };
    (event.key, event.value) = (Some(key), value.clone());
    true
}

/// Whether all values are tuples, looked at one after another.
#[derive(Debug, Default)]
pub(super) struct Tuples {
    reads: bool,
    others: bool,
}

impl Tuples {
    pub(super) fn look(&mut self, event: &Event) {
        if event.process == Process::Nemesis || event.kind != EventKind::Invoke {
            return;
        }
        let pair = tuple(&event.value);
        let asks = event.f != "read" || pair.is_some_and(|(_, value)| value.is_null());
        self.reads |= event.f == "read";
        self.others |= event.key.is_some() || !asks || tuple(&event.value).is_none();
    }

    pub(super) fn are(&self) -> bool {
        self.reads && !self.others
    }
}

fn tuple(value: &Value) -> Option<(Key, &Value)> {
    let [key, value] = value.as_array()?.as_slice() else {
        return None;
    };
    let key = match key {
        Value::String(name) => Key::Name(Arc::from(name.as_str())),
        key => Key::Number(key.as_i64()?),
    };
    Some((key, value))
}
