//! Exit codes: the contract with scripts and CI.

/// Every deciding property holds.
pub const PASS: i32 = 0;
/// A deciding property is violated.
pub const VIOLATION: i32 = 1;
/// Undecided: a checker ran out of its budget, or the run proved nothing.
pub const INCONCLUSIVE: i32 = 2;
/// Bad arguments or input.
pub const USAGE: i32 = 254;
/// The harness itself failed.
pub const HARNESS: i32 = 255;
