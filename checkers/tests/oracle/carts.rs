//! `lost-updates` on carts (registers of lists) and on sets: each line and element, each add against each remove.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, by_key, prove, violated_if, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use serde_json::Value;
use std::collections::BTreeSet;

fn list(lines: &BTreeSet<u32>) -> String {
    let lines: Vec<u32> = lines.iter().copied().collect();
    format!("{lines:?}").replace(", ", ",")
}

/// Two clients read, merge and write carts; a replica in the end may lack a line.
fn carts(rng: &mut ChaCha8Rng) -> Lines {
    let wrong = one_in(rng, 2);
    let mut lines = vec!["80: write c [9] @0..1".to_owned()];
    let mut there: BTreeSet<u32> = BTreeSet::from([9]);
    let mut known = [BTreeSet::new(), BTreeSet::new()];
    let (mut process, mut free_at) = ([0, 1], [0, 1]);
    for n in 0..rng.random_range(1..8) {
        let client = rng.random_range(0..2);
        let start = free_at[client] + rng.random_range(0..3);
        let end = start + rng.random_range(1..5);
        free_at[client] = end + 1;
        let who = process[client];
        if one_in(rng, 3) {
            known[client].clone_from(&there);
            let answer = if one_in(rng, 2) {
                format!("[{},{}]", list(&there), list(&BTreeSet::from([n % 3])))
            } else {
                list(&there)
            };
            lines.push(format!("{who}: read c {answer} @{start}..{end}"));
            continue;
        }
        let mut cart: BTreeSet<u32> = known[client].clone();
        if one_in(rng, 2) {
            cart.insert(rng.random_range(0..4));
        } else {
            cart.pop_first();
        }
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "info", "fail"]);
        if outcome == "ok" || (outcome == "info" && one_in(rng, 2)) {
            there.extend(cart.iter().copied());
            there.retain(|line| cart.contains(line) || !known[client].contains(line));
        }
        let what = if one_in(rng, 5) {
            format!("cas c [{},{}]", list(&known[client]), list(&cart))
        } else {
            format!("write c {}", list(&cart))
        };
        lines.push(format!("{who}: {what} @{start}..{end} {outcome}"));
        known[client] = cart;
        if outcome == "info" {
            process[client] += 2;
            known[client].clear();
        }
    }
    for node in 0..rng.random_range(1..3) {
        if wrong {
            there.pop_first();
        }
        let start = rng.random_range(20..60);
        let answer = if one_in(rng, 2) && !there.is_empty() {
            format!("[{}]", list(&there))
        } else {
            list(&there)
        };
        lines.push(format!("{}: read c {answer} @{start}..61 final", 90 + node));
    }
    lines
}

/// Adds and removes of a few elements, and final reads that may lack some.
fn sets(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Vec::new();
    for process in 0..rng.random_range(1..7) {
        let (f, element) = (pick(rng, &["add", "add", "remove"]), rng.random_range(0..3));
        let (start, outcome) = (
            rng.random_range(0..20),
            pick(rng, &["ok", "ok", "ok", "info", "fail"]),
        );
        let end = start + rng.random_range(1..6);
        lines.push(format!(
            "{process}: {f} s {element} @{start}..{end} {outcome}"
        ));
    }
    for process in 90..rng.random_range(91..94) {
        let there: BTreeSet<u32> = (0..3).filter(|_| !one_in(rng, 3)).collect();
        let (start, there) = (rng.random_range(10..40), list(&there));
        let last = if one_in(rng, 4) { "ok" } else { "final" };
        lines.push(format!("{process}: read s {there} @{start}..41 {last}"));
    }
    lines
}

/// The lines in a cart or in several.
fn cart(value: &Value) -> Vec<Value> {
    let list = value.as_array().cloned().unwrap_or_default();
    if !list.is_empty() && list.iter().all(Value::is_array) {
        list.iter().flat_map(cart).collect()
    } else {
        list
    }
}

