//! What limits of time and memory do to every property: `unknown` with the reason and never a pass, and figures that are true.
//!
//! One test alone, for it counts what the process allocates.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[path = "support/load.rs"]
mod load;

use peak_alloc::PeakAlloc;
use schism_checkers::verdict::{Decision, PropertyResult};
use schism_checkers::{Budget, Chosen, Prepared, properties};
use std::collections::BTreeMap;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Sizes between which a table that doubles has done so at most once.
const OPERATIONS: [u64; 3] = [2_000, 3_000, 4_500];
/// How much more than it says a property may take, and how much less than it says at least one history of its kind.
const MORE: f64 = 1.0;
const LESS: f64 = 3.0;
/// So little that it is what every check takes.
const LITTLE: u64 = 50_000;
/// Where a search remembers much, which asks for itself.
const SEARCHED: [(&str, &str); 1] = [("linearizable", "a register of five values")];

fn limited(bytes: u64) -> Budget<'static> {
    Budget {
        exhausted: &|| false,
        memory_bytes: bytes,
    }
}

fn without_time() -> Budget<'static> {
    Budget {
        exhausted: &|| true,
        memory_bytes: u64::MAX,
    }
}

/// The result, and the most memory at once that it took.
fn measured(chosen: Chosen, history: &Prepared<'_>, budget: &Budget<'_>) -> (PropertyResult, f64) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = chosen.check(history, budget);
    let bytes = ALLOCATOR.peak_usage().saturating_sub(before);
    (result, bytes as f64)
}

fn undecided(name: &str, shape: &str, result: &PropertyResult, limit: &str) {
    let why = &result.why;
    assert_eq!(
        result.verdict,
        Decision::Unknown,
        "{name} of {shape}: {why}"
    );
    assert!(why.contains(limit), "{name} of {shape}: {why}");
}

#[test]
fn every_property_keeps_its_limits() {
    // By property, the most of what it said that it took.
    let mut used: BTreeMap<&str, f64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (shape, make) in load::SHAPES {
        for n in OPERATIONS {
            let history = make(n);
            let history = Prepared::new(&history);
            for property in properties().iter().filter(|p| p.fits(&history)) {
                let name = property.name();
                let chosen = Chosen {
                    property: *property,
                    decides: true,
                };
                let said = chosen.needs_bytes(&history);
                let (whole, bytes) = measured(chosen, &history, &Budget::unlimited());
                let share = bytes / said as f64;
                let most = used.entry(name).or_default();
                *most = most.max(if said > LITTLE { share } else { 0.0 });
                if share > MORE && !SEARCHED.contains(&(name, shape)) {
                    wrong.push(format!("{name} of {n} {shape}: {bytes} bytes, {said} said"));
                }
                undecided(
                    name,
                    shape,
                    &chosen.check(&history, &without_time()),
                    "time",
                );
                let (refused, bytes) = measured(chosen, &history, &limited(said - 1));
                undecided(name, shape, &refused, "out of memory");
                assert!(
                    bytes < 4096.0,
                    "{name} of {shape}: {bytes} bytes for nothing"
                );
                let enough = chosen.check(&history, &limited(said + (1 << 30)));
                assert_eq!(enough, whole, "{name} of {shape}");
            }
        }
    }
    let registered: Vec<&str> = properties().iter().map(|p| p.name()).collect();
    let missing = registered.iter().filter(|name| !used.contains_key(**name));
    assert_eq!(
        missing.count(),
        0,
        "without a history: {registered:?}, {used:?}"
    );
    let too_much = used
        .iter()
        .filter(|(_, share)| **share > 0.0 && **share * LESS < 1.0);
    wrong.extend(too_much.map(|(name, share)| format!("{name} takes {share} of what it says")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
