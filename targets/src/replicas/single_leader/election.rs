//! Who leads: candidacies, votes, and stepping down.
//!
//! Raft, sections 5.2 and 5.4.1, with pre-vote (Ongaro's thesis, 9.6): a node that was cut off asks first
//! whether it would win, and so does not disturb a working leader when it returns. The other two ways are
//! `failover=off` (the first node leads and nobody else ever does) and `naive` (in `naive.rs`).

use std::collections::BTreeSet;

use super::bugs::Bug;
use super::config::Failover;
use super::fetch::Fetching;
use super::leader::Leadership;
use super::message::{HardState, Message, Refusal, Reply};
use super::naive::Asking;
use super::{Replica, Role};
use crate::replicas::{LogPosition, Millis, NodeName, Term};

/// A try to become leader.
#[derive(Debug)]
pub(super) enum Candidacy {
    /// Asking who would vote for us.
    PreVote(BTreeSet<NodeName>),
    /// Asking for votes.
    Vote(BTreeSet<NodeName>),
    /// Asking who is how far.
    Asking(Asking),
    /// Waiting for a copy of what another has.
    Fetching(Fetching),
}

impl Replica {
    pub(super) fn on_election_timeout(&mut self) {
        self.reset_election_timer();
        match self.config.failover {
            Failover::Off if self.must_ask_first() => {
                if !self.goes_on_fetching() {
                    self.ask_around();
                }
            }
            Failover::Off if self.config.is_fixed_leader() => {
                self.lead(Term(self.hard.term.0 + 1));
            }
            Failover::Naive if self.may_campaign() => self.ask_around(),
            Failover::Consensus if self.may_campaign() => self.ask_for_votes(),
            _ => self.leader = None,
        }
    }

    /// Whether it may try to lead.
    pub(super) fn may_campaign(&self) -> bool {
        let has_vote = self.hard.voter || self.config.failover != Failover::Consensus;
        let wanted = self.hinders || self.config.may_lead(&self.config.name);
        has_vote && (self.is_member() || self.may_be_needed()) && wanted
    }

    /// Asks who would vote for it.
    fn ask_for_votes(&mut self) {
        self.counters.elections += 1;
        self.role = Role::Candidate(Candidacy::PreVote(self.own_vote()));
        self.request_votes(Term(self.hard.term.0 + 1), true, false);
    }

    /// Stands for election; `handed_over` where the leader itself asked for it.
    pub(super) fn stand(&mut self, handed_over: bool) {
        let term = Term(self.hard.term.0 + 1);
        self.note(format!("candidate in term {term}"));
        self.hard.term = term;
        self.hard.voted_for = Some(self.config.name.clone());
        self.save_hard_state();
        self.role = Role::Candidate(Candidacy::Vote(self.own_vote()));
        self.request_votes(term, false, handed_over);
    }

    fn own_vote(&self) -> BTreeSet<NodeName> {
        BTreeSet::from([self.config.name.clone()])
    }

    fn request_votes(&mut self, term: Term, pre: bool, handed_over: bool) {
        self.leader = None;
        self.heard = None;
        let last = self.log.last_id();
        self.send_to_all(&Message::VoteRequest {
            term,
            pre,
            handed_over,
            last,
        });
        self.count_votes();
    }

    pub(super) fn on_vote_request(
        &mut self,
        from: &NodeName,
        term: Term,
        pre: bool,
        handed_over: bool,
        last: (Term, LogPosition),
    ) {
        let leased = !pre && !handed_over && self.has_granted_lease();
        if self.config.failover != Failover::Consensus || leased {
            return;
        }
        if !pre && term > self.hard.term {
            self.become_follower(term, None);
        }
        self.hinders |= last < self.log.last_id();
        let granted = self.hard.voter
            && (last >= self.log.last_id() || self.has(Bug::SkipLogCheck))
            && if pre {
                self.would_vote(term)
            } else {
                self.may_vote(from, term)
            };
        if granted && !pre {
            self.hard.voted_for = Some(from.clone());
            self.save_hard_state();
            self.reset_election_timer();
        }
        let term = if granted { term } else { self.hard.term };
        self.send(from, Message::VoteAnswer { term, pre, granted });
    }

    /// Whether a leader may be reading on the strength of this node's last answer: then a vote for another would
    /// break its lease (Ongaro's thesis, 6.4.1), whatever terms this node has heard of meanwhile. A node that has just
    /// started does not remember whether it gave one.
    fn has_granted_lease(&self) -> bool {
        let given = self.promised.unwrap_or(self.started);
        let runs = self.now.since(given) < self.config.election_timeout;
        self.config.leases() && runs
    }

    /// A pre-vote is refused while a leader is heard: its followers do not want another.
    fn would_vote(&self, term: Term) -> bool {
        term > self.hard.term && self.leadership().is_none() && !self.hears_leader()
    }

    fn may_vote(&self, candidate: &NodeName, term: Term) -> bool {
        let free = self
            .hard
            .voted_for
            .as_ref()
            .is_none_or(|voted| voted == candidate);
        let free = free || self.has(Bug::VoteTwiceInATerm);
        term == self.hard.term && free && self.leadership().is_none()
    }

