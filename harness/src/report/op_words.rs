//! One operation in a few words, as a label in a picture and as the row of a table.
//!
//! A read of a whole set is hundreds of values long, and what matters is whether one of them is there: the anomaly's element is
//! the focus, and labels say `412 values, without 17`.

use super::escape;
use schism_checkers::verdict::Anomaly;
use schism_history::{Key, NodeId, Op, Outcome};
use serde_json::Value;

/// Characters of a value in a table cell.
const CELL_CHARS: usize = 60;
/// Characters of a value in a tooltip.
const WHOLE_CHARS: usize = 300;

/// The element that an anomaly is about: as its details name it, else the argument of the only operation that has one.
pub(super) fn focus<'v>(anomaly: &'v Anomaly, ops: &[&Op<'v>]) -> Option<&'v Value> {
    let named = ["element", "value"]
        .into_iter()
        .find_map(|name| anomaly.details.get(name));
    let mut arguments = ops
        .iter()
        .map(|op| op.argument())
        .filter(|v| !v.is_null() && !v.is_array());
    named.filter(|v| !v.is_null() && !v.is_array()).or_else(|| {
        let first = arguments.next()?;
        arguments.all(|other| other == first).then_some(first)
    })
}

/// `add 17 ok`, `read → 412 values, without 17`, `cas 3→4 fail`, `write 7 ?`.
pub(super) fn label(op: &Op<'_>, focus: Option<&Value>) -> String {
    let outcome = match op.outcome() {
        Outcome::Ok => "ok",
        Outcome::Fail => "fail",
        Outcome::Info => "?",
    };
    let what = match (op.argument(), op.result()) {
        (Value::Null, Some(result)) => format!("{} → {}", op.f(), brief(result, focus)),
        (Value::Null, None) => op.f().to_owned(),
        (Value::Array(pair), _) if op.f() == "cas" && pair.len() == 2 => {
            format!("cas {}→{}", brief(&pair[0], None), brief(&pair[1], None))
        }
        (argument, Some(result)) if result != argument && !result.is_null() => {
            format!(
                "{} {} → {}",
                op.f(),
                brief(argument, None),
                brief(result, focus)
            )
        }
        (argument, _) => format!("{} {}", op.f(), brief(argument, None)),
    };
    escape::line(&format!("{what} {outcome}"))
}

fn brief(value: &Value, focus: Option<&Value>) -> String {
    match value {
        Value::Null => "∅".to_owned(),
        Value::Array(list) => match focus {
            Some(focus) if list.contains(focus) => {
                format!("{}, with {}", values(list.len()), brief(focus, None))
            }
            Some(focus) => format!("{}, without {}", values(list.len()), brief(focus, None)),
            None if list.len() > 4 => values(list.len()),
            None => escape::shorten(&value.to_string(), 24),
        },
        Value::String(text) => escape::shorten(text, 24),
        other => escape::shorten(&other.to_string(), 24),
    }
}

fn values(n: usize) -> String {
    if n == 1 {
        "1 value".to_owned()
    } else {
        format!("{n} values")
    }
}

/// A value in a table: what is shown, and the whole of it (or as much as is sensible) for a tooltip.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Empty when `text` is all there is.
    pub(super) whole: String,
}

/// The value of an operation: what was asked, and what was answered where that is something else.
pub(super) fn cell(op: &Op<'_>, focus: Option<&Value>) -> Cell {
    let (text, whole) = match (op.argument(), op.result()) {
        (Value::Null, Some(result)) => (brief(result, focus), result.to_string()),
        (Value::Null, None) => return Cell::default(),
        (argument, Some(result)) if result != argument && !result.is_null() => (
            format!("{} → {}", shown(argument), brief(result, focus)),
            format!("{argument} → {result}"),
        ),
        (argument, _) => (shown(argument), argument.to_string()),
    };
    let text = escape::shorten(&escape::line(&text), CELL_CHARS);
    let whole = if whole == text { String::new() } else { whole };
    Cell {
        text,
        whole: bounded(&escape::line(&whole)),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(list) if list.len() > 8 => values(list.len()),
        other => other.to_string(),
    }
}

