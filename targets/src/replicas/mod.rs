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
#[serde(from = "String", into = "String")]
pub struct NodeName {
    /// Its length and how it begins, as a number of the same order: names are compared with each message, too, and this mostly decides.
    key: u64,
    name: Arc<str>,
}

/// So many bytes of a name are in its key.
const IN_KEY: usize = 7;

impl Ord for NodeName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_key = self.key.cmp(&other.key);
        if self.name.len() <= IN_KEY {
            by_key
        } else {
            by_key.then_with(|| self.name.cmp(&other.name))
        }
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
        &self.name
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        let mut key = [0; IN_KEY + 1];
        key[0] = u8::try_from(name.len()).unwrap_or(u8::MAX);
        for (place, byte) in key[1..].iter_mut().zip(name.bytes()) {
            *place = byte;
        }
        Self {
            key: u64::from_be_bytes(key),
            name: name.into(),
        }
    }
}

impl From<String> for NodeName {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.as_str().to_owned()
    }
}

impl std::fmt::Display for NodeName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name.fmt(out)
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
display_inner!(Term, LogPosition);

#[cfg(test)]
mod tests {
    use super::NodeName;

    #[test]
    fn names_are_ordered_as_people_count() {
        let words = [
            "n1", "n2", "n10", "node-10", "node-100", "node-101", "node-102",
        ];
        let mut names: Vec<NodeName> = words
            .iter()
            .rev()
            .map(|word| NodeName::from(*word))
            .collect();
        names.sort();
        assert_eq!(
            names.iter().map(NodeName::as_str).collect::<Vec<_>>(),
            words
        );
        assert_eq!(NodeName::from("node-101"), names[5]);
        assert_ne!(NodeName::from("node-103"), names[5]);
        assert_eq!(serde_json::to_string(&names[2]).unwrap(), "\"n10\"");
    }
}
