//! Something for each key of one shape.

use crate::fixed::FixedMap;
use crate::{Prepared, Shape};
use schism_history::Key;

/// The keys of one shape, each with something of its own.
pub(super) struct Keys<'s, T> {
    numbers: FixedMap<Option<&'s Key>, usize>,
    pub(super) all: Vec<(Option<&'s Key>, T)>,
}

impl<'s, T: Default> Keys<'s, T> {
    pub(super) fn new(survey: &'s Prepared<'_>, shape: Shape) -> Self {
        let mut keys = Self {
            numbers: FixedMap::new(),
            all: Vec::new(),
        };
        for keyed in survey.keys_of(shape) {
            keys.numbers.insert(keyed.key, keys.all.len());
            keys.all.push((keyed.key, T::default()));
        }
        keys
    }
}

impl<T> Keys<'_, T> {
    pub(super) fn get_mut(&mut self, key: Option<&Key>) -> Option<&mut T> {
        let number = self.number(key)?;
        Some(&mut self.all[number].1)
    }

    pub(super) fn number(&self, key: Option<&Key>) -> Option<usize> {
        self.numbers.get(&key).copied()
    }
}
