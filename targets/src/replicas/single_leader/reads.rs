//! Who may answer a read, and when.
//!
//! `leader-quorum` is Raft's read index (Ongaro's thesis, 6.4): a read notes the commit position, waits
//! until a majority has answered a message that was sent *after* the read arrived, and until that position
//! (and the term's first entry) is applied; then the state is as new as anything that had been
//! acknowledged before. `leader` waits only for the term's first entry, so a new leader knows all that its
//! predecessor acknowledged, but a deposed one does not know that it is deposed (D07). `leader-lease` asks nobody while a lease
//! runs, and else as `leader-quorum` does. `any` and `sticky` answer from the replica's applied state; `window` as `leader` for a while after
//! the session's own write and then as `any`; `caught-up` as `any`, once the replica has what the session has seen (Terry et
//! al. 1994).

use super::bugs::Bug;
use super::config::ReadMode;
use super::leader::Leadership;
use super::message::{Query, Refusal, Reply, Request};
use super::state::Outcome;
use super::{Replica, Role};
use crate::replicas::{LogPosition, Millis, NodeName, RequestId};

/// A read that waits.
#[derive(Debug)]
pub(super) struct PendingRead {
    pub(super) id: RequestId,
    query: Query,
    /// What must be applied before the answer.
    index: LogPosition,
}

/// A read that waits for what its session has seen.
#[derive(Debug)]
pub(super) struct Behind {
    read: PendingRead,
    since: Millis,
}

/// The reads of a leader, from arrival to answer. One confirmation is under way at a time; the reads that
/// arrive meanwhile share the next.
#[derive(Debug, Default)]
pub(super) struct Reads {
    arrived: Vec<PendingRead>,
    confirming: Vec<PendingRead>,
    /// Answers to messages of this number or later confirm `confirming`.
    round: u64,
    confirmed: Vec<PendingRead>,
}

impl Reads {
    pub(super) fn len(&self) -> usize {
        self.arrived.len() + self.confirming.len() + self.confirmed.len()
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = PendingRead> {
        self.arrived
            .into_iter()
            .chain(self.confirming)
            .chain(self.confirmed)
    }
}

impl Replica {
    pub(super) fn on_read(&mut self, request: &Request, query: Query) {
        match self.config.read {
            ReadMode::Window if self.in_window(request) => self.read_as_leader(request.id, query),
            ReadMode::Any | ReadMode::Window => self.read_here(request.id, &query),
            ReadMode::Sticky => self.read_sticky(request, &query),
            ReadMode::CaughtUp => self.read_caught_up(request, query),
            ReadMode::Leader | ReadMode::LeaderQuorum | ReadMode::LeaderLease => {
                self.read_as_leader(request.id, query);
            }
        }
    }

    fn in_window(&self, request: &Request) -> bool {
        let since = request.session.since_write;
        since.is_some_and(|since| since < self.config.window)
    }

    /// The own applied state, whatever the role.
    pub(super) fn read_local(&mut self, id: RequestId, query: &Query) {
        let reply = self.reply_from(self.state.read(query));
        self.reply(id, reply);
    }

    fn read_here(&mut self, id: RequestId, query: &Query) {
        if self.serving {
            self.read_local(id, query);
        } else {
            let message = "this replica has not caught up since it started";
            self.refuse(id, Refusal::Joining, message);
        }
    }

    fn refuse(&mut self, id: RequestId, refusal: Refusal, message: &str) {
        let message = message.to_owned();
        self.reply(id, Reply::Refused { refusal, message });
    }

    fn read_caught_up(&mut self, request: &Request, query: Query) {
        let (id, index) = (request.id, request.session.seen);
        if !self.serving || self.applied >= index {
            return self.read_here(id, &query);
        }
        if self.behind.len() >= self.config.pending_max {
            return self.refuse_overload(id);
        }
        let read = PendingRead { id, query, index };
        let since = self.now;
        self.behind.push(Behind { read, since });
    }

    /// Answers the reads whose time has come, and refuses those that have waited too long.
    pub(super) fn answer_behind(&mut self) {
        if self.behind.is_empty() {
            return;
        }
        let (now, applied, patience) = (self.now, self.applied, self.config.commit_timeout);
        let waits = |b: &Behind| b.read.index > applied && now.since(b.since) <= patience;
        let (waiting, over) = std::mem::take(&mut self.behind)
            .into_iter()
            .partition(waits);
        self.behind = waiting;
        let over: Vec<Behind> = over;
        for Behind { read, .. } in over {
            if read.index <= applied {
                self.read_here(read.id, &read.query);
            } else {
                let message = "this replica lacks what the session has seen";
                self.refuse(read.id, Refusal::Behind, message);
            }
        }
    }

    fn read_sticky(&mut self, request: &Request, query: &Query) {
        let session = &request.session;
        match sticky_replica(self.members(), session.number, &session.avoid) {
            Some(name) if *name != self.config.name => {
                let name = name.clone();
                self.reply(request.id, Reply::Redirect(name));
            }
            _ => self.read_here(request.id, query),
        }
    }

