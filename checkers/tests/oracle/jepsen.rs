//! `causal-reverse`, `monotonic`, and `sequential` on keys in parts: what Jepsen's own workloads look for, pair by pair.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, prove, violated_if, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use serde_json::{Value, json};

// --- causal-reverse ----------------------------------------------------------------------------------------------------

/// Inserts over two keys, and reads of most of what was begun; `add` or, as Jepsen has it, `write`.
fn growing(rng: &mut ChaCha8Rng) -> Lines {
    let f = pick(rng, &["add", "write"]);
    let mut lines = Lines::new();
    let mut begun: Vec<(u32, u32, u64)> = Vec::new();
    for i in 0..rng.random_range(3..7) {
        let (key, element) = (
            u32::from(one_in(rng, 4)),
            if one_in(rng, 6) { 1 } else { i },
        );
        let (start, outcome) = (
            rng.random_range(0..30),
            pick(rng, &["ok", "ok", "ok", "fail", "info"]),
        );
        let end = start + rng.random_range(1..8);
        begun.push((key, element, start));
        lines.push(format!(
            "{i}: {f} {key} {element} @{start}..{end} {outcome}"
        ));
    }
    for i in 10..rng.random_range(12..15) {
        let (key, start) = (u32::from(one_in(rng, 4)), rng.random_range(10..40));
        let hidden = if one_in(rng, 2) { 3 } else { 1000 };
        let there = begun
            .iter()
            .filter(|(k, _, at)| *k == key && *at < start + 3);
        let mut there: Vec<u32> = there.map(|(_, element, _)| *element).collect();
        there.retain(|_| !one_in(rng, hidden));
        there.extend(one_in(rng, 20).then_some(77));
        let list = format!("{there:?}").replace(", ", ",");
        let kind = pick(rng, &["ok", "ok", "ok", "final"]);
        lines.push(format!(
            "{i}: read {key} {list} @{start}..{} {kind}",
            start + 4
        ));
    }
    // Something of which the property is in any case.
    lines.push(format!("50: {f} 9 1 @0..1"));
    lines.push("51: read 9 [1] @2..3".to_owned());
    lines
}

/// The inserts of a value that a read may have seen.
fn inserts<'o, 'h>(ops: &'o [Op<'h>], read: &Op<'_>, value: &Value) -> Vec<&'o Op<'h>> {
    let of = |op: &&Op<'_>| {
        op.f() != "read"
            && op.key() == read.key()
            && op.argument() == value
            && op.outcome() != Outcome::Fail
    };
    ops.iter().filter(of).collect()
}

fn oracle_causal_reverse(history: &History) -> Decision {
    let ops = history.ops();
    let reversed = |read: &Op<'_>| {
        let list = read.result().unwrap().as_array().unwrap();
        let missed = ops.iter().filter(|w| {
            w.f() != "read" && w.key() == read.key() && w.is_ok() && !list.contains(w.argument())
        });
        missed.into_iter().any(|first| {
            list.iter().any(|value| {
                let later = inserts(&ops, read, value);
                !later.is_empty() && later.iter().all(|second| first.precedes(second))
            })
        })
    };
    let mut reads = ops
        .iter()
        .filter(|op| op.f() == "read" && op.is_ok() && !op.is_final())
        .peekable();
    if reads.peek().is_none() {
        return Decision::Unknown;
    }
    violated_if(reads.any(reversed))
}

#[test]
fn causal_reverse() {
    agree(
        "causal-reverse",
        cases(3000),
        &growing,
        oracle_causal_reverse,
    );
    prove(
        "causal-reverse",
        cases(3000),
        &growing,
        oracle_causal_reverse,
    );
}

// --- monotonic ---------------------------------------------------------------------------------------------------------

/// Rows of two processes, which reads may show with another timestamp, twice or not at all.
fn rows(rng: &mut ChaCha8Rng) -> Lines {
    let (by_process, asked, wrong) = (one_in(rng, 2), one_in(rng, 2), one_in(rng, 2));
    let mut lines = Lines::new();
    let mut rows: Vec<Value> = Vec::new();
    for val in 0..rng.random_range(1..6) {
        let mut row =
            json!({"val": val, "sts": val * 10 + rng.random_range(0..if wrong { 14 } else { 10 })});
        if by_process {
            row["proc"] = json!(rng.random_range(0..2));
        }
        let outcome = pick(rng, &["ok", "ok", "ok", "info", "fail"]);
        let argument = if asked {
            json!({"val": val})
        } else {
            json!(90 + val)
        };
        lines.push(format!(
            "{val}: add - {argument}>{row} @{}..{} {outcome}",
            val * 2,
            val * 2 + 3
        ));
        if outcome == "ok" && !(wrong && one_in(rng, 8))
            || outcome == "info" && one_in(rng, 2)
            || wrong && one_in(rng, 10)
        {
            rows.push(row.clone());
            rows.extend((wrong && one_in(rng, 12)).then_some(row));
        }
    }
    rows.sort_by_key(|row| row["sts"].as_i64());
    if wrong && one_in(rng, 4) {
        rows.reverse();
    }
    if wrong && one_in(rng, 8) {
        rows.push(json!({"val": 50, "sts": 500}));
    }
    lines.push("20: read - [] @0..1".to_owned());
    lines.push(format!("21: read - {} @30..31", Value::from(rows)));
    // Rows in any case.
    lines.push("22: add - {\"val\":-1}>{\"val\":-1,\"sts\":0} @0..1".to_owned());
    lines
}

