//! One target a file; each has its entry in [`targets`].

pub mod single_leader;

use crate::registry::Target;

/// All targets, in the order of `schism list targets`.
pub fn targets() -> &'static [&'static dyn Target] {
    &[&single_leader::SingleLeader]
}
