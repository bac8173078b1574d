//! `bank`: every read has the same accounts and the same total, and none overdraws where that is refused.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, prove, violated_if, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// A few accounts, transfers between them one after another, and reads of all of them; some see half of a transfer.
fn banks(rng: &mut ChaCha8Rng) -> Lines {
    let mut balances: BTreeMap<&str, i64> = BTreeMap::from([("a", 10), ("b", 10), ("c", 0)]);
    let (mut lines, wrong) = (Vec::new(), one_in(rng, 2));
    for at in 0..rng.random_range(3..10) {
        let (start, end) = (at * 2, at * 2 + 1);
        let names: Vec<&str> = balances.keys().copied().collect();
        let (from, to) = (pick(rng, &names), pick(rng, &names));
        let most = pick(rng, &[4, 4, 4, 20]);
        let amount = rng.random_range(1..most);
        if at == 0 || one_in(rng, 2) {
            let outcome = pick(
                rng,
                &[
                    "ok",
                    "ok",
                    "ok",
                    "info",
                    "fail error=insufficient-funds",
                    "fail",
                ],
            );
            lines.push(format!(
                "{at}: transfer - {{\"from\":\"{from}\",\"to\":\"{to}\",\"amount\":{amount}}} @{start}..{end} {outcome}"
            ));
            if outcome == "ok" {
                *balances.get_mut(from).unwrap() -= amount;
                *balances.get_mut(to).unwrap() += amount;
            }
            continue;
        }
        let mut seen: BTreeMap<&str, Option<i64>> =
            balances.iter().map(|(k, v)| (*k, Some(*v))).collect();
        if wrong && one_in(rng, 2) {
            match rng.random_range(0..4) {
                0 => drop(seen.remove(to)),
                1 => drop(seen.insert("d", Some(0))),
                2 => drop(seen.insert(to, None)),
                _ => drop(seen.insert(to, Some(balances[to] + amount))),
            }
        }
        let pairs = seen.iter().map(|(name, balance)| {
            let balance = balance.map_or_else(|| "null".to_owned(), |b| b.to_string());
            format!("\"{name}\":{balance}")
        });
        let read = pairs.collect::<Vec<_>>().join(",");
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "info"]);
        lines.push(format!("{at}: read - {{{read}}} @{start}..{end} {outcome}"));
    }
    lines
}

fn oracle_bank(history: &History) -> Decision {
    let ops = history.ops();
    let reads: Vec<BTreeMap<String, i64>> = ops.iter().filter_map(balances).collect();
    let refuses = ops.iter().any(|op| {
        op.outcome() == Outcome::Fail
            && op
                .completion
                .is_some_and(|c| c.error_kind() == Some("insufficient-funds"))
    });
    let total = |read: &BTreeMap<String, i64>| read.values().sum::<i64>();
    let names = |read: &BTreeMap<String, i64>| read.keys().cloned().collect::<BTreeSet<_>>();
    let totals: BTreeSet<i64> = reads.iter().map(total).collect();
    let accounts: BTreeSet<_> = reads.iter().map(names).collect();
    let overdrawn = reads
        .iter()
        .any(|read| read.values().any(|balance| *balance < 0));
    let doubt = reads.len() < 2 || (overdrawn && !refuses);
    worst([
        violated_if(totals.len() > 1 || accounts.len() > 1 || (overdrawn && refuses)),
        if doubt {
            Decision::Unknown
        } else {
            Decision::Holds
        },
    ])
}

fn balances(op: &Op<'_>) -> Option<BTreeMap<String, i64>> {
    let read = op.result().filter(|_| op.f() == "read")?.as_object()?;
    let there = read.iter().filter(|(_, balance)| !balance.is_null());
    Some(
        there
            .map(|(name, balance)| (name.clone(), balance.as_i64().unwrap()))
            .collect(),
    )
}

#[test]
fn bank() {
    agree("bank", cases(3000), &banks, oracle_bank);
    prove("bank", cases(3000), &banks, oracle_bank);
}
