//! `set`: an element is there iff some add was not seen by a remove.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, by_key, prove, violated_if, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome, Time};
use serde_json::Value;
use std::collections::BTreeSet;

fn list(elements: &[u32]) -> String {
    format!("{elements:?}").replace(", ", ",")
}

/// Adds, reads in between, and final reads, marked or (in a bare history) not.
fn growing(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Vec::new();
    let (wrong, marked) = (one_in(rng, 2), !one_in(rng, 3));
    let mut adds: Vec<(u32, u64, &str)> = Vec::new();
    for element in 0..rng.random_range(1..5) {
        let element = if one_in(rng, 8) { 0 } else { element };
        let (start, outcome) = (
            rng.random_range(0..20),
            pick(rng, &["ok", "ok", "ok", "fail", "info"]),
        );
        let end = start + rng.random_range(1..10);
        adds.push((element, end, outcome));
        lines.push(format!(
            "{}: add s {element} @{start}..{end} {outcome}",
            lines.len()
        ));
    }
    for _ in 0..rng.random_range(1..6) {
        let last = marked && one_in(rng, 2);
        let start = if last {
            rng.random_range(15..40)
        } else {
            rng.random_range(0..40)
        };
        let mut there: Vec<u32> = Vec::new();
        for (element, end, outcome) in &adds {
            let in_time = *end < start + 4;
            let seen = match *outcome {
                "ok" => in_time && !(wrong && one_in(rng, 3)),
                "info" => one_in(rng, 2),
                _ => wrong && one_in(rng, 10),
            };
            if seen && (!there.contains(element) || (wrong && one_in(rng, 10))) {
                there.push(*element);
            }
        }
        let (end, what) = (
            start + rng.random_range(1..5),
            if last { "final" } else { "ok" },
        );
        lines.push(format!(
            "{}: read s {} @{start}..{end} {what}",
            lines.len(),
            list(&there)
        ));
    }
    lines
}

/// Sessions that add, read and remove a few elements, then one or two final reads.
fn removable(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = vec!["90: remove s 77 @0..1".to_owned()];
    let wrong = one_in(rng, 2);
    let mut there: BTreeSet<u32> = BTreeSet::new();
    let (mut process, mut free_at) = ([0, 1], [0, 1]);
    for _ in 0..rng.random_range(2..9) {
        let client = rng.random_range(0..2);
        let start = free_at[client] + rng.random_range(0..3);
        let end = start + rng.random_range(1..5);
        free_at[client] = end + 1;
        let element = rng.random_range(0..3);
        let mut outcome = pick(rng, &["ok", "ok", "ok", "ok", "info", "fail"]);
        let happens = outcome == "ok" || (outcome == "info" && one_in(rng, 2));
        let what = match rng.random_range(0..3) {
            0 => {
                there.extend(happens.then_some(element));
                format!("add s {element}")
            }
            1 => {
                if happens {
                    there.remove(&element);
                }
                format!("remove s {element}")
            }
            _ => {
                outcome = "ok";
                format!(
                    "read s {}",
                    list(&there.iter().copied().collect::<Vec<_>>())
                )
            }
        };
        lines.push(format!(
            "{}: {what} @{start}..{end} {outcome} session={}",
            process[client],
            100 + client
        ));
        if outcome == "info" {
            process[client] += 2;
        }
    }
    for node in 0..rng.random_range(1..3) {
        let mut last = there.clone();
        if wrong {
            let element = rng.random_range(0..3);
            if !last.remove(&element) {
                last.insert(element);
            }
        }
        let start = rng.random_range(50..60);
        let last = list(&last.into_iter().collect::<Vec<_>>());
        lines.push(format!("{}: read s {last} @{start}..61 final", 80 + node));
    }
    lines
}

