//! `availability`: as large a share of the attempts succeeds as was declared, no outage is longer, and leaders do not change more often.
//!
//! What is declared stands in the history as the driver's event `declared`: `{"availability": {"share": 0.5, "outage_ms": 2000, "leader_changes": 3}}`, each
//! figure optional. Counted are the clients' operations from the beginning of the load to the heal; the share is that of the attempts invoked while a
//! fault was in force (of all, where there was none). An orderly refusal of what was asked (`precondition`, `empty`,
//! `insufficient-funds`) is a success: the service was there. An outage lasts from the first
//! attempt after a success to the next success; where nobody tries nothing is out. Leaders change as often as there are terms in which operations were acknowledged, less one. Linear.

use crate::findings::{Advice, Findings, anomaly};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Phase, Prepared, Property, words};
use schism_history::{Op, Outcome, Time};
use serde_json::Value;
use std::collections::BTreeMap;

/// The property.
pub(super) struct Availability;

const ADVICE: Advice = Advice {
    cause: "Operations need more nodes than the fault leaves (all under ack=sync, a quorum, the leader under failover=off), or a new leader takes too long.",
    mend: "Need a majority and no more (ack=majority), replace a silent follower (ack=semi-sync), and elect soon (failover=consensus, a shorter \
           election-timeout).",
};
const ADVICE_CHANGES: Advice = Advice {
    cause: "Heartbeats come too late, behind client requests or through a slow network, so a leader that is well is deposed.",
    mend: "Send heartbeats ahead of client work, refuse what is too much (503), and give elections more time.",
};

impl Property for Availability {
    fn name(&self) -> &'static str {
        "availability"
    }

    fn summary(&self) -> &'static str {
        "enough operations succeed, no outage is too long, and leaders do not change too often, as declared"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        declared(history).is_some()
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let Some(declared) = declared(history) else {
            return PropertyResult::unknown("nothing is declared");
        };
        let load = Load::new(history);
        findings.checked(load.attempts.len());
        if findings.out_of_time(budget, || "before the attempts were counted".to_owned()) {
            return findings.result();
        }
        if load.attempts.is_empty() {
            findings.doubt(|| "nothing was attempted".to_owned());
            return findings.result();
        }
        if let Some(share) = declared["share"].as_f64() {
            load.share(history, share, &mut findings, budget);
        }
        if let Some(ms) = declared["outage_ms"].as_f64() {
            load.outages(ms, &mut findings, budget);
        }
        if let Some(most) = declared["leader_changes"].as_u64() {
            load.leader_changes(most as usize, &mut findings);
        }
        findings.result()
    }
}

fn declared<'h>(history: &Prepared<'h>) -> Option<&'h Value> {
    history.driver.declared?.value.get("availability")
}

/// The attempts from the beginning of the load to the heal, by invocation.
struct Load<'p, 'h> {
    from: Time,
    to: Time,
    attempts: Vec<&'p Op<'h>>,
}

/// The kinds of an orderly refusal: the state forbids what was asked.
const ORDERLY: [&str; 3] = ["precondition", "empty", "insufficient-funds"];

fn succeeded(op: &Op<'_>) -> bool {
    let refused = op.completion.and_then(|c| c.error_kind());
    op.is_ok() || refused.is_some_and(|kind| ORDERLY.contains(&kind))
}

impl<'p, 'h> Load<'p, 'h> {
    fn new(history: &'p Prepared<'h>) -> Self {
        let phase = |name: &str| history.driver.phases.iter().find(|(n, _)| n == name);
        let from = phase("main").map_or(Time::ZERO, |(_, at)| *at);
        let last = history.history.events.last().map_or(Time::ZERO, |e| e.time);
        let to = phase("heal").map_or(last, |(_, at)| *at);
        let counts = |op: &&Op<'_>| !op.is_final() && op.start() >= from && op.start() < to;
        Self {
            from,
            to,
            attempts: history.ops.iter().filter(counts).collect(),
        }
    }

