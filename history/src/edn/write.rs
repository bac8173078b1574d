//! Events as EDN maps, one a line, as Jepsen writes them; our own fields go along as keys of their own.

use crate::{Event, EventKind, History, Key, Process};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes a whole history.
pub fn write(mut out: impl Write, history: &History) -> io::Result<()> {
    history
        .events
        .iter()
        .try_for_each(|event| write_event(&mut out, event))
}

/// Writes one event as one line.
pub fn write_event(mut out: impl Write, event: &Event) -> io::Result<()> {
    let mut text = format!(
        "{{:index {}, :time {}, :process ",
        event.index, event.time.0
    );
    match event.process {
        Process::Client(n) => push(&mut text, format_args!("{n}")),
        Process::Nemesis => text.push_str(":nemesis"),
    }
    let kind = match event.kind {
        EventKind::Invoke => "invoke",
        EventKind::Ok => "ok",
        EventKind::Fail => "fail",
        EventKind::Info => "info",
    };
    push(&mut text, format_args!(", :type :{kind}, :f "));
    name(&mut text, &event.f);
    text.push_str(", :value ");
    value(&mut text, &event.value);
    optional(&mut text, event);
    text.push_str("}\n");
    out.write_all(text.as_bytes())
}

fn optional(text: &mut String, event: &Event) {
    match &event.key {
        Some(Key::Number(n)) => push(text, format_args!(", :key {n}")),
        Some(Key::Name(name)) => {
            text.push_str(", :key ");
            string(text, name);
        }
        None => {}
    }
    if let Some(node) = &event.node {
        text.push_str(", :node ");
        string(text, &node.0);
    }
    for (field, number) in [
        ("term", event.term),
        ("session", event.session),
        ("version", event.version),
    ] {
        if let Some(number) = number {
            push(text, format_args!(", :{field} {}", whole(number)));
        }
    }
    if let Some(error) = &event.error {
        text.push_str(", :error {:kind ");
        string(text, &error.kind);
        text.push_str(", :message ");
        string(text, &error.message);
        text.push('}');
    }
    if event.is_final {
        text.push_str(", :final true");
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("a string takes everything");
}

/// A function as a keyword, where it can be one.
fn name(text: &mut String, f: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_*+!?./".contains(c);
    if !f.is_empty() && f.chars().all(plain) {
        push(text, format_args!(":{f}"));
    } else {
        string(text, f);
    }
}

/// Clojure's own whole numbers end at 2^63.
fn whole(number: u64) -> String {
    if i64::try_from(number).is_ok() {
        number.to_string()
    } else {
        format!("{number}N")
    }
}

fn value(text: &mut String, json: &Value) {
    match json {
        Value::Null => text.push_str("nil"),
        Value::Bool(b) => push(text, format_args!("{b}")),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (None, Some(large)) => text.push_str(&whole(large)),
            _ => push(text, format_args!("{n}")),
        },
        Value::String(s) => string(text, s),
        Value::Array(list) => {
            text.push('[');
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    text.push(' ');
                }
                value(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    text.push_str(", ");
                }
                string(text, key);
                text.push(' ');
                value(text, item);
            }
            text.push('}');
        }
    }
}

fn string(text: &mut String, plain: &str) {
    text.push('"');
    for c in plain.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => push(text, format_args!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}
