//! Leases: a leader reads alone for as long as no other can have been elected.
//!
//! Ongaro's thesis, section 6.4.1 (after Gray and Cheriton 1989): who answers a message of the leader promises not to vote for
//! another for an election time-out, so a majority's answers let the leader read for that long, counted from when the messages were
//! *sent*, less what clocks may drift apart. By a wall clock (`lease-clock=wall`) the lease is as long as whoever sets the
//! clock makes it, and so is the time after which a leader that nobody answers steps down: one clock for both, as in a program that knows
//! but one. That is D08.

use std::collections::VecDeque;

use super::Replica;
use super::config::LeaseClock;
use super::leader::Leadership;
use crate::replicas::{Millis, Now};

/// When the messages of a leader were sent, those from the last confirmed one on.
#[derive(Debug, Default)]
pub(super) struct Lease {
    sent: VecDeque<(u64, Now)>,
    given_up: bool,
}

impl Lease {
    /// A message of this number is sent.
    pub(super) fn sent(&mut self, round: u64, now: Now) {
        if self.sent.back().is_none_or(|(_, last)| *last != now) {
            self.sent.push_back((round, now));
        }
    }

    /// A majority has answered messages up to this number.
    pub(super) fn confirmed(&mut self, round: u64) {
        while self.sent.get(1).is_some_and(|(next, _)| *next <= round) {
            self.sent.pop_front();
        }
    }

    /// Another may be elected at any moment from now on, for the leader has asked for it.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
    }
}

impl Replica {
    /// Whether the leader may read without asking anybody.
    pub(super) fn holds_lease(&self, lead: &Leadership) -> bool {
        let age = self.confirmed_since(lead);
        age.is_some_and(|age| age < self.config.lease()) && !lead.lease.given_up
    }

    /// How long ago the last message was sent that a majority has answered, by the clock of leases.
    pub(super) fn confirmed_since(&self, lead: &Leadership) -> Option<Millis> {
        let confirmed = self.confirmed_round(lead);
        let (_, sent) = lead.lease.sent.front().filter(|(n, _)| *n <= confirmed)?;
        Some(match self.config.lease_clock {
            LeaseClock::Monotonic => self.now.since(sent.monotonic),
            LeaseClock::Wall => self.wall.since(sent.wall),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_confirmed_message_is_kept_and_those_after_it() {
        let mut lease = Lease::default();
        for (round, at) in [(1, 10), (2, 10), (3, 20), (4, 30)] {
            lease.sent(round, Millis(at).into());
        }
        lease.confirmed(3);
        assert_eq!(lease.sent.front().map(|(round, _)| *round), Some(3));
        lease.confirmed(3);
        assert_eq!(lease.sent.len(), 2);
    }
}
