//! What a property gathers while it looks: anomalies, what it could not decide, and figures; then its result.

use crate::budget::STEPS;
use crate::verdict::{ANOMALIES_LISTED, Anomaly, Decision, PropertyResult};
use crate::{Budget, Keyed, words};
use serde_json::{Map, Value};

/// Anomalies, doubts and figures on the way to a [`PropertyResult`].
#[derive(Debug, Default)]
pub(crate) struct Findings {
    anomalies: Vec<Anomaly>,
    /// How many operations these name together.
    named: usize,
    count: u64,
    checked: u64,
    doubts: Vec<String>,
    doubted: usize,
    /// How far it came when the time was up.
    late: Option<String>,
    notes: Vec<String>,
    details: Map<String, Value>,
}

/// How many operations all anomalies that are listed may name together, but for the last of them. None is cut: a part of a proof is no proof, and some
/// proofs are long by nature (a counter that lacks the last of many increments).
const NAMED_MAX: usize = 100_000;
/// How many doubts are written out; the rest is a number.
const DOUBTS_LISTED: usize = 5;

impl Findings {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An anomaly; its text is only made when it will be listed.
    pub(crate) fn violate(&mut self, anomaly: impl FnOnce() -> Anomaly) {
        self.count += 1;
        if self.anomalies.len() < ANOMALIES_LISTED && self.named < NAMED_MAX {
            let anomaly = anomaly();
            self.named += anomaly.operations.len();
            self.anomalies.push(anomaly);
        }
    }

    /// How many anomalies there are so far.
    pub(crate) fn anomalies(&self) -> u64 {
        self.count
    }

    /// Something that was looked at.
    pub(crate) fn checked(&mut self, n: usize) {
        self.checked += n as u64;
    }

    /// Something that could not be decided: without a violation, the verdict is unknown.
    pub(crate) fn doubt(&mut self, why: impl FnOnce() -> String) {
        self.doubted += 1;
        if self.doubts.len() < DOUBTS_LISTED {
            self.doubts.push(why());
        }
    }

    /// Whether the time is up. Then it is a doubt, once, that says how far it came.
    pub(crate) fn out_of_time(
        &mut self,
        budget: &Budget<'_>,
        how_far: impl FnOnce() -> String,
    ) -> bool {
        if self.late.is_none() && budget.is_exhausted() {
            self.late = Some(format!("ran out of time {}", how_far()));
        }
        self.late.is_some()
    }

    /// The same before a key is looked at, after so many others.
    pub(crate) fn out_of_time_at(
        &mut self,
        budget: &Budget<'_>,
        done: usize,
        keyed: &Keyed<'_>,
    ) -> bool {
        self.out_of_time(budget, || {
            let key = words::key(keyed.key);
            format!("after {}, before {key}", words::plural(done, "key"))
        })
    }

    /// The same for one of many short steps: only some of them ask.
    pub(crate) fn out_of_time_after(
        &mut self,
        budget: &Budget<'_>,
        (done, all): (usize, usize),
        what: impl FnOnce() -> String,
    ) -> bool {
        if done.is_multiple_of(STEPS) {
            self.out_of_time(budget, || format!("after {done} of {all} {}", what()))
        } else {
            self.late.is_some()
        }
    }

    /// Something worth saying that decides nothing.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// A figure of the whole.
    pub(crate) fn detail(&mut self, name: &str, value: impl Into<Value>) {
        self.details.insert(name.to_owned(), value.into());
    }

    /// Violated if there is an anomaly, else unknown if there is a doubt or nothing was looked at, else holds.
    pub(crate) fn result(self) -> PropertyResult {
        let doubted = self.doubted + usize::from(self.late.is_some());
        let verdict = match (self.count, doubted) {
            (1.., _) => Decision::Violated,
            (0, 1..) => Decision::Unknown,
            (0, 0) => Decision::Holds,
        };
        let mut why = self.doubts;
        if self.doubted > why.len() {
            why.push(format!("and {} more like these", self.doubted - why.len()));
        }
        why.splice(0..0, self.late);
        why.extend(self.notes);
        PropertyResult {
            verdict,
            count: self.count,
            checked: self.checked,
            anomalies: self.anomalies,
            why: why.join("; "),
            details: self.details,
            decides: false,
        }
        .unless_void()
    }
}

/// What to say to those who own the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Advice {
    /// What usually causes it.
    pub(crate) cause: &'static str,
    /// What usually mends it.
    pub(crate) mend: &'static str,
}

/// An anomaly with its essentials; operations are put in order.
pub(crate) fn anomaly(
    name: &str,
    mut operations: Vec<u64>,
    message: String,
    advice: &Advice,
) -> Anomaly {
    operations.sort_unstable();
    operations.dedup();
    Anomaly {
        name: name.to_owned(),
        operations,
        message,
        cause: advice.cause.to_owned(),
        mend: advice.mend.to_owned(),
        details: Map::new(),
    }
}

impl Anomaly {
    /// The same with one more figure.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}
