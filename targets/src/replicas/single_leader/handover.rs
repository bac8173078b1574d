//! Handing over: a leader that leaves, or that is less wanted than another, names who is to follow it.
//!
//! Leadership transfer (Ongaro's thesis, section 3.10), as `MongoDB` uses it for the priorities of its members: a node of a higher
//! priority that has everything takes over from one of a lower. One of priority 0 leads only where nobody else has what it has, until
//! it has handed that on: `MongoDB`'s members would fetch it from one another, Raft's get everything from a leader. Who is about to
//! give way takes no writes, so that the next one can have all of them, and answers those it took.

use std::cmp::Reverse;

use super::config::Failover;
use super::message::Message;
use super::{Replica, Role};
use crate::replicas::{Millis, NodeName, Term};

impl Replica {
    /// Where a member is wanted more, it shall lead: writes wait until it has all that this leader has, or an election time-out is over.
    pub(super) fn yield_to_wanted(&mut self) {
        let Some(wanted) = self.wanted() else {
            return;
        };
        let pause = Millis(self.config.election_timeout.0.saturating_mul(2));
        let (now, at_once) = (self.now, self.must_give_way());
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let last = lead.gave_way.or((!at_once).then_some(lead.since));
        if last.is_none_or(|last| now.since(last) >= pause) {
            lead.gave_way = Some(now);
            lead.handed_over = false;
        }
        let handed_over = lead.handed_over;
        let owes = lead.waiting() > 0;
        if self.gives_way() && !handed_over && !owes && self.has_all(&wanted) {
            self.hand_over(&wanted);
        }
    }

    /// The member that is wanted most, if it is wanted more than this leader and could lead.
    fn wanted(&self) -> Option<NodeName> {
        let lead = self.leadership();
        let lead = lead.filter(|_| self.config.failover == Failover::Consensus)?;
        let priority = |name| self.config.priority_of(name);
        let own = priority(&self.config.name);
        let all = lead.progress.iter();
        let able = all.filter(|(name, progress)| progress.voter && self.is_in_sync(lead, name));
        let more = able
            .map(|(name, _)| name)
            .filter(|name| priority(name) > own);
        more.max_by_key(|name| (priority(name), Reverse(*name)))
            .cloned()
    }

    /// Whether this leader takes no writes, so that another may come to have all of them.
    pub(super) fn gives_way(&self) -> bool {
        let recent = |since| self.now.since(since) <= self.config.election_timeout;
        let lead = self.leadership();
        self.must_give_way() || lead.and_then(|lead| lead.gave_way).is_some_and(recent)
    }

    /// Whether this node is not to lead for longer than it must.
    fn must_give_way(&self) -> bool {
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
            lead.handed_over = true;
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
