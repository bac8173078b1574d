//! The trace of a seed that fails, as a stranger reads it: short, and with the mistake in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use common::{SCHISM, ended};
use schism::sim::{
    Driven, Extent, Families, Judgement, Plan, Seeds, Setting, Wanted, drive, plan_of, read_plan,
    search, shrink, trace_of,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most lines that a person is to read.
const LINES_MAX: usize = 100;

fn setting(options: &[(&str, &str)], workload: &str, keys: Option<&str>) -> Setting {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let wanted = Wanted {
        target: "single-leader".to_owned(),
        options: options.iter().map(pair).collect(),
        workload: workload.to_owned(),
        workload_options: keys.map(|n| pair(&("keys", n))).into_iter().collect(),
        nodes: 3,
        properties: Vec::new(),
    };
    wanted.resolve().unwrap()
}

/// The first seed that fails, shrunk and carried out.
fn shrunk(setting: &Setting, faults: &[&str]) -> Driven {
    let names: Vec<String> = faults.iter().map(|name| (*name).to_owned()).collect();
    let seeds = Seeds {
        first: 0,
        count: 2000,
        jobs: 2,
        keep_going: false,
        families: Families::parse(&names, &Families::default()).unwrap(),
    };
    let found = search(setting, &seeds, &mut |_| ()).unwrap();
    let (seed, violated) = found.first().unwrap();
    let drawn = plan_of(setting, seed, &seeds.families);
    let whole = drive(setting, &drawn, false).unwrap().plan;
    let small = shrink(setting, whole, Judgement::Violated(violated)).unwrap();
    let driven = drive(setting, &small.plan, true).unwrap();
    // And again from its file.
    let file = serde_json::to_string(&small.plan).unwrap();
    let again: Plan = serde_json::from_str(&file).unwrap();
    let again = drive(setting, &again, true).unwrap();
    assert_eq!(
        (&again.history, &again.trace),
        (&driven.history, &driven.trace)
    );
    driven
}

/// The short trace, which must be one that a person reads.
fn short(setting: &Setting, driven: &Driven) -> String {
    let text = trace_of(setting, driven, Extent::Short);
    let lines = text.lines().count();
    assert!(lines <= LINES_MAX, "{lines} lines:\n{text}");
    assert!(text.contains(" is violated:\n"), "{text}");
    text
}

/// The trace of a planted bug that violates this property.
fn of_bug(bug: &str, workload: &str, faults: &str, property: &str) -> String {
    let keys = (workload == "register").then_some("1");
    let mut setting = setting(&[("bug", bug), ("snapshot-every", "5")], workload, keys);
    setting
        .deciding
        .retain(|decides| decides.name() == property);
    let text = short(&setting, &shrunk(&setting, &[faults]));
    let title = text.lines().next().unwrap();
    has(title, &[&format!("; bug={bug} "), " snapshot-every=5"]);
    text
}

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
}

/// Who granted its vote to whom, by term.
fn votes(text: &str) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut votes: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let Some((hosts, term)) = line.split_once("  vote in term ") else {
            continue;
        };
        let (Some(term), Some((from, to))) = (term.strip_suffix(": yes"), hosts.split_once(" -> "))
        else {
            continue;
        };
        for voter in from.split_whitespace().filter(|word| word.starts_with('n')) {
            let vote = (voter.to_owned(), term.to_owned());
            votes.entry(vote).or_default().insert(to.to_owned());
        }
    }
    votes
}

#[test]
fn a_node_that_votes_twice() {
    let text = of_bug("vote-twice-in-a-term", "unique-ids", "kill", "unique-ids");
    let votes = votes(&text);
    assert!(
        votes.values().any(|candidates| candidates.len() > 1),
        "{votes:?}\n{text}"
    );
}

#[test]
fn a_vote_for_one_that_lacks_entries() {
    let text = of_bug("skip-log-check", "set", "power", "lost-writes");
    has(
        &text,
        &[
            "vote for me in term 2? my log ends at ",
            "vote in term 2: yes",
            "=== fault 1: cut the power",
        ],
    );
    has(&text, &["installs a snapshot at 0", "*finally read s0"]);
}

