//! JSON Lines: the format of `history.jsonl`, one event a line.
//!
//! The first line may be a header, `{"format":"schism-history","version":1}`. A last line without its newline is torn: the writer was
//! stopped in the middle of it. It is left out and reported; anything else that is malformed is an [`Error`] with line and column.

use crate::blocks::{BLOCK_BYTES, Blocks};
use crate::fast;
use crate::line::{self, Names};
use crate::pairing::Pairing;
use crate::{Event, History, Malformed, Torn};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// The name in the header line.
pub const FORMAT: &str = "schism-history";
/// The version that this build writes, and the newest that it reads.
pub const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not an event.
    #[error("line {line}, column {column}: {message}; expected one event, such as {example}")]
    Line {
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
        /// What was wrong.
        message: String,
        /// What would have been right.
        example: &'static str,
    },
    /// The header names a format or version that this build does not know.
    #[error("line 1: this is {found}; this build reads {FORMAT} up to version {VERSION}")]
    Header {
        /// What it names.
        found: String,
    },
    /// The events are well-formed, and yet no history.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The same, in a file of lines.
    #[error("line {line}: {malformed}")]
    Event {
        /// From 1.
        line: u64,
        /// What is wrong with the event there.
        malformed: Malformed,
    },
}

const EXAMPLE: &str =
    r#"{"index":0,"time":1200345,"process":3,"type":"invoke","f":"write","key":"x","value":7}"#;

/// Reads a whole history: every core parses blocks of lines while this thread puts together what is parsed.
pub fn read(input: impl Read + Send) -> Result<History, Error> {
    read_with(input, cores(), BLOCK_BYTES)
}

fn read_with(input: impl Read + Send, cores: usize, block_bytes: usize) -> Result<History, Error> {
    // It only counts lines and keeps what is torn.
    let mut reader = Reader::with(io::empty(), 0, 0);
    let mut pairing = Pairing::new();
    let mut events = Vec::new();
    let mut paired: Result<(), Error> = Ok(());
    let blocks = Blocks::new(input, block_bytes);
    parse_all(blocks, cores, &mut |parsed| {
        reader.accept(parsed?);
        while let Some(block) = reader.ready.pop_front() {
            let mut block = block?;
            // Broken lines are said before what is wrong with the events.
            if paired.is_ok() {
                paired = block.pair(&mut pairing);
            }
            events.append(&mut block.events);
        }
        Ok(())
    })?;
    paired?;
    let torn = reader.torn.take();
    Ok(History { events, torn })
}

/// Parses all blocks on all cores and hands them over in order. An error of the one who takes them ends it.
fn parse_all(
    mut blocks: Blocks<impl Read + Send>,
    cores: usize,
    take: &mut dyn FnMut(io::Result<Parsed>) -> Result<(), Error>,
) -> Result<(), Error> {
    // Most histories are short: no threads for them.
    for first in [true, false] {
        let text = blocks.next()?;
        if text.is_empty() {
            return Ok(());
        }
        take(Ok(parse_block(&text, first, &mut Names::default())))?;
    }
    let blocks = Mutex::new((0_usize, blocks));
    // A few blocks ahead are enough, and bound what waits.
    let (parsed, taken) = sync_channel(4 * cores);
    thread::scope(|scope| {
        for _ in 0..cores {
            let (blocks, parsed) = (&blocks, parsed.clone());
            scope.spawn(move || {
                let mut names = Names::default();
                loop {
                    let (number, text) = {
                        let mut blocks = blocks.lock().unwrap_or_else(PoisonError::into_inner);
                        let text = blocks.1.next();
                        blocks.0 += 1;
                        (blocks.0 - 1, text)
                    };
                    let last = !matches!(&text, Ok(text) if !text.is_empty());
                    let block = text.map(|text| parse_block(&text, false, &mut names));
                    if parsed.send((number, block)).is_err() || last {
                        return;
                    }
                }
            });
        }
        drop(parsed);
        in_order(taken, take)
    })
}

/// Hands over by number; what comes too early waits.
fn in_order(
    taken: Receiver<(usize, io::Result<Parsed>)>,
    take: &mut dyn FnMut(io::Result<Parsed>) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut next, mut early) = (0, BTreeMap::new());
    for (number, block) in taken {
        early.insert(number, block);
        while let Some(block) = early.remove(&next) {
            take(block)?;
            next += 1;
        }
    }
    Ok(())
}

