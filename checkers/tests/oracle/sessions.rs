//! `monotonic-reads` and `read-your-writes`: some order of the versions lets no session go backwards.

use crate::support::random::{Lines, Registers, Sessions, cases, pick};
use crate::support::{is_answered_read, written};
use crate::{agree, by_key, prove, violated_if};
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op};
use serde_json::Value;
use std::collections::BTreeSet;

/// Two operations of one session, in turn: the value of the first and that of the second, where a guarantee binds them.
pub(crate) type Bind = for<'h> fn(&Op<'h>, &Op<'h>) -> Option<(&'h Value, &'h Value)>;

pub(crate) fn read_then_read<'h>(a: &Op<'h>, b: &Op<'h>) -> Option<(&'h Value, &'h Value)> {
    let reads = is_answered_read(a) && is_answered_read(b);
    reads.then(|| (a.result().unwrap(), b.result().unwrap()))
}

fn write_then_read<'h>(a: &Op<'h>, b: &Op<'h>) -> Option<(&'h Value, &'h Value)> {
    let own = written(a).filter(|_| a.is_ok())?;
    is_answered_read(b).then(|| (own, b.result().unwrap()))
}

/// Whether some order of the versions, the initial one first, lets no session go backwards; in any order of the versions if several
/// sessions write the key, in the writer's own if one does.
fn some_order_fits(ops: &[Op<'_>], bind: Bind) -> bool {
    any_order_fits(ops, &[bind], one_session_writes(ops))
}

/// The same for several guarantees at once; whether the writes stand in the order of time.
pub(crate) fn any_order_fits(ops: &[Op<'_>], binds: &[Bind], in_order: bool) -> bool {
    let mut versions = vec![&Value::Null];
    let values = ops
        .iter()
        .flat_map(|op| [written(op), op.result().filter(|_| is_answered_read(op))]);
    for value in values.flatten() {
        if !versions.contains(&value) {
            versions.push(value);
        }
    }
    let place = |v: &Value| versions.iter().position(|w| *w == v).unwrap();
    let mut older: Vec<(usize, usize)> = Vec::new();
    for (a, b) in ops.iter().flat_map(|a| ops.iter().map(move |b| (a, b))) {
        if !a.precedes(b) {
            continue;
        }
        if a.session() == b.session() {
            let bound = binds.iter().filter_map(|bind| bind(a, b));
            older.extend(bound.map(|(v, w)| (place(v), place(w))));
        }
        if let (Some(v), Some(w), true) = (written(a), written(b), in_order) {
            older.push((place(v), place(w)));
        }
    }
    older.retain(|(v, w)| v != w);
    any_order(&mut vec![0], versions.len(), &older)
}

pub(crate) fn one_session_writes(ops: &[Op<'_>]) -> bool {
    let writers = ops.iter().filter(|op| written(op).is_some());
    writers.map(Op::session).collect::<BTreeSet<_>>().len() == 1
}

/// Tries every order that begins like this one.
fn any_order(order: &mut Vec<usize>, versions: usize, older: &[(usize, usize)]) -> bool {
    if order.len() == versions {
        let at = |v: usize| order.iter().position(|w| *w == v).unwrap();
        return older.iter().all(|(v, w)| at(*v) < at(*w));
    }
    (0..versions).any(|next| {
        if order.contains(&next) {
            return false;
        }
        order.push(next);
        let found = any_order(order, versions, older);
        order.pop();
        found
    })
}

fn oracle_monotonic_reads(history: &History) -> Decision {
    let keys = by_key(history);
    violated_if(
        !keys
            .values()
            .all(|ops| some_order_fits(ops, read_then_read)),
    )
}

fn oracle_read_your_writes(history: &History) -> Decision {
    let keys = by_key(history);
    violated_if(
        !keys
            .values()
            .all(|ops| some_order_fits(ops, write_then_read)),
    )
}

/// Histories in which sessions read and write one after another, by several writers and by one in turn.
pub(crate) fn sessions(rng: &mut ChaCha8Rng, sessions: Sessions, thin_air: bool) -> Lines {
    let registers = Registers {
        clients: if sessions == Sessions::Shared { 4 } else { 2 },
        ops_max: 10,
        writers: pick(rng, &[1, 4]),
        sessions,
        thin_air,
        ..Registers::PLAIN
    };
    loop {
        let lines = registers.draw(rng);
        // All orders of more versions than this take too long.
        if lines.iter().filter(|line| line.contains("write")).count() <= 5 {
            return lines;
        }
    }
}

fn by_process(rng: &mut ChaCha8Rng) -> Lines {
    sessions(rng, Sessions::Process, false)
}

fn by_client(rng: &mut ChaCha8Rng) -> Lines {
    sessions(rng, Sessions::Client, false)
}

fn shared(rng: &mut ChaCha8Rng) -> Lines {
    sessions(rng, Sessions::Shared, false)
}

fn with_thin_air(rng: &mut ChaCha8Rng) -> Lines {
    sessions(rng, Sessions::Process, true)
}

#[test]
fn monotonic_reads_of_processes() {
    agree(
        "monotonic-reads",
        cases(3000),
        &by_process,
        oracle_monotonic_reads,
    );
}

#[test]
fn monotonic_reads_of_sessions_that_outlive_processes() {
    agree(
        "monotonic-reads",
        cases(3000),
        &by_client,
        oracle_monotonic_reads,
    );
}

#[test]
fn monotonic_reads_of_sessions_with_several_operations_in_flight() {
    agree(
        "monotonic-reads",
        cases(3000),
        &shared,
        oracle_monotonic_reads,
    );
}

#[test]
fn monotonic_reads_beside_values_from_nowhere() {
    agree(
        "monotonic-reads",
        cases(3000),
        &with_thin_air,
        oracle_monotonic_reads,
    );
}

#[test]
fn monotonic_reads_names_its_proof() {
    prove(
        "monotonic-reads",
        cases(2000),
        &by_process,
        oracle_monotonic_reads,
    );
    prove(
        "monotonic-reads",
        cases(2000),
        &shared,
        oracle_monotonic_reads,
    );
}

#[test]
fn read_your_writes_of_processes() {
    agree(
        "read-your-writes",
        cases(3000),
        &by_process,
        oracle_read_your_writes,
    );
}

#[test]
fn read_your_writes_of_sessions_that_outlive_processes() {
    agree(
        "read-your-writes",
        cases(3000),
        &by_client,
        oracle_read_your_writes,
    );
}

#[test]
fn read_your_writes_of_sessions_with_several_operations_in_flight() {
    agree(
        "read-your-writes",
        cases(3000),
        &shared,
        oracle_read_your_writes,
    );
}

#[test]
fn read_your_writes_beside_values_from_nowhere() {
    agree(
        "read-your-writes",
        cases(3000),
        &with_thin_air,
        oracle_read_your_writes,
    );
}

#[test]
fn read_your_writes_names_its_proof() {
    prove(
        "read-your-writes",
        cases(2000),
        &by_process,
        oracle_read_your_writes,
    );
    prove(
        "read-your-writes",
        cases(2000),
        &shared,
        oracle_read_your_writes,
    );
}
