//! The rows of the matrix: each cell with all its runs, the worst first.

use super::outcome::Outcome;
use super::record::{Entry, Record};
use std::collections::BTreeMap;

/// One cell with its runs.
#[derive(Debug)]
pub(super) struct Row<'r> {
    /// The cell.
    pub(super) id: &'r str,
    /// What it shows.
    pub(super) about: &'r str,
    /// What is expected, in words.
    pub(super) expectation: String,
    /// Its runs by seed.
    pub(super) runs: Vec<&'r Entry>,
    /// The worst outcome.
    pub(super) worst: Outcome,
}

/// All rows: those that came out worst first, then in the order of their ids.
pub(super) fn rows(record: &Record) -> Vec<Row<'_>> {
    let mut cells: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &record.cells {
        cells.entry(&entry.id).or_default().push(entry);
    }
    let mut rows: Vec<Row<'_>> = cells.into_iter().map(|(id, runs)| row(id, runs)).collect();
    rows.sort_by_key(|row| (row.worst.min(Outcome::Known), row.id));
    rows
}

fn row<'r>(id: &'r str, mut runs: Vec<&'r Entry>) -> Row<'r> {
    runs.sort_by_key(|e| e.seed);
    let outcomes = runs.iter().map(|e| e.outcome.unwrap_or(Outcome::Skipped));
    Row {
        id,
        about: runs.first().map_or("", |e| &e.about),
        expectation: runs.first().map_or_else(String::new, |e| e.expectation()),
        worst: outcomes.min().unwrap_or(Outcome::Skipped),
        runs,
    }
}

impl<'r> Row<'r> {
    /// Its runs that did not come out as expected.
    pub(super) fn unexpected(&self) -> impl Iterator<Item = &'r Entry> {
        let bad = |e: &&Entry| {
            !matches!(
                e.outcome,
                Some(Outcome::AsExpected | Outcome::Known | Outcome::Skipped) | None
            )
        };
        self.runs.iter().copied().filter(bad)
    }

    /// `5 of 5 as expected`, or `4 of 5 as expected, 1 inconclusive`.
    pub(super) fn tally(&self) -> String {
        let of = |outcome| {
            self.runs
                .iter()
                .filter(|e| e.outcome == Some(outcome))
                .count()
        };
        let mut said = vec![format!(
            "{} of {} as expected",
            of(Outcome::AsExpected),
            self.runs.len()
        )];
        for outcome in Outcome::ALL
            .into_iter()
            .filter(|o| *o != Outcome::AsExpected)
        {
            if of(outcome) > 0 {
                said.push(format!("{} {}", of(outcome), outcome.words()));
            }
        }
        said.join(", ")
    }

    /// Of a danger: how long until it showed, median and longest.
    pub(super) fn first_anomaly(&self) -> String {
        let mut times: Vec<f64> = self
            .runs
            .iter()
            .filter_map(|e| e.time_to_anomaly_s)
            .collect();
        times.sort_by(f64::total_cmp);
        match (
            times.as_slice(),
            self.runs.first().is_some_and(|e| !e.finds.is_empty()),
        ) {
            ([], _) | (_, false) => String::new(),
            ([one], _) => format!("  {one:.1} s"),
            (all, _) => format!(
                "  {:.1} s, at most {:.1} s",
                all[all.len() / 2],
                all[all.len() - 1]
            ),
        }
    }
}
