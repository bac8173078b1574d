//! What a client can ask for, and how that is said in HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::CallError;
use crate::wire::{DequeueBody, kind};

/// What a client can ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// The value of a register.
    Read {
        /// Which.
        key: String,
    },
    /// Set a register.
    Write {
        /// Which.
        key: String,
        /// To what.
        value: Value,
    },
    /// Set a register if it holds `old` (null: or is absent).
    Cas {
        /// Which.
        key: String,
        /// What it must hold.
        old: Value,
        /// What it holds then.
        new: Value,
    },
    /// Add to a set.
    Add {
        /// Which.
        key: String,
        /// What.
        element: Value,
    },
    /// The elements of a set.
    ReadSet {
        /// Which.
        key: String,
    },
    /// Add to a counter.
    Increment {
        /// Which.
        key: String,
        /// How much; may be negative.
        by: i64,
    },
    /// The sum of a counter.
    ReadCounter {
        /// Which.
        key: String,
    },
    /// Put an element at the end of a queue.
    Enqueue {
        /// Which.
        key: String,
        /// What.
        element: Value,
    },
    /// The first element of a queue, which stays there.
    ReadHead {
        /// Which.
        key: String,
    },
    /// Take the first element of a queue.
    Dequeue {
        /// Which.
        key: String,
        /// Which element that must be; none: whichever it is.
        expect: Option<Value>,
    },
    /// Take all elements of a queue.
    Drain {
        /// Which.
        key: String,
    },
    /// The values of several registers at one moment.
    ReadMany {
        /// Which.
        keys: Vec<String>,
    },
    /// Set several registers if registers hold what is expected (null: or are absent).
    Transact {
        /// What they must hold; empty: whatever they do.
        expect: BTreeMap<String, Value>,
        /// What they hold then.
        write: BTreeMap<String, Value>,
    },
    /// Move an amount between two registers that hold whole numbers.
    Transfer {
        /// From which.
        from: String,
        /// To which.
        to: String,
        /// How much.
        amount: u64,
    },
    /// A number that nobody else gets.
    GenerateId,
}

impl Request {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Read { .. }
                | Self::ReadSet { .. }
                | Self::ReadCounter { .. }
                | Self::ReadHead { .. }
                | Self::ReadMany { .. }
        )
    }

    pub(super) fn url(&self, address: SocketAddr) -> Result<Url, CallError> {
        let segments: &[&str] = match self {
            Self::Read { key } | Self::Write { key, .. } => &["kv", key],
            Self::Cas { key, .. } => &["kv", key, "cas"],
            Self::Add { key, .. } | Self::ReadSet { key } => &["set", key],
            Self::Increment { key, .. } | Self::ReadCounter { key } => &["counter", key],
            Self::Enqueue { key, .. } | Self::ReadHead { key } => &["queue", key],
            Self::Dequeue { key, .. } => &["queue", key, "dequeue"],
            Self::Drain { key } => &["queue", key, "drain"],
            Self::ReadMany { .. } => &["kv"],
            Self::Transact { .. } => &["txn"],
            Self::Transfer { .. } => &["transfer"],
            Self::GenerateId => &["ids"],
        };
        // A URL would lose these.
        if segments
            .iter()
            .any(|segment| matches!(*segment, "" | "." | ".."))
        {
            return Err(CallError::definite(
                kind::BAD_REQUEST,
                "no key can be empty, `.` or `..`",
            ));
        }
        let broken = || CallError::definite(kind::BAD_REQUEST, "the address makes no URL");
        let mut url = Url::parse(&format!("http://{address}/")).map_err(|_| broken())?;
        url.path_segments_mut()
            .map_err(|()| broken())?
            .clear()
            .extend(segments);
        if let Self::ReadMany { keys } = self {
            let pairs = keys.iter().map(|key| ("key", key));
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Ok(url)
    }

    pub(super) fn method_and_body(&self) -> (Method, Option<Value>) {
        match self {
            Self::Read { .. }
            | Self::ReadSet { .. }
            | Self::ReadCounter { .. }
            | Self::ReadHead { .. }
            | Self::ReadMany { .. } => (Method::GET, None),
            Self::Write { value, .. } => (Method::PUT, Some(json!({ "value": value }))),
            Self::Cas { old, new, .. } => (Method::POST, Some(json!({ "old": old, "new": new }))),
            Self::Add { element, .. } | Self::Enqueue { element, .. } => {
                (Method::POST, Some(json!({ "element": element })))
            }
            Self::Increment { by, .. } => (Method::POST, Some(json!({ "by": by }))),
            Self::Transact { expect, write } => (
                Method::POST,
                Some(json!({ "expect": expect, "write": write })),
            ),
            Self::Transfer { from, to, amount } => (
                Method::POST,
                Some(json!({ "from": from, "to": to, "amount": amount })),
            ),
            Self::Dequeue { expect, .. } => {
                let expect = expect.clone();
                (Method::POST, Some(json!(DequeueBody { expect })))
            }
            Self::Drain { .. } | Self::GenerateId => (Method::POST, None),
        }
    }
}
