//! SIGTERM, and a restart as the heal: a node that is asked to go, and goes in good order.

use crate::nemesis::down::{Down, Way};
use crate::nemesis::options::duration;
use crate::nemesis::select;
use crate::nemesis::{Family, Fault, FaultOption, FaultOptions, View};
use anyhow::Result;
use rand_chacha::ChaCha8Rng;

/// The family.
pub(super) struct Stop;

impl Family for Stop {
    fn name(&self) -> &'static str {
        "stop"
    }

    fn summary(&self) -> &'static str {
        "SIGTERM, which a node obeys in good order, then a restart in place"
    }

    fn options(&self) -> &'static [FaultOption] {
        &[FaultOption {
            name: "patience",
            default: "5s",
            help: "how long the node may take to end; past that the fault had no effect",
        }]
    }

    fn understands(&self, options: &FaultOptions) -> Result<()> {
        duration(options, "patience").map(drop)
    }

    fn aim(
        &self,
        shape: &str,
        options: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        let nodes = select::free_nodes(shape, view, rng)?;
        Ok(Box::new(Down {
            nodes,
            names: view.names.clone(),
            way: Way::Stop(duration(options, "patience")?),
        }))
    }
}
