//! The campaign in words: on a terminal, as Markdown for CI's summary page, as the lines that CI systems turn into annotations.

use super::matrix::{Row, rows};
use super::outcome::Outcome;
use super::record::{Entry, Record};
use crate::report::escape;
use std::fmt::Write as _;
use std::path::Path;

/// A summary page may have a mebibyte; we stay well below.
const SUMMARY_BYTES: usize = 512 * 1024;
/// So many runs that did not come out as expected are told in full.
const TOLD: usize = 50;
/// GitHub shows ten annotations of a step.
const ANNOTATIONS: usize = 10;

/// One run that has ended, on one line.
pub(super) fn line(record: &Record, entry: &Entry) -> String {
    let done = record.cells.iter().filter(|e| e.outcome.is_some()).count();
    let all = record.cells.len();
    let width = all.to_string().len();
    let outcome = entry.outcome.map_or("under way", Outcome::words);
    let found = entry.time_to_anomaly_s.filter(|_| !entry.finds.is_empty());
    let found = found.map_or_else(String::new, |s| format!(" after {s:.1} s"));
    let took = entry
        .seconds
        .map_or_else(String::new, |s| format!(" ({s:.1} s)"));
    format!(
        "[{done:>width$}/{all}] {} seed {}: {outcome}: {}{found}{took}",
        entry.id, entry.seed, entry.why
    )
}

/// `4 as expected, 1 inconclusive`.
pub(super) fn counts(record: &Record) -> String {
    let said = Outcome::ALL.iter().map(|o| (record.of(*o), o.words()));
    let said: Vec<String> = said
        .filter(|(n, _)| *n > 0)
        .map(|(n, words)| format!("{n} {words}"))
        .collect();
    if said.is_empty() {
        "nothing was run".to_owned()
    } else {
        said.join(", ")
    }
}

/// How many dangers were found, and how many of the runs that must pass raised an alarm.
fn recall(record: &Record) -> String {
    let ran = |e: &&Entry| !matches!(e.outcome, None | Some(Outcome::Skipped | Outcome::Error));
    let (dangers, others): (Vec<&Entry>, Vec<&Entry>) = record
        .cells
        .iter()
        .filter(ran)
        .partition(|e| !e.finds.is_empty());
    let found = dangers
        .iter()
        .filter(|e| e.outcome == Some(Outcome::AsExpected))
        .count();
    let alarms = others.iter().filter(|e| !e.fingerprints.is_empty()).count();
    format!(
        "dangers found in {found} of {} runs; alarms in {alarms} of {} runs that must pass",
        dangers.len(),
        others.len()
    )
}

