//! Values of a history as small numbers: equal values get equal numbers, and comparing them costs nothing.
//!
//! JSON null is [`ABSENT`]. Values are equal when their JSON texts are (`1` and `1.0` differ, as they do on disk).

use crate::fixed::FixedMap;
use serde_json::Value;

/// A value's number, dense from 0 in the order of first sight.
pub type Val = u32;

/// The value of a register that was never written, or deleted: JSON null.
pub const ABSENT: Val = 0;

/// Gives each distinct value a number.
#[derive(Debug, Clone)]
pub(crate) struct Interner<'h> {
    numbers: FixedMap<i64, Val>,
    texts: FixedMap<String, Val>,
    values: Vec<&'h Value>,
}

impl<'h> Interner<'h> {
    pub(crate) fn new() -> Self {
        Self {
            numbers: FixedMap::new(),
            texts: FixedMap::new(),
            values: vec![&Value::Null],
        }
    }

    /// The number of `value`, a new one at first sight.
    pub(crate) fn intern(&mut self, value: &'h Value) -> Val {
        if value.is_null() {
            return ABSENT;
        }
        let next = self.values.len() as Val;
        let known = match value.as_i64() {
            Some(n) => known_or(&mut self.numbers, n, next),
            None => known_or(&mut self.texts, value.to_string(), next),
        };
        if known == next {
            self.values.push(value);
        }
        known
    }

    /// The number that `value` was given before.
    pub(crate) fn known(&self, value: &Value) -> Option<Val> {
        if value.is_null() {
            return Some(ABSENT);
        }
        let number = value.as_i64().map(|n| self.numbers.get(&n));
        number
            .unwrap_or_else(|| self.texts.get(&value.to_string()))
            .copied()
    }

    /// How many numbers were given, [`ABSENT`] included.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The value behind a number.
    pub(crate) fn value(&self, val: Val) -> &'h Value {
        self.values[val as usize]
    }
}

fn known_or<K: std::hash::Hash + Eq>(map: &mut FixedMap<K, Val>, key: K, next: Val) -> Val {
    if let Some(&known) = map.get(&key) {
        return known;
    }
    map.insert(key, next);
    next
}
