//! Real runs in real namespaces. On a machine that forbids them this whole binary is skipped: see `scripts/all-tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const SCHISM: &str = env!("CARGO_BIN_EXE_schism");

fn schism(out: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(SCHISM);
    command
        .args(args)
        .arg("--out")
        .arg(out)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(out: &Path, args: &[&str]) -> Output {
    let mut all = vec!["run", "--json"];
    all.extend(args);
    schism(out, &all).output().unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn verdict(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)))
}

fn events(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("history.jsonl")).unwrap();
    text.lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Values of the nemesis' events of this kind.
fn nemesis(run: &Path, f: &str) -> Vec<Value> {
    let all = events(run).into_iter();
    all.filter(|e| e["process"] == "nemesis" && e["f"] == f)
        .map(|e| e["value"].clone())
        .collect()
}

#[test]
fn a_loss_is_found_proved_and_reported() {
    let out = tempfile::tempdir().unwrap();
    let args = [
        "--workload",
        "set",
        "--set",
        "ack=async",
        "--set",
        "failover=naive",
        "--nemesis",
        "partition:leader",
        "--nodes",
        "3",
        "--time-limit",
        "6s",
        "--fault-interval",
        "4s",
        "--rate",
        "200",
        "--seed",
        "1",
    ];
    let output = run(out.path(), &args);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let verdict = verdict(&output);
    let lost = &verdict["properties"]["lost-writes"];
    assert_eq!(lost["verdict"], "violated");

    // The anomaly names an add that was acknowledged, and it is in no final read.
    let run = out.path().join("latest");
    let events = events(&run);
    let anomaly = &lost["anomalies"][0];
    let invoke = &events[anomaly["operations"][0].as_u64().unwrap() as usize];
    assert_eq!(
        (&invoke["type"], &invoke["f"]),
        (&"invoke".into(), &"add".into())
    );
    let acknowledged =
        |e: &&Value| e["type"] == "ok" && e["f"] == "add" && e["value"] == invoke["value"];
    assert_eq!(events.iter().filter(acknowledged).count(), 1);
    let finals: Vec<_> = events
        .iter()
        .filter(|e| e["final"] == true && e["type"] == "ok")
        .collect();
    assert_eq!(finals.len(), 3);
    assert!(
        finals
            .iter()
            .all(|e| !e["value"].as_array().unwrap().contains(&invoke["value"]))
    );

    // The fault was asked for, seen, healed, and seen to be healed.
    let stages: Vec<_> = nemesis(&run, "partition")
        .iter()
        .map(|v| v["stage"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        stages.starts_with(&[
            "inject".into(),
            "effect".into(),
            "heal".into(),
            "healed".into()
        ]),
        "{stages:?}"
    );
    for file in [
        "spec.toml",
        "schedule.jsonl",
        "results.json",
        "report.html",
        "nodes/n1/stderr",
        "plots",
    ] {
        assert!(run.join(file).exists(), "{file}");
    }
    assert!(
        run.join("nodes/n1/data").exists(),
        "a violation keeps the nodes' data"
    );
    // Checked again, the saved run says the same.
    let again = Command::new(SCHISM)
        .arg("check")
        .arg(&run)
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

#[test]
fn a_safe_configuration_is_clean_under_overlapping_faults() {
    let out = tempfile::tempdir().unwrap();
    for workload in ["register", "set", "unique-ids"] {
        let args = [
            "--workload",
            workload,
            "--nemesis",
            "partition,kill:one,pause:one",
            "--nodes",
            "3",
            "--time-limit",
            "8s",
            "--fault-interval",
            "1500ms",
            "--rate",
            "200",
            "--seed",
            "4",
        ];
        let output = run(out.path(), &args);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{workload}: {}",
            said(&output)
        );
        let run = out.path().join("latest");
        for family in ["partition", "kill", "pause"] {
            let effects: Vec<_> = nemesis(&run, family)
                .into_iter()
                .filter(|v| v["stage"] == "effect")
                .collect();
            assert!(!effects.is_empty(), "{family} never came");
            assert!(effects.iter().all(|v| v["proved"] == true), "{effects:?}");
        }
    }
}

#[test]
fn the_arena_says_how_long_it_took() {
    let out = tempfile::tempdir().unwrap();
    let output = run(
        out.path(),
        &["--time-limit", "1s", "--nodes", "5", "--seed", "2"],
    );
    let arena = &verdict(&output)["stats"]["arena"];
    assert!(
        arena["up_ms"].as_f64().is_some() && arena["down_ms"].as_f64().is_some(),
        "{}",
        said(&output)
    );
}

/// The seed fixes faults, operations and when each client begins; later operations wait for the answers before them.
#[test]
fn one_seed_gives_one_schedule_of_faults_and_operations() {
    let out = tempfile::tempdir().unwrap();
    let plan = || {
        let args = [
            "--time-limit",
            "2s",
            "--nodes",
            "3",
            "--seed",
            "11",
            "--workload",
            "set",
            "--nemesis",
            "pause,partition",
        ];
        run(out.path(), &args);
        let text = fs::read_to_string(out.path().join("latest/schedule.jsonl")).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let (faults, ops): (Vec<_>, Vec<_>) = lines.into_iter().partition(|l| l["fault"].is_u64());
        let of = |worker: u64| ops.iter().filter(move |op| op["worker"] == worker);
        let begins: Vec<_> = (0..10).map(|w| of(w).next().cloned()).collect();
        let values: Vec<Vec<_>> = (0..10)
            .map(|w| of(w).take(5).map(|op| op["value"].clone()).collect())
            .collect();
        (faults, begins, values)
    };
    assert_eq!(plan(), plan());
}

#[test]
fn a_fault_that_cannot_come_makes_the_run_inconclusive() {
    let out = tempfile::tempdir().unwrap();
    let spec = out.path().join("spec.toml");
    // Nobody leads while all are paused, so a fault aimed at the leader finds nobody.
    fs::write(
        &spec,
        "workload = \"set\"\nnodes = 3\ntime-limit = \"8s\"\nclient-timeout = \"300ms\"\n\
         [[faults]]\nfault = \"pause:all\"\nat = \"1s\"\nfor = \"5s\"\n\
         [[faults]]\nfault = \"kill:leader\"\nat = \"2s\"\nfor = \"1s\"\n",
    )
    .unwrap();
    let output = run(out.path(), &[spec.to_str().unwrap(), "--seed", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("no node leads"), "{}", said(&output));
}

#[test]
fn an_unprivileged_user_can_run_it() {
    if !nix::unistd::getuid().is_root() {
        return; // Then every other test here is that test.
    }
    let home = tempfile::tempdir().unwrap();
    let binary = home.path().join("schism");
    fs::copy(SCHISM, &binary).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let user = 54_321;
    std::os::unix::fs::chown(home.path(), Some(user), Some(user)).unwrap();
    let output = Command::new(&binary)
        .args([
            "run",
            "--time-limit",
            "3s",
            "--fault-interval",
            "1s",
            "--nodes",
            "3",
            "--nemesis",
            "partition",
            "--seed",
            "3",
            "--workload",
            "set",
        ])
        .current_dir(home.path())
        // The PATH of an ordinary user's login: iptables is not on it.
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .uid(user)
        .gid(user)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(home.path().join("results/latest/report.html").exists());
}

/// What a run could leave behind on the machine.
fn traces() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (what, program, args) in [
        ("link", "ip", &["-o", "link"][..]),
        ("netns", "ip", &["netns", "list"]),
    ] {
        let output = Command::new(program).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        all.extend(
            text.lines()
                .map(|l| format!("{what} {}", l.split(": ").nth(1).unwrap_or(l))),
        );
    }
    for save in ["iptables-legacy-save", "iptables-nft-save"] {
        if let Ok(output) = Command::new(save).output() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            all.extend(
                text.lines()
                    .filter(|l| l.starts_with("-A"))
                    .map(|l| format!("{save} {l}")),
            );
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    all.extend(mounts.lines().map(|l| format!("mount {l}")));
    all
}

/// Living processes of this run, told by its folder's name in their command lines: pid and command line, by pid.
fn processes_of(marker: &str) -> Vec<(i32, String)> {
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_string_lossy().parse().ok());
    let line = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).ok();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace('\0', " ");
    let mut all: Vec<(i32, String)> = pids
        .filter_map(|pid| Some((pid, text(line(pid)?))))
        .collect();
    all.retain(|(_, line)| line.contains(marker));
    all.sort_unstable();
    all
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "not within 20 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(out: &Path) -> Child {
    let args = [
        "run",
        "--workload",
        "set",
        "--time-limit",
        "60s",
        "--seed",
        "5",
        "--nemesis",
        "partition,pause,kill",
        "--fault-interval",
        "1s",
    ];
    spawn(out, &args)
}

