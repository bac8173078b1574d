//! `lost-updates`, `mv-register` and `lww-register` on registers: happens-before as a matrix, and every operation against every other.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, by_key, prove, violated_if, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use serde_json::Value;
use std::collections::BTreeSet;

/// A write as the simulation knows it.
#[derive(Clone)]
struct Written {
    key: usize,
    value: u32,
    /// The writes (by place) that its client had seen.
    seen: BTreeSet<usize>,
    happened: bool,
}

/// Clients that read and write one or two registers on replicas that have some of the writes; then final reads that have the newest ones, or,
/// in half of the histories, not quite.
fn registers(rng: &mut ChaCha8Rng) -> Lines {
    let (siblings, wrong, keys) = (one_in(rng, 2), one_in(rng, 2), rng.random_range(1..3));
    let repeats = one_in(rng, 4);
    let mut lines = Vec::new();
    let mut writes: Vec<Written> = Vec::new();
    let mut seen: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); 3];
    let (mut process, mut free_at) = ([0, 1, 2], [0, 1, 2]);
    for _ in 0..rng.random_range(2..9) {
        let client = rng.random_range(0..3);
        let start = free_at[client] + rng.random_range(0..3);
        let end = start + rng.random_range(1..5);
        free_at[client] = end + 1;
        let key = rng.random_range(0..keys);
        let name = ["x", "y"][key];
        let who = process[client];
        if one_in(rng, 2) {
            let known: BTreeSet<usize> = (0..writes.len()).filter(|_| !one_in(rng, 3)).collect();
            let mut newest = newest(&writes, key, &known);
            if !siblings {
                newest.truncate(1);
            }
            for place in &newest {
                let below = writes[*place].seen.clone();
                seen[client].extend(below.into_iter().chain([*place]));
            }
            let answer = shown(&writes, &newest, siblings);
            lines.push(format!("{who}: read {name} {answer} @{start}..{end}"));
            continue;
        }
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "info", "fail"]);
        let value = if repeats && one_in(rng, 2) {
            1
        } else {
            writes.len() as u32 + 1
        };
        let happened = outcome == "ok" || (outcome == "info" && one_in(rng, 2));
        writes.push(Written {
            key,
            value,
            seen: seen[client].clone(),
            happened,
        });
        let what = match writes[writes.len() - 1].seen.last() {
            Some(old) if one_in(rng, 4) && writes[*old].key == key => {
                format!("cas {name} [{},{value}]", writes[*old].value)
            }
            _ => format!("write {name} {value}"),
        };
        lines.push(format!("{who}: {what} @{start}..{end} {outcome}"));
        if outcome == "ok" {
            seen[client].insert(writes.len() - 1);
        } else if outcome == "info" {
            process[client] += 3;
            seen[client].clear();
        }
    }
    let all: BTreeSet<usize> = (0..writes.len()).collect();
    for key in 0..keys {
        let mut left = newest(&writes, key, &all);
        if !siblings {
            left.truncate(1);
        }
        for node in 0..rng.random_range(1..3) {
            if wrong && one_in(rng, 2) {
                let there = rng.random_range(0..writes.len().max(1));
                if left.contains(&there) || there == writes.len() || writes[there].key != key {
                    left.pop();
                } else if siblings {
                    left.push(there);
                } else {
                    left = vec![there];
                }
            }
            let (process, start) = (90 + 2 * key + node, rng.random_range(25..60));
            let (name, answer) = (["x", "y"][key], shown(&writes, &left, siblings));
            lines.push(format!(
                "{process}: read {name} {answer} @{start}..61 final"
            ));
        }
    }
    lines
}

/// The writes of a key among those known that no other one of these had seen.
fn newest(writes: &[Written], key: usize, known: &BTreeSet<usize>) -> Vec<usize> {
    let there = |w: &&usize| writes[**w].key == key && writes[**w].happened;
    let there: Vec<usize> = known.iter().filter(there).copied().collect();
    let newest = |w: &&usize| there.iter().all(|other| !writes[*other].seen.contains(*w));
    there.iter().filter(newest).copied().collect()
}

fn shown(writes: &[Written], places: &[usize], siblings: bool) -> String {
    let values: Vec<u32> = places.iter().map(|w| writes[*w].value).collect();
    match (siblings, values.first()) {
        (true, _) => format!("{values:?}").replace(", ", ","),
        (false, None) => "null".to_owned(),
        (false, Some(value)) => value.to_string(),
    }
}

fn values(read: &Op<'_>) -> Vec<Value> {
    match read.result() {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(values)) => values.clone(),
        Some(value) => vec![value.clone()],
    }
}

fn put(op: &Op<'_>) -> Option<Value> {
    match op.f() {
        _ if op.outcome() == Outcome::Fail => None,
        "write" => Some(op.argument().clone()),
        "cas" => Some(op.argument()[1].clone()),
        _ => None,
    }
}

fn saw(op: &Op<'_>) -> Vec<Value> {
    match op.f() {
        "cas" => vec![op.argument()[0].clone()],
        "read" => values(op),
        _ => Vec::new(),
    }
}

