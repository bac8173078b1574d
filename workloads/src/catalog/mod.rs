//! One workload a file; each has its entry in [`workloads`].

mod register;
mod set;
mod unique_ids;

use crate::Workload;

/// Every workload there is.
pub fn workloads() -> &'static [&'static dyn Workload] {
    &[&register::Register, &set::Set, &unique_ids::UniqueIds]
}
