//! Histories read as streams get the verdict that they get in memory: longer ones than those that an oracle can decide, and bounds of memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod support;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schism_checkers::stream::{Fold, Survey};
use schism_checkers::verdict::Decision;
use schism_checkers::{Prepared, Shape, property};
use schism_history::{History, Op, Step, Steps};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use support::random::{Lines, Registers, cases, history, smallest};
use support::{result_or_error, streamed};

fn the_same(property: &str, cases: u64, draw: impl Fn(&mut ChaCha8Rng) -> Lines) {
    let mut counts: BTreeMap<Decision, u64> = BTreeMap::new();
    for case in 0..cases {
        let lines = draw(&mut ChaCha8Rng::seed_from_u64(case));
        let differs = |history: &History| {
            let in_memory = result_or_error(history, property).map(|r| r.verdict).ok();
            streamed(history, property).map(|r| r.verdict) != in_memory
        };
        if differs(&history(&lines)) {
            let smallest = smallest(&lines, differs);
            let small = history(&smallest);
            let of_stream = streamed(&small, property);
            let in_memory = result_or_error(&small, property);
            panic!(
                "case {case}: {of_stream:#?} as a stream, {in_memory:#?} in memory:\n{}",
                smallest.join("\n")
            );
        }
        if let Ok(result) = result_or_error(&history(&lines), property) {
            *counts.entry(result.verdict).or_default() += 1;
        }
    }
    assert!(
        counts.values().filter(|n| **n > cases / 20).count() > 1,
        "{counts:?}"
    );
}

/// Long enough for values to be forgotten, and for few reads to be wrong.
const LONG: Registers = Registers {
    ops_max: 60,
    clients: 4,
    keys: 2,
    write_ms: 12,
    ..Registers::PLAIN
};

/// One read in so many histories is wrong: then the others hold, and the place of the wrong one matters.
fn rarely_wrong(registers: Registers) -> impl Fn(&mut ChaCha8Rng) -> Lines {
    move |rng| {
        let mut lines = registers.draw(rng);
        let other = registers.draw(rng);
        if rng.random_range(0..2) == 0 {
            // A read of the other history in place of one of this: its value is old, or to come, or nobody's.
            let reads: Vec<usize> = (0..lines.len())
                .filter(|i| lines[*i].contains("read"))
                .collect();
            let values: Vec<&str> = other
                .iter()
                .filter_map(|l| l.split_once("read "))
                .map(|(_, l)| l)
                .collect();
            if let (Some(at), Some(value)) = (reads.get(rng.random_range(0..60)), values.first()) {
                let value = value.split(' ').nth(1).unwrap();
                let (head, tail) = lines[*at].split_once("read ").unwrap();
                let parts: Vec<&str> = tail.splitn(3, ' ').collect();
                lines[*at] = format!("{head}read {} {value} {}", parts[0], parts[2]);
            }
        }
        lines
    }
}

#[test]
fn linearizable() {
    the_same("linearizable", cases(800), rarely_wrong(LONG));
    the_same(
        "linearizable",
        cases(400),
        rarely_wrong(Registers {
            thin_air: true,
            ..LONG
        }),
    );
    the_same(
        "linearizable",
        cases(300),
        rarely_wrong(Registers {
            unique: false,
            ops_max: 14,
            ..LONG
        }),
    );
}

#[test]
fn stale_reads() {
    the_same("stale-reads", cases(800), rarely_wrong(LONG));
    the_same(
        "stale-reads",
        cases(400),
        rarely_wrong(Registers {
            thin_air: true,
            ..LONG
        }),
    );
    the_same(
        "stale-reads",
        cases(400),
        rarely_wrong(Registers {
            cas: true,
            unique: false,
            ..LONG
        }),
    );
}

/// Clients one after another and at once, for as long as it takes.
fn register_of(operations: u64) -> History {
    let mut lines = String::new();
    for i in 0..operations / 2 {
        let at = i * 10;
        let _ = writeln!(lines, "0: write x {} @{at}..{}", i + 1, at + 7);
        let _ = writeln!(lines, "1: read x {} @{}..{}", i + 1, at + 2, at + 9);
    }
    History::dsl(&lines).unwrap()
}

fn most_remembered(history: &History, name: &str) -> u64 {
    let prepared = Prepared::new(history);
    let mut fold = property(name).unwrap().stream(&prepared).unwrap();
    let mut steps = Steps::new();
    let mut most = 0;
    for event in history.events.clone() {
        tell(&mut *fold, steps.take(event).unwrap());
        most = most.max(fold.bytes());
    }
    most
}

fn tell(fold: &mut dyn Fold<'_>, step: Step) {
    match step {
        Step::Begins(event) => {
            fold.begins(&event);
            fold.moment(event.time);
        }
        Step::Ended(invoke, completion) => {
            fold.ended(&Op {
                invoke: &invoke,
                completion: Some(&completion),
            });
            fold.moment(completion.time);
        }
        Step::Nemesis(_) => {}
    }
}

#[test]
fn what_is_remembered_does_not_grow_with_the_history() {
    for name in ["linearizable", "stale-reads"] {
        let [short, long] = [100, 20_000].map(|n| most_remembered(&register_of(n), name));
        assert!(
            long <= short && short > 0,
            "{name}: {short} bytes, then {long}"
        );
    }
}

#[test]
fn one_value_alone_is_a_sibling_also_in_the_sample() {
    let text = "0: write x 1 @0..10\n3: read x 1 @12..15\n0: write x 2 @20..30\n1: write x 3 @20..30\n3: read x [2,3] @40..50\n\
                3: write x 4 @60..70\n1: read x 4 @80..90 final\n";
    let history = History::dsl(text).unwrap();
    let survey = Survey::new(history.events.iter().cloned().map(Ok), u64::MAX).unwrap();
    for history in [&history, &survey.sample] {
        let prepared = Prepared::new(history);
        let shapes: Vec<Shape> = prepared.keys.iter().map(|keyed| keyed.shape).collect();
        assert_eq!(shapes, [Shape::Siblings]);
    }
}
