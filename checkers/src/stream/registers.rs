//! `linearizable` on registers whose values are written once, by zones in a window: see [`crate::zones`] for the method.
//!
//! Clusters conflict iff `f(A) < s(B)` and `f(B) < s(A)`, where `f` is the earliest finish and `s` the latest start of a value's operations. An operation
//! that is still to come, or in flight, starts no earlier than the *floor*. So once there is a B with `f(A) < s(B)` and `f(B)` below the floor, one more
//! operation on A is a contradiction by itself, and A need not be remembered. Of those B, the one with the greatest `s` (the *champion*) tells for all:
//! whatever conflicted with a forgotten cluster later would conflict with the champion or be forgotten, too. What is remembered for a key is
//! its operations in flight, the values of about as many writes, and every write of unknown outcome that nobody has seen
//! yet ([`CLUSTER_BYTES`] each). A read of a value that is not remembered is stale, or nobody had written it: a violation, and only which
//! of the two needs another look.
//!
//! A key with compare-and-sets, with null written, or with a value that is written again while the first is remembered is collected as a whole, and searched.

use super::digest::{self, Digest};
use super::judge::unexplained;
use super::keys::Keys;
use super::{Again, Finish, Fold, Part};
use crate::fixed::FixedMap;
use crate::properties::linearizable;
use crate::verdict::{Decision, PropertyResult};
use crate::{Prepared, Shape, words};
use schism_history::{Event, Key, Op, Outcome, Time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// About what a value takes that is remembered.
const CLUSTER_BYTES: u64 = 128;
/// How many keys get an explanation.
const KEYS_EXPLAINED: usize = 20;
/// How many operations that saw a value in question are collected: the first ones, for these prove that it was there.
const SEERS_MAX: u32 = 100;

/// A moment, one later than the clock says, so that zero is before everything.
const fn edge(time: Time) -> u64 {
    time.0.saturating_add(1)
}
const NEVER: u64 = u64::MAX;

/// One value.
#[derive(Debug, Clone, Copy)]
struct Cluster {
    value: Digest,
    /// Indexes of invocations: of who wrote it, finished first, started last. The initial value has no writer.
    writer: Option<u64>,
    finish: u64,
    finisher: Option<u64>,
    start: u64,
    starter: Option<u64>,
}

impl Cluster {
    fn before(&self, other: &Self) -> bool {
        self.finish < other.start
    }

    fn witnesses(&self) -> impl Iterator<Item = u64> {
        [self.writer, self.finisher, self.starter]
            .into_iter()
            .flatten()
    }
}

/// What is known of a key.
enum State {
    Window(Box<Window>),
    /// These operations, and those of these values, are a violation.
    Broken(Suspects),
    /// The method does not apply.
    Whole,
}

impl Default for State {
    fn default() -> Self {
        Self::Window(Box::default())
    }
}

#[derive(Default, Clone)]
struct Suspects {
    operations: BTreeSet<u64>,
    /// Each with how many seers of it were collected.
    values: BTreeMap<Digest, u32>,
}

impl Suspects {
    fn takes(&mut self, op: &Op<'_>) -> bool {
        if self.operations.contains(&op.index()) {
            return true;
        }
        match op.f() {
            "write" => self.values.contains_key(&digest::of_value(op.argument())),
            "read" => op.result().is_some_and(|value| {
                let seers = self.values.get_mut(&digest::of_value(value));
                seers.is_some_and(|n| {
                    *n += 1;
                    *n <= SEERS_MAX
                })
            }),
            _ => false,
        }
    }
}

/// A register, as far as it must be remembered.
struct Window {
    /// By invocation, with the start.
    in_flight: BTreeMap<u64, u64>,
    /// Written, and not known to have happened.
    waiting: FixedMap<Digest, Cluster>,
    /// Those that surely happened.
    zones: Vec<Cluster>,
    /// Of all clusters that finished below the floor, forgotten ones too, the one with the greatest start.
    champion: Option<Cluster>,
    /// What it took when that was counted last.
    counted: u64,
}

impl Default for Window {
    fn default() -> Self {
        let initial = Cluster {
            value: digest::NULL,
            writer: None,
            finish: 0,
            finisher: None,
            start: 0,
            starter: None,
        };
        Self {
            in_flight: BTreeMap::new(),
            waiting: FixedMap::new(),
            zones: vec![initial],
            champion: None,
            counted: 0,
        }
    }
}

/// What becomes of a key.
enum Turn {
    Broken(Suspects),
    Whole,
}

type Step = Result<(), Turn>;

impl Window {
    fn begins(&mut self, invoke: &Event) -> Step {
        self.in_flight.insert(invoke.index, edge(invoke.time));
        if invoke.f != "write" || invoke.is_final {
            return Ok(());
        }
        let value = digest::of_value(&invoke.value);
        let known = self.zones.iter().any(|c| c.value == value);
        let cluster = Cluster {
            value,
            writer: Some(invoke.index),
            finish: NEVER,
            finisher: None,
            start: edge(invoke.time),
            starter: Some(invoke.index),
        };
        if known || value == digest::NULL || self.waiting.insert(value, cluster).is_some() {
            return Err(Turn::Whole);
        }
        Ok(())
    }

    fn ended(&mut self, op: &Op<'_>) -> Step {
        self.in_flight.remove(&op.index());
        match (op.f(), op.outcome()) {
            ("read", Outcome::Ok) if !op.is_final() => match op.result() {
                Some(value) => self.joins(digest::of_value(value), op),
                None => Ok(()),
            },
            ("write", Outcome::Ok) if !op.is_final() => {
                self.joins(digest::of_value(op.argument()), op)
            }
            // One of unknown outcome waits for somebody to see it.
            ("write", Outcome::Info) if !op.is_final() => Ok(()),
            ("write", _) if !op.invoke.is_final => self.refused(op),
            _ => Ok(()),
        }
    }

    /// An operation wrote a value, or saw it.
    fn joins(&mut self, value: Digest, op: &Op<'_>) -> Step {
        let place = self.zones.iter().rposition(|c| c.value == value);
        let place = match (place, self.waiting.remove(&value)) {
            (Some(place), _) => place,
            (None, Some(cluster)) => {
                self.zones.push(cluster);
                self.zones.len() - 1
            }
            (None, None) => return Err(self.unexplained(value, op)),
        };
        let cluster = &mut self.zones[place];
        let (start, finish) = (edge(op.start()), edge(op.end()));
        if finish < cluster.finish {
            (cluster.finish, cluster.finisher) = (finish, Some(op.index()));
        }
        if start > cluster.start {
            (cluster.start, cluster.starter) = (start, Some(op.index()));
        }
        let cluster = *cluster;
        let conflicts = |other: &&Cluster| {
            other.value != value && other.before(&cluster) && cluster.before(other)
        };
        match self.zones.iter().chain(&self.champion).find(conflicts) {
            None => Ok(()),
            Some(other) => {
                let operations = cluster.witnesses().chain(other.witnesses()).collect();
                Err(Turn::Broken(Suspects {
                    operations,
                    values: BTreeMap::new(),
                }))
            }
        }
    }

    /// A value that is not remembered: nobody had written it, or it was replaced long ago.
    fn unexplained(&self, value: Digest, op: &Op<'_>) -> Turn {
        let replaced_by = self.champion.iter().flat_map(Cluster::witnesses);
        Turn::Broken(Suspects {
            operations: replaced_by.chain([op.index()]).collect(),
            values: BTreeMap::from([(value, 0)]),
        })
    }

    /// A write that surely did not happen; whoever saw its value saw what nobody wrote.
    fn refused(&mut self, op: &Op<'_>) -> Step {
        let value = digest::of_value(op.argument());
        self.waiting.remove(&value);
        match self.zones.iter().find(|c| c.value == value) {
            None => Ok(()),
            Some(cluster) => Err(Turn::Broken(Suspects {
                operations: cluster.witnesses().collect(),
                values: BTreeMap::new(),
            })),
        }
    }

    /// Forgets what one more operation would contradict.
    fn moment(&mut self, now: Time) {
        let floor = self.in_flight.first_key_value().map(|(_, start)| *start);
        let floor = floor.unwrap_or(edge(now));
        for cluster in self.zones.iter().filter(|c| c.finish < floor) {
            let best = self.champion.map_or(0, |c| c.start);
            if cluster.start > best || self.champion.is_some_and(|c| c.value == cluster.value) {
                self.champion = Some(*cluster);
            }
        }
        if let Some(champion) = self.champion {
            self.zones
                .retain(|c| c.value == champion.value || !c.before(&champion));
        }
    }

    fn bytes(&self) -> u64 {
        CLUSTER_BYTES * (self.zones.len() + self.waiting.len() + self.in_flight.len()) as u64
    }
}

/// All registers.
pub(crate) struct Windows<'s> {
    keys: Keys<'s, State>,
    /// Those that something happened to in this moment.
    touched: BTreeSet<usize>,
    checked: u64,
    bytes: u64,
}

