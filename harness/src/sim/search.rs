//! Many seeds, on as many cores as wanted: which of them fails first, how many do, and how fast it went.
//!
//! The answer does not depend on which core was how fast: seeds are taken in order, and all before the one that fails are carried out.

use super::draw;
use super::drive::drive;
use super::families::Families;
use super::judge::{Judgement, judge, unpromised};
use super::setting::Setting;
use anyhow::Result;
use schism_history::{EventKind, History, Process};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Which seeds, and how.
#[derive(Debug, Clone)]
pub struct Seeds {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// On so many cores.
    pub jobs: usize,
    /// Whether it goes on after the first that fails.
    pub keep_going: bool,
    /// What is drawn.
    pub families: Families,
}

/// What many seeds have come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// How many were carried out.
    pub schedules: u64,
    /// Those that fail, with what is violated, in order.
    pub failing: BTreeMap<u64, &'static str>,
    /// Those of which a checker could not decide something, likewise.
    pub undecided: BTreeMap<u64, &'static str>,
    /// How many showed nothing of a property, by property.
    pub void: BTreeMap<&'static str, u64>,
    /// How many violate what is not promised under the faults that were drawn, by property.
    pub unpromised: BTreeMap<&'static str, u64>,
    /// How the clients' operations ended.
    pub operations: Counts,
    /// How many faults there were.
    pub faults: u64,
    /// How long it took.
    pub took: Duration,
    /// On so many cores.
    pub jobs: usize,
}

/// How operations ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// They happened.
    pub ok: u64,
    /// They surely did not.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
}

/// What one seed has come to.
struct One {
    seed: u64,
    judgement: Judgement,
    unpromised: Vec<&'static str>,
    operations: Counts,
    faults: u64,
}

/// A property for which there was nothing to look at in a larger share of the schedules was not tried enough.
const VOID_SHARE_MAX: f64 = 0.5;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What the cores share.
struct Shared<'a> {
    setting: &'a Setting,
    seeds: &'a Seeds,
    next: AtomicU64,
    stop: AtomicBool,
    state: Mutex<State>,
    /// A core has nothing left to do.
    ended: Condvar,
}

struct State {
    found: Found,
    error: Option<anyhow::Error>,
    working: usize,
}

/// Carries the seeds out; `tell` hears now and then how many are done.
pub fn search(setting: &Setting, seeds: &Seeds, tell: &mut dyn FnMut(&Found)) -> Result<Found> {
    let begun = Instant::now();
    let found = Found {
        jobs: seeds.jobs,
        ..Found::default()
    };
    let shared = Shared {
        setting,
        seeds,
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        state: Mutex::new(State {
            found,
            error: None,
            working: seeds.jobs,
        }),
        ended: Condvar::new(),
    };
    thread::scope(|scope| {
        for _ in 0..seeds.jobs {
            scope.spawn(|| shared.work());
        }
        shared.wait(begun, tell);
    });
    let state = shared.state.into_inner();
    let State {
        mut found, error, ..
    } = state.unwrap_or_else(PoisonError::into_inner);
    found.took = begun.elapsed();
    error.map_or(Ok(found), Err)
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, begun: Instant, tell: &mut dyn FnMut(&Found)) {
        let mut state = self.lock();
        while state.working > 0 {
            let waited = self.ended.wait_timeout(state, TELL_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.found.took = begun.elapsed();
            tell(&state.found);
        }
    }

    fn work(&self) {
        let _ended = Ended(self);
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let seed = self.seeds.first.checked_add(number);
            let Some(seed) = seed.filter(|_| number < self.seeds.count) else {
                return;
            };
            self.take(one(self.setting, seed, &self.seeds.families));
        }
    }

    fn take(&self, one: Result<One>) {
        let mut state = self.lock();
        match one {
            Ok(one) => state.found.take(&one),
            Err(error) => state.error = Some(error),
        }
        let failed = !state.found.failing.is_empty() && !self.seeds.keep_going;
        if failed || state.error.is_some() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Says that a core has ended, though it panicked.
struct Ended<'a>(&'a Shared<'a>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.lock().working -= 1;
        self.0.ended.notify_all();
    }
}

fn one(setting: &Setting, seed: u64, families: &Families) -> Result<One> {
    let plan = draw::plan(seed, setting, families);
    let driven = drive(setting, &plan, false)?;
    Ok(One {
        seed,
        judgement: judge(setting, &driven.history),
        unpromised: unpromised(setting, &driven.history),
        operations: count(&driven.history),
        faults: plan.faults.len() as u64,
    })
}

fn count(history: &History) -> Counts {
    let mut counts = Counts::default();
    let of_clients = |e: &&schism_history::Event| e.process != Process::Nemesis && !e.is_final;
    for event in history.events.iter().filter(of_clients) {
        match event.kind {
            EventKind::Ok => counts.ok += 1,
            EventKind::Fail => counts.fail += 1,
            EventKind::Info => counts.info += 1,
            EventKind::Invoke => {}
        }
    }
    counts
}

impl Found {
    fn take(&mut self, one: &One) {
        self.schedules += 1;
        self.faults += one.faults;
        self.operations.ok += one.operations.ok;
        self.operations.fail += one.operations.fail;
        self.operations.info += one.operations.info;
        for name in &one.unpromised {
            *self.unpromised.entry(name).or_default() += 1;
        }
        match one.judgement {
            Judgement::Clean => {}
            Judgement::Void(name) => *self.void.entry(name).or_default() += 1,
            Judgement::Undecided(name) => drop(self.undecided.insert(one.seed, name)),
            Judgement::Violated(name) => drop(self.failing.insert(one.seed, name)),
        }
    }

    /// The first that fails, and what it violates.
    pub fn first(&self) -> Option<(u64, &'static str)> {
        self.failing
            .first_key_value()
            .map(|(seed, name)| (*seed, *name))
    }

    /// The seed that a person is to look at: the first that fails, or else the first of which something is undecided.
    pub(super) fn worth_a_look(&self) -> Option<(u64, Judgement)> {
        let failing = self
            .first()
            .map(|(seed, name)| (seed, Judgement::Violated(name)));
        let first = self.undecided.first_key_value();
        failing.or_else(|| first.map(|(seed, name)| (*seed, Judgement::Undecided(name))))
    }

    /// Schedules a second, on each core.
    pub fn rate(&self) -> f64 {
        self.schedules as f64 / self.took.as_secs_f64().max(1e-9) / self.jobs.max(1) as f64
    }

    /// Whether there was nothing to look at in most schedules, for some property.
    pub fn shows_too_little(&self) -> bool {
        let void = self.void.values().max().copied().unwrap_or(0);
        void as f64 > self.schedules as f64 * VOID_SHARE_MAX
    }

    /// The exit code: see `exit`.
    pub fn exit_code(&self) -> i32 {
        if !self.failing.is_empty() {
            crate::exit::VIOLATION
        } else if !self.undecided.is_empty() || self.shows_too_little() {
            crate::exit::INCONCLUSIVE
        } else {
            crate::exit::PASS
        }
    }
}
