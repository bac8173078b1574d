//! From a history on disk to a verdict: reads the run's folder, lends the checkers clocks and cores, merges in what is the harness's own.

use crate::stderr::say;
use crate::store::Run;
use anyhow::Result;
use schism_checkers::verdict::{Outcome, PropertyResult, Verdict};
use schism_checkers::{Budget, Chosen, Model, Prepared, Tally, choose, merge};
use schism_history::{History, Torn};
use serde_json::{Value, json};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What each property may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long.
    pub time: Duration,
    /// How much memory besides the history, in bytes.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            memory_bytes: 2 << 30,
        }
    }
}

/// How often a check that takes long says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Checks a recorded run by what its spec says.
pub fn run(run: &Run) -> Result<Verdict> {
    history(
        &run.history()?,
        None,
        &run.spec()?.deciding(),
        Limits::default(),
    )
}

/// Checks a history: the named properties, or those that fit, side by side on the cores that there are.
pub fn history(
    history: &History,
    named: Option<&[String]>,
    deciding: &[String],
    limits: Limits,
) -> Result<Verdict> {
    history_as(history, None, named, deciding, limits)
}

/// The same, with what `linearizable` checks it as.
pub fn history_as(
    history: &History,
    model: Option<Model>,
    named: Option<&[String]>,
    deciding: &[String],
    limits: Limits,
) -> Result<Verdict> {
    let begun = Instant::now();
    let prepared = Prepared::new(history).with_model(model);
    let chosen = choose(&prepared, named, deciding)?;
    let mut tally = Tally::default();
    let results = side_by_side(&prepared, chosen, limits, || tally = Tally::of(&prepared));
    let mut verdict = merge(&prepared, &tally, results);
    add_stats(
        &mut verdict,
        &prepared,
        history.torn.as_ref(),
        begun.elapsed(),
    );
    Ok(verdict)
}

/// What the harness knows beside the counts.
pub(crate) fn add_stats(
    verdict: &mut Verdict,
    prepared: &Prepared<'_>,
    torn: Option<&Torn>,
    took: Duration,
) {
    if let Value::Object(stats) = &mut verdict.stats {
        if let Some(torn) = torn {
            let torn = json!({"line": torn.line, "bytes": torn.bytes});
            stats.insert("torn".into(), torn);
        }
        stats.insert("skipped".into(), skipped(prepared));
        stats.insert("arena".into(), figures(prepared, "arena"));
        stats.insert("usage".into(), figures(prepared, "usage"));
        stats.insert("check_ms".into(), json!(took.as_millis() as u64));
    }
}

/// What a worker tells: a property was begun, or ended.
enum News {
    Begun(&'static str),
    Ended(&'static str, Chosen, PropertyResult),
}

/// All properties, on the cores that there are; `meanwhile` on this one.
fn side_by_side(
    history: &Prepared<'_>,
    chosen: Vec<Chosen>,
    limits: Limits,
    meanwhile: impl FnOnce(),
) -> Vec<(Chosen, PropertyResult)> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (workers, all) = (cores.min(chosen.len()), chosen.len());
    let queue = Mutex::new(chosen.into_iter());
    let (news, heard) = channel();
    thread::scope(|scope| {
        for _ in 0..workers {
            let (queue, news) = (&queue, news.clone());
            scope.spawn(move || {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(chosen) = next() {
                    let name = chosen.property.name();
                    // The listener outlives the workers.
                    let _ = news.send(News::Begun(name));
                    let _ = news.send(News::Ended(
                        name,
                        chosen,
                        check_one(history, chosen, limits),
                    ));
                }
            });
        }
        drop(news);
        meanwhile();
        collect(&heard, all)
    })
}

/// One property under its limits. One that crashes is unknown, never a pass.
pub(crate) fn check_one(history: &Prepared<'_>, chosen: Chosen, limits: Limits) -> PropertyResult {
    let begun = Instant::now();
    let exhausted = || begun.elapsed() > limits.time;
    let budget = Budget {
        exhausted: &exhausted,
        memory_bytes: limits.memory_bytes,
    };
    catch_unwind(AssertUnwindSafe(|| chosen.check(history, &budget))).unwrap_or_else(|panic| {
        PropertyResult::unknown(format!("the checker crashed: {}", said(&*panic)))
    })
}

fn said(panic: &dyn Any) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("it did not say why")
}

