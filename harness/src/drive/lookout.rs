//! Looks again and again whether what is recorded so far is a violation already, while the run goes on (`--stop-on-violation`).
//!
//! Only properties of which a beginning can be judged alone: a write that no read has shown yet may still come.

use crate::check::{self, Limits};
use crate::stderr::say;
use crate::store;
use anyhow::{Context, Result};
use schism_checkers::verdict::Decision;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What one check may take.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(10),
    memory_bytes: 1 << 30,
};
/// The quiet between two checks: at least so long, and so many times as long as the last one took, for clients and nodes share the cores.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_TIMES: u32 = 4;

/// Waits for the first violation.
pub(super) struct Lookout(watch::Receiver<Option<String>>);

impl Lookout {
    /// Over the history in the run's folder, for those of the properties that can be judged before the end.
    pub(super) fn start(history: PathBuf, deciding: &[String]) -> Result<Self> {
        let names: Vec<String> = deciding
            .iter()
            .filter(|name| {
                let mut all = schism_checkers::properties().iter();
                all.any(|p| p.name() == name.as_str() && p.holds_of_beginnings())
            })
            .cloned()
            .collect();
        if names.is_empty() {
            say(&format!(
                "--stop-on-violation: none of what decides ({}) can be told before the end",
                deciding.join(", ")
            ));
        }
        let (found, seen) = watch::channel(None);
        std::thread::Builder::new()
            .name("lookout".into())
            .spawn(move || {
                let mut pause = PAUSE;
                while !found.is_closed() {
                    std::thread::sleep(pause);
                    let begun = Instant::now();
                    if let Some(message) = names.iter().find_map(|name| violation(&history, name)) {
                        found.send_replace(Some(message));
                        return;
                    }
                    pause = PAUSE.max(begun.elapsed() * PAUSE_TIMES);
                }
            })
            .context("cannot start the thread that looks for violations")?;
        Ok(Self(seen))
    }

    /// What was violated, when it was.
    pub(super) async fn first(&mut self) -> String {
        match self.0.wait_for(Option::is_some).await {
            Ok(message) => message.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Whether the property is violated by now. One that does not fit yet, or whose history cannot be read just now, is not.
fn violation(history: &Path, name: &str) -> Option<String> {
    let so_far = store::read_history(history).ok()?;
    let named = [name.to_owned()];
    let verdict = check::history(&so_far, Some(&named), &named, LIMITS).ok()?;
    let result = verdict.properties.get(name)?;
    let anomaly = result.anomalies.first();
    (result.verdict == Decision::Violated).then(|| {
        let message = anomaly.map_or("", |a| a.message.as_str());
        format!("{name}: {message}")
    })
}
