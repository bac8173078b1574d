//! One event of a history: an invocation, a completion, or something that the nemesis did.

use crate::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The name of a node, such as `n1`; shared, for every answer names one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub Arc<str>);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who acts: one logical client with one operation in flight, or the nemesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "Value")]
pub enum Process {
    /// A logical client. Retired after an `info`: its client goes on under a new number.
    Client(u64),
    /// The one that injects faults and heals them.
    Nemesis,
}

impl From<Process> for Value {
    fn from(process: Process) -> Self {
        match process {
            Process::Client(n) => n.into(),
            Process::Nemesis => "nemesis".into(),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(n) => write!(f, "process {n}"),
            Self::Nemesis => f.write_str("nemesis"),
        }
    }
}

/// What an event says of its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The operation begins: taken before the request is sent.
    Invoke,
    /// It happened.
    Ok,
    /// It surely did not happen.
    Fail,
    /// Nobody knows: a time-out, a cut connection. All events of the nemesis are `info` too.
    Info,
}

/// The key that an operation is about: Jepsen's are numbers, ours are names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// A numbered key.
    Number(i64),
    /// A named key.
    Name(Arc<str>),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => write!(f, "{n}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Self::Name(name.into())
    }
}

/// Why an operation did not simply succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpError {
    /// A stable word: `timeout`, `no-leader`, `precondition`, ...
    pub kind: String,
    /// The same for people, as the server or the client library said it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// The order in the file, from 0. Input may leave it out.
    pub index: u64,
    /// When the controller saw it. Input may leave it out: then the line number stands in.
    pub time: Time,
    /// Who.
    pub process: Process,
    /// What it says of the operation.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The operation's function: `read`, `write`, `add`, `partition`, ...
    pub f: Cow<'static, str>,
    /// The key, where the operation has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The argument (invocations) or the result (completions).
    pub value: Value,
    /// The node that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The leader's term in which the node answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// The session, where it is not the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// Why it failed, or why nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<OpError>>,
    /// Whether this is a final read: after the last heal, local to one replica.
    #[serde(rename = "final", skip_serializing_if = "is_false")]
    pub is_final: bool,
    /// What the server said of its own version; a checker may explain with it and never trusts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// Stands for a missing time until the reader puts the line number there.
pub(crate) const UNSET: Time = Time::INFINITY;

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(b: &bool) -> bool {
    !b
}

impl Event {
    /// An event with the given essentials and nothing optional.
    pub fn new(
        time: Time,
        process: Process,
        kind: EventKind,
        f: impl Into<Cow<'static, str>>,
        value: Value,
    ) -> Self {
        Self {
            index: 0,
            time,
            process,
            kind,
            f: f.into(),
            key: None,
            value,
            node: None,
            term: None,
            session: None,
            error: None,
            is_final: false,
            version: None,
        }
    }

    /// The kind of its error, where it has one.
    pub fn error_kind(&self) -> Option<&str> {
        self.error.as_deref().map(|e| e.kind.as_str())
    }
}
