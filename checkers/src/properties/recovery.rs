//! `recovery`: after the last heal the target says that it is well, within the declared time, and operations succeed.
//!
//! The driver asks the target's own status once every fault is healed, and writes the answer into the history. A target that
//! does not come back is a finding of its own: its users would still be waiting.

use crate::findings::{Advice, Findings, anomaly};
use crate::verdict::PropertyResult;
use crate::{Budget, Fault, Prepared, Property};
use schism_history::{Event, Op, Time};

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
        within_windows(history, &mut findings);
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

const ADVICE_LATE: Advice = Advice {
    cause: "Time-outs are longer than the window: for an election, for a connection that is tried again, for a follower that catches up.",
    mend: "Look at when a leader was there again, and at when followers had caught up; shorten the time-out that took longest, or declare a longer window.",
};

/// What was declared for single faults: that the target is well again within a time after the heal.
fn within_windows(history: &Prepared<'_>, findings: &mut Findings) {
    let told = history
        .nemesis
        .iter()
        .filter(|e| e.value["stage"] == "recovered");
    let mut open = 0;
    for event in told {
        let value = &event.value;
        let (Some(within), Some(fault)) = (value["within_ms"].as_f64(), of(history, event)) else {
            continue;
        };
        let Some(recovered) = value["recovered"].as_bool() else {
            // Another fault came, or was in force: nobody can say when it would have been.
            open += 1;
            continue;
        };
        findings.checked(1);
        let ms = |field: &str| value[field].as_f64();
        let after = ms("after_ms").unwrap_or(f64::INFINITY);
        if recovered && after <= within {
            continue;
        }
        // Only the target's own no, to a question that was asked when the time was over, proves that it was late: a slow harness asks late.
        if ms("not_yet_ms").is_none_or(|asked| asked < within) {
            findings.doubt(|| {
                format!(
                    "nobody asked at the right moment whether the target had recovered from {}",
                    fault.phrase()
                )
            });
            continue;
        }
        findings.violate(|| {
            let seconds = |ms: f64| format!("{:.2} s", ms / 1e3);
            let found = if recovered {
                format!("it took {}", seconds(after))
            } else {
                let why = value["why"].as_str().unwrap_or("it did not say why");
                format!("it had not by then: {why}")
            };
            let message = format!(
                "The target was to recover from {} within {} of its heal; {found}.",
                fault.phrase(),
                seconds(within)
            );
            let from = fault.heal.unwrap_or(fault.inject);
            anomaly(
                "recovered-late",
                refused_between(history, from, event.time),
                message,
                &ADVICE_LATE,
            )
            .with("fault", fault.id)
        });
    }
    if open > 0 {
        findings.detail("windows_not_judged", open);
    }
}

fn of<'h>(history: &'h Prepared<'_>, event: &Event) -> Option<&'h Fault> {
    let id = event.value["fault"].as_u64()?;
    history.faults.iter().find(|f| f.id == id)
}

/// A few of the operations between two moments that did not succeed.
fn refused_between(history: &Prepared<'_>, from: Time, to: Time) -> Vec<u64> {
    const SHOWN: usize = 5;
    let refused = |op: &&Op<'_>| op.start() >= from && op.start() <= to && !op.is_ok();
    let refused = history.ops.iter().filter(refused);
    refused.take(SHOWN).map(Op::index).collect()
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
