//! JSON Lines: the format of `history.jsonl`, one event a line.
//!
//! The first line may be a header, `{"format":"schism-history","version":1}`. A last line without its newline is torn: the writer was
//! stopped in the middle of it. It is left out and reported; anything else that is malformed is an [`Error`] with line and column.

use crate::fast;
use crate::line::{self, Names};
use crate::{Event, History, Malformed, Torn};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};

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
}

const EXAMPLE: &str =
    r#"{"index":0,"time":1200345,"process":3,"type":"invoke","f":"write","key":"x","value":7}"#;

/// Reads a whole history.
pub fn read(mut input: impl BufRead) -> Result<History, Error> {
    let mut events = Vec::new();
    let mut torn = None;
    let mut names = Names::default();
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let bytes = input.read_until(b'\n', &mut line)? as u64;
        if bytes == 0 {
            break;
        }
        number += 1;
        // What does not even begin as an event was not torn from one.
        let begins = line.trim_ascii_start().first().is_none_or(|b| *b == b'{');
        if line.last() != Some(&b'\n') && (begins || number > 1) {
            torn = Some(Torn {
                line: number,
                bytes,
            });
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) || (number == 1 && is_header(&line)?) {
            continue;
        }
        events.push(parse_line(&line, number, &mut names)?);
    }
    let mut history = History::new(events)?;
    history.torn = torn;
    Ok(history)
}

/// Reads one event, where a line is all there is.
pub fn parse_event(line: &str) -> Result<Event, Error> {
    parse_line(line.as_bytes(), 1, &mut Names::default())
}

fn parse_line(line: &[u8], number: u64, names: &mut Names) -> Result<Event, Error> {
    if let Some(event) = fast::parse(line, names) {
        return Ok(event);
    }
    line::parse(line, names).map_err(|e| Error::Line {
        line: number,
        column: e.column() as u64,
        message: without_position(&e),
        example: EXAMPLE,
    })
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

    #[test]
    fn a_broken_line_is_named_with_its_column() {
        let text = LINES.replace(r#""f":"write","key":"x","value":7,"#, r#""f":write,"#);
        let error = read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 3, column "), "{error}");
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
