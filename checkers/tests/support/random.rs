//! Small random histories in the one-line notation, so that one that shows a mistake can be kept as it is printed.
//!
//! A register is simulated first: every operation takes effect at a point of its interval. Then, in about half of the histories,
//! some reads are made to return something else that had been written by then. So both verdicts are common, and a wrong
//! history is only a little wrong.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_history::History;
use std::fmt::Write as _;

/// The operations of a history, one line each.
pub(crate) type Lines = Vec<String>;

/// How many random histories to try: `SCHISM_ORACLE_CASES`, or the default of the test.
pub(crate) fn cases(default: u64) -> u64 {
    let wished = std::env::var("SCHISM_ORACLE_CASES").ok();
    wished.and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Reads lines as a history.
pub(crate) fn history(lines: &[String]) -> History {
    History::dsl(&lines.join("\n")).unwrap_or_else(|e| panic!("{e} in:\n{}", lines.join("\n")))
}

/// The smallest part of a history that still shows something, as far as leaving out one operation after another finds it.
pub(crate) fn smallest(lines: &[String], shows: impl Fn(&History) -> bool) -> Lines {
    let mut lines = lines.to_vec();
    let mut at = 0;
    while at < lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(at);
        if shows(&history(&fewer)) {
            (lines, at) = (fewer, 0);
        } else {
            at += 1;
        }
    }
    lines
}

/// One chance in so many.
pub(crate) fn one_in(rng: &mut ChaCha8Rng, n: u32) -> bool {
    rng.random_range(0..n) == 0
}

/// One of a list.
pub(crate) fn pick<T: Clone>(rng: &mut ChaCha8Rng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())].clone()
}

/// What random histories of registers are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registers {
    /// At most so many operations, at least two.
    pub(crate) ops_max: usize,
    /// How many clients; each has one operation in flight.
    pub(crate) clients: usize,
    /// Keys `x`, `y`, ...
    pub(crate) keys: usize,
    /// Every written value is another one.
    pub(crate) unique: bool,
    /// How many of the clients write.
    pub(crate) writers: usize,
    /// Compare-and-sets, too.
    pub(crate) cas: bool,
    /// A write takes less than so many milliseconds; a read less than ten.
    pub(crate) write_ms: u64,
    /// Reads may return what nobody wrote, or what definitely failed.
    pub(crate) thin_air: bool,
    /// Which session an operation belongs to.
    pub(crate) sessions: Sessions,
}

/// Which session an operation belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// The process: a client whose operation is unknown goes on as a new one.
    Process,
    /// The client, whatever its process is.
    Client,
    /// Two clients share one, so that its operations overlap.
    Shared,
}

impl Registers {
    /// Unique values in one register.
    pub(crate) const PLAIN: Self = Self {
        ops_max: 9,
        clients: 3,
        keys: 1,
        unique: true,
        writers: usize::MAX,
        cas: false,
        write_ms: 10,
        thin_air: false,
        sessions: Sessions::Process,
    };

