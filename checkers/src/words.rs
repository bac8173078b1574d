//! Operations in the words of a sentence: who did what when.

use schism_history::{Key, NodeId, Op, Outcome, Time};
use serde_json::Value;
use std::collections::BTreeSet;

/// A value in a sentence; null is `nothing`.
pub(crate) fn value(value: &Value) -> String {
    if value.is_null() {
        "nothing".to_owned()
    } else {
        value.to_string()
    }
}

/// A key in a sentence; no key is `the register`.
pub(crate) fn key(key: Option<&Key>) -> String {
    key.map_or_else(|| "the only key".to_owned(), Key::to_string)
}

/// The node that answered.
pub(crate) fn node<'h>(op: &Op<'h>) -> Option<&'h NodeId> {
    op.completion
        .and_then(|c| c.node.as_ref())
        .or(op.invoke.node.as_ref())
}

/// The term in which it was answered.
pub(crate) fn term(op: &Op<'_>) -> Option<u64> {
    op.completion.and_then(|c| c.term)
}

/// Who answered: `n1 (term 3)`, `n1`, or `the target` where the history does not say.
pub(crate) fn answerer(op: &Op<'_>) -> String {
    match (node(op), term(op)) {
        (Some(node), Some(term)) => format!("{node} (term {term})"),
        (Some(node), None) => node.to_string(),
        (None, _) => "the target".to_owned(),
    }
}

/// When: `0.100 s to 0.200 s`, or `from 0.100 s, never answered`.
pub(crate) fn when(op: &Op<'_>) -> String {
    if op.outcome() == Outcome::Info {
        return format!("from {}, outcome unknown", op.start());
    }
    let (start, end) = (op.start().to_string(), op.end().to_string());
    if start == end && op.start() < op.end() {
        // The order of short operations is seen in microseconds only.
        let (start, end) = (op.start().as_secs_f64(), op.end().as_secs_f64());
        return format!("{start:.6} s to {end:.6} s");
    }
    format!("{start} to {end}")
}

/// The operation as a noun: `process 3's write of 7 (0.100 s to 0.200 s, answered by n1)`.
pub(crate) fn noun(op: &Op<'_>) -> String {
    noun_with(op, "")
}

/// The same with the key: `process 3's write of 7 on x (...)`.
pub(crate) fn noun_on(op: &Op<'_>, key: &str) -> String {
    noun_with(op, &format!(" on {key}"))
}

fn noun_with(op: &Op<'_>, on: &str) -> String {
    let what = match (op.f(), op.argument()) {
        ("read", _) => format!(
            "read of {}",
            op.result().map_or_else(|| "?".to_owned(), value)
        ),
        ("cas", Value::Array(pair)) if pair.len() == 2 => {
            let refused = if op.outcome() == Outcome::Fail {
                "refused "
            } else {
                ""
            };
            format!(
                "{refused}cas from {} to {}",
                value(&pair[0]),
                value(&pair[1])
            )
        }
        ("dequeue", _) => op.result().map_or_else(
            || "dequeue".to_owned(),
            |taken| format!("dequeue of {}", value(taken)),
        ),
        ("txn", argument) => format!("txn {}", op.result().unwrap_or(argument)),
        ("acquire" | "release", _) => op.f().to_owned(),
        (f, argument) => format!("{f} of {}", value(argument)),
    };
    let by = node(op).map(|n| format!(", by {n}")).unwrap_or_default();
    format!("{}'s {what}{on} ({}{by})", op.process(), when(op))
}

/// A length of time in a sentence: milliseconds with as many digits as tell something.
pub(crate) fn span(from: Time, to: Time) -> String {
    let ms = to.since(from) as f64 / 1e6;
    if ms < 10.0 {
        format!("{ms:.3} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// `1 read`, `2 reads`.
pub(crate) fn plural(n: usize, one: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {one}s")
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

/// Who answered these: ` (n1 and n2)`, or nothing where the history does not say.
pub(crate) fn replicas<'o, 'h: 'o>(ops: impl Iterator<Item = &'o Op<'h>>) -> String {
    let nodes: BTreeSet<&NodeId> = ops.filter_map(node).collect();
    let nodes: Vec<String> = nodes.into_iter().map(ToString::to_string).collect();
    match nodes.len() {
        0 => String::new(),
        1..=5 => format!(" ({})", list(&nodes)),
        n => format!(" ({n} replicas)"),
    }
}

/// The operation without its value: `process 3's read (0.100 s to 0.200 s, by n1)`.
pub(crate) fn noun_short(op: &Op<'_>) -> String {
    let by = node(op).map(|n| format!(", by {n}")).unwrap_or_default();
    format!("{}'s {} ({}{by})", op.process(), op.f(), when(op))
}

/// A whole number among the values of a history; 0 for null, which is what was never written.
pub(crate) fn whole(value: &Value) -> Option<i128> {
    if value.is_null() {
        return Some(0);
    }
    let unsigned = || value.as_u64().map(i128::from);
    value.as_i64().map(i128::from).or_else(unsigned)
}

/// A sum in `details`: beyond what JSON numbers hold, its digits.
pub(crate) fn figure(n: i128) -> Value {
    i64::try_from(n).map_or_else(|_| n.to_string().into(), Value::from)
}

/// So many bytes, in the largest unit that leaves a whole number to show.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => plural(bytes as usize, "byte"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..10_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{} GB", bytes.div_ceil(1_000_000_000)),
    }
}
