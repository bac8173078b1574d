//! A register of lists as a set: a write adds each line that it has, and removes each that its client had seen and that it lacks.
//!
//! Amazon's shopping cart (`DeCandia` et al. 2007): a client reads one cart or several (siblings: a list of lists), makes one of them and writes it.
//! An empty list, or null, is an empty cart. A session has seen a line when it had written it or read it. So a line is lost if nobody who
//! may have removed it had seen it: as with sets where add wins. Linear in the lines of all operations.

use crate::Budget;
use crate::elements::Elements;
use crate::happens_before::{Seen, Update, Updates, is_list_of_lists};
use crate::intern::Val;
use schism_history::Time;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The lines of a register's carts, as elements; not all of them where the time is up.
pub(crate) fn lines<'p>(register: &Updates<'p>, budget: &Budget<'_>) -> Elements<'p> {
    let mut set = Elements::empty();
    let finals = register.finals.iter().map(|read| read.op).collect();
    set.finals = Ok(finals);
    for update in budget.lasting(&register.all) {
        let lines = written(&mut set, register, update);
        for line in lines {
            set.all[line as usize].adds.push(update.op);
        }
    }
    for (place, read) in budget.lasting((0..).zip(&register.finals)) {
        for line in seen(&mut set, register, read) {
            set.all[line as usize].seen_finally.push(place);
        }
    }
    removals(&mut set, register, budget);
    set
}

/// What one session did, by invocation.
#[derive(Default)]
struct Session<'r, 'p> {
    updates: Vec<&'r Update<'p>>,
    /// What it saw, and when it had.
    sights: Vec<(Time, BTreeSet<Val>)>,
}

fn removals<'p>(set: &mut Elements<'p>, register: &Updates<'p>, budget: &Budget<'_>) {
    let mut sessions: BTreeMap<u64, Session<'_, 'p>> = BTreeMap::new();
    for read in budget.lasting(&register.reads) {
        let lines = seen(set, register, read);
        if let Some(session) = read.op.session() {
            let session = sessions.entry(session).or_default();
            session.sights.push((read.op.end(), lines));
        }
    }
    for update in budget.lasting(&register.all) {
        let lines = written(set, register, update);
        if let Some(session) = update.op.session() {
            let session = sessions.entry(session).or_default();
            session.sights.push((update.op.end(), lines));
            session.updates.push(update);
        }
    }
    for session in sessions.values_mut() {
        session.sights.sort_by_key(|(end, _)| *end);
        session.remove(set, register, budget);
    }
    for element in &mut set.all {
        element.removes.sort_by_key(|op| op.index());
    }
}

impl<'p> Session<'_, 'p> {
    fn remove(&self, set: &mut Elements<'p>, register: &Updates<'p>, budget: &Budget<'_>) {
        let mut sights = self.sights.iter().peekable();
        let mut known: BTreeSet<Val> = BTreeSet::new();
        for update in budget.lasting(&self.updates) {
            while let Some((_, lines)) = sights.next_if(|(end, _)| *end < update.op.start()) {
                known.extend(lines);
            }
            let found = update.found.map(|v| register.values.value(v));
            known.extend(found.into_iter().flat_map(|v| intern(set, v)));
            let kept = written(set, register, update);
            let gone: Vec<Val> = known.difference(&kept).copied().collect();
            for line in gone {
                set.all[line as usize].removes.push(update.op);
                // Who would remove it again, if this did not happen, had not seen more.
                if update.op.is_ok() {
                    known.remove(&line);
                }
            }
        }
    }
}

fn written<'p>(
    set: &mut Elements<'p>,
    register: &Updates<'p>,
    update: &Update<'p>,
) -> BTreeSet<Val> {
    intern(set, register.values.value(update.value))
}

fn seen<'p>(set: &mut Elements<'p>, register: &Updates<'p>, read: &Seen<'p>) -> BTreeSet<Val> {
    let carts = read.values.iter().map(|v| register.values.value(*v));
    carts.flat_map(|cart| intern(set, cart)).collect()
}

/// The lines of one cart, or of several.
fn intern<'p>(set: &mut Elements<'p>, cart: &'p Value) -> BTreeSet<Val> {
    let list = cart.as_array().map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<&'p Value> = if is_list_of_lists(list) {
        list.iter().filter_map(Value::as_array).flatten().collect()
    } else {
        list.iter().collect()
    };
    parts.into_iter().map(|line| set.number(line)).collect()
}
