//! What a reader need not see: most of what comes before the clients begin, what comes after the anomaly is there, and in a long trace what
//! is far from the faults and the operations that show it.

use super::clients::{began, micros};
use super::row::{Inside, Kind, Row, What};
use super::{Told, verdict::Focus};
use schism_history::EventKind;
use schism_targets::simulator::{Host, Micros};
use std::collections::BTreeSet;

/// How many lines of what happens are told, the verdict apart.
const LINES_MAX: usize = 75;
/// How much nearer it counts what nodes say of themselves, elections, and messages that were disturbed.
const TELLING: usize = 4;

/// Faults that end processes: what was on a disk by then matters.
const ENDS_PROCESSES: [&str; 3] = ["kill", "power", "membership"];

/// Whether a line of the cluster is to be told at all.
pub(super) fn interests(told: &Told<'_>) -> impl Fn(&Row) -> bool {
    let begun = began(told, "main").unwrap_or(Micros::ZERO);
    let ended = began(told, "final-reads").unwrap_or(Micros(u64::MAX));
    let last = Host::Client(told.clients as usize);
    let mut faults = told.history.faults();
    let disks = faults.any(|event| ENDS_PROCESSES.contains(&event.f.as_ref()));
    move |row| {
        let What::Inside(inside) = &row.what else {
            return true;
        };
        let of_reads = inside.from == [last] || inside.to == [last];
        match inside.kind {
            _ if row.at >= ended && of_reads => false,
            Kind::Sent if row.at < begun => inside.elects,
            Kind::Synced => disks && row.at >= begun,
            Kind::Unheard => row.at >= begun,
            Kind::Sent | Kind::Note => true,
        }
    }
}

/// Without what comes after the anomaly is there.
pub(super) fn end(told: &Told<'_>, rows: &mut Vec<Row>, focus: Option<&Focus<'_>>) {
    let Some(end) = focus.and_then(|focus| focus.at) else {
        return;
    };
    let finals = told.history.events.iter().filter(|event| event.is_final);
    let read = finals.filter(|event| event.kind != EventKind::Invoke);
    let first_read = read.map(|event| micros(event.time)).min();
    let in_the_end = first_read.is_some_and(|first| first <= end);
    rows.retain(|row| match row.what {
        What::Final(_) => in_the_end,
        _ => row.at <= end,
    });
}

/// So many lines at most: those that are nearest to a fault or to an operation that shows the anomaly.
pub(super) fn shorten(rows: Vec<Row>) -> Vec<Row> {
    if rows.len() <= LINES_MAX {
        return rows;
    }
    let far = distances(&rows);
    let mut places: Vec<usize> = (0..rows.len()).collect();
    places.sort_by_key(|place| far[*place]);
    let kept: BTreeSet<usize> = places.into_iter().take(LINES_MAX).collect();
    let (mut told, mut left_out) = (Vec::new(), 0);
    for (place, row) in rows.into_iter().enumerate() {
        if !kept.contains(&place) {
            left_out += 1;
            continue;
        }
        told.extend(gap(row.at, left_out));
        left_out = 0;
        told.push(row);
    }
    told
}

fn gap(at: Micros, left_out: usize) -> Option<Row> {
    let (what, marked) = (What::Gap(left_out), false);
    (left_out > 0).then_some(Row { at, what, marked })
}

/// How many lines each is away from one that must be seen.
fn distances(rows: &[Row]) -> Vec<usize> {
    let is_key = |row: &Row| row.marked || matches!(row.what, What::Fault(_) | What::Final(_));
    let keys: Vec<usize> = (0..rows.len())
        .filter(|place| is_key(&rows[*place]))
        .collect();
    let far = |(place, row): (usize, &Row)| {
        let nearest = keys.iter().map(|key| key.abs_diff(place)).min();
        let nearest = nearest.unwrap_or(rows.len() - place);
        if tells(row) {
            nearest / TELLING
        } else {
            nearest
        }
    };
    rows.iter().enumerate().map(far).collect()
}

fn tells(row: &Row) -> bool {
    let tells = |inside: &Inside| inside.fated || inside.elects || inside.kind == Kind::Note;
    matches!(&row.what, What::Inside(inside) if tells(inside))
}