impl<'s> Windows<'s> {
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
            checked: 0,
            bytes: 0,
        }
    }

    fn step(&mut self, key: Option<&Key>, step: impl FnOnce(&mut Window) -> Step) {
        let Some(number) = self.keys.number(key) else {
            return;
        };
        let state = &mut self.keys.all[number].1;
        let State::Window(window) = state else {
            return;
        };
        match step(window) {
            Ok(()) => drop(self.touched.insert(number)),
            Err(Turn::Broken(suspects)) => *state = State::Broken(suspects),
            Err(Turn::Whole) => *state = State::Whole,
        }
    }
}

impl<'s> Fold<'s> for Windows<'s> {
    fn begins(&mut self, invoke: &Event) {
        self.step(invoke.key.as_ref(), |window| window.begins(invoke));
    }

    fn ended(&mut self, op: &Op<'_>) {
        if says_something(op) {
            self.checked += u64::from(self.keys.number(op.key()).is_some());
        }
        self.step(op.key(), |window| window.ended(op));
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
        let mut parts = Vec::new();
        let mut broken = 0;
        // By key the part that it is, and what belongs to it.
        let mut wanted: Vec<Option<(usize, Option<Suspects>)>> = Vec::new();
        for (key, state) in &self.keys.all {
            let key = words::key(*key);
            broken += u64::from(matches!(state, State::Broken(_)));
            wanted.push(match state {
                State::Whole => {
                    parts.push(Part {
                        what: format!(
                            "{key} has compare-and-sets or repeated values; its operations"
                        ),
                        sure: None,
                    });
                    Some((parts.len() - 1, None))
                }
                State::Broken(suspects) if broken <= KEYS_EXPLAINED as u64 => {
                    parts.push(Part {
                        what: format!("some operations on {key}"),
                        sure: Some(unexplained("not-linearizable", &key, &linearizable::ADVICE)),
                    });
                    Some((parts.len() - 1, Some(suspects.clone())))
                }
                State::Window(_) | State::Broken(_) => None,
            });
        }
        let keys = self.keys;
        let select = move |op: &Op<'_>| {
            let (part, suspects) = wanted[keys.number(op.key())?].as_mut()?;
            let takes = suspects.as_mut().is_none_or(|suspects| suspects.takes(op));
            takes.then_some(*part)
        };
        let more = broken.saturating_sub(KEYS_EXPLAINED as u64);
        let mut result = PropertyResult {
            verdict: Decision::Holds,
            checked: self.checked,
            count: more,
            ..PropertyResult::unknown("")
        };
        if more > 0 {
            result.why =
                format!("{broken} keys are violated; the first {KEYS_EXPLAINED} are explained");
        }
        Finish {
            result,
            count: None,
            again: (!parts.is_empty()).then(|| Again {
                select: Box::new(select),
                parts,
            }),
        }
    }
}

/// Whether an operation says something of its register: see [`crate::register`].
fn says_something(op: &Op<'_>) -> bool {
    let refused = || op.completion.and_then(|c| c.error_kind()) == Some("precondition");
    !op.is_final()
        && match (op.f(), op.outcome()) {
            ("read", Outcome::Ok) => op.result().is_some(),
            ("write", Outcome::Ok | Outcome::Info) => true,
            ("cas", outcome) => {
                op.argument().as_array().map(Vec::len) == Some(2)
                    && (outcome != Outcome::Fail || refused())
            }
            _ => false,
        }
}

/// The value that an operation saw.
pub(super) fn seen<'o>(op: &'o Op<'_>) -> Option<&'o Value> {
    op.result().filter(|_| op.f() == "read" && !op.is_final())
}
