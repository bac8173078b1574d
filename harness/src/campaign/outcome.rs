//! What came of one run of a cell, held against what was expected of it.

use super::file::Cell;
use crate::exit;
use crate::store::Run;
use schism_checkers::verdict::{Anomaly, Decision, Outcome as Verdicts, Verdict};
use schism_history::{History, Op, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// The outcome of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A property was violated in a cell that must pass.
    UnexpectedViolation,
    /// A cell did not show its danger.
    NotFound,
    /// The harness failed.
    Error,
    /// The run does not decide.
    Inconclusive,
    /// A failure that the baseline knows.
    Known,
    /// It was not run.
    Skipped,
    /// As expected.
    AsExpected,
}

impl Outcome {
    /// All, the worst first.
    pub const ALL: [Self; 7] = [
        Self::UnexpectedViolation,
        Self::NotFound,
        Self::Error,
        Self::Inconclusive,
        Self::Known,
        Self::Skipped,
        Self::AsExpected,
    ];

    /// Its name in `campaign.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnexpectedViolation => "unexpected-violation",
            Self::NotFound => "not-found",
            Self::Error => "error",
            Self::Inconclusive => "inconclusive",
            Self::Known => "known",
            Self::Skipped => "skipped",
            Self::AsExpected => "as-expected",
        }
    }

    /// The same for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::UnexpectedViolation => "unexpected violation",
            Self::NotFound => "danger not found",
            Self::Error => "harness error",
            Self::Inconclusive => "inconclusive",
            Self::Known => "known failure",
            Self::Skipped => "skipped",
            Self::AsExpected => "as expected",
        }
    }
}

/// What is to be said of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The outcome.
    pub outcome: Outcome,
    /// Why, in one sentence.
    pub why: String,
    /// From the beginning of the load to the last operation that the first anomaly needs.
    pub time_to_anomaly_s: Option<f64>,
    /// What was violated, and in which shape: the same over nights.
    pub fingerprints: BTreeSet<String>,
}

impl Judgement {
    /// The harness failed, for this reason.
    pub fn error(why: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Error,
            why: why.into(),
            time_to_anomaly_s: None,
            fingerprints: BTreeSet::new(),
        }
    }
}

/// Holds a run that has ended against its cell. `said` is the last that it said on stderr.
pub(super) fn judge(cell: &Cell, run: Option<&Run>, code: Option<i32>, said: &str) -> Judgement {
    let verdict = run.map(Run::verdict);
    match (code, verdict) {
        (Some(exit::PASS | exit::VIOLATION | exit::INCONCLUSIVE), Some(Ok(verdict))) => {
            let history = run.map(Run::history).and_then(Result::ok);
            of_verdict(cell, &verdict, history.as_ref())
        }
        (Some(code), _) if !said.is_empty() => {
            Judgement::error(format!("exit code {code}: {said}"))
        }
        (Some(code), _) => Judgement::error(format!("exit code {code}, and no word why")),
        (None, _) => Judgement::error(format!("it was killed; {said}")),
    }
}

fn of_verdict(cell: &Cell, verdict: &Verdict, history: Option<&History>) -> Judgement {
    let decision = |name: &String| verdict.properties.get(name).map(|p| p.verdict);
    let missing: Vec<&str> = cell
        .finds
        .iter()
        .filter(|name| decision(name) != Some(Decision::Violated))
        .map(String::as_str)
        .collect();
    let violated: Vec<&str> = verdict
        .properties
        .iter()
        .filter(|(_, p)| p.decides && p.verdict == Decision::Violated)
        .map(|(name, _)| name.as_str())
        .collect();
    let (outcome, why) = if cell.finds.is_empty() {
        must_pass(cell, verdict, &violated, history)
    } else if missing.is_empty() {
        (
            Outcome::AsExpected,
            format!("{} violated", violated.join(", ")),
        )
    } else if let Some(open) =
        undecided(verdict, &missing).or_else(|| history.and_then(unseen_witness))
    {
        (Outcome::Inconclusive, open)
    } else {
        let why = format!("{} not violated", missing.join(", "));
        (Outcome::NotFound, why)
    };
    let open = matches!(outcome, Outcome::NotFound | Outcome::Inconclusive);
    // What the machine cannot do is no proof of anything.
    let (outcome, why) = match unavailable(verdict) {
        Some(missing) if open => (Outcome::Skipped, missing),
        _ => (outcome, why),
    };
    Judgement {
        outcome,
        why,
        time_to_anomaly_s: history.and_then(|h| first_anomaly_s(verdict, h)),
        fingerprints: history
            .map(|h| fingerprints(verdict, h))
            .unwrap_or_default(),
    }
}

