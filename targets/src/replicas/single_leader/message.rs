//! What goes in and out of a replica: requests, peer messages, completions; and the effects it asks for.
//!
//! Only data. The peer messages follow Raft (Ongaro and Ousterhout 2014, figure 2, and section 7 for
//! snapshots), with the naive take-over and the admission of new nodes beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::state::{Conflict, KeySpace};
use crate::replicas::{LogPosition, Millis, NodeName, RequestId, Term};

/// A change of the key space, decided when it is applied, in log order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Nothing: the first entry of each term (Raft, section 8).
    Noop,
    /// Sets a register.
    Write {
        /// Which.
        key: String,
        /// To what.
        value: Value,
    },
    /// Sets a register if it holds `old`; an absent one holds null.
    Cas {
        /// Which.
        key: String,
        /// What it must hold.
        old: Value,
        /// What it holds then.
        new: Value,
    },
    /// Adds to a set.
    Add {
        /// Which.
        key: String,
        /// What.
        element: Value,
    },
    /// Adds to a counter.
    Increment {
        /// Which.
        key: String,
        /// How much; may be negative.
        by: i64,
    },
    /// Puts an element at the end of a queue.
    Enqueue {
        /// Which.
        key: String,
        /// What.
        element: Value,
    },
    /// Takes the first element of a queue.
    Dequeue {
        /// Which.
        key: String,
        /// Which element that must be; none: whichever it is.
        expect: Option<Value>,
    },
    /// Takes all elements of a queue.
    Drain {
        /// Which.
        key: String,
    },
    /// Sets several registers if others, or the same, hold what is expected (etcd's transactions); an absent
    /// one holds null.
    Transact {
        /// What must be there; nothing: whatever is there.
        expect: BTreeMap<String, Value>,
        /// What is there then.
        write: BTreeMap<String, Value>,
    },
    /// Moves an amount from one register to another, both holding whole numbers, if the first holds so much.
    Transfer {
        /// Which.
        from: String,
        /// To which.
        to: String,
        /// How much.
        amount: u64,
    },
    /// Hands out the next number.
    GenerateId,
    /// Who the cluster is from here on; holds once it is in the log, see `members`.
    Members(Vec<NodeName>),
}

/// One entry of the replicated log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Its place.
    pub position: LogPosition,
    /// What it does.
    pub command: Command,
}

/// The state at one position: enough to go on from there without the log before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last entry in it.
    pub position: LogPosition,
    /// That entry's term.
    pub term: Term,
    /// Who the cluster was then; empty in files of older versions, which knew only the configured ones.
    #[serde(default)]
    pub members: Vec<NodeName>,
    /// The state after it.
    pub state: KeySpace,
}

/// What must be on disk before a promise is given (Raft, figure 2), and whether this node has a vote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term seen.
    pub term: Term,
    /// Who got this node's vote in that term.
    pub voted_for: Option<NodeName>,
    /// False for a new, wiped or damaged node until a leader has admitted it.
    pub voter: bool,
}

/// A read, by key.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// A register.
    Register(String),
    /// A set.
    Set(String),
    /// A counter.
    Counter(String),
    /// The first element of a queue.
    Head(String),
    /// Several registers, as they were at one moment.
    Registers(Vec<String>),
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// A read under the replica's read mode.
    Read(Query),
    /// A read of the replica's own applied state, in any role.
    ReadLocal(Query),
    /// A change.
    Change(Command),
    /// A change of the members.
    Reconfigure(MemberChange),
}

impl Operation {
    /// The keys that it touches.
    pub fn keys(&self) -> Vec<&str> {
        match self {
            Self::Read(query) | Self::ReadLocal(query) => query.keys(),
            Self::Change(command) => command.keys(),
            Self::Reconfigure(_) => Vec::new(),
        }
    }
}

impl Query {
    fn keys(&self) -> Vec<&str> {
        match self {
            Self::Register(key) | Self::Set(key) | Self::Counter(key) | Self::Head(key) => {
                vec![key]
            }
            Self::Registers(keys) => keys.iter().map(String::as_str).collect(),
        }
    }
}

