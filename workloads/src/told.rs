//! What a target may have told a client: for tests of what workloads make of it.

use schism_targets::client::{Answer, CallError};
use serde_json::Value;

/// A success that says this.
pub(crate) fn answer(value: Value) -> Answer {
    Answer {
        value,
        node: "n2".into(),
        term: Some(3),
        version: None,
        seen: 0,
        partition: 0,
    }
}

/// A call that did not succeed; `definite`: it surely had no effect.
pub(crate) fn error(definite: bool, kind: &str) -> CallError {
    CallError {
        definite,
        kind: kind.into(),
        message: String::new(),
        node: None,
        current: None,
    }
}
