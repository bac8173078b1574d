//! Connections that are reset under the programs that use them, while every link stays whole: what a firewall that forgets its state does, or a
//! proxy that is started anew.

use crate::arena::{Arena, ask};
use crate::nemesis::options::{off_or_time, text};
use crate::nemesis::select;
use crate::nemesis::{Family, Fault, FaultOption, FaultOptions, Planned, View, World};
use crate::network::{Network, Proof};
use anyhow::{Result, anyhow, bail};
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::{Harm, Target};
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// The family.
pub(super) struct Sockets;

/// A round takes two processes a node.
const EVERY_MIN: Duration = Duration::from_millis(50);
/// How long a node may take until it has a connection that can be reset, or has one again.
const LIMIT: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(20);

impl Family for Sockets {
    fn name(&self) -> &'static str {
        "sockets"
    }

    fn harms(&self) -> &'static [Harm] {
        &[Harm::Behind]
    }

    fn summary(&self) -> &'static str {
        "established TCP connections of a node are reset, over and over; its links stay whole"
    }

    fn options(&self) -> &'static [FaultOption] {
        &[
            FaultOption {
                name: "of",
                default: "all",
                help: "all | nodes | clients: connections with whom",
            },
            FaultOption {
                name: "every",
                default: "500ms",
                help: "off, for once, or how often while the fault lasts, from 50ms",
            },
        ]
    }

    fn understands(&self, options: &FaultOptions) -> Result<()> {
        of(options)?;
        every(options).map(drop)
    }

    fn possible(&self, _: &[&Planned], _: &dyn Target) -> Result<()> {
        let tried = || Network::new(&Arena::build(1)?)?.can_reset();
        let tried = ask(|| tried().map_err(|error| format!("{error:#}")))?;
        tried.map_err(|why| anyhow!(why))
    }

    fn aim(
        &self,
        shape: &str,
        options: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        let nodes = select::free_nodes(shape, view, rng)?;
        Ok(Box::new(Reset {
            nodes,
            names: view.names.clone(),
            of: of(options)?,
            every: every(options)?,
            connections: 0,
            rounds: 0,
        }))
    }
}

/// With whom the connections are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    All,
    Nodes,
    Clients,
}

fn of(options: &FaultOptions) -> Result<Of> {
    match text(options, "of") {
        "all" => Ok(Of::All),
        "nodes" => Ok(Of::Nodes),
        "clients" => Ok(Of::Clients),
        other => bail!("of = {other:?} is none of all, nodes, clients"),
    }
}

fn every(options: &FaultOptions) -> Result<Option<Duration>> {
    off_or_time(options, "every", EVERY_MIN)
}

struct Reset {
    nodes: Vec<usize>,
    names: Vec<String>,
    of: Of,
    every: Option<Duration>,
    /// How many were reset, in so many rounds that found some.
    connections: usize,
    rounds: usize,
}

impl Reset {
    /// The hosts with which a node's connections are meant.
    fn others(&self, node: usize, world: &World) -> Vec<usize> {
        let clients = world.clients();
        let meant = |host: &usize| match self.of {
            Of::All => true,
            Of::Nodes => *host < clients,
            Of::Clients => *host == clients,
        };
        (0..=clients)
            .filter(|host| *host != node)
            .filter(meant)
            .collect()
    }

    fn round(&mut self, world: &World) -> Result<usize> {
        let mut count = 0;
        for node in &self.nodes {
            count += world
                .network
                .reset_connections(*node, &self.others(*node, world))?;
        }
        self.connections += count;
        self.rounds += usize::from(count > 0);
        Ok(count)
    }

    fn open(&self, world: &World) -> Result<usize> {
        let each = self
            .nodes
            .iter()
            .map(|node| world.network.connections(*node, &self.others(*node, world)));
        each.sum()
    }

    /// Whether it could have no connection now, for another fault's sake.
    fn hindered(&self, world: &World) -> bool {
        !world.network.cut().is_empty() || self.nodes.iter().all(|n| world.held().contains(n))
    }
}

impl Fault for Reset {
    fn what(&self) -> String {
        let with = match self.of {
            Of::All => "",
            Of::Nodes => " with other nodes",
            Of::Clients => " with clients",
        };
        let nodes = select::list(&self.nodes, &self.names);
        let often = self.every.map_or(String::new(), |every| {
            format!(" every {}", humantime::format_duration(every))
        });
        format!("reset connections of {nodes}{with}{often}")
    }

    fn value(&self, _: &World) -> Map<String, Value> {
        select::value(&self.nodes, &self.names)
    }

    fn nodes(&self) -> &[usize] {
        &self.nodes
    }

    fn inject(&mut self, _: u64, world: &mut World) -> Result<()> {
        self.round(world).map(drop)
    }

    fn prove(&mut self, world: &mut World) -> Result<Proof> {
        let begun = Instant::now();
        while self.connections == 0 && begun.elapsed() < LIMIT {
            std::thread::sleep(AGAIN);
            self.round(world)?;
        }
        Ok(Proof {
            proved: self.connections > 0,
            evidence: match self.connections {
                0 => "there was no connection that could be reset (ss --kill)".to_owned(),
                n => format!("{n} reset (ss --kill)"),
            },
        })
    }

    fn every(&self) -> Option<Duration> {
        self.every
    }

    fn drive(&mut self, _: u64, world: &mut World) -> Result<()> {
        self.round(world).map(drop)
    }

    fn heal(&mut self, _: u64, _: &mut World) -> Result<()> {
        Ok(())
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        let begun = Instant::now();
        let mut open = self.open(world)?;
        while open == 0 && !self.hindered(world) && begun.elapsed() < LIMIT {
            std::thread::sleep(AGAIN);
            open = self.open(world)?;
        }
        let (all, rounds) = (self.connections, self.rounds);
        Ok(Proof {
            proved: open > 0 || self.hindered(world),
            evidence: format!(
                "{all} were reset in {rounds} rounds; {open} are established now (ss)"
            ),
        })
    }
}
