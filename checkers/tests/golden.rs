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

use schism_checkers::verdict::{Anomaly, Decision, PropertyResult};
use schism_checkers::{Budget, Chosen, Model, Prepared, Property, check_as, properties, property};
use schism_history::{Event, EventKind, History, Op, Process, jsonl};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{is_void, only, streamed_as};

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

/// What names more than is needed to be wrong alone, and why.
const NOT_MINIMAL: [(&str, &[&str]); 5] = [
    (
        "that something is in none of the final reads, or in all, is said of all of them",
        &["lost", "lost-update", "removed-and-there"],
    ),
    (
        "that too few succeed, or none for too long, is said of all that were tried",
        &["too-few-succeed", "outage"],
    ),
    (
        "that the target did not recover is said of all that was tried, and of what the driver saw",
        &["not-recovered", "crashed", "recovered-in-word-only"],
    ),
    (
        "when the first holder gave the lock back belongs to what happened",
        &["two-holders"],
    ),
    (
        "how a client knew of the run that it wrote into belongs to what happened",
        &["interleaved"],
    ),
];
/// The same of models: a read of a set is held against one element, whatever else it has.
const NOT_MINIMAL_AS: [Model; 1] = [Model::Set];
/// A violation of which what is named alone is none: what lives there is told by writes that are not named.
const NOT_ALONE: [&str; 1] = ["convergence/violated/a_list_in_a_register_has_an_order.history"];

impl Case {
    /// What the property says of a part of the history, whose keys are what they are in this one; none: what they seem to be.
    fn anomalies_of(&self, part: &History, whole: Option<&History>) -> Vec<Anomaly> {
        let mut prepared = Prepared::new(part).with_model(self.words.model);
        if let Some(whole) = whole {
            prepared = prepared.with_shapes_of(&Prepared::new(whole));
        }
        let property = property(&self.property).unwrap();
        if !property.fits(&prepared) {
            return Vec::new();
        }
        let result = property.check(&prepared, &Budget::unlimited());
        result.anomalies
    }

    /// An operation (its index in the part) without which the rest is as wrong, in the same way, also where all is left out that hangs on it.
    fn one_too_many(
        &self,
        part: &History,
        whole: Option<&History>,
        wrong: &Anomaly,
    ) -> Option<u64> {
        let way = |a: &Anomaly| (a.name.clone(), a.details.get("reason").cloned());
        let ops = part.ops();
        // What is as wrong in these operations, by their places among them.
        let as_wrong = |kept: &[u64]| {
            let rest = only(part, kept);
            let indexes: Vec<u64> = rest.ops().iter().map(Op::index).collect();
            let place = |index: &u64| kept[indexes.iter().position(|i| i == index).unwrap()];
            let anomalies = self.anomalies_of(&rest, whole).into_iter();
            let same = anomalies.filter(|anomaly| way(anomaly) == way(wrong));
            same.map(|anomaly| anomaly.operations.iter().map(place).collect())
                .collect::<Vec<Vec<u64>>>()
        };
        let without = |gone: &BTreeSet<u64>| -> Vec<u64> {
            let kept = ops.iter().map(Op::index).filter(|i| !gone.contains(i));
            kept.collect()
        };
        let can_go = |op: &&Op<'_>| {
            // Whatever is unknown to have been taken may have been taken by any of these.
            let takes = op.f() == "dequeue" && op.result().is_none();
            let alone = as_wrong(&without(&BTreeSet::from([op.index()])));
            let for_want_of_it = |found: &Vec<u64>| {
                let mut with_it = found.clone();
                with_it.push(op.index());
                with_it.sort_unstable();
                as_wrong(&with_it).is_empty()
            };
            !takes
                && !alone.iter().all(for_want_of_it)
                && !as_wrong(&without(&with_dependents(op, &ops))).is_empty()
        };
        ops.iter().find(can_go).map(Op::index)
    }
}

/// The operation, those that saw what it wrote, and so on; who took an element out goes with who put it in.
fn with_dependents(dropped: &Op<'_>, ops: &[Op<'_>]) -> BTreeSet<u64> {
    let mut gone = BTreeSet::from([dropped.index()]);
    loop {
        let values: Vec<&Value> = ops
            .iter()
            .filter(|op| gone.contains(&op.index()))
            .flat_map(written)
            .collect();
        let depends = |op: &&Op<'_>| {
            let needed = op.f() == "cas" && values.contains(&&op.argument()[0]);
            let put = op.f() == "enqueue" && values.contains(&op.argument());
            let seen = op.result().filter(|_| op.f() != "write" && op.f() != "add");
            needed || put || seen.is_some_and(|seen| values.iter().any(|value| has(seen, value)))
        };
        let before = gone.len();
        gone.extend(ops.iter().filter(depends).map(Op::index));
        if gone.len() == before {
            return gone;
        }
    }
}

