//! `unique-ids` and `split-brain`: what acknowledgements say when they are laid side by side.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, prove, violated_if, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op};
use serde_json::Value;

fn ids(rng: &mut ChaCha8Rng) -> Lines {
    let of = rng.random_range(4..30);
    let line = |process: usize, rng: &mut ChaCha8Rng| {
        let id = match rng.random_range(0..40) {
            0 => "null".to_owned(),
            1..4 => format!("\"{}\"", rng.random_range(0..of)),
            _ => rng.random_range(0..of).to_string(),
        };
        let start = rng.random_range(0..20);
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "fail", "info"]);
        format!(
            "{process}: generate - {id} @{start}..{} {outcome}",
            start + rng.random_range(1..9)
        )
    };
    (0..rng.random_range(1..8))
        .map(|process| line(process, rng))
        .collect()
}

fn oracle_unique_ids(history: &History) -> Decision {
    let ops = history.ops();
    let ids: Vec<&Value> = ops.iter().filter_map(Op::result).collect();
    let same = |i: usize, j: usize| i != j && ids[i] == ids[j] && !ids[i].is_null();
    let twice = (0..ids.len()).any(|i| (0..ids.len()).any(|j| same(i, j)));
    let none = ids.iter().any(|id| id.is_null());
    worst([
        violated_if(twice),
        if none {
            Decision::Unknown
        } else {
            Decision::Holds
        },
    ])
}

#[test]
fn unique_ids() {
    agree("unique-ids", cases(3000), &ids, oracle_unique_ids);
    prove("unique-ids", cases(3000), &ids, oracle_unique_ids);
}

/// Acknowledgements of three nodes over a few terms; when nothing is wrong each term has its leader, and later ones come later.
fn terms(rng: &mut ChaCha8Rng) -> Lines {
    let wrong = one_in(rng, 2);
    let line = |process: usize, rng: &mut ChaCha8Rng| {
        let start = rng.random_range(0..40);
        let mut term = 1 + start / 10;
        let mut node = term % 3 + 1;
        if wrong && one_in(rng, 3) {
            (term, node) = (rng.random_range(1..5), rng.random_range(1..4));
        }
        let f = pick(
            rng,
            &["write x", "write x", "add s", "generate -", "read x"],
        );
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "fail", "info"]);
        let end = start + rng.random_range(1..6);
        let said = pick(
            rng,
            &[
                format!("term={term}"),
                format!("term={term}"),
                String::new(),
            ],
        );
        format!("{process}: {f} {process} @{start}..{end} {outcome} node=n{node} {said}")
    };
    (0..rng.random_range(2..9))
        .map(|process| line(process, rng))
        .collect()
}

fn oracle_split_brain(history: &History) -> Decision {
    let ops = history.ops();
    let acks: Vec<_> = ops
        .iter()
        .filter(|op| op.is_ok() && op.f() != "read")
        .filter_map(|op| Some((op, op.completion?.node.as_ref()?, op.completion?.term?)))
        .collect();
    let mut pairs = acks.iter().flat_map(|a| acks.iter().map(move |b| (a, b)));
    violated_if(pairs.any(|((a, a_node, a_term), (b, b_node, b_term))| {
        a_node != b_node && (a_term == b_term || (a_term > b_term && a.precedes(b)))
    }))
}

#[test]
fn split_brain() {
    agree("split-brain", cases(3000), &terms, oracle_split_brain);
    prove("split-brain", cases(3000), &terms, oracle_split_brain);
}
