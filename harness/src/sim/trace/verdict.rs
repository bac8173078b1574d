//! The end of a trace: which anomaly it tells, when that was there, and what is violated beside.

use super::Told;
use super::clients::micros;
use schism_checkers::verdict::{Anomaly, Decision, PropertyResult};
use schism_history::{EventKind, Process};
use schism_targets::simulator::Micros;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// So many anomalies of the property that the trace is about are told.
const TOLD_MAX: usize = 3;

/// What a trace is about: of all that is violated what is there first.
pub(super) struct Focus<'a> {
    name: &'a str,
    property: &'a PropertyResult,
    /// Those that are there first.
    anomalies: Vec<&'a Anomaly>,
    /// From when on it can be seen; none: only from the whole.
    pub(super) at: Option<Micros>,
}

pub(super) fn focus<'a>(told: &Told<'a>) -> Option<Focus<'a>> {
    let seen = |(name, property): (&'a str, &'a PropertyResult)| {
        let all = property.anomalies.iter();
        let seen = all.map(|anomaly| (seen_at(told, name, anomaly), anomaly));
        let seen: Vec<(Option<Micros>, &Anomaly)> = seen.collect();
        let at = seen.iter().filter_map(|(at, _)| *at).min();
        let first = seen
            .into_iter()
            .filter(|(seen, _)| at.is_none() || *seen == at);
        let anomalies = first.map(|(_, anomaly)| anomaly).collect();
        Focus {
            name,
            property,
            anomalies,
            at,
        }
    };
    violated(told)
        .map(seen)
        .min_by_key(|focus| focus.at.unwrap_or(Micros(u64::MAX)))
}

fn violated<'a>(told: &Told<'a>) -> impl Iterator<Item = (&'a str, &'a PropertyResult)> {
    let properties = told.verdict.properties.iter();
    let violated = properties.filter(|(_, p)| p.decides && p.verdict == Decision::Violated);
    violated.map(|(name, property)| (name.as_ref(), property))
}

/// When the last operation of an anomaly has ended; of a cluster that does not recover, when that was found.
fn seen_at(told: &Told<'_>, name: &str, anomaly: &Anomaly) -> Option<Micros> {
    if name == "recovery" {
        let mut faults = told.history.faults();
        return faults
            .find(|event| event.f == name)
            .map(|event| micros(event.time));
    }
    let (mut open, mut last) = (BTreeMap::new(), None);
    for event in &told.history.events {
        let Process::Client(process) = event.process else {
            continue;
        };
        if event.kind == EventKind::Invoke {
            open.insert(process, event.index);
        } else if open
            .get(&process)
            .is_some_and(|index| anomaly.operations.contains(index))
        {
            last = Some(micros(event.time));
        }
    }
    last
}

/// What is violated, in words: first what the trace is about.
pub(super) fn words(told: &Told<'_>, focus: Option<&Focus<'_>>) -> String {
    let Some(focus) = focus else {
        return undecided(told);
    };
    let mut out = told_of(focus);
    for (other, property) in violated(told).filter(|(other, _)| *other != focus.name) {
        let message = property.anomalies.first().map(|a| a.message.as_str());
        let _ = writeln!(
            out,
            "{other} is violated, too: {}",
            message.unwrap_or_default()
        );
    }
    if violated(told).any(|(_, p)| p.anomalies.iter().any(|a| !a.operations.is_empty())) {
        out.push_str("(* marks the operations that show it)\n");
    }
    out
}

/// Nothing is violated; what could not be decided is told.
fn undecided(told: &Told<'_>) -> String {
    let mut out = "nothing is violated\n".to_owned();
    let all = told.verdict.properties.iter();
    for (name, property) in all.filter(|(_, p)| p.decides && p.verdict == Decision::Unknown) {
        let _ = writeln!(out, "{name} is undecided: {}", property.why);
    }
    out
}

fn told_of(focus: &Focus<'_>) -> String {
    let mut out = format!("{} is violated:\n", focus.name);
    let told = || focus.anomalies.iter().take(TOLD_MAX);
    for anomaly in told() {
        let _ = writeln!(out, "  {}", anomaly.message);
    }
    let more = focus.property.count.saturating_sub(told().len() as u64);
    if more > 0 {
        let _ = writeln!(out, "  and {more} more");
    }
    if let Some(anomaly) = told().next() {
        if !anomaly.cause.is_empty() {
            let _ = writeln!(out, "    cause: {}", anomaly.cause);
        }
        let _ = writeln!(out, "    mend:  {}", anomaly.mend);
    }
    out
}
