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

// --- Lists that transactions append to ----------------------------------------------------------------------------------

/// The same histories, with each set as a list.
fn lists(rng: &mut ChaCha8Rng) -> Lines {
    let sets = if one_in(rng, 3) {
        sets_with_retries(rng)
    } else {
        sets(rng)
    };
    sets.iter().map(|line| as_transaction(line)).collect()
}

fn as_transaction(line: &str) -> String {
    let words: Vec<&str> = line.splitn(5, ' ').collect();
    let [process, f, key, value, rest] = words[..] else {
        panic!("{line}");
    };
    match f {
        "add" => format!(r#"{process} txn - [["append","{key}",{value}]] {rest}"#),
        _ => format!(r#"{process} txn - [["r","{key}",null]]>[["r","{key}",{value}]] {rest}"#),
    }
}

/// The only micro-operation of a transaction: its function, key and value.
fn micro(op: &Op<'_>) -> (String, String, Value) {
    let micro = op.result().unwrap_or(op.argument())[0].clone();
    let text = |at: usize| micro[at].as_str().unwrap().to_owned();
    (text(0), text(1), micro[2].clone())
}

fn oracle_lists(history: &History) -> Decision {
    let ops = history.ops();
    worst(["a", "b"].map(|key| {
        let of = |f: &'static str| {
            ops.iter()
                .filter(move |op| micro(op).0 == f && micro(op).1 == key)
        };
        let appends: Vec<&Op<'_>> = of("append").collect();
        let may = |value: &Value| {
            let may = appends.iter().filter(|op| op.outcome() != Outcome::Fail);
            may.filter(|op| micro(op).2 == *value).count()
        };
        let finals: Vec<(&Op<'_>, Vec<Value>)> = of("r")
            .filter(|op| op.is_ok() && op.is_final())
            .map(|op| (op, micro(op).2.as_array().cloned().unwrap_or_default()))
            .collect();
        let mentioned = of("r")
            .chain(appends.iter().copied())
            .any(|op| op.outcome() != Outcome::Fail);
        if (appends.is_empty() && finals.is_empty()) || !mentioned {
            return Decision::Holds;
        }
        if finals.is_empty() {
            return Decision::Unknown;
        }
        let wrong = finals.iter().any(|(_, list)| {
            list.iter()
                .any(|e| list.iter().filter(|f| *f == e).count() > may(e))
        });
        let acknowledged = appends.iter().filter(|op| op.is_ok());
        let each = acknowledged.clone().map(|op| {
            let value = micro(op).2;
            let same = acknowledged.clone().filter(|op| micro(op).2 == value);
            let first = same.map(|op| op.end()).min().unwrap();
            let mut after = finals
                .iter()
                .filter(|(read, _)| read.start() > first)
                .peekable();
            if after.peek().is_none() {
                return Decision::Unknown;
            }
            violated_if(!after.any(|(_, list)| list.contains(&value)))
        });
        worst(each.chain([violated_if(wrong)]))
    }))
}

// --- Chains of compare-and-sets -----------------------------------------------------------------------------------------

/// Compare-and-sets from the newest value, or (in half of the histories) sometimes from an older one; final reads of the newest, or not.
fn chains(rng: &mut ChaCha8Rng) -> Lines {
    let (wrong, repeats) = (one_in(rng, 2), one_in(rng, 8));
    let mut lines = Vec::new();
    let mut values = vec!["null".to_owned()];
    for n in 1..rng.random_range(2..7) {
        let older = wrong && one_in(rng, 3);
        let old = if older {
            pick(rng, &values)
        } else {
            values[values.len() - 1].clone()
        };
        let new = if repeats && one_in(rng, 3) { 1 } else { n };
        let (start, outcome) = (n * 4, pick(rng, &["ok", "ok", "ok", "ok", "info", "fail"]));
        let end = start + rng.random_range(1..6);
        lines.push(format!(
            "{n}: cas x [{old},{new}] @{start}..{end} {outcome}"
        ));
        if outcome == "ok" || (outcome == "info" && one_in(rng, 2)) {
            values.push(new.to_string());
        }
        if one_in(rng, 4) {
            let (process, seen) = (50 + n, pick(rng, &values));
            lines.push(format!("{process}: read x {seen} @{end}..{}", end + 2));
        }
    }
    for process in 90..rng.random_range(91..94) {
        let newest = values[values.len() - 1].clone();
        let there = if wrong && one_in(rng, 2) {
            pick(rng, &values)
        } else {
            newest
        };
        let start = rng.random_range(16..40);
        lines.push(format!("{process}: read x {there} @{start}..41 final"));
    }
    lines
}

fn oracle_chains(history: &History) -> Decision {
    let ops = history.ops();
    let cas: Vec<&Op<'_>> = ops
        .iter()
        .filter(|op| op.f() == "cas" && op.outcome() != Outcome::Fail)
        .collect();
    if ops.iter().all(|op| op.f() != "cas") {
        return Decision::Holds;
    }
    let (found, put) = (
        |op: &Op<'_>| op.argument()[0].clone(),
        |op: &Op<'_>| op.argument()[1].clone(),
    );
    let times = |value: &Value| cas.iter().filter(|op| put(op) == *value).count();
    if cas.iter().any(|op| times(&put(op)) > 1) {
        return Decision::Unknown;
    }
    let reads: Vec<&Op<'_>> = ops
        .iter()
        .filter(|op| op.f() == "read" && op.is_ok())
        .collect();
    let finals: Vec<&&Op<'_>> = reads.iter().filter(|op| op.is_final()).collect();
    let pairs = cas.iter().flat_map(|a| cas.iter().map(move |b| (a, b)));
    let mut pairs = pairs.filter(|(a, b)| a.index() < b.index() && a.is_ok() && b.is_ok());
    let there = |value: &Value| value.is_null() || times(value) == 1;
    let forked = pairs.any(|(a, b)| found(a) == found(b) && there(&found(a)));
    let strange = finals.iter().any(|read| !there(read.result().unwrap()));
    let end = if finals.is_empty() {
        Decision::Unknown
    } else {
        Decision::Holds
    };
    let each = cas
        .iter()
        .filter(|op| op.is_ok() && !finals.is_empty())
        .map(|op| {
            let value = put(op);
            let mut after = finals
                .iter()
                .filter(|read| read.start() > op.end())
                .peekable();
            if after.peek().is_none() {
                return Decision::Unknown;
            }
            let next: Vec<&&Op<'_>> = cas.iter().filter(|op| found(op) == value).collect();
            let seen = |value: &Value| {
                let found_by = cas.iter().any(|op| op.is_ok() && found(op) == *value);
                found_by || reads.iter().any(|read| read.result() == Some(value))
            };
            if after.any(|read| read.result() == Some(&value))
                || next.iter().any(|op| op.is_ok() || seen(&put(op)))
            {
                return Decision::Holds;
            }
            if next.is_empty() {
                Decision::Violated
            } else {
                Decision::Unknown
            }
        });
    worst(each.chain([violated_if(forked || strange), end]))
}

#[test]
fn lost_writes_of_lists() {
    agree("lost-writes", cases(1500), &lists, oracle_lists);
    prove("lost-writes", cases(700), &lists, oracle_lists);
}

#[test]
fn lost_writes_of_chains() {
    agree("lost-writes", cases(3000), &chains, oracle_chains);
    prove("lost-writes", cases(2000), &chains, oracle_chains);
}
