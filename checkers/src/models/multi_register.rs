//! `multi-register`: registers that are read and written together, at one moment; each absent at first.
//!
//! Accepted is our `txn` of `["r", key, value]` and `["w", key, value]`, in order, and what Knossos' users write: the same with `read` and `write` in
//! place of the letters, a function `read` or `write` whose value is a list of such, a list of `[key, value]`, or an object of values by
//! key. An operation with a key of its own reads or writes that register, or, where its value is a transaction, registers of that key's own.
//! A transaction of unknown outcome may have written, and says nothing of what it read.
//!
//! Registers that no transaction joins, however far around, are objects of their own. Each is searched ([`crate::wgl`]).

use super::{Kind, Object};
use crate::Budget;
use crate::intern::{ABSENT, Interner, Val};
use crate::linearize::Linearization;
use crate::shrink;
use crate::wgl::{Specification, Timed, search, spread};
use crate::{Prepared, words};
use schism_history::{Key, Op, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;

/// The model.
pub(super) struct MultiRegister<'h> {
    registers: BTreeMap<Name, u32>,
    values: Interner<'h>,
    /// Each value of each register that came up, by a number: what binds transactions together.
    bonds: BTreeMap<(u32, Val), u32>,
}

/// The key of the operation, where its value has keys of its own, and the register's key; `1` and `"1"` are one, as in objects.
type Name = (Option<Key>, String);

/// Reads and writes that happen at one moment, in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call(Vec<Micro>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Micro {
    writes: bool,
    register: u32,
    value: Val,
    bond: u32,
}

impl Call {
    fn bonds(&self, writes: bool) -> Vec<u32> {
        let these = self.0.iter().filter(|micro| micro.writes == writes);
        these.map(|micro| micro.bond).collect()
    }
}

impl shrink::Call for Call {
    fn unanswered(&self) -> Option<Self> {
        let writes: Vec<Micro> = self
            .0
            .iter()
            .filter(|micro| micro.writes)
            .copied()
            .collect();
        (!writes.is_empty()).then_some(Self(writes))
    }

    fn gives(&self) -> Vec<u32> {
        self.bonds(true)
    }

    fn needs(&self) -> Vec<u32> {
        self.bonds(false)
    }

    fn stays(&self) -> bool {
        false
    }
}

impl<'h> MultiRegister<'h> {
    pub(super) fn new() -> Self {
        Self {
            registers: BTreeMap::new(),
            values: Interner::new(),
            bonds: BTreeMap::new(),
        }
    }

    fn micro(&mut self, (writes, name, value): Part<'h>) -> Micro {
        let next = self.registers.len() as u32;
        let register = *self.registers.entry(name).or_insert(next);
        let value = value.map_or(ABSENT, |value| self.values.intern(value));
        let next = self.bonds.len() as u32;
        let bond = *self.bonds.entry((register, value)).or_insert(next);
        Micro {
            writes,
            register,
            value,
            bond,
        }
    }
}

impl<'h> Kind<'h> for MultiRegister<'h> {
    type Call = Call;

    fn call(&mut self, op: &Op<'h>) -> Result<Option<Call>, String> {
        let parts = parts(op)?
            .into_iter()
            .filter(|(writes, _, _)| *writes || op.is_ok());
        let micros: Vec<Micro> = parts.map(|part| self.micro(part)).collect();
        Ok((!micros.is_empty()).then_some(Call(micros)))
    }

    fn decide(&self, ops: &[Timed<Call>], budget: &Budget<'_>) -> Linearization {
        match from_nowhere(ops, self.bonds.len()) {
            Some(reader) => Linearization::Impossible(vec![reader]),
            None => search(ops, State::new(self.registers.len()), budget),
        }
    }
}

/// Who surely read what nobody can have written.
fn from_nowhere(ops: &[Timed<Call>], bonds: usize) -> Option<usize> {
    let mut written = vec![false; bonds];
    for bond in ops.iter().flat_map(|op| op.call.bonds(true)) {
        written[bond as usize] = true;
    }
    let nowhere =
        |micro: &Micro| !micro.writes && micro.value != ABSENT && !written[micro.bond as usize];
    ops.iter()
        .position(|op| op.certain() && op.call.0.iter().any(nowhere))
}

/// The objects: registers that some operation joins belong together.
pub(super) fn objects(history: &Prepared<'_>) -> Result<Vec<Object>, String> {
    let mut numbers: BTreeMap<Name, usize> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    let mut leader: Vec<usize> = Vec::new();
    let mut first: Vec<Option<usize>> = Vec::with_capacity(history.ops.len());
    for op in &history.ops {
        let parts = parts(op).map_err(|why| format!("event {}: {why}", op.index()))?;
        let mut of_op: Option<usize> = None;
        for (_, name, _) in parts {
            let register = *numbers.entry(name.clone()).or_insert_with(|| {
                names.push(said(&name));
                leader.push(leader.len());
                leader.len() - 1
            });
            let root = find(&mut leader, register);
            let joined = of_op.map_or(root, |other| find(&mut leader, other).min(root));
            if let Some(other) = of_op {
                let other = find(&mut leader, other);
                leader[other] = joined;
            }
            leader[root] = joined;
            of_op = Some(joined);
        }
        first.push(of_op);
    }
    let mut objects: BTreeMap<usize, Object> = BTreeMap::new();
    for (i, register) in first.into_iter().enumerate() {
        if let Some(register) = register {
            let root = find(&mut leader, register);
            let empty = || Object {
                name: String::new(),
                indexes: Vec::new(),
            };
            objects.entry(root).or_insert_with(empty).indexes.push(i);
        }
    }
    for (root, object) in &mut objects {
        let together = (0..names.len()).filter(|r| find(&mut leader, *r) == *root);
        object.name = listed(together.map(|r| names[r].clone()).collect());
    }
    Ok(objects.into_values().collect())
}

