//! A history as it goes by: what begins, what ends, what the nemesis does. In memory for the operations in flight alone.
//!
//! The events are numbered and checked as those of a [`crate::History`]; the first that contradicts what came before is the last that is told.

use crate::by_process::ByProcess;
use crate::pairing::Pairing;
use crate::{Event, EventKind, Malformed, Process};
use std::rc::Rc;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A client's operation begins.
    Begins(Rc<Event>),
    /// One that had begun ends.
    Ended(Rc<Event>, Event),
    /// Something that is no client's.
    Nemesis(Event),
}

/// Pairs events one after another.
///
/// ```
/// use schism_history::{History, Step, Steps};
///
/// let history = History::dsl("0: write x 7 @0..5; 1: read x 7 @6..9 info").unwrap();
/// let mut steps = Steps::new();
/// let ended = history.events.into_iter().filter(|event| {
///     matches!(steps.take(event.clone()), Ok(Step::Ended(..)))
/// });
/// assert_eq!(ended.count(), 2);
/// ```
#[derive(Debug)]
pub struct Steps {
    pairing: Pairing,
    open: ByProcess<Rc<Event>>,
}

impl Default for Steps {
    fn default() -> Self {
        Self::new()
    }
}

impl Steps {
    /// Before the first event.
    pub fn new() -> Self {
        Self {
            pairing: Pairing::new(),
            open: ByProcess::new(),
        }
    }

    /// The next event.
    pub fn take(&mut self, mut event: Event) -> Result<Step, Malformed> {
        self.pairing.take(&mut event)?;
        let (Process::Client(process), index) = (event.process, event.index) else {
            return Ok(Step::Nemesis(event));
        };
        if event.kind == EventKind::Invoke {
            let invoke = Rc::new(event);
            self.open.insert(process, Rc::clone(&invoke));
            return Ok(Step::Begins(invoke));
        }
        let orphan = Malformed::Orphan {
            index,
            process: event.process,
        };
        let invoke = self.open.remove(process).ok_or(orphan)?;
        Ok(Step::Ended(invoke, event))
    }

    /// What has begun and not ended, by invocation.
    pub fn open(self) -> Vec<Rc<Event>> {
        let mut open: Vec<_> = self.open.into_values().collect();
        open.sort_by_key(|event| event.index);
        open
    }
}