fn stamp(row: &Value) -> i64 {
    row["sts"].as_i64().unwrap()
}

fn oracle_monotonic(history: &History) -> Decision {
    let ops = history.ops();
    let adds: Vec<&Op<'_>> = ops.iter().filter(|op| op.f() == "add").collect();
    let reads: Vec<(&Op<'_>, &Vec<Value>)> = ops
        .iter()
        .filter_map(|op| Some((op, op.result()?.as_array()?)))
        .collect();
    let in_order = |rows: &[Value]| {
        let named = rows.iter().any(|row| !row["proc"].is_null());
        let pairs = (0..rows.len()).flat_map(|i| (0..rows.len()).map(move |j| (i, j)));
        pairs.filter(|(i, j)| i != j).all(|(i, j)| {
            let (a, b) = (&rows[i], &rows[j]);
            let together = !named || a["proc"] == b["proc"];
            let rises = stamp(a) >= stamp(b) || a["val"].as_i64() < b["val"].as_i64();
            (!together || rises) && (i > j || stamp(a) <= stamp(b)) && a["val"] != b["val"]
        })
    };
    let asked = !adds.is_empty() && adds.iter().all(|op| op.argument().is_object());
    let known = |row: &Value| {
        let of = |op: &&&Op<'_>| op.argument()["val"] == row["val"];
        row["val"].as_i64() < Some(0)
            || adds
                .iter()
                .filter(of)
                .any(|op| op.outcome() != Outcome::Fail)
    };
    let each = reads
        .iter()
        .all(|(_, rows)| in_order(rows) && (!asked || rows.iter().all(known)));
    let acknowledged: Vec<&&Op<'_>> = adds.iter().filter(|op| op.is_ok()).collect();
    let finals = reads
        .iter()
        .filter(|(read, _)| acknowledged.iter().all(|add| add.precedes(read)));
    let finals: Vec<_> = finals.collect();
    let lost = |add: &&&Op<'_>| {
        let val = &add.result().unwrap()["val"];
        val.as_i64() >= Some(0)
            && finals
                .iter()
                .all(|(_, rows)| rows.iter().all(|row| row["val"] != *val))
    };
    worst([
        violated_if(!each),
        violated_if(!finals.is_empty() && acknowledged.iter().any(lost)),
        if finals.is_empty() {
            Decision::Unknown
        } else {
            Decision::Holds
        },
    ])
}

#[test]
fn monotonic() {
    agree("monotonic", cases(3000), &rows, oracle_monotonic);
    prove("monotonic", cases(3000), &rows, oracle_monotonic);
}

// --- sequential, keys in parts -----------------------------------------------------------------------------------------

fn parts(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Lines::new();
    let outcomes = ["ok", "ok", "info", "fail"];
    for key in 0..3 {
        for _ in 0..if one_in(rng, 8) { 2 } else { 1 } {
            lines.push(format!(
                "{}: write - {key} @0..9 {}",
                lines.len(),
                pick(rng, &outcomes)
            ));
        }
    }
    let wrong = one_in(rng, 2);
    for i in 10..rng.random_range(12..18) {
        let keys = if wrong && one_in(rng, 8) { 5 } else { 3 };
        let key = rng.random_range(0..keys);
        let there = rng.random_range(0..4);
        let list = (0..3).rev().map(|part| {
            let seen = part < there && !(wrong && one_in(rng, 8));
            if seen {
                json!(format!("{key}_{part}"))
            } else {
                Value::Null
            }
        });
        let list = Value::from(list.collect::<Vec<_>>());
        lines.push(format!("{i}: read - {key}>[{key},{list}] @5..20"));
    }
    lines
}

fn oracle_parts(history: &History) -> Decision {
    let ops = history.ops();
    let reads = ops.iter().filter(|op| op.f() == "read" && op.is_ok());
    worst(reads.map(|read| {
        let list = read.result().unwrap()[1].as_array().unwrap();
        let gap = (0..list.len())
            .any(|i| (0..i).any(|later| list[i].is_null() && !list[later].is_null()));
        let writes = ops
            .iter()
            .filter(|op| op.f() == "write" && op.argument() == read.argument())
            .count();
        match writes {
            0 => violated_if(list.iter().any(|part| !part.is_null())),
            1 => violated_if(gap),
            _ if gap => Decision::Unknown,
            _ => Decision::Holds,
        }
    }))
}

#[test]
fn sequential_on_keys_in_parts() {
    agree("sequential", cases(3000), &parts, oracle_parts);
    prove("sequential", cases(3000), &parts, oracle_parts);
}