    /// Draws one.
    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng) -> Lines {
        let mut planned = self.plan(rng);
        self.simulate(rng, &mut planned);
        if one_in(rng, 2) {
            self.spoil(rng, &mut planned);
        }
        planned.iter().map(|op| self.line(op)).collect()
    }

    fn plan(&self, rng: &mut ChaCha8Rng) -> Vec<Planned> {
        let mut planned: Vec<Planned> = Vec::new();
        let mut free_at: Vec<u64> = (0..self.clients).map(|_| rng.random_range(0..8)).collect();
        let mut process: Vec<usize> = (0..self.clients).collect();
        for _ in 0..rng.random_range(2..=self.ops_max) {
            let client = rng.random_range(0..self.clients);
            let start = free_at[client];
            let f = self.function(rng, client);
            let outcome = outcome(rng, f);
            let ms = if f == "read" { 10 } else { self.write_ms };
            let end = start + rng.random_range(1..ms);
            planned.push(Planned {
                client,
                process: process[client],
                f,
                key: rng.random_range(0..self.keys),
                start,
                end,
                point: rng.random_range(start * 100..=end * 100),
                outcome,
                ..Planned::default()
            });
            free_at[client] = end + rng.random_range(1..5);
            if matches!(outcome, "info" | "?") {
                process[client] += self.clients;
            }
        }
        planned.sort_by_key(|op| op.point);
        planned
    }

    fn function(&self, rng: &mut ChaCha8Rng, client: usize) -> &'static str {
        let may_write = client < self.writers;
        match rng.random_range(0..10) {
            0..4 if may_write => "write",
            4..6 if may_write && self.cas => "cas",
            _ => "read",
        }
    }

    fn simulate(&self, rng: &mut ChaCha8Rng, planned: &mut [Planned]) {
        let mut state: Vec<Option<u32>> = vec![None; self.keys];
        for i in 0..planned.len() {
            let value = &mut state[planned[i].key];
            let op = &mut planned[i];
            op.new = if self.unique {
                i as u32 + 1
            } else {
                rng.random_range(1..4)
            };
            op.old = if one_in(rng, 4) {
                Some(rng.random_range(1..4))
            } else {
                *value
            };
            op.seen = *value;
            let happens = op.outcome == "ok" || (op.outcome != "fail" && one_in(rng, 2));
            match op.f {
                "cas" if op.outcome == "ok" && op.old != *value => op.outcome = "refused",
                "write" | "cas" if happens && (op.f == "write" || op.old == *value) => {
                    *value = Some(op.new);
                }
                _ => {}
            }
        }
    }

    /// Some reads return another value that was written by their end, or the initial one.
    fn spoil(&self, rng: &mut ChaCha8Rng, planned: &mut [Planned]) {
        for i in 0..planned.len() {
            if planned[i].f != "read" || one_in(rng, 2) {
                continue;
            }
            let (key, end) = (planned[i].key, planned[i].end);
            let by_then = planned.iter().filter(|op| {
                let put = op.outcome != "refused" && (op.outcome != "fail" || self.thin_air);
                op.f != "read" && put && op.key == key && op.start <= end
            });
            let mut values: Vec<Option<u32>> = by_then.map(|op| Some(op.new)).collect();
            values.push(None);
            if self.thin_air {
                values.push(Some(99));
            }
            planned[i].seen = pick(rng, &values);
        }
    }

    fn line(&self, op: &Planned) -> String {
        let json = |v: Option<u32>| v.map_or_else(|| "null".to_owned(), |v| v.to_string());
        let value = match op.f {
            "read" => json(op.seen),
            "write" => op.new.to_string(),
            _ => format!("[{},{}]", json(op.old), op.new),
        };
        let key = char::from(b'x' + op.key as u8);
        let mut line = format!("{}: {} {key} {value} @{}..", op.process, op.f, op.start);
        let _ = match op.outcome {
            "?" => write!(line, "?"),
            "refused" => write!(line, "{} fail error=precondition", op.end),
            outcome => write!(line, "{} {outcome}", op.end),
        };
        let _ = match self.sessions {
            Sessions::Process => Ok(()),
            Sessions::Client => write!(line, " session={}", 100 + op.client),
            Sessions::Shared => write!(line, " session={}", 100 + op.client / 2),
        };
        line
    }
}

/// One operation before it becomes a line.
#[derive(Debug, Clone, Default)]
struct Planned {
    client: usize,
    process: usize,
    f: &'static str,
    key: usize,
    start: u64,
    end: u64,
    /// When it takes effect, in hundredths.
    point: u64,
    /// `ok`, `fail`, `info`, `?` (never answered), or `refused`.
    outcome: &'static str,
    seen: Option<u32>,
    old: Option<u32>,
    new: u32,
}

/// Mostly ok; a read that is not says nothing, so that is rarer.
fn outcome(rng: &mut ChaCha8Rng, f: &str) -> &'static str {
    match rng.random_range(0..if f == "read" { 80 } else { 20 }) {
        0 => "fail",
        1 | 2 => "info",
        3 => "?",
        _ => "ok",
    }
}