    pub(super) fn hears_leader(&self) -> bool {
        let recent = |heard| self.now.since(heard) < self.config.election_timeout;
        self.leader.is_some() && self.heard.is_some_and(recent)
    }

    pub(super) fn on_vote_answer(&mut self, from: &NodeName, term: Term, pre: bool, granted: bool) {
        if !granted && term > self.hard.term && self.config.failover == Failover::Consensus {
            self.become_follower(term, None);
            return;
        }
        let asked = if pre {
            Term(self.hard.term.0 + 1)
        } else {
            self.hard.term
        };
        if !granted || term != asked {
            return;
        }
        match &mut self.role {
            Role::Candidate(Candidacy::PreVote(votes)) if pre => votes.insert(from.clone()),
            Role::Candidate(Candidacy::Vote(votes)) if !pre => votes.insert(from.clone()),
            _ => return,
        };
        self.count_votes();
    }

    fn count_votes(&mut self) {
        let enough = |votes: &BTreeSet<NodeName>| {
            let counted = votes.iter().filter(|name| self.members().contains(name));
            counted.count() >= self.majority()
        };
        match &self.role {
            Role::Candidate(Candidacy::PreVote(votes)) if enough(votes) => {
                self.reset_election_timer();
                self.stand(false);
            }
            Role::Candidate(Candidacy::Vote(votes)) if enough(votes) => {
                self.lead(self.hard.term);
            }
            _ => {}
        }
    }

    /// Becomes leader in `term`, which nobody else leads.
    pub(super) fn lead(&mut self, term: Term) {
        let own = Some(self.config.name.clone());
        let hard = HardState {
            term,
            voted_for: own.clone(),
            voter: true,
        };
        if hard != self.hard {
            self.hard = hard;
            self.save_hard_state();
        }
        self.leader = own;
        self.counters.terms_led += 1;
        let term_start = self.log.last().next();
        let peers = self.other_members().cloned();
        let lead = Leadership::new(peers, self.now, term_start);
        self.role = Role::Leader(Box::new(lead));
        self.note(format!(
            "leader of term {term}, log up to {}",
            term_start.previous()
        ));
        self.begin_term();
    }

    /// Follows: `leader` if it is known. A leader that gives way tells those who wait what is known about
    /// their requests, and that is nothing: their entries may still be committed by the next leader.
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeName>) {
        if let Role::Leader(lead) = std::mem::replace(&mut self.role, Role::Follower) {
            self.abdicate(*lead);
            self.reset_election_timer();
        }
        if term > self.hard.term {
            self.hard.term = term;
            self.hard.voted_for = None;
            self.save_hard_state();
        }
        if let Some(name) = leader.as_ref().filter(|_| leader != self.leader) {
            self.note(format!("follower of {name} in term {term}"));
        }
        self.leader = leader;
        self.heard = None;
        self.verified = LogPosition::START;
        self.answered = LogPosition::START;
        self.last_round = 0;
        self.wants_snapshot = false;
        self.serve_from = None;
    }

    fn abdicate(&mut self, lead: Leadership) {
        self.note(format!("steps down from term {}", self.hard.term));
        for (position, waiting) in lead.pending {
            let message = format!("this node ceased to lead with the entry at {position} pending");
            self.reply(waiting.id, Reply::Unknown { message });
        }
        for id in lead.concerned.into_ids() {
            let message = "this node ceased to lead before enough nodes had it".to_owned();
            self.reply(id, Reply::Unknown { message });
        }
        let reads = lead.reads.into_all().map(|read| read.id);
        for id in reads.chain(lead.joining.map(|joining| joining.id)) {
            let message = "this node has ceased to lead".to_owned();
            self.reply(
                id,
                Reply::Refused {
                    refusal: Refusal::NoLeader,
                    message,
                },
            );
        }
    }

    /// Check-quorum (Ongaro's thesis, 6.2): a leader that a majority does not answer gives way.
    pub(super) fn check_quorum(&mut self) {
        let (now, timeout) = (self.now, self.config.election_timeout);
        let Role::Leader(lead) = &self.role else {
            return;
        };
        if !self.config.checks_quorum() || now.since(lead.since) <= timeout {
            return;
        }
        if !self.majority_answers(lead) {
            self.note("no majority answers".to_owned());
            self.become_follower(self.hard.term, None);
        }
    }

    /// Whether a majority has been heard within an election time-out, by the clock that leases run by.
    fn majority_answers(&self, lead: &Leadership) -> bool {
        let timeout = self.config.election_timeout;
        if self.config.leases_by_wall_clock() && self.majority() > 1 {
            let since = self.confirmed_since(lead);
            return since.is_some_and(|since| since <= timeout);
        }
        let recent = |heard: Millis| self.now.since(heard) <= timeout;
        let answering = self.quorum(lead).flatten();
        let answering = answering.filter(|p| p.heard.is_some_and(recent)).count();
        answering + usize::from(self.is_member()) >= self.majority()
    }
}
