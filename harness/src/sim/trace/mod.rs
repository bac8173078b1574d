//! A simulation as a person reads it: who sent what to whom, beside what clients saw, a line for each event, and the anomaly in the end.
//!
//! What tells nothing new is only counted: a heartbeat like the last one on its link, and its answer. Before the clients begin only what nodes say
//! of themselves is told.

use schism_checkers::verdict::{Decision, Verdict};
use schism_history::{Event, EventKind, History, Process, Time};
use schism_targets::simulator::{Fate, Happened, Host, Link, Micros, Traced};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What there is to tell.
pub struct Told<'a> {
    /// What clients saw, and the faults.
    pub history: &'a History,
    /// What happened inside.
    pub trace: &'a [Traced],
    /// What is wrong with it.
    pub verdict: &'a Verdict,
    /// How many clients there are: whose process is whose.
    pub clients: u64,
}

/// One line.
struct Row {
    at: Micros,
    side: Side,
    text: String,
    /// Whether an anomaly names it.
    marked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Clients,
    Cluster,
    /// A fault comes or goes.
    Fault,
}

/// The whole trace.
pub fn text(told: &Told<'_>) -> String {
    let begun = begun(told.history);
    let mut rows: Vec<Row> = of_history(told);
    rows.extend(of_cluster(told.trace, begun));
    // Stable: what clients do comes before what follows from it in the same moment.
    rows.sort_by_key(|row| row.at);
    let wide = rows.iter().filter(|row| row.side == Side::Clients);
    let wide = wide
        .map(|row| row.text.chars().count())
        .max()
        .unwrap_or(0)
        .max(7);
    let mut out = format!("{:>11}  {:<wide$}  the cluster\n", "ms", "clients");
    for row in &rows {
        line(&mut out, row, wide);
    }
    out.push('\n');
    out.push_str(&anomalies(told));
    out
}

fn line(out: &mut String, row: &Row, wide: usize) {
    let (at, text) = (row.at.as_millis_f64(), &row.text);
    let mark = if row.marked { '*' } else { ' ' };
    let _ = match row.side {
        Side::Clients => writeln!(out, "{at:>11.3} {mark}{text}"),
        Side::Cluster => writeln!(out, "{at:>11.3}  {:<wide$}  {text}", ""),
        Side::Fault => writeln!(out, "{at:>11.3}  {:<wide$}  === {text}", ""),
    };
}

/// The last lines, so many at most, and how many there were before.
pub fn tail(text: &str, lines_max: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some(left_out) = lines.len().checked_sub(lines_max).filter(|n| *n > 0) else {
        return text.to_owned();
    };
    format!(
        "... {left_out} lines before\n{}\n",
        lines[left_out..].join("\n")
    )
}

fn begun(history: &History) -> Micros {
    let main = history.faults().find(|e| e.value["phase"] == "main");
    micros(main.map_or(Time::ZERO, |e| e.time))
}

fn micros(time: Time) -> Micros {
    Micros(time.0 / 1000)
}

// ---- clients and faults

fn of_history(told: &Told<'_>) -> Vec<Row> {
    let named = named(told.verdict);
    let mut open = BTreeMap::new();
    let mut faults = BTreeMap::new();
    let rows = told.history.events.iter().filter_map(|event| {
        let at = micros(event.time);
        let Process::Client(process) = event.process else {
            let (side, marked) = (Side::Fault, false);
            return fault_words(event, &mut faults).map(|text| Row {
                at,
                side,
                text,
                marked,
            });
        };
        if event.kind == EventKind::Invoke {
            open.insert(process, event.index);
        }
        Some(Row {
            at,
            side: Side::Clients,
            text: client_words(event, process, told.clients),
            marked: open
                .get(&process)
                .is_some_and(|index| named.contains(index)),
        })
    });
    rows.collect()
}

