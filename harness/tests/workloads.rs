//! Workloads against the bundled target, in real runs: what must be found is found, and what mends it passes. On a machine that forbids
//! namespaces this whole binary is skipped: see `scripts/all-tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use common::{SCHISM, ended, events, start};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Carries out a run, which must end with this code. Answers what its properties came to.
fn run(out: &Path, spec: &str, code: i32) -> Value {
    let spec = format!("nodes = 3\nseed = 1\n{spec}");
    ended(&start(out, &spec).wait_with_output().unwrap(), code);
    let results = fs::read_to_string(out.join("latest/results.json")).unwrap();
    serde_json::from_str::<Value>(&results).unwrap()["properties"].take()
}

fn is_violated(properties: &Value, name: &str) -> bool {
    properties[name]["verdict"] == "violated"
}

/// The leader is cut off, acknowledges, and goes on until the others acknowledge as well.
const TWO_LEADERS: &str = r#"
time-limit = "12s"
end-after = "800ms"
options = { ack = "async", failover = "naive", read = "leader" }
[[faults]]
fault = "partition:leader"
at = "600ms"
for = "4s"
until = ["acknowledged-there-after"]
"#;
/// The same under what mends it.
const ONE_LEADER: &str = r#"
time-limit = "12s"
end-after = "800ms"
[[faults]]
fault = "partition:leader"
at = "600ms"
for = "2s"
"#;

#[test]
fn transfers_that_read_first_make_money_unless_they_compare() {
    let out = tempfile::tempdir().unwrap();
    let bank = |transfers: &str| {
        format!(
            "workload = \"bank\"\ntime-limit = \"2s\"\nworkload-options = {{ transfers = {transfers:?} }}"
        )
    };
    let blind = run(out.path(), &bank("read-then-write"), 1);
    assert!(is_violated(&blind, "bank"), "{blind}");
    let events = events(out.path());
    let at = |f: &str, kind: &str| {
        let of = |e: &Value| e["f"] == f && e["type"] == kind;
        events.iter().position(of).unwrap()
    };
    assert!(at("bank", "info") < at("open", "invoke") && at("open", "ok") < at("read", "invoke"));
    let transfers = events.iter().filter(|e| e["f"] == "transfer");
    assert!(transfers.clone().any(|e| e["type"] == "ok"));

    // The same operations again: of the same clients, and again money appears.
    let replay = Command::new(SCHISM)
        .args(["replay", "--quiet", "--json", "--times", "1", "--out"])
        .arg(out.path().join("again"))
        .arg(out.path().join("latest"))
        .output()
        .unwrap();
    let said = ended(&replay, 0);
    let answer: Value = serde_json::from_slice(&replay.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(answer["violated"], 1, "{said}");

    for transfers in ["compare-and-set", "transaction"] {
        let safe = run(out.path(), &bank(transfers), 0);
        assert_eq!(safe["bank"]["verdict"], "holds");
    }
}

#[test]
fn users_of_lagging_replicas_miss_their_writes_and_go_back_in_time() {
    let out = tempfile::tempdir().unwrap();
    let sessions = |read: &str| {
        format!(
            r#"
workload = "sessions"
time-limit = "3s"
properties = ["read-your-writes", "monotonic-reads"]
options = {{ read = {read:?}, follower-lag = "300ms" }}
"#
        )
    };
    let any = run(out.path(), &sessions("any"), 1);
    assert!(is_violated(&any, "read-your-writes"), "{any}");
    assert!(is_violated(&any, "monotonic-reads"), "{any}");
    run(out.path(), &sessions("leader-quorum"), 0);
}

#[test]
fn two_leaders_lose_elements_of_a_queue_and_one_does_not() {
    let out = tempfile::tempdir().unwrap();
    let queue = |faults: &str| format!("workload = \"queue\"\n{faults}");
    let two = run(out.path(), &queue(TWO_LEADERS), 1);
    assert!(is_violated(&two, "queue"), "{two}");
    let one = run(out.path(), &queue(ONE_LEADER), 0);
    assert_eq!(one["queue"]["verdict"], "holds");
    let drains = events(out.path());
    let drains = drains.iter().filter(|e| e["f"] == "drain");
    let kinds: Vec<&str> = drains.map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["invoke", "ok"]);
}

#[test]
fn two_leaders_lose_increments_and_one_does_not() {
    let out = tempfile::tempdir().unwrap();
    let counter = |faults: &str| format!("workload = \"counter\"\n{faults}");
    let two = run(out.path(), &counter(TWO_LEADERS), 1);
    assert!(is_violated(&two, "counter"), "{two}");
    let one = run(out.path(), &counter(ONE_LEADER), 0);
    assert_eq!(one["counter"]["verdict"], "holds");
}

#[test]
fn no_answer_is_seen_before_its_question_at_one_leader() {
    let out = tempfile::tempdir().unwrap();
    let spec = format!("workload = \"questions\"\n{ONE_LEADER}");
    let one = run(out.path(), &spec, 0);
    assert_eq!(one["consistent-prefix"]["verdict"], "holds");
    assert!(one["consistent-prefix"]["checked"].as_u64() > Some(10));
}
