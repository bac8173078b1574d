//! Partitions: each a log of its own with a leader of its own, in one process; a key belongs to one of them.
//!
//! As `CockroachDB`'s ranges or Kafka's partitions, with a fixed number. Partitions know nothing of one another, so what is written to one
//! after something was read from another may be seen before it (D11), unless both keys are placed together: `placement=causal` goes by the
//! part of a key before its first colon, as the partition key of `DynamoDB` or the hash tag of Redis Cluster do.

use std::path::{Path, PathBuf};

use crate::replicas::single_leader::Operation;

/// Where keys lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// By the whole key.
    Hash,
    /// By the part before the first colon, so that what has it in common lies together.
    Causal,
}

impl Placement {
    /// The partition of a key, of so many.
    pub(crate) fn of(self, key: &str, partitions: usize) -> usize {
        let placed = match self {
            Self::Hash => key,
            Self::Causal => key.split(':').next().unwrap_or(key),
        };
        crc32fast::hash(placed.as_bytes()) as usize % partitions
    }

    /// The partition of all keys of an operation; none: they lie in several. What has no key is in the first.
    pub(crate) fn of_all(self, operation: &Operation, partitions: usize) -> Option<usize> {
        let mut places = operation
            .keys()
            .into_iter()
            .map(|key| self.of(key, partitions));
        let first = places.next().unwrap_or(0);
        places.all(|place| place == first).then_some(first)
    }
}

/// Where a partition has its data: the first one, which may be the only one, in the node's folder itself.
pub(crate) fn folder(data: &Path, partition: usize) -> PathBuf {
    match partition {
        0 => data.to_owned(),
        number => data.join(format!("p{number}")),
    }
}

/// Where peers send what they have for a partition.
pub(crate) fn peer_path(partition: usize) -> String {
    match partition {
        0 => "/peer".to_owned(),
        number => format!("/peer/{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_lies_together_only_where_placement_says_so() {
        let together = |placement: Placement, group: u32| {
            let place = |kind: &str| placement.of(&format!("g{group}:{kind}"), 2);
            place("questions") == place("answers")
        };
        assert!((0..20).all(|group| together(Placement::Causal, group)));
        let apart = (0..20).filter(|group| !together(Placement::Hash, *group));
        assert!(apart.count() > 3);
    }
}
