//! Which format a history is in, told by how it begins.

use crate::jsonl::Error;
use crate::{History, edn, jepsen_log, jsonl};
use std::io::BufRead;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Ours: one JSON object a line.
    Jsonl,
    /// Jepsen's `history.edn`.
    Edn,
    /// Jepsen's log of operations.
    Log,
}

impl Format {
    /// The format of a history that begins with these bytes.
    ///
    /// ```
    /// use schism_history::Format;
    /// assert_eq!(Format::of(b"{\"process\":0"), Format::Jsonl);
    /// assert_eq!(Format::of(b"[{:process 0"), Format::Edn);
    /// ```
    pub fn of(beginning: &[u8]) -> Self {
        let text = beginning.trim_ascii_start();
        if text.starts_with(jepsen_log::PREFIX.as_bytes()) {
            return Self::Log;
        }
        match text {
            [b'{', rest @ ..] => match rest.trim_ascii_start().first() {
                Some(b':' | b',') => Self::Edn,
                _ => Self::Jsonl,
            },
            [b'[' | b'(' | b'#' | b';', ..] => Self::Edn,
            _ => Self::Jsonl,
        }
    }
}

/// Reads a history in whichever format it is, and says what could not be kept.
pub fn read(mut input: impl BufRead) -> Result<(History, edn::Losses), Error> {
    match Format::of(input.fill_buf()?) {
        Format::Jsonl => Ok((jsonl::read(input)?, edn::Losses::default())),
        Format::Edn => edn::read(input),
        Format::Log => Ok((jepsen_log::read(input)?, edn::Losses::default())),
    }
}
