//! `mutex`: at most one session holds the lock, and only it releases it. All orders are tried.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, by_key, prove, violated_if};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome, Time};

/// Sessions take the lock and give it back at points of time that do not overlap; their intervals lie around these, and may be spoilt.
fn locks(rng: &mut ChaCha8Rng) -> Lines {
    let wrong = one_in(rng, 2);
    let clients = rng.random_range(2..4_usize);
    let shared = one_in(rng, 3);
    let mut lines = Lines::new();
    let mut free_at = vec![0_u64; clients];
    let mut process: Vec<usize> = (0..clients).collect();
    let mut now = 1_u64;
    for _ in 0..rng.random_range(1..4) {
        let client = rng.random_range(0..clients);
        for f in ["acquire", "release"] {
            now += rng.random_range(1..6);
            if one_in(rng, 8) {
                continue;
            }
            let slack = if wrong && one_in(rng, 3) { 9 } else { 0 };
            let point = now + rng.random_range(0..=slack);
            let start = point
                .saturating_sub(rng.random_range(0..8))
                .max(free_at[client]);
            let end = point.max(start) + rng.random_range(1..8);
            let outcome = pick(rng, &["ok", "ok", "ok", "ok", "ok", "ok", "info", "fail"]);
            let session = if shared { client / 2 } else { client };
            lines.push(format!(
                "{}: {f} l null @{start}..{end} {outcome} session={session}",
                process[client]
            ));
            free_at[client] = end + rng.random_range(1..3);
            if outcome == "info" {
                process[client] += clients;
            }
        }
    }
    lines
}

/// The same, where a process is a session.
fn plain(rng: &mut ChaCha8Rng) -> Lines {
    let lines = locks(rng).into_iter();
    lines
        .map(|line| line.split(" session").next().unwrap().to_owned())
        .collect()
}

fn oracle_mutex(history: &History) -> Decision {
    let locks = by_key(history);
    let right = |ops: &Vec<Op<'_>>| {
        let ops: Vec<&Op<'_>> = ops
            .iter()
            .filter(|op| op.outcome() != Outcome::Fail)
            .collect();
        obeyed(&ops, &mut vec![false; ops.len()], None)
    };
    violated_if(!locks.values().all(right))
}

fn obeyed(ops: &[&Op<'_>], taken: &mut Vec<bool>, holder: Option<u64>) -> bool {
    let rest = || (0..ops.len()).filter(|i| !taken[*i]);
    if rest().all(|i| ops[i].end().is_infinite()) {
        return true;
    }
    let first_end = rest().map(|i| ops[i].end()).min().unwrap_or(Time::INFINITY);
    let next: Vec<usize> = rest().filter(|i| ops[*i].start() <= first_end).collect();
    next.into_iter().any(|i| {
        let session = ops[i].session();
        let after = match (ops[i].f(), holder) {
            ("acquire", None) => session,
            ("release", holder) if holder == session => None,
            _ => return false,
        };
        taken[i] = true;
        let found = obeyed(ops, taken, after);
        taken[i] = false;
        found
    })
}

#[test]
fn mutex() {
    agree("mutex", cases(4000), &locks, oracle_mutex);
    agree("mutex", cases(4000), &plain, oracle_mutex);
}

#[test]
fn mutex_names_its_proof() {
    prove("mutex", cases(3000), &locks, oracle_mutex);
    prove("mutex", cases(3000), &plain, oracle_mutex);
}
