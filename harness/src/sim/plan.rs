//! A schedule, explicit: which faults come when, what clients do, what becomes of single messages, how machines differ.
//!
//! Everything that a simulation depends on is here or in its setting, so the same plan gives the same history; and each part can be
//! left out without any other part being changed by it.

use crate::schedule;
use anyhow::{Context, Result};
use schism_history::Key;
use schism_targets::simulator::{Fault, Machine, Micros, Perturbation};
use schism_workloads::Invocation;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is to happen in one simulation. Times count from when the clients begin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// From which it was drawn, and from which replicas draw what they draw themselves.
    pub seed: u64,
    /// How the nodes' machines are; one for each node.
    pub machines: Vec<Machine>,
    /// The faults, in order of injection.
    pub faults: Vec<PlannedFault>,
    /// What clients do, each client's in its order.
    pub operations: Vec<PlannedOperation>,
    /// What becomes of messages.
    pub messages: Vec<Perturbation>,
}

/// A fault with its times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Its number, from 1.
    pub id: u64,
    /// When it comes.
    pub at_us: Micros,
    /// When it is healed.
    pub until_us: Micros,
    /// What it is.
    #[serde(flatten)]
    pub fault: Fault,
}

/// An operation of one client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedOperation {
    /// When it is due; it waits for the client's last one.
    pub at_us: Micros,
    /// Which client, from 0.
    pub client: usize,
    /// What; none: the next that the workload's generator gives.
    #[serde(flatten)]
    pub what: Option<What>,
}

/// What is invoked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct What {
    f: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    value: Value,
}

impl From<&Invocation> for What {
    fn from(invocation: &Invocation) -> Self {
        Self {
            f: invocation.f.to_owned(),
            key: invocation.key.clone(),
            value: invocation.value.clone(),
        }
    }
}

impl What {
    /// The invocation, or why no client does that.
    pub fn invocation(&self) -> Result<Invocation> {
        Ok(Invocation {
            f: schedule::function(&self.f)?,
            key: self.key.clone(),
            value: self.value.clone(),
        })
    }
}

impl Plan {
    /// Checks what a file may have wrong, for so many nodes and clients.
    pub fn check(&self, nodes: usize, clients: usize) -> Result<()> {
        anyhow::ensure!(
            self.machines.len() == nodes,
            "it has {} machines for {nodes} nodes",
            self.machines.len()
        );
        for operation in &self.operations {
            let what = operation
                .what
                .as_ref()
                .map_or(Ok(()), |w| w.invocation().map(drop));
            what.with_context(|| format!("operation at {} us", operation.at_us.0))?;
            let client = operation.client;
            anyhow::ensure!(client < clients, "client {client} is none of {clients}");
        }
        let early = self.faults.iter().find(|f| f.until_us < f.at_us);
        anyhow::ensure!(early.is_none(), "a fault is to end before it comes");
        let mut ids: Vec<u64> = self.faults.iter().map(|f| f.id).collect();
        ids.sort_unstable();
        anyhow::ensure!(
            ids.windows(2).all(|w| w[0] < w[1]),
            "two faults have one number"
        );
        Ok(())
    }
}