/// The values that an operation puts somewhere.
fn written<'h>(op: &Op<'h>) -> Vec<&'h Value> {
    let argument = op.argument();
    match op.f() {
        "write" | "add" | "enqueue" => vec![argument],
        "cas" => vec![&argument[1]],
        "dequeue" => op.result().into_iter().collect(),
        "insert" => vec![&argument["text"]],
        "txn" => {
            let parts = argument.as_array().into_iter().flatten();
            let writes = parts.filter(|part| part[0] != "r");
            writes.map(|part| &part[2]).collect()
        }
        _ => Vec::new(),
    }
}

fn has(seen: &Value, value: &Value) -> bool {
    let within = |list: &Vec<Value>| list.iter().any(|v| has(v, value));
    match (seen, value) {
        (Value::String(seen), Value::String(value)) => seen.contains(value.as_str()),
        (Value::Array(list), _) => seen == value || within(list),
        _ => seen == value,
    }
}

/// Every anomaly of every violated history is one by its operations alone; and none of them can be left out, alone or with all that saw what it wrote:
/// then nothing is wrong, or something else.
#[test]
fn every_anomaly_is_a_proof_alone_and_none_of_its_operations_can_go() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for case in cases().iter().filter(|case| !case.words.no_budget) {
        for anomaly in case.anomalies_of(&case.history, None) {
            seen += 1;
            let (named, short) = (&anomaly.operations, case.short());
            let alone = only(&case.history, named);
            // Reads alone may not tell what lives there.
            let by_itself = !case.anomalies_of(&alone, None).is_empty();
            let whole = (!by_itself).then_some(&case.history);
            if case.anomalies_of(&alone, whole).is_empty() && !NOT_ALONE.contains(&short.as_str()) {
                wrong.push(format!("{short}: {named:?} alone are no violation"));
            }
            let name = anomaly.name.as_str();
            let excepted = NOT_MINIMAL.iter().any(|(_, names)| names.contains(&name))
                || case
                    .words
                    .model
                    .is_some_and(|model| NOT_MINIMAL_AS.contains(&model));
            if let Some(index) = case.one_too_many(&alone, whole, &anomaly)
                && !excepted
            {
                let place = alone.ops().iter().position(|op| op.index() == index);
                let index = sorted(named)[place.unwrap()];
                wrong.push(format!(
                    "{short}: {index} of {named:?} is not needed for {name}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 150, "{seen} anomalies");
}

/// The same operations, each with this outcome; nothing: none was ever answered.
fn all_ended(history: &History, kind: Option<EventKind>) -> History {
    let client = |e: &Event| e.process != Process::Nemesis;
    let ended = |mut e: Event| match (kind, client(&e) && e.kind != EventKind::Invoke) {
        (Some(kind), true) => {
            e.kind = kind;
            Some(e)
        }
        (None, true) => None,
        // A process has one operation under way.
        (None, false) if client(&e) => {
            e.process = Process::Client(e.index);
            Some(e)
        }
        (_, false) => Some(e),
    };
    History::new(history.events.iter().cloned().filter_map(ended).collect()).unwrap()
}

/// Neither in memory nor as a stream, whatever became of the operations.
#[test]
fn what_looked_at_nothing_does_not_hold() {
    let (mut void, mut held) = (BTreeSet::new(), 0);
    for case in cases().iter().filter(|case| !case.words.no_budget) {
        let of_kind = |kind| all_ended(&case.history, kind);
        let failed = of_kind(Some(EventKind::Fail));
        for history in [&case.history, &failed, &of_kind(None)] {
            let prepared = Prepared::new(history);
            for property in properties().iter().filter(|p| p.fits(&prepared)) {
                let name = property.name();
                let looked = AtomicUsize::new(0);
                let budget = Budget {
                    exhausted: &|| looked.fetch_add(1, Ordering::Relaxed) >= ENOUGH,
                    memory_bytes: u64::MAX,
                };
                let whole = property.check(&prepared, &budget);
                let streamed = streamed_as(history, None, name);
                for result in [Some(whole), streamed].into_iter().flatten() {
                    let short = case.short();
                    let holds = result.verdict == Decision::Holds;
                    held += usize::from(holds);
                    assert!(
                        !holds || result.checked > 0,
                        "{name} holds of nothing for {short}"
                    );
                    if is_void(&result) {
                        void.insert(name);
                    }
                }
            }
        }
    }
    assert!(held > 100 && void.len() > 10, "{held} {void:?}");
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