impl Command {
    fn keys(&self) -> Vec<&str> {
        match self {
            Self::Write { key, .. }
            | Self::Cas { key, .. }
            | Self::Add { key, .. }
            | Self::Increment { key, .. }
            | Self::Enqueue { key, .. }
            | Self::Dequeue { key, .. }
            | Self::Drain { key } => vec![key],
            Self::Transact { expect, write } => expect
                .keys()
                .chain(write.keys())
                .map(String::as_str)
                .collect(),
            Self::Transfer { from, to, .. } => vec![from, to],
            Self::Noop | Self::GenerateId | Self::Members(_) => Vec::new(),
        }
    }
}

/// A node comes or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// This one becomes a member, once it has caught up.
    Join(NodeName),
    /// This one is none any more.
    Leave(NodeName),
}

/// How many nodes must have a write durably before its client is answered, on top of what `ack` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteConcern {
    /// So many, the leader included.
    pub nodes: usize,
    /// After so long the client is told that nobody knows.
    pub timeout: Millis,
}

/// What a client tells of its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// Its number.
    pub number: u64,
    /// Replicas that it has found dead.
    pub avoid: Vec<NodeName>,
    /// The newest position that it has been shown.
    pub seen: LogPosition,
    /// How long ago its last write was acknowledged.
    pub since_write: Option<Millis>,
}

/// One client request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The server's number for it, echoed in the reply.
    pub id: RequestId,
    /// The client's session.
    pub session: Session,
    /// What it wants.
    pub operation: Operation,
    /// For a change: how many must have it.
    pub concern: Option<WriteConcern>,
}

/// What comes in.
#[derive(Debug, Clone)]
pub enum Input {
    /// Client requests that arrived together; appended and replicated together.
    Clients(Vec<Request>),
    /// A message of another node.
    Peer {
        /// Who sent it.
        from: NodeName,
        /// What it says.
        message: Message,
    },
    /// Time has passed.
    Tick,
    /// The disk has done its work up to here; in order, and as durable as `fsync` asks.
    Persisted(Persisted),
}

/// How far the disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Persisted {
    /// The number of log rewrites (truncations, installed snapshots) done; a completion of an older
    /// epoch says nothing about the log as it is now.
    pub epoch: u64,
    /// The last log position on disk in that epoch.
    pub position: LogPosition,
    /// The last hard state saved.
    pub hard_sequence: u64,
}

/// A refusal that had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No leader is known here.
    NoLeader,
    /// This replica has not caught up yet.
    Joining,
    /// Too much waits already.
    Overloaded,
    /// This replica did not get what the session has seen in time.
    Behind,
}

/// The answer to a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It happened.
    Done {
        /// What was read, written or generated.
        value: Value,
        /// The replica's term.
        term: Term,
        /// The position of the last change of the item.
        version: Option<LogPosition>,
        /// What the replica had applied: the session has seen this much.
        seen: LogPosition,
    },
    /// It was ordered, and refused by the state it met.
    Precondition(Conflict),
    /// It was not begun.
    Refused {
        /// The kind.
        refusal: Refusal,
        /// Why.
        message: String,
    },
    /// It is in a log, and may or may not take effect.
    Unknown {
        /// Why.
        message: String,
    },
    /// That node is to be asked.
    Redirect(NodeName),
}

/// What a replica wants done, in this order.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Send to a peer; lost messages are fine.
    Send {
        /// To whom.
        to: NodeName,
        /// What.
        message: Message,
        /// Only once everything given to the disk before is durable.
        after_disk: bool,
    },
    /// Append to the log on disk.
    Append {
        /// Which log this continues, see [`Persisted::epoch`].
        epoch: u64,
        /// The entries, contiguous.
        entries: Vec<Arc<Entry>>,
    },
    /// Cut the log on disk.
    Truncate {
        /// The log's new epoch.
        epoch: u64,
        /// The last position that stays.
        after: LogPosition,
    },
    /// Save term and vote.
    SaveHardState {
        /// Echoed in [`Persisted::hard_sequence`].
        sequence: u64,
        /// What to save.
        state: HardState,
    },
    /// Save a snapshot of the own state, then drop the log up to a position.
    SaveSnapshot {
        /// What to save.
        snapshot: Arc<Snapshot>,
        /// The log up to here is not needed any more.
        drop_through: LogPosition,
    },
    /// Save the leader's snapshot and throw the whole log away.
    InstallSnapshot {
        /// The log's new epoch.
        epoch: u64,
        /// What to save.
        snapshot: Arc<Snapshot>,
    },
    /// Answer a client.
    Reply {
        /// Which request.
        to: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// A line for the log: a role change, an election, a truncation.
    Note(String),
}

