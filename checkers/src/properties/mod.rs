//! One property a file; each has its entry in [`properties`].

mod availability;
pub(crate) mod bank;
mod causal;
mod causal_reverse;
mod consistent_prefix;
mod convergence;
pub(crate) mod counter;
mod g_counter;
pub(crate) mod linearizable;
mod long_fork;
mod lost_updates;
mod lost_writes;
mod lww_register;
pub(crate) mod meaningful;
mod monotonic;
mod monotonic_reads;
mod monotonic_writes;
mod mutex;
mod mv_register;
mod pn_counter;
mod pram;
mod queue;
mod read_your_writes;
mod recovery;
mod sequential;
mod set;
mod split_brain;
pub(crate) mod stale_reads;
pub(crate) mod stats;
mod text;
pub(crate) mod unique_ids;
mod writes_follow_reads;

use crate::Property;

/// Every property there is.
pub fn properties() -> &'static [&'static dyn Property] {
    &[
        &lost_writes::LostWrites,
        &lost_updates::LostUpdates,
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
        &g_counter::GCounter,
        &pn_counter::PnCounter,
        &lww_register::LwwRegister,
        &mv_register::MvRegister,
        &text::Text,
        &queue::Queue,
        &mutex::Mutex,
        &bank::Bank,
        &convergence::Convergence,
        &split_brain::SplitBrain,
        &linearizable::Linearizable,
        &availability::Availability,
        &sequential::Sequential,
        &causal::Causal,
        &pram::Pram,
        &causal_reverse::CausalReverse,
        &monotonic::Monotonic,
        &recovery::Recovery,
        &meaningful::Meaningful,
        &stats::Stats,
    ]
}

/// The one of this name.
pub fn property(name: &str) -> Option<&'static dyn Property> {
    properties().iter().copied().find(|p| p.name() == name)
}
