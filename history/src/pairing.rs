//! Events in file order become a history: numbered, in time, each completion behind its invocation. One event after another, in memory for
//! the processes alone.

use crate::by_process::ByProcess;
use crate::event::UNSET;
use crate::{Event, EventKind, Malformed, Process, Time};
use std::borrow::Cow;

/// What every process is at, and what the next event must not contradict.
#[derive(Debug)]
pub(crate) struct Pairing {
    states: ByProcess<State>,
    next: u64,
    last: Time,
}

#[derive(Debug, Clone)]
enum State {
    Open(u64, Cow<'static, str>),
    Retired(u64),
}

impl Pairing {
    pub(crate) fn new() -> Self {
        Self {
            states: ByProcess::new(),
            next: 0,
            last: Time::ZERO,
        }
    }

    /// Numbers the event, fills in a missing time by its place, and checks it against what came before.
    pub(crate) fn take(&mut self, event: &mut Event) -> Result<(), Malformed> {
        event.index = self.next;
        if event.time == UNSET {
            event.time = Time(self.next);
        }
        self.next += 1;
        if event.time < self.last {
            return Err(Malformed::Backwards {
                index: event.index,
                time: event.time.0,
            });
        }
        self.last = event.time;
        match event.process {
            Process::Client(number) => self.pair(number, event),
            Process::Nemesis => Ok(()),
        }
    }

    fn pair(&mut self, number: u64, event: &Event) -> Result<(), Malformed> {
        let (index, process) = (event.index, event.process);
        match (event.kind, self.states.get(number)) {
            (EventKind::Invoke, None) => {
                self.states
                    .insert(number, State::Open(index, event.f.clone()));
                Ok(())
            }
            (EventKind::Invoke, Some(&State::Open(open, _))) => Err(Malformed::Overlap {
                index,
                process,
                open,
            }),
            (EventKind::Invoke, Some(&State::Retired(open))) => Err(Malformed::NotRetired {
                index,
                process,
                open,
            }),
            (_, Some(State::Open(open, expected))) if *expected != event.f => {
                Err(Malformed::Mismatch {
                    index,
                    process,
                    open: *open,
                    expected: expected.to_string(),
                    got: event.f.to_string(),
                })
            }
            (EventKind::Info, Some(&State::Open(open, _))) => {
                self.states.insert(number, State::Retired(open));
                Ok(())
            }
            (_, Some(State::Open(..))) => {
                self.states.remove(number);
                Ok(())
            }
            (_, None | Some(State::Retired(_))) => Err(Malformed::Orphan { index, process }),
        }
    }
}
