//! The key space that the log builds: registers, sets, counters, queues and the counter of generated ids.
//!
//! Deterministic: the same entries in the same order give the same state and the same answers on every
//! replica. A key holds one type for ever, that of its first use; another use is refused. What is refused
//! changes nothing.

mod item;
mod transactions;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::{Command, Query};
use crate::replicas::LogPosition;
use item::{Content, Counter, Elements, Item, Queue, Register};

/// Everything that is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeySpace {
    items: BTreeMap<String, Item>,
    last_id: u64,
}

/// What a command or a query met.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was done.
    Done {
        /// The value read, written, taken or generated.
        value: Value,
        /// The position of the last change of what was read or changed.
        version: Option<LogPosition>,
    },
    /// The state forbids it; nothing changed.
    Precondition(Conflict),
}

/// Why the state forbids what was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// In a word.
    pub kind: ConflictKind,
    /// For people.
    pub message: String,
    /// What is there.
    pub current: Value,
}

/// The ways in which the state may forbid something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictKind {
    /// Another value is there than was expected, or one of another type.
    Unexpected,
    /// The queue has nothing to give.
    Empty,
    /// The account does not hold so much.
    InsufficientFunds,
}

impl Conflict {
    /// Something else is there than was expected.
    pub(super) fn unexpected(message: String, current: Value) -> Self {
        Self {
            kind: ConflictKind::Unexpected,
            message,
            current,
        }
    }
}

type Applied = Result<Value, Conflict>;

impl KeySpace {
    /// Applies the entry at `position`.
    pub fn apply(&mut self, position: LogPosition, command: &Command) -> Outcome {
        let applied = match command {
            Command::Noop => Ok(Value::Null),
            Command::Write { key, value } => self.write(position, key, value),
            Command::Cas { key, old, new } => self.compare_and_set(position, key, old, new),
            Command::Add { key, element } => self.add(position, key, element),
            Command::Increment { key, by } => self.increment(position, key, *by),
            Command::Enqueue { key, element } => self.enqueue(position, key, element),
            Command::Dequeue { key, expect } => self.dequeue(position, key, expect.as_ref()),
            Command::Drain { key } => self.drain(position, key),
            Command::Transact { expect, write } => self.transact(position, expect, write),
            Command::Transfer { from, to, amount } => self.transfer(position, from, to, *amount),
            Command::Members(members) => {
                let names = members.iter().map(|name| Value::from(name.as_str()));
                Ok(names.collect())
            }
            Command::GenerateId => {
                self.last_id += 1;
                Ok(Value::from(self.last_id))
            }
        };
        outcome(applied, Some(position))
    }

    /// Reads. An absent register is null, an absent set is empty, an absent counter is 0; an
    /// empty queue has null for a head.
    pub fn read(&self, query: &Query) -> Outcome {
        match query {
            Query::Register(key) => outcome(self.value(key).cloned(), self.version(key)),
            Query::Set(key) => {
                let set = self.find::<Elements>(key);
                let all = |set: Option<&Elements>| {
                    Value::Array(set.map_or(Vec::new(), |set| set.in_order().to_vec()))
                };
                outcome(set.map(all), self.version(key))
            }
            Query::Counter(key) => outcome(self.sum(key).map(Value::from), self.version(key)),
            Query::Head(key) => {
                let head = self.head(key).map(|head| head.cloned().unwrap_or_default());
                outcome(head, self.version(key))
            }
            Query::Registers(keys) => {
                let version = keys.iter().filter_map(|key| self.version(key)).max();
                outcome(self.values(keys).map(Value::Object), version)
            }
        }
    }

    /// What of this type a key holds; none where the key is absent.
    fn find<T: Content>(&self, key: &str) -> Result<Option<&T>, Conflict> {
        self.items.get(key).map(Item::content).transpose()
    }

    fn version(&self, key: &str) -> Option<LogPosition> {
        self.items.get(key).map(|item| item.version)
    }

