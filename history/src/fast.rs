//! The lines that our own writer makes, read without the generality of JSON: fields in the writer's order, no spaces, plain strings.
//!
//! Anything else, however valid, is left to [`crate::line`]: this only ever answers "an event" or "look closer".

use crate::line::{Names, known};
use crate::{Event, EventKind, Key, NodeId, Process, Time};
use serde_json::Value;
use std::borrow::Cow;

/// Reads a line of the usual form at the beginning of `text`, and says what follows it; `None` says nothing.
#[inline]
pub(crate) fn parse<'t>(text: &'t [u8], names: &mut Names) -> Option<(Event, &'t [u8])> {
    let mut at = Cursor(text);
    at.skip(b"{\"index\":")?;
    let index = at.number()?;
    at.skip(b",\"time\":")?;
    let time = Time(at.number()?);
    at.skip(b",\"process\":")?;
    let process = Process::Client(at.number()?);
    at.skip(b",\"type\":\"")?;
    let kind = at.kind()?;
    at.skip(b",\"f\":\"")?;
    let f = known(at.plain()?)?;
    let mut key = None;
    if at.skip(b",\"key\":\"").is_some() {
        key = Some(Key::Name(names.share(at.plain()?)));
    }
    at.skip(b",\"value\":")?;
    let value = at.value()?;
    let (mut node, mut term, mut version) = (None, None, None);
    if at.skip(b",\"node\":\"").is_some() {
        node = Some(NodeId(names.share(at.plain()?)));
    }
    if at.skip(b",\"term\":").is_some() {
        term = Some(at.number()?);
    }
    if at.skip(b",\"version\":").is_some() {
        version = Some(at.number()?);
    }
    at.skip(b"}\n")?;
    let event = Event {
        index,
        time,
        process,
        kind,
        f: Cow::Borrowed(f),
        key,
        value,
        node,
        term,
        session: None,
        error: None,
        is_final: false,
        version,
    };
    Some((event, at.0))
}

/// What is left of the line.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn skip(&mut self, literal: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    fn kind(&mut self) -> Option<EventKind> {
        let kinds: [(&[u8], EventKind); 4] = [
            (b"ok\"", EventKind::Ok),
            (b"invoke\"", EventKind::Invoke),
            (b"info\"", EventKind::Info),
            (b"fail\"", EventKind::Fail),
        ];
        let found = kinds
            .into_iter()
            .find(|(name, _)| self.0.starts_with(name))?;
        self.0 = &self.0[found.0.len()..];
        Some(found.1)
    }

    /// A whole number of at most 18 digits, so that it cannot overflow.
    fn number(&mut self) -> Option<u64> {
        let (mut number, mut digits) = (0, 0);
        while let Some(digit) = self.0.get(digits).map(|b| b.wrapping_sub(b'0'))
            && digit < 10
            && digits < 19
        {
            number = number * 10 + u64::from(digit);
            digits += 1;
        }
        if !(1..=18).contains(&digits) || (digits > 1 && self.0[0] == b'0') {
            return None;
        }
        self.0 = &self.0[digits..];
        Some(number)
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
                    if let Some((event, rest)) = parse(&changed, &mut Names::default()) {
                        let changed = &changed[..changed.len() - rest.len()];
                        let whole = line::parse(changed, &mut Names::default());
                        let said = String::from_utf8_lossy(changed).into_owned();
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
        let read = |text: &str| {
            parse(format!("{text}\n").as_bytes(), &mut Names::default()).map(|(event, _)| event)
        };
        assert_eq!(LINES.iter().filter(|line| read(line).is_some()).count(), 3);
        assert_eq!(read(&LINES[0].replace('3', "18446744073709551616")), None);
    }
}