fn spawn(out: &Path, args: &[&str]) -> Child {
    schism(out, args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn latest(out: &Path) -> PathBuf {
    out.join("latest")
}

/// Waits for the end of a run that was killed, and looks whether anything is left.
fn look_for_traces(out: &Path, mut child: Child, before: &BTreeSet<String>) {
    let marker = out.file_name().unwrap().to_string_lossy().into_owned();
    assert_ne!(child.wait().unwrap().code(), Some(0));
    wait_until("every process is gone", || processes_of(&marker).is_empty());
    wait_until(
        "interfaces, namespaces, rules and mounts are as before",
        || traces().difference(before).next().is_none(),
    );
}

#[test]
fn a_controller_that_is_killed_while_it_starts_leaves_nothing() {
    let before = traces();
    // From before the namespaces are entered, over set-up and start, to the first operations.
    for moment_ms in [0, 2, 5, 10, 15, 20, 30, 50, 100, 300, 1000] {
        let out = tempfile::tempdir().unwrap();
        let mut child = start(out.path());
        std::thread::sleep(Duration::from_millis(moment_ms));
        child.kill().unwrap();
        look_for_traces(out.path(), child, &before);
    }
}

/// Every family of faults that there is.
fn families() -> Vec<String> {
    let output = Command::new(SCHISM)
        .args(["list", "nemeses", "--json"])
        .output()
        .unwrap();
    let families: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let names = families
        .iter()
        .map(|f| f["name"].as_str().unwrap().to_owned());
    names.collect()
}

#[test]
fn a_controller_that_is_killed_during_a_fault_leaves_nothing() {
    let before = traces();
    let families = families();
    assert!(families.len() >= 9, "{families:?}");
    for (turn, family) in families.iter().enumerate() {
        let out = tempfile::tempdir().unwrap();
        let marker = out
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let spec = out.path().join("spec.toml");
        let text = format!(
            "workload = \"set\"\nseed = 5\nnodes = 3\ntime-limit = \"60s\"\nskip-unavailable = true\n\
             [[faults]]\nfault = \"{family}:one\"\nat = \"500ms\"\nfor = \"50s\"\n"
        );
        fs::write(&spec, text).unwrap();
        let child = spawn(out.path(), &["run", spec.to_str().unwrap()]);
        let mut history = String::new();
        wait_until("the fault is in force", || {
            history =
                fs::read_to_string(latest(out.path()).join("history.jsonl")).unwrap_or_default();
            let there = ["\"stage\":\"effect\"", "\"unavailable\":true"];
            there.iter().any(|w| history.contains(w)) && clients_work(out.path())
        });
        if history.contains("\"unavailable\":true") {
            eprintln!("skipped: this machine cannot do faults of {family}");
        }
        // The three processes of the controller: the one that was started, the one that entered the namespaces, and pid 1 inside.
        let (controllers, nodes): (Vec<_>, Vec<_>) = processes_of(&marker)
            .into_iter()
            .partition(|(_, line)| line.contains(" run "));
        assert!(
            controllers.len() == 3 && nodes.len() >= 2,
            "{family}: {controllers:?} {nodes:?}"
        );
        let pid = nix::unistd::Pid::from_raw(controllers[turn % 3].0);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        look_for_traces(out.path(), child, &before);
        // What was written until then can be checked, torn or not: nobody knows whether it recovered.
        let check = Command::new(SCHISM)
            .arg("check")
            .arg(latest(out.path()))
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(2), "{family}: {}", said(&check));
    }
}

fn interrupt(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}

fn clients_work(out: &Path) -> bool {
    let text = fs::read_to_string(latest(out).join("history.jsonl")).unwrap_or_default();
    text.lines()
        .filter(|l| l.contains("\"type\":\"ok\""))
        .count()
        > 50
}

#[test]
fn one_interrupt_ends_the_run_in_good_order() {
    let out = tempfile::tempdir().unwrap();
    let mut child = start(out.path());
    wait_until("clients work", || clients_work(out.path()));
    interrupt(&child);
    // Faults that were planned have not come: whatever else there is, it is no pass.
    assert_eq!(child.wait().unwrap().code(), Some(2));
    let run = latest(out.path());
    assert_eq!(nemesis(&run, "interrupted").len(), 1);
    assert!(
        events(&run).iter().any(|e| e["final"] == true),
        "the final reads were taken"
    );
    assert!(run.join("report.html").exists());
}

#[test]
fn an_interrupt_is_heard_from_the_first_moment() {
    for moment_ms in [5, 15, 30, 60, 120] {
        let out = tempfile::tempdir().unwrap();
        let marker = out
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let mut child = start(out.path());
        std::thread::sleep(Duration::from_millis(moment_ms));
        interrupt(&child);
        // The whole run would take a minute.
        wait_until("it ends", || child.try_wait().unwrap().is_some());
        wait_until("every process is gone", || processes_of(&marker).is_empty());
    }
}

#[test]
fn a_second_interrupt_stops_at_once_and_leaves_nothing() {
    let out = tempfile::tempdir().unwrap();
    let marker = out
        .path()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let mut child = start(out.path());
    wait_until("clients work", || clients_work(out.path()));
    interrupt(&child);
    std::thread::sleep(Duration::from_millis(20));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(255));
    wait_until("every process is gone", || processes_of(&marker).is_empty());
}

