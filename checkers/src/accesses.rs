//! The accesses to all registers of a history together: what those properties need that are not local to a key.
//!
//! Versions are numbered over all keys. A session's operations are ordered where one ended before the other began; where a session has several
//! in flight it is split into lanes, each a chain. A write of unknown outcome happened if somebody who surely did something saw its value
//! (where no other write can have put it there), and else it may be left out.

use crate::budget::Budget;
use crate::fixed::FixedMap;
use crate::intern::{ABSENT, Interner};
use crate::linearize::{Linearization, linearize};
use crate::register::{Action, Register};
use crate::{Prepared, Shape, words};
use schism_history::{Key, Op, Outcome, Time};
use std::collections::BTreeMap;

/// A value of one key.
pub(crate) type Version = u32;

/// One operation on one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) key: u32,
    pub(crate) session: u32,
    /// Its place in [`Prepared::ops`].
    pub(crate) place: u32,
    pub(crate) start: Time,
    /// Infinity where the outcome is unknown.
    pub(crate) end: Time,
    /// The version that it found.
    pub(crate) reads: Option<Version>,
    /// The version that it put there.
    pub(crate) writes: Option<Version>,
    /// The version that it did not find.
    pub(crate) refuses: Option<Version>,
    /// Whether it is known to have happened although its outcome is unknown.
    pub(crate) forced: bool,
}

impl Access {
    /// Whether it surely happened.
    pub(crate) fn certain(&self) -> bool {
        self.forced || !self.end.is_infinite()
    }
}

/// What lives in all registers.
pub(crate) struct Accesses<'p> {
    /// Ordered by invocation.
    pub(crate) all: Vec<Access>,
    pub(crate) space: Space,
    history: &'p Prepared<'p>,
    keys: Vec<(Option<&'p Key>, Interner<'p>)>,
    /// Operations that are none of a register's, in words.
    pub(crate) strange: Vec<String>,
}

/// How versions are numbered: each key has a stretch of them, whose first is its initial one.
pub(crate) struct Space {
    pub(crate) initial: Vec<Version>,
    pub(crate) versions: usize,
}

impl Space {
    pub(crate) fn is_initial(&self, key: u32, version: Version) -> bool {
        self.initial[key as usize] == version
    }
}

impl<'p> Accesses<'p> {
    /// Not all of them where the time is up.
    pub(crate) fn new(history: &'p Prepared<'p>, budget: &Budget<'_>) -> Self {
        let mut accesses = Self {
            all: Vec::new(),
            space: Space {
                initial: Vec::new(),
                versions: 0,
            },
            history,
            keys: Vec::new(),
            strange: Vec::new(),
        };
        let mut sessions = BTreeMap::new();
        for keyed in history.keys_of(Shape::Register) {
            let register = Register::new(history, keyed, budget);
            accesses.add(&register, &mut sessions, budget);
            accesses.strange.extend(register.strange);
            accesses.keys.push((keyed.key, register.values));
        }
        accesses.all.sort_unstable_by_key(|a| (a.start, a.place));
        accesses
    }

    fn add(
        &mut self,
        register: &Register<'_>,
        sessions: &mut BTreeMap<u64, u32>,
        budget: &Budget<'_>,
    ) {
        let first = self.space.versions as Version;
        let key = self.space.initial.len() as u32;
        self.space.initial.push(first + ABSENT);
        self.space.versions += register.values.len();
        for op in budget.lasting(&register.ops) {
            let next = sessions.len() as u32;
            let Some(session) = self.history.op(op).session() else {
                continue;
            };
            let refused = match op.action {
                Action::Refused(value) => Some(first + value),
                _ => None,
            };
            self.all.push(Access {
                key,
                session: *sessions.entry(session).or_insert(next),
                place: op.place,
                start: op.start,
                end: op.end,
                reads: op.action.needs().map(|v| first + v),
                writes: op.action.writes().map(|v| first + v),
                refuses: refused,
                forced: false,
            });
        }
    }

    /// Whether each key by itself is linearizable: then the whole is, and so it is sequential, causal and pram. Nothing where the
    /// budget ran out.
    pub(crate) fn linearizable(&self, budget: &Budget<'_>) -> Option<bool> {
        for keyed in self.history.keys_of(Shape::Register) {
            let register = Register::new(self.history, keyed, budget);
            if budget.is_exhausted() {
                return None;
            }
            match linearize(&register.ops, register.values.len(), budget) {
                Linearization::Exists => {}
                Linearization::Impossible(_) => return Some(false),
                Linearization::OutOf(..) => return None,
            }
        }
        Some(true)
    }

    pub(crate) fn op(&self, access: &Access) -> &'p Op<'p> {
        &self.history.ops[access.place as usize]
    }

    /// The operation as a noun with its key.
    pub(crate) fn noun(&self, access: &Access) -> String {
        let key = self.key(access.key);
        words::noun_on(self.op(access), &key)
    }

    pub(crate) fn key(&self, key: u32) -> String {
        words::key(self.keys[key as usize].0)
    }

