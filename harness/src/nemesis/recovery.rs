//! How long the target takes to be well again after a heal: its own word, asked for as soon as no fault is in force.

use super::Planned;
use crate::drive::Recorder;
use crate::status::Watcher;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Asks after heals, of one at a time: while another fault is in force there is nothing to be told.
pub(super) struct Recovery {
    recorder: Arc<Recorder>,
    watcher: Watcher,
    /// How long is asked where no window is declared.
    limit: Duration,
    asked: Option<(Planned, JoinHandle<()>)>,
}

impl Recovery {
    pub(super) fn new(recorder: Arc<Recorder>, watcher: Watcher, limit: Duration) -> Self {
        Self {
            recorder,
            watcher,
            limit,
            asked: None,
        }
    }

    /// After a heal that was asked for at `requested`; `others` are the faults that are in force still.
    pub(super) fn healed(&mut self, planned: &Planned, requested: Instant, others: &[u64]) {
        if let Some(other) = others.first() {
            let why = format!("fault {other} was in force");
            return open(&self.recorder, planned, &why);
        }
        let (recorder, watcher) = (Arc::clone(&self.recorder), self.watcher.clone());
        let limit = planned.recovers_within.unwrap_or(self.limit);
        let fault = planned.clone();
        let task = tokio::spawn(async move {
            let told = watcher.word(requested + limit).await;
            let ms = |at: Instant| {
                let after = at.duration_since(requested).as_secs_f64();
                (after * 1e6).round() / 1e3
            };
            let mut value = json!({"recovered": told.word.is_ok(), "after_ms": ms(Instant::now())});
            if let Some(no) = told.last_no {
                value["not_yet_ms"] = json!(ms(no));
            }
            if let Err(why) = told.word {
                value["why"] = json!(why);
            }
            tell(&recorder, &fault, value);
        });
        self.asked = Some((planned.clone(), task));
    }

    /// Another fault comes: what has not been told by now will never be.
    pub(super) fn disturbed(&mut self, by: u64) {
        if let Some((planned, task)) = self.asked.take()
            && !task.is_finished()
        {
            task.abort();
            open(&self.recorder, &planned, &format!("fault {by} came"));
        }
    }

    /// Waits for the last word.
    pub(super) async fn settle(&mut self) {
        if let Some((_, task)) = self.asked.take() {
            // One that panicked has told nothing; the driver asks for itself.
            let _ = task.await;
        }
    }
}

/// Nobody can say when it recovered.
fn open(recorder: &Recorder, planned: &Planned, why: &str) {
    tell(recorder, planned, json!({"recovered": null, "why": why}));
}

fn tell(recorder: &Recorder, planned: &Planned, told: Value) {
    let mut value = Map::from_iter([
        ("fault".to_owned(), json!(planned.id)),
        ("stage".to_owned(), json!("recovered")),
    ]);
    if let Some(within) = planned.recovers_within {
        value.insert("within_ms".to_owned(), json!(within.as_secs_f64() * 1e3));
    }
    if let Value::Object(told) = told {
        value.extend(told);
    }
    recorder.nemesis(planned.family, Value::Object(value));
}
