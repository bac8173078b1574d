//! Jepsen's log of operations, as the oldest published histories have it: `INFO  jepsen.util - 3\t:invoke\t:write\t4`, one a line.
//!
//! There are no times: the number of the line stands in. An unknown outcome has `:timed-out` in place of its value. A failed `cas` there means that the
//! register differed from the expected value at some moment of its interval, which our histories say by the error kind `precondition`.

use crate::edn;
use crate::jsonl::Error;
use crate::line::known;
use crate::{Event, EventKind, History, OpError, Process, Time, Torn};
use serde_json::Value;
use std::borrow::Cow;
use std::io::BufRead;

/// What every line begins with.
pub const PREFIX: &str = "INFO  jepsen.util - ";
const EXAMPLE: &str = "INFO  jepsen.util - 3\\t:invoke\\t:write\\t4";

/// Reads a whole log.
pub fn read(input: impl BufRead) -> Result<History, Error> {
    let mut reader = Reader::new(input);
    let events = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    let mut history = History::new(events)?;
    history.torn = reader.torn;
    Ok(history)
}

/// Reads events one after another, as they stand in the file, in memory for a line.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    line: String,
    number: u64,
    bytes: u64,
    torn: Option<Torn>,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// From the first line on.
    pub fn new(input: R) -> Self {
        Self {
            input,
            line: String::new(),
            number: 0,
            bytes: 0,
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

    fn read_line(&mut self) -> Result<Option<Event>, Error> {
        self.line.clear();
        let bytes = self.input.read_line(&mut self.line)? as u64;
        if bytes == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += bytes;
        match parse(self.line.trim_end(), self.number) {
            Ok(event) => Ok(Some(event)),
            Err(_) if !self.line.ends_with('\n') => {
                self.torn = Some(Torn {
                    line: self.number,
                    bytes,
                });
                Ok(None)
            }
            Err(message) => Err(Error::Line {
                line: self.number,
                column: 1,
                message,
                example: EXAMPLE,
            }),
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let event = self.read_line();
        self.ended = !matches!(event, Ok(Some(_)));
        event.transpose()
    }
}

fn parse(line: &str, number: u64) -> Result<Event, String> {
    let fields: Vec<&str> = line
        .strip_prefix(PREFIX)
        .ok_or("this is no operation")?
        .split('\t')
        .collect();
    let [process, kind, f, value] = fields.as_slice() else {
        return Err("an operation has a process, a type, a function and a value".to_owned());
    };
    let process = process
        .trim()
        .parse()
        .map_err(|_| format!("{process:?} is no process"))?;
    let kind = match *kind {
        ":invoke" => EventKind::Invoke,
        ":ok" => EventKind::Ok,
        ":fail" => EventKind::Fail,
        ":info" => EventKind::Info,
        other => return Err(format!("{other:?} is none of :invoke, :ok, :fail, :info")),
    };
    let f = f
        .strip_prefix(':')
        .ok_or_else(|| format!("{f:?} is no function"))?;
    let f = known(f).map_or_else(|| Cow::Owned(f.to_owned()), Cow::Borrowed);
    let reason = value.strip_prefix(':');
    let value = if reason.is_some() {
        Value::Null
    } else {
        edn::value(value)?
    };
    let mut event = Event::new(Time(number), Process::Client(process), kind, f, value);
    let refused = (kind == EventKind::Fail && event.f == "cas").then_some("precondition");
    event.error = reason.or(refused).map(|kind| {
        Box::new(OpError {
            kind: kind.to_owned(),
            message: String::new(),
        })
    });
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;

    #[test]
    fn operations_are_read_and_their_lines_are_the_time() {
        let text = "INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 1\t:invoke\t:read\tnil\n\
                    INFO  jepsen.util - 0\t:fail\t:cas\t[1 2]\nINFO  jepsen.util - 1\t:info\t:read\t:timed-out\n";
        let history = read(text.as_bytes()).unwrap();
        let ops = history.ops();
        assert_eq!(ops[0].argument(), &serde_json::json!([1, 2]));
        assert_eq!(
            ops[0].completion.unwrap().error_kind(),
            Some("precondition")
        );
        assert_eq!((ops[1].outcome(), ops[1].start()), (Outcome::Info, Time(2)));
        let torn = read(&text.as_bytes()[..text.len() - 12]).unwrap();
        assert_eq!(torn.torn.map(|t| t.line), Some(4));
        let error = read("INFO  jepsen.util - 0\t:invoke\n".as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("line 1"), "{error}");
    }
}
