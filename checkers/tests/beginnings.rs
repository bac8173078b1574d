//! Properties of which a beginning can be judged alone: what holds of a history holds of all its beginnings, so a violation that is found while a run goes on is one.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on may panic, and it reads its own files"
)]

mod support;

use schism_checkers::properties;
use schism_checkers::verdict::Decision;
use schism_history::{History, jsonl};
use std::fs;
use std::path::{Path, PathBuf};
use support::result_or_error;

/// So many beginnings of each history are looked at, about.
const BEGINNINGS: usize = 20;

/// That its registers are read together, only its later operations tell; those of a run are of one workload.
const TOLD_LATE: &str = "multi_register_in_the_shapes_of_knossos.history";

/// The golden histories of which the property holds.
fn holding(property: &str) -> Vec<(PathBuf, History)> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{property}/holds"));
    let entries = fs::read_dir(&folder).unwrap();
    let paths = entries
        .map(|e| e.unwrap().path())
        .filter(|path| !path.ends_with(TOLD_LATE));
    paths
        .filter_map(|path| Some((path.clone(), read(&path)?)))
        .collect()
}

fn read(path: &Path) -> Option<History> {
    match path.extension()?.to_str()? {
        "jsonl" => Some(jsonl::read(&fs::read(path).unwrap()[..]).unwrap()),
        "history" => {
            let text = fs::read_to_string(path).unwrap();
            let ops: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
            Some(History::dsl(&ops.join("\n")).unwrap())
        }
        _ => None,
    }
}

#[test]
fn what_holds_of_the_whole_holds_of_its_beginnings() {
    let (mut looked, mut wrong) = (0, Vec::new());
    for property in properties().iter().filter(|p| p.holds_of_beginnings()) {
        let name = property.name();
        let histories = holding(name);
        assert!(!histories.is_empty(), "{name}");
        for (path, history) in histories {
            let step = history.events.len().div_ceil(BEGINNINGS).max(1);
            for length in (1..history.events.len()).step_by(step) {
                let beginning = History {
                    events: history.events[..length].to_vec(),
                    ..history.clone()
                };
                looked += 1;
                // One that it does not fit yet is none of its.
                let verdict = result_or_error(&beginning, name).ok().map(|r| r.verdict);
                if verdict == Some(Decision::Violated) {
                    wrong.push(format!("{name}: {} to {length}", path.display()));
                }
            }
        }
    }
    assert!(looked > 500, "{looked}");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
