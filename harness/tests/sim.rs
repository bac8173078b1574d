//! The simulator, from a seed to a small plan: what is safe is clean, what is wrong is found, and everything can be had again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use common::{SCHISM, ended};
use schism::sim::{
    Families, Found, Judgement, Plan, Seeds, Setting, Wanted, drive, judge, plan_of, search, shrink,
};
use schism_targets::simulator::{DRIFT_PPM_ALLOWED, DRIFT_PPM_BROKEN};
use serde_json::json;
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

/// Schedules of each workload of a safe configuration.
const SAFE: u64 = 40;

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

const READS: [&str; 7] = [
    "leader-quorum",
    "leader-lease",
    "leader",
    "caught-up",
    "sticky",
    "window",
    "any",
];

/// So many schedules of each workload, under the faults that are drawn by default.
fn clean(options: &[(&str, &str)], count: u64, busy: bool) {
    for workload in schism_workloads::workloads() {
        let workload = workload.name();
        let setting = setting(options, workload, &[]);
        let families = setting.tolerated();
        let found = found(&setting.under(&families).unwrap(), count, families);
        assert_eq!(found.failing, [].into(), "{options:?} {workload}");
        assert_eq!(found.undecided, [].into(), "{options:?} {workload}");
        assert_eq!(found.schedules, count);
        let counts = found.operations;
        assert!(counts.ok > 10 * count, "{workload}: {counts:?}");
        let stormy = counts.info > 0 && found.faults > count;
        assert!(!busy || stormy, "{workload}: too calm");
    }
}

/// An alarm under the faults that a configuration tolerates by right is a defect, of the target or of a checker.
#[test]
fn what_is_safe_is_clean() {
    for read in READS {
        // By right it answers what is old: D07, and found below.
        if read != "leader" {
            clean(&[("read", read)], SAFE, read != "window");
        }
    }
}

