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
    use quick_xml::events::Event;

    /// A run of each outcome, and one that was not begun.
    fn of_each() -> Record {
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
            entry.seconds = Some(1234.5678);
            entry.run = Some("runs/x/1".into());
        }
        record.elapsed_s = 12_345.678;
        record
    }

    type Words = &'static [&'static str];

    /// Jenkins' junit-10.xsd, which the plug-ins of CI systems validate with: each element with its parents, and the attributes that it must and may have.
    const SCHEMA: [(&str, Words, Words, Words); 6] = [
        (
            "testsuites",
            &[""],
            &[],
            &["name", "time", "tests", "failures", "errors"],
        ),
        (
            "testsuite",
            &["testsuites"],
            &["name", "tests", "failures", "errors"],
            &[
                "time",
                "skipped",
                "timestamp",
                "hostname",
                "id",
                "package",
                "file",
                "log",
                "url",
            ],
        ),
        (
            "testcase",
            &["testsuite"],
            &["name"],
            &["time", "classname", "group"],
        ),
        ("failure", &["testcase"], &[], &["type", "message"]),
        ("error", &["testcase"], &[], &["type", "message"]),
        ("skipped", &["testcase"], &[], &["type", "message"]),
    ];

    #[test]
    fn there_is_nothing_that_the_schema_does_not_know() {
        let xml = xml(&of_each()).unwrap();
        let mut reader = quick_xml::Reader::from_str(&xml);
        let mut open: Vec<String> = vec![String::new()];
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let event = reader.read_event().unwrap();
            let (start, is_empty) = match &event {
                Event::Eof => break,
                Event::End(_) => {
                    open.pop();
                    continue;
                }
                Event::Start(start) => (start, false),
                Event::Empty(start) => (start, true),
                _ => continue,
            };
            let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
            let parent = open.last().unwrap().clone();
            if !["system-out", "system-err"].contains(&name.as_str()) {
                let known = SCHEMA.iter().find(|(element, ..)| *element == name);
                let (_, parents, must, may) = known.unwrap_or_else(|| panic!("<{name}>"));
                assert!(parents.contains(&parent.as_str()), "<{name}> in <{parent}>");
                let attributes: Vec<(String, String)> = start
                    .attributes()
                    .map(|a| a.unwrap())
                    .map(|a| {
                        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                        (text(a.key.as_ref()), text(&a.value))
                    })
                    .collect();
                for (key, value) in &attributes {
                    let key = key.as_str();
                    assert!(
                        must.contains(&key) || may.contains(&key),
                        "{key} of <{name}>"
                    );
                    let number = |c: char| c.is_ascii_digit() || c == '.';
                    assert!(key != "time" || value.chars().all(number), "{value}");
                }
                for key in *must {
                    assert!(
                        attributes.iter().any(|(k, _)| k == key),
                        "<{name}> has no {key}"
                    );
                }
            }
            seen.insert(name.clone());
            if !is_empty {
                open.push(name);
            }
        }
        assert_eq!(seen.len(), SCHEMA.len() + 1, "{seen:?}");
    }

    #[test]
    fn each_run_is_a_case_of_its_cell() {
        let xml = xml(&of_each()).unwrap();
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
