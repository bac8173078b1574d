//! The simulator, from a seed to a small plan: what is safe is clean, what is wrong is found, and everything can be had again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use common::{SCHISM, ended};
use schism::sim::{
    Families, Found, Judgement, Plan, Seeds, Setting, Wanted, drive, judge, plan_of, search, shrink,
};
use std::process::{Command, Output};

fn setting(options: &[(&str, &str)], workload: &str, properties: &[&str]) -> Setting {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let wanted = Wanted {
        target: "single-leader".to_owned(),
        options: options.iter().map(pair).collect(),
        workload: workload.to_owned(),
        workload_options: std::collections::BTreeMap::new(),
        nodes: 3,
        properties: properties.iter().map(|p| (*p).to_owned()).collect(),
    };
    wanted.resolve().unwrap()
}

fn families(names: &[&str]) -> Families {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Families::parse(&names, &Families::default()).unwrap()
}

fn found(setting: &Setting, count: u64, families: Families) -> Found {
    let seeds = Seeds {
        first: 0,
        count,
        jobs: 2,
        keep_going: false,
        families,
    };
    search(setting, &seeds, &mut |_| ()).unwrap()
}

const ALL: [&str; 7] = [
    "partition",
    "kill",
    "power",
    "pause",
    "packets",
    "clock",
    "membership",
];

/// Whatever is drawn, and through its file: the same plan is the same history and the same trace.
#[test]
fn a_plan_is_one_history() {
    let setting = setting(&[], "register", &[]);
    for seed in 0..25 {
        let drawn = plan_of(&setting, seed, &families(&ALL));
        let first = drive(&setting, &drawn, true).unwrap();
        assert_eq!(
            first.history,
            drive(&setting, &drawn, false).unwrap().history
        );
        // With the operations named, instead of drawn while it goes.
        let text = serde_json::to_string(&first.plan).unwrap();
        let named: Plan = serde_json::from_str(&text).unwrap();
        assert!(named.operations.iter().all(|o| o.what.is_some()));
        let again = drive(&setting, &named, true).unwrap();
        assert_eq!(again.history, first.history, "seed {seed}");
        assert_eq!(again.trace, first.trace, "seed {seed}");
    }
}

#[test]
fn what_is_safe_is_clean() {
    for workload in schism_workloads::workloads() {
        let workload = workload.name();
        let setting = setting(&[], workload, &[]);
        let found = found(&setting, 60, setting.tolerated());
        assert_eq!(found.failing, [].into(), "{workload}");
        assert_eq!(found.undecided, [].into(), "{workload}");
        assert_eq!(found.schedules, 60);
        let counts = found.operations;
        assert!(counts.ok > 1200, "{workload}: {counts:?}");
        assert!(counts.info > 0 && found.faults > 60, "{workload}: too calm");
    }
}

/// Which configuration is wrong by right, and with which faults that shows.
#[test]
fn what_is_wrong_is_found_and_a_small_plan_shows_it() {
    let naive = [("ack", "async"), ("failover", "naive"), ("read", "leader")];
    for (options, workload, property, faults) in [
        (&naive[..], "set", "lost-writes", &["partition"][..]),
        (&naive, "register", "linearizable", &["partition"]),
        (&naive, "unique-ids", "unique-ids", &["partition", "kill"]),
        (&[("fsync", "never")], "set", "lost-writes", &["power"]),
        (
            &[("read", "any")],
            "register",
            "linearizable",
            &["partition", "packets"],
        ),
    ] {
        let setting = setting(options, workload, &[property]);
        let families = families(faults);
        let (seed, violated) = found(&setting, 400, families.clone()).first().unwrap();
        assert_eq!(violated, property);
        let plan = plan_of(&setting, seed, &families);
        let whole = drive(&setting, &plan, false).unwrap().plan;
        let shrunk = shrink(&setting, whole.clone(), violated).unwrap();
        assert!(shrunk.complete, "{property}: after {} tries", shrunk.tries);
        let small = &shrunk.plan;
        assert!(
            small.operations.len() <= 6 && small.faults.len() <= 2 && small.messages.len() <= 6,
            "{property}: {small:#?}"
        );
        let history = drive(&setting, small, false).unwrap().history;
        assert_eq!(judge(&setting, &history), Judgement::Violated(property));
        // Each operation is needed.
        for place in 0..small.operations.len() {
            let mut fewer = small.clone();
            fewer.operations.remove(place);
            let history = drive(&setting, &fewer, false).unwrap().history;
            assert_ne!(judge(&setting, &history), Judgement::Violated(property));
        }
    }
}

