//! What one key holds: one of a few types, and the position of its last change.

use std::collections::{HashSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Conflict;
use crate::replicas::LogPosition;

/// A key's content with its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) version: LogPosition,
    pub(super) stored: Stored,
}

/// One of the types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stored {
    Register(Register),
    Set(Elements),
    Counter(Counter),
    Queue(Queue),
}

/// One value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Register(pub(super) Value);

/// A sum.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counter(pub(super) i64);

/// Elements that come out as they went in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Queue(pub(super) VecDeque<Value>);

/// The elements of a set in the order in which they were first added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Value>", into = "Vec<Value>")]
pub(super) struct Elements {
    order: Vec<Value>,
    seen: HashSet<String>,
}

impl Elements {
    pub(super) fn add(&mut self, element: &Value) {
        if self.seen.insert(element.to_string()) {
            self.order.push(element.clone());
        }
    }

    pub(super) fn in_order(&self) -> &[Value] {
        &self.order
    }
}

impl From<Vec<Value>> for Elements {
    fn from(order: Vec<Value>) -> Self {
        let seen = order.iter().map(Value::to_string).collect();
        Self { order, seen }
    }
}

impl From<Elements> for Vec<Value> {
    fn from(elements: Elements) -> Self {
        elements.order
    }
}

/// A type that a key may hold; its default is what an absent key holds.
pub(super) trait Content: Default {
    fn of(stored: &Stored) -> Option<&Self>;
    fn of_mut(stored: &mut Stored) -> Option<&mut Self>;
    fn stored(self) -> Stored;
}

macro_rules! content {
    ($($type:ident in $variant:ident),+) => {$(
        impl Content for $type {
            fn of(stored: &Stored) -> Option<&Self> {
                match stored {
                    Stored::$variant(content) => Some(content),
                    _ => None,
                }
            }

            fn of_mut(stored: &mut Stored) -> Option<&mut Self> {
                match stored {
                    Stored::$variant(content) => Some(content),
                    _ => None,
                }
            }

            fn stored(self) -> Stored {
                Stored::$variant(self)
            }
        }
    )+};
}

content!(Register in Register, Elements in Set, Counter in Counter, Queue in Queue);

impl Item {
    /// What this type makes of it, or why it is of another one.
    pub(super) fn content<T: Content>(&self) -> Result<&T, Conflict> {
        T::of(&self.stored).ok_or_else(|| self.stored.wrong_type())
    }
}

impl Stored {
    pub(super) fn wrong_type(&self) -> Conflict {
        let name = match self {
            Self::Register(_) => "register",
            Self::Set(_) => "set",
            Self::Counter(_) => "counter",
            Self::Queue(_) => "queue",
        };
        Conflict::unexpected(format!("the key holds a {name}"), self.shown())
    }

    fn shown(&self) -> Value {
        match self {
            Self::Register(Register(value)) => value.clone(),
            Self::Set(elements) => Value::Array(elements.order.clone()),
            Self::Counter(Counter(sum)) => Value::from(*sum),
            Self::Queue(Queue(elements)) => elements.iter().cloned().collect(),
        }
    }
}
