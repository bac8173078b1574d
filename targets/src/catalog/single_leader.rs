//! The target `single-leader`: its options, how its nodes are started, what its configurations promise.
//!
//! The replica itself is in `replicas/single_leader/`; this file is its face to the registry and to the
//! server's start.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::registry::{
    Guarantees, LoseUnsynced, NodeAddress, NodeCommand, NotSimulated, OptionError, OptionSpec,
    Options, Program, ReadPromise, Target, ValueKind, Varied, fill_in, per_node,
};
use crate::replicas::single_leader::{Ack, Bug, Config, Failover, Join, LeaseClock, ReadMode};
use crate::replicas::{Millis, NodeName};
use crate::server::arrivals::Sharing;
use crate::server::partitions::{self, Placement};
use crate::simulator::{self, Simulation};
use crate::storage::{self, Fsync, LogCheck};
use crate::wire::{self, MembersBody, Role, Status};

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

const BUG_NAMES: &[&str] = &[
    "none",
    "vote-twice-in-a-term",
    "skip-log-check",
    "ack-before-replicate",
    "ack-before-fsync",
    "keep-conflicting-tail",
    "apply-out-of-order",
    "read-without-quorum",
    "snapshot-ahead-of-state",
];

/// The same for people: what each is, and whose it was.
const BUGS_TOLD: &[(&str, &str)] = &[
    (
        "vote-twice-in-a-term",
        "a node votes for everybody who asks, so that a term may have two leaders (MongoDB's first election protocol)",
    ),
    (
        "skip-log-check",
        "a node votes for a candidate that lacks what it has itself (Kafka 0.8, unclean leader election)",
    ),
    (
        "ack-before-replicate",
        "the leader acknowledges what it has alone, and replicates later (MongoDB before 5.0, by default)",
    ),
    (
        "ack-before-fsync",
        "a node vouches for entries that are not on its disk yet (Elasticsearch 1.x)",
    ),
    (
        "keep-conflicting-tail",
        "a follower takes its own entry at a position for the leader's, whatever its term (Kafka before KIP-101)",
    ),
    (
        "apply-out-of-order",
        "a follower applies what was committed together in another order (MySQL's parallel replicas)",
    ),
    (
        "read-without-quorum",
        "the leader reads without asking whether it still leads (etcd 0.4 and Consul, by default)",
    ),
    (
        "snapshot-ahead-of-state",
        "a snapshot claims one entry more than its state has (etcd 3.5.0 to 3.5.2)",
    ),
];

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
        values: ValueKind::OneOf(&[
            "leader",
            "leader-quorum",
            "leader-lease",
            "any",
            "sticky",
            "window",
            "caught-up",
        ]),
        help: "who answers reads: the leader unchecked, confirmed by a majority, or under a lease; anyone; the session's replica; the leader for a while after the session's own write; anyone who has what the session has seen",
    },
    OptionSpec {
        name: "lease-clock",
        default: "monotonic",
        values: ValueKind::OneOf(&["monotonic", "wall"]),
        help: "with read=leader-lease: by which clock a lease runs out, and a leader steps down that no majority answers: the one that nobody sets, or the wall clock",
    },
    OptionSpec {
        name: "window",
        default: "1000",
        values: DURATION,
        help: "with read=window: how long after its own write a session reads at the leader",
    },
    OptionSpec {
        name: "priority",
        default: "",
        values: ValueKind::PerNode,
        help: "how much nodes are wanted as leaders, such as n1=2,n3=0: the highest takes over once it has everything, 0 leads only to hand on what nobody else has; 1 where nothing is said",
    },
    OptionSpec {
        name: "join",
        default: "snapshot-with-position",
        values: ValueKind::OneOf(&["snapshot-with-position", "snapshot-only"]),
        help: "what a node is sent that lacks too much: the state with its position, or the last snapshot as if it were of now",
    },
    OptionSpec {
        name: "fsync",
        default: "always",
        values: ValueKind::OneOf(&["always", "each", "interval", "never"]),
        help: "when the log is forced to the disk: before acknowledging, many writes at a time (group commit) or each by itself; now and then; never",
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
        name: "node-lag",
        default: "",
        values: ValueKind::PerNode,
        help: "a follower-lag of their own for some nodes, such as n2=0,n3=500",
    },
    OptionSpec {
        name: "partitions",
        default: "1",
        values: ValueKind::Count { min: 1, max: 16 },
        help: "independent logs, each with its own leader, among which the keys are placed",
    },
    OptionSpec {
        name: "placement",
        default: "hash",
        values: ValueKind::OneOf(&["hash", "causal"]),
        help: "with partitions: a key lies by all of it, or by the part before its first colon, so that related keys lie together",
    },
    OptionSpec {
        name: "partition-lag",
        default: "",
        values: ValueKind::PerNode,
        help: "with partitions: a follower-lag of their own for some, such as p0=500,p1=0",
    },
    OptionSpec {
        name: "heartbeats",
        default: "priority",
        values: ValueKind::OneOf(&["priority", "shared-queue"]),
        help: "whether peers and timers go ahead of client requests, or wait with them in one queue",
    },
    OptionSpec {
        name: "queue",
        default: "1024",
        values: ValueKind::Count {
            min: 1,
            max: 1_000_000,
        },
        help: "client requests that may wait before new ones are refused (503)",
    },
    OptionSpec {
        name: "service-time",
        default: "0",
        values: ValueKind::DurationMs {
            min: 0,
            max: 10_000,
        },
        help: "how long a client request occupies a node, to make it one that can be overloaded",
    },
    OptionSpec {
        name: "log-check",
        default: "checksum",
        values: ValueKind::OneOf(&["checksum", "none"]),
        help: "at the start: what is not whole is thrown away and asked for again, or taken for what it should be",
    },
    OptionSpec {
        name: "bug",
        default: "none",
        values: ValueKind::OneOf(BUG_NAMES),
        help: "a planted bug, for the harness to find: `schism list bugs` says what each is, and who had it",
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

/// What belongs to the server around the replicas, or to several logs.
const NOT_SIMULATED: &[NotSimulated] = &[
    NotSimulated {
        option: "heartbeats",
        why: "requests do not wait in a queue there",
    },
    NotSimulated {
        option: "queue",
        why: "requests do not wait in a queue there",
    },
    NotSimulated {
        option: "service-time",
        why: "a node takes no time for a request there",
    },
    NotSimulated {
        option: "log-check",
        why: "disks do things whole or not at all there",
    },
    NotSimulated {
        option: "partitions",
        why: "a cluster has one log there",
    },
    NotSimulated {
        option: "placement",
        why: "a cluster has one log there",
    },
    NotSimulated {
        option: "partition-lag",
        why: "a cluster has one log there",
    },
];

/// A schedule has some tens of entries: with these a replica takes a snapshot now and then, or all the time.
const SNAPSHOTS: Varied = Varied {
    option: "snapshot-every",
    values: &["2", "3", "5", "10", "20"],
};
const LAGS: Varied = Varied {
    option: "follower-lag",
    values: &["5", "50", "200"],
};
const PRIORITIES: Varied = Varied {
    option: "priority",
    values: &["n1=2", "n2=3,n3=2"],
};

/// The target.
#[derive(Debug, Clone, Copy)]
pub struct SingleLeader;

impl Target for SingleLeader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "one leader orders all writes in a log, followers copy it (registers, sets, counters, queues, transactions, generated ids)"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn bugs(&self) -> &'static [(&'static str, &'static str)] {
        BUGS_TOLD
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
        check_names(&options, nodes)?;
        if number(&options, "heartbeat") * 2 > number(&options, "election-timeout") {
            let why = "it is at most half of election-timeout";
            return Err(wrong("heartbeat", &options, why));
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
            let (mut records, mut bytes) = (0, 0);
            for partition in (0..).map(|number| partitions::folder(data, number)) {
                if !partition.is_dir() {
                    break;
                }
                let lost = storage::lose_unsynced(&partition, keep)?;
                records += lost.records;
                bytes += lost.bytes;
            }
            Ok(format!(
                "{records} records ({bytes} bytes) were not synced and are gone"
            ))
        })
    }

    fn recovered(&self, statuses: &[Option<Status>]) -> Result<(), String> {
        let known = statuses.iter().flatten();
        partition_recovered(&known.clone().collect::<Vec<_>>())?;
        let others = known.clone().map(|status| status.partitions.len()).max();
        for number in 0..others.unwrap_or(0) {
            let of = known
                .clone()
                .filter_map(|status| status.partitions.get(number));
            partition_recovered(&of.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn simulation(
        &self,
        options: &Options,
        nodes: usize,
        setup: &simulator::Setup,
    ) -> Option<Box<dyn Simulation>> {
        let one_log = partitions(options) == 1;
        one_log.then(|| simulator::single_leader::simulation(options, nodes, setup))
    }

    fn varied(&self, options: &Options, nodes: usize) -> Vec<Varied> {
        let option = |name: &str| options.get(name).map_or("", String::as_str);
        let mut varied = vec![SNAPSHOTS];
        // A window assumes that there is no lag.
        if option("read") != "window" {
            varied.push(LAGS);
        }
        if option("failover") == "consensus" && nodes >= 3 {
            varied.push(PRIORITIES);
        }
        varied
    }

    fn not_simulated(&self) -> &'static [NotSimulated] {
        NOT_SIMULATED
    }

    fn change_members(&self, options: &Options, node: &str, join: bool) -> Vec<(String, String)> {
        let name = node.to_owned();
        let body = if join {
            MembersBody::Join(name)
        } else {
            MembersBody::Leave(name)
        };
        let body = serde_json::json!(body).to_string();
        let path = |number| format!("{}?partition={number}", wire::MEMBERS_PATH);
        let all = 0..partitions(options);
        all.map(|number| (path(number), body.clone())).collect()
    }

    fn guarantees(&self, options: &Options) -> Guarantees {
        let option = |name: &str| options.get(name).map_or("", String::as_str);
        let (ack, failover, read) = (option("ack"), option("failover"), option("read"));
        let one_leader = failover != "naive";
        let quorum = matches!(ack, "majority" | "sync");
        let keeps = failover == "off" || (failover == "consensus" && quorum);
        let reads = match read {
            "leader-quorum" if keeps => ReadPromise::Linearizable,
            // Only votes are held back while a lease runs.
            "leader-lease"
                if failover == "consensus" && keeps && option("lease-clock") == "monotonic" =>
            {
                ReadPromise::Linearizable
            }
            // The one leader of `off` is never deposed, so its own state is always the newest.
            "leader" | "leader-lease" if failover == "off" => ReadPromise::Linearizable,
            "leader" | "leader-quorum" | "leader-lease" => ReadPromise::Leader,
            "caught-up" => ReadPromise::Session,
            "window" if longest_lag(options) < number(options, "window") => ReadPromise::OwnWrites,
            "sticky" => ReadPromise::Sticky,
            _ => ReadPromise::Eventual,
        };
        // Each partition has terms of its own, and answers of several say none.
        let one_log = partitions(options) == 1;
        Guarantees {
            reads,
            consistent_prefix: match reads {
                ReadPromise::Linearizable => true,
                // In one log, only who goes from replica to replica may go back.
                ReadPromise::Leader | ReadPromise::Session | ReadPromise::Sticky => {
                    one_log || option("placement") == "causal"
                }
                ReadPromise::OwnWrites | ReadPromise::Eventual => false,
            },
            keeps_acknowledged_writes: keeps,
            no_split_brain: one_leader && keeps && one_log,
            survives_power_loss: matches!(option("fsync"), "always" | "each"),
            survives_clock_jumps: read != "leader-lease"
                || failover == "off"
                || option("lease-clock") == "monotonic",
            survives_replacement: failover == "consensus" && quorum,
            available_with_minority_down: failover != "off"
                && ack != "sync"
                && all_may_lead(options),
        }
    }
}

/// Whether the members of one partition agree with its leader, and have all that it has.
fn partition_recovered(statuses: &[&Status]) -> Result<(), String> {
    let leading = statuses.iter().filter(|status| status.role == Role::Leader);
    let leader = leading.max_by_key(|status| status.term);
    let leader = leader.ok_or("no node leads")?;
    for member in &leader.members {
        let status = statuses.iter().find(|status| status.node == *member);
        follows(status.ok_or(format!("{member} is unreachable"))?, leader)?;
    }
    Ok(())
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

/// What is said of nodes and partitions is said of some that there are, and somebody may lead.
fn check_names(options: &Options, nodes: usize) -> Result<(), OptionError> {
    let nodes: Vec<String> = (1..=nodes).map(|number| format!("n{number}")).collect();
    let partitions = (0..partitions(options)).map(|number| format!("p{number}"));
    check_known("priority", options, &nodes)?;
    check_known("node-lag", options, &nodes)?;
    check_known("partition-lag", options, &partitions.collect::<Vec<_>>())?;
    let priority = priorities(&options["priority"]);
    let leads = |name: &String| priority.get(&NodeName::from(name.as_str())) != Some(&0);
    if nodes.iter().any(leads) {
        return Ok(());
    }
    Err(wrong("priority", options, "somebody must be able to lead"))
}

/// An option that says a number of some of these says none of others.
fn check_known(name: &'static str, options: &Options, known: &[String]) -> Result<(), OptionError> {
    let said = per_node(&options[name]).unwrap_or_default();
    match said.keys().find(|one| !known.contains(one)) {
        Some(one) => {
            let why = format!("there is no {one} among {}", known.join(", "));
            Err(wrong(name, options, &why))
        }
        None => Ok(()),
    }
}

fn wrong(name: &str, options: &Options, choices: &str) -> OptionError {
    OptionError::Value {
        name: name.to_owned(),
        value: options[name].clone(),
        choices: choices.to_owned(),
        hint: String::new(),
    }
}

/// A resolved option that is a number.
fn number(options: &Options, name: &str) -> u64 {
    options
        .get(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or_default()
}

/// How long a replica may be held back on purpose, in milliseconds.
fn longest_lag(options: &Options) -> u64 {
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
fn all_may_lead(options: &Options) -> bool {
    let priority = options.get("priority").map_or("", String::as_str);
    priorities(priority).values().all(|priority| *priority > 0)
}

fn priorities(text: &str) -> BTreeMap<NodeName, u64> {
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

fn partitions(options: &Options) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicas::single_leader::BUGS;

    #[test]
    fn every_bug_can_be_asked_for_and_is_told() {
        let names: Vec<&str> = BUGS.iter().map(|(name, _)| *name).collect();
        let told: Vec<&str> = BUGS_TOLD.iter().map(|(name, _)| *name).collect();
        assert_eq!(BUG_NAMES[0], "none");
        assert_eq!(BUG_NAMES[1..], names);
        assert_eq!(told, names);
    }

    #[test]
    fn what_is_said_of_nobody_is_refused() {
        let resolve = |name: &str, value: &str| {
            let given = [(name, value), ("partitions", "2")];
            let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
            SingleLeader.resolve(&Options::from(given), 3)
        };
        for (name, good, bad) in [
            ("priority", "n1=2,n3=0", "n4=2"),
            ("node-lag", "n1=0,n3=500", "n9=500"),
            ("partition-lag", "p0=0,p1=300", "p2=300"),
        ] {
            assert!(resolve(name, good).is_ok(), "{name}={good}");
            let error = resolve(name, bad).unwrap_err().to_string();
            let nobody = bad.split('=').next().unwrap();
            assert!(error.contains(&format!("no {nobody} among")), "{error}");
        }
        let nobody = resolve("priority", "n1=0,n2=0,n3=0").unwrap_err();
        assert!(nobody.to_string().contains("able to lead"), "{nobody}");
    }
}