    /// A register's value.
    fn value(&self, key: &str) -> Result<&Value, Conflict> {
        let register = self.find::<Register>(key)?;
        Ok(register.map_or(&Value::Null, |register| &register.0))
    }

    fn sum(&self, key: &str) -> Result<i64, Conflict> {
        Ok(self.find::<Counter>(key)?.map_or(0, |counter| counter.0))
    }

    /// What a key holds, to be changed at this position.
    fn change<T: Content>(&mut self, position: LogPosition, key: &str) -> Result<&mut T, Conflict> {
        let item = self.items.entry(key.to_owned()).or_insert_with(|| Item {
            version: position,
            stored: T::default().stored(),
        });
        item.content::<T>()?;
        item.version = position;
        Ok(T::of_mut(&mut item.stored).expect("the type was looked at"))
    }

    fn write(&mut self, position: LogPosition, key: &str, value: &Value) -> Applied {
        self.change::<Register>(position, key)?.0 = value.clone();
        Ok(value.clone())
    }

    fn compare_and_set(
        &mut self,
        position: LogPosition,
        key: &str,
        old: &Value,
        new: &Value,
    ) -> Applied {
        self.expect(key, old)?;
        self.write(position, key, new)
    }

    fn expect(&self, key: &str, expected: &Value) -> Result<(), Conflict> {
        let current = self.value(key)?;
        if current == expected {
            return Ok(());
        }
        let message = format!("`{key}` holds {current}, not {expected}");
        Err(Conflict::unexpected(message, current.clone()))
    }

    fn add(&mut self, position: LogPosition, key: &str, element: &Value) -> Applied {
        self.change::<Elements>(position, key)?.add(element);
        Ok(element.clone())
    }

    /// Answers with the new sum.
    fn increment(&mut self, position: LogPosition, key: &str, by: i64) -> Applied {
        let sum = self.sum(key)?;
        let Some(next) = sum.checked_add(by) else {
            let message = format!("`{key}` holds {sum}, and {by} more would be too much");
            return Err(Conflict::unexpected(message, Value::from(sum)));
        };
        self.change::<Counter>(position, key)?.0 = next;
        Ok(Value::from(next))
    }

    fn enqueue(&mut self, position: LogPosition, key: &str, element: &Value) -> Applied {
        let queue = self.change::<Queue>(position, key)?;
        queue.0.push_back(element.clone());
        Ok(element.clone())
    }

    /// Takes the first element, if it is the one that is expected.
    fn dequeue(&mut self, position: LogPosition, key: &str, expect: Option<&Value>) -> Applied {
        let Some(head) = self.head(key)? else {
            return Err(Conflict {
                kind: ConflictKind::Empty,
                message: format!("nothing is in `{key}`"),
                current: Value::Null,
            });
        };
        if let Some(expected) = expect.filter(|expected| *expected != head) {
            let message = format!("the first of `{key}` is {head}, not {expected}");
            return Err(Conflict::unexpected(message, head.clone()));
        }
        let first = self.change::<Queue>(position, key)?.0.pop_front();
        Ok(first.expect("the queue was not empty"))
    }

    fn head(&self, key: &str) -> Result<Option<&Value>, Conflict> {
        let queue = self.find::<Queue>(key)?;
        Ok(queue.and_then(|queue| queue.0.front()))
    }

    /// Takes all elements, the first one first.
    fn drain(&mut self, position: LogPosition, key: &str) -> Applied {
        let queue = self.change::<Queue>(position, key)?;
        Ok(std::mem::take(&mut queue.0).into_iter().collect())
    }
}

fn outcome(result: Applied, version: Option<LogPosition>) -> Outcome {
    match result {
        Ok(value) => Outcome::Done { value, version },
        Err(conflict) => Outcome::Precondition(conflict),
    }
}

#[cfg(test)]
mod tests;