/// The operations that anomalies of deciding properties name.
fn named(verdict: &Verdict) -> BTreeSet<u64> {
    let violated = verdict.properties.values().filter(|p| p.decides);
    let anomalies = violated.flat_map(|p| &p.anomalies);
    anomalies
        .flat_map(|a| a.operations.iter().copied())
        .collect()
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
    let key = event.key.as_ref().map(|key| format!(" {key}"));
    let (f, key) = (&event.f, key.unwrap_or_default());
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
    format!("{who} {f}{key}{value}{end}")
}

// ---- the cluster

/// What was said last on each link, and how much that told nothing new was left out since the last line.
#[derive(Default)]
struct Folded {
    last: BTreeMap<Link, (String, bool)>,
    repeated: usize,
}

fn of_cluster(trace: &[Traced], begun: Micros) -> Vec<Row> {
    let mut folded = Folded::default();
    let mut rows = Vec::new();
    for traced in trace {
        let text = match &traced.what {
            Happened::Sent {
                link,
                text,
                cut,
                fate,
            } => folded.sent(*link, text, *cut, *fate, traced.at < begun),
            _ if traced.at < begun && !is_of_node(&traced.what) => None,
            Happened::Unheard { link } => Some(format!(
                "{} -> {}  is not heard: {} is down",
                link.from, link.to, link.to
            )),
            Happened::Node { node, text } => Some(format!("{node} {text}")),
            Happened::Synced { node, text } => Some(format!("{node} has on disk: {text}")),
        };
        if let Some(text) = text {
            rows.extend(folded.told(traced.at));
            rows.push(row(traced.at, text));
        }
    }
    rows
}

fn is_of_node(what: &Happened) -> bool {
    matches!(what, Happened::Node { .. })
}

fn row(at: Micros, text: String) -> Row {
    let (side, marked) = (Side::Cluster, false);
    Row {
        at,
        side,
        text,
        marked,
    }
}

impl Folded {
    /// The line of a message, unless it tells nothing new, or comes too early.
    fn sent(
        &mut self,
        link: Link,
        text: &str,
        cut: bool,
        fate: Option<Fate>,
        early: bool,
    ) -> Option<String> {
        let said = (text.to_owned(), cut);
        let between_nodes = matches!((link.from, link.to), (Host::Node(_), Host::Node(_)));
        let known = self.last.get(&link) == Some(&said);
        self.last.insert(link, said);
        if early {
            return None;
        }
        if between_nodes && known && fate.is_none() {
            self.repeated += 1;
            return None;
        }
        Some(format!(
            "{} -> {}  {text}{}",
            link.from,
            link.to,
            mark(cut, fate)
        ))
    }

    /// The line of what was left out.
    fn told(&mut self, at: Micros) -> Option<Row> {
        let text = match std::mem::take(&mut self.repeated) {
            0 => return None,
            1 => "(1 message that tells nothing new)".to_owned(),
            n => format!("({n} messages that tell nothing new)"),
        };
        Some(row(at, text))
    }
}

fn mark(cut: bool, fate: Option<Fate>) -> String {
    match (cut, fate) {
        (true, _) => "  [LOST: cut off]".to_owned(),
        (_, Some(Fate::Lost)) => "  [LOST]".to_owned(),
        (_, Some(Fate::Late(by))) => format!("  [LATE by {:.3} ms]", by.as_millis_f64()),
        (_, Some(Fate::Twice(again))) => {
            format!("  [TWICE, again {:.3} ms later]", again.as_millis_f64())
        }
        (_, None) => String::new(),
    }
}

// ---- the end

