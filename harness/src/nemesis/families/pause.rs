//! SIGSTOP and SIGCONT: a node that is there and says nothing, as in a long garbage collection or a stalled virtual machine.

use crate::nemesis::select;
use crate::nemesis::states::{going, stopped};
use crate::nemesis::{Family, Fault, FaultOptions, View, World};
use crate::network::Proof;
use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::Harm;
use serde_json::{Map, Value};

/// The family.
pub(super) struct Pause;

impl Family for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn harms(&self) -> &'static [Harm] {
        &[Harm::Behind]
    }

    fn summary(&self) -> &'static str {
        "SIGSTOP, then SIGCONT"
    }

    fn aim(
        &self,
        shape: &str,
        _: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        let nodes = select::free_nodes(shape, view, rng)?;
        Ok(Box::new(Paused {
            nodes,
            names: view.names.clone(),
        }))
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
        select::value(&self.nodes, &self.names)
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
        Ok(stopped(&self.nodes, &self.names, world))
    }

    fn heal(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.nodes
            .iter()
            .try_for_each(|node| world.resume(id, *node))
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        Ok(going(&self.nodes, &self.names, world))
    }
}
