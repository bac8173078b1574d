//! What a client is about to do, and what came of it.

use schism_history::{Event, EventKind, Key, NodeId, OpError, Process, Time};
use schism_targets::client::{Answer, CallError, Request};
use schism_targets::wire;
use serde_json::Value;

/// An operation that a client is about to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    /// Its function: `read`, `write`, ...
    pub f: &'static str,
    /// Its key, where it has one.
    pub key: Option<Key>,
    /// Its argument.
    pub value: Value,
}

impl Invocation {
    /// An operation on a named key.
    pub fn on(key: &str, f: &'static str, value: impl Into<Value>) -> Self {
        Self {
            f,
            key: Some(key.into()),
            value: value.into(),
        }
    }

    /// The key's name; empty where there is none.
    pub fn key_name(&self) -> String {
        self.key
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// The event that opens it.
    pub fn event(&self, time: Time, process: Process) -> Event {
        let mut event = Event::new(time, process, EventKind::Invoke, self.f, self.value.clone());
        event.key.clone_from(&self.key);
        event
    }
}

/// What an operation needs next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// This is to be asked.
    Ask(Request),
    /// Nothing more: this came of it.
    Done(Completion),
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// `ok`, `fail` or `info`; never `invoke`.
    pub kind: EventKind,
    /// The result, or the argument again.
    pub value: Value,
    /// Who answered.
    pub node: Option<NodeId>,
    /// In which term.
    pub term: Option<u64>,
    /// What the server said of its version.
    pub version: Option<u64>,
    /// Why it is not `ok`.
    pub error: Option<OpError>,
}

impl Completion {
    /// A success that returns `value` and says nothing else.
    pub fn ok(value: Value) -> Self {
        Self {
            kind: EventKind::Ok,
            value,
            node: None,
            term: None,
            version: None,
            error: None,
        }
    }

    /// Whether it failed because nobody was there to do it, and not for a reason of its own.
    pub fn is_unavailable(&self) -> bool {
        let own = |error: &OpError| wire::is_refused_by_state(&error.kind);
        self.kind == EventKind::Fail && !self.error.as_ref().is_some_and(own)
    }

    /// A definite refusal by ourselves: nothing was sent.
    pub fn refused(kind: &str, message: &str) -> Self {
        let error = OpError {
            kind: kind.to_owned(),
            message: message.to_owned(),
        };
        Self {
            kind: EventKind::Fail,
            error: Some(error),
            ..Self::ok(Value::Null)
        }
    }

    /// The usual reading of an answer: what is read, generated or taken is the answer's value, everything else returns its own argument. What was definitely
    /// refused is `fail`; what nobody knows is `info`.
    pub fn of(invocation: &Invocation, answer: Result<Answer, CallError>) -> Self {
        match answer {
            Ok(answer) => Self {
                kind: EventKind::Ok,
                value: match invocation.f {
                    "read" | "generate" | "dequeue" | "drain" => answer.value,
                    _ => invocation.value.clone(),
                },
                node: Some(NodeId(answer.node.into())),
                term: answer.term,
                version: answer.version,
                error: None,
            },
            Err(error) => Self {
                kind: if error.definite {
                    EventKind::Fail
                } else {
                    EventKind::Info
                },
                value: invocation.value.clone(),
                node: error.node.map(|node| NodeId(node.into())),
                term: None,
                version: None,
                error: Some(OpError {
                    kind: error.kind,
                    message: error.message,
                }),
            },
        }
    }

    /// The event that closes `invocation`.
    pub fn event(self, invocation: &Invocation, time: Time, process: Process) -> Event {
        let mut event = Event::new(time, process, self.kind, invocation.f, self.value);
        event.key.clone_from(&invocation.key);
        event.node = self.node;
        event.term = self.term;
        event.version = self.version;
        event.error = self.error.map(Box::new);
        event
    }
}