/// The matrix for a terminal, failures first, and where to look.
pub(super) fn matrix(record: &Record, folder: &Path, colour: bool) -> String {
    let paint = |text: String, outcome: Outcome| match (colour, outcome) {
        (false, _) => text,
        (true, Outcome::AsExpected) => format!("\x1b[32m{text}\x1b[0m"),
        (true, Outcome::UnexpectedViolation | Outcome::NotFound | Outcome::Error) => {
            format!("\x1b[31;1m{text}\x1b[0m")
        }
        (true, _) => format!("\x1b[33m{text}\x1b[0m"),
    };
    let rows = rows(record);
    let wide = |of: fn(&Row<'_>) -> String| {
        rows.iter()
            .map(|r| of(r).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (ids, expected) = (wide(|r| r.id.to_owned()), wide(|r| r.expectation.clone()));
    let mut out = String::new();
    for row in &rows {
        let _ = writeln!(
            out,
            "{:<ids$}  {:<expected$}  {}{}",
            row.id,
            row.expectation,
            paint(row.tally(), row.worst),
            row.first_anomaly()
        );
        for entry in row.unexpected().take(3) {
            let _ = writeln!(out, "{:ids$}  seed {}: {}", "", entry.seed, entry.why);
        }
    }
    for line in &record.baseline {
        let _ = writeln!(out, "baseline: {line}");
    }
    let _ = writeln!(out, "\n{} in {:.0} s", counts(record), record.elapsed_s);
    let _ = writeln!(out, "{}", recall(record));
    let _ = writeln!(out, "summary: {}", folder.join("index.html").display());
    out
}

/// For a CI's summary page.
pub(super) fn markdown(record: &Record) -> String {
    let sign = match record.exit_code() {
        crate::exit::PASS => '✓',
        crate::exit::INCONCLUSIVE => '?',
        _ => '✗',
    };
    let mut out = format!(
        "## {sign} schism campaign {}: {}\n\n",
        escape::markdown(&record.name),
        counts(record)
    );
    let _ = writeln!(out, "{}.\n", recall(record));
    let _ = writeln!(
        out,
        "| cell | expected | came out | first anomaly |\n|---|---|---|---|"
    );
    let mut left = 0;
    let rows = rows(record);
    for row in &rows {
        let line = format!(
            "| {} | {} | {} | {} |\n",
            escape::markdown(row.id),
            escape::markdown(&row.expectation),
            escape::markdown(&row.tally()),
            row.first_anomaly().trim()
        );
        if out.len() + line.len() > SUMMARY_BYTES / 2 {
            left += 1;
        } else {
            out.push_str(&line);
        }
    }
    if left > 0 {
        let _ = writeln!(out, "\n{left} more cells are in `campaign.json`.");
    }
    let unexpected: Vec<&Entry> = rows.iter().flat_map(Row::unexpected).collect();
    if !unexpected.is_empty() {
        out.push_str("\n### What did not come out as expected\n\n");
    }
    for entry in unexpected.iter().take(TOLD) {
        let why = escape::markdown(&escape::sentence(&entry.why, 1000));
        let id = escape::markdown(&entry.id);
        let _ = writeln!(
            out,
            "- **{id}** seed {}: {}: {why}",
            entry.seed,
            entry.outcome.map_or("not run", Outcome::words)
        );
    }
    if unexpected.len() > TOLD {
        let _ = writeln!(out, "- and {} more", unexpected.len() - TOLD);
    }
    for line in &record.baseline {
        let _ = writeln!(out, "\nBaseline: {}", escape::markdown(line));
    }
    out
}

/// The lines that GitHub's runner turns into annotations.
pub(super) fn annotations(record: &Record) -> String {
    let rows = rows(record);
    let unexpected = rows.iter().flat_map(Row::unexpected);
    let mut out = String::new();
    for entry in unexpected.take(ANNOTATIONS) {
        let level = match entry.outcome {
            Some(Outcome::Inconclusive) => "warning",
            _ => "error",
        };
        let words = entry.outcome.map_or("not run", Outcome::words);
        let text = format!("{words}: {}", entry.why);
        let title = format!("{} seed {}", entry.id, entry.seed);
        let _ = writeln!(out, "::{level} title={}::{}", property(&title), data(&text));
    }
    out
}

/// As the runner's commands want their text: per cent signs and line ends by their codes.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// In a property of a command colons and commas end it as well.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::file::Campaign;
    use crate::campaign::outcome::Judgement;

    fn large() -> Record {
        let cell = |i: usize| format!("[[cell]]\nid = \"cell-{i}\"\nfinds = [\"lost-writes\"]\n");
        let cells: String = (0..1000).map(cell).collect();
        let campaign = Campaign::parse(&format!("name = \"large\"\nseeds = 2\n{cells}")).unwrap();
        let mut record = Record::new(&campaign, None);
        for entry in &mut record.cells {
            entry.judged(Judgement {
                outcome: Outcome::NotFound,
                why: "no\nword, 100 %: <b>|`".repeat(50),
                ..Judgement::error("")
            });
        }
        record
    }

    #[test]
    fn a_thousand_cells_stay_under_the_limits() {
        let record = large();
        let page = markdown(&record);
        assert!(page.len() < SUMMARY_BYTES, "{} bytes", page.len());
        assert!(
            page.contains("and 1950 more"),
            "{}",
            &page[page.len() - 300..]
        );
        let lines = annotations(&record);
        assert_eq!(lines.lines().count(), ANNOTATIONS);
        assert!(
            lines.starts_with("::error title=cell-0 seed 1::danger not found: no%0Aword, 100 %25")
        );
        assert!(
            crate::campaign::junit::xml(&record)
                .unwrap()
                .matches("<testcase ")
                .count()
                == 2000
        );
    }
}
