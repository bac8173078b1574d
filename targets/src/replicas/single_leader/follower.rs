//! What a follower does with its leader's log: check, truncate, append, install snapshots, answer.
//!
//! Raft, section 5.3 (consistency check) and 7 (snapshots). Beyond Raft: where acknowledging early or a
//! naive take-over has let a follower *apply* entries that the new leader does not have, the state is
//! rebuilt from the own snapshot and the log that is left, or, where the own snapshot already holds such
//! entries, replaced by the leader's.

use std::sync::Arc;

use super::bugs::Bug;
use super::message::{Append, AppendAnswer, Effect, Entry, Message, Rejection, Snapshot};
use super::{Replica, Role};
use crate::replicas::{LogPosition, NodeName, Term};

impl Replica {
    pub(super) fn on_append(&mut self, from: &NodeName, append: &Append) {
        if !self.follow(append.term, from) {
            return;
        }
        self.last_round = self.last_round.max(append.round);
        let rejection = self.check(append).or_else(|| self.accept(append));
        self.wants_snapshot |= rejection.is_some_and(|rejection| rejection.needs_snapshot);
        self.answer_leader(rejection);
    }

    /// Follows `leader` in `term`, unless a newer one is known: then it is told.
    fn follow(&mut self, term: Term, leader: &NodeName) -> bool {
        let second_leader = term == self.hard.term && self.leadership().is_some();
        if term < self.hard.term || second_leader || self.config.is_fixed_leader() {
            self.send_answer(leader, None);
            return false;
        }
        let following = matches!(self.role, Role::Follower);
        if term > self.hard.term || !following || self.leader.as_ref() != Some(leader) {
            self.become_follower(term, Some(leader.clone()));
        }
        self.heard = Some(self.now);
        self.promised = Some(self.now);
        self.hinders = false;
        self.reset_election_timer();
        true
    }

    /// The consistency check: does the log hold the entry before the new ones?
    fn check(&self, append: &Append) -> Option<Rejection> {
        let (term, previous) = append.previous;
        if previous == LogPosition::START && append.entries.is_empty() {
            return None;
        }
        if previous > self.log.last() {
            return reject(self.log.last());
        }
        match self.log.term_at(previous) {
            None => reject(self.log.base()),
            Some(own) if own == term || self.has(Bug::KeepConflictingTail) => None,
            Some(_) if previous <= self.snapshot.position => needs_snapshot(),
            Some(_) => reject(
                self.log
                    .before_term_of(previous)
                    .max(self.snapshot.position),
            ),
        }
    }

    fn accept(&mut self, append: &Append) -> Option<Rejection> {
        let through = LogPosition(append.previous.1.0 + append.entries.len() as u64);
        let blind = self.has(Bug::KeepConflictingTail);
        let differs = |entry: &&Arc<Entry>| {
            let known = self.log.term_at(entry.position);
            known != Some(entry.term) && !(blind && known.is_some())
        };
        if let Some(first) = append
            .entries
            .iter()
            .find(differs)
            .map(|entry| entry.position)
        {
            if first <= self.snapshot.position {
                return needs_snapshot();
            }
            self.truncate_after(first.previous());
            let skip = (first.0 - append.previous.1.0 - 1) as usize;
            self.extend(append.entries[skip..].to_vec());
        }
        self.verified = self.verified.max(through);
        self.commit_up_to(append.committed);
        let to_this_life = append.incarnation == Some(self.config.seed);
        if to_this_life {
            self.meet_leader(append.term, append.committed);
        }
        if to_this_life && append.admit && !self.hard.voter && self.verified >= append.committed {
            self.hard.voter = true;
            self.save_hard_state();
            self.note("caught up and admitted".to_owned());
        }
        None
    }

    pub(super) fn extend(&mut self, entries: Vec<Arc<Entry>>) {
        for entry in &entries {
            self.members.learn(entry);
            self.log.push(Arc::clone(entry));
        }
        self.effects.push(Effect::Append {
            epoch: self.epoch,
            entries,
        });
    }

    fn commit_up_to(&mut self, committed: LogPosition) {
        let committed = committed.min(self.verified);
        if committed > self.committed {
            self.committed = committed;
            self.held_back.push_back((self.now, committed));
        }
    }

    /// Notes what must be applied before reads are served: what the leader knew of after this node's start, for a message from before it may
    /// be older than what this node has shown then, and so may one from before it left and came back. And only a leader that has committed
    /// an entry of its own term knows all that was acknowledged before.
    fn meet_leader(&mut self, term: Term, committed: LogPosition) {
        let knows_all = self.log.term_at(committed) == Some(term);
        let knows_members = committed >= self.members.since();
        if knows_all && knows_members && self.serve_from.is_none() {
            self.serve_from = Some(committed);
        }
    }

