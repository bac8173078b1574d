//! Campaigns of real runs. On a machine that forbids namespaces this whole binary is skipped: see `scripts/all-tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SCHISM: &str = env!("CARGO_BIN_EXE_schism");

/// Two cells of a few seconds each: one that must find, one that must pass.
const TWO: &str = r#"
name = "two"
seeds = 2
[defaults]
workload = "set"
nodes = 3
time-limit = "12s"
end-after = "1500ms"
[[cell]]
id = "finds"
finds = ["lost-writes"]
options = { ack = "async", failover = "naive", read = "leader" }
[[cell.faults]]
fault = "partition:leader"
at = "500ms"
for = "10s"
until = ["acknowledged-there-after"]
[[cell]]
id = "passes"
like = "finds"
options = { ack = "majority", failover = "consensus", read = "leader-quorum" }
[[cell.faults]]
fault = "partition:leader"
at = "500ms"
for = "1500ms"
until = ["acknowledged-elsewhere"]
"#;

fn campaign(out: &Path, words: &str) -> Command {
    let mut command = Command::new(SCHISM);
    command
        .arg("campaign")
        .args(words.split_whitespace())
        .arg("--out")
        .arg(out)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("GITHUB_STEP_SUMMARY")
        .env_remove("GITHUB_ACTIONS");
    command
}

fn two(out: &Path) -> PathBuf {
    let path = out.join("two.toml");
    fs::write(&path, TWO).unwrap();
    path
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

fn record(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)))
}

fn latest(out: &Path) -> PathBuf {
    fs::canonicalize(out.join("latest-campaign")).unwrap()
}

/// What every change must not break: dangers are found, remedies raise no alarm.
#[test]
fn the_smoke_campaign_comes_out_as_expected() {
    let out = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../campaigns/smoke.toml");
    let (junit, summary) = (out.path().join("junit.xml"), out.path().join("summary.md"));
    let words = format!(
        "{} --json --junit {} --summary {}",
        file.display(),
        junit.display(),
        summary.display()
    );
    let output = campaign(out.path(), &words).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let record = record(&output);
    let cells = record["cells"].as_array().unwrap();
    assert!(cells.len() >= 9);
    let folder = latest(out.path());
    for cell in cells {
        assert_eq!(cell["outcome"], "as-expected", "{cell}");
        let run = folder.join(cell["run"].as_str().unwrap());
        assert!(run.join("report.html").is_file(), "{cell}");
        let finds = cell["expected"] == "finds";
        assert!(
            !finds || cell["time_to_anomaly_s"].as_f64().is_some(),
            "{cell}"
        );
    }
    let page = fs::read_to_string(folder.join("index.html")).unwrap();
    assert!(page.contains("AS EXPECTED") && page.contains("D07-remedy-1"));
    assert!(fs::read_to_string(summary).unwrap().contains("| D01 |"));
    assert!(fs::read_to_string(junit).unwrap().contains("<testcase "));
}

/// Killed in the middle, a campaign goes on and comes to the same counts; so do its shards together.
#[test]
fn a_campaign_that_was_killed_goes_on_and_shards_are_the_whole() {
    let out = tempfile::tempdir().unwrap();
    let file = two(out.path());
    let words = format!("{} --shard 1/2 --jobs 1", file.display());
    let mut first = campaign(out.path(), &words).spawn().unwrap();
    let begun = Instant::now();
    let folder = loop {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "no run has ended"
        );
        std::thread::sleep(Duration::from_millis(50));
        let latest = out.path().join("latest-campaign");
        let text = fs::read_to_string(latest.join("campaign.json")).unwrap_or_default();
        if text.contains("as-expected\",") {
            break fs::canonicalize(latest).unwrap();
        }
    };
    first.kill().unwrap();
    first.wait().unwrap();
    let resumed = campaign(out.path(), &format!("--resume {} --json", folder.display()));
    let resumed = { resumed }.output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", said(&resumed));
    assert_eq!(record(&resumed)["counts"]["as-expected"], 2);

    let words = format!("{} --shard 2/2 --json", file.display());
    let second = campaign(out.path(), &words).output().unwrap();
    assert_eq!(second.status.code(), Some(0), "{}", said(&second));
    let other = latest(out.path());
    let words = format!("merge {} {} --json", folder.display(), other.display());
    let merged = campaign(out.path(), &words).output().unwrap();
    assert_eq!(merged.status.code(), Some(0), "{}", said(&merged));
    let whole = record(&merged);
    assert_eq!(whole["counts"]["as-expected"], 4);
    for cell in whole["cells"].as_array().unwrap() {
        let run = latest(out.path()).join(cell["run"].as_str().unwrap());
        // What has passed is kept small, what was found with its proof.
        assert!(run.join("report.html").is_file(), "{cell}");
        assert_eq!(
            run.join("history.jsonl").is_file(),
            cell["expected"] == "finds",
            "{cell}"
        );
    }
}

/// A danger that is not there, and a violation where none may be: both stand against the campaign, and the baseline excuses them.
#[test]
fn what_is_not_as_expected_fails_the_campaign_unless_it_is_known() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("wrong.toml");
    let wrong = TWO
        .replace("finds = [\"lost-writes\"]\n", "")
        .replace(
            "like = \"finds\"",
            "like = \"finds\"\nfinds = [\"lost-writes\"]",
        )
        .replace("seeds = 2", "seeds = 1")
        // A fault that waited in vain would make it inconclusive.
        .replace("until = [\"acknowledged-elsewhere\"]\n", "");
    fs::write(&file, wrong).unwrap();
    let output = campaign(out.path(), &format!("{} --json", file.display()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let counts = &record(&output)["counts"];
    assert_eq!(
        (&counts["unexpected-violation"], &counts["not-found"]),
        (&1.into(), &1.into())
    );

    let known = ["finds", "passes"].map(|cell| {
        format!("[[known]]\ncell = \"{cell}\"\nproperty = \"lost-writes\"\nreason = \"wrong on purpose\"\nissue = \"#1\"\nexpires = \"2999-01-01\"\n")
    });
    let baseline = out.path().join("known.toml");
    fs::write(&baseline, known.concat()).unwrap();
    let words = format!(
        "--resume {} --baseline {} --json",
        latest(out.path()).display(),
        baseline.display()
    );
    let output = campaign(out.path(), &words).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(record(&output)["counts"]["known"], 2);
}

/// The ready files for CI systems do what they say, step by step: shards, artefacts, summaries, and the parts as one.
fn ci_file(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(root.join("scripts/try-ci"))
        .arg(root.join("docs/ci").join(name))
        .args(["--built", SCHISM, "BUDGET=5m"])
        .arg(format!("CAMPAIGN={}", two(out.path()).display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("every job has succeeded"), "{said}");
    assert!(
        said.contains("dangers found in 2 of 2 runs; alarms in 0 of 2 runs"),
        "{said}"
    );
}

#[test]
fn the_file_for_github_works() {
    ci_file("github.yml");
}

#[test]
fn the_file_for_gitlab_works() {
    ci_file("gitlab.yml");
}