fn find(leader: &mut [usize], mut at: usize) -> usize {
    while leader[at] != at {
        leader[at] = leader[leader[at]];
        at = leader[at];
    }
    at
}

fn said((outer, inner): &Name) -> String {
    match outer {
        None => inner.clone(),
        Some(outer) => format!("{outer}/{inner}"),
    }
}

/// How many registers a sentence names.
const SAID: usize = 5;

fn listed(mut names: Vec<String>) -> String {
    if names.len() > SAID {
        let more = names.len() - SAID;
        names.truncate(SAID);
        names.push(format!("{more} more"));
    }
    words::list(&names)
}

/// Whether it writes; which register; the value, where there is one.
type Part<'h> = (bool, Name, Option<&'h Value>);

/// What an operation reads and writes. The answer is taken where there is one: it has what was read.
fn parts<'h>(op: &Op<'h>) -> Result<Vec<Part<'h>>, String> {
    let value = match op.result() {
        Some(value) if op.outcome() == Outcome::Ok && !value.is_null() => value,
        _ if op.f() == "read" && op.is_ok() && op.key().is_some() => &Value::Null,
        _ => op.argument(),
    };
    let default = match op.f() {
        "read" => Some(false),
        "write" => Some(true),
        _ => None,
    };
    let key = op.key().cloned();
    let named = |inner: &Value| (key.clone(), text(inner));
    let strange = || {
        let f = op.f();
        format!(
            "{value} is not what a {f} of several registers has: [[\"w\", key, value], ...], [[key, value], ...], or an object"
        )
    };
    match value {
        Value::Object(fields) => {
            let writes = default.ok_or_else(strange)?;
            let field = |(inner, value): (&String, &'h Value)| {
                (writes, (key.clone(), inner.clone()), Some(value))
            };
            Ok(fields.iter().map(field).collect())
        }
        Value::Array(parts)
            if parts.iter().all(Value::is_array) && (key.is_none() || !parts.is_empty()) =>
        {
            let part = |part: &'h Value| match part.as_array().map(Vec::as_slice) {
                Some([f, inner, value]) => {
                    let writes = match f.as_str() {
                        Some("w" | "write") => true,
                        Some("r" | "read") => false,
                        _ => return Err(strange()),
                    };
                    Ok((writes, named(inner), Some(value)))
                }
                Some([inner, value]) => {
                    let writes = default.ok_or_else(strange)?;
                    Ok((writes, named(inner), Some(value)))
                }
                _ => Err(strange()),
            };
            parts.iter().map(part).collect()
        }
        value => match key {
            Some(key) => {
                let writes = default.ok_or_else(strange)?;
                Ok(vec![(writes, (None, key.to_string()), Some(value))])
            }
            // A read that was never answered need not say of what.
            None if value.is_null() && op.outcome() != Outcome::Ok => Ok(Vec::new()),
            None => Err(strange()),
        },
    }
}

fn text(key: &Value) -> String {
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}

/// What the search knows.
struct State {
    registers: Vec<Val>,
    sum: u128,
    /// What was overwritten, for taking it back.
    before: Vec<Val>,
}

impl State {
    fn new(registers: usize) -> Self {
        Self {
            registers: vec![ABSENT; registers],
            sum: 0,
            before: Vec::new(),
        }
    }

    fn put(&mut self, register: u32, value: Val) -> Val {
        let before = std::mem::replace(&mut self.registers[register as usize], value);
        self.sum ^= cell(register, before) ^ cell(register, value);
        before
    }
}

/// A register and its value, in the sum; absent registers count for nothing.
fn cell(register: u32, value: Val) -> u128 {
    if value == ABSENT {
        return 0;
    }
    spread((u64::from(register) << 32 | u64::from(value)) ^ 1 << 62)
}

impl Specification for State {
    type Call = Call;

    fn observes(call: &Call) -> bool {
        call.0.iter().all(|micro| !micro.writes)
    }

    fn ways(&self, call: &Call, ways: &mut Vec<u32>) {
        let found = |at: usize, register: u32| {
            let own = call.0[..at].iter().rev();
            let own = own.clone().find(|m| m.writes && m.register == register);
            own.map_or(self.registers[register as usize], |m| m.value)
        };
        let fits =
            |(at, micro): (usize, &Micro)| micro.writes || found(at, micro.register) == micro.value;
        ways.extend(call.0.iter().enumerate().all(fits).then_some(0));
    }

    fn apply(&mut self, call: &Call, _: u32) {
        for micro in call.0.iter().filter(|micro| micro.writes) {
            let before = self.put(micro.register, micro.value);
            self.before.push(before);
        }
    }

    fn undo(&mut self, call: &Call, _: u32) {
        for micro in call.0.iter().filter(|micro| micro.writes).rev() {
            if let Some(before) = self.before.pop() {
                self.put(micro.register, before);
            }
        }
    }

    fn fingerprint(&self) -> u128 {
        self.sum
    }
}
