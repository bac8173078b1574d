//! Whether this machine can do what is planned: asked before anything of a run starts.

use super::{Planned, families};
use schism_targets::registry::Target;
use std::fmt;

/// A family whose planned faults cannot be done here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impossible {
    /// The family.
    pub family: &'static str,
    /// How many of its faults are planned; none, where it was only to be made ready.
    pub faults: usize,
    /// What is missing, and what mends it.
    pub why: String,
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.family, self.why)
    }
}

/// The families of which faults are planned that cannot be done to this target on this machine. Only while the process has one thread.
pub fn impossible(plan: &[Planned], target: &dyn Target) -> Vec<Impossible> {
    let of = |name: &str| -> Vec<&Planned> { plan.iter().filter(|p| p.family == name).collect() };
    let planned = families()
        .iter()
        .map(|family| (family, of(family.name())))
        .filter(|(_, own)| !own.is_empty());
    let tried = planned.filter_map(|(family, own)| {
        let error = family.possible(&own, target).err()?;
        Some(Impossible {
            family: family.name(),
            faults: own.iter().filter(|p| p.id > 0).count(),
            why: format!("{error:#}"),
        })
    });
    tried.collect()
}
