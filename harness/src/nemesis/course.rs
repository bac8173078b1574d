//! What is to be done when: the planned faults, those that came by hand, and the next step of each.

use super::Planned;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What is next for a fault. At one moment heals come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Heal,
    /// Heal it if it has shown enough.
    Look,
    /// Drive it on.
    Drive,
    Inject,
}

/// The course of one run's faults. Times count from its beginning.
#[derive(Debug)]
pub(super) struct Course {
    begun: Instant,
    plan: Vec<Planned>,
    steps: BTreeSet<(Duration, Step, usize)>,
}

impl Course {
    /// Of these faults; others may be added.
    pub(super) fn new(plan: &[Planned], begun: Instant) -> Self {
        let injections = plan.iter().enumerate();
        Self {
            begun,
            steps: injections.map(|(i, f)| (f.at, Step::Inject, i)).collect(),
            plan: plan.to_vec(),
        }
    }

    /// How long it has gone on.
    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A fault by its place.
    pub(super) fn fault(&self, place: usize) -> &Planned {
        &self.plan[place]
    }

    /// The fault that was planned before that at a place.
    pub(super) fn before(&self, place: usize) -> Option<&Planned> {
        place.checked_sub(1).map(|before| &self.plan[before])
    }

    /// A number that no fault has.
    pub(super) fn next_id(&self) -> u64 {
        self.plan.iter().map(|f| f.id).max().unwrap_or(0) + 1
    }

    /// When the next step is due; none: nothing is left to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.steps.first().map(|(at, ..)| self.begun + *at)
    }

    /// Takes the next step, if it is due.
    pub(super) fn take(&mut self) -> Option<(Step, usize)> {
        let due = self.steps.first().is_some_and(|(at, ..)| *at <= self.now());
        let (_, step, place) = due.then(|| self.steps.pop_first()).flatten()?;
        Some((step, place))
    }

    /// Plans a step of a fault.
    pub(super) fn put(&mut self, at: Duration, step: Step, place: usize) {
        self.steps.insert((at, step, place));
    }

    /// Plans a step, so long from now.
    pub(super) fn put_in(&mut self, after: Duration, step: Step, place: usize) {
        self.put(self.now() + after, step, place);
    }

    /// Forgets what is still to be done about a fault.
    pub(super) fn forget(&mut self, place: usize) {
        self.steps.retain(|(_, _, of)| *of != place);
    }

    /// Adds a fault that has come, which must be driven so often.
    pub(super) fn add(&mut self, fault: Planned, every: Option<Duration>) {
        let place = self.plan.len();
        self.put(fault.until, Step::Heal, place);
        self.plan.push(fault);
        if let Some(every) = every {
            self.put_in(every, Step::Drive, place);
        }
    }

    /// From now on only drives what is in force: nothing is injected or healed that was planned.
    pub(super) fn stand_still(&mut self) {
        self.steps.retain(|(_, step, _)| *step == Step::Drive);
    }
}
