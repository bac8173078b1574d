//! What is known of a campaign: `campaign.json` in its folder, written anew after each run, so that a campaign that was killed can go on.

use super::file::{Campaign, Cell};
use super::outcome::{Judgement, Outcome};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The whole campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of schism that wrote it.
    pub schism: String,
    /// The campaign's name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// The first seed.
    pub seed: u64,
    /// Which part of the whole this is: `[2, 8]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<(u64, u64)>,
    /// How long it has taken so far, in seconds.
    pub elapsed_s: f64,
    /// How many runs went side by side at most.
    pub side_by_side: usize,
    /// Every run that belongs to it, in the order in which they are begun.
    pub cells: Vec<Entry>,
    /// How many runs have each outcome.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// What the baseline knows and this campaign did not show, or no longer excuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baseline: Vec<String>,
}

/// One run of one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The cell.
    pub id: String,
    /// What the cell shows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The run's seed.
    pub seed: u64,
    /// `pass` or `finds`.
    pub expected: String,
    /// What must be found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finds: Vec<String>,
    /// None: it has not been run yet.
    pub outcome: Option<Outcome>,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The run's folder, seen from the campaign's.
    pub run: Option<PathBuf>,
    /// How long until the first anomaly could be known, in seconds since the load began.
    pub time_to_anomaly_s: Option<f64>,
    /// What was violated, in which shape.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fingerprints: BTreeSet<String>,
    /// How long the run took, start and checks included.
    pub seconds: Option<f64>,
    /// How many cores it kept busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<f64>,
}

const FILE: &str = "campaign.json";

impl Entry {
    fn new(cell: &Cell, seed: u64) -> Self {
        Self {
            id: cell.id.clone(),
            about: cell.about.clone(),
            seed,
            expected: if cell.finds.is_empty() {
                "pass"
            } else {
                "finds"
            }
            .to_owned(),
            finds: cell.finds.clone(),
            outcome: None,
            why: String::new(),
            run: None,
            time_to_anomaly_s: None,
            fingerprints: BTreeSet::new(),
            seconds: None,
            cores: None,
        }
    }

    /// Takes what came of it.
    pub fn judged(&mut self, judgement: Judgement) {
        self.outcome = Some(judgement.outcome);
        self.why = judgement.why;
        self.time_to_anomaly_s = judgement.time_to_anomaly_s;
        self.fingerprints = judgement.fingerprints;
    }

    /// What is expected, in words.
    pub fn expectation(&self) -> String {
        if self.finds.is_empty() {
            "pass".to_owned()
        } else {
            format!("finds {}", self.finds.join(", "))
        }
    }
}

impl Record {
    /// Every run of the campaign: each cell with its first seed, then each with its second, and so on, so that a budget that ends early has
    /// tried all cells. Of a shard only its own.
    pub fn new(campaign: &Campaign, shard: Option<(u64, u64)>) -> Self {
        let rounds = campaign.cells.iter().map(|c| c.seeds).max().unwrap_or(0);
        let of_round = |round: u64| {
            let cells = campaign.cells.iter().filter(move |c| round < c.seeds);
            cells.map(move |cell| Entry::new(cell, cell.seed.unwrap_or(campaign.seed) + round))
        };
        let all = (0..rounds).flat_map(of_round).zip(0..);
        let mine = |n: u64| shard.is_none_or(|(k, of)| n % of == k - 1);
        Self {
            schism: env!("CARGO_PKG_VERSION").to_owned(),
            name: campaign.name.clone(),
            about: campaign.about.clone(),
            seed: campaign.seed,
            shard,
            elapsed_s: 0.0,
            side_by_side: 0,
            cells: all
                .filter(|(_, n)| mine(*n))
                .map(|(entry, _)| entry)
                .collect(),
            counts: BTreeMap::new(),
            baseline: Vec::new(),
        }
    }

