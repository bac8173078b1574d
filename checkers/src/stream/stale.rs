//! `stale-reads` in a window: which acknowledged writes had replaced what a read returned.
//!
//! A read is stale iff some write was invoked after its value had surely taken effect, and acknowledged before it began. Of the writes acknowledged by then, the
//! one invoked last tells for all, so only that is kept of those below the *floor*, the earliest start of what is in flight. A value that had
//! surely taken effect before that one was invoked can only be returned by stale reads: it is forgotten, and who returns it is suspected. The suspected reads
//! are collected with their values' writers and first seers, and judged by the ordinary checker: versions behind are then at least as
//! many as are said. Keys with compare-and-sets, with null written, or with a value that is written again are collected as a whole.

use super::digest::{self, Digest};
use super::keys::Keys;
use super::registers::seen;
use super::{Again, Finish, Fold, Part};
use crate::fixed::FixedMap;
use crate::verdict::{Decision, PropertyResult};
use crate::{Prepared, Shape, words};
use schism_history::{Event, Op, Outcome, Time};
use std::collections::{BTreeMap, BTreeSet};

/// About what a value or a write takes that is remembered.
const VALUE_BYTES: u64 = 96;
/// How many reads are looked at again, and how many of the operations that saw their values.
const SUSPECTS_MAX: usize = 1000;
const SEERS_MAX: u32 = 100;

/// When a value had surely taken effect; none of what is in flight and was not seen has.
#[derive(Debug, Clone, Copy)]
struct Written {
    value: Digest,
    surely_by: Time,
    /// Who told so first.
    witness: u64,
    refused: bool,
}

/// A write that was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Newer {
    start: Time,
    end: Time,
    index: u64,
}

#[derive(Default)]
struct Window {
    in_flight: BTreeMap<u64, Time>,
    /// Written and not known to have taken effect.
    waiting: FixedMap<Digest, ()>,
    /// Taken effect, and not forgotten.
    values: Vec<Written>,
    /// Acknowledged at the floor or later; and of the earlier ones the one invoked last.
    recent: Vec<Newer>,
    newest: Option<Newer>,
    counted: u64,
}

enum State {
    Window(Box<Window>),
    Whole,
}

impl Default for State {
    fn default() -> Self {
        Self::Window(Box::default())
    }
}

/// What is looked at again.
#[derive(Default)]
struct Suspects {
    reads: u64,
    operations: BTreeSet<u64>,
    /// By key and value, with how many seers were collected.
    values: BTreeMap<(usize, Digest), u32>,
}

impl Suspects {
    fn add(&mut self, key: usize, value: Digest, operations: impl Iterator<Item = u64>) {
        self.reads += 1;
        if self.reads <= SUSPECTS_MAX as u64 {
            self.operations.extend(operations);
            self.values.insert((key, value), 0);
        }
    }

    fn takes(&mut self, key: usize, op: &Op<'_>) -> bool {
        if self.operations.contains(&op.index()) {
            return true;
        }
        if op.f() == "write" {
            let value = (key, digest::of_value(op.argument()));
            return self.values.contains_key(&value);
        }
        let seers = seen(op).and_then(|v| self.values.get_mut(&(key, digest::of_value(v))));
        seers.is_some_and(|n| {
            *n += 1;
            *n <= SEERS_MAX
        })
    }
}

/// A read that may be stale, with the write that had replaced its value.
struct Suspect {
    value: Digest,
    /// Or who else is needed to tell.
    newer: Option<u64>,
}

impl Window {
    /// Whether the method applies still.
    fn begins(&mut self, invoke: &Event) -> bool {
        self.in_flight.insert(invoke.index, invoke.time);
        if invoke.f != "write" || invoke.is_final {
            return true;
        }
        let value = digest::of_value(&invoke.value);
        let known = self.values.iter().any(|w| w.value == value);
        !known && value != digest::NULL && self.waiting.insert(value, ()).is_none()
    }

    fn ended(&mut self, op: &Op<'_>) -> Option<Suspect> {
        self.in_flight.remove(&op.index());
        if op.f() == "write" && !op.invoke.is_final {
            return self.write(op);
        }
        let value = digest::of_value(seen(op)?);
        let newer = self.replaced_by(op.start());
        let surely_by = if value == digest::NULL {
            None
        } else if let Some(written) = self.values.iter().find(|w| w.value == value) {
            if written.refused {
                return Some(Suspect { value, newer: None });
            }
            Some(written.surely_by)
        } else if self.waiting.remove(&value).is_some() {
            self.values.push(Written {
                value,
                surely_by: op.end(),
                witness: op.index(),
                refused: false,
            });
            return None;
        } else {
            let newer = newer.map(|n| n.index);
            return Some(Suspect { value, newer });
        };
        let newer = newer.filter(|n| surely_by.is_none_or(|by| n.start > by))?;
        Some(Suspect {
            value,
            newer: Some(newer.index),
        })
    }

