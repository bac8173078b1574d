//! `recovery`: after the last heal the target says that it is well, within the declared time, and operations succeed.
//!
//! The driver asks the target's own status once every fault is healed, and writes the answer into the history. A target that
//! does not come back is a finding of its own: its users would still be waiting.

use crate::findings::{Advice, Findings, anomaly};
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property};
use schism_history::{Op, Time};

/// The property.
pub(super) struct Recovery;

const ADVICE: Advice = Advice {
    cause: "No leader can be elected, a follower cannot catch up, or a node ended by itself.",
    mend: "Look at the nodes' logs and status at the end of the run: an election that nobody can win, a follower that \
                    cannot catch up, a node that ended by itself. A longer recovery-limit helps if it was only slow.",
};

const ADVICE_CRASHED: Advice = Advice {
    cause: "The server panicked, ran out of memory or gave up on its disk.",
    mend: "Look at the end of the node's log and of its stderr.",
};

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

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        if findings.out_of_time(budget, || "before it was looked at".to_owned()) {
            return findings.result();
        }
        recovered(history, &mut findings);
        crashed(history, &mut findings, budget);
        findings.result()
    }
}

/// What the target said, and whether clients found it so.
fn recovered(history: &Prepared<'_>, findings: &mut Findings) {
    let Some(event) = history.driver.recovery else {
        findings.doubt(|| {
            "the history ends before the target was asked whether it has recovered".to_owned()
        });
        return;
    };
    if history
        .last_heal()
        .is_some_and(|healed| event.time < healed)
    {
        findings.doubt(|| "the target was not asked after the last heal".to_owned());
        return;
    }
    findings.checked(1);
    let ms = |field: &str| event.value[field].as_f64().unwrap_or_default();
    if event.value["recovered"].as_bool() == Some(true) {
        findings.detail("after_ms", ms("after_ms").round());
        if nothing_succeeds(history, event.time) {
            findings.violate(|| {
                    let message = "The target says that it has recovered, and yet nothing that clients asked of it after the last heal \
                                   succeeded.";
                    anomaly("recovered-in-word-only", refused_after(history), message.to_owned(), &ADVICE)
                });
        }
        return;
    }
    let why = event.value["why"].as_str().unwrap_or("it did not say why");
    findings.violate(|| {
        let message = format!(
            "The target had not recovered {:.1} s after every fault was healed: {why}.",
            ms("within_ms") / 1e3,
        );
        anomaly("not-recovered", refused_after(history), message, &ADVICE)
    });
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

/// A node that ended without anybody asking it to is a finding, whether it came back or not.
fn crashed(history: &Prepared<'_>, findings: &mut Findings, budget: &Budget<'_>) {
    for event in history.history.faults().filter(|e| e.f == "crash") {
        if findings.out_of_time(budget, || format!("at the crash at {}", event.time)) {
            return;
        }
        findings.violate(|| {
            let text = |field: &str| event.value[field].as_str().unwrap_or("?").to_owned();
            let message = format!(
                "{} {} at {} by itself: no fault had asked for its end.",
                text("node"),
                text("how"),
                event.time
            );
            anomaly(
                "crashed",
                in_flight(history, event.time),
                message,
                &ADVICE_CRASHED,
            )
            .with("node", text("node"))
        });
    }
}

/// A few of the operations that were in flight at a moment.
fn in_flight(history: &Prepared<'_>, at: Time) -> Vec<u64> {
    const SHOWN: usize = 5;
    let open = history
        .ops
        .iter()
        .filter(|op| op.start() <= at && op.end() >= at && !op.is_final());
    open.take(SHOWN).map(Op::index).collect()
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
