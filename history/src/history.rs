//! A whole history in memory, and its pairing into operations.

use crate::by_process::ByProcess;
use crate::pairing::Pairing;
use crate::{Event, EventKind, Op, Process, Time};

/// Every event of a run, in the order in which the controller saw them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The events; `events[i].index == i`, times do not go backwards.
    pub events: Vec<Event>,
    /// What was cut off at the end of the file, if anything.
    pub torn: Option<Torn>,
}

/// A last line without its end: the writer was stopped in the middle of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Line in the file, from 1.
    pub line: u64,
    /// Bytes that were left out.
    pub bytes: u64,
}

/// Why a list of events is no history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A process has two operations in flight.
    #[error(
        "event {index}: {process} invokes an operation while its last one (event {open}) is still open"
    )]
    Overlap {
        /// The second invocation.
        index: u64,
        /// Who.
        process: Process,
        /// The first invocation.
        open: u64,
    },
    /// A completion without an invocation.
    #[error("event {index}: {process} completes an operation that it never invoked")]
    Orphan {
        /// The completion.
        index: u64,
        /// Who.
        process: Process,
    },
    /// A completion that names another function or key than its invocation.
    #[error("event {index}: {process} completes {got:?}, but event {open} invoked {expected:?}")]
    Mismatch {
        /// The completion.
        index: u64,
        /// Who.
        process: Process,
        /// The invocation.
        open: u64,
        /// What was invoked.
        expected: String,
        /// What was completed.
        got: String,
    },
    /// Time that runs backwards.
    #[error("event {index}: time {time} ns is before that of the event before it")]
    Backwards {
        /// The later event.
        index: u64,
        /// Its time.
        time: u64,
    },
    /// A process goes on after an outcome that nobody knows.
    #[error(
        "event {index}: {process} goes on after its operation (event {open}) ended as info; give its client a new process number"
    )]
    NotRetired {
        /// The new invocation.
        index: u64,
        /// Who.
        process: Process,
        /// The invocation whose outcome is unknown.
        open: u64,
    },
}

impl History {
    /// Takes events in file order: numbers them, fills in missing times by their place, and checks that they pair up.
    pub fn new(mut events: Vec<Event>) -> Result<Self, Malformed> {
        let mut pairing = Pairing::new();
        events
            .iter_mut()
            .try_for_each(|event| pairing.take(event))?;
        Ok(Self { events, torn: None })
    }

    /// The clients' operations, ordered by invocation.
    pub fn ops(&self) -> Vec<Op<'_>> {
        let mut ops: Vec<Op<'_>> = Vec::with_capacity(self.events.len() / 2);
        let mut open: ByProcess<usize> = ByProcess::new();
        for event in &self.events {
            let Process::Client(process) = event.process else {
                continue;
            };
            if event.kind == EventKind::Invoke {
                open.insert(process, ops.len());
                ops.push(Op {
                    invoke: event,
                    completion: None,
                });
            } else if let Some(at) = open.remove(process) {
                ops[at].completion = Some(event);
            }
        }
        ops
    }

    /// What the nemesis did, in order.
    pub fn faults(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|e| e.process == Process::Nemesis)
    }

    /// The time of the last event, zero when there is none.
    pub fn end(&self) -> Time {
        self.events.last().map_or(Time::ZERO, |e| e.time)
    }
}
