//! Values as 128 bits: equal ones get equal numbers, and different ones do not, as far as a history can show. What a collision made look like a
//! violation would not be confirmed by the ordinary checker, which compares the values themselves.

use crate::fixed::mix;
use serde_json::Value;

/// Stands for a value.
pub(crate) type Digest = u128;

/// JSON null.
pub(crate) const NULL: Digest = 0;

/// The digest of a value; those of equal JSON texts are equal, as in [`crate::intern`].
pub(crate) fn of_value(value: &Value) -> Digest {
    if value.is_null() {
        return NULL;
    }
    match value.as_i64() {
        Some(n) => of_words([1, n.cast_unsigned()]),
        None => of_bytes(value.to_string().as_bytes()),
    }
}

/// The digest of a text.
pub(crate) fn of_bytes(bytes: &[u8]) -> Digest {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    of_words([2, bytes.len() as u64].into_iter().chain(words))
}

/// The digest of numbers in this order.
pub(crate) fn of_words(words: impl IntoIterator<Item = u64>) -> Digest {
    let (mut a, mut b) = (0x9E37_79B9_7F4A_7C15_u64, 0xC2B2_AE3D_27D4_EB4F_u64);
    for word in words {
        a = mix(a ^ word);
        b = mix(b.rotate_left(29) ^ word).wrapping_add(a);
    }
    u128::from(a) << 64 | u128::from(b) | 1
}