/// Reads events one after another, as they stand in the file, in memory for a few blocks of lines.
///
/// ```
/// use schism_history::jsonl::Reader;
///
/// let text = "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"value\":null}\n{\"process\":";
/// let mut reader = Reader::new(text.as_bytes());
/// assert_eq!(reader.next().unwrap().unwrap().f, "read");
/// assert!(reader.next().is_none() && reader.torn().is_some());
/// ```
#[derive(Debug)]
pub struct Reader<R> {
    blocks: Blocks<R>,
    /// Of each core that reads.
    names: Vec<Names>,
    /// Lines before the next block.
    lines: u64,
    /// Bytes of all blocks so far.
    bytes: u64,
    begun: bool,
    ready: VecDeque<Result<Block, Error>>,
    events: std::vec::IntoIter<Event>,
    torn: Option<Torn>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads on all cores.
    pub fn new(input: R) -> Self {
        Self::with(input, cores(), BLOCK_BYTES)
    }

    fn with(input: R, cores: usize, block_bytes: usize) -> Self {
        Self {
            blocks: Blocks::new(input, block_bytes),
            names: (0..cores).map(|_| Names::default()).collect(),
            lines: 0,
            bytes: 0,
            begun: false,
            ready: VecDeque::new(),
            events: Vec::new().into_iter(),
            torn: None,
            ended: false,
        }
    }

    /// What was cut off at the end of the file; known at the end.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// Bytes that were read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The events of the next lines; nothing at the end or after an error.
    fn next_block(&mut self) -> Option<Result<Block, Error>> {
        if self.ready.is_empty()
            && !self.ended
            && let Err(error) = self.read_blocks()
        {
            self.ended = true;
            return Some(Err(error.into()));
        }
        self.ready.pop_front()
    }

    /// A block for each core, parsed side by side and taken in order.
    fn read_blocks(&mut self) -> io::Result<()> {
        let mut texts = Vec::with_capacity(self.names.len());
        for _ in 0..self.names.len() {
            let text = self.blocks.next()?;
            self.ended |= text.is_empty();
            if self.ended {
                break;
            }
            self.bytes += text.len() as u64;
            texts.push((text, !self.begun));
            self.begun = true;
        }
        let mut work = texts.iter().zip(&mut self.names);
        let parsed: Vec<Parsed> = thread::scope(|scope| {
            let mine = work.next();
            let others: Vec<_> = work
                .map(|((text, first), names)| scope.spawn(move || parse_block(text, *first, names)))
                .collect();
            let mine = mine.map(|((text, first), names)| parse_block(text, *first, names));
            let joined = others
                .into_iter()
                .map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            mine.into_iter().chain(joined).collect()
        });
        for block in parsed {
            self.accept(block);
        }
        Ok(())
    }

