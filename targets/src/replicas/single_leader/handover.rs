//! Handing over: a leader that leaves, or that is less wanted than another, names who is to follow it.
//!
//! Leadership transfer (Ongaro's thesis, section 3.10), as `MongoDB` uses it for the priorities of its members: a node of a higher
//! priority that has everything takes over from one of a lower. One of priority 0 leads only where nobody else has what it has, until
//! it has handed that on: `MongoDB`'s members would fetch it from one another, Raft's get everything from a leader. Who is about to
//! give way takes no writes, so that the next one can have all of them.

use std::cmp::Reverse;

use super::config::Failover;
use super::message::Message;
use super::{Replica, Role};
use crate::replicas::{Millis, NodeName, Term};

impl Replica {
    /// Where a member that is wanted more has all that this leader has, it shall lead.
    pub(super) fn yield_to_wanted(&mut self) {
        let Role::Leader(lead) = &self.role else {
            return;
        };
        let pause = Millis(self.config.election_timeout.0.saturating_mul(2));
        let last = lead.handed_over;
        let last = last.or(Some(lead.since).filter(|_| !self.gives_way()));
        if last.is_some_and(|asked| self.now.since(asked) < pause) {
            return;
        }
        let own = self.config.priority_of(&self.config.name);
        let able = lead.progress.iter().filter(|(name, progress)| {
            progress.voter && self.is_in_sync(lead, name) && self.has_all(name)
        });
        let wanted = able.max_by_key(|(name, _)| (self.config.priority_of(name), Reverse(*name)));
        let wanted = wanted.filter(|(name, _)| self.config.priority_of(name) > own);
        if let Some(name) = wanted.map(|(name, _)| name.clone()) {
            self.hand_over(&name);
        }
    }

    /// Whether this leader leads only until another can.
    pub(super) fn gives_way(&self) -> bool {
        let unwanted = !self.config.may_lead(&self.config.name);
        self.config.failover == Failover::Consensus && (unwanted || !self.is_member())
    }

    /// Whether a node has all that this leader has.
    pub(super) fn has_all(&self, name: &NodeName) -> bool {
        let progress = self.leadership().and_then(|lead| lead.progress.get(name));
        progress.is_some_and(|progress| progress.matched == self.log.last())
    }

    /// The voter that has most of the log, of those that may lead and answer.
    pub(super) fn successor(&self) -> Option<NodeName> {
        let Role::Leader(lead) = &self.role else {
            return None;
        };
        let able = lead.progress.iter().filter(|(name, progress)| {
            progress.voter && self.is_in_sync(lead, name) && self.config.may_lead(name)
        });
        let best = able.max_by_key(|(name, progress)| (progress.matched, Reverse(*name)));
        best.map(|(name, _)| name.clone())
    }

    /// Asks a node to stand for election at once.
    pub(super) fn hand_over(&mut self, to: &NodeName) {
        if self.config.failover != Failover::Consensus {
            return;
        }
        self.note(format!("hands over to {to}"));
        if let Role::Leader(lead) = &mut self.role {
            lead.handed_over = Some(self.now);
            lead.lease.give_up();
        }
        let term = self.hard.term;
        self.send(to, Message::TimeoutNow { term });
    }

    pub(super) fn on_timeout_now(&mut self, from: &NodeName, term: Term) {
        let asked = term == self.hard.term && self.leader.as_ref() == Some(from);
        if asked && self.may_campaign() {
            self.note(format!("{from} hands over"));
            self.reset_election_timer();
            self.stand(true);
        }
    }
}
