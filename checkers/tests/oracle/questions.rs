//! `consistent-prefix` on questions and answers: whoever sees an answer sees its question.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, prove};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Key, Op, Outcome, Time};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What was put where.
#[derive(Clone)]
struct Put {
    element: Value,
    answer: bool,
}

/// Two or three clients ask, answer what they may have seen, and read a list, of which something is missing now and then. With keys, without, or
/// with keys only on reads; a client keeps its session after an unknown outcome, or shares one with another.
fn draw(rng: &mut ChaCha8Rng) -> Lines {
    let (mut lines, mut put) = (Lines::new(), Vec::<Put>::new());
    let clients = rng.random_range(2..4);
    let (mut free, mut process) = (vec![0_u64; clients], (0..clients).collect::<Vec<_>>());
    let keys = pick(rng, &["none", "all", "all", "reads", "any"]);
    let shared = one_in(rng, 3);
    let wrong = !one_in(rng, 3);
    let mut at = 0;
    for _ in 0..rng.random_range(3..11) {
        let client = rng.random_range(0..clients);
        at += rng.random_range(0..3);
        let start = at.max(free[client]);
        let end = start + rng.random_range(1..6);
        let outcome = pick(
            rng,
            &["ok", "ok", "ok", "ok", "ok", "info", "fail", "final"],
        );
        let asked: Vec<Value> = put
            .iter()
            .filter(|p| !p.answer)
            .map(|p| p.element.clone())
            .collect();
        let (f, value, part) = match rng.random_range(0..10) {
            0..2 => ("ask", json!(rng.random_range(1..4)), "questions"),
            2..4 if !asked.is_empty() => {
                let question = pick(rng, &asked);
                (
                    "answer",
                    json!({"q": question, "a": rng.random_range(10..12)}),
                    "answers",
                )
            }
            2..4 => ("ask", json!(1), "questions"),
            _ => ("read", Value::Null, pick(rng, &["questions", "answers"])),
        };
        let keyed = match keys {
            "all" => f != "read" || !one_in(rng, 5),
            "reads" => f == "read",
            "any" => one_in(rng, 2),
            _ => false,
        };
        let key = if keyed { part } else { "-" };
        let value = if f == "read" {
            let there = put
                .iter()
                .filter(|p| !keyed || p.answer == (part == "answers"));
            let mut there: Vec<Value> = there.map(|p| p.element.clone()).collect();
            there.retain(|v| !one_in(rng, if wrong && !v.is_object() { 3 } else { 20 }));
            Value::from(there)
        } else {
            value
        };
        let outcome = if f != "read" && outcome == "final" {
            "ok"
        } else {
            outcome
        };
        if f != "read"
            && (outcome == "ok" || one_in(rng, 2))
            && (outcome != "fail" || one_in(rng, 20))
        {
            put.push(Put {
                element: value.clone(),
                answer: f == "answer",
            });
        }
        let session = if shared { client / 2 } else { client };
        lines.push(format!(
            "{}: {f} {key} {value} @{start}..{end} {outcome} session={session}",
            process[client]
        ));
        free[client] = end + rng.random_range(1..3);
        if outcome == "info" {
            process[client] += clients;
        }
    }
    lines
}

/// Where an ask puts its question.
fn part(ask: &Op<'_>) -> Key {
    ask.key().cloned().unwrap_or_else(|| "questions".into())
}

fn covers(read: &Op<'_>, part: &Key) -> bool {
    read.key().is_none_or(|key| key == part)
}

fn elements<'h>(read: &Op<'h>) -> &'h [Value] {
    read.result()
        .unwrap()
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn is_answer(value: &Value) -> bool {
    value.get("q").is_some() && value.get("a").is_some()
}

/// The latest moment at which a question began to be there: the first acknowledgement, or the end of a read that shows it.
fn there_by(ops: &[Op<'_>], question: &Value, of: &Key) -> Time {
    let asks = || {
        ops.iter()
            .filter(|op| op.f() == "ask" && op.outcome() != Outcome::Fail)
    };
    let asks_it = || asks().filter(|op| op.argument() == question);
    let parts: BTreeSet<Key> = asks_it().map(part).collect();
    let acknowledged = asks_it()
        .filter(|op| op.is_ok() && part(op) == *of)
        .map(Op::end);
    let tells =
        |read: &&Op<'_>| read.key() == Some(of) || (read.key().is_none() && parts.len() == 1);
    let seen = reads(ops)
        .filter(tells)
        .filter(|read| elements(read).contains(question));
    acknowledged
        .chain(seen.map(Op::end))
        .min()
        .unwrap_or(Time::INFINITY)
}

fn reads<'o, 'h>(ops: &'o [Op<'h>]) -> impl Iterator<Item = &'o Op<'h>> {
    ops.iter()
        .filter(|op| op.f() == "read" && op.is_ok() && !op.is_final())
}

fn oracle(history: &History) -> Decision {
    let ops = history.ops();
    let (mut violated, mut doubt, mut judged) = (false, false, false);
    let put = |f: &'static str| {
        ops.iter()
            .filter(move |op| op.f() == f && op.outcome() != Outcome::Fail)
    };
    for read in reads(&ops) {
        for answer in elements(read).iter().filter(|e| is_answer(e)) {
            let given = put("answer")
                .filter(|op| op.argument() == answer)
                .map(Op::start)
                .min();
            let asks = put("ask").filter(|op| *op.argument() == answer["q"]);
            let parts: BTreeSet<Key> = asks.map(part).collect();
            let Some(given) = given.filter(|_| !parts.is_empty()) else {
                doubt = true;
                continue;
            };
            for part in parts
                .iter()
                .filter(|part| there_by(&ops, &answer["q"], part) < given)
            {
                let later =
                    reads(&ops).filter(|r| r.session() == read.session() && read.precedes(r));
                let next = later.filter(|r| covers(r, part)).min_by_key(|r| r.index());
                let of_it = if covers(read, part) { Some(read) } else { next };
                judged |= of_it.is_some();
                violated |= of_it.is_some_and(|r| !elements(r).contains(&answer["q"]));
            }
        }
    }
    match (violated, doubt || !judged) {
        (true, _) => Decision::Violated,
        (false, true) => Decision::Unknown,
        (false, false) => Decision::Holds,
    }
}

/// Those where a read could show an answer at all: the others say nothing.
fn with_answers(rng: &mut ChaCha8Rng) -> Lines {
    for _ in 0..50 {
        let lines = draw(rng);
        let shows = |line: &String| line.contains("read") && line.contains("\"q\"");
        if lines.iter().any(shows) {
            return lines;
        }
    }
    draw(rng)
}

#[test]
fn questions_and_answers() {
    agree("consistent-prefix", cases(2000), &with_answers, oracle);
    prove("consistent-prefix", cases(600), &with_answers, oracle);
}
