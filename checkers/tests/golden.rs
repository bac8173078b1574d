//! Hand-written histories with the verdict that they must get: the folder is the verdict.
//!
//! `golden/<property>/{holds,violated,unknown}/<name>.history` is in the one-line notation; its lines that start with `#` say what the
//! case is and where it comes from. What the notation cannot say (phases, faults, recovery) stands in a `.jsonl` with a `.md` of
//! the same name beside it for the words. Some lines of the words are asserted:
//!
//! - `operations: 0 2 4`: the operations (indexes of their invocations) that the first anomaly must name, these and no others.
//! - `says: lost`: its message, or where there is no anomaly the reason of the verdict, must contain this.
//! - `count: 2`: there must be so many anomalies.
//! - `budget: nothing`: the time is up at once.
//! - `model: mutex`: what `linearizable` checks it as.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests read their histories from files; the checkers do not"
)]

mod support;

use schism_checkers::verdict::{Decision, PropertyResult};
use schism_checkers::{Budget, Chosen, Model, Prepared, Property, check_as, properties};
use schism_history::{History, jsonl};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::streamed_as;

/// What a history alone can never violate: they only say how much there is to judge by.
const NEVER_VIOLATED: [&str; 2] = ["meaningful", "stats"];
/// Fewer files than this cannot cover a definition and its pitfalls.
const FILES_MIN: usize = 5;

/// One file.
struct Case {
    path: PathBuf,
    property: String,
    verdict: Decision,
    history: History,
    words: Words,
}

/// What a file says of itself.
#[derive(Default)]
struct Words {
    prose: String,
    operations: Option<Vec<u64>>,
    says: Option<String>,
    count: Option<u64>,
    no_budget: bool,
    model: Option<Model>,
}

