//! The key space that the log builds: registers, sets and the counter of generated ids.
//!
//! Deterministic: the same entries in the same order give the same state and the same answers on every
//! replica. A key holds one type for ever, that of its first use; another use is refused.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::{Command, Query};
use crate::replicas::LogPosition;

/// Registers, sets and ids.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeySpace {
    items: BTreeMap<String, Item>,
    last_id: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Item {
    version: LogPosition,
    stored: Stored,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stored {
    Register(Value),
    Set(Elements),
}

/// The elements of a set in the order in which they were first added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Value>", into = "Vec<Value>")]
struct Elements {
    order: Vec<Value>,
    seen: HashSet<String>,
}

impl Elements {
    fn add(&mut self, element: &Value) {
        if self.seen.insert(element.to_string()) {
            self.order.push(element.clone());
        }
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

/// What a command or a query met.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was done.
    Done {
        /// The value read, written or generated.
        value: Value,
        /// The position of the item's last change.
        version: Option<LogPosition>,
    },
    /// The state forbids it; nothing changed.
    Precondition {
        /// Why.
        message: String,
        /// What is there.
        current: Value,
    },
}

impl KeySpace {
    /// Applies the entry at `position`.
    pub fn apply(&mut self, position: LogPosition, command: &Command) -> Outcome {
        match command {
            Command::Noop => done(Value::Null, position),
            Command::Write { key, value } => self.write(position, key, value),
            Command::Cas { key, old, new } => self.compare_and_set(position, key, old, new),
            Command::Add { key, element } => self.add(position, key, element),
            Command::Members(members) => {
                let names = members.iter().map(|name| Value::from(name.0.as_str()));
                done(names.collect(), position)
            }
            Command::GenerateId => {
                self.last_id += 1;
                done(Value::from(self.last_id), position)
            }
        }
    }

    /// Reads; an absent register is null, an absent set is empty.
    pub fn read(&self, query: &Query) -> Outcome {
        let (Query::Register(key) | Query::Set(key)) = query;
        match (query, self.items.get(key)) {
            (Query::Register(_), None) => Outcome::Done {
                value: Value::Null,
                version: None,
            },
            (Query::Set(_), None) => Outcome::Done {
                value: Value::Array(vec![]),
                version: None,
            },
            (
                Query::Register(_),
                Some(Item {
                    version,
                    stored: Stored::Register(value),
                }),
            ) => done(value.clone(), *version),
            (
                Query::Set(_),
                Some(Item {
                    version,
                    stored: Stored::Set(elements),
                }),
            ) => done(Value::Array(elements.order.clone()), *version),
            (_, Some(item)) => item.wrong_type(),
        }
    }

    fn write(&mut self, position: LogPosition, key: &str, value: &Value) -> Outcome {
        match self.items.get(key) {
            Some(
                item @ Item {
                    stored: Stored::Set(_),
                    ..
                },
            ) => item.wrong_type(),
            _ => self.put(position, key, value),
        }
    }

    fn compare_and_set(
        &mut self,
        position: LogPosition,
        key: &str,
        old: &Value,
        new: &Value,
    ) -> Outcome {
        let current = match self.items.get(key) {
            None => &Value::Null,
            Some(Item {
                stored: Stored::Register(value),
                ..
            }) => value,
            Some(item) => return item.wrong_type(),
        };
        if current == old {
            return self.put(position, key, new);
        }
        let message = format!("`{key}` holds {current}, not {old}");
        Outcome::Precondition {
            message,
            current: current.clone(),
        }
    }

    fn put(&mut self, position: LogPosition, key: &str, value: &Value) -> Outcome {
        let item = Item {
            version: position,
            stored: Stored::Register(value.clone()),
        };
        self.items.insert(key.to_owned(), item);
        done(value.clone(), position)
    }

    fn add(&mut self, position: LogPosition, key: &str, element: &Value) -> Outcome {
        let item = self.items.entry(key.to_owned()).or_insert_with(|| Item {
            version: position,
            stored: Stored::Set(Elements::default()),
        });
        let Stored::Set(elements) = &mut item.stored else {
            return item.wrong_type();
        };
        elements.add(element);
        item.version = position;
        done(element.clone(), position)
    }
}

impl Item {
    fn wrong_type(&self) -> Outcome {
        let (name, current) = match &self.stored {
            Stored::Register(value) => ("register", value.clone()),
            Stored::Set(elements) => ("set", Value::Array(elements.order.clone())),
        };
        Outcome::Precondition {
            message: format!("the key holds a {name}"),
            current,
        }
    }
}

fn done(value: Value, version: LogPosition) -> Outcome {
    Outcome::Done {
        value,
        version: Some(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write(value: i64) -> Command {
        Command::Write {
            key: "x".into(),
            value: json!(value),
        }
    }

    #[test]
    fn cas_compares_an_absent_key_with_null_and_tells_what_it_saw() {
        let mut state = KeySpace::default();
        let cas = |old, new| Command::Cas {
            key: "x".into(),
            old,
            new,
        };
        let first = state.apply(LogPosition(1), &cas(json!(null), json!(1)));
        assert_eq!(first, done(json!(1), LogPosition(1)));
        let second = state.apply(LogPosition(2), &cas(json!(null), json!(2)));
        assert!(matches!(second, Outcome::Precondition { current, .. } if current == json!(1)));
    }

    #[test]
    fn a_key_keeps_its_type() {
        let mut state = KeySpace::default();
        state.apply(LogPosition(1), &write(1));
        let add = Command::Add {
            key: "x".into(),
            element: json!(1),
        };
        assert!(matches!(
            state.apply(LogPosition(2), &add),
            Outcome::Precondition { .. }
        ));
        assert!(matches!(
            state.read(&Query::Set("x".into())),
            Outcome::Precondition { .. }
        ));
        assert_eq!(
            state.read(&Query::Register("x".into())),
            done(json!(1), LogPosition(1))
        );
    }

    #[test]
    fn a_snapshot_keeps_the_order_of_sets_and_the_ids() {
        let mut state = KeySpace::default();
        for (i, element) in [json!(3), json!("a"), json!(3), json!(1)]
            .into_iter()
            .enumerate()
        {
            let add = Command::Add {
                key: "s".into(),
                element,
            };
            state.apply(LogPosition(i as u64 + 1), &add);
        }
        state.apply(LogPosition(5), &Command::GenerateId);
        let text = serde_json::to_string(&state).unwrap();
        let mut again: KeySpace = serde_json::from_str(&text).unwrap();
        assert_eq!(again, state);
        let Outcome::Done { value, .. } = again.read(&Query::Set("s".into())) else {
            panic!()
        };
        assert_eq!(value, json!([3, "a", 1]));
        let id = again.apply(LogPosition(6), &Command::GenerateId);
        assert_eq!(id, done(json!(2), LogPosition(6)));
    }
}
