//! What is simulated, whatever the seed: target, workload, size, and what must hold.

use super::families::Families;
use crate::spec::find;
use anyhow::{Context, Result};
use schism_checkers::Property;
use schism_targets::registry::{self, Guarantees, Target};
use schism_workloads::{Workload, registry as workloads};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many clients there are.
pub const CLIENTS: usize = 5;

/// What is simulated, as the user says it and as a plan's file keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// The target.
    pub target: String,
    /// Its options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The workload.
    pub workload: String,
    /// Its options.
    #[serde(default)]
    pub workload_options: BTreeMap<String, String>,
    /// How many nodes.
    pub nodes: usize,
    /// What decides, instead of the workload's claims.
    #[serde(default)]
    pub properties: Vec<String>,
}

/// The same with everything found and filled in.
#[derive(Clone)]
pub struct Setting {
    /// With all options filled in.
    pub wanted: Wanted,
    /// The target.
    pub target: &'static dyn Target,
    /// The workload.
    pub workload: &'static dyn Workload,
    /// Its options, for all its clients.
    pub workload_options: Arc<BTreeMap<String, String>>,
    /// What decides.
    pub deciding: Vec<&'static dyn Property>,
}

impl Wanted {
    /// Finds everything, or says what there is.
    pub fn resolve(mut self) -> Result<Setting> {
        let target = find("target", &self.target, registry::targets(), Target::name)?;
        let workload = find(
            "workload",
            &self.workload,
            workloads::workloads(),
            Workload::name,
        )?;
        self.options = target.resolve(&self.options, self.nodes)?;
        self.workload_options = workloads::resolve(workload, &self.workload_options)?;
        let claims = workload.claims(&target.guarantees(&self.options));
        let names: Vec<&str> = if self.properties.is_empty() {
            claims
        } else {
            self.properties.iter().map(String::as_str).collect()
        };
        let known = schism_checkers::properties();
        let deciding = names
            .iter()
            .map(|name| find("property", name, known, Property::name));
        let deciding = deciding.collect::<Result<_>>()?;
        let setting = Setting {
            workload_options: Arc::new(self.workload_options.clone()),
            wanted: self,
            target,
            workload,
            deciding,
        };
        setting.simulation(&schism_targets::simulator::Setup::default())?;
        Ok(setting)
    }
}

impl Setting {
    /// A cluster of the target's replicas.
    pub fn simulation(
        &self,
        setup: &schism_targets::simulator::Setup,
    ) -> Result<Box<dyn schism_targets::simulator::Simulation>> {
        let simulation = self
            .target
            .simulation(&self.wanted.options, self.wanted.nodes, setup);
        simulation.with_context(|| {
            format!(
                "{} cannot be simulated with these options",
                self.wanted.target
            )
        })
    }

    /// What the target promises.
    pub fn guarantees(&self) -> Guarantees {
        self.target.guarantees(&self.wanted.options)
    }

    /// The families of faults that it tolerates by right.
    pub fn tolerated(&self) -> Families {
        Families::tolerated(&self.guarantees())
    }
}
