//! Failing disks, proved from outside the harness. On a machine that forbids namespaces this whole binary is skipped: see `scripts/all-tests`. Where /dev/fuse cannot be
//! opened, what needs it is seen to be refused instead.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use common::{SCHISM, events, passed, said, start};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// One fault of a run with three nodes: what, with which options; and the options of the target.
fn spec(fault: &str, options: &str, target: &str) -> String {
    format!(
        "seed = 1\nnodes = 3\nworkload = \"register\"\ntime-limit = \"40s\"\nend-after = \"1500ms\"\n\
         [[faults]]\nfault = \"{fault}\"\nat = \"700ms\"\nfor = \"2500ms\"\noptions = {{ {options} }}\n\
         [options]\n{target}\n"
    )
}

/// Whether disks can be mounted here; where not, they are refused with what mends it.
fn fuse() -> bool {
    if OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_ok()
    {
        return true;
    }
    println!("SKIPPED: /dev/fuse cannot be opened here, so no disk can be mounted");
    let out = tempfile::tempdir().unwrap();
    let run = start(out.path(), &spec("disk:n2", "do = \"full\"", ""));
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(254), "{}", said(&output));
    assert!(
        said(&output).contains("chmod 0666 /dev/fuse"),
        "{}",
        said(&output)
    );
    false
}

/// Waits for the end of the run, which must be a pass that leaves nothing.
fn passed_clean(run: Child, out: &Path) -> Vec<Value> {
    let events = passed(run, out);
    nothing_left(out);
    events
}

/// No mount of the run is on the host, and no node has more than its logs.
fn nothing_left(out: &Path) {
    let out = out.canonicalize().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(out.to_str().unwrap()), "{mounts}");
    for node in fs::read_dir(out.join("latest/nodes")).unwrap() {
        let files = fs::read_dir(node.unwrap().path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name());
        let more: Vec<_> = names
            .filter(|name| name != "stdout" && name != "stderr")
            .collect();
        assert!(more.is_empty(), "{more:?}");
    }
}

fn run(spec: &str) -> (tempfile::TempDir, Vec<Value>) {
    let out = tempfile::tempdir().unwrap();
    let events = passed_clean(start(out.path(), spec), out.path());
    (out, events)
}

/// The event of this stage of the family's fault.
fn stage<'e>(events: &'e [Value], family: &str, stage: &str) -> Option<&'e Value> {
    let mut of_nemesis = events.iter().filter(|e| e["process"] == "nemesis");
    of_nemesis.find(|e| e["f"] == family && e["value"]["stage"] == stage)
}

fn evidence(events: &[Value], family: &str, at: &str) -> String {
    let event = stage(events, family, at).unwrap();
    assert_eq!(event["value"]["proved"], true, "{event}");
    event["value"]["evidence"].as_str().unwrap().to_owned()
}

fn time(event: &Value) -> u64 {
    event["time"].as_u64().unwrap()
}

