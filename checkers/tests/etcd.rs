//! The 50 histories that Jepsen recorded against an early etcd, with the verdicts that the field agrees on: see `etcd/README.md`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests read their histories from files; the checkers do not"
)]

mod support;

use schism_checkers::verdict::Decision;
use schism_history::{History, jepsen_log};
use std::fs;
use std::path::{Path, PathBuf};
use support::{is_invocation, only, result, streamed};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/etcd")
}

fn text(file: &str) -> String {
    let path = folder().join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Each file with its verdict.
fn verdicts() -> Vec<(String, Decision)> {
    let decision = |word: &str| match word {
        "linearizable" => Decision::Holds,
        "not-linearizable" => Decision::Violated,
        other => panic!("{other} is no verdict"),
    };
    let line = |line: &str| {
        let (file, word) = line.split_once(' ').unwrap();
        (file.to_owned(), decision(word))
    };
    text("VERDICTS").lines().map(line).collect()
}

fn history(file: &str) -> History {
    jepsen_log::read(text(file).as_bytes()).unwrap_or_else(|e| panic!("{file}: {e}"))
}

#[test]
fn fifty_of_fifty() {
    let verdicts = verdicts();
    assert_eq!(verdicts.len(), 50);
    let wrong: Vec<String> = verdicts
        .iter()
        .filter_map(|(file, expected)| {
            let history = history(file);
            let got = result(&history, "linearizable").verdict;
            let of_stream = streamed(&history, "linearizable").unwrap();
            assert_eq!(of_stream.verdict, got, "{file}: {}", of_stream.why);
            (got != *expected).then(|| format!("{file}: {got:?} instead of {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_log_has_its_verdict() {
    let logs = fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let mut logs: Vec<String> = logs.map(|n| n.into_string().unwrap()).collect();
    logs.retain(|name| Path::new(name).extension().is_some_and(|e| e == "log"));
    logs.sort();
    let named: Vec<String> = verdicts().into_iter().map(|(file, _)| file).collect();
    assert_eq!(logs, named);
}

#[test]
fn the_operations_that_an_anomaly_names_are_a_violation_by_themselves() {
    for (file, expected) in verdicts() {
        let history = history(&file);
        for anomaly in result(&history, "linearizable").anomalies {
            assert_eq!(expected, Decision::Violated, "{file}");
            let named = &anomaly.operations;
            assert!(
                named.iter().all(|i| is_invocation(&history, *i)),
                "{file}: {named:?}"
            );
            let alone = result(&only(&history, named), "linearizable").verdict;
            assert_eq!(alone, Decision::Violated, "{file}: {}", anomaly.message);
        }
    }
}