#[test]
fn a_write_that_is_acknowledged_before_it_is_replicated() {
    let text = of_bug("ack-before-replicate", "set", "partition", "lost-writes");
    has(
        &text,
        &[
            "append ",
            "[LOST: cut off]",
            ": ok",
            "=== fault ",
            ": partition: n",
            "*finally read s0",
        ],
    );
}

#[test]
fn a_write_that_is_acknowledged_before_it_is_on_disk() {
    let text = of_bug("ack-before-fsync", "set", "power", "lost-writes");
    has(
        &text,
        &[
            "  have ",
            "on disk: log ",
            "loses its power; ",
            "of its disk is lost",
            "*finally read s0",
        ],
    );
}

#[test]
fn a_follower_that_keeps_what_conflicts() {
    let text = of_bug("keep-conflicting-tail", "set", "partition", "convergence");
    has(
        &text,
        &[
            "append 2 {nothing} after 1, term 2",
            "have 2, term 2",
            "*finally read s0",
        ],
    );
}

#[test]
fn entries_that_are_applied_out_of_order() {
    let text = of_bug("apply-out-of-order", "register", "kill", "convergence");
    has(
        &text,
        &["{write r0 = ", "state at ", ", was at ", "*finally read r0"],
    );
}

#[test]
fn a_read_of_a_leader_that_leads_no_more() {
    let text = of_bug(
        "read-without-quorum",
        "register",
        "partition",
        "linearizable",
    );
    has(
        &text,
        &["read r0 ...", "[LOST: cut off]", "leader of term 2", "*c"],
    );
}

#[test]
fn a_snapshot_that_claims_too_much() {
    let text = of_bug("snapshot-ahead-of-state", "set", "kill", "convergence");
    has(
        &text,
        &[
            "snapshot at 6, log kept after 0",
            "on disk: log 6, snapshot at 6",
            "starts again",
            "*finally read s0",
        ],
    );
}

/// What is wrong by configuration, not by mistake.
#[test]
fn dangers() {
    let sticky = setting(&[("read", "sticky")], "sessions", None);
    let text = short(&sticky, &shrunk(&sticky, &["kill", "partition"]));
    has(&text, &["read u", "*c", "monotonic-reads is violated"]);
    assert!(
        !text.contains("finally"),
        "it is there before the final reads:\n{text}"
    );

    let options = [("ack", "async"), ("failover", "naive"), ("read", "leader")];
    let naive = setting(&options, "set", None);
    let text = short(&naive, &shrunk(&naive, &["partition"]));
    has(
        &text,
        &[
            "how far are you?",
            "my log ends at ",
            "rolls back ",
            "*finally read s0",
        ],
    );
}

fn plan() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/read-without-quorum.json")
}

#[test]
fn a_whole_trace() {
    let (wanted, plan) = read_plan(&plan()).unwrap();
    let setting = wanted.resolve().unwrap();
    let driven = drive(&setting, &plan, true).unwrap();
    insta::assert_snapshot!("short", trace_of(&setting, &driven, Extent::Short));
    let all = trace_of(&setting, &driven, Extent::Whole);
    assert!(all.lines().count() > 130, "{all}");
    has(
        &all,
        &[
            "hello: I am new",
            "heartbeat after 1, term 1",
            "pre-vote for me in term 1",
            "(7) n1 read r0 ...",
        ],
    );
}

#[test]
fn the_program_prints_the_short_one_and_all_of_it_if_asked() {
    let plan = plan();
    let sim = |words: &[&str]| {
        let output = Command::new(SCHISM)
            .args(["sim", "--plan", plan.to_str().unwrap()])
            .args(words)
            .output();
        output.unwrap()
    };
    let short = ended(&sim(&[]), 1);
    let all = ended(&sim(&["--trace", "all"]), 1);
    assert!(short.lines().count() * 2 < all.lines().count(), "{short}");
    assert!(short.contains("`--trace all`") && !all.contains("`--trace all`"));
    assert!(ended(&sim(&["--trace", "some"]), 254).contains("short, all"));
    let without = ["sim", "--target", "single-leader", "--trace", "all"];
    let without = Command::new(SCHISM).args(without).output().unwrap();
    assert!(ended(&without, 254).contains("--trace is for --plan"));
}