/// Each mistake that is planted in the target, under the faults that bring it out.
#[test]
fn planted_bugs_are_found() {
    for (bug, workload, faults) in [
        ("vote-twice-in-a-term", "unique-ids", "kill"),
        ("skip-log-check", "set", "power"),
        ("ack-before-replicate", "set", "partition"),
        ("ack-before-fsync", "set", "power"),
        ("keep-conflicting-tail", "set", "partition"),
        ("apply-out-of-order", "register", "kill"),
        ("read-without-quorum", "register", "partition"),
        ("snapshot-ahead-of-state", "set", "kill"),
    ] {
        let options = [("bug", bug), ("snapshot-every", "5")];
        let mut wanted = setting(&options, workload, &[]).wanted;
        if workload == "register" {
            wanted.workload_options.insert("keys".into(), "1".into());
        }
        let setting = wanted.resolve().unwrap();
        let found = found(&setting, 2000, families(&[faults]));
        let first = found.first();
        assert!(first.is_some(), "{bug} is not found");
        println!("{bug}: seed and property {first:?}");
    }
}

fn sim(words: &[&str], out: &std::path::Path) -> Output {
    let output = Command::new(SCHISM)
        .args(["sim", "--quiet", "--out"])
        .arg(out)
        .args(words)
        .output();
    output.unwrap()
}

#[test]
fn a_seed_that_fails_leaves_a_plan_a_trace_and_a_history() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let naive = [
        "--target",
        "single-leader",
        "--set",
        "ack=async",
        "--set",
        "failover=naive",
    ];
    let words = [&naive[..], &["--workload", "set", "--seeds", "300"]].concat();
    let said = ended(&sim(&words, out), 1);
    assert!(
        said.contains("lost-writes is violated") && said.contains("a second a core"),
        "{said}"
    );
    let made = std::fs::read_dir(out)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let file = |name: &str| made.join(name).to_str().unwrap().to_owned();
    let trace = std::fs::read_to_string(file("trace.txt")).unwrap();
    assert!(
        trace.contains("leader of term") && trace.contains("=== fault"),
        "{trace}"
    );

    let again = ended(&sim(&["--plan", &file("plan.json")], out), 1);
    assert_eq!(
        again.trim(),
        trace.trim(),
        "it is short enough to be printed whole"
    );
    let history = file("history.jsonl");
    let check = Command::new(SCHISM)
        .args(["check", &history])
        .output()
        .unwrap();
    assert!(ended(&check, 1).contains("lost-writes"));

    std::fs::write(file("plan.json"), "{\"format\":\"schism-plan\"}").unwrap();
    assert!(ended(&sim(&["--plan", &file("plan.json")], out), 254).contains("it is no plan"));
}

#[test]
fn words_that_mean_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (words, says) in [
        (&["--seeds", "5"][..], "--target"),
        (&["--target", "double-leader"], "there are: single-leader"),
        (
            &["--target", "single-leader", "--faults", "floods"],
            "partition (hosts",
        ),
        (&["--target", "single-leader", "--set", "ack"], "key=value"),
        (
            &["--target", "single-leader", "--property", "luck"],
            "linearizable",
        ),
        (&["--target", "single-leader", "--seeds", "0"], "--seeds"),
        (&["--target", "single-leader", "--nodes", "0"], "1 to 15"),
        (&["--plan", "/does/not/exist"], "cannot read the plan"),
    ] {
        let said = ended(&sim(words, folder.path()), 254);
        assert!(said.contains(says), "{words:?}: {said}");
    }
}
