//! The JSON bodies that server and client share, and the names of what may go wrong.
//!
//! Only shapes: no sockets and no decisions. Every answer that is not 200 or a redirect carries an
//! [`ErrorBody`]; whether it is *definite* (the request surely had no effect) follows from its status and
//! its kind, see [`is_definite`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::replicas::NodeName;

/// Request header that carries the number of the client's session.
pub const SESSION_HEADER: &str = "x-schism-session";
/// Request header that names replicas which the session has found dead (`read=sticky` moves on).
pub const AVOID_HEADER: &str = "x-schism-avoid";
/// Request header with what the session has been shown of each partition, `0:17,1:5`: the greatest [`AnswerBody::seen`] (`read=caught-up`).
pub const SEEN_HEADER: &str = "x-schism-seen";
/// Request header with the milliseconds since the session's last write was acknowledged (`read=window`).
pub const SINCE_WRITE_HEADER: &str = "x-schism-since-write";
/// Where the members are read and changed: `GET`, and `POST` of a [`MembersBody`] to the leader.
pub const MEMBERS_PATH: &str = "/members";
/// Where a node says what its wall clock shows: `{"wall_ms": 1764100000123.4}`, since 1970.
pub const CLOCK_PATH: &str = "/clock";

/// `PUT /kv/{key}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteBody {
    /// The new value.
    #[serde(deserialize_with = "present")]
    pub value: Value,
}

/// `POST /kv/{key}/cas`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CasBody {
    /// What the register must hold; `null` also matches an absent key.
    #[serde(deserialize_with = "present")]
    pub old: Value,
    /// What it holds afterwards.
    #[serde(deserialize_with = "present")]
    pub new: Value,
}

/// `POST /counter/{key}`; the answer's value is the new sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncrementBody {
    /// How much to add; may be negative.
    pub by: i64,
}

/// `POST /queue/{key}`. `GET /queue/{key}` answers with the first element and leaves it there (null: there is none), and
/// `POST /queue/{key}/drain` takes all elements, maybe none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnqueueBody {
    /// The element to put at the end; the same one may be in a queue more than once.
    #[serde(deserialize_with = "present")]
    pub element: Value,
}

/// `POST /queue/{key}/dequeue`: takes the first element, or is refused with [`kind::EMPTY`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DequeueBody {
    /// What the first element must be; left out (or no body at all): whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Value>,
}

/// `POST /txn`: several registers in one step. What they hold is read by `GET /kv?key=a&key=b`, whose
/// answer's value is an object, from one state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactBody {
    /// What registers must hold, by key; `null` also matches an absent one. Left out: whatever is there.
    #[serde(default)]
    pub expect: BTreeMap<String, Value>,
    /// What registers hold afterwards, by key.
    pub write: BTreeMap<String, Value>,
}

/// `POST /transfer`: between two registers that hold whole numbers. Refused with
/// [`kind::INSUFFICIENT_FUNDS`] where the first holds less; the answer's value is an object of both balances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferBody {
    /// Whose balance falls.
    pub from: String,
    /// Whose balance rises.
    pub to: String,
    /// By how much; at least 1.
    pub amount: u64,
}

/// `POST /set/{key}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddBody {
    /// The element to add; adding one that is there already changes nothing.
    #[serde(deserialize_with = "present")]
    pub element: Value,
}

/// `POST /members`: one of the two. Answered once the change is committed, with the members as they are then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MembersBody {
    /// This node becomes a member, once it has caught up.
    Join(String),
    /// This node is a member no more.
    Leave(String),
}

/// A field that may be `null` but must not be left out: serde's default would take a forgotten `value`
/// for a write of `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Value::deserialize(deserializer)
}

/// The body of every 200 to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerBody {
    /// What was read, written, added, taken or generated; `null` where there is none.
    pub value: Value,
    /// Who answered.
    pub node: String,
    /// The term in which it did; none where several partitions each have terms of their own.
    pub term: Option<u64>,
    /// The log position of the last change of what was read or written.
    pub version: Option<u64>,
    /// How far the replica was: the session has seen this much of the partition now.
    pub seen: u64,
    /// Which partition that was.
    pub partition: usize,
}

/// The body of every refusal and failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A stable word: see [`kind`].
    pub error: String,
    /// The reason, for people.
    pub message: String,
    /// For 409: what was there instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Who refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// An answer to a client's request, whatever carries it: over HTTP a status and a body.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// 200.
    Answer(AnswerBody),
    /// Another status, with the reason.
    Refused(u16, ErrorBody),
    /// 307: that node is to be asked.
    Redirect(NodeName),
}