/// All of a history, and what comes before what: surely, or perhaps.
struct Seen<'h> {
    ops: Vec<Op<'h>>,
    surely: Vec<Vec<bool>>,
    perhaps: Vec<Vec<bool>>,
}

impl<'h> Seen<'h> {
    fn new(all: Vec<Op<'h>>) -> Self {
        let counts =
            |op: &Op<'_>| !op.is_final() && (put(op).is_some() || (op.f() == "read" && op.is_ok()));
        let mut seen = Self {
            ops: all.into_iter().filter(counts).collect(),
            surely: Vec::new(),
            perhaps: Vec::new(),
        };
        seen.surely = seen.closure(true);
        seen.perhaps = seen.closure(false);
        seen
    }

    fn edge(&self, a: usize, b: usize, sure: bool) -> bool {
        let (a, b) = (&self.ops[a], &self.ops[b]);
        if a.session() == b.session() && a.precedes(b) {
            return true;
        }
        let from = put(a).filter(|v| {
            a.key() == b.key() && a.index() != b.index() && !b.precedes(a) && saw(b).contains(v)
        });
        from.is_some_and(|v| !sure || self.writers(a, &v) == 1)
    }

    fn writers(&self, like: &Op<'_>, value: &Value) -> usize {
        let writes = |op: &&Op<'_>| op.key() == like.key() && put(op).as_ref() == Some(value);
        self.ops.iter().filter(writes).count()
    }

    fn closure(&self, sure: bool) -> Vec<Vec<bool>> {
        let n = self.ops.len();
        let row = |a| (0..n).map(|b| self.edge(a, b, sure)).collect();
        let mut all: Vec<Vec<bool>> = (0..n).map(row).collect();
        for via in 0..n {
            for a in 0..n {
                for b in 0..n {
                    all[a][b] |= all[a][via] && all[via][b];
                }
            }
        }
        all
    }

    /// Whether an update surely happened: acknowledged, or its value seen (also by a final read) where nobody else wrote it.
    fn happened(&self, op: &Op<'_>, finals: &[&Op<'_>]) -> bool {
        let value = put(op).unwrap();
        let by = |other: &Op<'_>| {
            other.is_ok() && other.key() == op.key() && saw(other).contains(&value)
        };
        let seen = self.ops.iter().any(by) || finals.iter().any(|read| by(read));
        op.is_ok() || (seen && self.writers(op, &value) == 1)
    }

    fn updates(&self, key: &Op<'_>, but: usize) -> Vec<usize> {
        let other = |i: &usize| *i != but && self.ops[*i].key() == key.key();
        let updates = (0..self.ops.len()).filter(other);
        updates.filter(|i| put(&self.ops[*i]).is_some()).collect()
    }
}

fn finals<'o, 'h>(ops: &'o [Op<'h>]) -> Vec<&'o Op<'h>> {
    ops.iter()
        .filter(|op| op.is_final() && op.is_ok())
        .collect()
}

fn oracle_lost_updates(history: &History) -> Decision {
    let seen = Seen::new(history.ops());
    let keys = by_key(history);
    worst(keys.values().map(|ops| lost_of_key(&seen, ops)))
}

/// What was seen over other keys only was replaced, or not.
fn lost_key_by_key(history: &History) -> Decision {
    let seen = Seen::new(history.ops());
    let keys = by_key(history);
    worst(keys.values().map(|ops| {
        let over_all = lost_of_key(&seen, ops);
        let own = lost_of_key(&Seen::new(ops.clone()), ops);
        match (over_all, own) {
            (Decision::Holds, Decision::Violated) => Decision::Unknown,
            _ => over_all.max(own.min(Decision::Unknown)),
        }
    }))
}

fn lost_of_key(seen: &Seen<'_>, ops: &[Op<'_>]) -> Decision {
    let finals = finals(ops);
    if finals.is_empty() {
        return Decision::Unknown;
    }
    worst((0..seen.ops.len()).map(|w| {
        let op = &seen.ops[w];
        if op.key() != ops[0].key() || !op.is_ok() {
            return Decision::Holds;
        }
        let Some(value) = put(op) else {
            return Decision::Holds;
        };
        let mut after = finals
            .iter()
            .filter(|read| read.start() > op.end())
            .peekable();
        if after.peek().is_none() {
            return Decision::Unknown;
        }
        let others = seen.updates(op, w);
        let surely = |u: &usize| seen.surely[w][*u] && seen.happened(&seen.ops[*u], &finals);
        if after.any(|read| values(read).contains(&value)) || others.iter().any(surely) {
            return Decision::Holds;
        }
        if others.iter().any(|u| seen.perhaps[w][*u]) {
            return Decision::Unknown;
        }
        Decision::Violated
    }))
}

/// What both kinds of register promise.
fn final_values(history: &History) -> Decision {
    let over_all = Seen::new(history.ops());
    worst(by_key(history).values().map(|ops| {
        let seen = Seen::new(ops.clone());
        let finals = finals(ops);
        worst([
            written(ops),
            converged(&over_all, ops, &finals),
            newest_only(&seen, &finals),
            something_is_left(ops, &finals),
        ])
    }))
}

