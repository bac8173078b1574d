//! `counter`: reads between the sums that their intervals allow, and final reads that some subset of the unknown adds explains.

use crate::support::random::{Lines, cases, history, one_in, pick};
use crate::support::{only, result_as, result_or_error};
use crate::{agree, by_key, prove, violated_if, worst};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schism_checkers::Model;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use serde_json::Value;

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

// --- Counters that merge later ------------------------------------------------------------------------------------------

/// Replicas that have some of the adds; in half of the histories one of them miscounts.
fn merging(rng: &mut ChaCha8Rng) -> Lines {
    let numbers = pick(rng, &[&[1, 1, 1][..], &[1, 2, 5], &[3, 7], &[10, 20]]);
    merging_of(rng, numbers)
}

fn merging_both_ways(rng: &mut ChaCha8Rng) -> Lines {
    let numbers = pick(rng, &[&[1, -1][..], &[3, -2, 5], &[4, -6, 10]]);
    merging_of(rng, numbers)
}

fn merging_of(rng: &mut ChaCha8Rng, numbers: &[i64]) -> Lines {
    let (wrong, named) = (one_in(rng, 2), one_in(rng, 2));
    let mut lines = Vec::new();
    let mut adds: Vec<(i64, u64, bool)> = Vec::new();
    for process in 0..rng.random_range(1..7) {
        let (by, start) = (pick(rng, numbers), rng.random_range(0..20));
        let end = start + rng.random_range(1..8);
        let outcome = pick(rng, &["ok", "ok", "ok", "info", "fail"]);
        let happened = outcome == "ok" || (outcome == "info" && one_in(rng, 2));
        adds.push((by, start, happened));
        lines.push(format!("{process}: add c {by} @{start}..{end} {outcome}"));
    }
    adds.retain(|(_, _, happened)| *happened);
    // What each of two replicas has, in the order in which it came there.
    let mut has: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
    let mut free_at = [0, 0];
    for _ in 0..rng.random_range(0..5) {
        let client = rng.random_range(0..2);
        let node = if one_in(rng, 4) { 1 - client } else { client };
        let start = free_at[client] + rng.random_range(0..6);
        let end = start + rng.random_range(1..4);
        free_at[client] = end + 1;
        for (i, (_, begun, _)) in adds.iter().enumerate() {
            if *begun <= start && !has[node].contains(&i) && one_in(rng, 2) {
                has[node].push(i);
            }
        }
        let mut n: i64 = has[node].iter().map(|i| adds[*i].0).sum();
        if wrong && one_in(rng, 3) {
            n += rng.random_range(-3..4);
        }
        let node = if named {
            format!(" node=n{node}")
        } else {
            String::new()
        };
        lines.push(format!("{}: read c {n} @{start}..{end}{node}", 50 + client));
    }
    for node in 0..rng.random_range(1..3) {
        let mut n: i64 = adds.iter().map(|(by, _, _)| by).sum();
        if wrong && one_in(rng, 2) {
            n += pick(rng, &[-10, -3, -2, -1, 1, 2]);
        }
        let start = rng.random_range(24..40);
        let at = if named {
            format!(" node=n{node}")
        } else {
            String::new()
        };
        lines.push(format!("{}: read c {n} @{start}..41 final{at}", 90 + node));
    }
    lines
}

fn sums(adds: &[&Op<'_>]) -> Vec<i64> {
    let by = |i: usize| adds[i].argument().as_i64().unwrap();
    let of = |mask: u32| (0..adds.len()).filter(|i| mask >> i & 1 == 1).map(by).sum();
    (0..1_u32 << adds.len()).map(of).collect()
}

fn returned(read: &Op<'_>) -> i64 {
    read.result().unwrap().as_i64().unwrap_or(0)
}

fn oracle_pn_counter(history: &History) -> Decision {
    worst(by_key(history).values().map(|ops| {
        let reads = ops.iter().filter(|op| op.f() == "read" && op.is_ok());
        worst(reads.map(|read| {
            let tried = |op: &&Op<'_>| {
                op.f() == "add" && op.outcome() != Outcome::Fail && op.start() <= read.end()
            };
            let tried: Vec<&Op<'_>> = ops.iter().filter(tried).collect();
            let made = sums(&tried).contains(&returned(read));
            violated_if(if read.is_final() {
                !explained(read, ops)
            } else {
                !made
            })
        }))
    }))
}

fn oracle_g_counter(history: &History) -> Decision {
    let keys = by_key(history);
    let back = keys.values().map(|ops| {
        let reads: Vec<&Op<'_>> = ops
            .iter()
            .filter(|op| op.f() == "read" && op.is_ok())
            .collect();
        let node = |op: &Op<'_>| op.completion.and_then(|c| c.node.clone());
        let pairs = reads.iter().flat_map(|a| reads.iter().map(move |b| (a, b)));
        let mut back = pairs.filter(|(a, b)| a.precedes(b) && returned(a) > returned(b));
        violated_if(back.any(|(a, b)| match (node(a), node(b)) {
            (Some(one), Some(other)) => one == other,
            _ => a.session() == b.session(),
        }))
    });
    worst(back.chain([oracle_pn_counter(history)]))
}

