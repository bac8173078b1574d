//! One line for what is one thing to a reader: what comes again and again, the same message to several nodes, a client's operation and its request.
//!
//! Nothing that was disturbed by itself is folded away, and after a fault has come or gone everything is told anew.

use super::row::{Inside, Kind, Row, What};
use schism_targets::simulator::fates::DELAY;
use schism_targets::simulator::{Host, Micros};
use std::collections::HashMap;

/// What nodes say of themselves by turns counts as one moment within this.
const BY_TURNS: Micros = Micros::from_millis(1);

/// Folded, in order of time.
pub(super) fn fold(rows: Vec<Row>) -> Vec<Row> {
    beside_clients(together(without_repeats(rows)))
}

/// Of what says the same between the same nodes only the first, with how often it came again; between two changes of the faults.
fn without_repeats(rows: Vec<Row>) -> Vec<Row> {
    let mut told: Vec<Row> = Vec::new();
    let mut known: HashMap<(Kind, Vec<Host>, Vec<Host>, String), usize> = HashMap::new();
    for row in rows {
        match &row.what {
            What::Fault(_) => known.clear(),
            What::Inside(inside) if !inside.fated && inside.is_between_nodes() => {
                let Inside {
                    kind,
                    from,
                    to,
                    text,
                    ..
                } = inside.clone();
                let place = *known.entry((kind, from, to, text)).or_insert(told.len());
                if let Some(Row {
                    what: What::Inside(first),
                    ..
                }) = told.get_mut(place)
                {
                    first.again += 1;
                    first.last = row.at;
                    continue;
                }
            }
            _ => {}
        }
        told.push(row);
    }
    told
}

/// The same in one moment at several nodes, or from one node to several, in one line.
fn together(rows: Vec<Row>) -> Vec<Row> {
    let mut told: Vec<Row> = Vec::new();
    for row in rows {
        if let What::Inside(inside) = &row.what
            && let Some(first) = fellow(&mut told, row.at, inside)
        {
            join(&mut first.from, &inside.from);
            join(&mut first.to, &inside.to);
            first.again = first.again.max(inside.again);
            first.last = first.last.max(inside.last);
            continue;
        }
        told.push(row);
    }
    told
}

fn join(hosts: &mut Vec<Host>, more: &[Host]) {
    let more = more.iter().filter(|host| !hosts.contains(host));
    let more: Vec<Host> = more.copied().collect();
    hosts.extend(more);
}

/// The line that says the same in this moment, unless the node has done something else since.
fn fellow<'a>(told: &'a mut [Row], at: Micros, inside: &Inside) -> Option<&'a mut Inside> {
    let turns = if inside.kind == Kind::Note {
        BY_TURNS
    } else {
        Micros::ZERO
    };
    for row in told.iter_mut().rev() {
        let What::Inside(other) = &mut row.what else {
            return None;
        };
        if at > row.at.plus(turns) {
            return None;
        }
        if is_same(other, inside) {
            return Some(other);
        }
        let at_one_node = other.from.iter().any(|host| inside.from.contains(host));
        if at_one_node || at != row.at {
            return None;
        }
    }
    None
}

fn is_same(one: &Inside, other: &Inside) -> bool {
    let plain = !one.fated && !other.fated && other.is_between_nodes();
    let at_one_end = one.from == other.from || one.to == other.to;
    plain && at_one_end && one.kind == other.kind && one.text == other.text
}

/// A request beside the operation that it belongs to, and the answer beside its end.
fn beside_clients(rows: Vec<Row>) -> Vec<Row> {
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    for place in 0..rows.len() {
        let Some(Row {
            at,
            what: What::Client(client),
            ..
        }) = &rows[place]
        else {
            continue;
        };
        let message = if client.ends {
            answer(&rows[..place], *at, client.host)
        } else {
            request(&rows[place..], *at, client.host).map(|after| place + after)
        };
        let inside = message.and_then(|message| rows[message].take());
        if let (
            Some(Row {
                what: What::Client(client),
                ..
            }),
            Some(inside),
        ) = (&mut rows[place], inside)
            && let What::Inside(inside) = inside.what
        {
            client.beside = Some(inside);
        }
    }
    rows.into_iter().flatten().collect()
}

fn answer(before: &[Option<Row>], at: Micros, host: Host) -> Option<usize> {
    let is_it = |row: &Row| matches!(&row.what, What::Inside(m) if m.to == [host] && !m.fated && row.at.plus(DELAY) == at);
    let recent = |row: &Option<Row>| row.as_ref().is_none_or(|row| row.at.plus(DELAY) >= at);
    let near = before
        .iter()
        .rposition(|row| !recent(row))
        .map_or(0, |place| place + 1);
    let found = before[near..]
        .iter()
        .position(|row| row.as_ref().is_some_and(is_it));
    found.map(|place| near + place)
}

fn request(after: &[Option<Row>], at: Micros, host: Host) -> Option<usize> {
    let is_it = |row: &Row| matches!(&row.what, What::Inside(m) if m.from == [host]);
    let same = |row: &Option<Row>| row.as_ref().is_none_or(|row| row.at == at);
    let mut moment = after.iter().take_while(|row| same(row));
    moment.position(|row| row.as_ref().is_some_and(is_it))
}