#[test]
fn a_full_disk_is_one_line_and_no_panic() {
    // A tmpfs of our own, in a mount namespace of our own.
    let out = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=300k none {0} && {SCHISM} run --out {0} --time-limit 20s --rate 2000 --nodes 3 --workload set --nemesis none --quiet",
        out.path().display()
    );
    let output = Command::new("unshare")
        .args(["-U", "-r", "-m", "sh", "-c", &script])
        .output()
        .unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(255), "{said}");
    assert!(
        said.contains("No space left") && !said.contains("panicked"),
        "{said}"
    );
}

#[test]
fn a_node_that_ends_by_itself_is_a_finding() {
    let out = tempfile::tempdir().unwrap();
    let marker = out
        .path()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let args = [
        "run",
        "--workload",
        "set",
        "--nodes",
        "3",
        "--time-limit",
        "4s",
        "--seed",
        "5",
    ];
    let mut child = spawn(out.path(), &args);
    wait_until("clients work", || clients_work(out.path()));
    let nodes = processes_of(&marker)
        .into_iter()
        .filter(|(_, line)| line.contains("--id n3"));
    for (pid, _) in nodes {
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let run = latest(out.path());
    assert_eq!(nemesis(&run, "crash")[0]["node"], "n3");
    let results: Value =
        serde_json::from_str(&fs::read_to_string(run.join("results.json")).unwrap()).unwrap();
    let anomalies = results["properties"]["recovery"]["anomalies"]
        .as_array()
        .unwrap();
    assert!(
        anomalies.iter().any(|a| a["name"] == "crashed"),
        "{anomalies:?}"
    );
}

#[test]
fn a_fault_that_never_came_is_no_pass() {
    let out = tempfile::tempdir().unwrap();
    let spec = out.path().join("spec.toml");
    // Nobody leads while two of three are down, so the second fault waits in vain until the time is over.
    fs::write(
        &spec,
        "workload = \"set\"\nnodes = 3\ntime-limit = \"4s\"\nclient-timeout = \"300ms\"\n\
         [[faults]]\nfault = \"kill:n1+n2\"\nat = \"1s\"\nfor = \"30s\"\n\
         [[faults]]\nfault = \"partition:leader\"\nat = \"2s\"\nfor = \"30s\"\n",
    )
    .unwrap();
    let output = run(out.path(), &[spec.to_str().unwrap(), "--seed", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("not injected"), "{}", said(&output));
}

#[test]
fn a_stderr_that_nobody_reads_stops_nothing() {
    let out = tempfile::tempdir().unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let args = [
        "run",
        "--workload",
        "set",
        "--nodes",
        "3",
        "--time-limit",
        "3s",
        "--seed",
        "5",
    ];
    let status = schism(out.path(), &args).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(latest(out.path()).join("report.html").exists());
}

#[test]
fn root_can_run_in_the_folder_of_another_user() {
    if !nix::unistd::getuid().is_root() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(out.path(), Some(54_321), Some(54_321)).unwrap();
    fs::set_permissions(out.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let output = run(
        out.path(),
        &["--time-limit", "1s", "--nodes", "3", "--seed", "2"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
