//! What a replica is told when it starts: who its cluster is, and the options of the target.
//!
//! No defaults here (they are in the registry, where `schism list targets` shows them).

use std::collections::BTreeMap;

use super::bugs::Bug;
use crate::replicas::{Millis, NodeName};

/// When the leader may acknowledge a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// As soon as it is in the leader's own log.
    Async,
    /// When the one in-sync follower has it too; a silent in-sync follower is replaced.
    SemiSync,
    /// When a majority has it.
    Majority,
    /// When every node has it.
    Sync,
}

/// How a new leader is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failover {
    /// Never: the first node leads.
    Off,
    /// The most up-to-date replica that can be seen takes over; no vote, no quorum, no fencing.
    Naive,
    /// Raft: terms, persisted majority votes, log up-to-date check, pre-vote.
    Consensus,
}

/// Who answers reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMode {
    /// The leader, from its state, trusting that it still leads.
    Leader,
    /// The leader, once a majority has confirmed after the read arrived that it still leads.
    LeaderQuorum,
    /// The leader, while a lease that a majority has given it runs.
    LeaderLease,
    /// Whoever is asked.
    Any,
    /// The replica that the session hashes to.
    Sticky,
    /// The leader for a while after the session's own write, then whoever is asked.
    Window,
    /// Whoever is asked, once it has what the session has seen.
    CaughtUp,
}

/// By which clock a leader's lease runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseClock {
    /// The monotonic one, which nobody sets.
    Monotonic,
    /// The wall clock, which may be set back (D08).
    Wall,
}

/// What a node that lacks too much for the log is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// The state and the position that it was taken at.
    SnapshotWithPosition,
    /// The last snapshot that was saved, as if it had been taken now (D13).
    SnapshotOnly,
}

/// A word that is none of an option's values.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not one of the values of this option")]
pub struct UnknownValue(pub String);

macro_rules! option_names {
    ($kind:ident { $($name:literal => $variant:ident),* }) => {
        impl std::str::FromStr for $kind {
            type Err = UnknownValue;
            fn from_str(text: &str) -> Result<Self, UnknownValue> {
                match text {
                    $($name => Ok(Self::$variant),)*
                    other => Err(UnknownValue(other.to_owned())),
                }
            }
        }
    };
}
option_names!(Ack { "async" => Async, "semi-sync" => SemiSync, "majority" => Majority, "sync" => Sync });
option_names!(Failover { "off" => Off, "naive" => Naive, "consensus" => Consensus });
option_names!(ReadMode {
    "leader" => Leader, "leader-quorum" => LeaderQuorum, "leader-lease" => LeaderLease, "any" => Any,
    "sticky" => Sticky, "window" => Window, "caught-up" => CaughtUp
});
option_names!(LeaseClock { "monotonic" => Monotonic, "wall" => Wall });
option_names!(Join {
    "snapshot-with-position" => SnapshotWithPosition, "snapshot-only" => SnapshotOnly
});

/// Everything that a replica is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its own name.
    pub name: NodeName,
    /// Every node that can be of the cluster, itself included, in the order of names; at its birth all of them are.
    pub members: Vec<NodeName>,
    /// How much a node is wanted as leader; 0 is never, and one that is not named here has 1.
    pub priority: BTreeMap<NodeName, u64>,
    /// When a write is acknowledged.
    pub ack: Ack,
    /// How a new leader is found.
    pub failover: Failover,
    /// Who answers reads.
    pub read: ReadMode,
    /// With [`ReadMode::LeaderLease`]: the clock of leases.
    pub lease_clock: LeaseClock,
    /// With [`ReadMode::Window`]: how long after its own write a session reads at the leader.
    pub window: Millis,
    /// What a node is sent that lacks too much.
    pub join: Join,
    /// Silence of the leader after which a follower acts: this long, and up to twice as long at random.
    pub election_timeout: Millis,
    /// Time between two heartbeats of the leader.
    pub heartbeat: Millis,
    /// How long a follower holds a committed entry back before it applies it.
    pub follower_lag: Millis,
    /// Entries applied between two snapshots.
    pub snapshot_every: u64,
    /// Writes that may wait for their commit before new ones are refused.
    pub pending_max: usize,
    /// How long a write may wait for its commit before its client is told "unknown".
    pub commit_timeout: Millis,
    /// A mistake that it makes.
    pub bug: Option<Bug>,
    /// Seed of the election time-outs. Another one at each start, for it also tells the lives of a node apart.
    pub seed: u64,
}

impl Config {
    /// The other nodes.
    pub fn peers(&self) -> impl Iterator<Item = &NodeName> {
        self.members.iter().filter(|member| **member != self.name)
    }

    /// How much a node is wanted as leader.
    pub fn priority_of(&self, name: &NodeName) -> u64 {
        self.priority.get(name).copied().unwrap_or(1)
    }

    /// Whether a node may lead at all.
    pub fn may_lead(&self, name: &NodeName) -> bool {
        self.priority_of(name) > 0
    }

    /// Whether this node leads under `failover=off`: the first of those that are wanted most.
    pub fn is_fixed_leader(&self) -> bool {
        let most = self.members.iter().map(|name| self.priority_of(name)).max();
        let mut wanted = self
            .members
            .iter()
            .filter(|name| Some(self.priority_of(name)) == most);
        self.failover == Failover::Off && wanted.next() == Some(&self.name)
    }

    /// Whether what is committed stays so: under votes, where a majority has it.
    pub fn keeps_committed(&self) -> bool {
        self.failover == Failover::Consensus && matches!(self.ack, Ack::Majority | Ack::Sync)
    }

    /// Whether a leader reads on the strength of what others have answered before.
    pub fn leases(&self) -> bool {
        self.read == ReadMode::LeaderLease
    }

    /// Whether a leader tells by the wall clock how long ago a majority has answered it.
    pub fn leases_by_wall_clock(&self) -> bool {
        self.leases() && self.lease_clock == LeaseClock::Wall
    }

    /// How long a majority's answer lets a leader read: shorter than the shortest time after which one of them would
    /// vote for another, by a tenth, which bounds how much faster one clock may run than another.
    pub fn lease(&self) -> Millis {
        Millis(self.election_timeout.0 - self.election_timeout.0 / 10)
    }

    /// Whether a leader that has not heard from a majority for an election time-out steps down.
    ///
    /// Only where it could not acknowledge anything anyway (`majority`, `sync`) *and* reads do not come
    /// from a leader that trusts itself: `read=leader` is the very configuration without that check (D07). Under `async` and `semi-sync` an isolated leader goes on acknowledging, which is what they mean.
    pub fn checks_quorum(&self) -> bool {
        self.keeps_committed()
            && self.read != ReadMode::Leader
            && self.bug != Some(Bug::ReadWithoutQuorum)
    }
}
