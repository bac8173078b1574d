//! Nodes that a fault takes down, and starts again in place as the heal.

use super::select;
use super::states::states;
use super::{Fault, World};
use crate::cluster::{Forgets, State};
use crate::network::Proof;
use anyhow::Result;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::time::Duration;

/// How a node is taken down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Way {
    /// SIGKILL.
    Kill,
    /// SIGTERM, which it may take so long to obey.
    Stop(Duration),
    /// SIGKILL, and what was not synced is gone, but for this share.
    PowerLoss {
        /// 0 to 1.
        kept: f64,
        /// Who forgets the rest.
        forgets: Forgets,
    },
}

impl Way {
    const fn verb(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop(_) => "stop",
            Self::PowerLoss { .. } => "cut the power of",
        }
    }
}

/// The fault.
pub(super) struct Down {
    pub(super) nodes: Vec<usize>,
    pub(super) names: Vec<String>,
    pub(super) way: Way,
}

impl Fault for Down {
    fn what(&self) -> String {
        let nodes = select::list(&self.nodes, &self.names);
        format!("{} {nodes}", self.way.verb())
    }

    fn value(&self, _: &World) -> Map<String, Value> {
        select::value(&self.nodes, &self.names)
    }

    fn nodes(&self) -> &[usize] {
        &self.nodes
    }

    fn inject(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.nodes.iter().try_for_each(|node| match self.way {
            Way::Kill | Way::PowerLoss { .. } => world.kill(id, *node),
            Way::Stop(_) => world.stop(id, *node),
        })
    }

    fn prove(&mut self, world: &mut World) -> Result<Proof> {
        let gone = |s: &State| matches!(s, State::Gone(_));
        // A paused node obeys only when it goes on.
        let obeys = matches!(self.way, Way::Stop(_));
        let held =
            |world: &World, node| (obeys && world.is_paused(node)) || world.has_given_up(node);
        if let Way::Stop(patience) = self.way {
            // Whoever holds one must be able to let it go meanwhile.
            for node in &self.nodes {
                if !world.is_paused(*node) {
                    world.cluster.wait_for(*node, gone, patience);
                }
            }
        }
        let mut proof = states(&self.nodes, &self.names, world, gone, held, true);
        // One that had ended by itself was not ended by us, whatever it looks like.
        for node in &self.nodes {
            if !world.cluster.was_killed(*node) && !held(world, *node) {
                proof.proved = false;
                let name = &self.names[*node];
                let _ = write!(proof.evidence, "; {name} had ended by itself");
            }
        }
        if let Way::PowerLoss { kept, forgets } = self.way {
            for node in &self.nodes {
                let lost = world.cluster.lose_unsynced(*node, kept, forgets)?;
                let _ = write!(proof.evidence, "; {}: {lost}", self.names[*node]);
            }
        }
        Ok(proof)
    }

    fn heal(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.nodes
            .iter()
            .try_for_each(|node| world.revive(id, *node))
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        let wish = |s: &State| !matches!(s, State::Gone(_));
        Ok(states(
            &self.nodes,
            &self.names,
            world,
            wish,
            World::is_killed,
            false,
        ))
    }
}
