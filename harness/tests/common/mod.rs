//! What the test files share that carry out runs.

#![allow(dead_code, reason = "each test file takes what it needs")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub(crate) const SCHISM: &str = env!("CARGO_BIN_EXE_schism");

/// Starts a run of this spec, which keeps its folder under `out`.
pub(crate) fn start(out: &Path, spec: &str) -> Child {
    let path = out.join("spec.toml");
    fs::write(&path, spec).unwrap();
    let path = path.to_str().unwrap();
    start_with(out, &[path])
}

/// Starts a run with these words.
pub(crate) fn start_with(out: &Path, words: &[&str]) -> Child {
    Command::new(SCHISM)
        .args(["run", "--quiet", "--out"])
        .arg(out)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// All that it has said.
pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

/// All that it has said, after it has ended with this code.
pub(crate) fn ended(output: &Output, code: i32) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// The events of the latest run, as far as they are written.
pub(crate) fn events(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("latest/history.jsonl")).unwrap_or_default();
    let lines = text.lines().skip(1);
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Waits for the end of the run, which must be a pass.
pub(crate) fn passed(run: Child, out: &Path) -> Vec<Value> {
    let output = run.wait_with_output().unwrap();
    let events = events(out);
    let proofs: Vec<_> = events
        .iter()
        .filter_map(|e| e["value"]["evidence"].as_str())
        .collect();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}\n{proofs:#?}");
    events
}
