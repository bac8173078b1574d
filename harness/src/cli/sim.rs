//! `schism sim`: many seeds, or one plan.

use super::{Failure, harness, usage};
use crate::sim::{self, Extent, Families, Seeds, Setting, Show, Wanted};
use crate::store;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct SimArgs {
    /// The system under test (see `schism list targets`)
    #[arg(long, required_unless_present = "plan")]
    target: Option<String>,
    /// An option of the target; `workload.KEY=VALUE` is one of the workload
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What clients do (see `schism list workloads`)
    #[arg(long, default_value = "register")]
    workload: String,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3)]
    nodes: usize,
    /// How many schedules
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "FIRST", default_value_t = 0)]
    seed: u64,
    /// A property that decides, instead of the workload's claims
    #[arg(long = "property", value_name = "P")]
    properties: Vec<String>,
    /// On so many cores; without it on all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: Option<u64>,
    /// Families of faults: `none`, `default` (those that the configuration tolerates by right), partition, kill, power, pause, packets,
    /// clock, membership
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "F",
        default_value = "default"
    )]
    faults: Vec<String>,
    /// Carry all seeds out, though one fails, and count those that do
    #[arg(long)]
    keep_going: bool,
    /// Carry this plan out (plan.json of a seed that failed) and print its trace
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "set", "workload", "nodes", "seeds", "seed", "faults", "keep_going", "jobs"])]
    plan: Option<PathBuf>,
    /// With --plan: how much of the trace is printed. `short`: the elections before the clients begin, what repeats itself once, nothing after the
    /// anomaly; `all`: everything
    #[arg(long, value_name = "EXTENT", default_value = "short")]
    trace: Extent,
    /// Where the folder of a seed that fails, or leaves something undecided, is made
    #[arg(long, default_value = "results", value_name = "DIR")]
    out: PathBuf,
    /// The outcome as JSON on stdout
    #[arg(long)]
    json: bool,
    /// No progress on stderr
    #[arg(long, short)]
    quiet: bool,
}

impl SimArgs {
    /// Simulates. The exit code.
    pub(super) fn carry_out(&self) -> Result<i32, Failure> {
        let show = Show::new(self.json, self.quiet, self.out.clone());
        if let Some(path) = &self.plan {
            let (setting, plan) = usage(self.planned(path))?;
            return harness(sim::replay(&setting, &plan, self.trace, &show));
        }
        let (setting, seeds) = usage(self.drawn())?;
        usage(store::writable(&self.out))?;
        harness(sim::carry_out(&setting, &seeds, &show))
    }

    fn planned(&self, path: &std::path::Path) -> Result<(Setting, sim::Plan)> {
        let (mut wanted, plan) = sim::read_plan(path)?;
        if !self.properties.is_empty() {
            wanted.properties.clone_from(&self.properties);
        }
        let setting = wanted.resolve()?;
        setting
            .of(&plan)
            .with_context(|| format!("plan {}", path.display()))?;
        Ok((setting.under(&Families::of(&plan))?, plan))
    }

    fn drawn(&self) -> Result<(Setting, Seeds)> {
        anyhow::ensure!(
            self.trace == Extent::Short,
            "--trace is for --plan FILE; beside the plan of a seed is trace-all.txt"
        );
        let setting = self.wanted()?.resolve()?;
        let families = Families::parse(&self.faults, &setting.tolerated())?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let seeds = Seeds {
            first: self.seed,
            count: self.seeds,
            jobs: self.jobs.map_or_else(cores, |jobs| jobs as usize),
            keep_going: self.keep_going,
            families,
        };
        Ok((setting.under(&seeds.families)?, seeds))
    }

    fn wanted(&self) -> Result<Wanted> {
        let mut wanted = Wanted {
            target: self.target.clone().unwrap_or_default(),
            options: BTreeMap::new(),
            workload: self.workload.clone(),
            workload_options: BTreeMap::new(),
            nodes: self.nodes,
            properties: self.properties.clone(),
        };
        for pair in &self.set {
            let Some((key, value)) = pair.split_once('=') else {
                bail!("--set {pair:?} is not of the form key=value");
            };
            match key.strip_prefix("workload.") {
                Some(key) => wanted.workload_options.insert(key.into(), value.into()),
                None => wanted.options.insert(key.into(), value.into()),
            };
        }
        Ok(wanted)
    }
}