    /// Reads the record of a campaign's folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "{} is no campaign's folder: cannot read {FILE}",
                folder.display()
            )
        })?;
        serde_json::from_str(&text).with_context(|| format!("{}", path.display()))
    }

    /// Writes it, in one step: whoever is killed in the middle leaves the one before.
    pub fn write(&mut self, folder: &Path) -> Result<()> {
        self.count();
        let path = folder.join(FILE);
        let next = folder.join(format!(".{FILE}"));
        let text =
            serde_json::to_string_pretty(self).context("cannot write the campaign as JSON")?;
        fs::write(&next, text)
            .and_then(|()| fs::rename(&next, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Counts the outcomes.
    pub fn count(&mut self) {
        self.counts = Outcome::ALL
            .iter()
            .map(|o| (o.name().to_owned(), self.of(*o)))
            .collect();
    }

    /// How many runs have this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.cells
            .iter()
            .filter(|e| e.outcome == Some(outcome))
            .count() as u64
    }

    /// What is still to be run. What the harness failed at is tried again.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        let again = |e: &Entry| matches!(e.outcome, None | Some(Outcome::Skipped | Outcome::Error));
        (0..self.cells.len()).filter(move |i| again(&self.cells[*i]))
    }

    /// Lets those go first that another campaign did not find as expected.
    pub fn first_what_failed(&mut self, last: &Self) {
        let failed: BTreeSet<(&str, u64)> = last
            .cells
            .iter()
            .filter(|e| !matches!(e.outcome, Some(Outcome::AsExpected)))
            .map(|e| (e.id.as_str(), e.seed))
            .collect();
        let ids: BTreeSet<&str> = failed.iter().map(|(id, _)| *id).collect();
        self.cells.sort_by_key(|e| {
            let same = failed.contains(&(e.id.as_str(), e.seed));
            (!same, !ids.contains(e.id.as_str()))
        });
    }

    /// The exit code of the campaign: what stands against an expectation first, then what failed of the harness, then what is open.
    pub fn exit_code(&self) -> i32 {
        let any = |outcomes: &[Outcome]| outcomes.iter().any(|o| self.of(*o) > 0);
        let expired = self.baseline.iter().any(|line| line.contains("expired"));
        if any(&[Outcome::UnexpectedViolation, Outcome::NotFound]) || expired {
            crate::exit::VIOLATION
        } else if any(&[Outcome::Error]) {
            crate::exit::HARNESS
        } else if any(&[Outcome::Inconclusive]) || !self.unseen().is_empty() {
            crate::exit::INCONCLUSIVE
        } else {
            crate::exit::PASS
        }
    }

    /// Cells of which no run was carried out.
    pub fn unseen(&self) -> Vec<&str> {
        let ran = |e: &&Entry| !matches!(e.outcome, None | Some(Outcome::Skipped));
        let seen: BTreeSet<&str> = self
            .cells
            .iter()
            .filter(ran)
            .map(|e| e.id.as_str())
            .collect();
        let all: BTreeSet<&str> = self.cells.iter().map(|e| e.id.as_str()).collect();
        all.difference(&seen).copied().collect()
    }

    /// The parts of a campaign as one.
    pub fn merged(parts: Vec<Self>) -> Result<Self> {
        let mut parts = parts.into_iter();
        let mut whole = parts.next().context("there is nothing to merge")?;
        let shards = |record: &Self| record.shard.map(|(k, _)| k);
        let mut have = BTreeSet::from([shards(&whole)]);
        for part in parts {
            if (&part.name, part.seed) != (&whole.name, whole.seed) {
                bail!(
                    "{} from seed {} and {} from seed {} are not parts of one campaign",
                    whole.name,
                    whole.seed,
                    part.name,
                    part.seed
                );
            }
            if !have.insert(shards(&part)) {
                bail!("two of them are the same shard");
            }
            whole.elapsed_s = whole.elapsed_s.max(part.elapsed_s);
            whole.side_by_side = whole.side_by_side.max(part.side_by_side);
            whole.cells.extend(part.cells);
            whole.baseline.extend(part.baseline);
        }
        whole.baseline.sort();
        whole.baseline.dedup();
        whole.shard = None;
        whole.count();
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign() -> Campaign {
        let cells: String = ["a", "b", "c"]
            .map(|id| format!("[[cell]]\nid = \"{id}\"\n"))
            .concat();
        Campaign::parse(&format!("name = \"x\"\nseeds = 3\n{cells}")).unwrap()
    }

    #[test]
    fn every_cell_is_tried_before_any_is_tried_again() {
        let record = Record::new(&campaign(), None);
        let runs: Vec<(&str, u64)> = record
            .cells
            .iter()
            .map(|e| (e.id.as_str(), e.seed))
            .collect();
        assert_eq!(runs[..4], [("a", 1), ("b", 1), ("c", 1), ("a", 2)]);
        assert_eq!(runs.len(), 9);
    }

    #[test]
    fn shards_are_the_whole_and_merge_into_it() {
        let parts: Vec<Record> = (1..=4)
            .map(|k| Record::new(&campaign(), Some((k, 4))))
            .collect();
        let mut merged = Record::merged(parts.clone()).unwrap().cells;
        let mut whole = Record::new(&campaign(), None).cells;
        merged.sort_by_key(|e| (e.id.clone(), e.seed));
        whole.sort_by_key(|e| (e.id.clone(), e.seed));
        assert_eq!(merged, whole);
        assert!(Record::merged(vec![parts[0].clone(), parts[0].clone()]).is_err());
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let mut record = Record::new(&campaign(), None);
        assert_eq!(record.exit_code(), 2, "nothing was run");
        for entry in &mut record.cells {
            entry.outcome = Some(Outcome::AsExpected);
        }
        assert_eq!(record.exit_code(), 0);
        for (outcome, code) in [
            (Outcome::Skipped, 0),
            (Outcome::Known, 0),
            (Outcome::Inconclusive, 2),
            (Outcome::Error, 255),
            (Outcome::NotFound, 1),
        ] {
            record.cells[3].outcome = Some(outcome);
            assert_eq!(record.exit_code(), code, "{outcome:?}");
        }
        record.cells[4].outcome = Some(Outcome::Error);
        assert_eq!(
            record.exit_code(),
            1,
            "a danger that was not found is not masked"
        );
    }

    #[test]
    fn what_failed_goes_first() {
        let mut last = Record::new(&campaign(), None);
        for entry in &mut last.cells {
            entry.outcome = Some(Outcome::AsExpected);
        }
        last.cells[5].outcome = Some(Outcome::NotFound);
        let mut record = Record::new(&campaign(), None);
        record.first_what_failed(&last);
        let runs: Vec<(&str, u64)> = record
            .cells
            .iter()
            .map(|e| (e.id.as_str(), e.seed))
            .collect();
        assert_eq!(runs[..4], [("c", 2), ("c", 1), ("c", 3), ("a", 1)]);
    }

    #[test]
    fn it_survives_its_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = Record::new(&campaign(), Some((1, 2)));
        record.cells[0].judged(Judgement::error("no reason"));
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), record);
        assert_eq!(record.counts["error"], 1);
    }
}
