//! Runs that are held, and faults by hand. On a machine that forbids namespaces this whole binary is skipped: see `scripts/all-tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use common::{SCHISM, ended, events, start_with};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A run of three nodes with these words.
fn start(out: &Path, words: &[&str]) -> Child {
    start_with(out, &[&["--nodes", "3", "--seed", "1"], words].concat())
}

fn latest(out: &Path) -> PathBuf {
    out.join("latest")
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn phase(out: &Path, name: &str) -> bool {
    events(out).iter().any(|e| e["value"]["phase"] == name)
}

/// `schism fault` or `schism exec` with these words.
fn by_hand(out: &Path, command: &str, words: &[&str]) -> Output {
    Command::new(SCHISM)
        .arg(command)
        .arg("--run")
        .arg(latest(out))
        .args(words)
        .output()
        .unwrap()
}

#[test]
fn a_held_cluster_is_looked_at_hurt_and_let_go() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path();
    let child = start(
        out,
        &[
            "--nemesis",
            "none",
            "--time-limit",
            "1s",
            "--hold",
            "--prepare",
            "clock",
        ],
    );
    until("it is held", || phase(out, "hold"));

    let status = ended(&by_hand(out, "fault", &["status"]), 0);
    assert_eq!(status.matches("running").count(), 3, "{status}");
    assert!(status.contains("no fault is in force"), "{status}");

    let killed = ended(&by_hand(out, "fault", &["kill", "n1"]), 0);
    assert!(
        killed.contains("fault 1: kill n1") && killed.contains("SIGKILL"),
        "{killed}"
    );
    ended(
        &by_hand(
            out,
            "fault",
            &["partition", "n2", "/", "n3,clients", "for", "300ms"],
        ),
        0,
    );
    let clock = ended(&by_hand(out, "fault", &["clock", "n2", "by=+60s"]), 0);
    assert!(clock.contains("60.0"), "{clock}");
    // What the nodes were not started for, and what there is not.
    let disk = ended(&by_hand(out, "fault", &["disk", "n1"]), 254);
    assert!(disk.contains("--prepare disk"), "{disk}");
    ended(&by_hand(out, "fault", &["kill", "n9"]), 254);
    ended(&by_hand(out, "fault", &["heal", "pause"]), 254);

    // A command is in the node's network, has our streams, and its exit code is ours.
    let own = ended(
        &by_hand(
            out,
            "exec",
            &[
                "n2",
                "--",
                "sh",
                "-c",
                "ip -o -4 addr show dev eth0; exit 7",
            ],
        ),
        7,
    );
    assert!(own.contains("10.77.2.2"), "{own}");
    let mut cat = Command::new(SCHISM)
        .args(["exec", "--run"])
        .arg(latest(out))
        .args(["clients", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    cat.stdin
        .take()
        .unwrap()
        .write_all(b"through and back")
        .unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through and back");

    until("the partition is healed by itself", || {
        !ended(&by_hand(out, "fault", &["status"]), 0).contains("partition")
    });
    let healed = ended(&by_hand(out, "fault", &["heal"]), 0);
    assert!(
        healed.contains("fault 1: healed") && healed.contains("fault 3: healed"),
        "{healed}"
    );
    ended(&by_hand(out, "fault", &["end"]), 0);
    let output = child.wait_with_output().unwrap();
    // No client was there to see any of it.
    let text = ended(&output, 2);
    assert!(text.contains("holds    recovery"), "{text}");
    let proved = events(out)
        .iter()
        .filter(|e| e["value"]["stage"] == "healed" && e["value"]["proved"] == true)
        .count();
    assert_eq!(proved, 3);
    assert!(!latest(out).join("control.sock").exists());
    let over = ended(&by_hand(out, "fault", &["status"]), 254);
    assert!(over.contains("does not go on now"), "{over}");
}

#[test]
fn a_fault_by_hand_is_one_of_the_run() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path();
    let child = start(out, &["--nemesis", "none", "--time-limit", "6s"]);
    until("clients have done enough", || {
        events(out).iter().filter(|e| e["type"] == "ok").count() > 50
    });
    ended(
        &by_hand(out, "fault", &["pause", "follower", "for", "700ms"]),
        0,
    );
    let text = ended(&child.wait_with_output().unwrap(), 0);
    assert!(text.contains("verdict: pass"), "{text}");
    // It stands in the schedule with the time that it lasted, so that a replay does the same.
    let schedule = fs::read_to_string(latest(out).join("schedule.jsonl")).unwrap();
    let lines = schedule
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let faults: Vec<Value> = lines.filter(|l| !l["fault"].is_null()).collect();
    let lasted = faults[0]["until"].as_u64().unwrap() - faults[0]["at"].as_u64().unwrap();
    assert!(
        faults.len() == 1 && faults[0]["shape"] == "follower" && lasted >= 700_000_000,
        "{faults:?}"
    );
}

#[test]
fn a_command_ends_with_whoever_asked_for_it() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path();
    let child = start(out, &["--nemesis", "none", "--time-limit", "1s", "--hold"]);
    until("it is held", || phase(out, "hold"));
    let sleeps = || {
        let output = by_hand(
            out,
            "exec",
            &["n1", "--", "pgrep", "-c", "-f", "sleep 3141"],
        );
        String::from_utf8_lossy(&output.stdout).trim() != "0"
    };
    let mut asked = Command::new(SCHISM)
        .args(["exec", "--run"])
        .arg(latest(out))
        .args(["n1", "--", "sleep", "3141"])
        .spawn()
        .unwrap();
    until("it sleeps", sleeps);
    asked.kill().unwrap();
    asked.wait().unwrap();
    until("it sleeps no more", || !sleeps());
    // Ctrl-C where it is held goes on to the end.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    ended(&child.wait_with_output().unwrap(), 0);
}

/// The old leader, cut off, answers reads from its own state: with one second of load this is found long before the minute is over.
#[test]
fn the_load_ends_at_the_first_violation() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path();
    let spec = out.join("spec.toml");
    fs::write(
        &spec,
        "workload = \"register\"\ntime-limit = \"60s\"\nproperties = [\"linearizable\", \"convergence\"]\n\
         options = { ack = \"majority\", failover = \"consensus\", read = \"leader\" }\nworkload-options = { keys = 1 }\n\
         [[faults]]\nfault = \"partition:leader\"\nat = \"500ms\"\nfor = \"55s\"\n",
    )
    .unwrap();
    let child = start(out, &["--stop-on-violation", spec.to_str().unwrap()]);
    let text = ended(&child.wait_with_output().unwrap(), 1);
    assert!(text.contains("VIOLATED linearizable"), "{text}");
    let events = events(out);
    let found = events.iter().find(|e| e["f"] == "violation").unwrap();
    assert!(
        found["value"]["what"]
            .as_str()
            .unwrap()
            .starts_with("linearizable: "),
        "{found}"
    );
    let seconds = found["time"].as_u64().unwrap() / 1_000_000_000;
    assert!(
        seconds < 55,
        "before the schedule would have healed it: {found}"
    );
}
