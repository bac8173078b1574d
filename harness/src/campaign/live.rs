//! What a campaign says on stderr while it goes: on a terminal the table of its cells, elsewhere a line for each run that has ended.

use super::engine::Listener;
use super::outcome::Outcome;
use super::record::Record;
use super::{table, words};
use crate::stderr::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeSet;
use std::io::IsTerminal;

/// The live display.
pub(super) struct Live {
    bar: ProgressBar,
    on_terminal: bool,
    quiet: bool,
    under_way: BTreeSet<usize>,
}

impl Live {
    pub(super) fn new(quiet: bool) -> Self {
        let live = !quiet && std::io::stderr().is_terminal();
        let target = if live {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            on_terminal: live,
            quiet,
            under_way: BTreeSet::new(),
        }
    }

    pub(super) fn say(&self, text: &str) {
        if self.on_terminal {
            self.bar.suspend(|| say(text));
        } else if !self.quiet {
            say(text);
        }
    }

    fn draw(&self, record: &Record) {
        if self.on_terminal {
            let (lines, columns) = console::Term::stderr().size();
            let (lines, columns) = (usize::from(lines), usize::from(columns));
            // The line of the prompt, and the one that is being written.
            let table = table::live(record, &self.under_way, lines.saturating_sub(2), columns);
            self.bar.set_message(table);
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Listener for Live {
    fn begun(&mut self, record: &Record, entry: usize) {
        self.under_way.insert(entry);
        self.draw(record);
    }

    fn ended(&mut self, record: &Record, entry: usize) {
        self.under_way.remove(&entry);
        let expected = record.cells[entry].outcome == Some(Outcome::AsExpected);
        // The table has what came out as expected.
        if !self.on_terminal || !expected {
            self.say(&words::line(record, &record.cells[entry]));
        }
        self.draw(record);
    }

    fn side_by_side(&mut self, runs: usize, cores_a_run: f64) {
        self.say(&format!(
            "a run keeps {cores_a_run:.2} cores busy: {runs} side by side from now on"
        ));
    }
}