fn put(op: &Op<'_>) -> Option<Vec<Value>> {
    match op.f() {
        _ if op.outcome() == Outcome::Fail => None,
        "write" => Some(cart(op.argument())),
        "cas" => Some(cart(&op.argument()[1])),
        _ => None,
    }
}

fn finals<'o, 'h>(ops: &'o [Op<'h>]) -> Vec<&'o Op<'h>> {
    ops.iter()
        .filter(|op| op.is_final() && op.is_ok())
        .collect()
}

fn of_element(
    element: &Value,
    adds: &[&Op<'_>],
    removes: &[&Op<'_>],
    finals: &[&Op<'_>],
) -> Decision {
    let unseen = |add: &&&Op<'_>| add.is_ok() && removes.iter().all(|r| r.precedes(add));
    let Some(known) = adds.iter().filter(unseen).map(|add| add.end()).min() else {
        return Decision::Holds;
    };
    let mut after = finals.iter().filter(|read| read.start() > known).peekable();
    if after.peek().is_none() {
        return Decision::Unknown;
    }
    violated_if(!after.any(|read| cart(read.result().unwrap()).contains(element)))
}

fn oracle_carts(history: &History) -> Decision {
    worst(by_key(history).values().map(|ops| {
        let finals = finals(ops);
        if finals.is_empty() {
            return Decision::Unknown;
        }
        let all = ops.iter().filter_map(put).flatten().collect::<Vec<Value>>();
        worst(all.iter().map(|line| {
            let has = |op: &&Op<'_>| put(op).is_some_and(|lines| lines.contains(line));
            let adds: Vec<&Op<'_>> = ops.iter().filter(has).collect();
            let removes: Vec<&Op<'_>> = ops.iter().filter(|op| removes(op, line, ops)).collect();
            of_element(line, &adds, &removes, &finals)
        }))
    }))
}

/// A write without the line by a client that had seen it, and had not written it away since.
fn removes(op: &Op<'_>, line: &Value, ops: &[Op<'_>]) -> bool {
    let lacks = |op: &Op<'_>| put(op).is_some_and(|lines| !lines.contains(line));
    let own = |other: &Op<'_>| other.session() == op.session();
    let sight = |other: &Op<'_>| {
        let read = other.f() == "read" && other.is_ok() && !other.is_final();
        let found =
            other.f() == "cas" && put(other).is_some() && cart(&other.argument()[0]).contains(line);
        let written = put(other).is_some_and(|lines| lines.contains(line));
        (read && cart(other.result().unwrap()).contains(line)) || written || found
    };
    let removed_since = |since: &Op<'_>| {
        let again = |v: &Op<'_>| own(v) && lacks(v) && v.is_ok() && v.index() < op.index();
        ops.iter().any(|v| {
            again(v) && v.index() >= since.index() && v.f() != "read" && {
                since.index() == v.index() || since.precedes(v)
            }
        })
    };
    let before = |a: &Op<'_>| own(a) && a.precedes(op) && sight(a) && !removed_since(a);
    let found = op.f() == "cas" && cart(&op.argument()[0]).contains(line);
    lacks(op) && (found || ops.iter().any(before))
}

fn oracle_sets(history: &History) -> Decision {
    worst(by_key(history).values().map(|ops| {
        let finals = finals(ops);
        if finals.is_empty() {
            return Decision::Unknown;
        }
        let may = |f: &str, element: &Value| -> Vec<&Op<'_>> {
            let may = |op: &&Op<'_>| {
                op.f() == f && op.argument() == element && op.outcome() != Outcome::Fail
            };
            ops.iter().filter(may).collect()
        };
        let added = ops.iter().filter(|op| op.f() == "add").map(Op::argument);
        worst(added.map(|e| of_element(e, &may("add", e), &may("remove", e), &finals)))
    }))
}

#[test]
fn lost_updates_of_carts() {
    agree("lost-updates", cases(2000), &carts, oracle_carts);
    prove("lost-updates", cases(2000), &carts, oracle_carts);
}

#[test]
fn lost_updates_of_sets() {
    agree("lost-updates", cases(2000), &sets, oracle_sets);
    prove("lost-updates", cases(2000), &sets, oracle_sets);
}
