//! One line of a history, borrowed from the file's bytes, and how it becomes an [`Event`] without copying names over and over.

use crate::event::UNSET;
use crate::{Event, EventKind, Key, NodeId, OpError, Process, Time};
use serde::Deserialize;
use serde::de::Visitor;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// The fields of [`Event`], as they stand in the line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(default)]
    index: u64,
    time: Option<Time>,
    #[serde(borrow)]
    process: NumberOrName<'a>,
    #[serde(rename = "type")]
    kind: EventKind,
    #[serde(borrow)]
    f: Cow<'a, str>,
    #[serde(default, borrow)]
    key: Option<NumberOrName<'a>>,
    #[serde(default, deserialize_with = "exact")]
    value: Value,
    #[serde(default, borrow)]
    node: Option<Cow<'a, str>>,
    term: Option<u64>,
    session: Option<u64>,
    error: Option<OpError>,
    #[serde(rename = "final", default)]
    is_final: bool,
    version: Option<u64>,
}

/// A value all of whose numbers are what they say.
fn exact<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if is_exact(&value) {
        Ok(value)
    } else {
        let why = "a number beyond 64 bits would not be kept exactly; write it as a string";
        Err(serde::de::Error::custom(why))
    }
}

/// Whole numbers beyond 64 bits are read as floats, so that two of them may become one.
pub(crate) fn is_exact(value: &Value) -> bool {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Number(n) => !n.is_f64() || n.as_f64().is_some_and(|f| f.abs() < BEYOND),
        Value::Array(list) => list.iter().all(is_exact),
        Value::Object(fields) => fields.values().all(is_exact),
        _ => true,
    }
}

/// A whole number or a string: processes and keys are either.
enum NumberOrName<'a> {
    Number(i64),
    Name(Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for NumberOrName<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrNameVisitor)
    }
}

/// By hand: an untagged enum makes an error of every string before it tries the next form.
struct NumberOrNameVisitor;

impl<'de> Visitor<'de> for NumberOrNameVisitor {
    type Value = NumberOrName<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number or a string")
    }

    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Self::Value, E> {
        Ok(NumberOrName::Number(n))
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Self::Value, E> {
        let small = i64::try_from(n).map_err(|_| E::custom("a number below 2^63 is expected"));
        small.map(NumberOrName::Number)
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(NumberOrName::Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(NumberOrName::Name(Cow::Owned(name.to_owned())))
    }
}

/// The functions of our own workloads and faults: their names need no memory.
const KNOWN: &[&str] = &[
    "read",
    "write",
    "cas",
    "add",
    "remove",
    "generate",
    "enqueue",
    "dequeue",
    "drain",
    "transfer",
    "txn",
    "acquire",
    "release",
    "ask",
    "answer",
    "insert",
    "delete",
    "partition",
    "kill",
    "pause",
    "phase",
    "recovery",
    "status",
    "arena",
    "usage",
];

/// A known function's own name.
pub(crate) fn known(f: &str) -> Option<&'static str> {
    KNOWN.iter().copied().find(|known| *known == f)
}

/// Names that were seen before, to be shared.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Most histories have few: these are found faster by looking at each.
    first: Vec<Arc<str>>,
    others: HashSet<Arc<str>>,
}

/// How many names are looked at one after another.
const NAMES_FIRST: usize = 16;
/// How many names are remembered: past that, what is not shared only costs memory where it stands.
const NAMES_MAX: usize = 1 << 16;

impl Names {
    pub(crate) fn share(&mut self, name: &str) -> Arc<str> {
        let first = || self.first.iter().find(|known| ***known == *name);
        if let Some(known) = first().or_else(|| self.others.get(name)) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        if self.first.len() < NAMES_FIRST {
            self.first.push(Arc::clone(&name));
        } else if self.others.len() < NAMES_MAX {
            self.others.insert(Arc::clone(&name));
        }
        name
    }
}

fn process(process: &NumberOrName<'_>) -> serde_json::Result<Process> {
    let known = match process {
        NumberOrName::Number(n) => u64::try_from(*n).ok().map(Process::Client),
        NumberOrName::Name(name) => (name == "nemesis").then_some(Process::Nemesis),
    };
    known.ok_or_else(|| {
        serde::de::Error::custom("a process is a whole number from 0, or \"nemesis\"")
    })
}

/// Reads one event; `names` remembers what it shares.
pub(crate) fn parse(line: &[u8], names: &mut Names) -> serde_json::Result<Event> {
    let line: Line<'_> = serde_json::from_slice(line)?;
    let process = process(&line.process)?;
    let f = known(&line.f).map_or_else(|| Cow::Owned(line.f.into_owned()), Cow::Borrowed);
    Ok(Event {
        index: line.index,
        time: line.time.unwrap_or(UNSET),
        process,
        kind: line.kind,
        f,
        key: line.key.map(|key| match key {
            NumberOrName::Number(n) => Key::Number(n),
            NumberOrName::Name(name) => Key::Name(names.share(&name)),
        }),
        value: line.value,
        node: line.node.map(|node| NodeId(names.share(&node))),
        term: line.term,
        session: line.session,
        error: line.error.map(Box::new),
        is_final: line.is_final,
        version: line.version,
    })
}
