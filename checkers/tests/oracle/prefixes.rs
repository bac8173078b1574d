//! `consistent-prefix`: some order of the writes, in which they keep real time, has a prefix for every read.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, prove, violated_if};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;

type State = BTreeMap<String, Value>;

fn apply(state: &mut State, micro: &Value) {
    let slot = state.entry(micro[1].to_string()).or_default();
    match micro[0].as_str() {
        Some("w") => *slot = micro[2].clone(),
        Some("append") if slot.is_null() => *slot = json!([micro[2]]),
        Some("append") => slot.as_array_mut().unwrap().push(micro[2].clone()),
        _ => {}
    }
}

/// Transactions of two clients; each session has registers of its own, lists are anybody's. Reads see some state of the past, and now and
/// then one key of another. After an unknown outcome a client's session ends, or goes on: then its registers have no known order.
fn transactions(rng: &mut ChaCha8Rng, goes_on: bool) -> Lines {
    let (mut lines, mut states) = (Vec::new(), vec![State::new()]);
    let (lists, wrong) = (one_in(rng, 2), !one_in(rng, 3));
    let mut process = [0, 1];
    let mut writes = 0;
    for at in 0..rng.random_range(3..10) {
        let client = rng.random_range(0..2);
        let session = if goes_on { client } else { process[client] };
        let mut micros = Vec::new();
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "info", "fail"]);
        let mut now = states.last().unwrap().clone();
        if one_in(rng, 2) && writes < 5 {
            writes += 1;
            for (i, key) in pick(rng, &[&[0][..], &[1], &[0, 1]]).iter().enumerate() {
                let value = 10 * at + i;
                let micro = if lists {
                    json!(["append", key, value])
                } else {
                    json!(["w", key + 2 * session, value])
                };
                apply(&mut now, &micro);
                micros.push(micro);
            }
            if outcome == "ok" || (outcome == "info" && one_in(rng, 2)) {
                states.push(now);
            }
        } else {
            let past = pick(rng, &states);
            let keys = if lists {
                2
            } else {
                2 * process[0].max(process[1]) + 2
            };
            for key in 0..keys {
                let another = wrong && one_in(rng, 4);
                let from = if another {
                    pick(rng, &states)
                } else {
                    past.clone()
                };
                let value = from.get(&key.to_string()).cloned().unwrap_or_default();
                micros.push(json!(["r", key, value]));
            }
        }
        let txn = Value::from(micros);
        let (start, end) = (2 * at, 2 * at + 1);
        lines.push(format!(
            "{}: txn - {txn} @{start}..{end} {outcome} session={session}",
            process[client]
        ));
        if outcome == "info" {
            process[client] += 2;
        }
    }
    lines
}

fn by_process(rng: &mut ChaCha8Rng) -> Lines {
    transactions(rng, false)
}

fn by_client(rng: &mut ChaCha8Rng) -> Lines {
    transactions(rng, true)
}

/// Transactions that overlap, of whoever. The writes happen in some order that time allows, and reads see a state, now and then one key of another.
fn overlapping(rng: &mut ChaCha8Rng) -> Lines {
    struct Planned {
        line: (String, String),
        micros: Vec<Value>,
        at: u64,
        happens: bool,
    }
    let mut planned: Vec<Planned> = Vec::new();
    let lists = one_in(rng, 6);
    for process in 0..rng.random_range(2..5) {
        let start = rng.random_range(0..12);
        let end = start + rng.random_range(1..10);
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "info", "fail"]);
        let mut micros = Vec::new();
        for key in pick(rng, &[&[0][..], &[1], &[0, 1], &[0, 2], &[0, 0]]) {
            let f = if lists && *key == 2 { "append" } else { "w" };
            let value = 100 * process + micros.len();
            micros.push(json!([f, key, value]));
        }
        if one_in(rng, 5) {
            // What it read before it wrote.
            micros.insert(0, json!(["r", 1 - micros.len() % 2, null]));
        }
        let late = outcome == "info" && one_in(rng, 2);
        planned.push(Planned {
            line: (
                format!("{process}: txn -"),
                format!("@{start}..{end} {outcome}"),
            ),
            at: 100 * start
                + rng.random_range(0..100 * (end - start) + if late { 2000 } else { 0 }),
            micros,
            happens: outcome == "ok" || (outcome == "info" && one_in(rng, 2)),
        });
    }
    planned.sort_by_key(|p| p.at);
    let mut states = vec![State::new()];
    for p in &mut planned {
        let mut now = states.last().unwrap().clone();
        for micro in &mut p.micros {
            if micro[0] == "r" {
                micro[2] = now.get(&micro[1].to_string()).cloned().unwrap_or_default();
            } else {
                apply(&mut now, micro);
            }
        }
        if p.happens {
            states.push(now);
        }
    }
    let of_writes = planned.iter().map(|p| {
        let (who, when) = &p.line;
        format!("{who} {} {when}", Value::from(p.micros.clone()))
    });
    let mut lines: Lines = of_writes.collect();
    let wrong = !one_in(rng, 3);
    for process in 20..rng.random_range(21..25) {
        let past = pick(rng, &states);
        let mut micros = Vec::new();
        for key in 0..rng.random_range(2..4) {
            let another = wrong && one_in(rng, 4);
            let from = if another {
                pick(rng, &states)
            } else {
                past.clone()
            };
            let value = from.get(&key.to_string()).cloned().unwrap_or_default();
            micros.push(json!(["r", key, value]));
        }
        lines.push(format!("{process}: txn - {} @90..91", Value::from(micros)));
    }
    lines
}

