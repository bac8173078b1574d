//! Loss of power: the nodes are gone at once, and with them everything that they had not forced to their disks.
//!
//! SIGKILL alone loses nothing that was written. So the target's own storage forgets what it had not synced before the node is started again; where it cannot,
//! a disk of ours does that is mounted over the node's data (FUSE).

use crate::cluster::{Cluster, Forgets};
use crate::nemesis::down::{Down, Way};
use crate::nemesis::options::{drawn_share, text};
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
        &[
            FaultOption {
                name: "kept",
                default: "0%",
                help: "how much of what was not synced has reached the disk all the same, the last of it torn; a share, or drawn",
            },
            FaultOption {
                name: "by",
                default: "auto",
                help: "who forgets: target (its own storage), fuse (a disk mounted over its data), or auto: the target where it can",
            },
        ]
    }

    fn understands(&self, options: &FaultOptions) -> Result<()> {
        forgets(options)?;
        kept(options).map(drop)
    }

    fn possible(&self, planned: &[&Planned], target: &dyn Target) -> Result<()> {
        let target = target.lose_unsynced().is_some();
        for fault in planned {
            match (forgets(&fault.options)?, target) {
                (Forgets::Target, false) => {
                    bail!("this target's storage cannot tell what it had not synced; by=fuse can")
                }
                (Forgets::Target | Forgets::Auto, true) => {}
                (Forgets::Disk, _) | (Forgets::Auto, false) => crate::disk::usable()?,
            }
        }
        Ok(())
    }

    fn before_start(&self, options: &FaultOptions, cluster: &Cluster) -> bool {
        let target = cluster.can_lose_unsynced();
        !matches!(
            (forgets(options), target),
            (Ok(Forgets::Target), _) | (Ok(Forgets::Auto), true)
        )
    }

    fn prepare(&self, planned: &[&Planned], cluster: &mut Cluster) -> Result<()> {
        for fault in planned {
            match (forgets(&fault.options)?, cluster.can_lose_unsynced()) {
                (Forgets::Target, _) | (Forgets::Auto, true) => {}
                (Forgets::Disk, _) | (Forgets::Auto, false) => cluster.mount_disks()?,
            }
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
        // Before the nodes are: a replay names them, and is to draw the same.
        let drawn = rng.random_range(0.0..1.0);
        let kept = kept(options)?.unwrap_or(drawn);
        let nodes = select::nodes(shape, view, rng)?;
        Ok(Box::new(Down {
            nodes,
            names: view.names.clone(),
            way: Way::PowerLoss {
                kept,
                forgets: forgets(options)?,
            },
        }))
    }
}

/// A share; none: it is drawn.
fn kept(options: &FaultOptions) -> Result<Option<f64>> {
    drawn_share(options, "kept")
}

fn forgets(options: &FaultOptions) -> Result<Forgets> {
    match text(options, "by") {
        "auto" => Ok(Forgets::Auto),
        "target" => Ok(Forgets::Target),
        "fuse" => Ok(Forgets::Disk),
        other => bail!("by = {other:?} is neither auto, nor target, nor fuse"),
    }
}
