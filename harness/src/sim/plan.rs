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
use std::collections::BTreeMap;

/// What is to happen in one simulation. Times count from when the clients begin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// From which it was drawn, and from which replicas draw what they draw themselves.
    pub seed: u64,
    /// What it draws of the setting.
    #[serde(flatten)]
    pub drawn: Drawn,
    /// How the nodes' machines are; one for each node.
    pub machines: Vec<Machine>,
    /// The faults, in order of injection.
    pub faults: Vec<PlannedFault>,
    /// What clients do, each client's in its order.
    pub operations: Vec<PlannedOperation>,
    /// What becomes of messages.
    pub messages: Vec<Perturbation>,
}

/// Options that were drawn for this plan alone; those of the setting stand beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// Of the target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Of the workload.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub workload_options: BTreeMap<String, String>,
}

impl Drawn {
    /// Whether the setting is as it was.
    pub fn is_empty(&self) -> bool {
        self.options.is_empty() && self.workload_options.is_empty()
    }

    /// How many options.
    pub fn len(&self) -> usize {
        self.options.len() + self.workload_options.len()
    }

    /// Those at these places.
    #[must_use]
    pub fn only(&self, kept: &[usize]) -> Self {
        let of = |options: &BTreeMap<String, String>, before: usize| {
            let all = options.clone().into_iter().enumerate();
            let kept = all.filter(|(place, _)| kept.contains(&(before + place)));
            kept.map(|(_, option)| option).collect()
        };
        Self {
            options: of(&self.options, 0),
            workload_options: of(&self.workload_options, self.options.len()),
        }
    }

    /// As on the command line.
    pub fn words(&self) -> Vec<String> {
        let target = self.options.iter().map(|(k, v)| format!("{k}={v}"));
        let workload = self.workload_options.iter();
        let workload = workload.map(|(k, v)| format!("workload.{k}={v}"));
        target.chain(workload).collect()
    }
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
