//! SIGKILL, and a restart as the heal. What was written but not fsynced survives: the kernel still has it (see `faults` in the README).

use crate::cluster::State;
use crate::nemesis::select::{self, SHAPES};
use crate::nemesis::states::states;
use crate::nemesis::{Family, Fault, Shape, View, World, named_nodes};
use crate::network::Proof;
use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The family.
pub(super) struct Kill;

impl Family for Kill {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn summary(&self) -> &'static str {
        "SIGKILL, then a restart in place"
    }

    fn shapes(&self) -> &'static [Shape] {
        SHAPES
    }

    fn aim(&self, shape: &str, view: &View, rng: &mut ChaCha8Rng) -> Result<Box<dyn Fault>> {
        let nodes = select::nodes(shape, view, rng)?;
        Ok(Box::new(Killed {
            nodes,
            names: view.names.clone(),
        }))
    }

    fn accepts(&self, shape: &str, names: &[String]) -> Result<()> {
        named_nodes(shape, names).map(drop)
    }
}

struct Killed {
    nodes: Vec<usize>,
    names: Vec<String>,
}

impl Fault for Killed {
    fn what(&self) -> String {
        format!("kill {}", select::list(&self.nodes, &self.names))
    }

    fn value(&self, _: &World) -> Map<String, Value> {
        let nodes: Vec<_> = self.nodes.iter().map(|n| &self.names[*n]).collect();
        Map::from_iter([("nodes".to_owned(), json!(nodes))])
    }

    fn nodes(&self) -> &[usize] {
        &self.nodes
    }

    fn inject(&self, id: u64, world: &mut World) -> Result<()> {
        self.nodes.iter().try_for_each(|node| world.kill(id, *node))
    }

    fn prove(&self, world: &mut World) -> Result<Proof> {
        let mut proof = states(
            &self.nodes,
            &self.names,
            world,
            |s| matches!(s, State::Gone(_)),
            |_, _| false,
            true,
        );
        // One that had ended by itself was not killed by us, whatever it looks like.
        for node in &self.nodes {
            if !world.cluster.was_killed(*node) {
                proof.proved = false;
                let name = &self.names[*node];
                let _ = write!(proof.evidence, "; {name} had ended by itself");
            }
        }
        Ok(proof)
    }

    fn heal(&self, id: u64, world: &mut World) -> Result<()> {
        self.nodes
            .iter()
            .try_for_each(|node| world.revive(id, *node))
    }

    fn prove_healed(&self, world: &mut World) -> Result<Proof> {
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
