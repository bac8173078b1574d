//! Cells over nights: how many runs of each came out as expected, and between which rates that leaves it.

use super::outcome::Outcome;
use super::record::Record;
use crate::interval::wilson;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One cell over all its runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Rate {
    /// The cell.
    pub(super) id: String,
    /// Runs that were carried out: neither skipped nor failed of the harness.
    pub(super) runs: u64,
    /// Of those, as expected.
    pub(super) as_expected: u64,
    /// Between these two lies the share of runs that come out as expected, with a confidence of 95 %: Wilson 1927.
    pub(super) interval: (f64, f64),
    /// Runs in which the harness failed.
    pub(super) errors: u64,
    /// In how many campaigns each fingerprint was seen.
    pub(super) fingerprints: BTreeMap<String, u64>,
}

/// Every cell of these campaigns, the flakiest first.
pub(super) fn rates(records: &[Record]) -> Vec<Rate> {
    let mut cells: BTreeMap<&str, Rate> = BTreeMap::new();
    for record in records {
        let mut seen: BTreeSet<(&str, &String)> = BTreeSet::new();
        for entry in &record.cells {
            let rate = cells.entry(&entry.id).or_insert_with(|| Rate {
                id: entry.id.clone(),
                runs: 0,
                as_expected: 0,
                interval: (0.0, 1.0),
                errors: 0,
                fingerprints: BTreeMap::new(),
            });
            match entry.outcome {
                None | Some(Outcome::Skipped) => continue,
                Some(Outcome::Error) => rate.errors += 1,
                Some(outcome) => {
                    rate.runs += 1;
                    rate.as_expected += u64::from(outcome == Outcome::AsExpected);
                }
            }
            for fingerprint in &entry.fingerprints {
                if seen.insert((&entry.id, fingerprint)) {
                    *rate.fingerprints.entry(fingerprint.clone()).or_default() += 1;
                }
            }
        }
    }
    let mut rates: Vec<Rate> = cells.into_values().collect();
    for rate in &mut rates {
        rate.interval = wilson(rate.as_expected, rate.runs);
    }
    rates.sort_by(|a, b| {
        a.interval
            .1
            .total_cmp(&b.interval.1)
            .then_with(|| a.id.cmp(&b.id))
    });
    rates
}

/// For a terminal.
pub(super) fn text(records: &[Record]) -> String {
    let rates = rates(records);
    let wide = rates.iter().map(|r| r.id.len()).max().unwrap_or(0);
    let mut out = String::new();
    for rate in &rates {
        let (from, to) = (rate.interval.0 * 100.0, rate.interval.1 * 100.0);
        let errors = if rate.errors > 0 {
            format!(", {} harness errors", rate.errors)
        } else {
            String::new()
        };
        let _ = writeln!(
            out,
            "{:<wide$}  {:>4} of {:<4} as expected, 95 % interval {from:.1} to {to:.1} %{errors}",
            rate.id, rate.as_expected, rate.runs
        );
    }
    let _ = writeln!(out, "over {} campaigns", records.len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::file::Campaign;

    #[test]
    fn nights_add_up() {
        let campaign = Campaign::parse(
            "name = \"x\"\nseeds = 3\n[[cell]]\nid = \"a\"\n[[cell]]\nid = \"b\"\n",
        )
        .unwrap();
        let mut night = Record::new(&campaign, None);
        let outcomes = [
            Some(Outcome::AsExpected),
            Some(Outcome::AsExpected),
            Some(Outcome::NotFound),
            Some(Outcome::Error),
            None,
            Some(Outcome::AsExpected),
        ];
        for (entry, outcome) in night.cells.iter_mut().zip(outcomes) {
            entry.outcome = outcome;
            entry.fingerprints.insert("p/a(add)".into());
        }
        let rates = rates(&[night.clone(), night]);
        let of = |id: &str| rates.iter().find(|r| r.id == id).unwrap();
        assert_eq!(
            (of("a").as_expected, of("a").runs, of("a").errors),
            (2, 4, 0)
        );
        assert_eq!(
            (of("b").as_expected, of("b").runs, of("b").errors),
            (4, 4, 2)
        );
        assert_eq!(of("a").fingerprints["p/a(add)"], 2, "once a night");
        assert_eq!(rates[0].id, "a", "the flakiest first");
    }
}
