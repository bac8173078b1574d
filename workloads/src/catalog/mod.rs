//! One workload a file; each has its entry in [`workloads`].

mod bank;
mod counter;
mod questions;
mod queue;
mod register;
mod sessions;
mod set;
mod unique_ids;

use crate::Workload;

/// Every workload there is.
pub fn workloads() -> &'static [&'static dyn Workload] {
    &[
        &register::Register,
        &set::Set,
        &unique_ids::UniqueIds,
        &sessions::Sessions,
        &questions::Questions,
        &bank::Bank,
        &queue::Queue,
        &counter::Counter,
    ]
}
