//! `long-fork`: of two reads of the same keys, one has everything that the other has.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, prove, violated_if};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Four keys in two groups, each written once; sites apply the writes in one order, or now and then in another.
fn sites(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines: Lines = Vec::new();
    for key in 0..4 {
        let outcome = pick(rng, &["ok", "ok", "info"]);
        lines.push(format!(
            "{key}: txn - [[\"w\",{key},1]] @{key}..9 {outcome}"
        ));
    }
    let wrong = one_in(rng, 2);
    for at in 0..rng.random_range(2..16) {
        let mut order = [0, 1, 2, 3];
        if wrong && one_in(rng, 2) {
            order.swap(0, 1);
            order.swap(2, 3);
        }
        let applied: BTreeSet<u32> = order[..rng.random_range(0..5)].iter().copied().collect();
        let keys = pick(rng, &[&[0, 1][..], &[2, 3], &[2, 3], &[0, 1, 2, 3], &[1]]);
        let reads = keys.iter().map(|key| {
            let value = if applied.contains(key) {
                json!(1)
            } else {
                Value::Null
            };
            json!(["r", key, value])
        });
        let txn = Value::from(reads.collect::<Vec<_>>());
        lines.push(format!("{}: txn - {txn} @{}..{}", 10 + at, 3 + at, 12 + at));
    }
    // Something of which the property is in any case.
    lines.push("50: txn - [[\"r\",0,null],[\"r\",9,null]] @0..1".to_owned());
    lines
}

fn read(op: &Op<'_>) -> Option<BTreeMap<String, bool>> {
    let micros = op.result()?.as_array()?;
    let reads = micros.iter().all(|m| m[0] == "r");
    let seen = micros.iter().map(|m| (m[1].to_string(), !m[2].is_null()));
    reads.then(|| seen.collect())
}

fn oracle_long_fork(history: &History) -> Decision {
    let reads: Vec<BTreeMap<String, bool>> = history.ops().iter().filter_map(read).collect();
    let pairs = reads.iter().flat_map(|a| reads.iter().map(move |b| (a, b)));
    let mut same = pairs.filter(|(a, b)| a.keys().eq(b.keys()));
    violated_if(same.any(|(a, b)| {
        let only = |x: &BTreeMap<String, bool>, y: &BTreeMap<String, bool>| {
            x.iter().any(|(key, seen)| *seen && !y[key])
        };
        only(a, b) && only(b, a)
    }))
}

#[test]
fn long_fork() {
    agree("long-fork", cases(3000), &sites, oracle_long_fork);
    prove("long-fork", cases(3000), &sites, oracle_long_fork);
}
