//! `meaningful`: whether the run proves anything.
//!
//! A run in which nothing succeeded, or in which the fault took no effect, passes every check and says nothing. So a pass needs enough
//! successes before the first fault and after the last heal, enough *attempts* during the faults (a total outage is a result, not a void
//! run), and the proof of every fault and of its heal. A bare history, without faults or phases, only needs an operation that succeeded.

use crate::findings::Findings;
use crate::properties::stats::Tally;
use crate::stream::{Counted, Fold};
use crate::verdict::PropertyResult;
use crate::{Budget, Fault, Phase, Prepared, Property};
use serde_json::{Value, json};

/// The property.
pub(super) struct Meaningful;

/// How many operations must have succeeded before the first fault, and after the last heal.
const SUCCESSES_MIN: u64 = 10;
/// How many must have been attempted while faults were in force.
const ATTEMPTS_MIN: u64 = 10;

impl Property for Meaningful {
    fn name(&self) -> &'static str {
        "meaningful"
    }

    fn summary(&self) -> &'static str {
        "the run proves something: enough operations succeeded, and every fault took effect"
    }

    fn fits(&self, _: &Prepared<'_>) -> bool {
        true
    }

    fn check(&self, history: &Prepared<'_>, _: &Budget<'_>) -> PropertyResult {
        judge(history, &Tally::of(history)).result()
    }

    fn stream<'s>(&self, survey: &'s Prepared<'_>) -> Option<Box<dyn Fold<'s> + 's>> {
        Some(Box::new(Counted::new(survey, |history, tally| {
            judge(history, tally).result()
        })))
    }
}

/// What was looked at, and why it is not enough.
pub(crate) struct Judgement {
    /// Why the run proves nothing; empty when it does.
    pub(crate) reasons: Vec<String>,
    conditions: usize,
    successes: u64,
    faults: usize,
    proved: usize,
}

impl Judgement {
    /// As `meaningful` of `results.json`.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "meaningful": self.reasons.is_empty(),
            "reasons": self.reasons,
            "successes": self.successes,
            "faults": self.faults,
            "faults_proved": self.proved,
        })
    }

    /// As a property.
    pub(crate) fn result(self) -> PropertyResult {
        let mut findings = Findings::new();
        findings.checked(self.conditions);
        self.reasons
            .into_iter()
            .for_each(|reason| findings.doubt(|| reason));
        findings.result()
    }

    fn demand(&mut self, met: bool, reason: impl FnOnce() -> String) {
        self.conditions += 1;
        if !met {
            self.reasons.push(reason());
        }
    }
}

/// Looks at every condition.
pub(crate) fn judge(history: &Prepared<'_>, tally: &Tally) -> Judgement {
    let mut judgement = Judgement {
        reasons: Vec::new(),
        conditions: 0,
        successes: tally.all.ok,
        faults: history.faults.len(),
        proved: history
            .faults
            .iter()
            .filter(|f| f.proved == Some(true))
            .count(),
    };
    if !history.is_run() {
        let successes = judgement.successes;
        judgement.demand(successes > 0, || "no operation succeeded".to_owned());
        return judgement;
    }
    let mut skipped = history.nemesis.iter().filter(|e| e.f == "skipped");
    if history.faults.is_empty() && skipped.any(|e| e.value["unavailable"] == true) {
        judgement.demand(false, || {
            "every planned fault was skipped, because the machine cannot do it".to_owned()
        });
    }
    let mut successes = |when: &str, n: u64| {
        judgement.demand(n >= SUCCESSES_MIN, || {
            format!("only {n} operations succeeded {when}; {SUCCESSES_MIN} are needed")
        });
    };
    if history.faults.is_empty() {
        successes("in the whole run", tally.of_phase(Phase::Before).ok);
        return judgement;
    }
    successes("before the first fault", tally.of_phase(Phase::Before).ok);
    successes("after the last heal", tally.of_phase(Phase::After).ok);
    let attempts = tally.of_phase(Phase::During).all();
    judgement.demand(attempts >= ATTEMPTS_MIN, || {
        format!("only {attempts} operations were attempted while faults were in force; {ATTEMPTS_MIN} are needed")
    });
    for fault in &history.faults {
        judgement.demand(fault.proved == Some(true), || {
            unproved(fault, "took effect", &fault.evidence)
        });
        judgement.demand(fault.heal_proved == Some(true), || {
            unproved(fault, "was healed", "")
        });
    }
    judgement
}

fn unproved(fault: &Fault, what: &str, evidence: &str) -> String {
    let seen = if evidence.is_empty() {
        String::new()
    } else {
        format!(": {evidence}")
    };
    format!("nothing proves that {} {what}{seen}", fault.phrase())
}
