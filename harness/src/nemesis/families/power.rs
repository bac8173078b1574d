//! Loss of power: the nodes are gone at once, and with them everything that they had not forced to their disks.
//!
//! SIGKILL alone loses nothing that was written. So the target's own storage forgets what it had not synced before the node is started again.

use crate::nemesis::down::{Down, Way};
use crate::nemesis::options::text;
use crate::nemesis::select;
use crate::nemesis::{Family, Fault, FaultOption, FaultOptions, Planned, Shape, View};
use anyhow::{Result, bail};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::Target;

/// The family.
pub(super) struct Power;

const SHAPES: &[Shape] = &[
    Shape {
        name: "all",
        nodes_min: 1,
        help: "every node at once",
        drawn: true,
    },
    Shape {
        name: "majority",
        nodes_min: 1,
        help: "the fewest that are a majority",
        drawn: false,
    },
    Shape {
        name: "minority",
        nodes_min: 1,
        help: "as many as may fail while a majority is left",
        drawn: false,
    },
    Shape {
        name: "third",
        nodes_min: 1,
        help: "a third of the nodes, at least one",
        drawn: false,
    },
    Shape {
        name: "one",
        nodes_min: 1,
        help: "one node, drawn from the seed",
        drawn: false,
    },
    Shape {
        name: "leader",
        nodes_min: 1,
        help: "the node that leads when the fault comes",
        drawn: false,
    },
];

impl Family for Power {
    fn name(&self) -> &'static str {
        "power"
    }

    fn summary(&self) -> &'static str {
        "loss of power: what was not synced is gone, then a restart"
    }

    fn shapes(&self) -> &'static [Shape] {
        SHAPES
    }

    fn options(&self) -> &'static [FaultOption] {
        &[FaultOption {
            name: "kept",
            default: "0%",
            help: "how much of what was not synced has reached the disk all the same, the last of it torn; a share, or drawn",
        }]
    }

    fn understands(&self, options: &FaultOptions) -> Result<()> {
        kept(options).map(drop)
    }

    fn possible(&self, _: &[&Planned], target: &dyn Target) -> Result<()> {
        if target.lose_unsynced().is_none() {
            bail!("this target's storage cannot tell what it had not synced");
        }
        Ok(())
    }

    fn aim(
        &self,
        shape: &str,
        options: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        let nodes = select::nodes(shape, view, rng)?;
        let kept = kept(options)?.unwrap_or_else(|| rng.random_range(0.0..1.0));
        Ok(Box::new(Down {
            nodes,
            names: view.names.clone(),
            way: Way::PowerLoss { kept },
        }))
    }
}

/// A share; none: it is drawn.
fn kept(options: &FaultOptions) -> Result<Option<f64>> {
    if text(options, "kept") == "drawn" {
        return Ok(None);
    }
    crate::nemesis::options::share(options, "kept").map(Some)
}
