//! The lines that our own writer makes, read without the generality of JSON: fields in the writer's order, no spaces, plain strings.
//!
//! Anything else, however valid, is left to [`crate::line`]: this only ever answers "an event" or "look closer".

use crate::line::{Names, known};
use crate::{Event, EventKind, Key, NodeId, Process, Time};
use serde_json::Value;

/// Reads a line of the usual form; `None` says nothing.
pub(crate) fn parse(line: &[u8], names: &mut Names) -> Option<Event> {
    let mut at = Cursor(line);
    at.skip(b"{\"index\":")?;
    let index = at.number()?;
    at.skip(b",\"time\":")?;
    let time = Time(at.number()?);
    at.skip(b",\"process\":")?;
    let process = Process::Client(at.number()?);
    at.skip(b",\"type\":\"")?;
    let kind = match at.plain()? {
        "invoke" => EventKind::Invoke,
        "ok" => EventKind::Ok,
        "fail" => EventKind::Fail,
        "info" => EventKind::Info,
        _ => return None,
    };
    at.skip(b",\"f\":\"")?;
    let f = known(at.plain()?)?;
    let mut event = Event::new(time, process, kind, f, Value::Null);
    event.index = index;
    if at.skip(b",\"key\":\"").is_some() {
        event.key = Some(Key::Name(names.share(at.plain()?)));
    }
    at.skip(b",\"value\":")?;
    event.value = at.value()?;
    if at.skip(b",\"node\":\"").is_some() {
        event.node = Some(NodeId(names.share(at.plain()?)));
    }
    if at.skip(b",\"term\":").is_some() {
        event.term = Some(at.number()?);
    }
    if at.skip(b",\"version\":").is_some() {
        event.version = Some(at.number()?);
    }
    at.skip(b"}\n").filter(|()| at.0.is_empty()).map(|()| event)
}

/// What is left of the line.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn skip(&mut self, literal: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    /// A whole number of at most 18 digits, so that it cannot overflow.
    fn number(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (text, rest) = self.0.split_at(digits);
        if !(1..=18).contains(&digits) || (digits > 1 && text[0] == b'0') {
            return None;
        }
        self.0 = rest;
        Some(text.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0')))
    }

    /// The rest of a string of printable ASCII without escapes, and its closing quote.
    fn plain(&mut self) -> Option<&'a str> {
        let length = self
            .0
            .iter()
            .take_while(|b| matches!(b, b' '..=b'~') && **b != b'"' && **b != b'\\')
            .count();
        let (text, rest) = self.0.split_at(length);
        self.0 = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok()
    }

    /// Null or a whole number, and nothing that would go on.
    fn value(&mut self) -> Option<Value> {
        let value = match self.skip(b"null") {
            Some(()) => Value::Null,
            None => Value::from(self.number()?),
        };
        matches!(self.0.first(), Some(b',' | b'}')).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line;

    const LINES: &[&str] = &[
        r#"{"index":0,"time":1200345,"process":3,"type":"invoke","f":"write","key":"x","value":7}"#,
        r#"{"index":10,"time":0,"process":3,"type":"ok","f":"read","key":"x","value":null,"node":"n2","term":3,"version":12}"#,
        r#"{"index":2,"time":20,"process":0,"type":"info","f":"generate","value":1}"#,
        r#"{"index":2,"time":20,"process":0,"type":"fail","f":"cas","key":"x","value":[1,2],"error":{"kind":"precondition"}}"#,
    ];

    /// Whatever one byte becomes: where the fast way answers, the whole way answers the same.
    #[test]
    fn it_never_disagrees_with_the_whole_reader() {
        let mut answered = 0;
        for text in LINES {
            let line = format!("{text}\n").into_bytes();
            for at in 0..line.len() {
                for byte in 0..=255 {
                    let mut changed = line.clone();
                    changed[at] = byte;
                    if let Some(event) = parse(&changed, &mut Names::default()) {
                        let whole = line::parse(&changed, &mut Names::default());
                        let said = String::from_utf8_lossy(&changed).into_owned();
                        assert_eq!(
                            whole.unwrap_or_else(|e| panic!("{said}: {e}")),
                            event,
                            "{said}"
                        );
                        answered += 1;
                    }
                }
            }
        }
        assert!(answered > 500, "{answered}");
    }

    #[test]
    fn it_reads_what_it_is_for() {
        let read = |text: &str| parse(format!("{text}\n").as_bytes(), &mut Names::default());
        assert_eq!(LINES.iter().filter(|line| read(line).is_some()).count(), 3);
        assert_eq!(read(&LINES[0].replace('3', "18446744073709551616")), None);
    }
}