    fn share(
        &self,
        history: &Prepared<'_>,
        least: f64,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) {
        let during = |op: &Op<'_>| history.faults.is_empty() || history.phase(op) == Phase::During;
        let (mut good, mut bad): (Vec<&Op<'_>>, Vec<&Op<'_>>) = (Vec::new(), Vec::new());
        for (done, op) in self.attempts.iter().enumerate() {
            if findings.out_of_time_after(budget, (done, self.attempts.len()), || {
                "attempts".to_owned()
            }) {
                return;
            }
            if during(op) {
                if succeeded(op) { &mut good } else { &mut bad }.push(op);
            }
        }
        let all = good.len() + bad.len();
        if all == 0 {
            findings.doubt(|| "nothing was attempted while a fault was in force".to_owned());
            return;
        }
        let share = good.len() as f64 / all as f64;
        findings.detail("share", (share * 1e4).round() / 1e4);
        if share < least {
            findings.violate(|| {
                let during = if history.faults.is_empty() {
                    ""
                } else {
                    " while a fault was in force"
                };
                let message = format!(
                    "Of {}{during}, {} succeeded: {:.1} %, and {:.1} % are declared.",
                    words::plural(all, "attempt"),
                    good.len(),
                    share * 100.0,
                    least * 100.0
                );
                named("too-few-succeed", &bad, message)
            });
        }
    }

    /// Stretches from the first attempt after a success to the next success, or to the end of the load.
    fn outages(&self, most_ms: f64, findings: &mut Findings, budget: &Budget<'_>) {
        let successes = self.attempts.iter().filter(|op| succeeded(op));
        let mut ends: Vec<Time> = successes.map(|op| op.end().min(self.to)).collect();
        ends.push(self.to);
        ends.sort_unstable();
        let (mut longest, mut last) = (0.0_f64, self.from);
        let all = ends.len();
        for (done, end) in ends.into_iter().enumerate() {
            if findings.out_of_time_after(budget, (done, all), || "successes".to_owned()) {
                return;
            }
            let from = self.attempts.partition_point(|op| op.start() < last);
            let before = self.attempts.partition_point(|op| op.start() < end);
            last = end;
            let Some(waiting) = self.attempts.get(from..before) else {
                continue;
            };
            let Some(first) = waiting.first() else {
                continue;
            };
            let ms = end.since(first.start()) as f64 / 1e6;
            longest = longest.max(ms);
            if ms > most_ms {
                findings.violate(|| outage(waiting, first.start(), end, most_ms));
            }
        }
        findings.detail("longest_outage_ms", (longest * 1e3).round() / 1e3);
    }

    fn leader_changes(&self, most: usize, findings: &mut Findings) {
        let mut terms: BTreeMap<u64, &Op<'_>> = BTreeMap::new();
        for op in self
            .attempts
            .iter()
            .filter(|op| op.outcome() == Outcome::Ok)
        {
            if let Some(term) = words::term(op) {
                terms.entry(term).or_insert(op);
            }
        }
        if terms.is_empty() {
            findings.doubt(|| "no answer says in which term it was given".to_owned());
            return;
        }
        let changes = terms.len() - 1;
        findings.detail("leader_changes", changes);
        if changes > most {
            findings.violate(|| {
                let message = format!(
                    "Operations were acknowledged in {} different terms: the leader changed {}, and {most} are declared.",
                    terms.len(),
                    words::plural(changes, "time"),
                );
                let operations = terms.values().map(|op| op.index()).collect();
                anomaly("leader-changes", operations, message, &ADVICE_CHANGES)
            });
        }
    }
}

fn outage(waiting: &[&Op<'_>], from: Time, to: Time, most_ms: f64) -> Anomaly {
    let message = format!(
        "Nothing succeeded for {} ({from} to {to}), in which {} began: at most {most_ms} ms are declared.",
        words::span(from, to),
        words::plural(waiting.len(), "attempt"),
    );
    named("outage", waiting, message)
}

/// How many operations an anomaly names at most. Any failures are too few successes, and an outage is told by its first attempt and its end.
const NAMED: usize = 1000;

/// Names all of these, or the first ones, the last ones and the first success, and says how many there are.
fn named(name: &str, ops: &[&Op<'_>], message: String) -> Anomaly {
    let index = |op: &&Op<'_>| op.index();
    if ops.len() <= NAMED {
        return anomaly(name, ops.iter().map(index).collect(), message, &ADVICE);
    }
    let (first, last) = (&ops[..NAMED / 2], &ops[ops.len() - NAMED / 2 + 1..]);
    let success = ops.iter().filter(|op| succeeded(op));
    let success = success.min_by_key(|op| op.end());
    let some = first.iter().chain(last).chain(success).map(index);
    anomaly(name, some.collect(), message, &ADVICE).with("operations_in_all", ops.len())
}
