//! One record of the log: `length | crc32 | term | position | payload`, little-endian.
//!
//! The checksum covers everything but itself, the length too, so that a flipped length is found as well.

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 4 + 4 + 8 + 8;
/// A longer payload is taken for a damaged length.
const PAYLOAD_MAX: u32 = 256 << 20;

/// A log entry as the disk sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its term.
    pub term: u64,
    /// Its place; the log has no gaps.
    pub position: u64,
    /// The rest.
    pub payload: Vec<u8>,
}

/// What the bytes at one place are.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole record, and how many bytes it took.
    Whole(Record, usize),
    /// Nothing more.
    End,
    /// The file ends inside the record: a torn write.
    Torn,
    /// The checksum does not match: a torn or a damaged record.
    Damaged,
}

/// Appends the record's bytes to `out`.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    let length = u32::try_from(record.payload.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    let (term, position) = (record.term.to_le_bytes(), record.position.to_le_bytes());
    let crc = checksum(&[&length, &term, &position, &record.payload]);
    for part in [
        &length[..],
        &crc.to_le_bytes(),
        &term,
        &position,
        &record.payload,
    ] {
        out.extend_from_slice(part);
    }
}

/// Reads the record at the beginning of `bytes`.
pub fn decode(bytes: &[u8]) -> Decoded {
    if bytes.is_empty() {
        return Decoded::End;
    }
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Decoded::Torn;
    };
    let length = u32_at(header, 0);
    if length > PAYLOAD_MAX {
        return Decoded::Damaged;
    }
    let Some(payload) = rest.get(..length as usize) else {
        return Decoded::Torn;
    };
    if checksum(&[&header[..4], &header[8..], payload]) != u32_at(header, 4) {
        return Decoded::Damaged;
    }
    let (term, position) = (u64_at(header, 8), u64_at(header, 16));
    let record = Record {
        term,
        position,
        payload: payload.to_vec(),
    };
    Decoded::Whole(record, HEADER_BYTES + payload.len())
}

pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The number at `offset`, which the caller has checked to be inside.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes[offset..offset + 4]
        .iter()
        .rev()
        .fold(0, |n, byte| (n << 8) | u32::from(*byte))
}

/// The number at `offset`, which the caller has checked to be inside.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    bytes[offset..offset + 8]
        .iter()
        .rev()
        .fold(0, |n, byte| (n << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(term: u64, position: u64, payload: Vec<u8>) {
            let record = Record { term, position, payload };
            let mut bytes = Vec::new();
            encode(&record, &mut bytes);
            let size = bytes.len();
            prop_assert_eq!(decode(&bytes), Decoded::Whole(record, size));
        }

        #[test]
        fn any_flipped_bit_is_found(payload: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8) {
            let record = Record { term: 3, position: 9, payload };
            let mut bytes = Vec::new();
            encode(&record, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(!matches!(decode(&bytes), Decoded::Whole(..)));
        }
    }
}
