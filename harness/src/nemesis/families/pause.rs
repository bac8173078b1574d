//! SIGSTOP and SIGCONT: a node that is there and says nothing, as in a long garbage collection or a stalled virtual machine.

use crate::cluster::State;
use crate::nemesis::select::{self, AllHeld, SHAPES};
use crate::nemesis::states::states;
use crate::nemesis::{Family, Fault, FaultOptions, Shape, View, World, named_nodes};
use crate::network::Proof;
use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// The family.
pub(super) struct Pause;

impl Family for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn summary(&self) -> &'static str {
        "SIGSTOP, then SIGCONT"
    }

    fn shapes(&self) -> &'static [Shape] {
        SHAPES
    }

    fn aim(
        &self,
        shape: &str,
        _: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        let nodes = select::nodes(shape, view, rng)?;
        if nodes.iter().all(|node| view.held.contains(node)) {
            return Err(AllHeld.into());
        }
        Ok(Box::new(Paused {
            nodes,
            names: view.names.clone(),
        }))
    }

    fn accepts(&self, shape: &str, names: &[String]) -> Result<()> {
        named_nodes(shape, names).map(drop)
    }
}

struct Paused {
    nodes: Vec<usize>,
    names: Vec<String>,
}

impl Fault for Paused {
    fn what(&self) -> String {
        format!("pause {}", select::list(&self.nodes, &self.names))
    }

    fn value(&self, _: &World) -> Map<String, Value> {
        let nodes: Vec<_> = self.nodes.iter().map(|n| &self.names[*n]).collect();
        Map::from_iter([("nodes".to_owned(), json!(nodes))])
    }

    fn nodes(&self) -> &[usize] {
        &self.nodes
    }

    fn inject(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.nodes
            .iter()
            .try_for_each(|node| world.pause(id, *node))
    }

    fn prove(&mut self, world: &mut World) -> Result<Proof> {
        // A node that a kill holds down is as silent as a paused one.
        Ok(states(
            &self.nodes,
            &self.names,
            world,
            |s| *s == State::Paused,
            World::is_killed,
            true,
        ))
    }

    fn heal(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.nodes
            .iter()
            .try_for_each(|node| world.resume(id, *node))
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        let held = |world: &World, node| world.is_paused(node) || world.is_killed(node);
        Ok(states(
            &self.nodes,
            &self.names,
            world,
            |s| *s == State::Running,
            held,
            false,
        ))
    }
}
