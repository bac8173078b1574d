//! Disturbed packets, proved from outside the harness. On a machine that forbids namespaces this whole binary is skipped: see `scripts/all-tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use common::{SCHISM, events, passed, start};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A run with three nodes and these faults, each with its options, all at once.
fn spec(faults: &[(&str, &str)]) -> String {
    let mut spec = "seed = 1\nnodes = 3\nworkload = \"register\"\ntime-limit = \"20s\"\nend-after = \"1500ms\"\n".to_owned();
    for (fault, options) in faults {
        let _ = write!(
            spec,
            "[[faults]]\nfault = \"{fault}\"\nat = \"700ms\"\nfor = \"3s\"\noptions = {{ {options} }}\n"
        );
    }
    spec
}

fn run(faults: &[(&str, &str)]) -> Vec<Value> {
    let out = tempfile::tempdir().unwrap();
    passed(start(out.path(), &spec(faults)), out.path())
}

/// The events of this stage of packets faults.
fn stages<'e>(events: &'e [Value], stage: &str) -> Vec<&'e Value> {
    let of = |e: &&Value| e["f"] == "packets" && e["value"]["stage"] == stage;
    events.iter().filter(of).collect()
}

fn evidence<'e>(events: &'e [Value], stage: &str) -> &'e str {
    let event = stages(events, stage)[0];
    assert_eq!(event["value"]["proved"], true, "{event}");
    event["value"]["evidence"].as_str().unwrap()
}

fn time(event: &Value) -> u64 {
    event["time"].as_u64().unwrap()
}

/// How long the operations took that this node has answered: in milliseconds, with the time at which each began and ended.
fn latencies(events: &[Value], node: &str) -> Vec<(f64, u64, u64)> {
    let mut open = BTreeMap::new();
    let mut all = Vec::new();
    for event in events {
        let Some(process) = event["process"].as_u64() else {
            continue;
        };
        if event["type"] == "invoke" {
            open.insert(process, time(event));
        } else if let Some(begun) = open.remove(&process)
            && event["type"] == "ok"
            && event["node"] == node
        {
            let took = (time(event) - begun) as f64 / 1e6;
            all.push((took, begun, time(event)));
        }
    }
    all
}

#[test]
fn operations_over_delayed_links_take_as_long_as_the_delay() {
    let events = run(&[("packets:leader", "delay = \"60ms\"")]);
    let effect = stages(&events, "effect")[0];
    let heal = time(stages(&events, "heal")[0]);
    let inject = stages(&events, "inject")[0];
    let what = inject["value"]["what"].as_str().unwrap();
    let node = what.strip_prefix("packets ").unwrap().split(':').next();
    let all = latencies(&events, node.unwrap());
    let during = all
        .iter()
        .filter(|(_, begun, ended)| *begun > time(effect) && *ended < heal);
    let during: Vec<f64> = during.map(|(took, ..)| *took).collect();
    // There and back again.
    assert!(
        !during.is_empty() && during.iter().all(|ms| *ms >= 119.0),
        "{during:?}"
    );
    let before = all.iter().filter(|(_, _, ended)| *ended < time(inject));
    assert!(before.map(|(took, ..)| *took).any(|ms| ms < 119.0));

    let words = evidence(&events, "effect");
    let median: f64 = words
        .split("median delay ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(median >= 59.0, "{words}");
    assert!(
        words.starts_with("by N") || words.starts_with("by n"),
        "{words}"
    );
    assert!(evidence(&events, "healed").contains("probes over 6 links arrived"));
}

#[test]
fn a_lossy_link_loses_its_share() {
    let events = run(&[("packets:n2", "loss = \"30%\"")]);
    let words = evidence(&events, "effect");
    let (lost, sent) = words
        .split_once("): ")
        .unwrap()
        .1
        .split_once(" of ")
        .unwrap();
    let lost: f64 = lost.parse().unwrap();
    let sent: f64 = sent.split(' ').next().unwrap().parse().unwrap();
    // Far outside of what chance does with 300 probes.
    assert!(
        sent >= 100.0 && (0.12..0.48).contains(&(lost / sent)),
        "{words}"
    );
    evidence(&events, "healed");
}

/// A counter of the network namespace of one of the run's nodes, as the kernel shows it from outside.
fn counter(out: &Path, node: &str, protocol: &str, name: &str) -> Option<u64> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pid = processes.map(|e| e.path()).find(|process| {
        let line = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
        line.contains(&format!("\0--id\0{node}\0")) && line.contains(out.to_str().unwrap())
    })?;
    let text = fs::read_to_string(pid.join("net/snmp")).ok()?;
    let mut lines = text
        .lines()
        .filter(|l| l.split(':').next() == Some(protocol));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split(' ').position(|n| n == name)?;
    values.split(' ').nth(place)?.parse().ok()
}