/// Missing from every final read, by the definition: each way to explain what they hold leaves out an acknowledged add everywhere.
fn oracle_lost_updates(history: &History) -> Decision {
    worst(by_key(history).values().map(|ops| {
        let finals: Vec<&Op<'_>> = ops
            .iter()
            .filter(|op| op.is_final() && op.is_ok())
            .collect();
        if finals.is_empty() {
            return Decision::Unknown;
        }
        let untouched = ops.iter().all(|op| op.f() == "read");
        if untouched || finals.iter().any(|read| explained(read, ops)) {
            return Decision::Holds;
        }
        let adds: Vec<&Op<'_>> = ops
            .iter()
            .filter(|op| op.f() == "add" && op.outcome() != Outcome::Fail)
            .collect();
        let by = |op: &Op<'_>| op.argument().as_i64().unwrap();
        let sure = |read: &Op<'_>| -> i64 {
            let sure = adds.iter().filter(|add| add.precedes(read));
            sure.map(|add| by(add)).sum()
        };
        let nothing = adds.iter().all(|add| by(add) == 0);
        let up = !nothing && adds.iter().all(|add| by(add) >= 0);
        let down = !nothing && adds.iter().all(|add| by(add) <= 0);
        let short = |read: &&Op<'_>| {
            (up && returned(read) < sure(read)) || (down && returned(read) > sure(read))
        };
        let total: i64 = finals.iter().map(|read| returned(read)).sum();
        let same = finals
            .iter()
            .all(|read| returned(read) == returned(finals[0]));
        let least = finals
            .iter()
            .map(|read| sure(read))
            .min_by_key(|n| n.abs())
            .unwrap();
        let everywhere = (least != 0 && same)
            || (up && 0 < least && total < least)
            || (down && 0 > least && total > least);
        if finals.iter().all(short) && everywhere {
            Decision::Violated
        } else {
            Decision::Unknown
        }
    }))
}

#[test]
fn g_counter() {
    agree("g-counter", cases(2000), &merging, oracle_g_counter);
    prove("g-counter", cases(2000), &merging, oracle_g_counter);
}

#[test]
fn pn_counter() {
    agree(
        "pn-counter",
        cases(2000),
        &merging_both_ways,
        oracle_pn_counter,
    );
    prove(
        "pn-counter",
        cases(2000),
        &merging_both_ways,
        oracle_pn_counter,
    );
}

#[test]
fn lost_updates_of_counters() {
    agree("lost-updates", cases(2000), &merging, oracle_lost_updates);
    prove("lost-updates", cases(2000), &merging, oracle_lost_updates);
}

/// What is wrong for a moment and what is wrong in the end have names of their own.
#[test]
fn counter_tells_reads_from_final_ones() {
    for case in 0..cases(2000) {
        let history = history(&counters(&mut ChaCha8Rng::seed_from_u64(case)));
        let ops = history.ops();
        for anomaly in result_or_error(&history, "counter").map_or(Vec::new(), |r| r.anomalies) {
            let named = |op: &&Op<'_>| op.f() == "read" && anomaly.operations.contains(&op.index());
            // Beside a read of null one of a number may be named.
            let of_the_end = !anomaly.name.starts_with("read");
            let mut reads = ops.iter().filter(named);
            let expected = reads.any(|read| read.is_final() == of_the_end);
            assert!(expected, "{anomaly:?}");
        }
    }
}

/// None of the operations that an anomaly names can be left out: then nothing is wrong, or something else.
fn minimal(property: &str, draw: &dyn Fn(&mut ChaCha8Rng) -> Lines) {
    let mut seen = 0;
    let anomalies = |history: &History| {
        result_or_error(history, property).map_or(Vec::new(), |result| result.anomalies)
    };
    for case in 0..cases(2000) {
        let whole = history(&draw(&mut ChaCha8Rng::seed_from_u64(case)));
        for anomaly in anomalies(&whole) {
            let alone = only(&whole, &anomaly.operations);
            // Beside a read of null stands one of a number, only to tell a counter, and that may be wrong as well.
            let ops = alone.ops();
            if ops.iter().any(|op| op.result().is_some_and(Value::is_null)) {
                continue;
            }
            assert!(!anomalies(&alone).is_empty(), "case {case}: {anomaly:?}");
            seen += 1;
            let all: Vec<u64> = alone.ops().iter().map(Op::index).collect();
            for left_out in &all {
                let kept: Vec<u64> = all.iter().copied().filter(|i| i != left_out).collect();
                let rest = anomalies(&only(&alone, &kept));
                let same = rest.iter().find(|a| a.name == anomaly.name);
                assert!(
                    same.is_none(),
                    "case {case}: {left_out} of {anomaly:?} is not needed"
                );
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn anomalies_of_counters_are_minimal() {
    minimal("counter", &counters);
    minimal("g-counter", &merging);
    minimal("pn-counter", &merging_both_ways);
}

/// A read that lacks the last of thousands of increments needs thousands to show it, and all of them are named; one that is too high needs none.
#[test]
fn a_long_proof_is_not_cut() {
    let adds: Lines = (0..3000)
        .map(|i| format!("0: add c 1 @{}..{}", 2 * i, 2 * i + 1))
        .collect();
    for (n, named) in [(2000, 2002), (5000, 2), (2999, 3001)] {
        let mut lines = adds.clone();
        lines.push(format!("1: read c {n} @9000..9001"));
        let whole = history(&lines);
        let anomaly = &result_or_error(&whole, "counter").unwrap().anomalies[0];
        assert_eq!(anomaly.operations.len(), named, "{n}: {}", anomaly.message);
        let alone = only(&whole, &anomaly.operations);
        let again = result_or_error(&alone, "counter").unwrap();
        assert_eq!(again.verdict, Decision::Violated);
        let as_model = result_as(&whole, Model::Counter).unwrap();
        let expected = if n == 5000 { 1 } else { named };
        assert_eq!(as_model.anomalies[0].operations.len(), expected);
    }
}