fn micros<'h>(op: &Op<'h>) -> &'h [Value] {
    let txn = op.result().unwrap_or(op.argument());
    txn.as_array().unwrap()
}

fn is(f: &str) -> impl Fn(&&Value) -> bool {
    move |micro| micro[0] == f
}

/// Writes at one moment.
struct Write<'h> {
    /// Nothing where nobody recorded it.
    op: Option<Op<'h>>,
    micros: Vec<Value>,
}

impl Write<'_> {
    fn must_happen(&self) -> bool {
        self.op.is_some_and(|op| op.is_ok())
    }

    fn precedes(&self, other: &Self) -> bool {
        let ops = self.op.zip(other.op);
        ops.is_some_and(|(a, b)| a.precedes(&b))
    }
}

fn writes<'h>(ops: &[Op<'h>]) -> Vec<Write<'h>> {
    let writes = ops
        .iter()
        .filter(|op| op.outcome() != Outcome::Fail && micros(op).iter().any(|m| m[0] != "r"));
    writes
        .map(|op| Write {
            op: Some(*op),
            micros: micros(op).to_vec(),
        })
        .collect()
}

fn reads<'h>(ops: &[Op<'h>]) -> Vec<Op<'h>> {
    let reads = ops.iter().filter(|op| op.is_ok());
    let reads = reads.filter(|op| micros(op).iter().any(|m| m[0] == "r"));
    reads.copied().collect()
}

fn oracle_consistent_prefix(history: &History) -> Decision {
    let ops = history.ops();
    let (writes, reads) = (writes(&ops), reads(&ops));
    if !from_nowhere(&reads, &writes).is_empty() {
        return Decision::Unknown;
    }
    violated_if(!some_order(&writes, &reads, &mut Vec::new()))
}

/// The same for a part of a history: what nobody wrote in it, somebody else had, at any time.
fn oracle_of_a_part(history: &History) -> Decision {
    let ops = history.ops();
    let (mut writes, reads) = (writes(&ops), reads(&ops));
    for micro in from_nowhere(&reads, &writes) {
        writes.push(Write {
            op: None,
            micros: vec![micro],
        });
    }
    violated_if(!some_order(&writes, &reads, &mut Vec::new()))
}

/// What reads saw that nobody wrote, as writes.
fn from_nowhere(reads: &[Op<'_>], writes: &[Write<'_>]) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for micro in reads.iter().flat_map(|op| micros(op)).filter(is("r")) {
        let seen = match &micro[2] {
            Value::Array(list) => list
                .iter()
                .map(|v| json!(["append", micro[1], v]))
                .collect(),
            Value::Null => Vec::new(),
            value => vec![json!(["w", micro[1], value])],
        };
        for write in seen {
            let known = writes.iter().any(|w| w.micros.contains(&write));
            if !known && !found.contains(&write) {
                found.push(write);
            }
        }
    }
    found
}

/// Tries every order of some of the writes, all of the acknowledged ones among them, that keeps real time.
fn some_order(writes: &[Write<'_>], reads: &[Op<'_>], order: &mut Vec<usize>) -> bool {
    let rest: Vec<usize> = (0..writes.len()).filter(|w| !order.contains(w)).collect();
    if rest.iter().all(|w| !writes[*w].must_happen()) && fits(writes, reads, order) {
        return true;
    }
    rest.iter().any(|w| {
        if rest.iter().any(|v| writes[*v].precedes(&writes[*w])) {
            return false;
        }
        order.push(*w);
        let found = some_order(writes, reads, order);
        order.pop();
        found
    })
}

fn fits(writes: &[Write<'_>], reads: &[Op<'_>], order: &[usize]) -> bool {
    let mut states = vec![State::new()];
    for write in order {
        let mut state = states.last().unwrap().clone();
        for micro in &writes[*write].micros {
            apply(&mut state, micro);
        }
        states.push(state);
    }
    let sees = |read: &Op<'_>, state: &State| {
        let mut seen = micros(read).iter().filter(is("r"));
        seen.all(|m| state.get(&m[1].to_string()).unwrap_or(&Value::Null) == &m[2])
    };
    // Its own writes come after what it read.
    let before_own = |read: &Op<'_>| {
        let is_own = |write: &usize| {
            writes[*write]
                .op
                .is_some_and(|op| op.index() == read.index())
        };
        order.iter().position(is_own).unwrap_or(order.len())
    };
    reads.iter().all(|read| {
        let states = &states[..=before_own(read)];
        states.iter().any(|state| sees(read, state))
    })
}

#[test]
fn consistent_prefix() {
    let oracle = oracle_consistent_prefix;
    agree("consistent-prefix", cases(3000), &by_process, oracle);
    prove(
        "consistent-prefix",
        cases(500),
        &by_process,
        oracle_of_a_part,
    );
    prove(
        "consistent-prefix",
        cases(500),
        &by_client,
        oracle_of_a_part,
    );
}

#[test]
fn consistent_prefix_where_many_write() {
    let oracle = oracle_consistent_prefix;
    agree("consistent-prefix", cases(2000), &overlapping, oracle);
    prove(
        "consistent-prefix",
        cases(500),
        &overlapping,
        oracle_of_a_part,
    );
}
