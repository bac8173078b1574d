//! `convergence`: the final reads of all replicas are equal.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, by_key, prove, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use serde_json::Value;

/// Writes of a register, or adds to a set, and what two or three replicas hold in the end.
fn replicas(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Vec::new();
    let (wrong, set) = (one_in(rng, 2), one_in(rng, 2));
    let mut late = Vec::new();
    for value in 1..rng.random_range(2..6) {
        let outcome = pick(rng, &["ok", "ok", "ok", "fail", "info"]);
        let (process, f) = (lines.len(), if set { "add" } else { "write" });
        lines.push(format!(
            "{process}: {f} k {value} @{value}..{value}.5 {outcome}"
        ));
        late.extend((outcome == "info").then_some(value));
    }
    let common = state(rng, set);
    for node in 1..=rng.random_range(1..4) {
        let mut own = common.clone();
        if wrong && one_in(rng, 2) {
            own = state(rng, set);
        } else if one_in(rng, 3) && !late.is_empty() {
            own.retain(|_| set);
            own.push(pick(rng, &late));
            own.sort_unstable();
            own.dedup();
        }
        let outcome = if one_in(rng, 25) { "info" } else { "ok" };
        let (process, own) = (lines.len(), json(&own, set));
        lines.push(format!(
            "{process}: read k {own} @10..11 final node=n{node} {outcome}"
        ));
    }
    lines
}

fn state(rng: &mut ChaCha8Rng, set: bool) -> Vec<u32> {
    let all = (1..4).filter(|_| one_in(rng, 2)).collect::<Vec<u32>>();
    all.into_iter().take(if set { 9 } else { 1 }).collect()
}

fn json(state: &[u32], set: bool) -> String {
    if set {
        return Value::from(state).to_string();
    }
    state
        .first()
        .map_or_else(|| "null".to_owned(), u32::to_string)
}

fn oracle_convergence(history: &History) -> Decision {
    worst(by_key(history).values().map(|ops| of_replicas(ops)))
}

/// All equal; or what differs may be a request of unknown outcome that landed between two of the reads: then nobody knows.
fn of_replicas(ops: &[Op<'_>]) -> Decision {
    let finals: Vec<&Op<'_>> = ops.iter().filter(|op| op.is_final()).collect();
    let silent = finals.iter().any(|op| !op.is_ok());
    let states: Vec<&Value> = finals.iter().filter_map(|op| op.result()).collect();
    let open = ops
        .iter()
        .filter(|op| op.outcome() == Outcome::Info && op.f() != "read");
    let late: Vec<&Value> = open.map(Op::argument).collect();
    let equal = states.iter().all(|state| *state == states[0]);
    let explained = states
        .iter()
        .any(|base| states.iter().all(|state| may_become(base, state, &late)));
    match (equal, explained, silent) {
        (true, _, false) => Decision::Holds,
        (false, false, _) => Decision::Violated,
        _ => Decision::Unknown,
    }
}

/// Whether two states are the same but for late requests.
fn may_become(base: &Value, state: &Value, late: &[&Value]) -> bool {
    let without_late = |state: &Value| {
        let elements = state.as_array().unwrap().iter();
        elements
            .filter(|e| !late.contains(e))
            .cloned()
            .collect::<Vec<Value>>()
    };
    match (base.is_array(), state.is_array()) {
        (true, true) => without_late(base) == without_late(state),
        _ => base == state || late.contains(&state),
    }
}

#[test]
fn convergence() {
    agree("convergence", cases(3000), &replicas, oracle_convergence);
    prove("convergence", cases(3000), &replicas, oracle_convergence);
}
