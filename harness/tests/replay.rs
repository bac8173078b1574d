//! Saved runs again, and what is left of them, with real runs. On a machine that forbids namespaces this whole binary is skipped: see `scripts/all-tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SCHISM: &str = env!("CARGO_BIN_EXE_schism");

fn schism(out: &Path, words: &str) -> Command {
    let mut command = Command::new(SCHISM);
    command
        .args(words.split_whitespace())
        .current_dir(out)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What it said, after it has ended with this code.
fn ended(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn answer(output: &Output, code: i32) -> Value {
    let said = ended(output, code);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"))
}

/// Carries out a run, which must end with this code; it is `results/latest`.
fn run(out: &Path, spec: &str, code: i32) {
    ended(&recorded(out, spec), code);
}

fn recorded(out: &Path, spec: &str) -> Output {
    fs::write(out.join("spec.toml"), spec).unwrap();
    let words = "run spec.toml --quiet";
    schism(out, words).output().unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The faults of a run as they were injected: what, on which nodes.
fn injected(run: &Path) -> Vec<(String, Value)> {
    let events = lines(&run.join("history.jsonl")).into_iter();
    let of_nemesis = events.filter(|e| e["process"] == "nemesis");
    of_nemesis
        .filter(|e| e["value"]["stage"] == "inject")
        .map(|e| {
            (
                e["f"].as_str().unwrap().to_owned(),
                e["value"]["nodes"].clone(),
            )
        })
        .collect()
}

/// What each client was to do, in order.
fn operations(run: &Path) -> BTreeMap<u64, Vec<Value>> {
    let mut all = BTreeMap::new();
    for line in lines(&run.join("schedule.jsonl")) {
        if let Some(worker) = line["worker"].as_u64() {
            all.entry(worker).or_insert_with(Vec::new).push(line);
        }
    }
    all
}

const DRAWN: &str = "seed = 5\nnodes = 3\nworkload = \"register\"\ntime-limit = \"3s\"\nrate = 90\nconcurrency = 3\n\
    nemesis = [\"pause:one\", \"kill:minority\"]\nfault-interval = \"700ms\"\n";

/// What a client of `register` does depends on what it has seen, so only the stored operations are the same ones.
#[test]
fn a_run_is_done_again_with_the_same_faults_and_operations() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    // Whether a short run proves much is not what is asked here.
    let code = recorded(out, DRAWN).status.code();
    assert!(matches!(code, Some(0 | 2)), "{code:?}");
    let first = out.join("results/latest");
    let before = injected(&first);
    assert!(before.len() >= 2, "{before:?}");

    let output = schism(out, "replay results/latest --times 2 --json")
        .output()
        .unwrap();
    let answer = answer(&output, 0);
    let count = |name: &str| answer[name].as_u64().unwrap();
    assert_eq!(count("decided") + count("undecided"), 2, "{answer}");
    assert_eq!(
        (count("violated"), &answer["interval"][0]),
        (0, &0.0.into())
    );
    let replay = out.join("results/latest-replay");
    for again in answer["runs"].as_array().unwrap() {
        let again = replay.join(again["run"].as_str().unwrap());
        assert_eq!(injected(&again), before);
        let (was, is) = (operations(&first), operations(&again));
        assert_eq!(was.len(), 3);
        for (worker, was) in &was {
            let same = was.iter().zip(&is[worker]).take_while(|(a, b)| a == b);
            let (same, is) = (same.count(), is[worker].len());
            // One that waited for an answer until the end could not begin its last ones.
            assert!(
                same == is && is > 0 && is <= was.len(),
                "{worker}: {same} of {is} of {}",
                was.len()
            );
        }
    }

    // What is stored counts, not what the seed draws: this one was edited.
    let schedule = first.join("schedule.jsonl");
    let text = fs::read_to_string(&schedule).unwrap();
    let lines = text.split_inclusive('\n');
    let kept: String = lines
        .filter(|line| !line.contains("\"f\":\"kill\""))
        .collect();
    fs::write(&schedule, kept).unwrap();
    ended(
        &schism(out, "replay results/latest --quiet")
            .output()
            .unwrap(),
        0,
    );
    let again = fs::read_dir(out.join("results/latest-replay/runs/001/5")).unwrap();
    let again = again
        .flatten()
        .map(|e| e.path())
        .find(|p| p.join("history.jsonl").is_file());
    let pauses: Vec<_> = before.into_iter().filter(|(f, _)| f == "pause").collect();
    assert_eq!(injected(&again.unwrap()), pauses);
}

#[test]
fn a_replay_that_was_interrupted_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    run(out, "seed = 2\nnodes = 3\ntime-limit = \"1s\"\n", 0);
    let replay = schism(out, "replay results/latest --times 3 --jobs 1")
        .spawn()
        .unwrap();
    let latest = out.join("results/latest-replay");
    let begun = Instant::now();
    while !latest.join("runs/002").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no second run");
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = i32::try_from(replay.id()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    let said = ended(&replay.wait_with_output().unwrap(), 255);
    assert!(said.contains("schism replay --resume"), "{said}");
    let first = fs::read_dir(latest.join("runs/001/2")).unwrap().count();
    let output = schism(out, "replay --resume results/latest-replay --json")
        .output()
        .unwrap();
    let answer = answer(&output, 0);
    assert_eq!(
        (&answer["decided"], &answer["complete"]),
        (&3.into(), &true.into()),
        "{answer}"
    );
    assert_eq!(
        fs::read_dir(latest.join("runs/001/2")).unwrap().count(),
        first,
        "it was not run again"
    );
}

/// Eleven faults that do no harm, and among them one that does: the old leader, cut off, goes on answering reads from its own state.
fn twelve() -> String {
    let mut spec = "seed = 1\nnodes = 3\nworkload = \"register\"\ntime-limit = \"30s\"\nend-after = \"300ms\"\nrate = 40\nconcurrency = 3\nclient-timeout = \"200ms\"\n\
        properties = [\"stale-reads\"]\noptions = { ack = \"majority\", failover = \"consensus\", read = \"leader\" }\n\
        workload-options = { keys = 1, reads = 80, writes = 20, cas = 0 }\n"
        .to_owned();
    for n in 0..12 {
        let fault = match n {
            3 => "fault = \"partition:leader\"\nfor = \"5s\"\nuntil = [\"read-there-after\"]"
                .to_owned(),
            0 => "fault = \"slow:follower\"\nfor = \"60ms\"".to_owned(),
            1 | 2 => "fault = \"pause:follower\"\nfor = \"60ms\"".to_owned(),
            // By name: on a slow machine it may be long until somebody leads again.
            n => format!(
                "fault = \"partition:n{}/clients\"\nfor = \"60ms\"",
                n % 3 + 1
            ),
        };
        let at = 300 + 100 * n;
        let _ = writeln!(spec, "[[faults]]\nat = \"{at}ms\"\n{fault}");
    }
    spec
}

#[test]
fn of_twelve_faults_the_one_that_matters_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    run(out, &twelve(), 1);
    // Its time is soon over: what was found until then is kept, and it goes on from there.
    let output = schism(
        out,
        "shrink results/latest --runs 2 --share 50% --budget 10s",
    )
    .output()
    .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stderr);
    assert!(said.contains("schism shrink --resume"), "{said}");
    let state = |file: &str| fs::read_to_string(out.join("results/latest-shrink").join(file));
    let tried = |text: &str| -> usize {
        let state: Value = serde_json::from_str(text).unwrap();
        state["tried"].as_array().unwrap().len()
    };
    let before = tried(&state("shrink.json").unwrap());

    let output = schism(out, "shrink --resume results/latest-shrink --json")
        .output()
        .unwrap();
    let answer = answer(&output, 0);
    let said = text(&output.stderr);
    assert_eq!(answer["faults"], serde_json::json!([12, 1]), "{said}");
    assert_eq!(answer["left"][0]["fault"], "partition:leader", "{said}");
    assert_eq!(answer["end"], "complete", "{said}");
    assert!(answer["clients"][1].as_u64() <= Some(3), "{said}");
    assert!(tried(&state("shrink.json").unwrap()) > before);
    let again = said.lines().filter(|l| l.contains("as it was")).count();
    assert_eq!(again, usize::from(before == 0), "{said}");

    // What it comes to is a spec of its own: the last that was kept, because it failed. One of two runs was enough for that, so the next one need not fail.
    let shrunk = state("shrunk.toml").unwrap();
    let all: Value = serde_json::from_str(&state("shrink.json").unwrap()).unwrap();
    let tried = all["tried"].as_array().unwrap();
    let kept = tried.iter().rfind(|t| t["fails"] == true).unwrap();
    assert!(kept["tally"]["same"].as_u64() >= Some(1), "{kept}");
    assert!(shrunk.ends_with(kept["spec"].as_str().unwrap()), "{kept}");
    assert!(shrunk.contains("# 12 faults -> 1, 30s -> "), "{shrunk}");
    let rate = format!(
        "# It fails in {} of {} runs.",
        answer["violated"], answer["decided"]
    );
    assert!(shrunk.contains(&rate), "{rate}: {shrunk}");
    assert_eq!(shrunk.matches("[[faults]]").count(), 1, "{shrunk}");
    let output = schism(out, "run results/latest-shrink/shrunk.toml --quiet")
        .output()
        .unwrap();
    let code = output.status.code();
    assert!(matches!(code, Some(0..=2)), "{code:?}: {output:?}");
}

#[test]
fn what_cannot_be_done_again_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    run(out, "seed = 2\nnodes = 3\ntime-limit = \"1s\"\n", 0);
    for (words, says) in [
        ("shrink results/latest", "nothing to shrink"),
        (
            "replay results/latest --property stale-reads",
            "it violated: nothing",
        ),
        ("replay results/latest-other", "no run's folder"),
        ("replay --resume results/latest", "replay.json"),
        ("shrink --resume results/latest", "shrink.json"),
        ("replay", "RUN"),
        ("shrink results/latest --share 0%", "more than 0%"),
    ] {
        let said = ended(&schism(out, words).output().unwrap(), 254);
        assert!(said.contains(says), "{words}: {said}");
    }
    fs::remove_file(out.join("results/latest/schedule.jsonl")).unwrap();
    let said = ended(&schism(out, "replay results/latest").output().unwrap(), 254);
    assert!(said.contains("has no schedule.jsonl"), "{said}");
}
