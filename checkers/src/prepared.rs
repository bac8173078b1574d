//! A history made ready once for all properties: operations paired, keys sorted by what lives there, faults and phases parsed.

use crate::fault::{self, Driver, Fault, Phase};
use crate::fixed::FixedMap;
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
    /// The same, with `remove`.
    RemovableSet,
    /// `add`, and `read` that returns numbers.
    Counter,
    /// `enqueue`, `dequeue`, `drain`.
    Queue,
    /// `transfer`, and `read` of all accounts.
    Bank,
    /// `txn`: reads and writes of several keys at once.
    Transactions,
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
        }
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
    groups.into_iter().map(keyed).collect()
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
    let numbers = || !(lists || accounts || seen.others);
    let only_lists = || !(accounts || seen.numbers || seen.others);
    if all(&["add", "read"]) && (adds || lists) && only_lists() {
        Shape::Set
    } else if all(&["read", "write", "cas"]) && (writes || !(lists || accounts)) {
        Shape::Register
    } else if all(&["add", "remove", "read"]) && any("remove") && only_lists() {
        Shape::RemovableSet
    } else if all(&["add", "read"]) && adds && numbers() {
        Shape::Counter
    } else if all(&["enqueue", "dequeue", "drain"]) {
        Shape::Queue
    } else if all(&["read", "transfer"]) && (any("transfer") || accounts) {
        Shape::Bank
    } else if all(&["txn"]) {
        Shape::Transactions
    } else {
        Shape::Other
    }
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
    others: bool,
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
            if f == "read" {
                match op.result() {
                    None | Some(Value::Null) => {}
                    Some(Value::Array(_)) => seen.lists = true,
                    Some(Value::Object(_)) => seen.objects = true,
                    Some(Value::Number(_)) => seen.numbers = true,
                    Some(_) => seen.others = true,
                }
            }
        }
        seen
    }
}
