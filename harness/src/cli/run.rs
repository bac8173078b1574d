//! `schism run`: a spec, from a file and flags.

use super::{Failure, harness, usage};
use crate::drive::Way;
use crate::spec::{Binding, Pcap, Spec, Stretch};
use crate::{capture, run, store};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct RunArgs {
    /// A spec file (TOML); flags override it
    spec: Option<PathBuf>,
    /// The system under test (see `schism list targets`)
    #[arg(long)]
    target: Option<String>,
    /// The executable of the target's nodes, where it is not schism's own
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// An option of the target; `workload.KEY=VALUE` is one of the workload, `nemesis.FAMILY.KEY=VALUE` one of a family of faults
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What clients do (see `schism list workloads`)
    #[arg(long)]
    workload: Option<String>,
    /// Faults drawn from the seed: FAMILY or FAMILY:SHAPE (see `schism list nemeses`); `none` for none
    #[arg(long, value_delimiter = ',', value_name = "F")]
    nemesis: Option<Vec<String>>,
    /// Stretches in which those faults come or not, such as 'quiet 5s,chaos 20s,quiet 5s'; together they are the time-limit
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "PHASE",
        conflicts_with = "time_limit"
    )]
    phases: Vec<Stretch>,
    /// A schedule in words, such as 'at 5s partition leader; at 12s heal'
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["nemesis", "phases"])]
    script: Option<String>,
    /// How many nodes
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// How long clients run, such as 30s
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    time_limit: Option<Duration>,
    /// Operations a second, all clients together; 0 for as fast as answers come
    #[arg(long)]
    rate: Option<f64>,
    /// How many clients
    #[arg(long, value_name = "N")]
    concurrency: Option<u64>,
    /// Where a client sends its requests; without it the workload says so, as a rule bound
    #[arg(long, value_enum)]
    clients: Option<Binding>,
    /// Mean length of a fault, and of the quiet between two of one kind
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    fault_interval: Option<Duration>,
    /// After this long without an answer an outcome is unknown
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    client_timeout: Option<Duration>,
    /// How long the target may take to recover after the last heal
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    recovery_limit: Option<Duration>,
    /// How long the target may take to recover after each heal: past that, `recovery` is violated
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    recovers_within: Option<Duration>,
    /// Leave faults out that this machine cannot do, aloud, instead of refusing the run
    #[arg(long)]
    skip_unavailable: bool,
    /// From which everything random comes
    #[arg(long)]
    seed: Option<u64>,
    /// A property that decides the verdict, instead of the workload's claims
    #[arg(long = "property", value_name = "P")]
    properties: Vec<String>,
    /// Capture the packets between the hosts, of each host at most 3 parts of 10 MB, into nodes/HOST/capture.pcap; kept as the nodes' data is, not of a run that
    /// passes, unless WHEN is `always`
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "failed")]
    pcap: Option<Pcap>,
    /// End the load at the first violation that can be told before the end (not that of a property that needs final reads)
    #[arg(long)]
    stop_on_violation: bool,
    /// Leave the cluster up when the load ends, faults in force, until `schism fault end` or Ctrl-C
    #[arg(long)]
    hold: bool,
    /// Families of faults that are made ready for `schism fault`, beside those that are planned
    #[arg(long, value_delimiter = ',', value_name = "F")]
    prepare: Vec<String>,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    out: PathBuf,
    /// The verdict as JSON on stdout
    #[arg(long)]
    json: bool,
    /// No progress on stderr
    #[arg(long, short)]
    quiet: bool,
    /// To end with this process, which has started it
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<i32>,
}

impl RunArgs {
    /// Carries the run out. The exit code.
    pub(super) fn carry_out(&self) -> Result<i32, Failure> {
        let spec = usage(self.spec().and_then(Spec::resolve))?;
        usage(spec.schedule())?;
        if spec.spec.pcap != Pcap::Off {
            usage(capture::supported())?;
        }
        usage(store::writable(&self.out))?;
        harness(self.parent.map_or(Ok(()), end_with))?;
        let left_out = usage(spec.impossible())?;
        let way = Way {
            quiet: self.quiet,
            hold: self.hold,
            stop_on_violation: self.stop_on_violation,
        };
        harness(run::run(&spec, &left_out, &self.out, way, self.json))
    }

