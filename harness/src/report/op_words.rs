//! One operation in a few words, as a label in a picture and as the row of a table.
//!
//! A read of a whole set is hundreds of values long, and what matters is whether one of them is there: the anomaly's element is
//! the focus, and labels say `read: no 17`.

use super::escape;
use schism_checkers::verdict::Anomaly;
use schism_history::{Key, NodeId, Op, Outcome};
use serde_json::Value;

/// Characters of a value in a table cell.
const CELL_CHARS: usize = 60;
/// Characters of a value in a tooltip.
const WHOLE_CHARS: usize = 300;

/// What is worth saying of the operations of one anomaly.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style<'v> {
    /// The element that it is about.
    pub(super) focus: Option<&'v Value>,
    /// Whether they are on several keys.
    keys: bool,
    /// Whether it is about the terms in which they were answered.
    terms: bool,
}

impl<'v> Style<'v> {
    pub(super) fn of(anomaly: &'v Anomaly, ops: &[&Op<'v>]) -> Self {
        let key = ops.first().and_then(|op| op.key());
        Self {
            focus: focus(anomaly, ops),
            keys: ops.iter().any(|op| op.key() != key),
            terms: anomaly.details.contains_key("term"),
        }
    }
}

/// The element that an anomaly is about: as its details name it, else the argument of the only operation that has one.
fn focus<'v>(anomaly: &'v Anomaly, ops: &[&Op<'v>]) -> Option<&'v Value> {
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

/// `add 17`, `read: no 17`, `cas 3→4 fail`, `write 7 ?`. That it succeeded is said by the bar alone.
pub(super) fn label(op: &Op<'_>, style: Style<'_>) -> String {
    let outcome = match op.outcome() {
        Outcome::Ok => "",
        Outcome::Fail => " fail",
        Outcome::Info => " ?",
    };
    let term = term(op).filter(|_| style.terms);
    let term = term.map(|t| format!(" (term {t})")).unwrap_or_default();
    format!("{}{term}{outcome}", what(op, style))
}

/// The same without term and outcome.
pub(super) fn what(op: &Op<'_>, style: Style<'_>) -> String {
    let key = if style.keys {
        format!(" {}", key(op))
    } else {
        String::new()
    };
    let f = format!("{}{key}", escape::shorten(op.f(), 40));
    let what = match (op.argument(), op.result()) {
        (Value::Null, Some(result)) => format!("{f}{}", returned(result, style)),
        (Value::Null, None) => f,
        (Value::Array(pair), _) if op.f() == "cas" && pair.len() == 2 => {
            format!("{f} {}→{}", brief(&pair[0]), brief(&pair[1]))
        }
        (argument, Some(result)) if result != argument && !result.is_null() => {
            format!("{f} {}{}", brief(argument), returned(result, style))
        }
        (argument, _) => format!("{f} {}", brief(argument)),
    };
    escape::line(&what)
}

/// What was answered, behind what was asked.
fn returned(result: &Value, style: Style<'_>) -> String {
    match (result, style.focus) {
        (Value::Array(list), Some(focus)) => {
            let has = if list.contains(focus) { "has" } else { "no" };
            format!(": {has} {}", brief(focus))
        }
        _ => format!(" → {}", brief(result)),
    }
}

fn brief(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(list) if list.len() > 4 => values(list.len()),
        Value::String(text) => escape::shorten(text, 24),
        other => escape::shorten(&other.to_string(), 24),
    }
}

/// An answer in a cell of a table: a long list is its length, and whether the element in question is in it.
fn answer(value: &Value, focus: Option<&Value>) -> String {
    match (value, focus) {
        (Value::Array(list), Some(focus)) => {
            let with = if list.contains(focus) {
                "with"
            } else {
                "without"
            };
            format!("{}, {with} {}", values(list.len()), brief(focus))
        }
        _ => brief(value),
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
        (Value::Null, Some(result)) => (answer(result, focus), result.to_string()),
        (Value::Null, None) => return Cell::default(),
        (argument, Some(result)) if result != argument && !result.is_null() => (
            format!("{} → {}", shown(argument), answer(result, focus)),
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

/// More than the label says: the tooltip of its bar in a picture.
pub(super) fn sentence(op: &Op<'_>, style: Style<'_>) -> String {
    let value = cell(op, style.focus).text;
    let key = op
        .key()
        .map(|_| format!(" on {}", key(op)))
        .unwrap_or_default();
    let by = node(op).map(|n| format!(", {}", escape::shorten(&n.0, 40)));
    let by = by.unwrap_or_default();
    let term = term(op)
        .map(|t| format!(" in term {t}"))
        .unwrap_or_default();
    let end = if op.end().is_infinite() {
        String::new()
    } else {
        format!(" to {}", op.end())
    };
    format!(
        "{}: {}{key}: {value} ({}){by}{term}, {}{end}",
        op.process(),
        escape::shorten(op.f(), 40),
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
            "0: add s 17 @0..1; 1: read s [1,2,3,4,5,6] @2..3 term=2; 2: cas x [3,4] @4..5 fail error=precondition; 3: write x 7 @6..?; 4: read x null @7..8",
        )
        .unwrap();
        let ops = history.ops();
        let element = serde_json::json!(17);
        let plain = Style::default();
        let about = Style {
            focus: Some(&element),
            keys: true,
            terms: true,
        };
        assert_eq!(label(&ops[0], plain), "add 17");
        assert_eq!(label(&ops[1], plain), "read → 6 values");
        assert_eq!(label(&ops[1], about), "read s: no 17 (term 2)");
        assert_eq!(cell(&ops[1], Some(&element)).text, "6 values, without 17");
        assert_eq!(label(&ops[2], plain), "cas 3→4 fail");
        assert_eq!(label(&ops[3], plain), "write 7 ?");
        assert_eq!(label(&ops[4], plain), "read → nothing");
        assert_eq!(outcome(&ops[2]).0, "fail: precondition");
    }

    #[test]
    fn a_long_value_is_cut_everywhere() {
        let long = "y".repeat(10_000);
        let history = History::dsl(&format!("0: write x \"{long}\" @0..1")).unwrap();
        let op = history.ops()[0];
        assert!(label(&op, Style::default()).chars().count() < 40);
        let cell = cell(&op, None);
        assert!(cell.text.chars().count() <= CELL_CHARS && cell.whole.len() < 800);
        assert!(cell.whole.ends_with("(10002 bytes in all)"));
    }
}
