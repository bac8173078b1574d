//! What a run says on stderr while it goes: time, rate, outcomes, the faults in force. One live line on a terminal, plain lines elsewhere.

use super::Recorder;
use crate::stderr::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The live display.
pub(super) struct Progress {
    bar: ProgressBar,
    mode: Mode,
    begun: Instant,
    limit: Duration,
    last: (Instant, u64),
    next_line: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Live,
    Lines,
    Quiet,
}

/// How often the display is renewed on a terminal.
pub(super) const TICK: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(2);

impl Progress {
    /// For a run whose clients work for `limit`.
    pub(super) fn new(limit: Duration, quiet: bool) -> Self {
        let mode = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Live,
            (false, false) => Mode::Lines,
        };
        let target = match mode {
            Mode::Live => ProgressDrawTarget::stderr_with_hz(10),
            Mode::Lines | Mode::Quiet => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self {
            bar,
            mode,
            begun: now,
            limit,
            last: (now, 0),
            next_line: now + LINE_EVERY,
        }
    }

    /// Says one thing, above the live line.
    pub(super) fn say(&self, text: &str) {
        match self.mode {
            Mode::Live => self.bar.println(text),
            Mode::Lines => say(text),
            Mode::Quiet => {}
        }
    }

    /// The clients begin.
    pub(super) fn begin(&mut self) {
        self.begun = Instant::now();
        self.last = (self.begun, 0);
        self.next_line = self.begun + LINE_EVERY;
    }

    /// Renews the display.
    pub(super) fn tick(&mut self, recorder: &Recorder) {
        let now = Instant::now();
        let due = match self.mode {
            Mode::Live => true,
            Mode::Lines => now >= self.next_line,
            Mode::Quiet => false,
        };
        if !due {
            return;
        }
        let counts = recorder.counts();
        let total = counts.0 + counts.1 + counts.2;
        let seconds = now.duration_since(self.last.0).as_secs_f64();
        let rate = if seconds > 0.0 {
            (total - self.last.1) as f64 / seconds
        } else {
            0.0
        };
        self.last = (now, total);
        self.next_line = now + LINE_EVERY;
        let line = status_line(
            now.duration_since(self.begun),
            self.limit,
            rate,
            counts,
            &recorder.faults(),
        );
        match self.mode {
            Mode::Live => {
                self.bar.set_message(line);
                self.bar.tick();
            }
            Mode::Lines => say(&line),
            Mode::Quiet => {}
        }
    }

    /// Takes the live line away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn status_line(
    elapsed: Duration,
    limit: Duration,
    rate: f64,
    (ok, fail, info): (u64, u64, u64),
    faults: &[String],
) -> String {
    let mut line = format!(
        "{:>5.1} of {:.0} s  {rate:>6.0} ops/s  ok {ok}  fail {fail}  info {info}",
        elapsed.as_secs_f64(),
        limit.as_secs_f64()
    );
    if !faults.is_empty() {
        let _ = write!(line, "  | {}", faults.join(" + "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_time_rate_outcomes_and_faults() {
        let faults = ["kill n1".to_owned(), "pause n2".to_owned()];
        let line = status_line(
            Duration::from_millis(4250),
            Duration::from_secs(20),
            499.6,
            (7, 1, 2),
            &faults,
        );
        assert_eq!(
            line,
            "  4.2 of 20 s     500 ops/s  ok 7  fail 1  info 2  | kill n1 + pause n2"
        );
    }
}
