//! From what a target guarantees to the properties that must hold: what several workloads have in common.
//!
//! What is promised is decided by [`schism_targets::registry::Target::guarantees`]; this only translates.

use schism_targets::registry::{Guarantees, ReadPromise};

/// A workload's own claims, and those that every workload makes.
pub(crate) fn with_common(guarantees: Guarantees, own: &[&'static str]) -> Vec<&'static str> {
    let split_brain = guarantees.no_split_brain.then_some("split-brain");
    let all = own.iter().copied().chain(["recovery"]);
    all.chain(split_brain).collect()
}

/// What a session may rely on that reads registers.
pub(crate) fn of_reads(reads: ReadPromise) -> &'static [&'static str] {
    match reads {
        // Reads at the leader are sold as current; whether a deposed one goes on answering is what is to be found out.
        ReadPromise::Linearizable | ReadPromise::Leader => &[
            "linearizable",
            "stale-reads",
            "monotonic-reads",
            "read-your-writes",
        ],
        ReadPromise::Session => &["monotonic-reads", "read-your-writes"],
        ReadPromise::OwnWrites => &["read-your-writes"],
        ReadPromise::Sticky => &["monotonic-reads"],
        ReadPromise::Eventual => &[],
    }
}

/// Whether a read sees everything that was acknowledged before it.
pub(crate) fn are_current(reads: ReadPromise) -> bool {
    of_reads(reads).contains(&"stale-reads")
}
