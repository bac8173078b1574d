//! The operations on one register, as the checkers of registers want them: values as small numbers, unknown ends at infinity.
//!
//! What says nothing is left out: definite failures, reads without an answer, and final reads, which are a replica's own state and not
//! an answer of the system. A definitely failed compare-and-set says something only if its error is `precondition`: then the
//! register differed from the expected value at some moment of its interval.

use crate::intern::Interner;
pub use crate::intern::{ABSENT, Val};
use crate::{Budget, Keyed, Prepared};
use schism_history::{Op, Outcome, Time};

/// What an operation does to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It returned this value.
    Read(Val),
    /// It puts this value there.
    Write(Val),
    /// It found the first value and put the second one there.
    Cas(Val, Val),
    /// A compare-and-set that found something else than this value.
    Refused(Val),
}

impl Action {
    /// The value that it puts there.
    pub fn writes(self) -> Option<Val> {
        match self {
            Self::Write(v) | Self::Cas(_, v) => Some(v),
            Self::Read(_) | Self::Refused(_) => None,
        }
    }

    /// The value that must be there for it.
    pub fn needs(self) -> Option<Val> {
        match self {
            Self::Read(v) | Self::Cas(v, _) => Some(v),
            Self::Write(_) | Self::Refused(_) => None,
        }
    }
}

/// One operation on a register: a closed interval of nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterOp {
    /// What it does.
    pub action: Action,
    /// Its invocation.
    pub start: Time,
    /// Infinity where the outcome is unknown.
    pub end: Time,
    /// Its name: its place in [`Prepared::ops`].
    pub place: u32,
}

impl RegisterOp {
    /// Whether it surely happened; else it may have, at any time after its start.
    pub fn certain(&self) -> bool {
        !self.end.is_infinite()
    }
}

/// The operations on one register, ordered by invocation.
#[derive(Debug)]
pub(crate) struct Register<'p> {
    pub(crate) ops: Vec<RegisterOp>,
    pub(crate) values: Interner<'p>,
    /// An operation that is none of a register's, in words.
    pub(crate) strange: Option<String>,
}

impl<'p> Register<'p> {
    /// Reads what is known of a key; not all of it where the time is up.
    pub(crate) fn new(history: &'p Prepared<'_>, keyed: &Keyed<'_>, budget: &Budget<'_>) -> Self {
        let mut register = Self {
            ops: Vec::new(),
            values: Interner::new(),
            strange: None,
        };
        for &place in budget.lasting(&keyed.ops) {
            let op = &history.ops[place];
            match register.action(op) {
                Ok(Some(action)) => register.ops.push(RegisterOp {
                    action,
                    start: op.start(),
                    end: op.end(),
                    place: place as u32,
                }),
                Ok(None) => {}
                Err(why) => register.strange = register.strange.take().or(Some(why)),
            }
        }
        register
    }

    /// What an operation says; nothing when it says nothing.
    fn action(&mut self, op: &Op<'p>) -> Result<Option<Action>, String> {
        if op.is_final() {
            return Ok(None);
        }
        let refused = || op.completion.and_then(|c| c.error_kind()) == Some("precondition");
        Ok(match (op.f(), op.outcome()) {
            ("read", Outcome::Ok) => op.result().map(|v| Action::Read(self.values.intern(v))),
            ("write", Outcome::Ok | Outcome::Info) => {
                Some(Action::Write(self.values.intern(op.argument())))
            }
            ("cas", outcome) => {
                let (old, new) = crate::models::pair(op)?;
                let old = self.values.intern(old);
                match outcome {
                    Outcome::Fail if !refused() => None,
                    Outcome::Fail => Some(Action::Refused(old)),
                    Outcome::Ok | Outcome::Info => Some(Action::Cas(old, self.values.intern(new))),
                }
            }
            _ => None,
        })
    }

    /// How many operations, certain or not, put each value there.
    pub(crate) fn writers(&self) -> Vec<u32> {
        let mut writers = vec![0; self.values.len()];
        for value in self.ops.iter().filter_map(|op| op.action.writes()) {
            writers[value as usize] += 1;
        }
        writers
    }
}