/// Takes the results as they come; says on stderr what is still under way when it takes long.
fn collect(heard: &Receiver<News>, all: usize) -> Vec<(Chosen, PropertyResult)> {
    let mut results = Vec::with_capacity(all);
    let mut under_way: BTreeMap<&str, Instant> = BTreeMap::new();
    loop {
        match heard.recv_timeout(SAY_EVERY) {
            Ok(News::Begun(name)) => drop(under_way.insert(name, Instant::now())),
            Ok(News::Ended(name, chosen, result)) => {
                under_way.remove(name);
                results.push((chosen, result));
            }
            Err(RecvTimeoutError::Timeout) => {
                let since = |(name, begun): (&&str, &Instant)| {
                    format!("{name} for {:.0} s", begun.elapsed().as_secs_f64())
                };
                let names: Vec<_> = under_way.iter().map(since).collect();
                say(&format!(
                    "checking: {} of {all} properties done; {}",
                    results.len(),
                    names.join(", ")
                ));
            }
            Err(RecvTimeoutError::Disconnected) => return results,
        }
    }
}

/// What the driver wrote down of itself, from the history's own events.
fn figures(history: &Prepared<'_>, f: &str) -> Value {
    let mut all = serde_json::Map::new();
    for event in history.nemesis.iter().filter(|e| e.f == f) {
        if let Value::Object(figures) = &event.value {
            all.extend(figures.clone());
        }
    }
    Value::Object(all)
}

/// The faults that were left out.
fn skipped(history: &Prepared<'_>) -> Value {
    let skipped = history.nemesis.iter().filter(|e| e.f == "skipped");
    skipped.map(|e| e.value.clone()).collect()
}

/// The exit code of a verdict.
pub fn exit_code(verdict: &Verdict) -> i32 {
    match verdict.verdict {
        Outcome::Pass => crate::exit::PASS,
        Outcome::Violation => crate::exit::VIOLATION,
        Outcome::Inconclusive => crate::exit::INCONCLUSIVE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schism_checkers::verdict::Decision;

    /// Few values, written again and again at once, and two reads after that which no order explains: the search has to try very many.
    fn hard() -> History {
        let writes: Vec<String> = (0..40)
            .map(|p| format!("{p}: write x {} @0..100", p % 5))
            .collect();
        History::dsl(&format!(
            "{}; 40: read x 1 @200..201; 41: read x 2 @202..203",
            writes.join("; ")
        ))
        .unwrap()
    }

    #[test]
    fn past_its_limit_a_property_is_unknown_and_says_of_what() {
        let names = ["linearizable".to_owned()];
        let check = |limits| history(&hard(), Some(&names), &names, limits).unwrap();
        let limits = Limits::default();
        for (limits, what) in [
            (
                Limits {
                    time: Duration::ZERO,
                    ..limits
                },
                "time",
            ),
            (
                Limits {
                    memory_bytes: 1,
                    ..limits
                },
                "memory",
            ),
        ] {
            let verdict = check(limits);
            let result = &verdict.properties["linearizable"];
            assert_eq!(result.verdict, Decision::Unknown);
            assert!(
                result.why.contains(&format!("ran out of {what}")),
                "{}",
                result.why
            );
            assert_eq!(exit_code(&verdict), crate::exit::INCONCLUSIVE);
        }
    }

    #[test]
    fn a_checker_that_crashes_is_unknown() {
        struct Crashes;
        impl schism_checkers::Property for Crashes {
            fn name(&self) -> &'static str {
                "crashes"
            }
            fn summary(&self) -> &'static str {
                "it does not hold"
            }
            fn fits(&self, _: &Prepared<'_>) -> bool {
                true
            }
            fn check(&self, _: &Prepared<'_>, _: &Budget<'_>) -> PropertyResult {
                panic!("out of luck")
            }
        }
        let history = History::dsl("0: write x 1 @0..1").unwrap();
        let chosen = Chosen {
            property: &Crashes,
            decides: true,
        };
        let results = side_by_side(
            &Prepared::new(&history),
            vec![chosen],
            Limits::default(),
            || (),
        );
        assert_eq!(results[0].1.verdict, Decision::Unknown);
        assert!(
            results[0].1.why.contains("out of luck"),
            "{}",
            results[0].1.why
        );
    }
}
