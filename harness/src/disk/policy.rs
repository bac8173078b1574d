//! How a disk fails: which calls are refused, with which error, and which are late.

use nix::errno::Errno;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// What changes a file or a name.
    Write,
    /// fsync and fdatasync, of files and of folders.
    Sync,
    /// What reads a file, or lists a folder.
    Read,
}

impl Call {
    /// Every kind.
    pub(crate) const ALL: [Self; 3] = [Self::Write, Self::Sync, Self::Read];

    /// Its name in options.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Read => "read",
        }
    }
}

/// What a fault does to a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// What needs room is refused: ENOSPC. What lies in a file already can be written over.
    Full,
    /// These calls are refused: EIO.
    Broken(Vec<Call>),
    /// These calls take so much longer.
    Late(Vec<Call>, Duration),
}

/// The faults that a disk has now.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    state: Mutex<State>,
    let_go: Condvar,
    refused: AtomicU64,
    late: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    rules: BTreeMap<u64, Rule>,
    /// How often those that wait were let go.
    released: u64,
}

impl Policy {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the disk fails in this way too.
    pub(crate) fn set(&self, fault: u64, rule: Rule) {
        self.lock().rules.insert(fault, rule);
    }

    /// The fault is over; who waits on its behalf waits no longer.
    pub(crate) fn lift(&self, fault: u64) {
        self.lock().rules.remove(&fault);
        self.release();
    }

    /// Lets go whoever waits: the caller has been killed, and could not end before it has its answer.
    pub(crate) fn release(&self) {
        self.lock().released += 1;
        self.let_go.notify_all();
    }

    /// How many calls of the node have been refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many calls of the node have been late so far.
    pub(crate) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Whether this call is refused, and how: by the latest fault that does; `grows`: it needs room. The calls of our own probe are not counted.
    pub(super) fn refuse(&self, call: Call, grows: bool, own: bool) -> Option<Errno> {
        let state = self.lock();
        let refusal = state.rules.values().rev().find_map(|rule| match rule {
            Rule::Full => grows.then_some(Errno::ENOSPC),
            Rule::Broken(calls) => calls.contains(&call).then_some(Errno::EIO),
            Rule::Late(..) => None,
        });
        if refusal.is_some() && !own {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        refusal
    }

    /// How much longer this call takes.
    pub(super) fn delay(&self, call: Call) -> Duration {
        let state = self.lock();
        let delays = state.rules.values().filter_map(|rule| match rule {
            Rule::Late(calls, by) if calls.contains(&call) => Some(*by),
            _ => None,
        });
        delays.sum()
    }

    /// Whether the disk says that it has no room.
    pub(super) fn full(&self) -> bool {
        self.lock().rules.values().any(|rule| *rule == Rule::Full)
    }

    /// Waits so long, or until it is let go.
    pub(super) fn wait(&self, delay: Duration, own: bool) {
        if !own {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        let until = Instant::now() + delay;
        let mut state = self.lock();
        let released = state.released;
        while state.released == released {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.let_go.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_one_disk_add_up_and_are_lifted_one_by_one() {
        let policy = Policy::default();
        let ms = Duration::from_millis;
        policy.set(1, Rule::Late(vec![Call::Sync], ms(5)));
        policy.set(2, Rule::Late(vec![Call::Sync, Call::Read], ms(2)));
        policy.set(3, Rule::Full);
        policy.set(4, Rule::Broken(vec![Call::Read]));
        assert_eq!(policy.delay(Call::Sync), ms(7));
        assert_eq!(policy.delay(Call::Write), ms(0));
        let refuse = |call, grows| policy.refuse(call, grows, false);
        assert_eq!(refuse(Call::Write, true), Some(Errno::ENOSPC));
        assert_eq!(refuse(Call::Write, false), None);
        assert_eq!(refuse(Call::Read, false), Some(Errno::EIO));
        assert_eq!(policy.refuse(Call::Read, false, true), Some(Errno::EIO));
        assert_eq!(policy.refused(), 2, "our own is not counted");
        for fault in [1, 3, 4] {
            policy.lift(fault);
        }
        assert_eq!(policy.delay(Call::Sync), ms(2));
        assert_eq!(policy.refuse(Call::Read, true, false), None);
        assert!(!policy.full());
    }

    #[test]
    fn who_waits_is_let_go_when_the_fault_is_lifted() {
        let policy = Policy::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| policy.wait(Duration::from_secs(3600), false));
            while !waits.is_finished() {
                policy.lift(1);
                std::thread::yield_now();
            }
        });
        assert_eq!(policy.late(), 1);
    }
}
