//! `index.html`: the matrix in colours, each run a link to its report.

use super::matrix::{Row, rows};
use super::outcome::Outcome;
use super::record::{Entry, Record};
use super::words;
use crate::report::escape;
use anyhow::{Context, Result};
use askama::Template;

/// So many runs that did not come out as expected are listed.
const LISTED: usize = 200;

#[derive(Template)]
#[template(path = "campaign.html")]
struct Page {
    version: &'static str,
    name: String,
    about: String,
    word: &'static str,
    class: &'static str,
    counts: String,
    runs: usize,
    seed: u64,
    took: String,
    side_by_side: usize,
    baseline: Vec<String>,
    unexpected: Vec<RunView>,
    unexpected_left: usize,
    rows: Vec<RowView>,
}

struct RunView {
    id: String,
    seed: u64,
    words: &'static str,
    class: &'static str,
    sign: &'static str,
    why: String,
    title: String,
    /// Where its report is, seen from the page; or empty.
    report: String,
}

struct RowView {
    id: String,
    about: String,
    expectation: String,
    runs: Vec<RunView>,
    class: &'static str,
    tally: String,
    first_anomaly: String,
}

/// The page as text.
pub(super) fn html(record: &Record) -> Result<String> {
    let rows = rows(record);
    let unexpected: Vec<&Entry> = rows.iter().flat_map(Row::unexpected).collect();
    let (word, class) = match record.exit_code() {
        crate::exit::PASS => ("AS EXPECTED", "holds"),
        crate::exit::INCONCLUSIVE => ("INCONCLUSIVE", "unknown"),
        crate::exit::HARNESS => ("HARNESS ERROR", "unknown"),
        _ => ("NOT AS EXPECTED", "violated"),
    };
    let took = std::time::Duration::from_secs(record.elapsed_s.round() as u64);
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        name: escape::line(&record.name),
        about: escape::line(&record.about),
        word,
        class,
        counts: words::counts(record),
        runs: record.cells.len(),
        seed: record.seed,
        took: humantime::format_duration(took).to_string(),
        side_by_side: record.side_by_side,
        baseline: record.baseline.iter().map(|l| escape::line(l)).collect(),
        unexpected_left: unexpected.len().saturating_sub(LISTED),
        unexpected: unexpected.into_iter().take(LISTED).map(run).collect(),
        rows: rows.iter().map(row).collect(),
    };
    page.render().context("cannot draw the campaign's page")
}

fn row(row: &Row<'_>) -> RowView {
    RowView {
        id: row.id.to_owned(),
        about: escape::line(row.about),
        expectation: row.expectation.clone(),
        runs: row.runs.iter().map(|entry| run(entry)).collect(),
        class: look(Some(row.worst)).0,
        tally: row.tally(),
        first_anomaly: row.first_anomaly().trim().to_owned(),
    }
}

fn run(entry: &Entry) -> RunView {
    let (class, sign) = look(entry.outcome);
    let words = entry.outcome.map_or("not run", Outcome::words);
    let why = escape::sentence(&entry.why, 600);
    let report = entry
        .run
        .as_ref()
        .map(|run| run.join("report.html").display().to_string());
    RunView {
        id: entry.id.clone(),
        seed: entry.seed,
        words,
        class,
        sign,
        title: format!("seed {}: {words}: {why}", entry.seed),
        why,
        report: report.unwrap_or_default(),
    }
}

/// The class of the style sheet, and a sign for those who see no colours.
fn look(outcome: Option<Outcome>) -> (&'static str, &'static str) {
    match outcome {
        Some(Outcome::AsExpected) => ("holds", "✓"),
        Some(Outcome::UnexpectedViolation | Outcome::NotFound) => ("violated", "✗"),
        Some(Outcome::Error) => ("unknown", "!"),
        Some(Outcome::Inconclusive) => ("unknown", "?"),
        Some(Outcome::Known) => ("unknown", "~"),
        Some(Outcome::Skipped) | None => ("none", "·"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::file::Campaign;
    use crate::campaign::outcome::Judgement;

    #[test]
    fn what_a_run_said_is_escaped() {
        let campaign =
            Campaign::parse("name = \"<i>\"\nabout = \"a & b\"\n[[cell]]\nid = \"a\"\n").unwrap();
        let mut record = Record::new(&campaign, None);
        record.cells[0].judged(Judgement::error("<script>alert(1)</script>"));
        let html = html(&record).unwrap();
        assert!(!html.contains("<script") && !html.contains("<i>"));
        assert!(html.contains("HARNESS ERROR") && html.contains("&#60;script&#62;"));
    }
}
