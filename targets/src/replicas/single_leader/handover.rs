//! Handing over: a leader that leaves, or that is less wanted than another, names who is to follow it.
//!
//! Leadership transfer (Ongaro's thesis, section 3.10), as `MongoDB` uses it for the priorities of its members: a node of a higher
//! priority that has everything takes over from one of a lower, and one of priority 0 never leads.

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
        let asked = lead.handed_over.unwrap_or(lead.since);
        if self.now.since(asked) < pause {
            return;
        }
        let own = self.config.priority_of(&self.config.name);
        let able = lead.progress.iter().filter(|(name, progress)| {
            progress.voter && self.is_in_sync(lead, name) && progress.matched == self.log.last()
        });
        let wanted = able.max_by_key(|(name, _)| (self.config.priority_of(name), Reverse(*name)));
        let wanted = wanted.filter(|(name, _)| self.config.priority_of(name) > own);
        if let Some(name) = wanted.map(|(name, _)| name.clone()) {
            self.hand_over(&name);
        }
    }

    /// The voter that has most of the log, of those that may lead.
    pub(super) fn successor(&self) -> Option<NodeName> {
        let Role::Leader(lead) = &self.role else {
            return None;
        };
        let able = lead.progress.iter().filter(|(name, progress)| {
            progress.voter && self.members().contains(name) && self.config.may_lead(name)
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
