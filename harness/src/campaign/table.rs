//! The live table: a line for each cell, with a sign for each of its seeds, in as many lines as the terminal has.

use super::outcome::Outcome;
use super::record::{Entry, Record};
use super::words;
use console::truncate_str;
use std::collections::{BTreeMap, BTreeSet};

/// One cell.
struct Line<'r> {
    id: &'r str,
    expectation: String,
    /// Its runs, and whether each is under way.
    runs: Vec<(&'r Entry, bool)>,
}

/// How soon a line is wanted, where not all fit.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    UnderWay,
    Unexpected,
    Waiting,
    Done,
}

impl Line<'_> {
    fn wanted(&self) -> Wanted {
        let any = |which: fn(&(&Entry, bool)) -> bool| self.runs.iter().any(which);
        if any(|(_, under_way)| *under_way) {
            Wanted::UnderWay
        } else if any(|(e, _)| !matches!(e.outcome, None | Some(Outcome::AsExpected))) {
            Wanted::Unexpected
        } else if any(|(e, _)| e.outcome.is_none()) {
            Wanted::Waiting
        } else {
            Wanted::Done
        }
    }

    fn signs(&self) -> String {
        self.runs.iter().map(|(e, u)| sign(e, *u)).collect()
    }
}

const fn sign(entry: &Entry, under_way: bool) -> char {
    match entry.outcome {
        Some(Outcome::AsExpected) => '✓',
        Some(Outcome::UnexpectedViolation | Outcome::NotFound) => '✗',
        Some(Outcome::Error) => '!',
        Some(Outcome::Inconclusive) => '?',
        Some(Outcome::Known) => '~',
        Some(Outcome::Skipped) => '-',
        None if under_way => '▸',
        None => '·',
    }
}

/// The table in at most `height` lines of at most `width` columns: where there are more cells, those under way and those that did not
/// come out as expected before the others.
pub(super) fn live(
    record: &Record,
    under_way: &BTreeSet<usize>,
    height: usize,
    width: usize,
) -> String {
    let all = lines(record, under_way);
    let places = height.saturating_sub(1).max(1);
    let shown: BTreeSet<usize> = if all.len() <= places {
        (0..all.len()).collect()
    } else {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|i| all[*i].wanted());
        order.into_iter().take(places.saturating_sub(1)).collect()
    };
    let wide = |of: fn(&Line<'_>) -> usize| shown.iter().map(|i| of(&all[*i])).max().unwrap_or(0);
    let ids = wide(|line| line.id.chars().count());
    let expected = wide(|line| line.expectation.chars().count());
    let mut out: Vec<String> = shown
        .iter()
        .map(|i| &all[*i])
        .map(|line| {
            let (id, expectation, signs) = (line.id, &line.expectation, line.signs());
            format!("{id:<ids$}  {expectation:<expected$}  {signs}")
        })
        .collect();
    if shown.len() < all.len() {
        let signs = (0..all.len())
            .filter(|i| !shown.contains(i))
            .map(|i| all[i].signs());
        let (more, signs) = (all.len() - shown.len(), signs.collect::<String>());
        out.push(format!("and {more} more cells  {signs}"));
    }
    let done = record.cells.iter().filter(|e| e.outcome.is_some()).count();
    out.push(format!(
        "{done} of {} runs: {}",
        record.cells.len(),
        words::counts(record)
    ));
    let cut = out.iter().map(|line| truncate_str(line, width, "…"));
    cut.collect::<Vec<_>>().join("\n")
}

fn lines<'r>(record: &'r Record, under_way: &BTreeSet<usize>) -> Vec<Line<'r>> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines: Vec<Line<'r>> = Vec::new();
    for (i, entry) in record.cells.iter().enumerate() {
        let place = *places.entry(&entry.id).or_insert_with(|| {
            lines.push(Line {
                id: &entry.id,
                expectation: entry.expectation(),
                runs: Vec::new(),
            });
            lines.len() - 1
        });
        lines[place].runs.push((entry, under_way.contains(&i)));
    }
    for line in &mut lines {
        line.runs.sort_by_key(|(e, _)| e.seed);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::file::Campaign;

    fn record(cells: usize) -> Record {
        let cell = |i: usize| format!("[[cell]]\nid = \"c{i}\"\n");
        let cells: String = (0..cells).map(cell).collect();
        let text =
            format!("name = \"x\"\nseeds = 2\n{cells}[[cell]]\nid = \"D\"\nfinds = [\"set\"]\n");
        let mut record = Record::new(&Campaign::parse(&text).unwrap(), None);
        let at = |record: &Record, id: &str, seed: u64| {
            let found = record
                .cells
                .iter()
                .position(|e| e.id == id && e.seed == seed);
            found.unwrap()
        };
        let (a, b) = (at(&record, "c0", 1), at(&record, "c1", 2));
        record.cells[a].outcome = Some(Outcome::AsExpected);
        record.cells[b].outcome = Some(Outcome::Inconclusive);
        record
    }

    #[test]
    fn every_cell_has_its_line_with_a_sign_for_each_seed() {
        let record = record(2);
        let table = live(&record, &BTreeSet::from([2]), 24, 80);
        assert_eq!(
            table,
            "c0  pass       ✓·\n\
             c1  pass       ·?\n\
             D   finds set  ▸·\n\
             2 of 6 runs: 1 inconclusive, 1 as expected"
        );
        assert!(
            live(&record, &BTreeSet::new(), 24, 10)
                .lines()
                .all(|l| l.chars().count() <= 10)
        );
    }

    #[test]
    fn what_matters_comes_first_where_not_all_fit() {
        let record = record(100);
        let last = record.cells.len() - 1;
        let table = live(&record, &BTreeSet::from([last]), 6, 300);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 6);
        assert!(
            lines[1].starts_with("c1 ") && lines[1].ends_with("·?"),
            "{table}"
        );
        assert!(table.contains("\nD  ") && table.contains('▸'), "{table}");
        assert!(lines[4].starts_with("and 97 more cells"), "{table}");
    }
}