fn must_pass(
    cell: &Cell,
    verdict: &Verdict,
    violated: &[&str],
    history: Option<&History>,
) -> (Outcome, String) {
    match verdict.verdict {
        Verdicts::Violation => {
            let first = violated
                .first()
                .and_then(|name| verdict.properties[*name].anomalies.first());
            let message = first.map_or("", |anomaly| anomaly.message.as_str());
            let why = format!("{} violated: {message}", violated.join(", "));
            (Outcome::UnexpectedViolation, why)
        }
        Verdicts::Inconclusive => {
            let open = undecided(verdict, &[]).unwrap_or_else(|| "undecided".to_owned());
            (Outcome::Inconclusive, open)
        }
        Verdicts::Pass => match cell
            .counters
            .iter()
            .find(|c| counter(history, c) == Some(0))
        {
            Some(zero) => (
                Outcome::Inconclusive,
                format!("{zero} is zero: it has tested nothing"),
            ),
            None => (Outcome::AsExpected, "every property holds".to_owned()),
        },
    }
}

/// What was left out of the run because the machine cannot do it.
fn unavailable(verdict: &Verdict) -> Option<String> {
    let skipped = verdict.stats["skipped"].as_array()?.iter();
    let mut missing = skipped.filter(|s| s["unavailable"] == true);
    let text = |s: &Value, field: &str| s[field].as_str().unwrap_or_default().to_owned();
    missing
        .next()
        .map(|s| format!("{}: {}", text(s, "what"), text(s, "why")))
}

/// What is not decided: the run proves nothing, or one of these properties (of all that decide, where none is named) is unknown.
fn undecided(verdict: &Verdict, names: &[&str]) -> Option<String> {
    let reasons = verdict.meaningful["reasons"].as_array();
    let reason = reasons.and_then(|r| r.first()).and_then(Value::as_str);
    if let Some(reason) = reason {
        return Some(format!("not meaningful: {reason}"));
    }
    let open = verdict.properties.iter().find(|(name, p)| {
        p.decides
            && p.verdict == Decision::Unknown
            && (names.is_empty() || names.contains(&name.as_str()))
    });
    open.map(|(name, p)| format!("{name} is unknown: {}", p.why))
}

/// A fault that waited for its witness in vain.
fn unseen_witness(history: &History) -> Option<String> {
    let heals = history.faults().filter(|e| e.value["stage"] == "heal");
    let mut unseen = heals.filter_map(|e| {
        let shown = e.value["shown"].as_object()?;
        let (name, _) = shown.iter().find(|(_, seen)| seen.is_null())?;
        Some(format!("fault {} never showed {name}", e.value["fault"]))
    });
    unseen.next()
}

/// A counter of the nodes, all together, as they said at the end. None where no node has it.
fn counter(history: Option<&History>, name: &str) -> Option<u64> {
    let statuses = history?.faults().filter(|e| e.f == "status").last()?;
    let counters = statuses.value.as_array()?.iter();
    let figures: Vec<u64> = counters
        .filter_map(|s| s["counters"][name].as_u64())
        .collect();
    (!figures.is_empty()).then(|| figures.iter().sum())
}

/// When the load began, else when the run did.
fn load_began(history: &History) -> Time {
    let main = history
        .faults()
        .find(|e| e.f == "phase" && e.value["phase"] == "main");
    main.map_or(Time::ZERO, |e| e.time)
}

fn deciding(verdict: &Verdict) -> impl Iterator<Item = (&String, &Anomaly)> {
    let violated = verdict.properties.iter().filter(|(_, p)| p.decides);
    violated.flat_map(|(name, p)| p.anomalies.iter().map(move |anomaly| (name, anomaly)))
}

/// When the first anomaly could have been known: the end of the last operation that it needs, final reads apart.
fn first_anomaly_s(verdict: &Verdict, history: &History) -> Option<f64> {
    let ops = history.ops();
    let known = |anomaly: &Anomaly| {
        let named = ops
            .iter()
            .filter(|op| anomaly.operations.contains(&op.index()));
        let moments = named.filter(|op| !op.is_final());
        moments
            .map(|op| {
                if op.end().is_infinite() {
                    op.start()
                } else {
                    op.end()
                }
            })
            .max()
    };
    let first = deciding(verdict)
        .filter_map(|(_, anomaly)| known(anomaly))
        .min()?;
    Some((first.since(load_began(history)) as f64 / 1e6).round() / 1e3)
}

/// `property/anomaly(operations)`, where operations are what kinds of them show it.
pub(crate) fn fingerprints(verdict: &Verdict, history: &History) -> BTreeSet<String> {
    let ops = history.ops();
    let shape = |anomaly: &Anomaly| {
        let named = ops
            .iter()
            .filter(|op| anomaly.operations.contains(&op.index()));
        let kinds: BTreeSet<String> = named.map(kind).collect();
        kinds.into_iter().collect::<Vec<_>>().join(" ")
    };
    deciding(verdict)
        .map(|(name, anomaly)| format!("{name}/{}({})", anomaly.name, shape(anomaly)))
        .collect()
}

/// The property that a fingerprint is of.
pub(crate) fn property(fingerprint: &str) -> &str {
    fingerprint
        .split_once('/')
        .map_or(fingerprint, |(name, _)| name)
}

fn kind(op: &Op<'_>) -> String {
    let outcome = match op.outcome() {
        schism_history::Outcome::Ok => "",
        schism_history::Outcome::Fail => "-refused",
        schism_history::Outcome::Info => "-unknown",
    };
    let last = if op.is_final() { "final-" } else { "" };
    format!("{last}{}{outcome}", op.f())
}
