//! `monotonic-writes` and `writes-follow-reads`: what a session had written or read is wherever its later writes are.

use crate::sessions::{any_order_fits, one_session_writes, read_then_read, sessions};
use crate::support::random::{Lines, Sessions, cases, one_in, pick};
use crate::support::{is_answered_read, written};
use crate::{agree, by_key, prove, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use serde_json::Value;

type Bound<'h> = Option<(&'h Value, &'h Value)>;

fn write_then_write<'h>(a: &Op<'h>, b: &Op<'h>) -> Bound<'h> {
    written(a).filter(|_| a.is_ok()).zip(written(b))
}

fn read_then_write<'h>(a: &Op<'h>, b: &Op<'h>) -> Bound<'h> {
    let seen = a.result().filter(|_| is_answered_read(a));
    seen.zip(written(b))
}

/// No order of the versions fits: violated. One fits, and none that also lets the reads of sessions go forward, although those alone could:
/// nobody knows which of both is violated.
fn of_register(ops: &[Op<'_>], bind: crate::sessions::Bind) -> Decision {
    let reads_alone = any_order_fits(ops, &[read_then_read], false);
    if !any_order_fits(ops, &[bind], one_session_writes(ops)) {
        Decision::Violated
    } else if reads_alone && !any_order_fits(ops, &[read_then_read, bind], false) {
        Decision::Unknown
    } else {
        Decision::Holds
    }
}

/// What a session knows after an operation.
type Knows = fn(&Op<'_>) -> Vec<Value>;

fn added(op: &Op<'_>) -> Vec<Value> {
    let added = op.f() == "add" && op.is_ok();
    added.then(|| op.argument().clone()).into_iter().collect()
}

fn seen(op: &Op<'_>) -> Vec<Value> {
    let list = op.result().filter(|_| op.f() == "read");
    list.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Some read has an element, and for each add that may have put it there lacks something that the session had known before.
fn of_set(ops: &[Op<'_>], knows: Knows) -> Decision {
    let may_add = |op: &&Op<'_>| op.f() == "add" && op.outcome() != Outcome::Fail;
    let real = |e: &Value, by: &Op<'_>| {
        let mut adds = ops.iter().filter(may_add);
        adds.any(|add| add.argument() == e && add.start() <= by.end())
    };
    let lacks = |read: &[Value], add: &Op<'_>| {
        let mut before = ops
            .iter()
            .filter(|op| op.session() == add.session() && op.precedes(add));
        before.any(|op| knows(op).iter().any(|e| real(e, op) && !read.contains(e)))
    };
    let wrong = |read: &Op<'_>| {
        let elements = seen(read);
        elements.iter().any(|e| {
            let adds = ops.iter().filter(may_add);
            let adds: Vec<_> = adds
                .filter(|add| add.argument() == e && add.start() <= read.end())
                .collect();
            !adds.is_empty() && adds.iter().all(|add| lacks(&elements, add))
        })
    };
    crate::violated_if(ops.iter().any(wrong))
}

fn oracle(history: &History, bind: crate::sessions::Bind, knows: Knows) -> Decision {
    worst(by_key(history).values().map(|ops| {
        if ops.iter().any(|op| op.f() == "add") {
            of_set(ops, knows)
        } else {
            of_register(ops, bind)
        }
    }))
}

fn oracle_monotonic_writes(history: &History) -> Decision {
    oracle(history, write_then_write, added)
}

fn oracle_writes_follow_reads(history: &History) -> Decision {
    oracle(history, read_then_write, seen)
}

/// Two sessions that add and read in turn, and reads that lack an element now and then.
fn growing(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Vec::new();
    let (retries, wrong) = (one_in(rng, 3), !one_in(rng, 3));
    let mut elements: Vec<u32> = Vec::new();
    let (mut process, mut free_at) = ([0, 1], [0, 1]);
    for element in 0..rng.random_range(5..14) {
        let client = rng.random_range(0..2);
        let start = free_at[client] + rng.random_range(0..6);
        let end = start + rng.random_range(1..8);
        free_at[client] = end + rng.random_range(1..3);
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "ok", "info", "fail"]);
        let what = if one_in(rng, 2) {
            let again = retries && one_in(rng, 3) && !elements.is_empty();
            let element = if again { pick(rng, &elements) } else { element };
            elements.push(element);
            format!("add s {element}")
        } else {
            let there = elements.iter().filter(|_| !wrong || !one_in(rng, 3));
            format!("read s {:?}", there.collect::<Vec<_>>()).replace(", ", ",")
        };
        let session = 100 + client;
        lines.push(format!(
            "{}: {what} @{start}..{end} {outcome} session={session}",
            process[client]
        ));
        if outcome == "info" {
            process[client] += 2;
        }
    }
    lines.push("99: add s 99 @0..1 info".to_owned());
    lines
}

fn registers(rng: &mut ChaCha8Rng) -> Lines {
    let of = pick(
        rng,
        &[Sessions::Process, Sessions::Client, Sessions::Shared],
    );
    sessions(rng, of, false)
}

/// Sessions that write each value once and read any of them at any time, of the past and of the future.
fn scrambled(rng: &mut ChaCha8Rng) -> Lines {
    let mut values = vec![1, 2, 3, 4];
    let clients = rng.random_range(1..4);
    let mut lines = Vec::new();
    for start in 0..rng.random_range(3..9) {
        let client = start % clients;
        let what = if one_in(rng, 2) && !values.is_empty() {
            let value = values.remove(rng.random_range(0..values.len()));
            format!("write x {value}")
        } else {
            format!("read x {}", pick(rng, &["1", "2", "3", "4", "null"]))
        };
        let end = start + rng.random_range(0..clients);
        lines.push(format!("{client}: {what} @{start}..{end}.5"));
    }
    lines
}

fn either(rng: &mut ChaCha8Rng) -> Lines {
    let draw = pick(rng, &[growing, growing, registers, scrambled]);
    draw(rng)
}

#[test]
fn monotonic_writes() {
    agree(
        "monotonic-writes",
        cases(4000),
        &either,
        oracle_monotonic_writes,
    );
    prove(
        "monotonic-writes",
        cases(3000),
        &growing,
        oracle_monotonic_writes,
    );
}

#[test]
fn writes_follow_reads() {
    agree(
        "writes-follow-reads",
        cases(4000),
        &either,
        oracle_writes_follow_reads,
    );
    prove(
        "writes-follow-reads",
        cases(3000),
        &either,
        oracle_writes_follow_reads,
    );
}
