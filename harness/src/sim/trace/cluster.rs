//! What happened inside, as lines: each message when it is sent, with what becomes of it.

use super::row::{Inside, Kind, Row, What};
use schism_targets::simulator::{Fate, Happened, Host, Link, Micros, Traced};

/// Each thing a line.
pub(super) fn all(trace: &[Traced]) -> Vec<Row> {
    let row = |traced: &Traced| Row {
        at: traced.at,
        what: What::Inside(inside(traced)),
        marked: false,
    };
    trace.iter().map(row).collect()
}

fn inside(traced: &Traced) -> Inside {
    match &traced.what {
        Happened::Sent {
            link,
            text,
            cut,
            fate,
            elects,
        } => Inside {
            text: format!("{text}{}", mark(*cut, *fate)),
            fated: fate.is_some(),
            elects: *elects,
            ..sent(traced.at, Kind::Sent, *link)
        },
        Happened::Unheard { link } => sent(traced.at, Kind::Unheard, *link),
        Happened::Node { node, text } => at_node(traced.at, Kind::Note, *node, text),
        Happened::Synced { node, text } => at_node(traced.at, Kind::Synced, *node, text),
    }
}

fn sent(at: Micros, kind: Kind, link: Link) -> Inside {
    Inside {
        to: vec![link.to],
        ..at_node(at, kind, link.from, "")
    }
}

fn at_node(at: Micros, kind: Kind, node: Host, text: &str) -> Inside {
    Inside {
        kind,
        from: vec![node],
        to: Vec::new(),
        text: text.to_owned(),
        fated: false,
        elects: false,
        again: 0,
        last: at,
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