    /// A version in a sentence: `1 of x`.
    pub(crate) fn version(&self, key: u32, version: Version) -> String {
        let value = version - self.space.initial[key as usize];
        words::value(self.keys[key as usize].1.value(value))
    }

    /// A write of this version that was definitely refused.
    pub(crate) fn refused_writer(&self, key: u32, version: Version) -> Option<&'p Op<'p>> {
        let value = version - self.space.initial[key as usize];
        let (key, values) = &self.keys[key as usize];
        let value = values.value(value);
        let mut refused = self
            .history
            .ops
            .iter()
            .filter(|op| op.key() == *key && op.outcome() == Outcome::Fail);
        refused.find(|op| match op.f() {
            "write" => op.argument() == value,
            "cas" => op.argument().get(1) == Some(value),
            _ => false,
        })
    }

    /// The names of operations.
    pub(crate) fn indexes(&self, accesses: &[Access]) -> Vec<u64> {
        accesses.iter().map(|a| self.op(a).index()).collect()
    }
}

/// Where what an operation found came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// It looked for nothing.
    Nothing,
    /// The initial state.
    Initial,
    /// This write alone can have put it there.
    Write(u32),
    /// Nobody can have put it there.
    Nobody,
    /// More than one may have.
    Several,
}

/// Some accesses, ordered by invocation, with where their values came from and who comes after whom in a session.
pub(crate) struct Plan<'a> {
    pub(crate) all: &'a [Access],
    pub(crate) space: &'a Space,
    pub(crate) sources: Vec<Source>,
    /// Whether it is known to have happened.
    pub(crate) happened: Vec<bool>,
    pub(crate) lanes: Lanes,
    /// By lane and key, the writes: the number in the lane, and which.
    writes: Vec<Vec<(u32, u32)>>,
    /// Which of these is whose.
    places: FixedMap<u64, u32>,
    /// By key, the lanes that write it.
    writers: BTreeMap<u32, Vec<u32>>,
}

impl<'a> Plan<'a> {
    /// Not with all lanes where the time is up.
    pub(crate) fn new(all: &'a [Access], space: &'a Space, budget: &Budget<'_>) -> Self {
        let sources = sources(all, space);
        let happened = happened(all, &sources);
        let lanes = Lanes::new(all, &happened, budget);
        let (mut writes, mut places) = (Vec::<Vec<(u32, u32)>>::new(), FixedMap::new());
        let mut writers = BTreeMap::<u32, Vec<u32>>::new();
        for (lane, members) in lanes.members.iter().enumerate() {
            let own = members.iter();
            let own = own.filter(|at| all[**at as usize].writes.is_some());
            for &at in budget.lasting(own) {
                let key = all[at as usize].key;
                let name = name(lane as u32, key);
                let place = places.get(&name).copied().unwrap_or_else(|| {
                    writers.entry(key).or_default().push(lane as u32);
                    writes.push(Vec::new());
                    places.insert(name, writes.len() as u32 - 1);
                    writes.len() as u32 - 1
                });
                writes[place as usize].push((lanes.number[at as usize], at));
            }
        }
        Self {
            all,
            space,
            sources,
            happened,
            lanes,
            writes,
            places,
            writers,
        }
    }

    /// The last write of a key in a lane among the lane's first so many writes, but not among the first `after`.
    pub(crate) fn last_write(&self, lane: u32, key: u32, known: u32, after: u32) -> Option<u32> {
        let list = &self.writes[*self.places.get(&name(lane, key))? as usize];
        let at = list
            .partition_point(|(number, _)| *number <= known)
            .checked_sub(1)?;
        (list[at].0 > after).then_some(list[at].1)
    }

