//! One property a file; each has its entry in [`properties`].

pub(crate) mod bank;
mod consistent_prefix;
mod convergence;
pub(crate) mod counter;
pub(crate) mod linearizable;
mod long_fork;
mod lost_writes;
pub(crate) mod meaningful;
mod monotonic_reads;
mod monotonic_writes;
mod queue;
mod read_your_writes;
mod recovery;
mod set;
mod split_brain;
pub(crate) mod stale_reads;
pub(crate) mod stats;
pub(crate) mod unique_ids;
mod writes_follow_reads;

use crate::Property;

/// Every property there is.
pub fn properties() -> &'static [&'static dyn Property] {
    &[
        &lost_writes::LostWrites,
        &set::Set,
        &stale_reads::StaleReads,
        &monotonic_reads::MonotonicReads,
        &read_your_writes::ReadYourWrites,
        &monotonic_writes::MonotonicWrites,
        &writes_follow_reads::WritesFollowReads,
        &consistent_prefix::ConsistentPrefix,
        &long_fork::LongFork,
        &unique_ids::UniqueIds,
        &counter::Counter,
        &queue::Queue,
        &bank::Bank,
        &convergence::Convergence,
        &split_brain::SplitBrain,
        &linearizable::Linearizable,
        &recovery::Recovery,
        &meaningful::Meaningful,
        &stats::Stats,
    ]
}

/// The one of this name.
pub fn property(name: &str) -> Option<&'static dyn Property> {
    properties().iter().copied().find(|p| p.name() == name)
}