/// Waits until the fault is this far.
fn until(out: &Path, at: &str) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let events = events(out);
        if stage(&events, "disk", at).is_some() {
            return events;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the fault never came"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a node has said, all its starts together.
fn log(out: &Path, node: &str) -> String {
    fs::read_to_string(out.join("latest/nodes").join(node).join("stderr")).unwrap()
}

/// How many of the final reads of a node were answered.
fn final_reads(events: &[Value], node: &str) -> usize {
    let of = |e: &&Value| e["final"] == true && e["node"] == node && e["type"] == "ok";
    events.iter().filter(of).count()
}

/// The node's own words say which error its disk gave; it stops rather than guess, which is no finding, and comes back.
#[test]
fn a_node_whose_disk_refuses_stops_and_is_started_again() {
    if !fuse() {
        return;
    }
    for (options, seen, words) in [
        (
            "do = \"full\"",
            "write: No space left on device",
            "No space left on device",
        ),
        (
            "do = \"eio\"",
            "write: Input/output error",
            "Input/output error",
        ),
        (
            "do = \"eio\", calls = \"sync\"",
            "sync: Input/output error",
            "fsync ",
        ),
    ] {
        let (out, events) = run(&spec("disk:n2", options, ""));
        let effect = evidence(&events, "disk", "effect");
        assert!(effect.contains(seen), "{options}: {effect}");
        let ended: Vec<_> = events.iter().filter(|e| e["f"] == "gave-up").collect();
        assert!(
            ended.iter().all(|e| e["value"]["node"] == "n2") && !ended.is_empty(),
            "{ended:?}"
        );
        let log = log(out.path(), "n2");
        assert!(
            log.contains(words) && log.contains("the disk has failed"),
            "{options}: {log}"
        );
        let healed = evidence(&events, "disk", "healed");
        assert!(
            healed.contains("it had ended, and is started again"),
            "{healed}"
        );
        assert!(final_reads(&events, "n2") > 0, "it serves again");
    }
}

/// With fsync before each acknowledgement, and every disk slow, no write can be faster than that.
#[test]
fn writes_on_slow_disks_take_as_long_as_the_disks() {
    if !fuse() {
        return;
    }
    let (_out, events) = run(&spec(
        "disk:all",
        "do = \"slow\", by = \"300ms\", calls = \"sync\"",
        "fsync = \"always\"",
    ));
    let (from, to) = (
        time(stage(&events, "disk", "effect").unwrap()),
        time(stage(&events, "disk", "heal").unwrap()),
    );
    let (mut open, mut during, mut after) = (BTreeMap::new(), Vec::new(), 0);
    for event in &events {
        let Some(process) = event["process"].as_u64() else {
            continue;
        };
        if event["type"] == "invoke" && event["f"] == "write" {
            open.insert(process, time(event));
        } else if let Some(begun) = open.remove(&process)
            && event["type"] == "ok"
        {
            if begun > from && time(event) < to {
                during.push((time(event) - begun) / 1_000_000);
            }
            after += u32::from(begun > to);
        }
    }
    assert!(!during.is_empty() && after > 0, "{during:?} {after}");
    assert!(during.iter().all(|ms| *ms >= 300), "{during:?}");
    assert!(evidence(&events, "disk", "effect").contains("sync: done in 3"));
}

/// Without fsync what was acknowledged is gone, and with it nothing is; nobody but the disk forgets.
#[test]
fn a_disk_forgets_what_was_not_synced_and_nothing_else() {
    if !fuse() {
        return;
    }
    for (fault, options) in [
        ("disk:all", "do = \"lose-unsynced\""),
        ("power:all", "by = \"fuse\""),
    ] {
        let family = fault.split(':').next().unwrap();
        let (_, always) = run(&spec(fault, options, "fsync = \"always\""));
        evidence(&always, family, "effect");
        let out = tempfile::tempdir().unwrap();
        // What was added and is gone stays gone; a register may be written again before anybody reads it.
        let never = spec(fault, options, "fsync = \"never\"")
            .replace("\"register\"", "\"set\"")
            .replace("700ms", "2s");
        let never = start(out.path(), &never);
        let output = never.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let never = evidence(&events(out.path()), family, "effect");
        assert_eq!(never.matches(" are gone").count(), 3, "{never}");
    }
}

/// A file of a node, by the end of its name, as it lies in the run's folder.
fn file(out: &Path, node: &str, name: &str) -> PathBuf {
    out.join("latest/nodes").join(node).join("data").join(name)
}

/// While the node is down its file is looked at: as long as the evidence says, and with the byte in its place that it says. This needs no FUSE.
#[test]
fn the_files_of_a_stopped_node_are_damaged_as_it_is_said() {
    for deed in ["torn", "truncate", "flip"] {
        let out = tempfile::tempdir().unwrap();
        let options = format!("do = \"{deed}\", file = \"log-\"");
        let run = start(out.path(), &spec("disk:n2", &options, ""));
        let evidence = evidence(&until(out.path(), "effect"), "disk", "effect");
        let words: Vec<&str> = evidence.rsplit_once("n2: ").unwrap().1.split(' ').collect();
        let after = |word: &str| words[words.iter().position(|w| *w == word).unwrap() + 1];
        if deed == "flip" {
            let bytes = fs::read(file(out.path(), "n2", after("of"))).unwrap();
            let at: usize = after("byte").trim_end_matches(':').parse().unwrap();
            assert_eq!(format!("{:#04x}", bytes[at]), after("now"), "{evidence}");
        } else {
            let now: u64 = after("has").parse().unwrap();
            let length = fs::metadata(file(out.path(), "n2", words[0]))
                .unwrap()
                .len();
            let had: u64 = after("had").parse().unwrap();
            assert!(length == now && now < had, "{evidence}: {length}");
            assert!(deed == "truncate" || had - now < 512, "{evidence}");
        }
        // Checksums: the node finds it and joins again, so nothing that was promised is broken.
        let events = passed_clean(run, out.path());
        assert!(final_reads(&events, "n2") > 0, "it serves again");
    }
}

/// Whoever hangs in a slow call then, the nodes and the harness' own probe.
#[test]
fn nodes_that_wait_for_their_disks_die_with_the_harness() {
    if !fuse() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let mut run = start(
        out.path(),
        &spec(
            "disk:all",
            "do = \"slow\", by = \"5s\", calls = \"sync\"",
            "",
        ),
    );
    until(out.path(), "inject");
    std::thread::sleep(Duration::from_secs(1));
    let marker = out.path().canonicalize().unwrap();
    assert!(processes(&marker) >= 3);
    run.kill().unwrap();
    run.wait().unwrap();
    let begun = Instant::now();
    while processes(&marker) > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "some are left after a minute"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that have the folder in their command lines.
fn processes_of(folder: &Path) -> Vec<(i32, String)> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|process| {
        let line = fs::read_to_string(process.path().join("cmdline")).ok()?;
        let pid = process.file_name().to_str()?.parse().ok()?;
        line.contains(folder.to_str()?).then_some((pid, line))
    });
    lines.collect()
}

