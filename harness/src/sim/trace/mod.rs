//! A simulation as a person reads it: who sent what to whom, beside what clients saw, a line for each event, and the anomaly in the end.
//!
//! [`Extent::Short`] is what a reader needs: the elections before the clients begin, what repeats itself once, final reads a line a key, and nothing after
//! the anomaly is there. [`Extent::Whole`] leaves nothing out.

mod clients;
mod cluster;
mod cut;
mod fold;
mod row;
mod verdict;

use row::{Row, What, lay_out};
use schism_checkers::verdict::Verdict;
use schism_history::History;
use schism_targets::simulator::Traced;

/// What there is to tell.
pub struct Told<'a> {
    /// What was simulated, in a line.
    pub title: &'a str,
    /// What clients saw, and the faults.
    pub history: &'a History,
    /// What happened inside.
    pub trace: &'a [Traced],
    /// What is wrong with it.
    pub verdict: &'a Verdict,
    /// How many clients there are: whose process is whose.
    pub clients: u64,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Extent {
    /// What a reader needs.
    Short,
    /// Everything.
    #[value(name = "all")]
    Whole,
}

/// What a short one says of itself.
const LEFT_OUT: &str = "(what repeats itself is told once, and nothing that comes after: `--trace all` tells everything)\n";

/// The trace.
pub fn text(told: &Told<'_>, extent: Extent) -> String {
    let focus = verdict::focus(told);
    let rows = match extent {
        Extent::Whole => in_order(clients::all(told), cluster::all(told.trace)),
        Extent::Short => {
            let mut inside = cluster::all(told.trace);
            inside.retain(cut::interests(told));
            let seen = clients::with_reads_together(told);
            let mut rows = in_order(seen, inside);
            cut::end(told, &mut rows, focus.as_ref());
            cut::shorten(fold::fold(rows))
        }
    };
    let (title, end) = (told.title, verdict::words(told, focus.as_ref()));
    let left_out = if extent == Extent::Short {
        LEFT_OUT
    } else {
        ""
    };
    format!("{title}\n{}\n{end}{left_out}", lay_out(&rows))
}

/// By time; stable: what clients do comes before what follows from it in the same moment, what the replicas hold in the end comes last.
fn in_order(mut rows: Vec<Row>, inside: Vec<Row>) -> Vec<Row> {
    rows.extend(inside);
    rows.sort_by_key(|row| (row.at, matches!(row.what, What::Final(_))));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use schism_checkers::{Budget, check};
    use schism_history::jsonl;
    use schism_targets::simulator::{Fate, Happened, Host, Link, Micros};

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
                elects: text == "vote for me",
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
            sent(6100, (0, 2), "append 2 after 1, term 1, committed 1", None),
            Traced {
                at: Micros(6500),
                what: synced,
            },
            sent(6600, (0, 2), heartbeat, None),
            sent(6700, (0, 2), heartbeat, None),
            sent(6800, (0, 2), heartbeat, None),
            sent(6900, (0, 2), heartbeat, None),
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
            title: "a target",
            history: &history,
            trace: &trace(),
            verdict: &verdict,
            clients: 1,
        };
        insta::assert_snapshot!("short", text(&told, Extent::Short));
        insta::assert_snapshot!("whole", text(&told, Extent::Whole));
    }
}
