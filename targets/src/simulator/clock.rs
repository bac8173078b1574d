//! Simulated time, and how each machine sees it: at a rate of its own, from a beginning of its own.

use serde::{Deserialize, Serialize};

use crate::replicas::Millis;

/// Microseconds of simulated time since the beginning; also used for durations.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// The beginning.
    pub const ZERO: Self = Self(0);

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// This time and that much later.
    #[must_use]
    pub const fn plus(self, duration: Self) -> Self {
        Self(self.0.saturating_add(duration.0))
    }

    /// In milliseconds.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e3
    }
}

/// What the wall clock of a machine without an offset shows at the beginning, in milliseconds since 1970.
const WALL_BEGINNING_MS: u64 = 1_700_000_000_000;
/// No machine's clock is faster or slower by more, in millionths: what a crystal does, and ten times that.
pub const DRIFT_PPM_MAX: u64 = 500;
/// As far off as a clock may be for a lease that allows one clock to run a tenth faster than another (1.045 / 0.955), in millionths.
pub const DRIFT_PPM_ALLOWED: u64 = 45_000;
/// So far off that no such lease holds, in millionths.
pub const DRIFT_PPM_BROKEN: u64 = 300_000;
/// How long a machine without a peculiarity takes for a sync of its disk.
const SYNC: Micros = Micros(1000);

/// How a node's machine differs from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// How much faster its clock is, in millionths.
    pub drift_ppm: i64,
    /// How far its clocks are ahead at the beginning, in milliseconds.
    pub offset_ms: u64,
    /// How long its disk takes for a batch of jobs and their sync.
    pub sync_us: Micros,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            drift_ppm: 0,
            offset_ms: 0,
            sync_us: SYNC,
        }
    }
}

/// What a machine's clocks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Never runs backwards; its zero is arbitrary.
    pub monotonic: Millis,
    /// Since 1970; a fault may make it jump.
    pub wall: Millis,
}

/// A machine's clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    machine: Machine,
    jumped_ms: i64,
}

impl Clocks {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            jumped_ms: 0,
        }
    }

    pub(super) fn read(&self, now: Micros) -> Clock {
        let drift = now.0 as i64 / 1000 * self.machine.drift_ppm / 1_000_000;
        let own = now.0 / 1000 + self.machine.offset_ms;
        let monotonic = own.saturating_add_signed(drift);
        let wall = (WALL_BEGINNING_MS + monotonic).saturating_add_signed(self.jumped_ms);
        Clock {
            monotonic: Millis(monotonic),
            wall: Millis(wall),
        }
    }

    pub(super) fn jump(&mut self, by_ms: i64) {
        self.jumped_ms += by_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_is_ahead_by_its_share_and_only_the_wall_clock_jumps() {
        let mut clocks = Clocks::new(Machine {
            drift_ppm: 500,
            offset_ms: 7,
            ..Machine::default()
        });
        assert_eq!(clocks.read(Micros::ZERO).monotonic, Millis(7));
        let later = Micros::from_millis(100_000);
        let before = clocks.read(later);
        assert_eq!(before.monotonic, Millis(100_057));
        clocks.jump(-60_000);
        let after = clocks.read(later);
        assert_eq!(after.monotonic, before.monotonic);
        assert_eq!(after.wall.plus(Millis(60_000)), before.wall);
    }
}
