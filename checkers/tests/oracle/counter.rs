//! `counter`: reads between the sums that their intervals allow, and final reads that some subset of the unknown adds explains.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, by_key, prove, violated_if, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};

/// Adds of small numbers, reads of about what they add up to, and final reads that choose among the unknown.
fn counters(rng: &mut ChaCha8Rng) -> Lines {
    let mut adds: Vec<(i64, u64, u64, &str)> = Vec::new();
    let mut lines = Vec::new();
    let numbers = pick(
        rng,
        &[&[1, 1, 1][..], &[1, 2, 5], &[1, -1, 3, -4], &[10, 100, -3]],
    );
    let wrong = one_in(rng, 2);
    for _ in 0..rng.random_range(1..8) {
        let start = rng.random_range(0..20);
        let end = start + rng.random_range(1..10);
        let outcome = pick(rng, &["ok", "ok", "ok", "info", "fail"]);
        let by = pick(rng, numbers);
        adds.push((by, start, end, outcome));
        lines.push(format!(
            "{}: add c {by} @{start}..{end} {outcome}",
            lines.len()
        ));
    }
    for _ in 0..rng.random_range(1..4) {
        let last = one_in(rng, 2);
        let start = rng.random_range(0..20) + if last { 12 } else { 0 };
        let end = start + rng.random_range(1..6);
        let mut n = 0;
        for (by, begun, ended, outcome) in &adds {
            let sure = *outcome == "ok" && *ended < start;
            let maybe = *outcome != "fail" && *begun <= end;
            n += if sure || (maybe && one_in(rng, 2)) {
                *by
            } else {
                0
            };
        }
        if wrong && one_in(rng, 2) {
            n += rng.random_range(-3..4);
        }
        let what = if n == 0 && lines.last().is_some_and(|l: &String| l.contains("read")) {
            "null".to_owned()
        } else {
            n.to_string()
        };
        let attribute = if last { "final" } else { "ok" };
        lines.push(format!(
            "{}: read c {what} @{start}..{end} {attribute}",
            lines.len()
        ));
    }
    lines
}

fn oracle_counter(history: &History) -> Decision {
    let ops = by_key(history);
    worst(ops.values().map(|ops| {
        let reads = ops.iter().filter(|op| op.f() == "read" && op.is_ok());
        worst(reads.map(|read| violated_if(!explained(read, ops))))
    }))
}

fn explained(read: &Op<'_>, ops: &[Op<'_>]) -> bool {
    let n = read.result().unwrap().as_i64().unwrap_or(0);
    let adds = ops
        .iter()
        .filter(|op| op.f() == "add" && op.outcome() != Outcome::Fail);
    let tried: Vec<(i64, bool)> = adds
        .filter(|add| add.start() <= read.end())
        .map(|add| (add.argument().as_i64().unwrap(), add.precedes(read)))
        .collect();
    // All that can be, one way and the other: a subset that has everything sure and some of the rest.
    let sums: Vec<i64> = (0..1_u32 << tried.len())
        .filter(|mask| (0..tried.len()).all(|i| !tried[i].1 || mask >> i & 1 == 1))
        .map(|mask| {
            (0..tried.len())
                .filter(|i| mask >> i & 1 == 1)
                .map(|i| tried[i].0)
                .sum()
        })
        .collect();
    if read.is_final() {
        sums.contains(&n)
    } else {
        *sums.iter().min().unwrap() <= n && n <= *sums.iter().max().unwrap()
    }
}

#[test]
fn counter() {
    agree("counter", cases(3000), &counters, oracle_counter);
    prove("counter", cases(3000), &counters, oracle_counter);
}