fn bounded(whole: &str) -> String {
    let short = escape::shorten(whole, WHOLE_CHARS);
    if short.len() < whole.len() {
        format!("{short} ({} bytes in all)", whole.len())
    } else {
        short
    }
}

/// The node that answered, or that was asked.
pub(super) fn node<'h>(op: &Op<'h>) -> Option<&'h NodeId> {
    op.completion
        .and_then(|c| c.node.as_ref())
        .or(op.invoke.node.as_ref())
}

/// The term in which it was answered.
pub(super) fn term(op: &Op<'_>) -> Option<u64> {
    op.completion.and_then(|c| c.term)
}

/// `ok`, `fail: precondition`, `unknown: timeout`.
pub(super) fn outcome(op: &Op<'_>) -> (String, String) {
    let word = match (op.outcome(), op.completion) {
        (Outcome::Ok, _) => "ok",
        (Outcome::Fail, _) => "fail",
        (Outcome::Info, Some(_)) => "unknown",
        (Outcome::Info, None) => "never answered",
    };
    let error = op.completion.and_then(|c| c.error.as_ref());
    let kind = error.map(|e| format!(": {}", escape::shorten(&escape::line(&e.kind), 40)));
    let message = error
        .map(|e| bounded(&escape::line(&e.message)))
        .unwrap_or_default();
    (format!("{word}{}", kind.unwrap_or_default()), message)
}

/// The key, short enough for a cell.
pub(super) fn key(op: &Op<'_>) -> String {
    op.key()
        .map(|k: &Key| escape::shorten(&escape::line(&k.to_string()), 40))
        .unwrap_or_default()
}

/// The whole of it: the tooltip of its bar in a picture.
pub(super) fn sentence(op: &Op<'_>) -> String {
    let value = cell(op, None);
    let key = op
        .key()
        .map(|_| format!(" on {}", key(op)))
        .unwrap_or_default();
    let by = node(op).map(|n| format!(", {n}")).unwrap_or_default();
    let term = term(op)
        .map(|t| format!(" in term {t}"))
        .unwrap_or_default();
    let whole = if value.whole.is_empty() {
        value.text
    } else {
        value.whole
    };
    let end = if op.end().is_infinite() {
        String::new()
    } else {
        format!(" to {}", op.end())
    };
    format!(
        "{}: {}{key} {whole} ({}){by}{term}, {}{end}",
        op.process(),
        op.f(),
        outcome(op).0,
        op.start()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use schism_history::History;

    #[test]
    fn labels_say_what_matters() {
        let history = History::dsl(
            "0: add s 17 @0..1; 1: read s [1,2,3,4,5,6] @2..3; 2: cas x [3,4] @4..5 fail error=precondition; 3: write x 7 @6..?; 4: read x null @7..8",
        )
        .unwrap();
        let ops = history.ops();
        let element = serde_json::json!(17);
        assert_eq!(label(&ops[0], None), "add 17 ok");
        assert_eq!(label(&ops[1], None), "read → 6 values ok");
        assert_eq!(
            label(&ops[1], Some(&element)),
            "read → 6 values, without 17 ok"
        );
        assert_eq!(label(&ops[2], None), "cas 3→4 fail");
        assert_eq!(label(&ops[3], None), "write 7 ?");
        assert_eq!(label(&ops[4], None), "read → ∅ ok");
        assert_eq!(outcome(&ops[2]).0, "fail: precondition");
    }

    #[test]
    fn a_long_value_is_cut_everywhere() {
        let long = "y".repeat(10_000);
        let history = History::dsl(&format!("0: write x \"{long}\" @0..1")).unwrap();
        let op = history.ops()[0];
        assert!(label(&op, None).chars().count() < 40);
        let cell = cell(&op, None);
        assert!(cell.text.chars().count() <= CELL_CHARS && cell.whole.len() < 800);
        assert!(cell.whole.ends_with("(10002 bytes in all)"));
    }
}
