//! The options of `single-leader`, each with its default and a line of help; which of them a simulation varies, and which it does not have.

use crate::registry::{NotSimulated, OptionSpec, ValueKind, Varied};
use crate::replicas::single_leader::BUGS;

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

/// `none`, then the names of the mistakes.
const BUG_NAMES: &[&str] = &{
    let mut names = ["none"; BUGS.len() + 1];
    let mut place = 0;
    while place < BUGS.len() {
        names[place + 1] = BUGS[place].0;
        place += 1;
    }
    names
};

pub(super) const OPTIONS: &[OptionSpec] = &[
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
pub(super) const NOT_SIMULATED: &[NotSimulated] = &[
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
pub(super) const SNAPSHOTS: Varied = Varied {
    option: "snapshot-every",
    values: &["2", "3", "5", "10", "20"],
};
/// For an election time-out as it is by default, or longer.
pub(super) const HEARTBEATS: Varied = Varied {
    option: "heartbeat",
    values: &["100", "200"],
};
pub(super) const LAGS: Varied = Varied {
    option: "follower-lag",
    values: &["5", "50", "200"],
};
pub(super) const PRIORITIES: Varied = Varied {
    option: "priority",
    values: &["n1=2", "n2=3,n3=2"],
};
