//! Which format a history is in, told by how it begins.

use crate::jsonl::Error;
use crate::{Event, History, Torn, edn, jepsen_log, jsonl};
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
pub fn read(mut input: impl BufRead + Send) -> Result<(History, edn::Losses), Error> {
    match Format::of(input.fill_buf()?) {
        Format::Jsonl => Ok((jsonl::read(input)?, edn::Losses::default())),
        Format::Edn => edn::read(input),
        Format::Log => Ok((jepsen_log::read(input)?, edn::Losses::default())),
    }
}

/// Reads events one after another, in whichever format, in bounded memory.
pub enum Reader<R> {
    /// Of JSON Lines.
    Jsonl(Box<jsonl::Reader<R>>),
    /// Of EDN.
    Edn(Box<edn::Reader<R>>),
    /// Of a log.
    Log(Box<jepsen_log::Reader<R>>),
}

impl<R: BufRead> Reader<R> {
    /// Tells the format. `tuples`: whether those in EDN are to be taken apart, see [`edn::has_tuples`].
    pub fn new(mut input: R, tuples: bool) -> Result<Self, Error> {
        Ok(match Format::of(input.fill_buf()?) {
            Format::Jsonl => Self::Jsonl(Box::new(jsonl::Reader::new(input))),
            Format::Edn => Self::Edn(Box::new(edn::Reader::new(input, tuples))),
            Format::Log => Self::Log(Box::new(jepsen_log::Reader::new(input))),
        })
    }

    /// What was cut off at the end of the file; known at the end.
    pub fn torn(&self) -> Option<&Torn> {
        match self {
            Self::Jsonl(reader) => reader.torn(),
            Self::Edn(reader) => reader.torn(),
            Self::Log(reader) => reader.torn(),
        }
    }

    /// Bytes that were read so far.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Jsonl(reader) => reader.bytes(),
            Self::Edn(reader) => reader.bytes(),
            Self::Log(reader) => reader.bytes(),
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Jsonl(reader) => reader.next(),
            Self::Edn(reader) => reader.next(),
            Self::Log(reader) => reader.next(),
        }
    }
}
