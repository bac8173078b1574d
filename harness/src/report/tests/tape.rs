//! Histories for the report's tests: operations, and the nemesis' and the driver's events in the form in which they write them.

use schism_history::{History, jsonl};
use serde_json::{Map, Value, json};

/// Events in any order; sorted when they become a history.
#[derive(Debug, Clone, Default)]
pub(super) struct Tape {
    events: Vec<(u64, u8, Value)>,
}

/// One operation on a tape; times in microseconds.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) process: u64,
    pub(super) f: &'static str,
    pub(super) value: Value,
    pub(super) at: (u64, u64),
    /// `ok`, `fail`, `info`; empty: never completed.
    pub(super) outcome: &'static str,
    pub(super) result: Value,
    /// More fields of the completion.
    pub(super) more: Value,
}

impl Told {
    pub(super) fn add(process: u64, element: impl Into<Value>, at: (u64, u64)) -> Self {
        let element = element.into();
        Self {
            process,
            f: "add",
            value: element.clone(),
            at,
            outcome: "ok",
            result: element,
            more: json!({"key": "s", "node": "n1", "term": 1}),
        }
    }

    /// A final read by one replica.
    pub(super) fn last_read(process: u64, node: &str, elements: Value, at: (u64, u64)) -> Self {
        Self {
            process,
            f: "read",
            value: Value::Null,
            at,
            outcome: "ok",
            result: elements,
            more: json!({"key": "s", "node": node, "final": true}),
        }
    }

    pub(super) fn outcome(mut self, outcome: &'static str, error: Value) -> Self {
        self.outcome = outcome;
        self.more["error"] = error;
        self
    }
}

impl Tape {
    pub(super) fn op(mut self, op: Told) -> Self {
        let event = |time: u64, kind: &str, value: &Value| json!({"time": time * 1000, "process": op.process, "type": kind, "f": op.f, "value": value});
        let mut invoke = event(op.at.0, "invoke", &op.value);
        for name in ["key", "final"] {
            if let Some(value) = op.more.get(name) {
                invoke[name] = value.clone();
            }
        }
        self.events.push((op.at.0, 0, invoke));
        if !op.outcome.is_empty() {
            let mut done = event(op.at.1, op.outcome, &op.result);
            if let (Value::Object(done), Value::Object(more)) = (&mut done, op.more) {
                done.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
            }
            self.events.push((op.at.1, 1, done));
        }
        self
    }

    pub(super) fn nemesis(mut self, at: u64, f: &str, value: &Value) -> Self {
        let event = json!({"time": at * 1000, "process": "nemesis", "type": "info", "f": f, "value": value});
        self.events.push((at, 2, event));
        self
    }

    pub(super) fn phase(self, at: u64, name: &str) -> Self {
        self.nemesis(at, "phase", &json!({"phase": name}))
    }

    /// The stages of a fault as `nemesis::run` writes them, as many as there are times.
    pub(super) fn fault(mut self, id: u64, what: &str, at: &[u64], proved: bool) -> Self {
        let family = what.split([':', ' ']).next().unwrap_or_default().to_owned();
        let proof = |proved: bool, evidence: &str| json!({"proved": proved, "evidence": evidence, "after_ms": 0.5});
        let stages = [
            ("inject", json!({"shape": "one", "what": what})),
            (
                "effect",
                proof(proved, "4 of 4 cut links dropped the probe"),
            ),
            ("heal", json!({})),
            ("healed", proof(true, "6 of 6 open links carried it")),
        ];
        for (&at, (stage, more)) in at.iter().zip(stages) {
            let mut value = Map::from_iter([
                ("fault".to_owned(), json!(id)),
                ("stage".to_owned(), json!(stage)),
            ]);
            value.extend(more.as_object().cloned().unwrap_or_default());
            self = self.nemesis(at, &family, &Value::Object(value));
        }
        self
    }

    /// As a file.
    pub(super) fn text(mut self) -> String {
        self.events.sort_by_key(|(at, order, _)| (*at, *order));
        self.events
            .iter()
            .fold(String::new(), |text, (_, _, event)| {
                text + &event.to_string() + "\n"
            })
    }

    pub(super) fn history(self) -> History {
        jsonl::read(self.text().as_bytes()).unwrap()
    }
}
