//! Transactions: what each read of the state that others made, and what it wrote.
//!
//! Micro-operations are Elle's: `["r", k, v]`, `["w", k, v]`, `["append", k, v]`. A read after an own write of the same key says nothing of
//! others; after own appends the list without these does. Reads of a transaction without an answer are not known, its writes may have happened.

use crate::budget::STEPS;
use crate::intern::{Interner, Val};
use crate::{Budget, Prepared, Shape, words};
use schism_history::{Op, Outcome};
use serde_json::Value;

/// What a read returned of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read<'p> {
    pub(crate) key: Val,
    pub(crate) value: &'p Value,
    /// How many elements at its end are the transaction's own.
    own: usize,
}

impl<'p> Read<'p> {
    /// The list that others had made; null is an empty one.
    pub(crate) fn list(&self) -> &'p [Value] {
        let list = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        &list[..list.len() - self.own]
    }
}

/// A value that a transaction puts under a key, or appends to its list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write<'p> {
    pub(crate) key: Val,
    pub(crate) value: &'p Value,
    pub(crate) append: bool,
}

/// One transaction that may have happened.
#[derive(Debug)]
pub(crate) struct Txn<'p> {
    pub(crate) op: &'p Op<'p>,
    pub(crate) reads: Vec<Read<'p>>,
    pub(crate) writes: Vec<Write<'p>>,
}

/// The parts of a transaction, each with its function, key and value; nothing where one of them is none.
pub(crate) fn parts<'p>(op: &Op<'p>) -> Option<&'p [Value]> {
    let parts = op.result().unwrap_or(op.argument()).as_array()?;
    let is_part = |part: &Value| {
        let known = matches!(part[0].as_str(), Some("r" | "w" | "append"));
        known && part.as_array().is_some_and(|part| part.len() == 3)
    };
    parts.iter().all(is_part).then_some(parts)
}

/// All of them, ordered by invocation.
#[derive(Debug)]
pub(crate) struct Transactions<'p> {
    pub(crate) all: Vec<Txn<'p>>,
    pub(crate) keys: Interner<'p>,
    /// An operation that is no transaction, in words.
    pub(crate) strange: Option<String>,
}

impl<'p> Transactions<'p> {
    /// Those up to the moment at which the time is up: then nothing can be concluded from them.
    pub(crate) fn new(history: &'p Prepared<'_>, budget: &Budget<'_>) -> Self {
        let keyed = history.keys_of(Shape::Transactions);
        let mut ops: Vec<&'p Op<'p>> = keyed
            .flat_map(|k| &k.ops)
            .map(|&i| &history.ops[i])
            .collect();
        ops.sort_by_key(|op| op.index());
        Self::of(ops, budget)
    }

    /// Of these, ordered by invocation.
    pub(crate) fn of(ops: Vec<&'p Op<'p>>, budget: &Budget<'_>) -> Self {
        let mut transactions = Self {
            all: Vec::new(),
            keys: Interner::new(),
            strange: None,
        };
        let ops = ops.into_iter().filter(|op| op.outcome() != Outcome::Fail);
        for (done, op) in ops.enumerate() {
            if done.is_multiple_of(STEPS) && budget.is_exhausted() {
                break;
            }
            let Some(txn) = transactions.parse(op) else {
                let why = || {
                    format!(
                        "event {}: a txn is a list of [f, key, value], with f one of r, w and append",
                        op.index()
                    )
                };
                transactions.strange.get_or_insert_with(why);
                continue;
            };
            transactions.all.push(txn);
        }
        transactions
    }

    fn parse(&mut self, op: &'p Op<'p>) -> Option<Txn<'p>> {
        let (mut reads, mut writes): (Vec<Read<'p>>, Vec<Write<'p>>) = (Vec::new(), Vec::new());
        for micro in op.result().unwrap_or(op.argument()).as_array()? {
            let [f, key, value] = micro.as_array()?.as_slice() else {
                return None;
            };
            let key = self.keys.intern(key);
            match f.as_str()? {
                "r" if op.is_ok() => reads.extend(read(key, value, &writes)),
                "r" => {}
                "w" => writes.push(Write {
                    key,
                    value,
                    append: false,
                }),
                "append" => writes.push(Write {
                    key,
                    value,
                    append: true,
                }),
                _ => return None,
            }
        }
        Some(Txn { op, reads, writes })
    }

    /// A key in a sentence.
    pub(crate) fn key(&self, key: Val) -> String {
        let key = self.keys.value(key);
        key.as_str()
            .map_or_else(|| words::value(key), str::to_owned)
    }

    /// A transaction in a sentence.
    pub(crate) fn noun(&self, txn: usize) -> String {
        const LONG: usize = 120;
        let op = self.all[txn].op;
        let what = op.result().unwrap_or(op.argument()).to_string();
        if what.len() > LONG {
            words::noun_short(op)
        } else {
            format!("{}'s {what} ({})", op.process(), words::when(op))
        }
    }
}

/// What a read says of others, after what its transaction had written before.
fn read<'p>(key: Val, value: &'p Value, writes: &[Write<'p>]) -> Option<Read<'p>> {
    let own: Vec<&Write<'_>> = writes.iter().filter(|w| w.key == key).collect();
    if own.iter().any(|w| !w.append) {
        return None;
    }
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let ends = list.len() >= own.len()
        && list[list.len() - own.len()..]
            .iter()
            .eq(own.iter().map(|w| w.value));
    ends.then_some(Read {
        key,
        value,
        own: own.len(),
    })
}