    fn read_as_leader(&mut self, id: RequestId, query: Query) {
        let max = self.config.pending_max;
        let committed = self.committed;
        match &mut self.role {
            Role::Leader(lead) if lead.reads.len() < max => {
                let index = committed.max(lead.term_start);
                lead.reads.arrived.push(PendingRead { id, query, index });
            }
            Role::Leader(_) => self.refuse_overload(id),
            _ => self.refuse_or_redirect(id),
        }
    }

    /// Moves reads on as far as they may go.
    pub(super) fn answer_reads(&mut self) {
        self.take_confirmed();
        let trusted = self
            .leadership()
            .is_some_and(|lead| self.trusts_itself(lead));
        if let Role::Leader(lead) = &mut self.role
            && trusted
        {
            lead.reads.confirmed.append(&mut lead.reads.arrived);
        }
        if self.start_confirming() {
            self.replicate_to_all(true);
            self.take_confirmed();
        }
        self.answer_confirmed();
    }

    /// Whether a leader answers without asking who still follows it.
    fn trusts_itself(&self, lead: &Leadership) -> bool {
        match self.config.read {
            ReadMode::LeaderQuorum => self.has(Bug::ReadWithoutQuorum),
            ReadMode::LeaderLease => !lead.reads.arrived.is_empty() && self.holds_lease(lead),
            _ => true,
        }
    }

    fn take_confirmed(&mut self) {
        let Role::Leader(lead) = &self.role else {
            return;
        };
        if lead.reads.confirming.is_empty() && !self.config.leases() {
            return;
        }
        let confirmed = self.confirmed_round(lead);
        if let Role::Leader(lead) = &mut self.role {
            lead.lease.confirmed(confirmed);
            if confirmed >= lead.reads.round {
                lead.reads.confirmed.append(&mut lead.reads.confirming);
            }
        }
    }

    fn start_confirming(&mut self) -> bool {
        let Role::Leader(lead) = &mut self.role else {
            return false;
        };
        if !lead.reads.confirming.is_empty() || lead.reads.arrived.is_empty() {
            return false;
        }
        lead.reads.confirming = std::mem::take(&mut lead.reads.arrived);
        lead.reads.round = lead.round + 1;
        true
    }

    fn answer_confirmed(&mut self) {
        let applied = self.applied;
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let (ready, waiting) = std::mem::take(&mut lead.reads.confirmed)
            .into_iter()
            .partition(|read| read.index <= applied);
        lead.reads.confirmed = waiting;
        let ready: Vec<PendingRead> = ready;
        for read in ready {
            self.read_local(read.id, &read.query);
        }
    }

    /// The highest message number of this term that a majority has answered: at the moment when such a
    /// message was sent this node still led. New nodes without a vote do not count.
    pub(super) fn confirmed_round(&self, lead: &Leadership) -> u64 {
        let others = self.quorum(lead);
        let mut rounds: Vec<_> = others.map(|p| p.map_or(0, |p| p.acked_round)).collect();
        if self.is_member() {
            rounds.push(u64::MAX);
        }
        rounds.sort_unstable_by(|a, b| b.cmp(a));
        rounds.get(self.majority() - 1).copied().unwrap_or(0)
    }

    pub(super) fn reply_from(&self, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::Done { value, version } => Reply::Done {
                value,
                term: self.hard.term,
                version,
                seen: self.applied,
            },
            Outcome::Precondition(conflict) => Reply::Precondition(conflict),
        }
    }
}

/// The replica of a session: the same for every node that is asked. Rendezvous hashing, so that when a
/// session has found its replica dead (`avoid`) only that session moves, and always to the same next one.
pub fn sticky_replica<'a>(
    members: &'a [NodeName],
    session: u64,
    avoid: &[NodeName],
) -> Option<&'a NodeName> {
    let alive = members.iter().filter(|member| !avoid.contains(member));
    alive.max_by_key(|member| weight(session, member.as_str()))
}

/// FNV-1a over the session and the name, then the finalizer of `SplitMix64`.
fn weight(session: u64, name: &str) -> u64 {
    let bytes = session.to_le_bytes().into_iter().chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_spread_over_replicas_and_move_only_when_theirs_is_dead() {
        let members: Vec<NodeName> = (1..=3).map(|n| NodeName::from(format!("n{n}"))).collect();
        let mut counts = std::collections::BTreeMap::new();
        for session in 0..300 {
            let first = sticky_replica(&members, session, &[]).unwrap();
            *counts.entry(first.clone()).or_insert(0) += 1;
            let second = sticky_replica(&members, session, std::slice::from_ref(first)).unwrap();
            assert_ne!(first, second);
            let other = members
                .iter()
                .find(|m| *m != first && *m != second)
                .unwrap();
            let kept = sticky_replica(&members, session, std::slice::from_ref(other)).unwrap();
            assert_eq!(kept, first);
        }
        assert!(counts.values().all(|count| *count > 50), "{counts:?}");
    }
}
