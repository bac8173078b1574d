//! What each property takes for a million operations, and how long it does not ask for its limits: `cargo bench --bench limits`.
//!
//! One line for each shape of history and each property that fits it: time, the most memory at once beside the history, what it had said that it needs,
//! and the longest that it worked without looking at the clock. Arguments: `-- 100000` for another size, `-- set` for lines with this in them.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench owns the clock"
)]

#[path = "../tests/support/load.rs"]
mod load;

use nix::time::{ClockId, clock_gettime};
use peak_alloc::PeakAlloc;
use schism_checkers::{Budget, Chosen, Prepared, properties};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// How long one check may take.
const LIMIT: Duration = Duration::from_secs(10);

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let n = arguments.iter().find_map(|a| a.parse().ok());
    let named = arguments.iter().find(|a| a.parse::<u64>().is_err());
    let wanted = |line: &str| named.is_none_or(|part| line.contains(part.as_str()));
    let fitting = |shape: &str| {
        let of_all = properties().iter().copied();
        of_all
            .filter(|p| wanted(&format!("{shape}: {}", p.name())))
            .collect::<Vec<_>>()
    };
    for (shape, make) in load::SHAPES {
        let properties = fitting(shape);
        if properties.is_empty() {
            continue;
        }
        let history = make(n.unwrap_or(1_000_000));
        let prepared = Prepared::new(&history);
        for property in properties.into_iter().filter(|p| p.fits(&prepared)) {
            let chosen = Chosen {
                property,
                decides: true,
            };
            measure(shape, chosen, &prepared);
        }
    }
}

/// How long this thread has worked: what else the machine does is none of it.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn measure(shape: &str, chosen: Chosen, history: &Prepared<'_>) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let begun = worked();
    let (last, longest, at) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let asked = || {
        let now = worked().saturating_sub(begun).as_nanos() as u64;
        let gap = now - last.swap(now, Ordering::Relaxed);
        if longest.fetch_max(gap, Ordering::Relaxed) < gap {
            at.store(now - gap, Ordering::Relaxed);
        }
        now > LIMIT.as_nanos() as u64
    };
    let budget = Budget {
        exhausted: &asked,
        memory_bytes: u64::MAX,
    };
    let result = chosen.check(history, &budget);
    asked();
    let ms = |ns: u64| ns as f64 / 1e6;
    let took = worked().saturating_sub(begun).as_secs_f64() * 1e3;
    let bytes = ALLOCATOR.peak_usage().saturating_sub(before) as f64;
    let why: String = result.why.chars().take(100).collect();
    println!(
        "{:<28} {:<20} {took:>8.0} ms {:>7.1} MB {:>6.0} bytes/op ({:>5.0} said)  longest without a look {:>7.1} ms at {:>6.0}  {:?} {why}",
        shape,
        chosen.property.name(),
        bytes / 1e6,
        bytes / history.ops.len() as f64,
        chosen.needs_bytes(history) as f64 / history.ops.len() as f64,
        ms(longest.load(Ordering::Relaxed)),
        ms(at.load(Ordering::Relaxed)),
        result.verdict,
    );
}
