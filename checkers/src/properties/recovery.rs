//! `recovery`: after the last heal the target says that it is well, within the declared time, and operations succeed.
//!
//! The driver asks the target's own status once every fault is healed, and writes the answer into the history. A target that
//! does not come back is a finding of its own: its users would still be waiting.

use crate::findings::{Findings, anomaly};
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, words};
use schism_history::{Op, Time};

/// The property.
pub(super) struct Recovery;

const MEND: &str = "Look at the nodes' logs and status at the end of the run: an election that nobody can win, a follower that \
                    cannot catch up, a node that ended by itself. A longer recovery-limit helps if it was only slow.";

impl Property for Recovery {
    fn name(&self) -> &'static str {
        "recovery"
    }

    fn summary(&self) -> &'static str {
        "after the last heal the target is healthy again within the declared time"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.is_run()
    }

    fn check(&self, history: &Prepared<'_>, _: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let Some(event) = history.driver.recovery else {
            findings.doubt(|| {
                "the history ends before the target was asked whether it has recovered".to_owned()
            });
            return findings.result();
        };
        if history
            .last_heal()
            .is_some_and(|healed| event.time < healed)
        {
            findings.doubt(|| "the target was not asked after the last heal".to_owned());
            return findings.result();
        }
        findings.checked(1);
        let ms = |field: &str| event.value[field].as_f64().unwrap_or_default();
        if event.value["recovered"].as_bool() == Some(true) {
            findings.detail("after_ms", ms("after_ms").round());
            if nothing_succeeds(history, event.time) {
                findings.violate(|| {
                    let message = "The target says that it has recovered, and yet nothing that clients asked of it after the last heal \
                                   succeeded.";
                    anomaly("recovered-in-word-only", refused_after(history), message.to_owned(), MEND)
                });
            }
            return findings.result();
        }
        let why = event.value["why"].as_str().unwrap_or("it did not say why");
        findings.violate(|| {
            let crashes = crashes(history);
            let message = format!(
                "The target had not recovered {:.1} s after every fault was healed: {why}.{}",
                ms("within_ms") / 1e3,
                if crashes.is_empty() {
                    String::new()
                } else {
                    format!(" Ended by themselves: {crashes}.")
                }
            );
            anomaly("not-recovered", refused_after(history), message, MEND)
        });
        findings.result()
    }
}

/// Whether clients have tried since the target's word, and no operation has succeeded since the last heal.
fn nothing_succeeds(history: &Prepared<'_>, word: Time) -> bool {
    let healed = history.last_heal().unwrap_or(Time::ZERO);
    let tried = history.ops.iter().any(|op| op.start() > word);
    tried
        && !history
            .ops
            .iter()
            .any(|op| op.start() >= healed && op.is_ok())
}

/// Nodes that ended without anybody asking them to.
fn crashes(history: &Prepared<'_>) -> String {
    let events = history.history.faults().filter(|e| e.f == "crash");
    let named =
        |field: &str, e: &schism_history::Event| e.value[field].as_str().unwrap_or("?").to_owned();
    let all: Vec<String> = events
        .map(|e| format!("{} ({})", named("node", e), named("how", e)))
        .collect();
    words::list(&all)
}

/// The last few operations that did not succeed after the last heal: what clients saw of it.
fn refused_after(history: &Prepared<'_>) -> Vec<u64> {
    const SHOWN: usize = 5;
    let healed = history.last_heal().unwrap_or(Time::ZERO);
    let refused = |op: &&Op<'_>| op.start() >= healed && !op.is_ok();
    let mut last: Vec<u64> = history
        .ops
        .iter()
        .rev()
        .filter(refused)
        .take(SHOWN)
        .map(Op::index)
        .collect();
    last.reverse();
    last
}
