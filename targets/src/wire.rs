//! The JSON bodies that server and client share, and the names of what may go wrong.
//!
//! Only shapes: no sockets and no decisions. Every answer that is not 200 or a redirect carries an
//! [`ErrorBody`]; whether it is *definite* (the request surely had no effect) follows from its status and
//! its kind, see [`is_definite`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::replicas::NodeName;

/// Request header that carries the number of the client's session.
pub const SESSION_HEADER: &str = "x-schism-session";
/// Request header that names replicas which the session has found dead (`read=sticky` moves on).
pub const AVOID_HEADER: &str = "x-schism-avoid";
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

/// `POST /set/{key}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddBody {
    /// The element to add; adding one that is there already changes nothing.
    #[serde(deserialize_with = "present")]
    pub element: Value,
}

/// A field that may be `null` but must not be left out: serde's default would take a forgotten `value`
/// for a write of `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Value::deserialize(deserializer)
}

/// The body of every 200 to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerBody {
    /// What was read, written, added or generated; `null` where there is none.
    pub value: Value,
    /// Who answered.
    pub node: String,
    /// The term in which it did.
    pub term: Option<u64>,
    /// The log position of the last change of what was read or written.
    pub version: Option<u64>,
}

/// The body of every refusal and failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A stable word: see [`kind`].
    pub error: String,
    /// The reason, for people.
    pub message: String,
    /// For `precondition`: what was there instead.
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
    /// 503: too many requests wait already; nothing was appended.
    pub const OVERLOADED: &str = "overloaded";
    /// 503: the entry is in the log, and whether it will be committed nobody knows.
    pub const UNKNOWN: &str = "unknown";
    /// 409: a compare-and-set saw another value, or the key holds another type.
    pub const PRECONDITION: &str = "precondition";
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
/// assert!(!is_definite(503, kind::UNKNOWN));
/// assert!(!is_definite(500, "who knows"));
/// ```
pub fn is_definite(status: u16, error: &str) -> bool {
    match status {
        300..=499 => true,
        503 => matches!(error, kind::NO_LEADER | kind::JOINING | kind::OVERLOADED),
        _ => false,
    }
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
    /// Writes in its log that wait for the commit rule.
    pub pending: u64,
    /// Counts since the process started.
    pub counters: Counters,
}
