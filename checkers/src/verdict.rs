//! What a checker says: the shape of `results.json`.
//!
//! Verdicts merge worst first: violated, then unknown, then holds. A property that was violated stays so, whatever else went wrong.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a checker decided about one property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It holds for the whole history.
    Holds,
    /// Nobody knows: the budget ran out, or the history does not decide it.
    Unknown,
    /// It does not, and the anomalies prove it.
    Violated,
}

/// The verdict on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every deciding property holds, and the run was meaningful.
    Pass,
    /// Something is undecided, or the run proved nothing.
    Inconclusive,
    /// A deciding property is violated.
    Violation,
}

/// One anomaly: the operations that prove it, and what happened in one sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Its name in the field's words, kebab-case: `lost`, `stale-read`, `duplicate-id`, ...
    pub name: String,
    /// Indexes of the invocations of the operations that prove it, in order of time.
    pub operations: Vec<u64>,
    /// What happened, in one sentence.
    pub message: String,
    /// What usually causes it.
    #[serde(default)]
    pub cause: String,
    /// What usually mends it.
    pub mend: String,
    /// Figures that belong to it: versions or milliseconds behind, the key, the element.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

/// What is known of one property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PropertyResult {
    /// The decision.
    pub verdict: Decision,
    /// How many anomalies there are; `anomalies` may list fewer.
    pub count: u64,
    /// How many operations (reads, elements, ids; the property says what) were looked at.
    pub checked: u64,
    /// The anomalies, the most telling first, at most [`ANOMALIES_LISTED`].
    pub anomalies: Vec<Anomaly>,
    /// Why the verdict is unknown, or what is worth saying of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Figures of the whole: counts by class, quantiles.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// Whether this property decides the run's verdict, or is only shown.
    #[serde(default)]
    pub decides: bool,
}

/// How many anomalies of one property are listed in full.
pub const ANOMALIES_LISTED: usize = 20;

/// The verdict on a history: the document `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// All deciding properties together.
    pub verdict: Outcome,
    /// Every property that was checked, by name.
    pub properties: BTreeMap<String, PropertyResult>,
    /// Counts by operation and phase: see `stats`.
    pub stats: Value,
    /// Whether the run proves anything: see `meaningful`.
    pub meaningful: Value,
}

impl PropertyResult {
    /// Nothing is known, for this reason.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self {
            verdict: Decision::Unknown,
            count: 0,
            checked: 0,
            anomalies: Vec::new(),
            why: why.into(),
            details: Map::new(),
            decides: false,
        }
    }
    /// Whether nothing wrong was found for want of anything to look at.
    pub(crate) fn is_void(&self) -> bool {
        self.verdict == Decision::Unknown && self.checked == 0 && self.why.starts_with(VOID)
    }

    /// What holds of nothing at all is no pass: it is unknown.
    #[must_use]
    pub(crate) fn unless_void(mut self) -> Self {
        if self.verdict == Decision::Holds && self.checked == 0 {
            self.verdict = Decision::Unknown;
            self.why = match self.why.as_str() {
                "" => VOID.to_owned(),
                why => format!("{VOID}; {why}"),
            };
        }
        self
    }
}

/// Why a property that found nothing wrong is unknown all the same.
pub(crate) const VOID: &str = "there was nothing to look at: of what it is about no operation was answered, or surely happened";
