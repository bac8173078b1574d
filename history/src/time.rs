//! Points on the controller's monotonic clock.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Nanoseconds on the controller's monotonic clock since the run began.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// The run's beginning.
    pub const ZERO: Self = Self(0);
    /// Later than everything: the end of an operation whose outcome nobody knows.
    pub const INFINITY: Self = Self(u64::MAX);

    /// A point `ms` milliseconds after the run began.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// Milliseconds since the run began.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Seconds since the run began.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Whole nanoseconds from `earlier` to `self`, zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether this is [`Time::INFINITY`].
    pub const fn is_infinite(self) -> bool {
        self.0 == u64::MAX
    }
}

impl fmt::Display for Time {
    /// Seconds with three decimals (`1.250 s`); nanoseconds below a millisecond, where the time may be the number of a line; `never` for infinity.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_infinite() {
            f.write_str("never")
        } else if (1..1_000_000).contains(&self.0) {
            write!(f, "{} ns", self.0)
        } else {
            write!(f, "{:.3} s", self.as_secs_f64())
        }
    }
}