/// All choices of more operations than this on one element take too long.
fn few_of_each(rng: &mut ChaCha8Rng) -> Lines {
    loop {
        let lines = removable(rng);
        let of = |f: &str, e: u32| {
            lines
                .iter()
                .filter(|l| l.contains(&format!("{f} s {e} ")))
                .count()
        };
        if (0..3).all(|e| of("add", e) * of("remove", e) <= 6) {
            return lines;
        }
    }
}

fn oracle_set(history: &History) -> Decision {
    worst(by_key(history).values().map(|ops| of_set(ops)))
}

fn elements(read: &Op<'_>) -> Vec<Value> {
    read.result()
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

fn has(read: &Op<'_>, element: &Value) -> bool {
    elements(read).contains(element)
}

fn of_set(ops: &[Op<'_>]) -> Decision {
    let reads: Vec<&Op<'_>> = ops
        .iter()
        .filter(|op| op.f() == "read" && op.is_ok())
        .collect();
    let changes = ops.iter().filter(|op| op.f() != "read");
    let mut all: Vec<Value> = reads.iter().flat_map(|read| elements(read)).collect();
    all.extend(changes.map(|op| op.argument().clone()));
    worst(all.iter().map(|element| of_element(element, ops, &reads)))
}

/// Final reads; in a history that marks none, those after everything was acknowledged.
fn finals<'o, 'h>(ops: &[Op<'h>], reads: &[&'o Op<'h>]) -> Vec<&'o Op<'h>> {
    if ops.iter().any(|op| op.f() == "read" && op.is_final()) {
        return reads
            .iter()
            .copied()
            .filter(|read| read.is_final())
            .collect();
    }
    let changes = ops.iter().filter(|op| op.f() != "read" && op.is_ok());
    let last = changes.map(Op::end).max().unwrap_or(Time::ZERO);
    reads
        .iter()
        .copied()
        .filter(|read| read.start() > last)
        .collect()
}

fn of_element(element: &Value, ops: &[Op<'_>], reads: &[&Op<'_>]) -> Decision {
    let may = |f: &'static str| {
        ops.iter().filter(move |op| {
            op.f() == f && op.argument() == element && op.outcome() != Outcome::Fail
        })
    };
    let adds: Vec<&Op<'_>> = may("add").collect();
    let removes: Vec<&Op<'_>> = may("remove").collect();
    let with: Vec<&&Op<'_>> = reads.iter().filter(|read| has(read, element)).collect();
    let twice = |read: &&&Op<'_>| elements(read).iter().filter(|e| *e == element).count() > 1;
    let begun = |read: &&&Op<'_>| adds.iter().any(|add| add.start() <= read.end());
    if with.iter().any(twice) || !with.iter().all(begun) {
        return Decision::Violated;
    }
    let finals = finals(ops, reads);
    if !removes.is_empty() {
        return of_removable(element, &adds, &removes, &with, &finals);
    }
    let acknowledged = adds
        .iter()
        .filter(|add| add.is_ok())
        .map(|add| add.end())
        .min();
    if finals.is_empty() {
        return without_finals(element, acknowledged, &with, reads);
    }
    let early = with
        .iter()
        .filter(|read| !finals.iter().any(|f| f.index() == read.index()));
    // Reads that only stand in for final ones tell time: what was known when the last one began, and is not in it, is lost or that read stale.
    let last = finals[finals.len() - 1];
    let was_known = with.iter().any(|read| read.precedes(last)) || acknowledged.is_some();
    let at_last = if !last.is_final() && was_known && !has(last, element) {
        Decision::Unknown
    } else {
        Decision::Holds
    };
    let Some(since) = acknowledged.or(early.map(|read| read.end()).min()) else {
        return at_last;
    };
    let mut after = finals.iter().filter(|read| read.start() > since).peekable();
    if after.peek().is_none() {
        return if acknowledged.is_some() {
            Decision::Unknown
        } else {
            Decision::Holds
        };
    }
    let gone = !after.any(|read| has(read, element));
    let anywhere = finals.iter().any(|read| has(read, element));
    match acknowledged {
        // What was never acknowledged is not surely lost if it is only missing in reads that stand in for final ones.
        None if gone && !finals[0].is_final() => Decision::Unknown,
        None => worst([violated_if(gone && !anywhere), at_last]),
        Some(_) => worst([violated_if(gone), at_last]),
    }
}

fn without_finals(
    element: &Value,
    acknowledged: Option<Time>,
    with: &[&&Op<'_>],
    reads: &[&Op<'_>],
) -> Decision {
    let seen = with.iter().map(|read| read.end()).min();
    let Some(known) = acknowledged.into_iter().chain(seen).min() else {
        return Decision::Holds;
    };
    match reads.last().filter(|read| read.start() > known) {
        Some(last) if has(last, element) => Decision::Holds,
        None if acknowledged.is_none() => Decision::Holds,
        _ => Decision::Unknown,
    }
}

/// Every way in which the unknown may have happened and removes may have seen adds.
fn of_removable(
    element: &Value,
    adds: &[&Op<'_>],
    removes: &[&Op<'_>],
    with: &[&&Op<'_>],
    finals: &[&Op<'_>],
) -> Decision {
    if finals.is_empty() {
        return Decision::Unknown;
    }
    let surely = |remove: &Op<'_>, add: &Op<'_>| {
        let own = |op: &Op<'_>| op.session() == remove.session() && op.precedes(remove);
        let only = |read: &Op<'_>| {
            let others = adds.iter().filter(|a| a.index() != add.index());
            add.start() <= read.end() && others.into_iter().all(|a| a.start() > read.end())
        };
        (add.is_ok() && own(add)) || with.iter().any(|read| own(read) && only(read))
    };
    let pairs: Vec<(usize, usize)> = (0..removes.len())
        .flat_map(|r| (0..adds.len()).map(move |a| (r, a)))
        .collect();
    let (mut there, mut gone) = (false, false);
    let bits = adds.len() + removes.len() + pairs.len();
    for choice in 0..1_u32 << bits {
        let bit = |i: usize| choice >> i & 1 == 1;
        let happened = |op: &Op<'_>, i: usize| op.is_ok() <= bit(i);
        let added = |a: usize| bit(a);
        let removed = |r: usize| bit(adds.len() + r);
        let saw = |at: usize| bit(adds.len() + removes.len() + at);
        let possible = (0..adds.len()).all(|a| happened(adds[a], a))
            && (0..removes.len()).all(|r| happened(removes[r], adds.len() + r))
            && pairs.iter().enumerate().all(|(at, (r, a))| {
                let (remove, add) = (removes[*r], adds[*a]);
                if saw(at) {
                    !remove.precedes(add)
                } else {
                    !(surely(remove, add) && remove.is_ok() && added(*a))
                }
            });
        if possible {
            let wins = |a: usize| {
                let mut seen = pairs.iter().enumerate();
                added(a) && !seen.any(|(at, (r, b))| *b == a && removed(*r) && saw(at))
            };
            let present = (0..adds.len()).any(wins);
            there |= present;
            gone |= !present;
        }
    }
    let (some, all) = (
        finals.iter().any(|read| has(read, element)),
        finals.iter().all(|read| has(read, element)),
    );
    let over = |add: &&Op<'_>| removes.iter().any(|r| r.is_ok() && add.precedes(r));
    match (some, all) {
        (false, _) if !gone => Decision::Violated,
        (_, true) if !there => Decision::Violated,
        (true, _) if gone && there && adds.iter().all(over) => Decision::Unknown,
        _ => Decision::Holds,
    }
}

#[test]
fn set_that_grows() {
    agree("set", cases(4000), &growing, oracle_set);
    prove("set", cases(3000), &growing, oracle_set);
}

#[test]
fn set_with_removal() {
    agree("set", cases(1500), &few_of_each, oracle_set);
    prove("set", cases(1000), &few_of_each, oracle_set);
}
