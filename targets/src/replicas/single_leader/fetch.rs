//! How the one leader of `failover=off` gets back what it has lost.
//!
//! Nobody else ever leads, so a first node that was wiped, or whose data are damaged, would give its followers its own empty log, and the last
//! copies of what was acknowledged would go (so do replicas of a Redis whose master comes back without a file). It leads only after
//! every other member has said how far it is, and, where one of them is ahead of it, with that one's snapshot and log.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::election::Candidacy;
use super::message::{Copy, Message, PositionReport};
use super::{Log, Replica, Role};
use crate::replicas::{Millis, NodeName, Term};

/// A copy that was asked for.
#[derive(Debug)]
pub(super) struct Fetching {
    from: NodeName,
    round: u64,
    until: Millis,
    /// The latest term that anybody knows.
    highest: Term,
}

impl Replica {
    /// Whether it is the one leader, and may have forgotten what it has led.
    pub(super) fn must_ask_first(&self) -> bool {
        self.config.is_fixed_leader() && !self.hard.voter
    }

    /// Leads, if nobody has more than it has; else it asks whoever has most for all of it.
    pub(super) fn lead_or_fetch(&mut self, reports: &BTreeMap<NodeName, PositionReport>) {
        let terms = reports.values().map(|report| report.term);
        let highest = terms.max().unwrap_or_default().max(self.hard.term);
        let ahead = reports
            .iter()
            .filter(|(_, report)| report.last > self.log.last_id());
        match ahead.max_by_key(|(_, report)| report.last) {
            None => self.lead(self.next_ballot(highest)),
            Some((from, _)) => self.fetch(from.clone(), highest),
        }
    }

    fn fetch(&mut self, from: NodeName, highest: Term) {
        self.note(format!("{from} has what is missing here"));
        let (round, until) = (self.question(), self.now.plus(self.config.commit_timeout));
        self.send(&from, Message::CopyQuery { round });
        self.role = Role::Candidate(Candidacy::Fetching(Fetching {
            from,
            round,
            until,
            highest,
        }));
    }

    /// Whether an answer is still waited for; it is asked for again, for the question may have been lost.
    pub(super) fn goes_on_fetching(&mut self) -> bool {
        let Role::Candidate(Candidacy::Fetching(fetching)) = &self.role else {
            return false;
        };
        let waits = self.now < fetching.until;
        if waits {
            let (to, round) = (fetching.from.clone(), fetching.round);
            self.send(&to, Message::CopyQuery { round });
        }
        waits
    }

    pub(super) fn on_copy_query(&mut self, from: &NodeName, round: u64) {
        let after = self.snapshot.position.next();
        let copy = Copy {
            snapshot: Arc::clone(&self.snapshot),
            entries: self.log.slice(after, usize::MAX, usize::MAX),
        };
        self.send(from, Message::CopyAnswer { round, copy });
    }

    pub(super) fn on_copy_answer(&mut self, from: &NodeName, round: u64, copy: &Copy) {
        let Role::Candidate(Candidacy::Fetching(fetching)) = &self.role else {
            return;
        };
        if fetching.round != round || fetching.from != *from {
            return;
        }
        let highest = fetching.highest;
        self.install(&copy.snapshot);
        let base = (copy.snapshot.term, copy.snapshot.position);
        let entries =
            Log::new(base, copy.entries.clone()).slice(base.1.next(), usize::MAX, usize::MAX);
        self.note(format!(
            "takes {} entries after it from {from}",
            entries.len()
        ));
        self.extend(entries);
        self.lead(self.next_ballot(highest));
    }
}
