//! The campaign as `JUnit` XML: a test case for each run, in a suite for each cell.

use super::outcome::Outcome;
use super::record::{Entry, Record};
use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::collections::BTreeMap;
use std::time::Duration;

/// The report as text.
pub(super) fn xml(record: &Record) -> Result<String> {
    let mut report = Report::new(format!("schism campaign {}", record.name));
    report.set_time(Duration::from_secs_f64(record.elapsed_s));
    let mut cells: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &record.cells {
        cells.entry(&entry.id).or_default().push(entry);
    }
    for (id, entries) in cells {
        let mut suite = TestSuite::new(id);
        suite.set_time(Duration::from_secs_f64(
            entries.iter().filter_map(|e| e.seconds).sum(),
        ));
        suite.add_test_cases(entries.into_iter().map(case));
        report.add_test_suite(suite);
    }
    report
        .to_string()
        .context("cannot write the campaign as JUnit XML")
}

fn case(entry: &Entry) -> TestCase {
    let outcome = entry.outcome.unwrap_or(Outcome::Skipped);
    let failed = |kind| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_type(outcome.name());
        status.set_message(format!("{}: {}", outcome.words(), entry.why));
        status
    };
    let status = match outcome {
        Outcome::AsExpected => TestCaseStatus::success(),
        Outcome::UnexpectedViolation | Outcome::NotFound => failed(NonSuccessKind::Failure),
        Outcome::Error | Outcome::Inconclusive => failed(NonSuccessKind::Error),
        Outcome::Known | Outcome::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("{}: {}", outcome.words(), entry.why));
            status
        }
    };
    let mut case = TestCase::new(format!("{} seed {}", entry.id, entry.seed), status);
    case.set_classname(entry.id.as_str());
    if let Some(seconds) = entry.seconds {
        case.set_time(Duration::from_secs_f64(seconds));
    }
    if let Some(run) = &entry.run {
        case.set_system_out(format!(
            "{}; {}; run: {}",
            entry.expectation(),
            entry.why,
            run.display()
        ));
    }
    case
}
