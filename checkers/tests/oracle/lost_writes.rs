//! `lost-writes`: sets that only grow, and final reads that have an element or lack it.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, by_key, prove, violated_if, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use serde_json::Value;

/// Adds of unique elements to two sets, then final reads; some begin while adds are still in flight.
fn sets(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Vec::new();
    let wrong = one_in(rng, 2);
    for key in ["a", "b"].into_iter().take(rng.random_range(1..3)) {
        let mut adds = Vec::new();
        for element in 0..rng.random_range(1..5) {
            let start = rng.random_range(0..20);
            let outcome = pick(rng, &["ok", "ok", "ok", "ok", "fail", "info"]);
            adds.push((element, start, outcome));
            let (process, end) = (lines.len(), start + rng.random_range(1..10));
            lines.push(format!(
                "{process}: add {key} {element} @{start}..{end} {outcome}"
            ));
        }
        for _ in 0..rng.random_range(1..4) {
            let process = lines.len();
            lines.push(format!(
                "{process}: {}",
                final_read_of_set(rng, key, &adds, wrong)
            ));
        }
    }
    lines
}

fn final_read_of_set(
    rng: &mut ChaCha8Rng,
    key: &str,
    adds: &[(u32, u64, &str)],
    wrong: bool,
) -> String {
    let start = rng.random_range(20..40);
    let end = start + rng.random_range(1..5);
    let mut elements = Vec::new();
    for (element, _, outcome) in adds.iter().filter(|(_, begun, _)| *begun <= end) {
        let there = match *outcome {
            "ok" => !wrong || !one_in(rng, 3),
            "fail" => wrong && one_in(rng, 8),
            _ => one_in(rng, 2),
        };
        let times = if wrong && one_in(rng, 20) { 2 } else { 1 };
        elements.extend((0..times).filter(|_| there).map(|_| element.to_string()));
    }
    if wrong && one_in(rng, 20) {
        elements.push("99".to_owned());
    }
    let outcome = pick(
        rng,
        &["ok", "ok", "ok", "ok", "ok", "ok", "ok", "fail", "info"],
    );
    format!(
        "read {key} [{}] @{start}..{end} {outcome} final",
        elements.join(",")
    )
}

/// The same, and elements are added again (a retry under another process).
fn sets_with_retries(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = sets(rng);
    let adds: Vec<String> = lines
        .iter()
        .filter(|l| l.contains("add"))
        .cloned()
        .collect();
    for _ in 0..rng.random_range(1..3) {
        let again = pick(rng, &adds);
        let words: Vec<&str> = again.split(' ').collect();
        let (start, outcome) = (
            rng.random_range(0..30),
            pick(rng, &["ok", "ok", "info", "fail"]),
        );
        let (process, end) = (lines.len(), start + rng.random_range(1..10));
        lines.push(format!(
            "{process}: add {} {} @{start}..{end} {outcome}",
            words[2], words[3]
        ));
    }
    lines
}

fn oracle_lost_writes(history: &History) -> Decision {
    worst(by_key(history).values().map(|ops| of_set(ops)))
}

fn of_set(ops: &[Op<'_>]) -> Decision {
    let finals: Vec<&Op<'_>> = ops
        .iter()
        .filter(|op| op.is_final() && op.is_ok())
        .collect();
    if finals.is_empty() {
        return Decision::Unknown;
    }
    let wrong = finals
        .iter()
        .any(|read| has_twice(read) || has_unexpected(read, ops));
    let added = ops.iter().filter(|op| op.f() == "add" && op.is_ok());
    let elements: Vec<&Value> = added.map(Op::argument).collect();
    let each = elements.iter().map(|e| of_element(e, ops, &finals));
    worst(each.chain([violated_if(wrong)]))
}

/// Lost, unless a final read has it that began after its acknowledgement: the first one, if it was acknowledged more than once.
fn of_element(element: &Value, ops: &[Op<'_>], finals: &[&Op<'_>]) -> Decision {
    let added = ops.iter().filter(|op| op.f() == "add" && op.is_ok());
    let acknowledged = added.filter(|op| op.argument() == element).map(Op::end);
    let first = acknowledged.min().unwrap();
    let mut after = finals.iter().filter(|read| read.start() > first).peekable();
    if after.peek().is_none() {
        return Decision::Unknown;
    }
    violated_if(!after.any(|read| elements(read).contains(element)))
}

fn elements(read: &Op<'_>) -> Vec<Value> {
    read.result()
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

fn has_twice(read: &Op<'_>) -> bool {
    let elements = elements(read);
    elements
        .iter()
        .any(|e| elements.iter().filter(|f| *f == e).count() > 1)
}

fn has_unexpected(read: &Op<'_>, ops: &[Op<'_>]) -> bool {
    let added = |e: &Value| {
        ops.iter()
            .any(|op| op.f() == "add" && op.outcome() != Outcome::Fail && op.argument() == e)
    };
    !elements(read).iter().all(added)
}

#[test]
fn lost_writes() {
    agree("lost-writes", cases(3000), &sets, oracle_lost_writes);
}

#[test]
fn lost_writes_with_retries() {
    agree(
        "lost-writes",
        cases(3000),
        &sets_with_retries,
        oracle_lost_writes,
    );
}

#[test]
fn lost_writes_names_its_proof() {
    prove("lost-writes", cases(3000), &sets, oracle_lost_writes);
    prove(
        "lost-writes",
        cases(3000),
        &sets_with_retries,
        oracle_lost_writes,
    );
}
