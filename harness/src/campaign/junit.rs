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
    let xml = report
        .to_string()
        .context("cannot write the campaign as JUnit XML")?;
    Ok(without_skipped(&xml))
}

/// Jenkins' schema (junit-10.xsd) has no `skipped` of the whole, only of suites.
fn without_skipped(xml: &str) -> String {
    let Some((before, root)) = xml.split_once("<testsuites ") else {
        return xml.to_owned();
    };
    let (root, rest) = root.split_once('>').unwrap_or((root, ""));
    let attributes = root.split(' ').filter(|a| !a.starts_with("skipped=\""));
    let attributes: Vec<&str> = attributes.collect();
    format!("{before}<testsuites {}>{rest}", attributes.join(" "))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::file::Campaign;
    use crate::campaign::outcome::Judgement;

    #[test]
    fn each_run_is_a_case_of_its_cell() {
        let campaign =
            Campaign::parse("name = \"a skipped=one\"\nseeds = 6\n[[cell]]\nid = \"x\"").unwrap();
        let mut record = Record::new(&campaign, None);
        for (entry, outcome) in record.cells.iter_mut().zip([
            Outcome::AsExpected,
            Outcome::NotFound,
            Outcome::Error,
            Outcome::Inconclusive,
            Outcome::Known,
        ]) {
            entry.judged(Judgement {
                outcome,
                why: "<why> & \u{1}".into(),
                ..Judgement::error("")
            });
        }
        let xml = xml(&record).unwrap();
        assert!(
            xml.contains(
                "<testsuite name=\"x\" tests=\"6\" skipped=\"2\" errors=\"2\" failures=\"1\""
            ),
            "{xml}"
        );
        assert!(xml.contains("<testsuites name=\"schism campaign a skipped=one\" tests=\"6\" failures=\"1\" errors=\"2\" time="), "{xml}");
        assert!(
            !xml.contains('\u{1}') && xml.contains("&lt;why&gt; &amp;"),
            "{xml}"
        );
    }
}
