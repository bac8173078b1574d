//! A search through real commits with real runs. On a machine that forbids namespaces this whole binary is skipped: see `scripts/all-tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const SCHISM: &str = env!("CARGO_BIN_EXE_schism");

/// Reads from the leader are never stale; how nodes answer them is the business of the commit.
const SPEC: &str = r#"
seed = 1
nodes = 3
workload = "register"
time-limit = "1500ms"
properties = ["stale-reads"]
options = { read = "leader" }
"#;

/// What a commit builds: a node that takes one option from the commit instead of from the controller.
const BUILD: &str = r#"
set -eu
read -r option <option
[ "$option" != broken ]
cat >node <<END
#!/bin/sh
for word do
  shift
  case \$word in read=*) word=$option ;; follower-lag=*) word=follower-lag=400ms ;; esac
  set -- "\$@" "\$word"
done
exec "$SCHISM" "\$@"
END
chmod +x node
"#;

fn git(repository: &Path, words: &[&str]) -> String {
    let identity = [
        "-c",
        "user.name=nobody",
        "-c",
        "user.email=nobody@localhost",
    ];
    let output = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(identity)
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {words:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

/// A repository with a commit for each of these options, in a folder of its own, and the spec beside it.
fn repository(folder: &Path, options: &[&str]) -> (PathBuf, PathBuf) {
    let repository = folder.join("repository");
    fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "--quiet"]);
    fs::write(repository.join("build.sh"), BUILD).unwrap();
    for (n, option) in options.iter().enumerate() {
        fs::write(repository.join("option"), format!("{option}\n")).unwrap();
        fs::write(repository.join("other"), n.to_string()).unwrap();
        git(&repository, &["add", "--all"]);
        git(
            &repository,
            &["commit", "--quiet", "--message", &format!("{n}: {option}")],
        );
    }
    let spec = folder.join("spec.toml");
    fs::write(&spec, SPEC).unwrap();
    (repository, spec)
}

fn bisect(repository: &Path, spec: &Path, words: &str) -> Command {
    let mut command = Command::new(SCHISM);
    command
        .arg("bisect")
        .arg(spec)
        .args(words.split_whitespace())
        .args(["--build", "sh build.sh", "--binary", "node", "--repo"])
        .arg(repository)
        .arg("--out")
        .arg(repository.with_file_name("results"))
        .env("SCHISM", SCHISM)
        .stdin(Stdio::null());
    command
}

#[test]
fn the_commit_that_made_reads_stale_is_found_past_one_that_does_not_build() {
    let folder = tempfile::tempdir().unwrap();
    let options = [
        "read=leader",
        "read=leader-quorum",
        "broken",
        "read=leader",
        "read=any",
        "read=any",
    ];
    let (repository, spec) = repository(folder.path(), &options);
    let before = git(&repository, &["for-each-ref"]);
    let output = bisect(
        &repository,
        &spec,
        "--good HEAD~5 --bad HEAD --runs 2 --risk 0.5 --json",
    )
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        answer["first_bad"]["subject"],
        "4: read=any",
        "{}",
        said(&output)
    );
    let failed = answer["failed"].as_array().unwrap();
    assert!(
        failed[0] == failed[1] && failed[0].as_u64() >= Some(2),
        "{failed:?}"
    );
    assert_eq!(git(&repository, &["for-each-ref"]), before);
    assert_eq!(git(&repository, &["worktree", "list"]).lines().count(), 1);
    let latest = repository.with_file_name("results").join("latest-bisect");
    assert!(latest.join("bisect.json").is_file() && !latest.join("tree").exists());
}

#[test]
fn one_commit_answers_as_git_bisect_run_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, spec) = repository(folder.path(), &["read=leader", "read=any", "broken"]);
    for (commit, code) in [("HEAD~2", 0), ("HEAD~1", 1), ("HEAD", 125)] {
        git(
            &repository,
            &["worktree", "add", "--quiet", "--force", "../tree", commit],
        );
        let tree = folder.path().join("tree");
        let output = bisect(&tree, &spec, "--rate 0.9 --risk 0.2")
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{commit}: {}",
            said(&output)
        );
        git(&repository, &["worktree", "remove", "--force", "../tree"]);
    }
}

#[test]
fn what_cannot_be_searched_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, spec) = repository(folder.path(), &["read=leader", "read=leader"]);
    for (words, code, says) in [
        ("--good HEAD --bad HEAD~1", 254, "the right way round"),
        ("--good HEAD~1 --bad nowhere", 254, "nowhere"),
        ("--good HEAD~1", 254, "--bad"),
        (
            "--good HEAD~1 --bad HEAD --runs 1",
            2,
            "did not fail in 1 runs",
        ),
    ] {
        let output = bisect(&repository, &spec, words).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words}: {}",
            said(&output)
        );
        assert!(said(&output).contains(says), "{words}: {}", said(&output));
    }
}