    /// The lanes that write a key.
    pub(crate) fn writers(&self, key: u32) -> &[u32] {
        self.writers
            .get(&key)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

fn name(lane: u32, key: u32) -> u64 {
    u64::from(lane) << 32 | u64::from(key)
}

/// By unique values; the initial version has a writer from the beginning.
pub(crate) fn sources(all: &[Access], space: &Space) -> Vec<Source> {
    const NOBODY: u32 = u32::MAX;
    const SEVERAL: u32 = u32::MAX - 1;
    let mut writer = vec![NOBODY; space.versions];
    for (at, access) in all.iter().enumerate() {
        let Some(version) = access.writes else {
            continue;
        };
        let known = &mut writer[version as usize];
        let first = *known == NOBODY && !space.is_initial(access.key, version);
        *known = if first { at as u32 } else { SEVERAL };
    }
    let source = |access: &Access| match access.reads {
        None => Source::Nothing,
        Some(version) => match writer[version as usize] {
            SEVERAL => Source::Several,
            NOBODY if space.is_initial(access.key, version) => Source::Initial,
            NOBODY => Source::Nobody,
            at => Source::Write(at),
        },
    };
    all.iter().map(source).collect()
}

pub(crate) fn happened(all: &[Access], sources: &[Source]) -> Vec<bool> {
    let mut happened: Vec<bool> = all.iter().map(Access::certain).collect();
    let mut work: Vec<usize> = (0..all.len()).filter(|at| happened[*at]).collect();
    while let Some(at) = work.pop() {
        if let Source::Write(source) = sources[at]
            && !std::mem::replace(&mut happened[source as usize], true)
        {
            work.push(source as usize);
        }
    }
    happened
}

/// Sessions as chains of operations that happened.
pub(crate) struct Lanes {
    /// By access: its lane. What did not happen has none.
    pub(crate) of: Vec<u32>,
    /// By access: how many writes its lane has up to it, itself included.
    pub(crate) number: Vec<u32>,
    /// By lane, its operations in turn.
    pub(crate) members: Vec<Vec<u32>>,
    /// By session, its lanes.
    pub(crate) sessions: Vec<Vec<u32>>,
}

impl Lanes {
    pub(crate) fn new(all: &[Access], happened: &[bool], budget: &Budget<'_>) -> Self {
        let sessions = all
            .iter()
            .map(|a| a.session as usize + 1)
            .max()
            .unwrap_or(0);
        let mut lanes = Self {
            of: vec![u32::MAX; all.len()],
            number: vec![0; all.len()],
            members: Vec::new(),
            sessions: vec![Vec::new(); sessions],
        };
        let mut writes: Vec<u32> = Vec::new();
        let all_that_happened = all.iter().enumerate().filter(|(at, _)| happened[*at]);
        for (at, access) in budget.lasting(all_that_happened) {
            let own = &mut lanes.sessions[access.session as usize];
            let free = own.iter().copied().find(|lane| {
                let last = lanes.members[*lane as usize].last();
                last.is_none_or(|last| all[*last as usize].end < access.start)
            });
            let lane = free.unwrap_or_else(|| {
                own.push(lanes.members.len() as u32);
                lanes.members.push(Vec::new());
                writes.push(0);
                lanes.members.len() as u32 - 1
            });
            lanes.members[lane as usize].push(at as u32);
            writes[lane as usize] += u32::from(access.writes.is_some());
            lanes.of[at] = lane;
            lanes.number[at] = writes[lane as usize];
        }
        lanes
    }

    /// The last operation of each lane of the session that ended before this one began.
    pub(crate) fn before<'s>(
        &'s self,
        all: &'s [Access],
        at: usize,
    ) -> impl Iterator<Item = u32> + 's {
        let start = all[at].start;
        let own = self.sessions[all[at].session as usize].iter();
        own.filter_map(move |lane| {
            let members = &self.members[*lane as usize];
            let ended = members.partition_point(|m| all[*m as usize].end < start);
            ended.checked_sub(1).map(|last| members[last])
        })
    }
}

/// A smallest part, as far as leaving out one group after another finds it, that still shows something. Who saw a version goes with every
/// write of it; and where a compare-and-set was refused, the writes of its key stay, for any of them may have been the reason.
pub(crate) fn minimal(
    all: &[Access],
    budget: &Budget<'_>,
    shows: &dyn Fn(&[Access]) -> bool,
) -> Vec<Access> {
    // Beyond this much work a longer proof must do.
    const WORK_MAX: usize = 20_000_000;
    let work = std::cell::Cell::new(0);
    let shows = |part: &[Access]| {
        work.set(work.get() + part.len());
        work.get() < WORK_MAX && !budget.is_exhausted() && shows(part)
    };
    let mut core = all.to_vec();
    let without: Vec<Access> = core
        .iter()
        .filter(|a| a.refuses.is_none())
        .copied()
        .collect();
    if without.len() < core.len() && shows(&without) {
        core = without;
    }
    let mut size = core.len().div_ceil(2);
    while size > 0 {
        let (mut at, before) = (0, core.len());
        while at < core.len() {
            let fewer = leave_out(&core, at, size);
            if fewer.len() < core.len() && shows(&fewer) {
                core = fewer;
            } else {
                at += size;
            }
        }
        // At single ones, again until nothing more can go.
        if size > 1 {
            size = size.div_ceil(2);
        } else if core.len() == before {
            size = 0;
        }
    }
    core
}

fn leave_out(all: &[Access], at: usize, size: usize) -> Vec<Access> {
    let kept = |a: &Access| {
        a.writes.is_some() && all.iter().any(|r| r.refuses.is_some() && r.key == a.key)
    };
    let mut out: Vec<bool> = (0..all.len())
        .map(|i| (at..at + size).contains(&i) && !kept(&all[i]))
        .collect();
    loop {
        let gone: std::collections::BTreeSet<Version> = (0..all.len())
            .filter(|i| out[*i])
            .filter_map(|i| all[i].writes)
            .collect();
        let orphan = |i: &usize| !out[*i] && all[*i].reads.is_some_and(|v| gone.contains(&v));
        let orphans: Vec<usize> = (0..all.len()).filter(orphan).collect();
        if orphans.is_empty() {
            break;
        }
        for i in orphans {
            out[i] = true;
        }
    }
    (0..all.len())
        .filter(|i| !out[*i])
        .map(|i| all[i])
        .collect()
}
