//! How a node without data, or whose data cannot be trusted, becomes a voter.
//!
//! A node that was wiped has forgotten its votes and the entries that it acknowledged: were it to vote,
//! a majority could be formed without a committed entry. So it starts without a vote, is not counted in
//! quorums, and is admitted by a leader that has confirmed its leadership with a majority of the *others*
//! since the node came back. The one exception is the birth of the cluster: when every node says that it
//! has never voted nor stored anything, all are voters.

use super::Replica;
use super::config::Failover;
use super::leader::Leadership;
use super::message::Message;
use crate::replicas::{LogPosition, NodeName, Term};

impl Replica {
    /// On start: damaged data take the vote away; a log newer than the saved term raises it.
    pub(super) fn distrust(&mut self, damaged: bool) {
        let (last_term, _) = self.log.last_id();
        let raise = last_term > self.hard.term;
        if raise {
            self.hard.term = last_term;
            self.hard.voted_for = None;
        }
        if damaged {
            self.hard.voter = false;
            self.note("durable data are missing: joins again, without a vote".to_owned());
        }
        if raise || damaged {
            self.save_hard_state();
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        self.hard.term == Term(0)
            && self.hard.voted_for.is_none()
            && self.log.last() == LogPosition::START
    }

    fn seeks_birth(&self) -> bool {
        self.config.failover == Failover::Consensus && !self.hard.voter && self.is_blank()
    }

    /// Asks the others, a few times a second, whether the cluster is being born.
    pub(super) fn look_for_others(&mut self) {
        if !self.seeks_birth() || self.now < self.hello_due {
            return;
        }
        self.hello_due = self.now.plus(self.config.heartbeat);
        self.send_to_all(&Message::Hello {
            blank: true,
            answer: false,
        });
        self.try_birth();
    }

    pub(super) fn on_hello(&mut self, from: &NodeName, blank: bool, answer: bool) {
        if blank {
            self.blank_seen.insert(from.clone());
        }
        if !answer {
            let blank = self.is_blank();
            self.send(
                from,
                Message::Hello {
                    blank,
                    answer: true,
                },
            );
        }
        self.try_birth();
    }

    /// No node can have voted or stored anything before all of them have been seen blank by it; so
    /// whoever has seen all others blank may begin, even if some have begun already.
    fn try_birth(&mut self) {
        if self.seeks_birth()
            && self
                .config
                .peers()
                .all(|peer| self.blank_seen.contains(peer))
        {
            self.hard.voter = true;
            self.save_hard_state();
            self.note("every node is new: the cluster begins".to_owned());
        }
    }

    /// Whether the leader may make this follower a voter now.
    pub(super) fn may_admit(&self, lead: &Leadership, name: &NodeName) -> bool {
        let Some(progress) = lead.progress.get(name) else {
            return false;
        };
        // With the term's first entry it has all that was committed in earlier terms.
        let caught_up = progress.matched >= self.committed.max(lead.term_start);
        let confirmed = self.config.failover != Failover::Consensus
            || progress
                .joining_since
                .is_some_and(|round| self.confirmed_round(lead) >= round);
        // One that is about to be a member has its vote before it counts: those there are might not be a majority of the new list.
        let joins = lead
            .joining
            .as_ref()
            .is_some_and(|joining| joining.node == *name);
        let expected = joins || self.members().contains(name);
        progress.heard.is_some() && !progress.voter && expected && caught_up && confirmed
    }
}
