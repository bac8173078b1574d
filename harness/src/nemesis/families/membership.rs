//! A machine that is replaced: the node goes with all its data, and an empty one comes back by its name, as when somebody swaps a broken disk and tells
//! the system nothing.
//!
//! A node that leaves or joins by the target's own reconfiguration needs a target that has one.

use crate::nemesis::damage::{Damaged, Harm};
use crate::nemesis::down::{Down, Way};
use crate::nemesis::select;
use crate::nemesis::{Family, Fault, FaultOptions, View};
use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The family.
pub(super) struct Membership;

impl Family for Membership {
    fn name(&self) -> &'static str {
        "membership"
    }

    fn summary(&self) -> &'static str {
        "a node is replaced by an empty one of its name, as after a swap of disks"
    }

    fn aim(
        &self,
        shape: &str,
        _: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        let seed = rng.random();
        let nodes = select::free_nodes(shape, view, rng)?;
        Ok(Box::new(Damaged {
            down: Down {
                nodes,
                names: view.names.clone(),
                way: Way::Kill,
            },
            harm: Harm::Replace,
            file: String::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }))
    }
}
