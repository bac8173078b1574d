//! Each property against its definition, by brute force, on small random histories.
//!
//! The oracles are written from the definitions and the papers that they name, not from the checkers: quadratic loops, and all
//! orders where there is one to be found. A difference is printed as the smallest history that shows it, in the one-line
//! notation. `SCHISM_ORACLE_CASES` tries more than the default. Case `n` is drawn with seed `n`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[path = "oracle/acknowledgements.rs"]
mod acknowledgements;
#[path = "oracle/availability.rs"]
mod availability;
#[path = "oracle/bank.rs"]
mod bank;
#[path = "oracle/carts.rs"]
mod carts;
#[path = "oracle/convergence.rs"]
mod convergence;
#[path = "oracle/counter.rs"]
mod counter;
#[path = "oracle/forks.rs"]
mod forks;
#[path = "oracle/jepsen.rs"]
mod jepsen;
#[path = "oracle/lost_writes.rs"]
mod lost_writes;
#[path = "oracle/models.rs"]
mod models;
#[path = "oracle/mutex.rs"]
mod mutex;
#[path = "oracle/orders.rs"]
mod orders;
#[path = "oracle/prefixes.rs"]
mod prefixes;
#[path = "oracle/questions.rs"]
mod questions;
#[path = "oracle/queue.rs"]
mod queue;
#[path = "oracle/registers.rs"]
mod registers;
#[path = "oracle/sessions.rs"]
mod sessions;
#[path = "oracle/sets.rs"]
mod sets;
mod support;
#[path = "oracle/text.rs"]
mod text;
#[path = "oracle/updates.rs"]
mod updates;
#[path = "oracle/writes.rs"]
mod writes;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::{Anomaly, Decision};
use schism_history::{History, Key, Op};
use std::collections::{BTreeMap, BTreeSet};
use support::random::{Lines, history, smallest};
use support::{is_invocation, is_void, only, result_or_error, streamed};

/// A definition, as naive as can be.
type Oracle = fn(&History) -> Decision;

/// Draws a history.
type Draw = dyn Fn(&mut ChaCha8Rng) -> Lines;

/// The checker says what the oracle says, on every case; and both verdicts are common enough to mean something.
fn agree(property: &str, cases: u64, draw: &Draw, oracle: Oracle) {
    let mut counts: BTreeMap<Decision, u64> = BTreeMap::new();
    for case in 0..cases {
        let lines = draw(&mut ChaCha8Rng::seed_from_u64(case));
        let differs = |history: &History| {
            let expected = expected(oracle, history, property);
            said(history, property).map_or(expected == Decision::Violated, |got| got != expected)
        };
        let drawn = history(&lines);
        the_same_as_a_stream(property, case, &lines);
        if differs(&drawn) {
            let smallest = smallest(&lines, differs);
            let small = history(&smallest);
            panic!(
                "case {case}: {property} is {:?} by the definition, and the checker says {:?}:\n{}",
                expected(oracle, &small, property),
                said(&small, property),
                smallest.join("\n"),
            );
        }
        *counts
            .entry(expected(oracle, &drawn, property))
            .or_default() += 1;
    }
    for decision in [Decision::Holds, Decision::Violated] {
        let n = counts.get(&decision).copied().unwrap_or_default();
        assert!(
            n > cases / 20,
            "{property} is {decision:?} in {n} of {cases}: {counts:?}"
        );
    }
}

/// What the definition says; but what it says of nothing at all is no pass.
fn expected(oracle: Oracle, history: &History, property: &str) -> Decision {
    let expected = oracle(history);
    let void = || result_or_error(history, property).is_ok_and(|result| is_void(&result));
    if expected == Decision::Holds && void() {
        Decision::Unknown
    } else {
        expected
    }
}

/// Where a property can read a history as a stream, it says the same of it.
fn the_same_as_a_stream(property: &str, case: u64, lines: &Lines) {
    let differs = |history: &History| {
        let of_stream = streamed(history, property).map(|result| result.verdict);
        of_stream.is_some() && of_stream != said(history, property)
    };
    if differs(&history(lines)) {
        let smallest = smallest(lines, differs);
        let small = history(&smallest);
        panic!(
            "case {case}: {property} is {:?} in memory, and {:?} as a stream:\n{}",
            said(&small, property),
            streamed(&small, property),
            smallest.join("\n"),
        );
    }
}

/// What the checker says; nothing where the property does not fit.
fn said(history: &History, property: &str) -> Option<Decision> {
    result_or_error(history, property).ok().map(|r| r.verdict)
}

/// Every anomaly is a proof by itself: a history of nothing but the operations that it names is a violation, too.
fn prove(property: &str, cases: u64, draw: &Draw, oracle: Oracle) {
    let mut proved = 0;
    for case in 0..cases {
        let lines = draw(&mut ChaCha8Rng::seed_from_u64(case));
        let lacks = |history: &History| lacking(history, property, oracle).is_some();
        if lacks(&history(&lines)) {
            let smallest = smallest(&lines, lacks);
            let anomaly = lacking(&history(&smallest), property, oracle).unwrap();
            let (named, message) = (anomaly.operations, anomaly.message);
            panic!(
                "case {case}: {named:?} alone are no proof ({message}) in:\n{}",
                smallest.join("\n")
            );
        }
        let result = result_or_error(&history(&lines), property);
        proved += result.map_or(0, |r| r.anomalies.len() as u64);
    }
    assert!(
        proved > cases / 20,
        "{property} had only {proved} anomalies in {cases} histories"
    );
}

/// An anomaly that does not name what proves it.
fn lacking(history: &History, property: &str, oracle: Oracle) -> Option<Anomaly> {
    let anomalies = result_or_error(history, property).ok()?.anomalies;
    let of_stream = streamed(history, property).map(|result| result.anomalies);
    let anomalies = anomalies.into_iter();
    anomalies
        .chain(of_stream.into_iter().flatten())
        .find(|anomaly| {
            let named = &anomaly.operations;
            let all_are = named.iter().all(|i| is_invocation(history, *i));
            let distinct = named.iter().collect::<BTreeSet<_>>().len() == named.len();
            !all_are || !distinct || oracle(&only(history, named)) != Decision::Violated
        })
}

/// The worst of several decisions: violated, then unknown, then holds.
fn worst(decisions: impl IntoIterator<Item = Decision>) -> Decision {
    decisions.into_iter().max().unwrap_or(Decision::Holds)
}

fn violated_if(violated: bool) -> Decision {
    if violated {
        Decision::Violated
    } else {
        Decision::Holds
    }
}

fn by_key<'h>(history: &'h History) -> BTreeMap<Option<&'h Key>, Vec<Op<'h>>> {
    let mut keys: BTreeMap<Option<&'h Key>, Vec<Op<'h>>> = BTreeMap::new();
    for op in history.ops() {
        keys.entry(op.key()).or_default().push(op);
    }
    keys
}