    /// A write that was refused after somebody saw its value makes that one suspected.
    fn write(&mut self, op: &Op<'_>) -> Option<Suspect> {
        let value = digest::of_value(op.argument());
        let known = self.values.iter_mut().find(|w| w.value == value);
        match op.outcome() {
            Outcome::Ok if !op.is_final() => {
                self.recent.push(Newer {
                    start: op.start(),
                    end: op.end(),
                    index: op.index(),
                });
                self.waiting.remove(&value);
                if known.is_none() {
                    self.values.push(Written {
                        value,
                        surely_by: op.end(),
                        witness: op.index(),
                        refused: false,
                    });
                }
                None
            }
            Outcome::Info if !op.is_final() => None,
            _ => {
                self.waiting.remove(&value);
                let written = known?;
                written.refused = true;
                Some(Suspect {
                    value,
                    newer: Some(written.witness),
                })
            }
        }
    }

    /// Of the writes acknowledged before this moment, the one invoked last.
    fn replaced_by(&self, before: Time) -> Option<Newer> {
        let recent = self.recent.iter().filter(|n| n.end < before);
        recent.chain(&self.newest).max_by_key(|n| n.start).copied()
    }

    fn moment(&mut self, now: Time) {
        let floor = self
            .in_flight
            .first_key_value()
            .map_or(now, |(_, start)| *start);
        let below = self.recent.iter().filter(|n| n.end < floor);
        self.newest = below.chain(&self.newest).max_by_key(|n| n.start).copied();
        self.recent.retain(|n| n.end >= floor);
        if let Some(newest) = self.newest {
            self.values.retain(|w| w.surely_by >= newest.start);
        }
    }

    fn bytes(&self) -> u64 {
        let remembered =
            self.in_flight.len() + self.values.len() + self.waiting.len() + self.recent.len();
        VALUE_BYTES * remembered as u64
    }
}

/// All registers.
pub(crate) struct Replacements<'s> {
    keys: Keys<'s, State>,
    touched: BTreeSet<usize>,
    suspects: Suspects,
    checked: u64,
    bytes: u64,
}

impl<'s> Replacements<'s> {
    pub(crate) fn new(survey: &'s Prepared<'_>) -> Self {
        let mut keys: Keys<'s, State> = Keys::new(survey, Shape::Register);
        for keyed in survey.keys_of(Shape::Register) {
            let has_cas = keyed.ops.iter().any(|&i| survey.ops[i].f() == "cas");
            if let Some(state) = keys.get_mut(keyed.key).filter(|_| has_cas) {
                *state = State::Whole;
            }
        }
        Self {
            keys,
            touched: BTreeSet::new(),
            suspects: Suspects::default(),
            checked: 0,
            bytes: 0,
        }
    }
}

impl<'s> Fold<'s> for Replacements<'s> {
    fn begins(&mut self, invoke: &Event) {
        let Some(state) = self.keys.get_mut(invoke.key.as_ref()) else {
            return;
        };
        if let State::Window(window) = state
            && !window.begins(invoke)
        {
            *state = State::Whole;
        }
    }

    fn ended(&mut self, op: &Op<'_>) {
        let Some(number) = self.keys.number(op.key()) else {
            return;
        };
        self.checked += u64::from(seen(op).is_some());
        if let State::Window(window) = &mut self.keys.all[number].1 {
            self.touched.insert(number);
            if let Some(suspect) = window.ended(op) {
                let operations = suspect.newer.into_iter().chain([op.index()]);
                self.suspects.add(number, suspect.value, operations);
            }
        }
    }

    fn moment(&mut self, now: Time) {
        for number in std::mem::take(&mut self.touched) {
            if let State::Window(window) = &mut self.keys.all[number].1 {
                window.moment(now);
                let bytes = window.bytes();
                self.bytes = self.bytes + bytes - window.counted;
                window.counted = bytes;
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn finish(self: Box<Self>) -> Finish<'s> {
        let mut parts = vec![Part {
            what: "the reads that may be stale".to_owned(),
            sure: None,
        }];
        // By key its part: the first is that of all suspects.
        let whole = self.keys.all.iter().map(|(key, state)| match state {
            State::Window(_) => 0,
            State::Whole => {
                let key = words::key(*key);
                parts.push(Part {
                    what: format!("{key} has compare-and-sets or repeated values; its operations"),
                    sure: None,
                });
                parts.len() - 1
            }
        });
        let whole: Vec<usize> = whole.collect();
        let (keys, mut suspects) = (self.keys, self.suspects);
        let mut result = PropertyResult {
            verdict: Decision::Holds,
            checked: self.checked,
            ..PropertyResult::unknown("")
        };
        if suspects.reads > SUSPECTS_MAX as u64 {
            result.verdict = Decision::Unknown;
            result.why = format!(
                "{} reads are suspected; the first {SUSPECTS_MAX} were looked at again and counted",
                suspects.reads
            );
        }
        let needed = suspects.reads > 0 || parts.len() > 1;
        let select = move |op: &Op<'_>| {
            let number = keys.number(op.key())?;
            let part = whole[number];
            (part > 0 || suspects.takes(number, op)).then_some(part)
        };
        Finish {
            result,
            count: None,
            again: needed.then(|| Again {
                select: Box::new(select),
                parts,
            }),
        }
    }
}
