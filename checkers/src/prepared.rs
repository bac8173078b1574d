//! A history made ready once for all properties: operations paired, keys sorted by what lives there, faults and phases parsed.

use crate::fault::{self, Driver, Fault, Phase};
use crate::fixed::FixedMap;
use crate::models::Model;
use crate::register::RegisterOp;
use schism_history::{Event, History, Key, Op, Time};
use serde_json::Value;

/// What lives under a key, told by the functions that clients call on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `read`, `write`, `cas`.
    Register,
    /// `add`, and `read` that returns lists.
    Set,
    /// `write`, and `read` that returns a list of what was written: what no other write had seen (siblings), or all of it.
    Siblings,
    /// `add`, and `read` that returns rows with `val` and `sts`.
    Rows,
    /// `write` of a key's parts one after another, and `read` that returns the key and the list of them.
    Subkeys,
    /// The same as a set, with `remove`.
    RemovableSet,
    /// `add`, and `read` that returns numbers.
    Counter,
    /// `enqueue`, `dequeue`, `drain`.
    Queue,
    /// `acquire`, `release`.
    Mutex,
    /// `transfer`, and `read` of all accounts.
    Bank,
    /// `txn`: reads and writes of several keys at once.
    Transactions,
    /// `insert`, `delete`, and `read` of a text.
    Text,
    /// `ask` of a question, `answer` of `{"q": question, "a": answer}`, and `read` of the list of both: a question is there as it was asked, an answer as that
    /// object. A key is a part (a partition), say `questions` and `answers`; a read without one returns all parts.
    Questions,
    /// Anything else.
    Other,
}

/// The operations on one key.
#[derive(Debug, Clone)]
pub struct Keyed<'h> {
    /// The key; `None` where the operations name none.
    pub key: Option<&'h Key>,
    /// What lives there.
    pub shape: Shape,
    /// Indexes into [`Prepared::ops`], ordered by invocation.
    pub ops: Vec<usize>,
}

/// A history, with everything that several properties need.
#[derive(Debug)]
pub struct Prepared<'h> {
    /// The history itself.
    pub history: &'h History,
    /// The clients' operations, ordered by invocation.
    pub ops: Vec<Op<'h>>,
    /// The same by key, in the order of keys.
    pub keys: Vec<Keyed<'h>>,
    /// The events that are not the clients': the nemesis' and the driver's.
    pub nemesis: Vec<&'h Event>,
    /// The faults, in order of injection.
    pub faults: Vec<Fault>,
    /// What the driver said.
    pub driver: Driver<'h>,
    /// As what `linearizable` checks it, where somebody says so; else what lives under a key decides.
    pub model: Option<Model>,
}

impl<'h> Prepared<'h> {
    /// Pairs, sorts and parses.
    pub fn new(history: &'h History) -> Self {
        let ops = history.ops();
        let keys = by_key(&ops);
        let nemesis: Vec<&Event> = history.faults().collect();
        Self {
            history,
            ops,
            keys,
            faults: fault::faults(&nemesis),
            driver: fault::driver(&nemesis),
            nemesis,
            model: None,
        }
    }

    /// The same, to be checked by `linearizable` as this.
    #[must_use]
    pub fn with_model(mut self, model: Option<Model>) -> Self {
        self.model = model;
        self
    }

    /// The same, where only a part of the history is there and the whole tells what lives under a key.
    #[must_use]
    pub fn with_shapes_of(mut self, whole: &Prepared<'_>) -> Self {
        for keyed in &mut self.keys {
            if let Ok(at) = whole.keys.binary_search_by_key(&keyed.key, |k| k.key) {
                keyed.shape = whole.keys[at].shape;
            }
        }
        self
    }