/// One replica to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Entries, or a heartbeat where there are none.
    Append(Append),
    /// The answer to `Append` and `Install`.
    AppendAnswer(AppendAnswer),
    /// A snapshot for a follower that lacks what the leader's log no longer has, or has diverged.
    Install {
        /// The leader's term.
        term: Term,
        /// The message's number.
        round: u64,
        /// The state with its position.
        snapshot: Arc<Snapshot>,
    },
    /// May I become leader?
    VoteRequest {
        /// The term it would lead.
        term: Term,
        /// Only asking, nobody is bound (Ongaro 2014, section 9.6).
        pre: bool,
        /// The leader wants it: who has promised the leader a lease votes all the same.
        #[serde(default)]
        handed_over: bool,
        /// The candidate's last entry.
        last: (Term, LogPosition),
    },
    /// The answer to it.
    VoteAnswer {
        /// The voter's term, or the one asked for where it was granted.
        term: Term,
        /// Answers a pre-vote.
        pre: bool,
        /// Yes.
        granted: bool,
    },
    /// The leader asks for an election at once, which the receiver shall win (Ongaro 2014, section 3.10).
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// Naive take-over: how far are you, and do you see a leader?
    PositionQuery {
        /// The asker's number for it.
        round: u64,
    },
    /// The answer to it.
    PositionAnswer {
        /// The asker's number.
        round: u64,
        /// How far.
        report: PositionReport,
    },
    /// The one leader that has lost its data: what have you? See `fetch`.
    CopyQuery {
        /// The asker's number for it.
        round: u64,
    },
    /// The answer to it.
    CopyAnswer {
        /// The asker's number.
        round: u64,
        /// All of it.
        copy: Copy,
    },
    /// A node without data looks for others without data: a cluster begins when all are.
    Hello {
        /// Whether the sender has never voted nor stored anything.
        blank: bool,
        /// Whether this answers a hello.
        answer: bool,
    },
}

/// Raft's `AppendEntries`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Append {
    /// The leader's term.
    pub term: Term,
    /// The message's number in this term; an answer echoes it.
    pub round: u64,
    /// The entry before the first of `entries`.
    pub previous: (Term, LogPosition),
    /// May be empty.
    pub entries: Vec<Arc<Entry>>,
    /// How far the leader has committed.
    pub committed: LogPosition,
    /// The follower has caught up and is a voter from now on.
    pub admit: bool,
    /// The receiver's life that the sender knows of, see [`AppendAnswer::incarnation`].
    #[serde(default)]
    pub incarnation: Option<u64>,
}

/// How a follower answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppendAnswer {
    /// The follower's term.
    pub term: Term,
    /// The latest message number it has seen.
    pub round: u64,
    /// Its log equals the leader's up to here, and is durable up to here.
    pub matched: LogPosition,
    /// Whether it has a vote.
    pub voter: bool,
    /// Where it does not match.
    pub rejection: Option<Rejection>,
    /// Which of its lives this is: what was sent to an earlier one may arrive in this one, and must not be taken for news.
    #[serde(default)]
    pub incarnation: u64,
}

/// Why an `Append` did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The logs may agree up to here.
    pub hint: LogPosition,
    /// They disagree before the follower's own snapshot: only another snapshot helps.
    pub needs_snapshot: bool,
}

/// All that a replica has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    /// Its last snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Its log from there on, committed or not.
    pub entries: Vec<Arc<Entry>>,
}

/// A replica's rank in a naive take-over; the greatest leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionReport {
    /// Its term.
    pub term: Term,
    /// Whether it had caught up once.
    pub voter: bool,
    /// Its last entry.
    pub last: (Term, LogPosition),
    /// Whether it leads, or hears from a leader.
    pub sees_leader: bool,
}
