//! `stats`: how many operations ended ok, fail and info, by function and by phase of the run.
//!
//! As in Jepsen, a function that never succeeded is worth a doubt: nothing can be said of it.

use crate::findings::Findings;
use crate::stream::{Counted, Fold};
use crate::verdict::PropertyResult;
use crate::{Budget, Phase, Prepared, Property};
use schism_history::{Op, Outcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The property.
pub(super) struct Stats;

impl Property for Stats {
    fn name(&self) -> &'static str {
        "stats"
    }

    fn summary(&self) -> &'static str {
        "every function succeeded at least once; counts of ok, fail and info by function and phase"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        !history.ops.is_empty()
    }

    fn check(&self, history: &Prepared<'_>, _: &Budget<'_>) -> PropertyResult {
        judge(history, &Tally::of(history))
    }

    fn stream<'s>(&self, survey: &'s Prepared<'_>) -> Option<Box<dyn Fold<'s> + 's>> {
        Some(Box::new(Counted::new(survey, judge)))
    }
}

/// What the counts say.
pub(crate) fn judge(history: &Prepared<'_>, tally: &Tally) -> PropertyResult {
    let mut findings = Findings::new();
    findings.checked(tally.all.all() as usize);
    for (f, counts) in &tally.functions {
        if counts.ok == 0 {
            findings.doubt(|| format!("no {f} succeeded, out of {}", counts.all()));
        }
    }
    if let Value::Object(table) = table(history, tally) {
        table
            .into_iter()
            .for_each(|(name, value)| findings.detail(&name, value));
    }
    findings.result()
}

/// How many operations ended in which way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) ok: u64,
    fail: u64,
    info: u64,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Fail => &mut self.fail,
            Outcome::Info => &mut self.info,
        } += 1;
    }

    pub(crate) fn all(self) -> u64 {
        self.ok + self.fail + self.info
    }

    fn to_json(self) -> Value {
        json!({"ok": self.ok, "fail": self.fail, "info": self.info})
    }
}

/// The operations of a history, counted in one pass.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub(crate) all: Counts,
    functions: BTreeMap<String, Counts>,
    phases: BTreeMap<Phase, Counts>,
}

impl Tally {
    /// Counts all operations of a history.
    pub fn of(history: &Prepared<'_>) -> Self {
        let mut tally = Self::default();
        history.ops.iter().for_each(|op| tally.add(history, op));
        tally
    }

    /// Counts one, whose phase is told by the faults of the history.
    pub(crate) fn add(&mut self, history: &Prepared<'_>, op: &Op<'_>) {
        let outcome = op.outcome();
        self.all.add(outcome);
        if !self.functions.contains_key(op.f()) {
            self.functions.insert(op.f().to_owned(), Counts::default());
        }
        if let Some(counts) = self.functions.get_mut(op.f()) {
            counts.add(outcome);
        }
        let phase = self.phases.entry(history.phase(op)).or_default();
        phase.add(outcome);
    }

    /// How many operations of a function succeeded.
    pub(crate) fn succeeded(&self, f: &str) -> u64 {
        self.functions.get(f).map_or(0, |counts| counts.ok)
    }

    /// The counts of a phase.
    pub(crate) fn of_phase(&self, phase: Phase) -> Counts {
        self.phases.get(&phase).copied().unwrap_or_default()
    }
}

/// The counts, as `stats` of `results.json`.
pub(crate) fn table(history: &Prepared<'_>, tally: &Tally) -> Value {
    let json = |(name, counts): (&str, &Counts)| (name.to_owned(), counts.to_json());
    let functions = tally.functions.iter().map(|(f, c)| (f.as_str(), c));
    let phases = tally.phases.iter().map(|(p, c)| (p.name(), c));
    json!({
        "operations": tally.all.all(),
        "ok": tally.all.ok,
        "fail": tally.all.fail,
        "info": tally.all.info,
        "by_function": functions.map(json).collect::<BTreeMap<_, _>>(),
        "by_phase": phases.map(json).collect::<BTreeMap<_, _>>(),
        "faults": history.faults.len(),
    })
}
