//! Many runs of one spec with one seed, and how many of them show the same.

use crate::campaign::{Campaign, Cell, Entry, Listener, Outcome, Record, Way, carry_out, property};
use crate::interval::wilson;
use crate::spec::Spec;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Runs of one spec, in a folder of their own.
pub(crate) struct Tries<'t> {
    /// Where.
    pub(crate) folder: &'t Path,
    /// What is run.
    pub(crate) spec: &'t Spec,
    /// How many there are to be in all.
    pub(crate) most: u64,
    /// So many side by side; none: as many as the machine carries.
    pub(crate) jobs: Option<usize>,
    /// How long they may take.
    pub(crate) budget: Option<Duration>,
    /// Whether everything is kept of runs that pass, too.
    pub(crate) keep: bool,
}

impl Tries<'_> {
    /// Runs those that were not run before. Says whether they came to their end, or were stopped by a signal.
    pub(crate) fn carry_out(&self, listener: &mut dyn Listener) -> Result<(Record, bool)> {
        let before = Record::read(self.folder).ok();
        let had = before.as_ref().map_or(0, |b| b.cells.len() as u64);
        let cell = |n: u64| Cell {
            id: format!("{n:03}"),
            about: String::new(),
            finds: Vec::new(),
            counters: Vec::new(),
            seed: Some(self.spec.seed),
            seeds: 1,
            spec: self.spec.clone(),
        };
        let campaign = Campaign {
            name: "tries".to_owned(),
            about: String::new(),
            seed: self.spec.seed,
            budget: None,
            cells: (1..=self.most.max(had)).map(cell).collect(),
            files: Vec::new(),
        };
        let mut record = Record::new(&campaign, None);
        if let Some(before) = before {
            record.elapsed_s = before.elapsed_s;
            for entry in &mut record.cells {
                if let Some(known) = before.cells.iter().find(|e| e.id == entry.id) {
                    *entry = known.clone();
                }
            }
        }
        let way = Way {
            folder: self.folder.to_owned(),
            jobs: self.jobs,
            budget: self.budget,
            keep: self.keep,
            enough: None,
        };
        let ended = carry_out(&campaign, &mut record, &way, listener)?;
        Ok((record, ended))
    }
}

/// What so many runs came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Tally {
    /// Runs that violated what was looked for.
    pub(crate) same: u64,
    /// Runs that decided, and did not.
    pub(crate) other: u64,
    /// Runs that did not decide.
    pub(crate) undecided: u64,
}

impl Tally {
    /// Of these runs, where one of `wanted` is looked for; where nothing is, any violation.
    pub(crate) fn of(record: &Record, wanted: &BTreeSet<String>) -> Self {
        let mut tally = Self::default();
        for entry in &record.cells {
            match entry.outcome {
                Some(Outcome::UnexpectedViolation) if shows(entry, wanted) => tally.same += 1,
                Some(Outcome::UnexpectedViolation | Outcome::AsExpected) => tally.other += 1,
                Some(Outcome::Inconclusive | Outcome::Error) => tally.undecided += 1,
                _ => {}
            }
        }
        tally
    }

    /// How many decided.
    pub(crate) fn decided(self) -> u64 {
        self.same + self.other
    }

    /// Between which rates that leaves it.
    pub(crate) fn interval(self) -> (f64, f64) {
        wilson(self.same, self.decided())
    }
}

/// Whether a run that violated something violated one of these; where none is named, anything.
pub(crate) fn shows(entry: &Entry, wanted: &BTreeSet<String>) -> bool {
    let mut violated = entry.fingerprints.iter().map(|f| property(f));
    wanted.is_empty() || violated.any(|name| wanted.contains(name))
}

/// `23 to 88 %`.
pub(crate) fn percent((low, high): (f64, f64)) -> String {
    format!("{:.0} to {:.0} %", low * 100.0, high * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::Judgement;

    #[test]
    fn what_violates_something_else_is_not_the_same() {
        let cells: String = ["a", "b", "c", "d"]
            .map(|id| format!("[[cell]]\nid = \"{id}\"\n"))
            .concat();
        let campaign = Campaign::parse(&format!("name = \"x\"\n{cells}")).unwrap();
        let mut record = Record::new(&campaign, None);
        let fingerprints = ["lost-writes/lost(add)", "queue/x(add)"];
        let outcomes = [
            (Outcome::UnexpectedViolation, &fingerprints[..]),
            (Outcome::UnexpectedViolation, &fingerprints[1..]),
            (Outcome::AsExpected, &[]),
            (Outcome::Error, &[]),
        ];
        for (entry, (outcome, fingerprints)) in record.cells.iter_mut().zip(outcomes) {
            entry.judged(Judgement {
                outcome,
                fingerprints: fingerprints.iter().map(ToString::to_string).collect(),
                ..Judgement::error("")
            });
        }
        let wanted = BTreeSet::from(["lost-writes".to_owned()]);
        let tally = Tally::of(&record, &wanted);
        assert_eq!((tally.same, tally.other, tally.undecided), (1, 2, 1));
        let any = Tally::of(&record, &BTreeSet::new());
        assert_eq!((any.same, any.decided()), (2, 3));
    }
}