    /// The operation behind one on a register.
    pub(crate) fn op(&self, op: &RegisterOp) -> &Op<'h> {
        &self.ops[op.place as usize]
    }

    /// The keys of one shape.
    pub fn keys_of(&self, shape: Shape) -> impl Iterator<Item = &Keyed<'h>> {
        self.keys.iter().filter(move |k| k.shape == shape)
    }

    /// Whether any key has this shape.
    pub fn has(&self, shape: Shape) -> bool {
        self.keys_of(shape).next().is_some()
    }

    /// The phase that an operation belongs to, by its invocation.
    pub fn phase(&self, op: &Op<'_>) -> Phase {
        if op.is_final() {
            Phase::Final
        } else {
            self.phase_at(op.start())
        }
    }

    /// The phase that a moment belongs to.
    pub fn phase_at(&self, time: Time) -> Phase {
        match self.faults.first() {
            None => Phase::Before,
            Some(first) if time < first.inject => Phase::Before,
            Some(_) if self.faults.iter().any(|f| f.in_force(time)) => Phase::During,
            Some(_) if self.faults.iter().all(|f| f.inject <= time) => Phase::After,
            Some(_) => Phase::Between,
        }
    }

    /// The end of the last fault: `None` without faults, infinity when one was never healed.
    pub fn last_heal(&self) -> Option<Time> {
        self.faults.iter().map(Fault::end).max()
    }

    /// The faults in force at a moment.
    pub fn faults_at(&self, time: Time) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |f| f.in_force(time))
    }

    /// Whether the target had recovered when its replicas were read, as far as the history says.
    pub fn recovered(&self) -> bool {
        let recovery = self.driver.recovery;
        recovery.is_none_or(|e| e.value["recovered"].as_bool() == Some(true))
    }

    /// Whether a driver of ours wrote it: a bare file has neither phases nor faults of our kind.
    pub fn is_run(&self) -> bool {
        !self.faults.is_empty() || !self.driver.phases.is_empty()
    }
}

fn by_key<'h>(ops: &[Op<'h>]) -> Vec<Keyed<'h>> {
    let mut numbers: FixedMap<Option<&'h Key>, usize> = FixedMap::new();
    let mut groups: Vec<(Option<&'h Key>, Vec<usize>)> = Vec::new();
    for (i, op) in ops.iter().enumerate() {
        let key = op.key();
        let number = numbers.get(&key).copied().unwrap_or(groups.len());
        if number == groups.len() {
            numbers.insert(key, number);
            groups.push((key, Vec::new()));
        }
        groups[number].1.push(i);
    }
    groups.sort_by_key(|(key, _)| *key);
    let keyed = |(key, indexes): (_, Vec<usize>)| Keyed {
        key,
        shape: shape(ops, &indexes),
        ops: indexes,
    };
    let mut keys: Vec<Keyed<'h>> = groups.into_iter().map(keyed).collect();
    if keys.iter().any(|k| k.shape == Shape::Questions) {
        // A part may be read under a name under which nothing is put.
        let only_read = |k: &&mut Keyed<'_>| k.ops.iter().all(|&i| ops[i].f() == "read");
        for part in keys.iter_mut().filter(only_read) {
            part.shape = Shape::Questions;
        }
    }
    keys
}