impl Words {
    fn new<'t>(lines: impl Iterator<Item = &'t str>) -> Self {
        let mut words = Self::default();
        for line in lines.map(str::trim) {
            match line
                .split_once(':')
                .map(|(name, value)| (name, value.trim()))
            {
                Some(("operations", value)) => {
                    let indexes = value.split_whitespace().map(|n| n.parse().unwrap());
                    words.operations = Some(indexes.collect());
                }
                Some(("says", value)) => words.says = Some(value.to_owned()),
                Some(("count", value)) => words.count = Some(value.parse().unwrap()),
                Some(("budget", "nothing")) => words.no_budget = true,
                Some(("model", value)) => {
                    let model = Model::named(value);
                    words.model = Some(model.unwrap_or_else(|| panic!("no model {value}")));
                }
                _ => words.prose.push_str(line),
            }
        }
        words
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn entries(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn decision(folder: &Path) -> Decision {
    match name(folder) {
        "holds" => Decision::Holds,
        "violated" => Decision::Violated,
        "unknown" => Decision::Unknown,
        other => panic!("{}: {other} is no verdict", folder.display()),
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for property in entries(&golden()) {
        for verdict in entries(&property) {
            let files = entries(&verdict).into_iter();
            let histories = files.filter(|path| path.extension().is_none_or(|e| e != "md"));
            cases.extend(histories.map(|path| case(&property, &verdict, path)));
        }
    }
    cases
}

fn case(property: &Path, verdict: &Path, path: PathBuf) -> Case {
    let text = fs::read_to_string(&path).unwrap();
    let (history, words) = match path.extension().and_then(|e| e.to_str()) {
        Some("history") => notation(&path, &text),
        Some("jsonl") => lines(&path, &text),
        _ => panic!("{}: neither .history nor .jsonl", path.display()),
    };
    Case {
        property: name(property).to_owned(),
        verdict: decision(verdict),
        path,
        history,
        words,
    }
}

fn notation(path: &Path, text: &str) -> (History, Words) {
    let (words, ops): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| l.starts_with('#'));
    let history = History::dsl(&ops.join("\n"));
    (
        history.unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        Words::new(words.iter().map(|line| line.trim_start_matches('#'))),
    )
}

fn lines(path: &Path, text: &str) -> (History, Words) {
    let history = jsonl::read(text.as_bytes());
    let words = fs::read_to_string(path.with_extension("md"));
    let words = words.unwrap_or_else(|e| panic!("{}: no .md beside it: {e}", path.display()));
    (
        history.unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        Words::new(words.lines()),
    )
}

fn sorted(indexes: &[u64]) -> Vec<u64> {
    let mut sorted = indexes.to_vec();
    sorted.sort_unstable();
    sorted
}

impl Case {
    fn result(&self) -> Result<PropertyResult, String> {
        let budget = Budget {
            exhausted: &|| self.words.no_budget,
            memory_bytes: u64::MAX,
        };
        let named = [self.property.clone()];
        let verdict = check_as(&self.history, self.words.model, Some(&named), &[], &budget);
        let mut properties = verdict.map_err(|e| e.to_string())?.properties;
        Ok(properties.remove(&self.property).unwrap())
    }

    /// In what the result is not what the file says.
    fn differences(&self) -> Vec<String> {
        let result = match self.result() {
            Ok(result) => result,
            Err(error) => return vec![error],
        };
        let first = result.anomalies.first();
        let mut differences = Vec::new();
        if result.verdict != self.verdict {
            differences.push(format!(
                "the verdict is {:?} ({})",
                result.verdict, result.why
            ));
        }
        if let (Some(expected), Some(first)) = (&self.words.operations, first)
            && sorted(&first.operations) != *expected
        {
            let (got, message) = (&first.operations, &first.message);
            differences.push(format!(
                "it names {got:?} instead of {expected:?}: {message}"
            ));
        }
        let said = first.map_or(&result.why, |anomaly| &anomaly.message);
        if let Some(says) = self.words.says.as_ref().filter(|s| !said.contains(*s)) {
            differences.push(format!("{says:?} is not in {said:?}"));
        }
        if let Some(count) = self.words.count.filter(|n| *n != result.count) {
            differences.push(format!("{} anomalies instead of {count}", result.count));
        }
        differences
    }

    fn short(&self) -> String {
        let path = self.path.strip_prefix(golden()).unwrap();
        path.display().to_string()
    }
}

#[test]
fn every_history_gets_the_verdict_of_its_folder() {
    let mut wrong = Vec::new();
    for case in cases() {
        let differences = case.differences().into_iter();
        wrong.extend(differences.map(|d| format!("{}: {d}", case.short())));
    }
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What is one pass over the operations and does not ask for the time.
const ASKS_NOBODY: [&str; 2] = ["meaningful", "stats"];
/// Looks at the clock that are few, and that are enough for all but the hardest searches.
const LITTLE: usize = 24;
const ENOUGH: usize = 200;

/// What a property says if the time is up after so many looks at the clock, and how often it looked.
fn after(looks: usize, property: &dyn Property, history: &Prepared<'_>) -> (PropertyResult, usize) {
    let looked = AtomicUsize::new(0);
    let budget = Budget {
        exhausted: &|| looked.fetch_add(1, Ordering::Relaxed) >= looks,
        memory_bytes: u64::MAX,
    };
    let result = property.check(history, &budget);
    (result, looked.into_inner())
}

/// Each case with each property that fits it.
fn each(judge: impl Fn(&Case, &'static dyn Property, &Prepared<'_>)) {
    for case in cases() {
        let prepared = Prepared::new(&case.history).with_model(case.words.model);
        for property in properties().iter().filter(|p| p.fits(&prepared)) {
            judge(&case, *property, &prepared);
        }
    }
}

#[test]
fn without_time_nothing_holds() {
    each(|case, property, history| {
        let (result, _) = after(0, property, history);
        let (name, short) = (property.name(), case.short());
        assert!(
            result.verdict != Decision::Holds || ASKS_NOBODY.contains(&name),
            "{name} holds for {short}"
        );
        let late = result.why.contains("time");
        assert!(
            result.verdict != Decision::Unknown
                || late
                || ASKS_NOBODY.contains(&name)
                || result.checked == 0,
            "{name} for {short} does not say why: {}",
            result.why
        );
    });
}

/// As the harness asks: then those hold nothing either that ask nobody.
#[test]
fn at_its_limits_a_property_is_unknown_and_says_which() {
    each(|case, property, history| {
        let chosen = Chosen {
            property,
            decides: true,
        };
        let at = |late: bool, memory_bytes| {
            let exhausted = || late;
            let budget = Budget {
                exhausted: &exhausted,
                memory_bytes,
            };
            chosen.check(history, &budget)
        };
        let (name, short) = (property.name(), case.short());
        let late = at(true, u64::MAX);
        assert_ne!(late.verdict, Decision::Holds, "{name} for {short}");
        let refused = at(false, 1);
        assert_eq!(refused.verdict, Decision::Unknown, "{name} for {short}");
        let why = refused.why;
        assert!(
            why.starts_with("ran out of memory before it began: it needs about"),
            "{name} for {short}: {why}"
        );
    });
}

/// What was cut off is neither right nor wrong because of that.
#[test]
fn with_little_time_no_other_verdict_is_found() {
    each(|case, property, history| {
        let (whole, looked) = after(ENOUGH, property, history);
        for looks in 0..looked.min(LITTLE) {
            let (cut, _) = after(looks, property, history);
            assert!(
                cut.verdict == whole.verdict || cut.verdict == Decision::Unknown,
                "{} for {} after {looks} looks: {:?} instead of {:?}: {:?}",
                property.name(),
                case.short(),
                cut.verdict,
                whole.verdict,
                cut.anomalies.first()
            );
        }
    });
}

#[test]
fn a_history_read_as_a_stream_gets_the_same_verdict() {
    let mut read = 0;
    for case in cases().iter().filter(|case| !case.words.no_budget) {
        if let Some(result) = streamed_as(&case.history, case.words.model, &case.property) {
            let (got, why) = (result.verdict, result.why);
            assert_eq!(got, case.verdict, "{}: {why}", case.short());
            read += 1;
        }
    }
    assert!(read > 50, "{read} of the files");
}

#[test]
fn every_file_says_what_it_is_and_what_its_anomaly_names() {
    for case in cases() {
        let short = case.short();
        assert!(
            case.words.prose.len() >= 20,
            "{short} does not say what it is"
        );
        let notation = case.path.extension().is_some_and(|e| e == "history");
        let violated = case.verdict == Decision::Violated;
        assert!(
            !(violated && notation) || case.words.operations.is_some(),
            "{short} does not say which operations its first anomaly names"
        );
        assert!(
            violated || case.words.operations.is_none(),
            "{short} names operations, but is not violated"
        );
    }
}

#[test]
fn no_words_are_without_their_history() {
    for property in entries(&golden()) {
        for file in entries(&property)
            .iter()
            .flat_map(|verdict| entries(verdict))
        {
            let words = file.extension().is_some_and(|e| e == "md");
            assert!(
                !words || file.with_extension("jsonl").exists(),
                "{} has no .jsonl beside it",
                file.display()
            );
        }
    }
}

#[test]
fn every_property_has_its_folder_and_its_cases() {
    let mut cases_of: BTreeMap<String, Vec<Decision>> = BTreeMap::new();
    for case in cases() {
        cases_of
            .entry(case.property)
            .or_default()
            .push(case.verdict);
    }
    let registered: Vec<&str> = properties().iter().map(|p| p.name()).collect();
    let strangers: Vec<_> = cases_of
        .keys()
        .filter(|p| !registered.contains(&p.as_str()))
        .collect();
    assert!(strangers.is_empty(), "no such properties: {strangers:?}");
    for property in registered {
        let verdicts = cases_of
            .get(property)
            .map(Vec::as_slice)
            .unwrap_or_default();
        assert!(
            verdicts.len() >= FILES_MIN,
            "{property} has {} files",
            verdicts.len()
        );
        assert!(
            verdicts.contains(&Decision::Holds),
            "{property} never holds"
        );
        let other = if NEVER_VIOLATED.contains(&property) {
            Decision::Unknown
        } else {
            Decision::Violated
        };
        assert!(verdicts.contains(&other), "{property} is never {other:?}");
    }
}
