//! How fast a register's history is decided, how much memory that takes, and how both grow: `cargo bench --bench registers`.
//!
//! The histories are those that the peers were measured on. For each slot `s < C`: `SplitMix64` with state `seed ^ (s+1)*0x9E3779B97F4A7C15`,
//! draws in a fixed order; `sparse` has about 0.1 C operations in flight, `dense` about 0.9 C. One thread, in memory: time and bytes
//! are those of the decision alone, the operations themselves (32 bytes each) apart. Arguments: `-- dense` takes the rows with this in their names,
//! `-- 1000000` bounds the growth.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::many_single_char_names,
    reason = "a bench owns the clock, and the letters are those of the generator's definition"
)]

use peak_alloc::PeakAlloc;
use schism_checkers::Budget;
use schism_checkers::linearize::{Linearization, linearize};
use schism_checkers::register::{Action, RegisterOp, Val};
use schism_history::Time;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const SPARSE: u64 = 20_000_000;
const DENSE: u64 = 200_000;
/// How long one decision may take.
const LIMIT: Duration = Duration::from_secs(60);
const MEMORY_LIMIT: u64 = 6 << 30;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Reads and writes of unique values.
    Reg,
    /// Reads, writes and compare-and-sets of five values.
    Cas5,
}

#[derive(Clone, Copy)]
struct Shape {
    kind: Kind,
    clients: u64,
    think: u64,
    keys: u64,
    info: bool,
}

struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// An operation before it took effect.
struct Draw {
    /// When it takes effect, with its slot: the order in which they are applied.
    effect: (u64, u64),
    start: u64,
    /// `None`: it never completes, and is applied or not.
    end: Option<u64>,
    applied: bool,
    key: u64,
    what: What,
}

enum What {
    Read,
    Write(Val),
    Cas(Val, Val),
}

