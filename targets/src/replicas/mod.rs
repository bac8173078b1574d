//! The replicas as pure state machines, one folder a target.
//!
//! No sockets, disks, clocks or threads: time, randomness (a seed) and completions of the disk come in as
//! arguments, everything that shall happen goes out as effects. So the same code runs behind HTTP
//! (`crate::server`) and in a simulator (`crate::simulator`). This file holds the words they share.

pub mod single_leader;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A term of leadership (Raft, section 5.1): grows, and each has one leader at most.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Term(pub u64);

/// A place in the log: the first entry is at 1, and 0 is "before the log".
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LogPosition(pub u64);

impl LogPosition {
    /// Before the first entry.
    pub const START: Self = Self(0);

    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place before this one; the start has none before it and stays.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// Milliseconds on a monotonic clock with an arbitrary zero; also used for durations.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// This time and that much later.
    #[must_use]
    pub fn plus(self, duration: Self) -> Self {
        Self(self.0.saturating_add(duration.0))
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

/// What a node's clocks show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic one: never runs backwards.
    pub monotonic: Millis,
    /// The wall clock, which may be set.
    pub wall: Millis,
}

impl From<Millis> for Now {
    /// A wall clock that shows the same.
    fn from(monotonic: Millis) -> Self {
        let wall = monotonic;
        Self { monotonic, wall }
    }
}

/// A node of the cluster, such as `n1`. Ordered as people count: `n2` comes before `n10`. Shared, for names are copied with each message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(Arc<str>);

impl Ord for NodeName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for NodeName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for NodeName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

/// One client request in flight, as the server numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

macro_rules! display_inner {
    ($($name:ident),*) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(out)
            }
        }
    )*};
}
display_inner!(Term, LogPosition, NodeName);
