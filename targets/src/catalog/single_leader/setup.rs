//! From the options, as text, to what a node of `single-leader` is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::registry::{Options, per_node};
use crate::replicas::single_leader::{Ack, Bug, Config, Failover, Join, LeaseClock, ReadMode};
use crate::replicas::{Millis, NodeName};
use crate::server::arrivals::Sharing;
use crate::server::partitions::Placement;
use crate::storage::{Fsync, LogCheck};

/// Writes and reads that may wait in a replica.
const PENDING_MAX: usize = 4096;
/// A write that has waited this long for its commit is answered "unknown".
const COMMIT_TIMEOUT: Millis = Millis(10_000);

/// A resolved option that is a number.
pub(super) fn number(options: &Options, name: &str) -> u64 {
    options
        .get(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or_default()
}

/// How long a replica may be held back on purpose, in milliseconds.
pub(super) fn longest_lag(options: &Options) -> u64 {
    let lags = |name: &str| per_node(options.get(name).map_or("", String::as_str));
    let of_some = [lags("node-lag"), lags("partition-lag")]
        .into_iter()
        .flatten();
    let of_some = of_some.flat_map(BTreeMap::into_values);
    of_some
        .chain([number(options, "follower-lag")])
        .max()
        .unwrap_or(0)
}

/// Else those that are left may be the ones that are not to lead.
pub(super) fn all_may_lead(options: &Options) -> bool {
    let priority = options.get("priority").map_or("", String::as_str);
    priorities(priority).values().all(|priority| *priority > 0)
}

pub(super) fn priorities(text: &str) -> BTreeMap<NodeName, u64> {
    let priorities = per_node(text).unwrap_or_default();
    let named = |(name, priority)| (NodeName::from(name), priority);
    priorities.into_iter().map(named).collect()
}

/// What a node's options make of it.
pub(crate) struct Setup {
    config: Config,
    lags: BTreeMap<String, u64>,
    /// How many partitions there are.
    pub(crate) partitions: usize,
    /// Which key is in which.
    pub(crate) placement: Placement,
    /// When the log is forced to the disk.
    pub(crate) fsync: Fsync,
    /// What is believed of it.
    pub(crate) log_check: LogCheck,
    /// Who waits for whom.
    pub(crate) sharing: Sharing,
}

impl Setup {
    /// The replica of one partition.
    pub(crate) fn replica(&self, partition: usize) -> Config {
        let config = self.config.clone();
        let lag = self.lags.get(&format!("p{partition}"));
        Config {
            follower_lag: lag.map_or(config.follower_lag, |lag| Millis(*lag)),
            seed: config.seed ^ (partition as u64) << 32,
            ..config
        }
    }
}

/// What a node is, from resolved options.
pub(crate) fn configure(options: &Options, name: &str, members: Vec<NodeName>) -> Setup {
    let option = |name: &str| options.get(name).map_or("", String::as_str);
    let duration = |name| Duration::from_millis(number(options, name));
    let fsync = match option("fsync") {
        "interval" => Fsync::Interval(duration("fsync-interval")),
        "never" => Fsync::Never,
        "each" => Fsync::Each,
        _ => Fsync::Always,
    };
    Setup {
        config: config(options, name, members),
        lags: per_node(option("partition-lag")).unwrap_or_default(),
        partitions: partitions(options),
        placement: match option("placement") {
            "causal" => Placement::Causal,
            _ => Placement::Hash,
        },
        fsync,
        log_check: match option("log-check") {
            "none" => LogCheck::None,
            _ => LogCheck::Checksum,
        },
        sharing: Sharing {
            together: option("heartbeats") == "shared-queue",
            queue: number(options, "queue").max(1) as usize,
            service: duration("service-time"),
        },
    }
}

pub(super) fn partitions(options: &Options) -> usize {
    number(options, "partitions").max(1) as usize
}

fn config(options: &Options, name: &str, members: Vec<NodeName>) -> Config {
    let option = |name: &str| options.get(name).map_or("", String::as_str);
    let millis = |name| Millis(number(options, name));
    Config {
        name: name.into(),
        members,
        ack: option("ack").parse().unwrap_or(Ack::Majority),
        failover: option("failover").parse().unwrap_or(Failover::Consensus),
        read: option("read").parse().unwrap_or(ReadMode::LeaderQuorum),
        election_timeout: millis("election-timeout"),
        heartbeat: millis("heartbeat"),
        follower_lag: per_node(option("node-lag"))
            .and_then(|lags| lags.get(name).copied().map(Millis))
            .unwrap_or_else(|| millis("follower-lag")),
        lease_clock: option("lease-clock")
            .parse()
            .unwrap_or(LeaseClock::Monotonic),
        window: millis("window"),
        join: option("join").parse().unwrap_or(Join::SnapshotWithPosition),
        priority: priorities(option("priority")),
        snapshot_every: number(options, "snapshot-every").max(1),
        bug: Bug::named(option("bug")),
        pending_max: PENDING_MAX,
        commit_timeout: COMMIT_TIMEOUT,
        seed: u64::from(crc32fast::hash(name.as_bytes())),
    }
}
