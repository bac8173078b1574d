//! SIGKILL, and a restart as the heal. What was written but not fsynced survives: the kernel still has it (see `faults` in the README).

use crate::nemesis::down::{Down, Way};
use crate::nemesis::select;
use crate::nemesis::{Family, Fault, FaultOptions, View};
use anyhow::Result;
use rand_chacha::ChaCha8Rng;

/// The family.
pub(super) struct Kill;

impl Family for Kill {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn summary(&self) -> &'static str {
        "SIGKILL, then a restart in place"
    }

    fn aim(
        &self,
        shape: &str,
        _: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        Ok(Box::new(Down {
            nodes: select::nodes(shape, view, rng)?,
            names: view.names.clone(),
            way: Way::Kill,
        }))
    }
}