fn anomalies(told: &Told<'_>) -> String {
    let mut out = String::new();
    let deciding = told.verdict.properties.iter().filter(|(_, p)| p.decides);
    for (name, property) in deciding.filter(|(_, p)| p.verdict == Decision::Violated) {
        let _ = writeln!(out, "{name} is violated:");
        for anomaly in &property.anomalies {
            let _ = writeln!(out, "  {}", anomaly.message);
            if !anomaly.cause.is_empty() {
                let _ = writeln!(out, "    cause: {}", anomaly.cause);
            }
            let _ = writeln!(out, "    mend:  {}", anomaly.mend);
        }
    }
    if out.is_empty() {
        out.push_str("nothing is violated\n");
    } else if told
        .verdict
        .properties
        .values()
        .any(|p| !p.anomalies.is_empty())
    {
        out.push_str("(* marks the operations that show it)\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use schism_checkers::{Budget, check};
    use schism_history::jsonl;

    /// A write that is acknowledged and gone, as a simulation writes it down.
    const HISTORY: &str = r#"{"format":"schism-history","version":1}
{"time":5000000,"process":"nemesis","type":"info","f":"phase","value":{"phase":"main"}}
{"time":5000000,"process":"nemesis","type":"info","f":"partition","value":{"fault":1,"stage":"inject","nodes":["n1"],"what":"partition: n1 alone"}}
{"time":6000000,"process":0,"type":"invoke","f":"add","key":"s0","value":1}
{"time":7000000,"process":0,"type":"ok","f":"add","key":"s0","value":1,"node":"n1"}
{"time":7500000,"process":1,"type":"invoke","f":"add","key":"s0","value":2}
{"time":8000000,"process":1,"type":"info","f":"add","key":"s0","value":2,"error":{"kind":"timeout"}}
{"time":9000000,"process":"nemesis","type":"info","f":"partition","value":{"fault":1,"stage":"heal"}}
{"time":9500000,"process":"nemesis","type":"info","f":"recovery","value":{"recovered":true,"after_ms":0.5}}
{"time":9500000,"process":"nemesis","type":"info","f":"phase","value":{"phase":"final-reads"}}
{"time":9600000,"process":7,"type":"invoke","f":"read","key":"s0","value":null,"node":"n2","final":true}
{"time":9700000,"process":7,"type":"ok","f":"read","key":"s0","value":[],"node":"n2","final":true}
"#;

    fn sent(at: u64, (from, to): (usize, usize), text: &str, fate: Option<Fate>) -> Traced {
        let (from, to) = (Host::Node(from), Host::Node(to));
        Traced {
            at: Micros(at),
            what: Happened::Sent {
                link: Link { from, to },
                text: text.to_owned(),
                cut: from == Host::Node(0),
                fate,
            },
        }
    }

    fn trace() -> Vec<Traced> {
        let heartbeat = "heartbeat after 1, term 1, committed 1";
        let (node, text) = (Host::Node(0), "leader of term 1, log up to 0".to_owned());
        let leads = Happened::Node { node, text };
        let (node, text) = (Host::Node(0), "log 2".to_owned());
        let synced = Happened::Synced { node, text };
        vec![
            Traced {
                at: Micros(1000),
                what: leads,
            },
            sent(2000, (1, 2), "vote for me", None),
            sent(6100, (0, 1), "append 2 after 1, term 1, committed 1", None),
            Traced {
                at: Micros(6500),
                what: synced,
            },
            sent(6600, (0, 2), heartbeat, None),
            sent(6700, (0, 2), heartbeat, None),
            sent(6800, (0, 2), heartbeat, None),
            sent(8500, (1, 2), "vote for me", Some(Fate::Twice(Micros(1500)))),
            sent(
                8600,
                (1, 2),
                "pre-vote for me",
                Some(Fate::Late(Micros(2500))),
            ),
            sent(8700, (2, 1), "yes", Some(Fate::Lost)),
        ]
    }

    #[test]
    fn who_said_what_to_whom_stands_beside_what_clients_saw() {
        let history = jsonl::read(HISTORY.as_bytes()).unwrap();
        let deciding = ["lost-writes".to_owned()];
        let named = Some(&deciding[..]);
        let verdict = check(&history, named, &deciding, &Budget::unlimited()).unwrap();
        let told = Told {
            history: &history,
            trace: &trace(),
            verdict: &verdict,
            clients: 1,
        };
        insta::assert_snapshot!(text(&told));
    }

    #[test]
    fn the_end_of_a_long_one_says_how_much_there_was_before() {
        assert_eq!(tail("a\nb\n", 2), "a\nb\n");
        assert_eq!(tail("a\nb\nc\n", 2), "... 1 lines before\nb\nc\n");
    }
}
