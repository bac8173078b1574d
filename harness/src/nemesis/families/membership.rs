//! Nodes that come and go: one leaves by the target's own reconfiguration and joins again, or a machine is replaced: the node goes with all its data, and an
//! empty one comes back by its name, as when somebody swaps a broken disk and tells the system nothing.

use crate::nemesis::damage::{Damaged, Harm};
use crate::nemesis::down::{Down, Way};
use crate::nemesis::members::Left;
use crate::nemesis::options::text;
use crate::nemesis::select;
use crate::nemesis::{Family, Fault, FaultOption, FaultOptions, Planned, View};
use anyhow::{Result, bail};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::{Options, Target};

/// The family.
pub(super) struct Membership;

impl Family for Membership {
    fn name(&self) -> &'static str {
        "membership"
    }

    fn summary(&self) -> &'static str {
        "a node leaves by the target's own reconfiguration and joins again, or is replaced by an empty one of its name"
    }

    fn options(&self) -> &'static [FaultOption] {
        &[
            FaultOption {
                name: "do",
                default: "replace",
                help: "replace: it is swapped for an empty node, and the target is told nothing; leave: the target takes it out, and the heal lets it join",
            },
            FaultOption {
                name: "returns",
                default: "empty",
                help: "leave: with which data it joins again: empty, or as-it-was",
            },
        ]
    }

    fn understands(&self, options: &FaultOptions) -> Result<()> {
        leaves(options)?;
        returns_empty(options).map(drop)
    }

    fn possible(&self, planned: &[&Planned], target: &dyn Target) -> Result<()> {
        let leaves = planned
            .iter()
            .any(|fault| leaves(&fault.options).unwrap_or(false));
        if leaves
            && target
                .change_members(&Options::new(), "n1", false)
                .is_empty()
        {
            bail!(
                "{} cannot change its members: give do = \"replace\"",
                target.name()
            );
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
        let seed = rng.random();
        let nodes = select::free_nodes(shape, view, rng)?;
        let everybody = nodes.len() == view.names.len();
        let down = Down {
            nodes,
            names: view.names.clone(),
            way: Way::Kill,
        };
        if leaves(options)? {
            if everybody {
                bail!("all nodes cannot leave their cluster");
            }
            return Ok(Box::new(Left::new(down, returns_empty(options)?)));
        }
        Ok(Box::new(Damaged {
            down,
            harm: Harm::Replace,
            file: String::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }))
    }
}

fn leaves(options: &FaultOptions) -> Result<bool> {
    match text(options, "do") {
        "leave" => Ok(true),
        "replace" => Ok(false),
        other => bail!("do = {other:?} is neither leave nor replace"),
    }
}

fn returns_empty(options: &FaultOptions) -> Result<bool> {
    match text(options, "returns") {
        "empty" => Ok(true),
        "as-it-was" => Ok(false),
        other => bail!("returns = {other:?} is neither empty nor as-it-was"),
    }
}
