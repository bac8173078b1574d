//! From a history on disk to a verdict: reads the run's folder, lends the checkers a clock, merges in what is the harness's own.

use crate::store::Run;
use anyhow::Result;
use schism_checkers::verdict::{Outcome, Verdict};
use schism_checkers::{Budget, check};
use schism_history::History;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long all properties of one history may take together.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);
/// How much memory a search may take.
pub const MEMORY_LIMIT: u64 = 2 << 30;

/// Checks a recorded run by what its spec says; writes `results.json`.
pub fn run(run: &Run) -> Result<Verdict> {
    let spec = run.spec()?;
    let verdict = history(&run.history()?, None, &spec.deciding())?;
    run.write_verdict(&verdict)?;
    Ok(verdict)
}

/// Checks a history: the named properties, or those that fit.
pub fn history(
    history: &History,
    named: Option<&[String]>,
    deciding: &[String],
) -> Result<Verdict> {
    let begun = Instant::now();
    let exhausted = || begun.elapsed() > TIME_LIMIT;
    let budget = Budget {
        exhausted: &exhausted,
        memory_bytes: MEMORY_LIMIT,
    };
    let mut verdict = check(history, named, deciding, &budget)?;
    let torn = history
        .torn
        .as_ref()
        .map(|torn| json!({"line": torn.line, "bytes": torn.bytes}));
    if let Value::Object(stats) = &mut verdict.stats {
        if let Some(torn) = torn {
            stats.insert("torn".into(), torn);
        }
        stats.insert("arena".into(), figures(history, "arena"));
        stats.insert("usage".into(), figures(history, "usage"));
        stats.insert("check_ms".into(), json!(begun.elapsed().as_millis() as u64));
    }
    Ok(verdict)
}

/// What the driver wrote down of itself, from the history's own events.
fn figures(history: &History, f: &str) -> Value {
    let mut all = serde_json::Map::new();
    for event in history.faults().filter(|e| e.f == f) {
        if let Value::Object(figures) = &event.value {
            all.extend(figures.clone());
        }
    }
    Value::Object(all)
}

/// The exit code of a verdict.
pub fn exit_code(verdict: &Verdict) -> i32 {
    match verdict.verdict {
        Outcome::Pass => crate::exit::PASS,
        Outcome::Violation => crate::exit::VIOLATION,
        Outcome::Inconclusive => crate::exit::INCONCLUSIVE,
    }
}