#[test]
fn what_is_safe_in_another_way_is_clean() {
    for options in [
        &[("ack", "sync")][..],
        &[("failover", "off"), ("read", "leader")],
        &[("read", "leader-lease"), ("lease-clock", "wall")],
    ] {
        clean(options, SAFE / 2, true);
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
        let shrunk = shrink(&setting, whole.clone(), Judgement::Violated(violated)).unwrap();
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

/// Each mistake that is planted in the target: the property that must find it, and nothing at all over the same seeds where it is left out.
#[test]
fn planted_bugs_are_found_and_nothing_without_them() {
    for (bug, workload, property) in [
        ("vote-twice-in-a-term", "unique-ids", "unique-ids"),
        ("skip-log-check", "set", "lost-writes"),
        ("ack-before-replicate", "set", "lost-writes"),
        ("ack-before-fsync", "set", "lost-writes"),
        ("keep-conflicting-tail", "set", "convergence"),
        ("apply-out-of-order", "register", "convergence"),
        ("read-without-quorum", "register", "linearizable"),
        ("snapshot-ahead-of-state", "set", "convergence"),
    ] {
        let with = setting(&[("bug", bug)], workload, &[property]);
        let drawn = with.tolerated();
        // It shows where a client asks on beside the one who is cut off: once in some thousand schedules of all kinds.
        let drawn = if bug == "read-without-quorum" {
            families(&["partition", "pause"])
        } else {
            drawn
        };
        let first = found(&with, 2000, drawn.clone()).first();
        let (seed, violated) = first.unwrap_or_else(|| panic!("{bug} is not found"));
        println!("{bug}: seed {seed} violates {violated}");
        let without = setting(&[], workload, &[]);
        let without = found(&without, seed.max(50) + 1, drawn);
        assert_eq!(without.failing, [].into(), "without {bug}");
    }
}

/// What no promise depends on is drawn, and in the plan, unless the user has set it.
#[test]
fn each_seed_draws_its_setting_and_what_is_set_stays() {
    let open = setting(&[], "register", &[]);
    let mut set = open.wanted.clone();
    set.options = [("snapshot-every".to_owned(), "7".to_owned())].into();
    set.workload_options.clear();
    let set = set.resolve().unwrap();
    let (mut drawn, mut kept) = (0, 0);
    for seed in 0..50 {
        let plan = plan_of(&open, seed, &families(&ALL));
        let snapshots = plan.drawn.options.get("snapshot-every");
        drawn += usize::from(snapshots.is_some());
        let of = open.of(&plan).unwrap();
        assert_eq!(
            of.wanted.options["snapshot-every"],
            *snapshots.unwrap_or(&"10000".to_owned())
        );
        let plan = plan_of(&set, seed, &families(&ALL));
        assert!(!plan.drawn.options.contains_key("snapshot-every"));
        kept += usize::from(plan.drawn.workload_options.contains_key("keys"));
        assert_eq!(set.of(&plan).unwrap().wanted.options["snapshot-every"], "7");
    }
    assert!((10..40).contains(&drawn) && kept > 10, "{drawn} {kept}");
}

/// A disk is emptied only where a majority has its data, though many are to be; and where nothing is promised, any.
#[test]
fn no_more_than_a_minority_is_wiped_at_a_time() {
    let wipes = |options: &[(&str, &str)]| {
        let setting = setting(options, "set", &["lost-writes"]);
        let words = ["membership".to_owned()];
        let families = Families::parse(&words, &setting.tolerated()).unwrap();
        found(&setting, 150, families)
    };
    assert_eq!(wipes(&[]).failing, [].into());
    let naive = [("ack", "async"), ("failover", "naive")];
    assert!(!wipes(&naive).failing.is_empty());
}

/// The leader is cut off together with a client who reads on; its clock is slower by so much and those of the others are faster.
fn slow_leader(drift_ppm: u64, seed: u64) -> Plan {
    let drift = drift_ppm as i64;
    let machine = |drift_ppm: i64| json!({"drift_ppm": drift_ppm, "offset_ms": 0, "sync_us": 200});
    let operation = |at_ms: u64, client: u64, f: &str| {
        let value = json!((f == "write").then_some(at_ms * 10 + client));
        json!({"at_us": at_ms * 1000, "client": client, "f": f, "key": "r0", "value": value})
    };
    let reads = (2300..2900).step_by(5).map(|at| operation(at, 0, "read"));
    // One after the other comes when the others may have a leader of their own.
    let writers =
        (1..=4).flat_map(|client| (0..3).map(move |k| (client, 2460 + 40 * client + 5 * k)));
    let writes = writers.map(|(client, at)| operation(at, client, "write"));
    let plan = json!({
        "seed": seed,
        "machines": [machine(-drift), machine(drift), machine(drift)],
        "faults": [{"id": 1, "at_us": 2_100_000, "until_us": 3_500_000,
            "f": "isolate", "who": {"host": "n1"}, "with": ["c0"]}],
        "operations": reads.chain(writes).collect::<Vec<_>>(),
        "messages": [],
    });
    serde_json::from_value(plan).unwrap()
}

/// A lease allows for clocks of which one runs a tenth faster than another, and for no more.
#[test]
fn a_lease_holds_as_long_as_clocks_run_as_it_allows() {
    let lease = [("read", "leader-lease"), ("priority", "n1=2")];
    let setting = setting(&lease, "register", &["linearizable"]);
    let violated = |drift_ppm: u64, seed: u64| {
        let history = drive(&setting, &slow_leader(drift_ppm, seed), false).unwrap();
        judge(&setting, &history.history) == Judgement::Violated("linearizable")
    };
    let seeds = || 0..20;
    assert!(!seeds().any(|seed| violated(DRIFT_PPM_ALLOWED, seed)));
    assert!(seeds().any(|seed| violated(DRIFT_PPM_BROKEN, seed)));
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
    let end = |text: &str| -> Vec<String> {
        let lines = text.trim().lines().rev().take(60);
        lines.map(str::to_owned).collect()
    };
    assert_eq!(end(&again), end(&trace));
    let history = file("history.jsonl");
    let check = Command::new(SCHISM)
        .args(["check", &history])
        .output()
        .unwrap();
    assert!(ended(&check, 1).contains("lost-writes"));

    std::fs::write(file("plan.json"), "{\"format\":\"schism-plan\"}").unwrap();
    assert!(ended(&sim(&["--plan", &file("plan.json")], out), 254).contains("it is no plan"));
}

/// A leader that is about to step down does not answer what comes last.
#[test]
fn a_seed_that_leaves_something_undecided_is_shrunk_and_written_down_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let words = "--target single-leader --set fsync=never --workload queue --seed 178 --seeds 1 \
         --faults partition --faults kill --faults power --faults pause --faults packets --faults clock --faults membership";
    let words: Vec<&str> = words.split_whitespace().collect();
    let output = sim(&words, out);
    let told = ended(&output, 2);
    assert!(
        told.contains("undecided: 1, the first is seed 178: queue, "),
        "{told}"
    );
    assert!(
        told.contains("nothing is violated\nqueue is undecided: 1 acknowledged element of q0"),
        "{told}"
    );
    assert!(told.contains("shrunk:   1 fault, 1 operation, "), "{told}");
    let plan = out.join("sim-single-leader-178/plan.json");
    let again = sim(&["--plan", &plan.display().to_string()], out);
    assert!(ended(&again, 2).contains("queue is undecided"));
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
        (
            &["--target", "single-leader", "--set", "service-time=5"],
            "service-time=5 cannot be simulated",
        ),
        (
            &["--target", "single-leader", "--set", "log-check=none"],
            "log-check=none cannot be simulated",
        ),
    ] {
        let said = ended(&sim(words, folder.path()), 254);
        assert!(said.contains(says), "{words:?}: {said}");
    }
}
