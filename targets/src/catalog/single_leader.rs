//! The target `single-leader`: its options, how its nodes are started, what its configurations promise.
//!
//! The replica itself is in `replicas/single_leader/`; this file is its face to the registry and to the
//! server's start.

use std::path::Path;
use std::time::Duration;

use crate::registry::{
    Guarantees, LoseUnsynced, NodeAddress, NodeCommand, OptionError, OptionSpec, Options, Program,
    ReadPromise, Target, ValueKind, fill_in,
};
use crate::replicas::single_leader::{Ack, Config, Failover, ReadMode};
use crate::replicas::{Millis, NodeName};
use crate::simulator::{self, Setup, Simulation};
use crate::storage::{self, Fsync};
use crate::wire::{Role, Status};

/// The name of the target.
pub const NAME: &str = "single-leader";
/// Writes and reads that may wait in a replica.
const PENDING_MAX: usize = 4096;
/// A write that has waited this long for its commit is answered "unknown".
const COMMIT_TIMEOUT: Millis = Millis(10_000);

const DURATION: ValueKind = ValueKind::DurationMs {
    min: 0,
    max: 600_000,
};
const SOME_DURATION: ValueKind = ValueKind::DurationMs {
    min: 5,
    max: 600_000,
};

/// A cluster has 20 seconds to come up, and its first leader is found after up to two of these; twice that,
/// should a vote split.
const ELECTION_TIMEOUT: ValueKind = ValueKind::DurationMs { min: 5, max: 5_000 };

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "ack",
        default: "majority",
        values: ValueKind::OneOf(&["async", "semi-sync", "majority", "sync"]),
        help: "who must have a write before it is acknowledged: the leader, one in-sync follower too, a majority, all",
    },
    OptionSpec {
        name: "failover",
        default: "consensus",
        values: ValueKind::OneOf(&["off", "naive", "consensus"]),
        help: "how a new leader is found: never, by a time-out without a vote, by majority vote (Raft)",
    },
    OptionSpec {
        name: "read",
        default: "leader-quorum",
        values: ValueKind::OneOf(&["leader", "leader-quorum", "any", "sticky"]),
        help: "who answers reads: the leader unchecked, the leader confirmed by a majority, anyone, the session's replica",
    },
    OptionSpec {
        name: "fsync",
        default: "always",
        values: ValueKind::OneOf(&["always", "interval", "never"]),
        help: "when the log is forced to the disk: before acknowledging (group commit), now and then, never",
    },
    OptionSpec {
        name: "fsync-interval",
        default: "1000",
        values: SOME_DURATION,
        help: "with fsync=interval: how often",
    },
    OptionSpec {
        name: "follower-lag",
        default: "0",
        values: DURATION,
        help: "an artificial delay before a follower applies what is committed",
    },
    OptionSpec {
        name: "election-timeout",
        default: "500",
        values: ELECTION_TIMEOUT,
        help: "silence of the leader after which a follower acts (this long, up to twice as long at random); at most 5000, or clusters would not come up in time",
    },
    OptionSpec {
        name: "heartbeat",
        default: "50",
        values: SOME_DURATION,
        help: "time between two heartbeats of the leader",
    },
    OptionSpec {
        name: "snapshot-every",
        default: "10000",
        values: ValueKind::Count {
            min: 1,
            max: u64::MAX,
        },
        help: "entries between two snapshots, after which the log before them is dropped",
    },
];

/// The target.
#[derive(Debug, Clone, Copy)]
pub struct SingleLeader;

