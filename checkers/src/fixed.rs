//! A hash map that hashes the same way in every run, and cannot be iterated.
//!
//! The standard `HashMap` is seeded at random; whatever is read out of it in order differs from run to run. This one has a
//! fixed hasher and no iterator, so that it can only be used where order does not matter. Keys come from histories that the
//! user recorded: nobody gains by crafting collisions.

#![expect(
    clippy::disallowed_types,
    reason = "this wrapper is what makes it safe: fixed hasher, no iteration"
)]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A map with a fixed hasher and without iteration.
#[derive(Debug, Clone)]
pub(crate) struct FixedMap<K, V>(HashMap<K, V, BuildHasherDefault<Mixer>>);

impl<K: Hash + Eq, V> Default for FixedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Hash + Eq, V> FixedMap<K, V> {
    pub(crate) fn new() -> Self {
        Self(HashMap::default())
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// `SplitMix64`'s finalizer over every word that is written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mixer(u64);

/// `SplitMix64`'s finalizer: each bit of the input changes about half of the output.
pub(crate) fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word);
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word.cast_unsigned());
    }

    fn write_u128(&mut self, word: u128) {
        self.write_u64((word >> 64) as u64 ^ word as u64);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}
