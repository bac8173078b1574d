//! An operation: an invocation and what came of it.

use crate::{Event, Key, Process, Time};
use serde_json::Value;

/// What is known of an operation's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It happened, inside its interval.
    Ok,
    /// It surely did not happen.
    Fail,
    /// It may happen at any time after its invocation, or never.
    Info,
}

/// One operation: the closed interval from invocation to completion; an unknown or missing completion is at infinity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Op<'h> {
    /// The invocation.
    pub invoke: &'h Event,
    /// The completion; `None` when the history ends first.
    pub completion: Option<&'h Event>,
}

impl<'h> Op<'h> {
    /// What is known of its effect.
    pub fn outcome(&self) -> Outcome {
        use crate::EventKind::{Fail, Info, Invoke, Ok};
        match self.completion.map(|c| c.kind) {
            Some(Ok) => Outcome::Ok,
            Some(Fail) => Outcome::Fail,
            Some(Info | Invoke) | None => Outcome::Info,
        }
    }

    /// Whether it surely happened.
    pub fn is_ok(&self) -> bool {
        self.outcome() == Outcome::Ok
    }

    /// Invocation.
    pub fn start(&self) -> Time {
        self.invoke.time
    }

    /// Completion, or infinity where the outcome is unknown.
    pub fn end(&self) -> Time {
        match (self.outcome(), self.completion) {
            (Outcome::Info, _) | (_, None) => Time::INFINITY,
            (_, Some(c)) => c.time,
        }
    }

    /// Whether this operation ended before the other began, in real time.
    pub fn precedes(&self, other: &Op<'_>) -> bool {
        self.end() < other.start()
    }

    /// The client.
    pub fn process(&self) -> Process {
        self.invoke.process
    }

    /// The session: as the history names it, else the process.
    pub fn session(&self) -> Option<u64> {
        self.invoke.session.or(match self.invoke.process {
            Process::Client(n) => Some(n),
            Process::Nemesis => None,
        })
    }

    /// The function: `read`, `write`, ...
    pub fn f(&self) -> &'h str {
        &self.invoke.f
    }

    /// The key, where it has one.
    pub fn key(&self) -> Option<&'h Key> {
        self.invoke.key.as_ref()
    }

    /// What was asked: the invocation's value.
    pub fn argument(&self) -> &'h Value {
        &self.invoke.value
    }

    /// What was answered: the value of an `ok` completion.
    pub fn result(&self) -> Option<&'h Value> {
        self.completion
            .filter(|c| c.kind == crate::EventKind::Ok)
            .map(|c| &c.value)
    }

    /// Whether it is a final read: after the last heal, local to one replica.
    pub fn is_final(&self) -> bool {
        self.invoke.is_final || self.completion.is_some_and(|c| c.is_final)
    }

    /// Index of its invocation: the name of the operation in verdicts.
    pub fn index(&self) -> u64 {
        self.invoke.index
    }

    /// Indexes of its events.
    pub fn indexes(&self) -> Vec<u64> {
        std::iter::once(self.invoke.index)
            .chain(self.completion.map(|c| c.index))
            .collect()
    }
}