    /// A block's line numbers become those of the file; nothing counts after an error.
    fn accept(&mut self, block: Parsed) {
        if matches!(self.ready.back(), Some(Err(_))) {
            return;
        }
        self.ready.push_back(Ok(Block {
            events: block.events,
            before: self.lines,
            skipped: block.skipped,
        }));
        match block.stop {
            None => {}
            Some(Stop::Torn(bytes)) => {
                self.torn = Some(Torn {
                    line: self.lines + block.lines,
                    bytes,
                });
            }
            Some(Stop::Error(mut error)) => {
                if let Error::Line { line, .. } = &mut error {
                    *line = self.lines + block.lines;
                }
                self.ready.push_back(Err(error));
                self.ended = true;
            }
        }
        self.lines += block.lines;
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.events.next() {
                return Some(Ok(event));
            }
            match self.next_block()? {
                Ok(block) => self.events = block.events.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// How many cores there are: asked once, for the answer is slow to find.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Events, and where their lines stand in the file.
#[derive(Debug)]
struct Block {
    events: Vec<Event>,
    /// Lines before it.
    before: u64,
    /// Of each line without an event (the header, empty ones): how many events came before it.
    skipped: Vec<usize>,
}

impl Block {
    fn pair(&mut self, pairing: &mut Pairing) -> Result<(), Error> {
        for (place, event) in self.events.iter_mut().enumerate() {
            if let Err(malformed) = pairing.take(event) {
                let skipped = self
                    .skipped
                    .iter()
                    .filter(|before| **before <= place)
                    .count();
                let line = self.before + (place + skipped) as u64 + 1;
                return Err(Error::Event { line, malformed });
            }
        }
        Ok(())
    }
}

/// What is in a block of lines.
struct Parsed {
    events: Vec<Event>,
    /// See [`Block`].
    skipped: Vec<usize>,
    /// How many lines there are, up to the one that stopped it.
    lines: u64,
    stop: Option<Stop>,
}

enum Stop {
    /// The last line has no end: so many bytes.
    Torn(u64),
    Error(Error),
}

fn parse_block(mut text: &[u8], first: bool, names: &mut Names) -> Parsed {
    let mut parsed = Parsed {
        events: Vec::with_capacity(text.len() / 80),
        skipped: Vec::new(),
        lines: 0,
        stop: None,
    };
    while !text.is_empty() && parsed.stop.is_none() {
        parsed.lines += 1;
        if let Some((event, rest)) = fast::parse(text, names) {
            parsed.events.push(event);
            text = rest;
            continue;
        }
        let end = memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1);
        let line;
        (line, text) = text.split_at(end);
        match parse_line(line, first && parsed.lines == 1, names) {
            Ok(Some(event)) => parsed.events.push(event),
            Ok(None) => parsed.skipped.push(parsed.events.len()),
            Err(stop) => parsed.stop = Some(stop),
        }
    }
    parsed
}

/// A line that is not of the usual form; nothing where it is empty or the header.
fn parse_line(line: &[u8], first: bool, names: &mut Names) -> Result<Option<Event>, Stop> {
    // What does not even begin as an event was not torn from one.
    let begins = line.trim_ascii_start().first().is_none_or(|b| *b == b'{');
    if line.last() != Some(&b'\n') && (begins || !first) {
        return Err(Stop::Torn(line.len() as u64));
    }
    if line.iter().all(u8::is_ascii_whitespace)
        || (first && is_header(line).map_err(Stop::Error)?)
    {
        return Ok(None);
    }
    line::parse(line, names)
        .map(Some)
        .map_err(|e| Stop::Error(not_an_event(&e)))
}

/// Reads one event, where a line is all there is.
pub fn parse_event(line: &str) -> Result<Event, Error> {
    line::parse(line.as_bytes(), &mut Names::default()).map_err(|e| not_an_event(&e))
}

/// The line's number is for those who know it.
fn not_an_event(error: &serde_json::Error) -> Error {
    Error::Line {
        line: 1,
        column: error.column() as u64,
        message: without_position(error),
        example: EXAMPLE,
    }
}

/// `serde_json` puts "at line 1 column N" behind its message; the line there is always 1, ours is not.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn is_header(line: &[u8]) -> Result<bool, Error> {
    let Ok(header) = serde_json::from_slice::<Header>(line) else {
        return Ok(false);
    };
    if header.format == FORMAT && header.version <= VERSION {
        Ok(true)
    } else {
        Err(Error::Header {
            found: format!("{} version {}", header.format, header.version),
        })
    }
}

/// Writes the header line.
pub fn write_header(mut out: impl Write) -> io::Result<()> {
    writeln!(out, r#"{{"format":"{FORMAT}","version":{VERSION}}}"#)
}

/// Writes one event as one line.
pub fn write_event(mut out: impl Write, event: &Event) -> io::Result<()> {
    serde_json::to_writer(&mut out, event)?;
    out.write_all(b"\n")
}

/// Writes a whole history, header first.
pub fn write(mut out: impl Write, history: &History) -> io::Result<()> {
    write_header(&mut out)?;
    history
        .events
        .iter()
        .try_for_each(|event| write_event(&mut out, event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventKind, Process};

    const LINES: &str = r#"{"format":"schism-history","version":1}
{"index":0,"time":1200345,"process":3,"type":"invoke","f":"write","key":"x","value":7}
{"index":1,"time":1950345,"process":3,"type":"ok","f":"write","key":"x","value":7,"node":"n2"}
{"index":2,"time":2000000,"process":"nemesis","type":"info","f":"partition","value":{"n1":["n2","n3"]}}
"#;

    #[test]
    fn reads_the_example_of_the_design_and_writes_it_back() {
        let history = read(LINES.as_bytes()).unwrap();
        assert_eq!(history.ops().len(), 1);
        assert_eq!(history.faults().next().unwrap().process, Process::Nemesis);
        let mut out = Vec::new();
        write(&mut out, &history).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), LINES);
    }

    #[test]
    fn a_torn_last_line_is_reported_and_the_rest_is_read() {
        for cut in 1..LINES.len() {
            let text = &LINES[..LINES.len() - cut];
            let history = read(text.as_bytes()).unwrap_or_else(|e| panic!("cut {cut}: {e}"));
            assert_eq!(
                history.torn.is_some(),
                !text.is_empty() && !text.ends_with('\n'),
                "cut {cut}"
            );
        }
    }

    /// However the text falls into blocks, and however many cores there are.
    #[test]
    fn blocks_make_no_difference() {
        let broken = LINES.replace(r#""f":"write","key":"x","value":7,"#, r#""f":write,"#);
        for text in [LINES, &LINES[..LINES.len() - 9], &broken, "", "\n\n", "x"] {
            let all = |cores, size| {
                let mut reader = Reader::with(text.as_bytes(), cores, size);
                let events: Vec<_> = reader
                    .by_ref()
                    .map(|e| e.map_err(|e| e.to_string()))
                    .collect();
                (events, reader.torn().cloned())
            };
            let expected = all(1, 1 << 20);
            let whole = |cores, size| {
                let read = read_with(text.as_bytes(), cores, size);
                read.map(|h| (h.events, h.torn)).map_err(|e| e.to_string())
            };
            let history = whole(1, 1 << 20);
            for size in 1..text.len() + 2 {
                assert_eq!(all(3, size), expected, "{size}: {text}");
                assert_eq!(whole(3, size), history, "{size}: {text}");
            }
        }
    }

    #[test]
    fn a_broken_line_is_named_with_its_column() {
        let text = LINES.replace(r#""f":"write","key":"x","value":7,"#, r#""f":write,"#);
        let error = read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 3, column "), "{error}");
    }

    /// Two that differ in their last digit would be one float.
    #[test]
    fn numbers_that_would_not_be_exact_are_refused() {
        let line = |value: &str| {
            let line = format!(r#"{{"process":0,"type":"invoke","f":"write","value":{value}}}"#);
            read(format!("{line}\n").as_bytes()).map_err(|e| e.to_string())
        };
        for exact in [
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "[1.5e3]",
        ] {
            assert!(line(exact).is_ok(), "{exact}");
        }
        for beyond in [
            "18446744073709551616",
            "-9223372036854775809",
            "[{\"a\":1e20}]",
        ] {
            let error = line(beyond).unwrap_err();
            assert!(
                error.starts_with("line 1, column ") && error.contains("64 bits"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_completion_of_another_key_is_refused() {
        let pair = |key: &str| {
            let text = format!(
                "{{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"x\",\"value\":1}}\n\
                 {{\"process\":0,\"type\":\"ok\",\"f\":\"write\"{key},\"value\":1}}\n"
            );
            read(text.as_bytes()).map_err(|e| e.to_string())
        };
        assert!(pair("").is_ok() && pair(",\"key\":\"x\"").is_ok());
        let error = pair(",\"key\":\"y\"").unwrap_err();
        assert!(error.starts_with("line 2: event 1: "), "{error}");
        assert!(
            error.contains("\"write of y\"") && error.contains("\"write of x\""),
            "{error}"
        );
    }

    #[test]
    fn a_newer_version_is_refused() {
        let error = read(
            r#"{"format":"schism-history","version":2}
"#
            .as_bytes(),
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("version 2"), "{error}");
    }

    #[test]
    fn missing_index_and_time_are_filled_in_by_the_place() {
        let text = r#"{"process":0,"type":"invoke","f":"read","value":null}
{"process":0,"type":"ok","f":"read","value":1}
"#;
        let history = read(text.as_bytes()).unwrap();
        assert_eq!(history.events[1].time.0, 1);
        assert_eq!(history.events[1].kind, EventKind::Ok);
    }
}
