//! Captures of real runs, held against the rules' counters and against tcpdump. On a machine that forbids namespaces this whole binary is skipped: see
//! `scripts/all-tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use common::{SCHISM, said, start};
use schism::capture::{Captures, Fate, Traffic, part};
use schism::store::read_history;
use schism_history::{Event, History};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const HOSTS: [&str; 4] = ["n1", "n2", "n3", "clients"];

/// Three nodes, the third of which is cut off from the others for a while; its clients stay with it.
fn spec(pcap: &str) -> String {
    format!(
        "seed = 1\nnodes = 3\nworkload = \"set\"\nrate = 100\ntime-limit = \"30s\"\nend-after = \"1500ms\"\npcap = {pcap}\n\
         [[faults]]\nfault = \"partition:n3/n1+n2\"\nat = \"700ms\"\nfor = \"1500ms\"\n"
    )
}

/// Carries the run out to its end, which must be a pass; its folder.
fn run(out: &Path, spec: &str) -> PathBuf {
    let output = start(out, spec).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    out.join("latest").canonicalize().unwrap()
}

/// The value of the nemesis' first event of this kind and stage.
fn stage<'h>(history: &'h History, f: &str, stage: &str) -> &'h Event {
    let mut events = history.faults().filter(|e| e.f.as_ref() == f);
    events.find(|e| e.value["stage"] == stage).unwrap()
}

/// Packets that the kernel did not give to us because we were too slow: of them nobody knows what they were.
fn missed(history: &History) -> u64 {
    let ended = stage(history, "capture", "ended");
    let hosts = ended.value["hosts"].as_array().unwrap();
    hosts.iter().map(|h| h["missed"].as_u64().unwrap()).sum()
}

#[test]
fn what_the_rules_have_stopped_is_what_the_captures_lost() {
    let out = tempfile::tempdir().unwrap();
    let folder = run(out.path(), &spec("\"always\""));
    let history = read_history(&folder.join("history.jsonl")).unwrap();
    let nodes = folder.join("nodes");
    for host in HOSTS {
        assert!(
            nodes.join(host).join(part(0)).is_file(),
            "no capture of {host}"
        );
    }
    let traffic = Captures::read(&nodes, &history).unwrap().traffic;
    assert_eq!(traffic.hosts, HOSTS);
    let link = |(from, to): (usize, usize)| format!("{}>{}", HOSTS[from], HOSTS[to]);

    let mut lost: BTreeMap<String, u64> = BTreeMap::new();
    for packet in &traffic.lost {
        *lost.entry(link(packet.link)).or_default() += 1;
    }
    let cut = BTreeSet::from(["n1>n3", "n2>n3", "n3>n1", "n3>n2"].map(str::to_owned));
    let links: BTreeSet<String> = lost.keys().cloned().collect();
    assert_eq!(links, cut, "{lost:?}");
    let stopped = stage(&history, "partition", "healed").value["stopped"].clone();
    for link in &cut {
        // A rule's count is read a moment before it goes, so it may have stopped a few more.
        let counted = stopped[link].as_u64().unwrap();
        assert!(
            counted > 0 && counted <= lost[link] + missed(&history),
            "{link}: {counted} of {lost:?}"
        );
    }

    let told = |fate: Fate, what: &str| {
        let of = traffic.messages.iter().filter(move |m| m.fate() == fate);
        of.filter(|m| Traffic::words(m).contains(what)).count()
    };
    assert!(
        told(Fate::Lost, "term") > 0,
        "no message between nodes was lost"
    );
    assert!(told(Fate::Delivered, "append term") > 0 && told(Fate::Delivered, "POST /set/") > 0);
    reported(&folder, &traffic);
    tcpdump_reads(&nodes.join("n1").join(part(0)));
}

/// The page shows the lost messages, and where they are.
fn reported(folder: &Path, traffic: &Traffic) {
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    for said in [
        "Stopped by fault 1 partition",
        "href=\"#drops1\"",
        "class=\"msg lost\"",
        "tcpdump -nn -A -r nodes/n",
        "<th scope=\"row\">n1 → n3</th>",
    ] {
        assert!(page.contains(said), "{said:?} is not in the report");
    }
    assert!(page.contains(&format!("of {} packets that were lost", traffic.lost.len())));
    // Drawn from the folder again, it is the same.
    let again = Command::new(SCHISM)
        .arg("report")
        .arg(folder)
        .arg("--out")
        .arg(folder.join("again.html"))
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(fs::read_to_string(folder.join("again.html")).unwrap(), page);
}

/// From outside: any tool for captures reads the file, and finds the cluster's port in it.
fn tcpdump_reads(file: &Path) {
    let output = Command::new("tcpdump")
        .args(["-nn", "-r"])
        .arg(file)
        .arg("tcp port 8000")
        .output();
    match output {
        Ok(output) => {
            let lines = String::from_utf8_lossy(&output.stdout).lines().count();
            assert!(output.status.success() && lines > 50, "{}", said(&output));
        }
        Err(error) => eprintln!(
            "SKIPPED: tcpdump cannot be started ({error}), so the captures are not read with it"
        ),
    }
}

#[test]
fn captures_of_a_run_that_passes_are_not_kept_unless_they_are_wanted_always() {
    let out = tempfile::tempdir().unwrap();
    let spec = "seed = 1\nnodes = 3\ntime-limit = \"1s\"\nrate = 100\npcap = true\n";
    let folder = run(out.path(), spec);
    let history = read_history(&folder.join("history.jsonl")).unwrap();
    assert_eq!(
        stage(&history, "capture", "begun").value["hosts"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    for host in HOSTS {
        assert!(
            !folder.join("nodes").join(host).join(part(0)).exists(),
            "{host}"
        );
    }
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("kept with --pcap=always alone"));
    let kept = fs::read_to_string(folder.join("spec.toml")).unwrap();
    assert!(kept.contains("pcap = true"), "{kept}");
}

#[test]
fn captures_of_a_run_that_was_killed_are_read_as_far_as_they_go() {
    let out = tempfile::tempdir().unwrap();
    let mut child = start(out.path(), &spec("true"));
    let nodes = out.path().join("latest/nodes");
    let begun = Instant::now();
    // So many bytes hold messages between nodes.
    while HOSTS
        .iter()
        .any(|h| fs::metadata(nodes.join(h).join(part(0))).map_or(0, |m| m.len()) < 20_000)
    {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "nothing was captured"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let folder = out.path().join("latest").canonicalize().unwrap();
    let history = read_history(&folder.join("history.jsonl")).unwrap();
    let traffic = Captures::read(&nodes, &history).unwrap().traffic;
    assert!(traffic.messages.iter().any(|m| m.fate() == Fate::Delivered));
    let note = "The captures were not ended in good order: their last moments are missing.";
    assert!(
        traffic.notes.iter().any(|n| n == note),
        "{:?}",
        traffic.notes
    );
}
