//! How large a report becomes: many operations, anomalies and faults, and very long values.

use super::page::Page;
use super::tape::{Tape, Told};
use super::{anomaly, drawn_with, input, judged, log, violated};
use crate::report::{html, markdown, plots};
use schism_history::{History, jsonl};
use serde_json::{Value, json};

#[test]
fn many_anomalies_are_bounded_and_counted() {
    let found = (0..20)
        .map(|i| anomaly(vec![0], &format!("Number {i}.")))
        .collect();
    let mut verdict = violated("stale-reads", found);
    for result in verdict.properties.values_mut() {
        result.count = 1234;
    }
    let history = History::dsl("0: add s 1 @0..1").unwrap();
    let prose = drawn_with(&history, &verdict).prose();
    assert!(prose.contains("17 more in full") && prose.contains("Number 19."));
    assert!(prose.contains("1\u{202f}214 more were counted and are not listed"));
}

/// A million letters.
fn long() -> String {
    "y".repeat(1_000_000)
}

#[test]
fn very_long_values_are_cut_and_their_sentences_are_not() {
    let long = long();
    let told = Told {
        more: json!({
            "key": long, "node": long, "error": {"kind": long, "message": long},
        }),
        ..Told::add(0, long.clone(), (0, 1000)).outcome("fail", Value::Null)
    };
    let text = Tape::default()
        .op(told)
        .nemesis(
            100,
            "kill",
            &json!({"fault": 1, "stage": "inject", "what": long}),
        )
        .nemesis(
            200,
            "kill",
            &json!({"fault": 1, "stage": "effect", "proved": true, "evidence": long}),
        )
        .phase(300, &long)
        .text()
        .replace("\"f\":\"add\"", &format!("\"f\":\"{long}\""));
    let history = jsonl::read(text.as_bytes()).unwrap();
    let said = format!("Element {long} of s was lost.");
    let mut verdict = violated(&long, vec![anomaly(vec![0], &said)]);
    for result in verdict.properties.values_mut() {
        result.why.clone_from(&long);
        result.details.insert(long.clone(), json!(long));
    }
    let mut input = input(&history, &verdict);
    input.logs = vec![log(&long)];
    let markup = html(&input).unwrap();
    assert!(markup.len() < 200_000, "{} bytes", markup.len());
    let page = Page::read(&markup);
    assert!(
        page.prose().contains("y of s was lost."),
        "the sentence lost its end"
    );
    assert!(markdown(&input).len() < 20_000);
    for (name, svg) in plots(&input).unwrap() {
        assert!(svg.len() < 20_000, "{name}");
    }
}

/// Many operations: most succeed, in latencies that are all over the place.
fn many(n: u64) -> History {
    use schism_history::{Event, EventKind, Process, Time};
    let mut events = Vec::new();
    for i in 0..n {
        let latency = 100_000 + i.wrapping_mul(2_654_435_761) % 40_000_000;
        let kind = match i % 10 {
            0 => EventKind::Info,
            1 | 2 => EventKind::Fail,
            _ => EventKind::Ok,
        };
        let at = i * 150_000;
        let event = |at: u64, kind| Event::new(Time(at), Process::Client(i), kind, "add", json!(i));
        events.extend([event(at, EventKind::Invoke), event(at + latency, kind)]);
    }
    events.sort_by_key(|e| e.time);
    History::new(events).unwrap()
}

/// What a report may take, however long the run was and however much was found.
const BYTES_MAX: usize = 4 << 20;

#[test]
fn a_report_of_200_000_operations_stays_small() {
    let history = many(200_000);
    let ops = history.ops();
    let found = |i: usize| {
        let operations = ops
            .iter()
            .skip(i * 40)
            .take(40)
            .map(schism_history::Op::index);
        anomaly(
            operations.collect(),
            &"Something was lost again. ".repeat(100),
        )
    };
    let mut verdict = violated("lost-writes", (0..20).map(found).collect());
    let result = verdict.properties["lost-writes"].clone();
    for name in [
        "stale-reads",
        "split-brain",
        "linearizable",
        "monotonic-reads",
    ] {
        verdict.properties.insert(name.to_owned(), result.clone());
    }
    let markup = html(&input(&history, &verdict)).unwrap();
    assert!(markup.len() < BYTES_MAX, "{} bytes", markup.len());
    let page = Page::read(&markup);
    assert!(
        page.prose()
            .contains("points stand for 200\u{202f}000 operations")
    );
    assert!(
        page.prose()
            .contains("The picture shows the first 30 of 40 operations.")
    );
    for (name, svg) in plots(&input(&history, &verdict)).unwrap() {
        assert!(svg.len() < 512 << 10, "{name}: {} bytes", svg.len());
    }
}

#[test]
fn a_thousand_faults_are_bounded_and_counted() {
    let mut tape = Tape::default().op(Told::add(0, 1, (0, 1000)));
    for i in 0..1000 {
        let at = 2000 + i * 100;
        tape = tape.fault(i + 1, "kill n1", &[at, at + 10, at + 50, at + 60], true);
    }
    let history = tape.history();
    let verdict = judged(&history);
    let markup = html(&input(&history, &verdict)).unwrap();
    assert!(markup.len() < 1 << 20, "{} bytes", markup.len());
    let page = Page::read(&markup);
    assert!(
        page.says("The first 40 faults are drawn.") && page.says("500 more are in history.jsonl.")
    );
    assert!(markdown(&input(&history, &verdict)).contains("and 980 more"));
}
