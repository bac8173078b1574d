//! `linearizable` and `stale-reads`.

use crate::support::random::{Registers, cases, history};
use crate::support::{is_answered_read, linearizable, result_or_error, written};
use crate::{agree, by_key, prove, violated_if, worst};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::{Anomaly, Decision};
use schism_history::{History, Op, Time};
use serde_json::Value;
use std::collections::BTreeMap;

const FEW_VALUES: Registers = Registers {
    unique: false,
    cas: true,
    thin_air: true,
    keys: 2,
    ..Registers::PLAIN
};

const UNIQUE_CAS: Registers = Registers {
    cas: true,
    keys: 2,
    ..Registers::PLAIN
};

/// Repeated values, and enough operations for a read to be surely stale.
const REPEATED: Registers = Registers {
    ops_max: 14,
    unique: false,
    cas: true,
    ..Registers::PLAIN
};

/// Writes that take long, so that somebody sees them before they are acknowledged.
const SLOW_WRITES: Registers = Registers {
    ops_max: 12,
    write_ms: 60,
    ..Registers::PLAIN
};

fn oracle_linearizable(history: &History) -> Decision {
    violated_if(!linearizable(history))
}

#[test]
fn linearizable_with_unique_values() {
    agree(
        "linearizable",
        cases(2000),
        &|rng| UNIQUE_CAS.draw(rng),
        oracle_linearizable,
    );
}

#[test]
fn linearizable_with_few_values() {
    agree(
        "linearizable",
        cases(2000),
        &|rng| FEW_VALUES.draw(rng),
        oracle_linearizable,
    );
}

#[test]
fn linearizable_names_its_proof() {
    prove(
        "linearizable",
        cases(1000),
        &|rng| UNIQUE_CAS.draw(rng),
        oracle_linearizable,
    );
    prove(
        "linearizable",
        cases(1000),
        &|rng| FEW_VALUES.draw(rng),
        oracle_linearizable,
    );
}

/// When the cluster of a write had finished at the earliest: its own end, or that of somebody who saw it. Where several wrote one value
/// nobody knows whom a reader saw, so only its own end counts.
fn earliest_finish(write: &Op<'_>, ops: &[Op<'_>]) -> Time {
    let value = written(write);
    let alone =
        !value.unwrap().is_null() && ops.iter().filter(|op| written(op) == value).count() == 1;
    let saw = |op: &&Op<'_>| op.is_ok() && needed(op) == value && op.end() >= write.start();
    let readers = ops.iter().filter(saw).map(Op::end).filter(|_| alone);
    readers.chain([write.end()]).min().unwrap()
}

/// The value that must have been there for an operation.
fn needed<'h>(op: &Op<'h>) -> Option<&'h Value> {
    match op.f() {
        "read" => op.result(),
        "cas" => Some(&op.argument()[0]),
        _ => None,
    }
}

/// The acknowledged writes that lie wholly between; `None`: from the beginning of time.
fn between<'o, 'h>(after: Option<Time>, before: Time, ops: &'o [Op<'h>]) -> Vec<&'o Op<'h>> {
    let writes = ops.iter().filter(|op| op.is_ok() && written(op).is_some());
    writes
        .filter(|op| after.is_none_or(|f| op.start() > f) && op.end() < before)
        .collect()
}

/// The versions that a read is behind at least: those that replaced every write that it may have returned. `None`: nobody wrote it.
fn behind<'o, 'h>(read: &Op<'_>, ops: &'o [Op<'h>]) -> Option<Vec<&'o Op<'h>>> {
    let value = read.result().unwrap();
    let begun = |op: &&Op<'_>| written(op) == Some(value) && op.start() <= read.end();
    let writes = ops.iter().filter(begun);
    let mut finishes: Vec<Option<Time>> = writes.map(|w| Some(earliest_finish(w, ops))).collect();
    if value.is_null() {
        finishes.push(None);
    }
    let freshest = finishes.into_iter().max()?;
    Some(between(freshest, read.start(), ops))
}

fn oracle_stale(history: &History) -> Decision {
    let keys = by_key(history);
    worst(keys.values().flat_map(|ops| {
        let reads = ops.iter().filter(|op| is_answered_read(op));
        reads.map(|read| match behind(read, ops) {
            None => Decision::Unknown,
            Some(newer) => violated_if(!newer.is_empty()),
        })
    }))
}

#[test]
fn stale_reads_with_unique_values() {
    agree(
        "stale-reads",
        cases(3000),
        &|rng| UNIQUE_CAS.draw(rng),
        oracle_stale,
    );
}

#[test]
fn stale_reads_with_few_values() {
    agree(
        "stale-reads",
        cases(3000),
        &|rng| REPEATED.draw(rng),
        oracle_stale,
    );
}

#[test]
fn stale_reads_names_its_proof() {
    prove(
        "stale-reads",
        cases(2000),
        &|rng| SLOW_WRITES.draw(rng),
        oracle_stale,
    );
}

/// Every stale read is counted once, and is as far behind as the definition says: never more.
#[test]
fn stale_reads_counts_versions_and_time() {
    for case in 0..cases(2000) {
        let registers = if case.is_multiple_of(2) {
            UNIQUE_CAS
        } else {
            SLOW_WRITES
        };
        let lines = registers.draw(&mut ChaCha8Rng::seed_from_u64(case));
        let history = history(&lines);
        let ops = history.ops();
        let expected: BTreeMap<u64, (u64, f64)> = by_key(&history)
            .values()
            .flat_map(|of_key| how_stale(of_key))
            .collect();
        let result = result_or_error(&history, "stale-reads").unwrap();
        let got: BTreeMap<u64, (u64, f64)> =
            result.anomalies.iter().map(|a| figures(a, &ops)).collect();
        assert_eq!(
            result.count,
            expected.len() as u64,
            "case {case}:\n{}",
            lines.join("\n")
        );
        assert_eq!(got, expected, "case {case}:\n{}", lines.join("\n"));
    }
}

fn how_stale(ops: &[Op<'_>]) -> Vec<(u64, (u64, f64))> {
    let reads = ops.iter().filter(|op| is_answered_read(op));
    reads
        .filter_map(|read| {
            let newer = behind(read, ops)?;
            let first = newer.iter().map(|op| op.end()).min()?;
            let ms = read.start().as_millis_f64() - first.as_millis_f64();
            Some((read.index(), (newer.len() as u64, ms)))
        })
        .collect()
}

/// The read of an anomaly (the last operation that it names), and its figures.
fn figures(anomaly: &Anomaly, ops: &[Op<'_>]) -> (u64, (u64, f64)) {
    let read = *anomaly.operations.iter().max().unwrap();
    assert!(ops.iter().any(|op| op.index() == read && op.f() == "read"));
    let versions = anomaly.details["versions_behind_min"].as_u64().unwrap();
    (
        read,
        (versions, anomaly.details["behind_ms_min"].as_f64().unwrap()),
    )
}