/// A counter has `add` and `read` as well: its reads are numbers. A key that is only read is a set if it returns a list, and a bank if it
/// returns accounts with their balances.
fn shape(ops: &[Op<'_>], indexes: &[usize]) -> Shape {
    let seen = Seen::new(indexes.iter().map(|&i| &ops[i]));
    let all = |allowed: &[&str]| seen.functions.iter().all(|f| allowed.contains(f));
    let any = |f: &str| seen.functions.contains(&f);
    let adds = any("add");
    let writes = any("write") || any("cas");
    let (lists, accounts) = (seen.lists, seen.objects);
    let numbers = || !(lists || accounts || seen.texts || seen.others);
    let texts = || !(lists || accounts || seen.numbers || seen.others);
    let only_lists = || !(accounts || seen.numbers || seen.texts || seen.others);
    if all(&["add", "read"]) && seen.rows {
        Shape::Rows
    } else if all(&["add", "read"]) && (adds || lists) && only_lists() {
        Shape::Set
    } else if all(&["read", "write"]) && lists && are_subkeys(ops, indexes) {
        Shape::Subkeys
    } else if all(&["read", "write"]) && writes && lists && returns_siblings(ops, indexes) {
        Shape::Siblings
    } else if all(&["read", "write", "cas"]) && (writes || !(lists || accounts)) {
        Shape::Register
    } else if all(&["add", "remove", "read"]) && any("remove") && only_lists() {
        Shape::RemovableSet
    } else if all(&["add", "read"]) && adds && numbers() {
        Shape::Counter
    } else if all(&["enqueue", "dequeue", "drain"]) {
        Shape::Queue
    } else if all(&["acquire", "release"]) {
        Shape::Mutex
    } else if all(&["read", "transfer"]) && (any("transfer") || accounts) {
        Shape::Bank
    } else if all(&["insert", "delete", "read"]) && (any("insert") || any("delete")) && texts() {
        Shape::Text
    } else if all(&["ask", "answer", "read"]) && (any("ask") || any("answer")) && only_lists() {
        Shape::Questions
    } else if all(&["txn"]) {
        Shape::Transactions
    } else {
        Shape::Other
    }
}

/// A row with a value and a timestamp, or a list of such.
fn has_rows(value: &Value) -> bool {
    let is_row = |v: &Value| v.get("val").is_some() && v.get("sts").is_some();
    is_row(value)
        || value
            .as_array()
            .and_then(|list| list.first())
            .is_some_and(is_row)
}

/// Whether every read asked for a key and got that key and a list, as in Jepsen's sequential.
fn are_subkeys(ops: &[Op<'_>], indexes: &[usize]) -> bool {
    let mut reads = indexes
        .iter()
        .map(|&i| &ops[i])
        .filter(|op| op.f() == "read");
    reads.all(|op| {
        let asked = !op.argument().is_null();
        asked
            && op
                .result()
                .is_none_or(|v| v.get(0) == Some(op.argument()) && v[1].is_array())
    })
}

/// Whether reads return lists of what was written: where lists are written (carts), lists of lists. Some answer with the value alone where there is
/// but one.
fn returns_siblings(ops: &[Op<'_>], indexes: &[usize]) -> bool {
    let of = |f: &'static str| {
        indexes
            .iter()
            .map(|&i| &ops[i])
            .filter(move |op| op.f() == f)
    };
    let written = of("write").map(|op| depth(op.argument())).max();
    let read = of("read").filter_map(Op::result).map(depth).max();
    read.unwrap_or(0) > written.unwrap_or(0)
}

/// How many lists stand inside one another.
pub(crate) fn depth(value: &Value) -> usize {
    value
        .as_array()
        .map_or(0, |list| 1 + list.iter().map(depth).max().unwrap_or(0))
}

/// What is told by all operations on a key together, looked at once.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one kind of value, and any mix may be there"
)]
struct Seen<'h> {
    /// Each once.
    functions: Vec<&'h str>,
    /// What reads returned, other than null.
    lists: bool,
    objects: bool,
    numbers: bool,
    texts: bool,
    others: bool,
    /// Rows with a value and a timestamp, added or read.
    rows: bool,
}

impl<'h> Seen<'h> {
    fn new<'o>(ops: impl Iterator<Item = &'o Op<'h>>) -> Self
    where
        'h: 'o,
    {
        let mut seen = Self::default();
        for op in ops {
            let f = op.f();
            if !seen.functions.contains(&f) {
                seen.functions.push(f);
            }
            seen.rows |= op.result().is_some_and(|v| !v.is_number() && has_rows(v));
            if f == "read" {
                match op.result() {
                    None | Some(Value::Null) => {}
                    Some(Value::Array(_)) => seen.lists = true,
                    Some(Value::Object(_)) => seen.objects = true,
                    Some(Value::Number(_)) => seen.numbers = true,
                    Some(Value::String(_)) => seen.texts = true,
                    Some(_) => seen.others = true,
                }
            }
        }
        seen
    }
}