fn processes(folder: &Path) -> usize {
    processes_of(folder).len()
}

/// What a sick disk excuses is the end of its own node: that of another one is found.
#[test]
fn the_end_of_another_node_is_still_a_finding() {
    if !fuse() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let run = start(out.path(), &spec("disk:n2", "do = \"full\"", ""));
    until(out.path(), "effect");
    let marker = out.path().canonicalize().unwrap();
    for (pid, line) in processes_of(&marker) {
        if line.contains("--id\0n3") {
            let pid = nix::unistd::Pid::from_raw(pid);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let events = events(out.path());
    let crashes: Vec<_> = events.iter().filter(|e| e["f"] == "crash").collect();
    assert!(
        crashes.len() == 1 && crashes[0]["value"]["node"] == "n3",
        "{crashes:?}"
    );
}

/// In place of a node a script goes through what data stores do with files, and then becomes the node.
const SCRIPT: &str = r#"#!/bin/sh
set -eu
data=
for word in "$@"; do
  if [ "$data" = next ]; then data=$word; fi
  if [ "$word" = --data ]; then data=next; fi
done
mkdir "$data/shop" && cd "$data/shop"
python3 - <<'END'
import fcntl, mmap, os, sqlite3

with open("map", "wb+") as f:
    f.truncate(8192)
    shared = mmap.mmap(f.fileno(), 8192)
    shared[5000:5005] = b"hello"
    shared.flush()
    assert os.pread(f.fileno(), 5, 5000) == b"hello"
    os.pwrite(f.fileno(), b"world", 5000)
    assert shared[5000:5005] == b"world"
    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.posix_fallocate(f.fileno(), 0, 100_000)
    assert os.fstat(f.fileno()).st_size == 100_000

with open("log", "ab", buffering=0) as a, open("log", "ab", buffering=0) as b:
    a.write(b"one"); b.write(b"two"); a.write(b"six")
    os.fsync(a.fileno())
assert open("log", "rb").read() == b"onetwosix"

held = open("log", "rb")
os.replace("map", "log")
assert held.read() == b"onetwosix", "who has it open keeps it"
os.link("log", "twin"); os.symlink("twin", "link"); os.unlink("log")
assert os.readlink("link") == "twin" and os.stat("link").st_size == 100_000
os.mkdir("box", 0o750); os.rename("twin", "box/twin")
assert os.stat("box").st_mode & 0o777 == 0o750
try:
    os.rmdir("box"); raise SystemExit("a folder that is not empty was removed")
except OSError as e:
    import errno
    assert e.errno == errno.ENOTEMPTY, e
assert sorted(os.listdir(".")) == ["box", "link"], os.listdir(".")
os.utime("box/twin", (1, 2)); os.chmod("box/twin", 0o600)
there = os.stat("box/twin")
assert (there.st_mtime, there.st_mode & 0o777) == (2, 0o600)
fd = os.open(".", os.O_RDONLY); os.fsync(fd); os.close(fd)

for mode in ["wal", "delete"]:
    one = sqlite3.connect("db"); two = sqlite3.connect("db")
    assert one.execute(f"pragma journal_mode={mode}").fetchone()[0] == mode
    one.execute("create table if not exists t (x)")
    for i in range(50):
        one.execute("insert into t values (?)", (i,)); one.commit()
    assert two.execute("select count(*) from t").fetchone()[0] in (50, 100)
    one.close(); two.close()
END
rm -r "$data/shop"
echo "all of it worked"
exec SCHISM "$@"
"#;

#[test]
fn data_stores_find_on_the_disk_what_they_need() {
    if !fuse() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let script = out.path().join("node");
    fs::write(&script, SCRIPT.replace("SCHISM", SCHISM)).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let spec = spec(
        "disk:n2",
        "do = \"slow\", by = \"10ms\", calls = \"read\"",
        "",
    );
    let run = start(
        out.path(),
        &format!("binary = {:?}\n{spec}", script.to_str().unwrap()),
    );
    passed_clean(run, out.path());
    for node in ["n1", "n2", "n3"] {
        let stdout = out.path().join("latest/nodes").join(node).join("stdout");
        let stdout = fs::read_to_string(stdout).unwrap();
        assert!(stdout.contains("all of it worked"), "{node}: {stdout}");
    }
}

#[test]
fn an_option_that_means_nothing_is_refused() {
    for (options, says) in [
        ("do = \"melt\"", "none of full, eio, slow"),
        ("by = \"1h\"", "10ms to 5s"),
        ("calls = \"seek\"", "none of write, sync, read"),
        ("bits = 0", "no number from 1"),
    ] {
        let out = tempfile::tempdir().unwrap();
        let run = start(out.path(), &spec("disk:one", options, ""));
        let output = run.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(254), "{}", said(&output));
        assert!(said(&output).contains(says), "{}", said(&output));
    }
}
