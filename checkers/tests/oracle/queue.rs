//! `queue`: each element that came out had been put in, and each that was put in came out.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, by_key, prove, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use serde_json::Value;

/// Some elements are put in, some of them more than once; dequeues get them, a drain gets the rest; then something may go wrong.
fn queues(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Vec::new();
    let wrong = one_in(rng, 2);
    let mut inside: Vec<u32> = Vec::new();
    for _ in 0..rng.random_range(1..5) {
        let value = rng.random_range(1..6);
        let start = rng.random_range(0..12);
        let end = start + rng.random_range(1..8);
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "info", "fail"]);
        lines.push(format!(
            "{}: enqueue q {value} @{start}..{end} {outcome}",
            lines.len()
        ));
        let there = outcome == "ok" || (outcome == "info" && one_in(rng, 2));
        inside.extend(there.then_some(value));
    }
    for _ in 0..rng.random_range(0..4) {
        let start = rng.random_range(8..20);
        let end = start + rng.random_range(1..8);
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "ok", "info", "fail"]);
        let empty = one_in(rng, 8) || inside.is_empty();
        let value = if empty || outcome == "fail" {
            "null".to_owned()
        } else {
            let at = rng.random_range(0..inside.len());
            let again = wrong && one_in(rng, 4);
            let value = if again { inside[at] } else { inside.remove(at) };
            value.to_string()
        };
        lines.push(format!(
            "{}: dequeue q {value} @{start}..{end} {outcome}",
            lines.len()
        ));
    }
    if !one_in(rng, 4) {
        inside.retain(|_| !wrong || !one_in(rng, 4));
        if wrong && one_in(rng, 4) {
            inside.push(rng.random_range(1..8));
        }
        let list = format!("{inside:?}").replace(", ", ",");
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "ok", "info"]);
        let start = rng.random_range(12..30);
        lines.push(format!(
            "{}: drain q null>{list} @{start}..31 {outcome}",
            lines.len()
        ));
    }
    lines
}

fn oracle_queue(history: &History) -> Decision {
    worst(by_key(history).values().map(|ops| of_queue(ops)))
}

/// One thing that came out, or an operation that may have taken something unseen.
struct Out<'h> {
    value: Option<&'h Value>,
    op: Op<'h>,
}

impl Out<'_> {
    /// A dequeue of unknown outcome that says what it was about to take: it took that or nothing.
    fn may_be_none(&self) -> bool {
        self.op.outcome() == Outcome::Info
    }
}

/// What a completion says, whatever the outcome.
fn said<'h>(op: &Op<'h>) -> Option<&'h Value> {
    op.completion.map(|c| &c.value).filter(|v| !v.is_null())
}

/// Every way to say which enqueue each thing that came out was.
fn of_queue(ops: &[Op<'_>]) -> Decision {
    let puts: Vec<Op<'_>> = ops
        .iter()
        .filter(|op| op.f() == "enqueue" && op.outcome() != Outcome::Fail)
        .copied()
        .collect();
    let mut outs: Vec<Out<'_>> = Vec::new();
    for op in ops.iter().filter(|op| op.f() != "enqueue") {
        let values: Vec<Option<&Value>> = match (op.f(), op.result()) {
            ("dequeue", None) if op.outcome() == Outcome::Info => vec![said(op)],
            (_, None) if op.outcome() == Outcome::Info => vec![None],
            ("dequeue", value) => value
                .filter(|v| !v.is_null())
                .map(Some)
                .into_iter()
                .collect(),
            (_, list) => {
                let list = list.and_then(Value::as_array);
                list.into_iter().flatten().map(Some).collect()
            }
        };
        outs.extend(values.into_iter().map(|value| Out { value, op: *op }));
    }
    let drains: Vec<&Op<'_>> = ops
        .iter()
        .filter(|op| op.f() == "drain" && op.is_ok())
        .collect();
    let best = best(&puts, &outs, &mut vec![false; puts.len()], 0, &|gone| {
        judged(&puts, gone, &drains, &outs)
    });
    best.unwrap_or(Decision::Violated)
}

/// The best that can be said of all the ways.
fn best(
    puts: &[Op<'_>],
    outs: &[Out<'_>],
    gone: &mut Vec<bool>,
    next: usize,
    judge: &dyn Fn(&[bool]) -> Decision,
) -> Option<Decision> {
    let Some(out) = outs.get(next) else {
        return Some(judge(gone));
    };
    let Some(value) = out.value else {
        return best(puts, outs, gone, next + 1, judge);
    };
    let skipped = out.may_be_none();
    let skipped = skipped.then(|| best(puts, outs, gone, next + 1, judge));
    let mut found: Option<Decision> = skipped.flatten();
    for put in 0..puts.len() {
        let fits = puts[put].argument() == value && puts[put].start() <= out.op.end();
        if gone[put] || !fits {
            continue;
        }
        gone[put] = true;
        let here = best(puts, outs, gone, next + 1, judge);
        found = found.into_iter().chain(here).min();
        gone[put] = false;
    }
    found
}

/// What is to be said if these came out: of the rest, those that a drain should have found must have left with operations of unknown outcome.
fn judged(puts: &[Op<'_>], gone: &[bool], drains: &[&Op<'_>], outs: &[Out<'_>]) -> Decision {
    let rest: Vec<&Op<'_>> = (0..puts.len())
        .filter(|i| !gone[*i] && puts[*i].is_ok())
        .map(|i| &puts[i])
        .collect();
    let drained = |put: &&&Op<'_>| drains.iter().any(|drain| put.precedes(drain));
    let missing = rest.iter().filter(drained).count();
    let unseen: Vec<&Out<'_>> = outs.iter().filter(|out| out.value.is_none()).collect();
    let explained = unseen.iter().any(|out| out.op.f() == "drain") || missing <= unseen.len();
    match (rest.is_empty(), explained) {
        (true, _) => Decision::Holds,
        (false, true) => Decision::Unknown,
        (false, false) => Decision::Violated,
    }
}

#[test]
fn queue() {
    agree("queue", cases(4000), &queues, oracle_queue);
    prove("queue", cases(3000), &queues, oracle_queue);
}