    fn truncate_after(&mut self, position: LogPosition) {
        if position >= self.log.last() {
            return;
        }
        let cut = self.log.truncate(position);
        self.members.truncate(position);
        self.counters.truncated_entries += cut as u64;
        self.note(format!(
            "truncates {cut} entries after {position}: the leader has others"
        ));
        self.new_epoch();
        self.disk.position = self.disk.position.min(position);
        self.effects.push(Effect::Truncate {
            epoch: self.epoch,
            after: position,
        });
        if self.applied > position {
            self.roll_back(position);
        }
        self.committed = self.committed.min(position);
        self.held_back.retain(|(_, held)| *held <= position);
    }

    /// Applied entries are gone: an acknowledged write may be among them (never under Raft's rules).
    fn roll_back(&mut self, position: LogPosition) {
        let lost = self.applied.0 - position.0;
        self.counters.rolled_back_entries += lost;
        self.note(format!(
            "rolls back {lost} applied entries after {position}"
        ));
        self.state = self.snapshot.state.clone();
        self.applied = self.snapshot.position;
        self.apply_through(position);
    }

    fn new_epoch(&mut self) {
        self.epoch += 1;
        self.disk.epoch = self.epoch;
    }

    pub(super) fn on_install(
        &mut self,
        from: &NodeName,
        term: Term,
        round: u64,
        snapshot: &Arc<Snapshot>,
    ) {
        if !self.follow(term, from) {
            return;
        }
        self.last_round = self.last_round.max(round);
        // One that was asked for is taken even if it is older than the own, which holds what the leader
        // never had; any other only if it is news, for it may be a late copy.
        if self.wants_snapshot || self.is_news(snapshot) {
            self.install(snapshot);
        }
        self.verified = self.verified.max(snapshot.position);
        self.commit_up_to(snapshot.position);
        self.answer_leader(None);
    }

    /// Whether a snapshot has what the log lacks. A late copy of one that was compacted away since has not, and would take back what this
    /// node has vouched for. Where early acknowledgements are rolled back, what is committed here may be unknown to the leader.
    fn is_news(&self, snapshot: &Snapshot) -> bool {
        let known = if self.config.keeps_committed() {
            self.verified.max(self.committed)
        } else {
            self.verified
        };
        let differs = self.log.term_at(snapshot.position) != Some(snapshot.term);
        differs && snapshot.position > known
    }

    pub(super) fn install(&mut self, snapshot: &Arc<Snapshot>) {
        self.note(format!("installs a snapshot at {}", snapshot.position));
        self.counters.snapshots_installed += 1;
        self.counters.rolled_back_entries += self.applied.0.saturating_sub(snapshot.position.0);
        self.wants_snapshot = false;
        self.new_epoch();
        self.disk.position = LogPosition::START;
        self.log = super::Log::new((snapshot.term, snapshot.position), Vec::new());
        self.members = self.members_of(snapshot);
        self.snapshot = Arc::clone(snapshot);
        self.state = snapshot.state.clone();
        self.applied = snapshot.position;
        self.committed = snapshot.position;
        self.held_back.clear();
        let (epoch, snapshot) = (self.epoch, Arc::clone(snapshot));
        self.effects
            .push(Effect::InstallSnapshot { epoch, snapshot });
    }

    /// What this follower may vouch for: equal to the leader's log, and durable.
    pub(super) fn matched(&self) -> LogPosition {
        self.verified.min(self.durable())
    }

    pub(super) fn answer_leader(&mut self, rejection: Option<Rejection>) {
        let Some(leader) = self
            .leader
            .clone()
            .filter(|leader| *leader != self.config.name)
        else {
            return;
        };
        self.answered = self.matched();
        self.send_answer(&leader, rejection);
    }

    fn send_answer(&mut self, to: &NodeName, rejection: Option<Rejection>) {
        let answer = AppendAnswer {
            term: self.hard.term,
            round: self.last_round,
            matched: self.matched(),
            voter: self.hard.voter,
            rejection,
            incarnation: self.config.seed,
        };
        self.send(to, Message::AppendAnswer(answer));
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "every arm of the check answers an Option"
)]
fn reject(hint: LogPosition) -> Option<Rejection> {
    Some(Rejection {
        hint,
        needs_snapshot: false,
    })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "every arm of the check answers an Option"
)]
fn needs_snapshot() -> Option<Rejection> {
    Some(Rejection {
        hint: LogPosition::START,
        needs_snapshot: true,
    })
}
