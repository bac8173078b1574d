//! The first pass: what only the whole of a history tells.
//!
//! Of each key and each kind of operation the first one is kept, so that the ordinary way of telling what lives under a key, and which properties a history
//! is about, works on this sample as on the whole. In memory for the keys, the faults, and what never ended.

use super::digest::{self, Digest};
use crate::fixed::FixedMap;
use crate::prepared;
use schism_history::{Event, History, Key, Op, Outcome, Step, Steps, jsonl};
use serde_json::Value;
use std::collections::BTreeSet;

/// What the first pass found.
#[derive(Debug)]
pub struct Survey {
    /// A small history: everything that is no client's, and the first operation of each kind.
    pub sample: History,
    /// How many events there are.
    pub events: u64,
    /// Invocations without a completion.
    never_end: BTreeSet<u64>,
    kinds: FixedMap<Digest, ()>,
    sampled: Vec<Event>,
    bytes: u64,
    memory_bytes: u64,
}

/// About what an event takes, the texts in its value apart.
pub(super) const EVENT_BYTES: u64 = size_of::<Event>() as u64 + 32;

impl Survey {
    /// Looks at all events. Past `memory_bytes` the sample is cut, and nothing can be decided.
    pub fn new(
        events: impl Iterator<Item = Result<Event, jsonl::Error>>,
        memory_bytes: u64,
    ) -> Result<Self, jsonl::Error> {
        let mut survey = Self {
            sample: History::default(),
            events: 0,
            never_end: BTreeSet::new(),
            kinds: FixedMap::new(),
            sampled: Vec::new(),
            bytes: 0,
            memory_bytes,
        };
        let mut steps = Steps::new();
        for event in events {
            survey.events += 1;
            match steps.take(event?)? {
                Step::Begins(_) => {}
                Step::Ended(invoke, completion) => survey.look(&Op {
                    invoke: &invoke,
                    completion: Some(&completion),
                }),
                Step::Nemesis(event) => survey.sampled.push(event),
            }
        }
        for invoke in steps.open() {
            survey.never_end.insert(invoke.index);
            survey.look(&Op {
                invoke: &invoke,
                completion: None,
            });
        }
        survey.sampled.sort_by_key(|event| event.index);
        survey.sample.events = std::mem::take(&mut survey.sampled);
        Ok(survey)
    }

    fn look(&mut self, op: &Op<'_>) {
        if self.is_cut() || self.kinds.insert(kind(op), ()).is_some() {
            return;
        }
        let events = || [Some(op.invoke), op.completion].into_iter().flatten();
        self.bytes += 64 + events().map(bytes).sum::<u64>();
        self.sampled.extend(events().cloned());
    }

    /// Whether there were more kinds of operations than memory for them.
    pub(super) fn is_cut(&self) -> bool {
        self.bytes > self.memory_bytes
    }

    /// Whether the operation of this invocation has no completion.
    pub(super) fn never_ends(&self, index: u64) -> bool {
        !self.never_end.is_empty() && self.never_end.contains(&index)
    }
}

/// About what an event takes.
pub(super) fn bytes(event: &Event) -> u64 {
    EVENT_BYTES + bytes_of(&event.value)
}

fn bytes_of(value: &Value) -> u64 {
    let own = size_of::<Value>() as u64;
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(list) => list.iter().map(|v| own + bytes_of(v)).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| 48 + own + k.len() as u64 + bytes_of(v))
            .sum(),
        _ => 0,
    }
}

/// What tells an operation from others, as far as it matters to what lives under its key and to which properties are about it.
fn kind(op: &Op<'_>) -> Digest {
    let key = match op.key() {
        None => 0,
        Some(Key::Number(n)) => digest::of_words([1, n.cast_unsigned()]),
        Some(Key::Name(name)) => digest::of_bytes(name.as_bytes()),
    };
    let f = digest::of_bytes(op.f().as_bytes());
    let outcome = match op.outcome() {
        Outcome::Ok => 0,
        Outcome::Fail => 1,
        Outcome::Info => 2,
    };
    let completion = op.completion;
    let flags = u64::from(op.is_final())
        | u64::from(completion.is_some_and(|c| c.node.is_some())) << 1
        | u64::from(completion.is_some_and(|c| c.term.is_some())) << 2
        | u64::from(completion.is_some_and(|c| c.version.is_some())) << 3
        | u64::from(op.invoke.session.is_some()) << 4;
    let shape = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Object(_) => 5,
        // 6 is no answer. Lists of lists are siblings that are lists.
        Value::Array(_) => 6 + prepared::depth(value) as u64,
    };
    let error = completion.and_then(|c| c.error_kind()).unwrap_or_default();
    let error = digest::of_bytes(error.as_bytes());
    digest::of_words([
        (key >> 64) as u64,
        key as u64,
        (f >> 64) as u64,
        f as u64,
        outcome,
        flags,
        shape(op.argument()),
        op.result().map_or(6, shape),
        (error >> 64) as u64,
        error as u64,
        if op.f() == "txn" {
            form(op.argument())
        } else {
            0
        },
    ])
}

/// The functions of a transaction's parts, in order.
fn form(txn: &Value) -> u64 {
    let parts = txn.as_array().into_iter().flatten();
    let functions = parts.filter_map(|part| part.get(0).and_then(Value::as_str));
    let text = functions.fold(String::new(), |text, f| text + f + " ");
    digest::of_bytes(text.as_bytes()) as u64
}
