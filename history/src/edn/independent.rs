//! Jepsen's `independent` keys: there the value of every operation is a tuple `[key value]`, printed like any other vector.
//!
//! What tells them from plain values is a read that is invoked with `[key nil]`: where every read is, and every other operation
//! of a client has a pair as well, the key becomes a field of its own.

use crate::{Event, EventKind, Key, Process};
use serde_json::Value;
use std::sync::Arc;

/// Splits the tuples, if these are such; says how many there were.
pub(super) fn split(events: &mut [Event]) -> u64 {
    if !are_tuples(events) {
        return 0;
    }
    let mut count = 0;
    for event in events.iter_mut().filter(|e| is_client(e)) {
        if let Some((key, value)) = tuple(&event.value) {
            (event.key, event.value) = (Some(key), value.clone());
            count += 1;
        }
    }
    count
}

fn is_client(event: &Event) -> bool {
    event.process != Process::Nemesis
}

fn are_tuples(events: &[Event]) -> bool {
    let invocations = || {
        events
            .iter()
            .filter(|e| is_client(e) && e.kind == EventKind::Invoke)
    };
    let asks = |e: &Event| tuple(&e.value).is_some_and(|(_, value)| value.is_null());
    let mut reads = invocations().filter(|e| e.f == "read").peekable();
    reads.peek().is_some()
        && reads.all(asks)
        && invocations().all(|e| e.key.is_none() && tuple(&e.value).is_some())
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