#[test]
fn damaged_packets_fail_their_checksums() {
    let out = tempfile::tempdir().unwrap();
    let run = start(out.path(), &spec(&[("packets:n2", "corrupt = \"20%\"")]));
    let begun = Instant::now();
    let (mut tcp, mut udp) = (0, 0);
    while stages(&events(out.path()), "healed").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        tcp = counter(out.path(), "n2", "Tcp", "InCsumErrors").unwrap_or(tcp);
        udp = counter(out.path(), "n2", "Udp", "InCsumErrors").unwrap_or(udp);
        std::thread::sleep(Duration::from_millis(20));
    }
    let events = passed(run, out.path());
    evidence(&events, "effect");
    assert!(tcp > 0 && udp > 0, "tcp {tcp}, udp {udp}");
}

#[test]
fn several_disturbances_and_a_partition_overlap() {
    let events = run(&[
        (
            "packets:n1>n2",
            "delay = \"20ms\", jitter = \"10ms\", distribution = \"normal\", duplicate = \"20%\"",
        ),
        ("packets:n2/n3", "delay = \"40ms\", reorder = \"25%\""),
        ("packets:n3/clients", "rate = \"2mbit\", clients = \"no\""),
        ("packets:all", "loss = \"5%\""),
        ("partition:n1/n3", ""),
        ("packets:one", ""),
    ]);
    let effects = stages(&events, "effect");
    assert_eq!(effects.len(), 5);
    let words: Vec<_> = effects
        .iter()
        .map(|e| e["value"]["evidence"].as_str().unwrap())
        .collect();
    for (place, says) in [
        (0, "arrived twice"),
        (1, "were overtaken"),
        (2, "kbit/s a link"),
        (3, "loss 5 %"),
    ] {
        assert!(words[place].contains(says), "{words:#?}");
    }
    let healed = stages(&events, "healed");
    assert!(
        healed.iter().all(|e| e["value"]["proved"] == true),
        "{healed:#?}"
    );
    let last = healed.last().unwrap()["value"]["evidence"]
        .as_str()
        .unwrap();
    assert!(!last.contains("held by another fault"), "{last}");
}

/// An engine that this machine does not have, as the doctor says.
fn missing_engine() -> Option<&'static str> {
    let output = Command::new(SCHISM)
        .args(["doctor", "--json"])
        .output()
        .unwrap();
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let works = |what: &str| {
        findings
            .iter()
            .any(|f| f["what"] == what && f["works"] == true)
    };
    assert!(works("disturbing packets"), "{findings:#?}");
    [("netem", "netem"), ("NFQUEUE", "nfqueue")]
        .into_iter()
        .find_map(|(what, by)| (!works(what)).then_some(by))
}

#[test]
fn what_the_machine_cannot_do_is_refused_or_skipped_aloud() {
    let Some(by) = missing_engine() else {
        eprintln!("skipped: this machine has every engine");
        return;
    };
    let run = |more: &[&str]| {
        let out = tempfile::tempdir().unwrap();
        let by = format!("nemesis.packets.by={by}");
        let output = Command::new(SCHISM)
            .args([
                "run",
                "--quiet",
                "--nodes",
                "3",
                "--nemesis",
                "packets,kill",
            ])
            .args(["--set", &by, "--seed", "1", "--time-limit", "6s", "--out"])
            .arg(out.path())
            .args(more)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let kept = fs::read_dir(out.path()).unwrap().count();
        (output.status.code(), said, kept, events(out.path()))
    };
    let (code, said, kept, _) = run(&[]);
    assert_eq!(code, Some(254), "{said}");
    assert!(
        said.contains("packets: ") && said.contains("--skip-unavailable"),
        "{said}"
    );
    assert_eq!(kept, 0, "nothing was started");

    let (code, said, _, events) = run(&["--skip-unavailable"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("skipped: ") && said.contains("of packets"),
        "{said}"
    );
    let injected = |family: &str| {
        events
            .iter()
            .any(|e| e["f"] == family && e["value"]["stage"] == "effect")
    };
    assert!(injected("kill") && !injected("packets"));
}