impl Target for SingleLeader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "one leader orders all writes in a log, followers copy it (registers, sets, generated ids)"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn resolve(&self, given: &Options, nodes: usize) -> Result<Options, OptionError> {
        let options = fill_in(NAME, OPTIONS, given)?;
        if !(1..=15).contains(&nodes) {
            return Err(OptionError::Nodes {
                target: NAME,
                nodes,
                choices: "1 to 15",
            });
        }
        if number(&options, "heartbeat") * 2 > number(&options, "election-timeout") {
            return Err(OptionError::Value {
                name: "heartbeat".to_owned(),
                value: options["heartbeat"].clone(),
                choices: "it is at most half of election-timeout".to_owned(),
                hint: String::new(),
            });
        }
        Ok(options)
    }

    fn command(
        &self,
        options: &Options,
        node: &NodeAddress,
        peers: &[NodeAddress],
        data: &Path,
    ) -> NodeCommand {
        let data = data.display().to_string();
        let mut args: Vec<String> = [
            "node", "--target", NAME, "--id", &node.name, "--data", &data,
        ]
        .map(str::to_owned)
        .to_vec();
        args.extend(["--listen".to_owned(), node.address.to_string()]);
        for peer in peers.iter().filter(|peer| peer.name != node.name) {
            args.extend([
                "--peer".to_owned(),
                format!("{}={}", peer.name, peer.address),
            ]);
        }
        for (name, value) in options {
            args.extend(["--set".to_owned(), format!("{name}={value}")]);
        }
        NodeCommand {
            program: Program::Own,
            args,
            env: Vec::new(),
        }
    }

    fn lose_unsynced(&self) -> Option<LoseUnsynced> {
        Some(|data, keep| {
            let lost = storage::lose_unsynced(data, keep)?;
            let (records, bytes) = (lost.records, lost.bytes);
            Ok(format!(
                "{records} records ({bytes} bytes) were not synced and are gone"
            ))
        })
    }

    fn recovered(&self, statuses: &[Option<Status>]) -> Result<(), String> {
        let index = self.leader(statuses).ok_or("no node leads")?;
        let leader = statuses[index].as_ref().ok_or("no node leads")?;
        for (number, status) in statuses.iter().enumerate() {
            let status = status
                .as_ref()
                .ok_or(format!("node {} is unreachable", number + 1))?;
            follows(status, leader)?;
        }
        Ok(())
    }

    fn simulation(
        &self,
        options: &Options,
        nodes: usize,
        setup: &Setup,
    ) -> Option<Box<dyn Simulation>> {
        Some(simulator::single_leader::simulation(options, nodes, setup))
    }

    fn guarantees(&self, options: &Options) -> Guarantees {
        let option = |name: &str| options.get(name).map_or("", String::as_str);
        let (ack, failover, read) = (option("ack"), option("failover"), option("read"));
        let one_leader = failover != "naive";
        let quorum = matches!(ack, "majority" | "sync");
        let keeps = failover == "off" || (failover == "consensus" && quorum);
        let reads = match read {
            "leader-quorum" if keeps => ReadPromise::Linearizable,
            // The one leader of `off` is never deposed, so its own state is always the newest.
            "leader" if failover == "off" => ReadPromise::Linearizable,
            "leader" | "leader-quorum" => ReadPromise::Leader,
            "sticky" => ReadPromise::Sticky,
            _ => ReadPromise::Eventual,
        };
        Guarantees {
            reads,
            keeps_acknowledged_writes: keeps,
            no_split_brain: one_leader && keeps,
            survives_power_loss: option("fsync") == "always",
            available_with_minority_down: failover != "off" && ack != "sync",
        }
    }
}

/// Whether a node agrees with the leader and has all that it has.
fn follows(status: &Status, leader: &Status) -> Result<(), String> {
    let (node, lead) = (&status.node, &leader.node);
    if status.role == Role::Joining {
        return Err(format!("{node} has not caught up since it started"));
    }
    if status.leader.as_ref() != Some(lead) || status.term != leader.term {
        return Err(format!(
            "{node} does not follow {lead} in term {}",
            leader.term
        ));
    }
    let (applied, target) = (status.applied, leader.position);
    // What is applied beyond `matched` may be about to be rolled back.
    if applied.min(status.matched) < target || status.position > leader.position {
        return Err(format!("{node} has applied {applied} of {target} entries"));
    }
    Ok(())
}

/// A resolved option that is a number.
fn number(options: &Options, name: &str) -> u64 {
    options
        .get(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or_default()
}

/// The replica's configuration and the disk's, from resolved options.
pub(crate) fn configure(options: &Options, name: &str, members: Vec<NodeName>) -> (Config, Fsync) {
    let option = |name: &str| options.get(name).map_or("", String::as_str);
    let millis = |name| Millis(number(options, name));
    let fsync = match option("fsync") {
        "interval" => Fsync::Interval(Duration::from_millis(number(options, "fsync-interval"))),
        "never" => Fsync::Never,
        _ => Fsync::Always,
    };
    let config = Config {
        name: name.into(),
        members,
        ack: option("ack").parse().unwrap_or(Ack::Majority),
        failover: option("failover").parse().unwrap_or(Failover::Consensus),
        read: option("read").parse().unwrap_or(ReadMode::LeaderQuorum),
        election_timeout: millis("election-timeout"),
        heartbeat: millis("heartbeat"),
        follower_lag: millis("follower-lag"),
        snapshot_every: number(options, "snapshot-every").max(1),
        pending_max: PENDING_MAX,
        commit_timeout: COMMIT_TIMEOUT,
        seed: u64::from(crc32fast::hash(name.as_bytes())),
    };
    (config, fsync)
}
