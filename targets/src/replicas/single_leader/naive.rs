//! Naive take-over: after a time-out a follower asks whom it can see how far they are, and the most
//! up-to-date of those takes over.
//!
//! No vote, no quorum, no fencing: behind a partition the old leader goes on acknowledging, and when both
//! sides meet, the higher term wins and the other side's writes are thrown away. This is what home-made
//! failover scripts do (GitHub's incident of 2012 is the classic), kept here to show what it costs. Terms
//! are ballots (term modulo the number of nodes = the node's index, as Paxos numbers its proposals), so two
//! blind leaders at least never share a term, and "same term and position" still means "same entry".
//! (Unless a node is wiped and leads alone before it has seen anybody: then it may number a term again.)
//! The same questions let a first node under `failover=off` that has lost its data learn what it has led before.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::config::Failover;
use super::election::Candidacy;
use super::message::{Message, PositionReport};
use super::{Replica, Role};
use crate::replicas::{LogPosition, Millis, NodeName, Term};

/// One round of questions.
#[derive(Debug)]
pub(super) struct Asking {
    round: u64,
    /// The leader that fell silent; its answer is not waited for.
    lost: Option<NodeName>,
    until: Millis,
    reports: BTreeMap<NodeName, PositionReport>,
}

type Rank<'a> = (bool, (Term, LogPosition), u64, Reverse<&'a NodeName>);

impl Replica {
    pub(super) fn ask_around(&mut self) {
        let lost = self.leader.take();
        let round = self.question();
        let until = self.now.plus(self.config.election_timeout);
        self.counters.elections += 1;
        self.note("no leader is heard: asking who is how far".to_owned());
        let asking = Asking {
            round,
            lost,
            until,
            reports: BTreeMap::new(),
        };
        self.role = Role::Candidate(Candidacy::Asking(asking));
        self.send_to_all(&Message::PositionQuery { round });
    }

    pub(super) fn on_position_query(&mut self, from: &NodeName, round: u64) {
        if self.config.failover == Failover::Consensus {
            return;
        }
        let report = self.own_report();
        self.send(from, Message::PositionAnswer { round, report });
    }

    fn own_report(&self) -> PositionReport {
        PositionReport {
            term: self.hard.term,
            voter: self.hard.voter,
            last: self.log.last_id(),
            sees_leader: self.leadership().is_some() || self.hears_leader(),
        }
    }

    pub(super) fn on_position_answer(
        &mut self,
        from: &NodeName,
        round: u64,
        report: PositionReport,
    ) {
        if let Role::Candidate(Candidacy::Asking(asking)) = &mut self.role
            && asking.round == round
        {
            asking.reports.insert(from.clone(), report);
        }
    }

    /// Ends the round once everybody but the lost leader has answered, or the time is up.
    pub(super) fn finish_asking(&mut self) {
        let Role::Candidate(Candidacy::Asking(asking)) = &self.role else {
            return;
        };
        let missing = self
            .other_members()
            .any(|peer| asking.lost.as_ref() != Some(peer) && !asking.reports.contains_key(peer));
        if missing && self.now < asking.until {
            return;
        }
        let Role::Candidate(Candidacy::Asking(asking)) =
            std::mem::replace(&mut self.role, Role::Follower)
        else {
            return;
        };
        self.reset_election_timer();
        if self.config.is_fixed_leader() {
            return if missing {
                self.ask_around();
            } else {
                self.lead_or_fetch(&asking.reports);
            };
        }
        if self.is_best(&asking.reports) {
            let highest = asking.reports.values().map(|report| report.term).max();
            let highest = highest.unwrap_or_default().max(self.hard.term);
            self.lead(self.next_ballot(highest));
        }
    }

    /// A number for a question that no other question of this node has, in this life or another.
    pub(super) fn question(&self) -> u64 {
        self.config.seed.wrapping_add(self.now.0)
    }

    fn is_best(&self, reports: &BTreeMap<NodeName, PositionReport>) -> bool {
        let own = self.own_report();
        let mine = self.rank(&self.config.name, &own);
        let mut members = reports
            .iter()
            .filter(|(name, _)| self.members().contains(name));
        members.all(|(name, report)| {
            let ahead = self.config.may_lead(name) && self.rank(name, report) > mine;
            !report.sees_leader && !ahead
        })
    }

    fn rank<'a>(&self, name: &'a NodeName, report: &PositionReport) -> Rank<'a> {
        let priority = self.config.priority_of(name);
        (report.voter, report.last, priority, Reverse(name))
    }

    pub(super) fn next_ballot(&self, highest: Term) -> Term {
        let nodes = self.config.members.len() as u64;
        let own = self
            .config
            .members
            .iter()
            .position(|name| *name == self.config.name);
        let own = own.unwrap_or_default() as u64;
        let next = highest.0 + 1;
        Term(next + (own + nodes - next % nodes) % nodes)
    }
}
