//! Planted bugs: mistakes that real systems have shipped, off unless one is asked for by name (`--set bug=...`).
//!
//! The harness' own test that it can still see: a run and the simulator must find each, and find nothing where it is off. Each is one
//! condition at the place where the mistake was made; this file names them and says whose they were.

use super::Replica;
use super::message::Snapshot;
use crate::replicas::LogPosition;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A node grants its vote to everybody who asks in a term, so that a term may have two leaders. `MongoDB`'s first election protocol had no
    /// terms, and let a member vote again after 30 seconds, whatever had become of the first election.
    VoteTwiceInATerm,
    /// A node votes for a candidate that lacks what it has itself, committed entries too. Kafka 0.8 elected a replica that was out of sync when
    /// none in sync could be reached (unclean leader election; Jepsen, 2013).
    SkipLogCheck,
    /// The leader acknowledges what it has itself on its disk, and replicates later. `MongoDB` did by default (`w: 1`) until version 5.0.
    AckBeforeReplicate,
    /// A node vouches for entries that are not on its disk yet. Elasticsearch 1.x synced its transaction log every five seconds, and acknowledged
    /// before (Jepsen, 2015).
    AckBeforeFsync,
    /// A follower takes an entry that it has at a position for the leader's, whatever its term. Kafka truncated by position alone, until leader
    /// epochs came (KIP-101).
    KeepConflictingTail,
    /// A follower applies what was committed together in another order. `MySQL`'s parallel replicas did, without `replica_preserve_commit_order`.
    ApplyOutOfOrder,
    /// The leader reads from its own state without asking whether it still leads. etcd 0.4 and Consul did by default (Jepsen, 2014).
    ReadWithoutQuorum,
    /// A snapshot claims one entry more than its state has. etcd 3.5.0 to 3.5.2 could save the index of an entry without its effect, and after a crash
    /// skipped it (issue 13766).
    SnapshotAheadOfState,
}

/// Names as in `--set bug=`, and for people what each is, and whose it was.
pub const BUGS: &[(&str, Bug, &str)] = &[
    (
        "vote-twice-in-a-term",
        Bug::VoteTwiceInATerm,
        "a node votes for everybody who asks, so that a term may have two leaders (MongoDB's first election protocol)",
    ),
    (
        "skip-log-check",
        Bug::SkipLogCheck,
        "a node votes for a candidate that lacks what it has itself (Kafka 0.8, unclean leader election)",
    ),
    (
        "ack-before-replicate",
        Bug::AckBeforeReplicate,
        "the leader acknowledges what it has alone, and replicates later (MongoDB before 5.0, by default)",
    ),
    (
        "ack-before-fsync",
        Bug::AckBeforeFsync,
        "a node vouches for entries that are not on its disk yet (Elasticsearch 1.x)",
    ),
    (
        "keep-conflicting-tail",
        Bug::KeepConflictingTail,
        "a follower takes its own entry at a position for the leader's, whatever its term (Kafka before KIP-101)",
    ),
    (
        "apply-out-of-order",
        Bug::ApplyOutOfOrder,
        "a follower applies what was committed together in another order (MySQL's parallel replicas)",
    ),
    (
        "read-without-quorum",
        Bug::ReadWithoutQuorum,
        "the leader reads without asking whether it still leads (etcd 0.4 and Consul, by default)",
    ),
    (
        "snapshot-ahead-of-state",
        Bug::SnapshotAheadOfState,
        "a snapshot claims one entry more than its state has (etcd 3.5.0 to 3.5.2)",
    ),
];

impl Bug {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        let found = BUGS.iter().find(|(known, ..)| *known == name);
        found.map(|(_, bug, _)| *bug)
    }
}

impl Replica {
    /// Whether it makes this mistake.
    pub(super) fn has(&self, bug: Bug) -> bool {
        self.config.bug == Some(bug)
    }

    /// How far the own log is on the disk, or is said to be.
    pub(super) fn durable(&self) -> LogPosition {
        if self.has(Bug::AckBeforeFsync) {
            return self.log.last();
        }
        self.disk.position
    }

    /// A snapshot as it leaves the replica, for its disk or for another node.
    pub(super) fn as_saved(&self, snapshot: Snapshot) -> Snapshot {
        let next = snapshot.position.next();
        match self.log.term_at(next) {
            Some(term) if self.has(Bug::SnapshotAheadOfState) => Snapshot {
                position: next,
                term,
                ..snapshot
            },
            _ => snapshot,
        }
    }
}
