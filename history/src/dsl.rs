//! The one-line notation of histories, for tests and examples.
//!
//! Operations are separated by `;` or a newline: `PROCESS: F KEY VALUE @START..END [ok|fail|info] [attribute...]`. Times are milliseconds;
//! `?` as the end means that the outcome is unknown (`info`) and nothing ever came back. `-` as the key means that there is none.
//! VALUE is JSON without spaces. For reads it is what was returned; for everything else what was asked, and `VALUE>RESULT` gives both.
//! Attributes: `node=n2`, `term=3`, `session=4`, `version=9`, `final`, `error=KIND`.
//!
//! Events at one time are ordered: invocations first, so that operations that touch in time overlap.

use crate::{Event, EventKind, History, Key, Malformed, NodeId, OpError, Process, Time};
use serde_json::Value;

/// Why a line of the notation cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DslError {
    /// An operation is not of the form above.
    #[error("{op:?}: {message}")]
    Op {
        /// The operation as it was written.
        op: String,
        /// What was wrong.
        message: String,
    },
    /// The operations do not pair up.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl History {
    /// Reads the one-line notation: see [`crate::dsl`].
    pub fn dsl(text: &str) -> Result<Self, DslError> {
        let mut events = Vec::new();
        for op in text
            .split([';', '\n'])
            .map(str::trim)
            .filter(|op| !op.is_empty())
        {
            let (invoke, completion) = parse_op(op).map_err(|message| DslError::Op {
                op: op.to_owned(),
                message,
            })?;
            events.push(invoke);
            events.extend(completion);
        }
        events.sort_by_key(|e| (e.time, e.kind != EventKind::Invoke));
        Ok(Self::new(events)?)
    }
}

fn parse_op(op: &str) -> Result<(Event, Option<Event>), String> {
    let (process, rest) = op.split_once(':').ok_or("no ':' after the process")?;
    let process = process
        .trim()
        .parse()
        .map_err(|_| "the process is no whole number")?;
    let mut words = rest.split_whitespace();
    let mut word = |what: &str| words.next().ok_or(format!("no {what}"));
    let f = word("function")?.to_owned();
    let key = word("key")?;
    let value = word("value")?;
    let interval = word("interval")?;

    let (argument, result) = parse_values(&f, value)?;
    let (start, end) = interval
        .strip_prefix('@')
        .and_then(|i| i.split_once(".."))
        .ok_or("the interval is not @START..END")?;
    let mut invoke = Event::new(
        millis(start)?,
        Process::Client(process),
        EventKind::Invoke,
        f,
        argument,
    );
    invoke.key = (key != "-").then(|| key.parse().map_or_else(|_| key.into(), Key::Number));
    let mut completion = invoke.clone();
    completion.value = result;
    completion.kind = if end == "?" {
        EventKind::Info
    } else {
        EventKind::Ok
    };
    if end != "?" {
        completion.time = millis(end)?;
    }
    for word in words {
        attribute(&mut invoke, &mut completion, word)?;
    }
    Ok((invoke, (end != "?").then_some(completion)))
}

fn parse_values(f: &str, text: &str) -> Result<(Value, Value), String> {
    let json = |t: &str| serde_json::from_str::<Value>(t).map_err(|e| format!("value {t:?}: {e}"));
    if let Some((argument, result)) = text.split_once('>') {
        return Ok((json(argument)?, json(result)?));
    }
    let value = json(text)?;
    match f {
        "read" | "generate" | "dequeue" => Ok((Value::Null, value)),
        _ => Ok((value.clone(), value)),
    }
}

fn millis(text: &str) -> Result<Time, String> {
    let ms: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is no time in milliseconds"))?;
    Ok(Time((ms * 1e6).round() as u64))
}

fn attribute(invoke: &mut Event, completion: &mut Event, word: &str) -> Result<(), String> {
    let number = |t: &str| {
        t.parse::<u64>()
            .map_err(|_| format!("{t:?} is no whole number"))
    };
    match word.split_once('=') {
        None => match word {
            "ok" => completion.kind = EventKind::Ok,
            "fail" => completion.kind = EventKind::Fail,
            "info" => completion.kind = EventKind::Info,
            "final" => (invoke.is_final, completion.is_final) = (true, true),
            other => return Err(format!("unknown word {other:?}")),
        },
        Some(("node", node)) => completion.node = Some(NodeId(node.into())),
        Some(("term", term)) => completion.term = Some(number(term)?),
        Some(("version", version)) => completion.version = Some(number(version)?),
        Some(("session", session)) => {
            let session = Some(number(session)?);
            (invoke.session, completion.session) = (session, session);
        }
        Some(("error", kind)) => {
            completion.error = Some(Box::new(OpError {
                kind: kind.to_owned(),
                message: String::new(),
            }));
        }
        Some((other, _)) => return Err(format!("unknown attribute {other:?}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;

    #[test]
    fn reads_say_what_was_returned_and_writes_what_was_asked() {
        let history =
            History::dsl("0: write x 7 @0..5 node=n1 term=2; 1: read x [1,2] @1..3").unwrap();
        let ops = history.ops();
        assert_eq!(ops[0].argument(), &Value::from(7));
        assert_eq!(ops[0].completion.unwrap().term, Some(2));
        assert_eq!(ops[1].argument(), &Value::Null);
        assert_eq!(ops[1].result().unwrap(), &serde_json::json!([1, 2]));
    }

    #[test]
    fn an_open_end_is_unknown() {
        let history = History::dsl("0: add s 1 @2..?").unwrap();
        assert_eq!(history.ops()[0].outcome(), Outcome::Info);
        assert!(history.ops()[0].end().is_infinite());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, says) in [
            ("write x 1 @0..1", "':'"),
            ("0: write x one @0..1", "value"),
            ("0: write x 1 0..1", "@START..END"),
            ("0: write x 1 @0..1 maybe", "maybe"),
            ("0: write x 1 @0..9; 0: write x 2 @1..3", "still open"),
            ("0: write x 1 @0..? ; 0: write x 2 @1..3", "still open"),
        ] {
            let error = History::dsl(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