/// The values of [`ErrorBody::error`] and of [`crate::client::CallError::kind`].
pub mod kind {
    /// 503: no leader is known, or this node has just ceased to be one; nothing was appended.
    pub const NO_LEADER: &str = "no-leader";
    /// 503: the replica has not caught up since it started; nothing was done.
    pub const JOINING: &str = "joining";
    /// 503: the replica did not get in time what the session has seen; nothing was done.
    pub const BEHIND: &str = "behind";
    /// 503: too many requests wait already; nothing was appended.
    pub const OVERLOADED: &str = "overloaded";
    /// 503: the entry is in the log, and whether it will be committed nobody knows.
    pub const UNKNOWN: &str = "unknown";
    /// 409: a compare-and-set or a transaction saw another value, the key holds another type, or the members cannot be changed so now.
    pub const PRECONDITION: &str = "precondition";
    /// 409: a dequeue found nothing.
    pub const EMPTY: &str = "empty";
    /// 409: an account holds less than is to be transferred.
    pub const INSUFFICIENT_FUNDS: &str = "insufficient-funds";
    /// 400: the request makes no sense.
    pub const BAD_REQUEST: &str = "bad-request";
    /// 404: no such path.
    pub const NOT_FOUND: &str = "not-found";
    /// 405: the path knows other methods.
    pub const METHOD: &str = "method-not-allowed";
    /// 413: the body is too large.
    pub const TOO_LARGE: &str = "too-large";
    /// 307: another node is to be asked.
    pub const REDIRECT: &str = "redirect";
    /// Client side: no connection could be made, nothing was sent.
    pub const UNREACHABLE: &str = "unreachable";
    /// Client side: the time was up.
    pub const TIMEOUT: &str = "timeout";
    /// Client side: the connection broke after the request was sent.
    pub const RESET: &str = "reset";
    /// Client side: nodes sent the request round and round.
    pub const REDIRECT_LOOP: &str = "redirect-loop";
}

/// Whether an answer of this HTTP status and error kind says that a write surely had no effect.
///
/// ```
/// use schism_targets::wire::{is_definite, kind};
/// assert!(is_definite(503, kind::NO_LEADER));
/// assert!(!is_definite(504, kind::UNKNOWN));
/// assert!(!is_definite(500, "who knows"));
/// ```
pub fn is_definite(status: u16, error: &str) -> bool {
    match status {
        300..=499 => true,
        503 => matches!(
            error,
            kind::NO_LEADER | kind::JOINING | kind::OVERLOADED | kind::BEHIND
        ),
        _ => false,
    }
}

/// Whether an error of this kind is an orderly refusal of what was asked, because of what is stored: the service was there.
pub fn is_refused_by_state(error: &str) -> bool {
    matches!(
        error,
        kind::PRECONDITION | kind::EMPTY | kind::INSUFFICIENT_FUNDS
    )
}

/// What a node is doing in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes the writes.
    Leader,
    /// Copies the leader's log.
    Follower,
    /// Tries to become leader.
    Candidate,
    /// Has not caught up since it started (or was wiped): does not vote, does not serve reads.
    Joining,
}

/// Counts since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Candidacies (or naive take-over rounds) begun.
    pub elections: u64,
    /// Times this node became leader.
    pub terms_led: u64,
    /// Entries thrown away because the leader's log had others in their place.
    pub truncated_entries: u64,
    /// Of those, entries that had been applied already: acknowledged writes may be among them.
    pub rolled_back_entries: u64,
    /// Snapshots sent to followers.
    pub snapshots_sent: u64,
    /// Snapshots received and installed.
    pub snapshots_installed: u64,
    /// In-sync followers (`ack=semi-sync`) that fell silent and were replaced by another.
    #[serde(default)]
    pub in_sync_replaced: u64,
}

/// `GET /status`: one node's own view. Positions count log entries from 1; 0 is the empty log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub node: String,
    /// Its role.
    pub role: Role,
    /// Its current term.
    pub term: u64,
    /// Who it believes to be the leader.
    pub leader: Option<String>,
    /// Its last log position.
    pub position: u64,
    /// The last position that is durable under its `fsync` option.
    pub durable: u64,
    /// Its log is known to equal the current leader's up to here; beyond, it may have diverged.
    pub matched: u64,
    /// The last position that it knows to be committed.
    pub committed: u64,
    /// The last position in its state.
    pub applied: u64,
    /// Committed but not applied.
    pub lag: u64,
    /// On a leader: the followers that are in sync (under `ack=semi-sync` the one that acknowledges).
    pub in_sync: Vec<String>,
    /// The position of its last snapshot.
    pub snapshot: u64,
    /// Whether it has a vote.
    pub voter: bool,
    /// Who the cluster is, as its log has it, committed or not.
    pub members: Vec<String>,
    /// Writes in its log that wait for the commit rule.
    pub pending: u64,
    /// Counts since the process started.
    pub counters: Counters,
    /// The same of the other partitions; what stands above is the first one's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<Status>,
}

/// What is known of each partition, the first one first.
pub fn of_partitions(statuses: &[Option<Status>]) -> Vec<Vec<&Status>> {
    let known = || statuses.iter().flatten();
    let others = known().map(|status| status.partitions.len()).max();
    let of = |number| known().filter_map(move |status: &Status| status.partitions.get(number));
    let others = (0..others.unwrap_or(0)).map(|number| of(number).collect());
    std::iter::once(known().collect()).chain(others).collect()
}

/// Who leads, of those that say so: the one of the latest term.
pub fn leading<'s>(statuses: &[&'s Status]) -> Option<&'s Status> {
    let leading = statuses.iter().filter(|status| status.role == Role::Leader);
    leading.max_by_key(|status| status.term).copied()
}

/// Whether a node is a member of each partition, as those say who lead; unless somebody leads each, nobody knows otherwise.
pub fn is_member(statuses: &[Option<Status>], node: &str) -> bool {
    let partitions = of_partitions(statuses);
    let leaders: Option<Vec<_>> = partitions.iter().map(|of| leading(of)).collect();
    let counts = |leader: &&Status| leader.members.iter().any(|member| member == node);
    leaders.is_none_or(|leaders| leaders.iter().all(counts))
}