/// Nobody deletes here, so of a register that took a write something is there.
fn something_is_left(ops: &[Op<'_>], finals: &[&Op<'_>]) -> Decision {
    let acknowledged = ops.iter().filter(|op| put(op).is_some() && op.is_ok());
    let Some(first) = acknowledged.map(Op::end).min() else {
        return Decision::Holds;
    };
    let mut after = finals.iter().filter(|read| read.start() > first).peekable();
    if after.peek().is_none() {
        return Decision::Unknown;
    }
    violated_if(after.all(|read| values(read).is_empty()))
}

fn written(ops: &[Op<'_>]) -> Decision {
    let mut reads = ops.iter().filter(|op| op.f() == "read" && op.is_ok());
    let begun = |read: &Op<'_>, v: &Value| {
        ops.iter()
            .any(|op| put(op).as_ref() == Some(v) && op.start() <= read.end())
    };
    violated_if(reads.any(|read| values(read).iter().any(|v| !begun(read, v))))
}

/// All the same; or each value that some lack is late, or may have been seen by a late update, or who lacks it holds what a late one put there.
fn converged(seen: &Seen<'_>, ops: &[Op<'_>], finals: &[&Op<'_>]) -> Decision {
    let state = |read: &&Op<'_>| -> BTreeSet<String> {
        values(read).iter().map(Value::to_string).collect()
    };
    let states: BTreeSet<BTreeSet<String>> = finals.iter().map(state).collect();
    if states.len() < 2 {
        return Decision::Holds;
    }
    let first = finals.iter().map(|read| read.start()).min().unwrap();
    let text = |op: &Op<'_>| put(op).map(|v| v.to_string());
    let late: Vec<&Op<'_>> = ops
        .iter()
        .filter(|op| put(op).is_some() && op.end() >= first)
        .collect();
    let is_late = |value: &String| late.iter().any(|op| text(op).as_ref() == Some(value));
    let may_be_replaced = |value: &String| {
        let n = seen.ops.len();
        (0..n).any(|w| {
            let op = &seen.ops[w];
            let late = |u: &usize| late.iter().any(|op| op.index() == seen.ops[*u].index());
            op.key() == ops[0].key()
                && text(op).as_ref() == Some(value)
                && (0..n).filter(late).any(|u| seen.perhaps[w][u])
        })
    };
    let explained = |value: &String| {
        let mut without = states.iter().filter(|state| !state.contains(value));
        is_late(value) || may_be_replaced(value) || without.all(|state| state.iter().any(is_late))
    };
    if states.iter().flatten().all(explained) {
        Decision::Unknown
    } else {
        Decision::Violated
    }
}

fn newest_only(seen: &Seen<'_>, finals: &[&Op<'_>]) -> Decision {
    let left: Vec<Value> = finals.iter().flat_map(|read| values(read)).collect();
    worst(left.iter().map(|value| {
        let n = seen.ops.len();
        let writers: Vec<usize> = (0..n)
            .filter(|w| put(&seen.ops[*w]).as_ref() == Some(value))
            .collect();
        let in_all = |finals: &[&&Op<'_>]| {
            !finals.is_empty() && finals.iter().all(|read| values(read).contains(value))
        };
        let [w] = writers[..] else {
            let perhaps = |w: &usize| {
                seen.updates(&seen.ops[*w], *w)
                    .iter()
                    .any(|u| seen.perhaps[*w][*u])
            };
            let unsure = !writers.is_empty()
                && writers.iter().all(perhaps)
                && in_all(&finals.iter().collect::<Vec<_>>());
            return if unsure {
                Decision::Unknown
            } else {
                Decision::Holds
            };
        };
        let gone = |u: &usize| {
            let by = &seen.ops[*u];
            let after: Vec<&&Op<'_>> = finals
                .iter()
                .filter(|read| read.start() > by.end())
                .collect();
            seen.surely[w][*u] && by.is_ok() && in_all(&after)
        };
        violated_if(seen.updates(&seen.ops[w], w).iter().any(gone))
    }))
}

fn oracle_mv_register(history: &History) -> Decision {
    worst([final_values(history), lost_key_by_key(history)])
}

fn oracle_lww_register(history: &History) -> Decision {
    let keys = by_key(history);
    let one = keys.values().map(|ops| {
        let finals = finals(ops);
        if finals.is_empty() {
            return Decision::Unknown;
        }
        violated_if(finals.iter().any(|read| values(read).len() > 1))
    });
    worst(one.chain([final_values(history)]))
}

#[test]
fn lost_updates_of_registers() {
    agree("lost-updates", cases(2000), &registers, oracle_lost_updates);
    prove("lost-updates", cases(1500), &registers, oracle_lost_updates);
}

#[test]
fn mv_register() {
    agree("mv-register", cases(2000), &registers, oracle_mv_register);
    prove("mv-register", cases(1500), &registers, oracle_mv_register);
}

#[test]
fn lww_register() {
    agree("lww-register", cases(2000), &registers, oracle_lww_register);
    prove("lww-register", cases(1500), &registers, oracle_lww_register);
}