fn draws(n: u64, shape: Shape, seed: u64) -> Vec<Draw> {
    let mut all = Vec::with_capacity(n as usize);
    for slot in 0..shape.clients {
        let mut rng = SplitMix(seed ^ (slot + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut t = rng.below(1_000_000);
        for i in 0..n / shape.clients {
            t += rng.below(shape.think);
            let kind = rng.below(300);
            let latency = 100_000 + rng.below(1_900_000);
            let effect = t + 1 + rng.below(latency - 1);
            let (a, b, u, e) = (rng.below(5), rng.below(5), rng.below(10_000), rng.below(2));
            let key = rng.below(1 << 30) % shape.keys;
            let what = match shape.kind {
                Kind::Reg if kind < 150 => What::Read,
                Kind::Reg => What::Write((slot + shape.clients * i + 1) as Val),
                Kind::Cas5 if kind < 100 => What::Read,
                Kind::Cas5 if kind < 200 => What::Write(a as Val + 1),
                Kind::Cas5 => What::Cas(a as Val + 1, b as Val + 1),
            };
            let info = shape.info && !matches!(what, What::Read) && u < 100;
            let end = (!info).then_some(t + latency);
            let applied = !info || e == 0;
            all.push(Draw {
                effect: (effect, slot),
                start: t,
                end,
                applied,
                key,
                what,
            });
            t = end.unwrap_or(t + 5_000_000);
        }
    }
    all
}

/// The operations of each key, sorted by start.
fn generate(n: u64, shape: Shape, seed: u64) -> Vec<Vec<RegisterOp>> {
    let mut draws = draws(n, shape, seed);
    draws.sort_unstable_by_key(|d| d.effect);
    let mut registers = vec![0; shape.keys as usize];
    let mut keys = vec![Vec::new(); shape.keys as usize];
    for (place, draw) in (0..).zip(draws) {
        let register: &mut Val = &mut registers[draw.key as usize];
        let action = match draw.what {
            What::Read => Action::Read(*register),
            What::Write(v) => Action::Write(v),
            What::Cas(old, _) if draw.end.is_some() && *register != old => Action::Refused(old),
            What::Cas(old, new) => Action::Cas(old, new),
        };
        match action {
            Action::Write(v) if draw.applied => *register = v,
            Action::Cas(old, v) if draw.applied && *register == old => *register = v,
            _ => {}
        }
        let end = draw.end.map_or(Time::INFINITY, Time);
        keys[draw.key as usize].push(RegisterOp {
            action,
            start: Time(draw.start),
            end,
            place,
        });
    }
    for ops in &mut keys {
        ops.sort_unstable_by_key(|op| (op.start, op.place));
    }
    keys
}

/// Values of a key as small numbers, as the checker has them.
fn compact(ops: &mut [RegisterOp]) -> usize {
    let mut values: Vec<Val> = ops
        .iter()
        .flat_map(|op| [op.action.writes(), op.action.needs()])
        .flatten()
        .collect();
    values.extend(ops.iter().filter_map(|op| {
        if let Action::Refused(v) = op.action {
            Some(v)
        } else {
            None
        }
    }));
    values.push(0);
    values.sort_unstable();
    values.dedup();
    let small = |v: Val| values.binary_search(&v).map_or(0, |i| i as Val);
    for op in ops {
        op.action = match op.action {
            Action::Read(v) => Action::Read(small(v)),
            Action::Write(v) => Action::Write(small(v)),
            Action::Cas(a, b) => Action::Cas(small(a), small(b)),
            Action::Refused(v) => Action::Refused(small(v)),
        };
    }
    values.len()
}

fn measure(name: &str, n: u64, shape: Shape, wanted: &str) {
    let mut keys = generate(n, shape, 1);
    let values: Vec<usize> = keys.iter_mut().map(|ops| compact(ops)).collect();
    let total: usize = keys.iter().map(Vec::len).sum();
    let before = PeakAlloc.current_usage();
    PeakAlloc.reset_peak_usage();
    let begun = Instant::now();
    let exhausted = || begun.elapsed() > LIMIT;
    let budget = Budget {
        exhausted: &exhausted,
        memory_bytes: MEMORY_LIMIT,
    };
    let mut answers: Vec<Linearization> = keys
        .iter()
        .zip(&values)
        .map(|(ops, values)| linearize(ops, *values, &budget))
        .collect();
    let seconds = begun.elapsed().as_secs_f64();
    let bytes = PeakAlloc.peak_usage().saturating_sub(before) as f64 / total as f64;
    answers.sort_by_key(|a| *a == Linearization::Exists);
    let answer = match answers.first() {
        Some(Linearization::Exists) => "linearizable".to_owned(),
        Some(Linearization::OutOf(what, place)) => {
            format!("unknown: out of {what} at operation {place}")
        }
        other => format!("WRONG: {other:?}"),
    };
    println!(
        "{name:<27} {total:>9} ops {:>9.2} ms {:>11.0} ops/s {:>6.1} ns/op {bytes:>6.0} bytes/op  {answer}; wanted {wanted}",
        seconds * 1e3,
        total as f64 / seconds,
        seconds * 1e9 / total as f64
    );
}

/// A line of the table: what, how many operations, and the figure to reach.
type Row = (&'static str, u64, Shape, &'static str);

fn rows(largest: u64) -> Vec<Row> {
    let reg = Shape {
        kind: Kind::Reg,
        clients: 20,
        think: SPARSE,
        keys: 1,
        info: false,
    };
    let cas = Shape {
        kind: Kind::Cas5,
        ..reg
    };
    let clients = |shape: Shape, clients: u64| Shape { clients, ..shape };
    let dense = |shape: Shape| Shape {
        think: DENSE,
        ..shape
    };
    let keys = |shape: Shape| Shape { keys: 100, ..shape };
    let info = Shape { info: true, ..reg };
    let mut rows = vec![
        ("sparse reg, C 5", 10_000, clients(reg, 5), "1 ms"),
        ("sparse reg, C 20", 10_000, reg, "1 ms"),
        ("sparse reg, C 50", 10_000, clients(reg, 50), "1 ms"),
        (
            "sparse reg, C 5",
            100_000,
            clients(reg, 5),
            "4 ms, 32 bytes/op",
        ),
        ("sparse reg, C 20", 100_000, reg, "4 ms, 32 bytes/op"),
        (
            "sparse reg, C 50",
            100_000,
            clients(reg, 50),
            "4 ms, 32 bytes/op",
        ),
        ("sparse reg, C 20", 1_000_000, reg, "100 ms"),
        ("sparse reg, C 20, info", 1_000_000, info, "100 ms"),
        ("dense reg, C 20", 1_000, dense(reg), "1 ms"),
        ("dense reg, C 50", 1_000, dense(clients(reg, 50)), "1 ms"),
        (
            "sparse cas5, C 5",
            100_000,
            clients(cas, 5),
            "30 ms, 300 bytes/op",
        ),
        ("sparse cas5, C 20", 100_000, cas, "30 ms, 300 bytes/op"),
        ("dense cas5, C 20", 10_000, dense(cas), "100 ms"),
        (
            "dense cas5, C 50",
            10_000,
            dense(clients(cas, 50)),
            "an answer or unknown",
        ),
        (
            "sparse reg, C 20, 100 keys",
            100_000,
            keys(reg),
            "20 million ops/s",
        ),
        (
            "sparse cas5, C 20, 100 keys",
            100_000,
            keys(cas),
            "5.5 million ops/s",
        ),
    ];
    let sizes = [10_000, 100_000, 1_000_000, 10_000_000];
    for (name, shape) in [
        ("growth: sparse reg, C 20", reg),
        ("growth: sparse cas5, C 20", cas),
    ] {
        let sizes = sizes.into_iter().filter(|n| *n <= largest);
        rows.extend(sizes.map(|n| (name, n, shape, "no growth in ns and bytes an operation")));
    }
    rows
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let largest = arguments.iter().find_map(|a| a.parse().ok());
    let named = arguments.iter().find(|a| a.parse::<u64>().is_err());
    for (name, n, shape, wanted) in rows(largest.unwrap_or(10_000_000)) {
        if named.is_none_or(|part| name.contains(part.as_str())) {
            measure(name, n, shape, wanted);
        }
    }
}
