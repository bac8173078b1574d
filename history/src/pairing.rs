//! Events in file order become a history: numbered, in time, each completion behind its invocation. One event after another, in memory for
//! the processes alone.

use crate::by_process::ByProcess;
use crate::event::UNSET;
use crate::{Event, EventKind, Key, Malformed, Process, Time};
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
    Open(u64, Cow<'static, str>, Option<Key>),
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
                let open = State::Open(index, event.f.clone(), event.key.clone());
                self.states.insert(number, open);
                Ok(())
            }
            (EventKind::Invoke, Some(&State::Open(open, ..))) => Err(Malformed::Overlap {
                index,
                process,
                open,
            }),
            (EventKind::Invoke, Some(&State::Retired(open))) => Err(Malformed::NotRetired {
                index,
                process,
                open,
            }),
            (_, Some(State::Open(open, f, key))) if !is_of(event, f, key.as_ref()) => {
                Err(Malformed::Mismatch {
                    index,
                    process,
                    open: *open,
                    expected: said(f, key.as_ref()),
                    got: said(&event.f, event.key.as_ref()),
                })
            }
            (EventKind::Info, Some(&State::Open(open, ..))) => {
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

/// Whether a completion may be that of an invocation: it names the same function, and no other key.
fn is_of(event: &Event, f: &str, key: Option<&Key>) -> bool {
    event.f == f && (event.key.is_none() || key.is_none() || event.key.as_ref() == key)
}

fn said(f: &str, key: Option<&Key>) -> String {
    key.map_or_else(|| f.to_owned(), |key| format!("{f} of {key}"))
}
