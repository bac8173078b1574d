//! What clients saw, and what was done to the cluster, as lines.

use super::Told;
use super::row::{OfClient, Row, What, names};
use schism_checkers::verdict::Verdict;
use schism_history::{Event, EventKind, Process, Time};
use schism_targets::simulator::{Host, Micros};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn micros(time: Time) -> Micros {
    Micros(time.0 / 1000)
}

/// When this stage of the simulation began.
pub(super) fn began(told: &Told<'_>, phase: &str) -> Option<Micros> {
    let mut faults = told.history.faults();
    let begun = faults.find(|event| event.value["phase"] == phase);
    begun.map(|event| micros(event.time))
}

/// Each event a line.
pub(super) fn all(told: &Told<'_>) -> Vec<Row> {
    let named = named(told.verdict);
    let (mut open, mut faults) = (BTreeMap::new(), BTreeMap::new());
    let rows = told.history.events.iter().filter_map(|event| {
        let at = micros(event.time);
        let Process::Client(process) = event.process else {
            let (what, marked) = (What::Fault(fault_words(event, &mut faults)?), false);
            return Some(Row { at, what, marked });
        };
        if event.kind == EventKind::Invoke {
            open.insert(process, event.index);
        }
        let index = open.get(&process);
        let marked = index.is_some_and(|index| named.contains(index));
        let what = What::Client(of_client(event, process, told.clients));
        Some(Row { at, what, marked })
    });
    rows.collect()
}

/// The same without the final reads, and in their place what the replicas hold, a line a key: those that an anomaly names, or in which they differ.
pub(super) fn with_reads_together(told: &Told<'_>) -> Vec<Row> {
    let mut rows = all(told);
    rows.retain(|row| match &row.what {
        What::Client(client) => !client.text.starts_with('('),
        _ => true,
    });
    rows.extend(held(told));
    rows
}

/// What the replicas hold of one key: by what was read, who holds it.
#[derive(Default)]
struct Held {
    by_value: BTreeMap<String, Vec<Host>>,
    marked: bool,
}

fn held(told: &Told<'_>) -> Vec<Row> {
    let (mut held, at) = read_in_the_end(told);
    let all = held.len();
    held.retain(|_, held| held.marked || held.by_value.len() > 1);
    let left_out = all - held.len();
    let words = held.into_iter().map(|(what, held)| {
        let who = held.by_value.iter();
        let who: Vec<String> = who.map(|(v, who)| format!("{}: {v}", names(who))).collect();
        (format!("finally {what}  {}", who.join("   ")), held.marked)
    });
    let alike = (left_out > 0).then(|| {
        let keys = if left_out == 1 { "key" } else { "keys" };
        (
            format!("finally alike on all nodes: {left_out} {keys}"),
            false,
        )
    });
    let row = |(text, marked)| Row {
        at,
        what: What::Final(text),
        marked,
    };
    words.chain(alike).map(row).collect()
}

fn read_in_the_end(told: &Told<'_>) -> (BTreeMap<String, Held>, Micros) {
    let named = named(told.verdict);
    let (mut open, mut held, mut at) = (BTreeMap::new(), BTreeMap::new(), Micros::ZERO);
    for event in told.history.events.iter().filter(|event| event.is_final) {
        if event.kind == EventKind::Invoke {
            open.insert(event.process, event.index);
            continue;
        }
        let host = event
            .node
            .as_ref()
            .and_then(|node| node.to_string().parse::<Host>().ok());
        let of_key: &mut Held = held.entry(what_words(event)).or_default();
        let index = open.get(&event.process);
        of_key.marked |= index.is_some_and(|index| named.contains(index));
        of_key
            .by_value
            .entry(value_words(event))
            .or_default()
            .extend(host);
        at = micros(event.time);
    }
    (held, at)
}

fn value_words(event: &Event) -> String {
    match event.kind {
        EventKind::Ok => event.value.to_string(),
        _ => event.error_kind().unwrap_or("no answer").to_owned(),
    }
}

/// The operations that anomalies of deciding properties name.
fn named(verdict: &Verdict) -> BTreeSet<u64> {
    let violated = verdict.properties.values().filter(|p| p.decides);
    let anomalies = violated.flat_map(|p| &p.anomalies);
    let operations = anomalies.flat_map(|anomaly| anomaly.operations.iter().copied());
    operations.collect()
}

fn fault_words(event: &Event, faults: &mut BTreeMap<u64, String>) -> Option<String> {
    let id = event.value["fault"].as_u64();
    match (event.value["stage"].as_str(), id) {
        (Some("inject"), Some(id)) => {
            let what = event.value["what"].as_str().unwrap_or_default().to_owned();
            faults.insert(id, what.clone());
            Some(format!("fault {id}: {what}"))
        }
        (Some("heal"), Some(id)) => Some(format!("healed, fault {id}: {}", faults.get(&id)?)),
        _ if event.f == "recovery" => Some(match event.value["why"].as_str() {
            None => "the cluster has recovered".to_owned(),
            Some(why) => format!("the cluster has not recovered: {why}"),
        }),
        _ => match event.value["phase"].as_str()? {
            "main" => Some("the clients begin".to_owned()),
            "final-reads" => Some("every replica is read".to_owned()),
            _ => None,
        },
    }
}

fn of_client(event: &Event, process: u64, clients: u64) -> OfClient {
    OfClient {
        host: Host::Client((process % clients) as usize),
        text: client_words(event, process, clients),
        ends: event.kind != EventKind::Invoke,
        beside: None,
    }
}

/// `c3 write r0 7 ...` and, when it ends, `c3 write r0 7: ok`. A client that goes on as another process shows its number.
fn client_words(event: &Event, process: u64, clients: u64) -> String {
    let who = if event.is_final {
        let node = event.node.as_ref().map(ToString::to_string);
        format!("({process}) {}", node.unwrap_or_default())
    } else if process < clients {
        format!("c{process}")
    } else {
        format!("c{} ({process})", process % clients)
    };
    let value = match &event.value {
        Value::Null if event.kind != EventKind::Ok => String::new(),
        value => format!(" {value}"),
    };
    let end = match event.kind {
        EventKind::Invoke => " ...".to_owned(),
        EventKind::Ok => ": ok".to_owned(),
        EventKind::Fail => format!(": fail, {}", event.error_kind().unwrap_or("no reason")),
        EventKind::Info => format!(": info, {}", event.error_kind().unwrap_or("no reason")),
    };
    format!("{who} {}{value}{end}", what_words(event))
}

/// `read r0`.
fn what_words(event: &Event) -> String {
    let key = event.key.as_ref().map(|key| format!(" {key}"));
    format!("{}{}", event.f, key.unwrap_or_default())
}
