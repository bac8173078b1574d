//! What a campaign says on stderr while it goes: a line for each run that has ended, and on a terminal what is under way.

use super::engine::Listener;
use super::outcome::Outcome;
use super::record::Record;
use super::words;
use crate::stderr::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;

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
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        if live {
            bar.enable_steady_tick(Duration::from_millis(200));
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

    /// The table of the cells: those that are not as expected by name, all others as one row of signs.
    fn draw(&self, record: &Record) {
        if !self.on_terminal {
            return;
        }
        let signs = record
            .cells
            .iter()
            .enumerate()
            .map(|(i, e)| match e.outcome {
                Some(Outcome::AsExpected) => '✓',
                Some(Outcome::UnexpectedViolation | Outcome::NotFound) => '✗',
                Some(Outcome::Error) => '!',
                Some(Outcome::Inconclusive) => '?',
                Some(Outcome::Known) => '~',
                None if self.under_way.contains(&i) => '>',
                _ => '·',
            });
        let signs = signs.collect::<String>();
        let running = self
            .under_way
            .iter()
            .map(|i| format!("{} seed {}", record.cells[*i].id, record.cells[*i].seed));
        let running: Vec<String> = running.collect();
        self.bar.set_message(format!(
            "{signs}\n  {}\n  under way: {}",
            words::counts(record),
            running.join(", ")
        ));
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
        self.say(&words::line(record, &record.cells[entry]));
        self.draw(record);
    }

    fn side_by_side(&mut self, runs: usize, cores_a_run: f64) {
        self.say(&format!(
            "a run keeps {cores_a_run:.2} cores busy: {runs} side by side from now on"
        ));
    }
}
