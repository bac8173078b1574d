//! What is simulated, whatever the seed: target, workload, size, and what must hold.

use super::families::Families;
use super::plan::Plan;
use super::variety::Variety;
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
    /// What would, were it not for the faults that are drawn: told, and no more.
    pub unpromised: Vec<&'static dyn Property>,
    /// What each seed draws.
    pub variety: Variety,
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
        let options = target.resolve(&self.options, self.nodes)?;
        check_simulated(target, &options)?;
        let variety = Variety::of(
            (target, &self.options),
            (workload, &self.workload_options),
            (&options, self.nodes),
        );
        self.options = options;
        self.workload_options = workloads::resolve(workload, &self.workload_options)?;
        let names: Vec<&str> = if self.properties.is_empty() {
            workload.claims(&target.guarantees(&self.options))
        } else {
            self.properties.iter().map(String::as_str).collect()
        };
        let deciding = properties(&names)?;
        let setting = Setting {
            workload_options: Arc::new(self.workload_options.clone()),
            wanted: self,
            target,
            workload,
            deciding,
            unpromised: Vec::new(),
            variety,
        };
        setting.simulation(&schism_targets::simulator::Setup::default())?;
        Ok(setting)
    }
}

fn properties(names: &[&str]) -> Result<Vec<&'static dyn Property>> {
    let known = schism_checkers::properties();
    let found = names.iter();
    found
        .map(|name| find("property", name, known, Property::name))
        .collect()
}

/// What a simulation does not have is as it is by default, or a clean schedule would say nothing of it.
fn check_simulated(target: &dyn Target, options: &BTreeMap<String, String>) -> Result<()> {
    for missing in target.not_simulated() {
        let (name, why) = (missing.option, missing.why);
        let spec = target.options().iter().find(|spec| spec.name == name);
        let default = spec.map_or("", |spec| spec.default);
        let value = options.get(name).map_or(default, String::as_str);
        anyhow::ensure!(
            value == default,
            "{name}={value} cannot be simulated: {why}; leave it out, or see what it does with `schism run`"
        );
    }
    Ok(())
}

impl Setting {
    /// The setting of a plan, with what that draws.
    pub fn of(&self, plan: &Plan) -> Result<Self> {
        let mut setting = self.clone();
        let (drawn, wanted) = (&plan.drawn, &mut setting.wanted);
        if drawn.is_empty() {
            return Ok(setting);
        }
        wanted.options.extend(drawn.options.clone());
        wanted.options = self.target.resolve(&wanted.options, wanted.nodes)?;
        let options = &mut wanted.workload_options;
        options.extend(drawn.workload_options.clone());
        *options = workloads::resolve(self.workload, options)?;
        setting.workload_options = Arc::new(options.clone());
        Ok(setting)
    }

    /// The same where these faults are drawn: what is not promised under them does not decide, unless it was named.
    pub fn under(mut self, families: &Families) -> Result<Self> {
        if self.wanted.properties.is_empty() {
            let guarantees = self.guarantees();
            let claims = self.workload.claims(&guarantees);
            let left = guarantees.under(&families.harms());
            let left = self.workload.claims(&left);
            let (promised, unpromised): (Vec<&str>, Vec<&str>) =
                claims.into_iter().partition(|claim| left.contains(claim));
            self.deciding = properties(&promised)?;
            self.unpromised = properties(&unpromised)?;
        }
        Ok(self)
    }

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