    pub(super) fn spec(&self) -> Result<Spec> {
        let mut spec = match &self.spec {
            Some(path) => Spec::read(path)?,
            None => Spec::default(),
        };
        over(&mut spec.target, self.target.as_ref());
        over(&mut spec.workload, self.workload.as_ref());
        over(&mut spec.nodes, self.nodes.as_ref());
        over(&mut spec.time_limit, self.time_limit.as_ref());
        over(&mut spec.rate, self.rate.as_ref());
        over(&mut spec.concurrency, self.concurrency.as_ref());
        spec.clients = self.clients.or(spec.clients);
        over(&mut spec.fault_interval, self.fault_interval.as_ref());
        over(&mut spec.client_timeout, self.client_timeout.as_ref());
        over(&mut spec.recovery_limit, self.recovery_limit.as_ref());
        over(&mut spec.seed, self.seed.as_ref());
        if !self.prepare.is_empty() {
            spec.prepare.clone_from(&self.prepare);
        }
        spec.recovers_within = self.recovers_within.or(spec.recovers_within);
        spec.skip_unavailable |= self.skip_unavailable;
        over(&mut spec.pcap, self.pcap.as_ref());
        if let Some(binary) = &self.binary {
            spec.binary = Some(binary.clone());
        }
        if let Some(binary) = &mut spec.binary {
            *binary = executable(binary)?;
        }
        if let Some(schedule) = &mut spec.schedule {
            // The run's folder names it for whoever reads it from anywhere.
            *schedule = schedule
                .canonicalize()
                .with_context(|| format!("cannot find the schedule {}", schedule.display()))?;
        }
        if !self.properties.is_empty() {
            spec.properties.clone_from(&self.properties);
        }
        if let Some(nemesis) = &self.nemesis {
            spec.nemesis = nemesis.iter().filter(|n| *n != "none").cloned().collect();
            spec.faults.clear();
            spec.nemesis_options.clear();
        }
        if !self.phases.is_empty() {
            spec.phases.clone_from(&self.phases);
        }
        if self.time_limit.is_some() {
            spec.phases.clear();
        }
        if let Some(script) = &self.script {
            spec.script = Some(script.clone());
            spec.faults.clear();
            spec.nemesis.clear();
            spec.phases.clear();
            spec.nemesis_options.clear();
        }
        for pair in &self.set {
            let Some((key, value)) = pair.split_once('=') else {
                bail!("--set {pair:?} is not of the form key=value");
            };
            let of_workload = key.strip_prefix("workload.");
            let of_nemesis = key.strip_prefix("nemesis.").and_then(|k| k.split_once('.'));
            match (of_workload, of_nemesis) {
                (Some(key), _) => spec.workload_options.insert(key.into(), value.into()),
                (_, Some((family, key))) => {
                    let family = spec.nemesis_options.entry(family.into()).or_default();
                    family.0.insert(key.into(), value.into())
                }
                _ => spec.options.insert(key.into(), value.into()),
            };
        }
        Ok(spec)
    }
}

/// Nodes are started from another folder: only the whole path finds it.
fn executable(path: &Path) -> Result<PathBuf> {
    let found = path
        .canonicalize()
        .with_context(|| format!("cannot find the binary {}", path.display()))?;
    if nix::unistd::access(&found, nix::unistd::AccessFlags::X_OK).is_err() || found.is_dir() {
        bail!("{} cannot be executed", found.display());
    }
    Ok(found)
}

/// Whoever started this process has ended: then so does this one.
fn end_with(parent: i32) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .context("cannot be told of the parent's end")?;
    if nix::unistd::getppid().as_raw() != parent {
        bail!("the process that has started this one is gone");
    }
    Ok(())
}

pub(super) fn over<T: Clone>(value: &mut T, flag: Option<&T>) {
    if let Some(flag) = flag {
        value.clone_from(flag);
    }
}
