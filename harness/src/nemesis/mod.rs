//! The nemesis: faults, each with its injection, its heal, and the proof of both.
//!
//! A family is one file and one entry in [`families`]. A family has shapes (whom it hits); a shape is made a concrete [`Fault`] at the
//! moment of injection, because only then is it known who leads. Several faults may be in force at once: [`World`] keeps who
//! holds what, so that healing one does not undo another.

mod by_hand;
mod course;
mod damage;
mod down;
pub(crate) mod faketime;
mod families;
mod members;
mod options;
mod possible;
mod recovery;
mod run;
mod schedule;
mod select;
mod sick;
mod states;
mod witness;
mod world;

pub use families::families;
pub use options::{FaultOption, FaultOptions};
pub use possible::{Impossible, impossible};
pub(crate) use run::NOT_INJECTED;
pub use run::Nemesis;
pub use schedule::{Planned, made_ready, plan};
pub use witness::{Watch, Witness};
pub use world::World;

use crate::cluster::Cluster;
use crate::network::{Cut, Network, Proof};
use anyhow::{Context, Result, bail};
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::{Harm, Target};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::time::Duration;

/// Whom a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Its name after the colon.
    pub name: &'static str,
    /// The fewest nodes for which it means anything.
    pub nodes_min: usize,
    /// What it does.
    pub help: &'static str,
    /// Whether chance may choose it: not, if it only makes sense beside another fault or in one configuration.
    pub drawn: bool,
}

/// What is known of the cluster when a fault is aimed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The nodes' names.
    pub names: Vec<String>,
    /// Who leads, as the nodes themselves say.
    pub leader: Option<usize>,
    /// The followers that are in sync with it, as it says itself.
    pub in_sync: Vec<usize>,
    /// Nodes that a partition isolates.
    pub isolated: BTreeSet<usize>,
    /// Nodes that a fault has killed or paused: a drawn fault spares them, as long as there are others.
    pub held: BTreeSet<usize>,
    /// Links that are cut now.
    pub cut: Cut,
}

/// A kind of fault.
pub trait Family: Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// What it does, in one line.
    fn summary(&self) -> &'static str;
    /// Whom it can hit: where nothing else is said, single nodes.
    fn shapes(&self) -> &'static [Shape] {
        select::SHAPES
    }
    /// Its options.
    fn options(&self) -> &'static [FaultOption] {
        &[]
    }
    /// What it may do to replicas, as far as promises on reads are limited by that.
    fn harms(&self) -> &'static [Harm] {
        &[Harm::Down, Harm::Behind]
    }
    /// Whether it can read these options, all of which are there.
    fn understands(&self, _options: &FaultOptions) -> Result<()> {
        Ok(())
    }
    /// Whether this machine can do the faults of its kind that are planned to this target; an error says what is missing, and what mends it.
    /// Tried before anything of the run starts.
    fn possible(&self, _planned: &[&Planned], _target: &dyn Target) -> Result<()> {
        Ok(())
    }
    /// Whether it must be made ready before the nodes are started, for a fault with these options that nobody has planned.
    fn before_start(&self, _options: &FaultOptions, _cluster: &Cluster) -> bool {
        false
    }
    /// What it needs before the nodes are started, for the faults of its kind that are planned: an environment, a mount. An error says what the machine lacks.
    fn prepare(&self, _planned: &[&Planned], _cluster: &mut Cluster) -> Result<()> {
        Ok(())
    }
    /// What it needs of the network before the nodes are started; the seed is that of the run. An error says what the machine lacks.
    fn prepare_network(
        &self,
        _planned: &[&Planned],
        _network: &mut Network,
        _seed: u64,
    ) -> Result<()> {
        Ok(())
    }
    /// A concrete fault of this shape with these options, all of which are there. An error says why there is none now (nobody leads).
    fn aim(
        &self,
        shape: &str,
        options: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>>;
    /// Whether the text names whom it hits instead of a shape: nodes, where nothing else is said.
    fn accepts(&self, shape: &str, names: &[String]) -> Result<()> {
        named_nodes(shape, names).map(drop)
    }
}

/// One concrete fault.
pub trait Fault: Send {
    /// What it does, for people.
    fn what(&self) -> String;
    /// What it does, for the history.
    fn value(&self, world: &World) -> Map<String, Value>;
    /// The nodes that it hits: killed, paused, or the isolated side of a partition.
    fn nodes(&self) -> &[usize];
    /// Makes it so.
    fn inject(&mut self, id: u64, world: &mut World) -> Result<()>;
    /// Looks whether it is so.
    fn prove(&mut self, world: &mut World) -> Result<Proof>;
    /// How often it must be driven while it is in force.
    fn every(&self) -> Option<Duration> {
        None
    }
    /// Drives it on.
    fn drive(&mut self, _id: u64, _world: &mut World) -> Result<()> {
        Ok(())
    }
    /// Ends it.
    fn heal(&mut self, id: u64, world: &mut World) -> Result<()>;
    /// What has come of it, for the history: asked once it has ended.
    fn came_of_it(&self, _world: &World) -> Map<String, Value> {
        Map::new()
    }
    /// Looks whether it has ended.
    fn prove_healed(&mut self, world: &mut World) -> Result<Proof>;
}

/// `family` or `family:shape`, understood.
#[derive(Clone)]
pub struct Kind {
    /// The family.
    pub family: &'static dyn Family,
    /// The shape, or none: then it is drawn each time.
    pub shape: Option<String>,
    /// Its options, all that the family has.
    pub options: FaultOptions,
}

impl Kind {
    /// Reads `partition`, `kill:leader`, `partition:n1+n2/n3`, with the options that are given.
    pub fn parse(text: &str, given: &FaultOptions, nodes: usize) -> Result<Self> {
        let (name, shape) = match text.split_once(':') {
            Some((name, shape)) => (name, Some(shape)),
            None => (text, None),
        };
        let family = crate::spec::find("nemesis", name, families(), Family::name)?;
        if let Some(shape) = shape {
            let names: Vec<String> = (1..=nodes).map(|i| format!("n{i}")).collect();
            if let Some(known) = family.shapes().iter().find(|s| s.name == shape) {
                if nodes < known.nodes_min {
                    bail!(
                        "{text} needs at least {} nodes; there are {nodes}",
                        known.nodes_min
                    );
                }
            } else {
                family.accepts(shape, &names).with_context(|| {
                    let known: Vec<_> = family.shapes().iter().map(|s| s.name).collect();
                    format!(
                        "{name} has no shape {shape:?}; it has: {}",
                        known.join(", ")
                    )
                })?;
            }
        }
        Ok(Self {
            family,
            shape: shape.map(str::to_owned),
            options: options::resolve(family, given)?,
        })
    }
}

/// Reads `n1+n2` as places among `names`.
fn named_nodes(text: &str, names: &[String]) -> Result<Vec<usize>> {
    text.split('+')
        .map(|name| match names.iter().position(|n| n == name) {
            Some(place) => Ok(place),
            None => bail!("{name:?} is no node; there are n1 to n{}", names.len()),
        })
        .collect()
}
