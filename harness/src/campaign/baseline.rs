//! Known failures: a file that says which cell fails in which property, why, where that is followed up, and until when it is excused.
//!
//! ```toml
//! [[known]]
//! cell = "D07-remedy"
//! property = "stale-reads"
//! reason = "lease reads without a drift bound"
//! issue = "https://example.org/issues/12"
//! expires = "2027-01-31"
//! ```

use super::outcome::Outcome;
use super::record::Record;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::Path;
use std::time::SystemTime;

/// What is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    #[serde(default)]
    known: Vec<Known>,
}

/// One known failure.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    cell: String,
    /// The property that is violated, or in a cell of a danger the one that is not found.
    property: String,
    reason: String,
    issue: String,
    /// The last day on which it is excused: `2027-01-31`.
    expires: String,
}

impl Baseline {
    /// Reads a baseline file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the baseline {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("baseline {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let baseline: Self = crate::spec::from_toml(text)?;
        for known in &baseline.known {
            if known.reason.is_empty() || known.issue.is_empty() {
                bail!("{}: give a reason and an issue", known.cell);
            }
            if humantime::parse_rfc3339_weak(&format!("{} 00:00:00", known.expires)).is_err() {
                bail!(
                    "{}: expires is a day such as 2027-01-31, not {:?}",
                    known.cell,
                    known.expires
                );
            }
        }
        Ok(baseline)
    }

    /// Excuses what is known, and notes what the baseline says too much.
    pub fn apply(&self, record: &mut Record, now: SystemTime) {
        record.baseline.clear();
        let today = humantime::format_rfc3339_seconds(now).to_string();
        for known in &self.known {
            let expired = known.expires.as_str() < &today[..10];
            let mut failed = false;
            let mut ran = false;
            for entry in record.cells.iter_mut().filter(|e| e.id == known.cell) {
                ran |= !matches!(
                    entry.outcome,
                    None | Some(Outcome::Skipped | Outcome::Error)
                );
                let fails = match entry.outcome {
                    Some(Outcome::UnexpectedViolation | Outcome::Known)
                        if entry.finds.is_empty() =>
                    {
                        let prefix = format!("{}/", known.property);
                        !entry.fingerprints.is_empty()
                            && entry.fingerprints.iter().all(|f| f.starts_with(&prefix))
                    }
                    Some(Outcome::NotFound | Outcome::Known) => {
                        entry.finds.contains(&known.property)
                    }
                    _ => false,
                };
                failed |= fails;
                if fails && !expired && entry.outcome != Some(Outcome::Known) {
                    entry.outcome = Some(Outcome::Known);
                    entry.why = format!("{} (known: {}, {})", entry.why, known.reason, known.issue);
                }
            }
            let name = format!("{} {} ({})", known.cell, known.property, known.issue);
            if expired {
                record
                    .baseline
                    .push(format!("{name} expired on {}", known.expires));
            } else if ran && !failed {
                record.baseline.push(format!(
                    "{name} did not fail: take it out of the baseline if it is mended"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::file::Campaign;
    use std::time::Duration;

    const KNOWN: &str = "[[known]]\ncell = \"a\"\nproperty = \"lost-writes\"\nreason = \"r\"\nissue = \"i\"\nexpires = \"2027-01-31\"\n";

    fn record(outcome: Outcome, fingerprints: &[&str]) -> Record {
        let campaign = Campaign::parse("name = \"x\"\n[[cell]]\nid = \"a\"\n").unwrap();
        let mut record = Record::new(&campaign, None);
        record.cells[0].outcome = Some(outcome);
        record.cells[0].fingerprints = fingerprints.iter().map(ToString::to_string).collect();
        record
    }

    fn at(day: &str) -> SystemTime {
        humantime::parse_rfc3339(&format!("{day}T12:00:00Z")).unwrap()
    }

    #[test]
    fn what_is_known_is_excused_until_it_expires() {
        let baseline = Baseline::parse(KNOWN).unwrap();
        let violated = record(Outcome::UnexpectedViolation, &["lost-writes/lost(add)"]);
        let mut known = violated.clone();
        baseline.apply(&mut known, at("2027-01-31"));
        assert_eq!(known.cells[0].outcome, Some(Outcome::Known));
        assert_eq!((known.exit_code(), known.baseline.len()), (0, 0));
        let mut expired = violated;
        baseline.apply(&mut expired, at("2027-02-01"));
        assert_eq!(expired.cells[0].outcome, Some(Outcome::UnexpectedViolation));
        assert!(expired.baseline[0].contains("expired"));
    }

    #[test]
    fn another_violation_beside_the_known_one_stands_out() {
        let both = ["lost-writes/lost(add)", "convergence/diverged(read)"];
        let mut record = record(Outcome::UnexpectedViolation, &both);
        Baseline::parse(KNOWN)
            .unwrap()
            .apply(&mut record, at("2026-12-01"));
        assert_eq!(record.cells[0].outcome, Some(Outcome::UnexpectedViolation));
    }

    #[test]
    fn a_known_failure_that_passes_is_said() {
        let mut record = record(Outcome::AsExpected, &[]);
        Baseline::parse(KNOWN)
            .unwrap()
            .apply(&mut record, at("2026-12-01"));
        assert!(record.baseline[0].contains("did not fail"));
        assert_eq!(record.exit_code(), 0);
        record.cells[0].outcome = Some(Outcome::Skipped);
        Baseline::parse(KNOWN)
            .unwrap()
            .apply(&mut record, at("2026-12-01") + Duration::from_secs(1));
        assert!(record.baseline.is_empty(), "it was not run");
    }

    #[test]
    fn a_baseline_without_reason_or_date_is_refused() {
        assert!(Baseline::parse(&KNOWN.replace("\"r\"", "\"\"")).is_err());
        assert!(Baseline::parse(&KNOWN.replace("2027-01-31", "soon")).is_err());
    }
}
