//! A spec whose names stand for things: everything is checked that can be before anything starts, and every option has its value.

use super::{
    Binding, CONCURRENCY_MAX, FAULTS_MAX, RATE_MAX, RATE_MIN, Spec, Stretch, TIME_MAX, find, script,
};
use crate::nemesis::{self, Impossible, Planned};
use crate::schedule::Schedule;
use anyhow::{Result, bail};
use schism_targets::registry::{Harm, Target};
use schism_workloads::Workload;
use std::time::Duration;

/// A spec whose names stand for things.
#[derive(Clone)]
pub struct Resolved {
    /// With every default filled in.
    pub spec: Spec,
    /// The target.
    pub target: &'static dyn Target,
    /// The workload.
    pub workload: &'static dyn Workload,
}

impl Resolved {
    /// Where clients go first.
    pub fn binding(&self) -> Binding {
        self.spec.clients.expect("a resolved spec says it")
    }

    /// The schedule that is kept in a file, where there is one.
    pub fn schedule(&self) -> Result<Option<Schedule>> {
        let path = self.spec.schedule.as_deref();
        let read = |path| Schedule::read(path, self.spec.nodes, self.spec.concurrency);
        path.map(read).transpose()
    }

    /// The faults, as they are kept in a file, or else planned from the spec.
    pub fn faults(&self) -> Result<Vec<Planned>> {
        match self.schedule()? {
            Some(kept) => Ok(kept.faults),
            None => nemesis::plan(&self.spec),
        }
    }

    /// The families of planned faults that this machine cannot do: an error, unless they are to be skipped. Only while the process has one thread.
    pub fn impossible(&self) -> Result<Vec<Impossible>> {
        let mut faults = self.faults()?;
        faults.extend(nemesis::made_ready(&self.spec)?);
        let found = nemesis::impossible(&faults, self.target);
        if !found.is_empty() && !self.spec.skip_unavailable {
            let each: Vec<String> = found.iter().map(ToString::to_string).collect();
            bail!(
                "this machine cannot do what is planned: {} (--skip-unavailable leaves it out; `schism doctor` says what else is missing)",
                each.join("; ")
            );
        }
        Ok(found)
    }

    /// The properties that decide: those that were named, else what the workload claims of what the target's options promise under the planned faults,
    /// and what is declared.
    pub fn deciding(&self) -> Vec<String> {
        if !self.spec.properties.is_empty() {
            return self.spec.properties.clone();
        }
        let guarantees = self.target.guarantees(&self.spec.options);
        let guarantees = guarantees.under(&self.harms());
        let claims = self.workload.claims(&guarantees).into_iter();
        let declared = self.spec.availability.is_some().then_some("availability");
        claims.chain(declared).map(str::to_owned).collect()
    }
}

impl Resolved {
    /// What the planned faults may do to replicas.
    fn harms(&self) -> Vec<Harm> {
        let written = self.spec.faults.iter().map(|fault| &fault.fault);
        let faults = self.spec.drawn().into_iter().chain(written);
        let named = faults.map(|fault| fault.split(':').next().unwrap_or_default());
        let all = nemesis::families().iter();
        let families = all.filter(|family| named.clone().any(|name| name == family.name()));
        families
            .flat_map(|family| family.harms())
            .copied()
            .collect()
    }
}

impl Spec {
    /// Checks everything that can be checked before anything starts, and fills in the options' defaults.
    pub fn resolve(mut self) -> Result<Resolved> {
        let target = find(
            "target",
            &self.target,
            schism_targets::registry::targets(),
            schism_targets::registry::Target::name,
        )?;
        let workload = find(
            "workload",
            &self.workload,
            schism_workloads::workloads(),
            schism_workloads::Workload::name,
        )?;
        self.nemesis.retain(|n| n != "none");
        self.plan_in_words()?;
        self.check_numbers()?;
        self.options = target.resolve(&self.options, self.nodes)?;
        self.workload_options =
            schism_workloads::registry::resolve(workload, &self.workload_options)?;
        self.clients = self.clients.or(Some(if workload.goes_round() {
            Binding::InTurn
        } else {
            Binding::Bound
        }));
        for name in &self.properties {
            find("property", name, schism_checkers::properties(), |p| {
                p.name()
            })?;
        }
        let drawn = !self.drawn().is_empty() || !self.phases.is_empty();
        if drawn && !self.faults.is_empty() {
            bail!(
                "give either `nemesis` (faults drawn from the seed) or `faults` (a written schedule), not both"
            );
        }
        self.check_datacenters()?;
        for fault in self.drawn().into_iter().chain(&self.prepare) {
            self.kind(fault, self.fault_options(fault))?;
        }
        for fault in &self.faults {
            self.kind(&fault.fault, &fault.options)?;
        }
        for family in self.nemesis_options.keys() {
            let of = |fault: &String| fault.split(':').next() == Some(family);
            if !self.drawn().into_iter().chain(&self.prepare).any(of) {
                bail!("nemesis-options has options of {family:?}, which is not in `nemesis`");
            }
        }
        if self.end_after.is_some() && self.faults.is_empty() {
            bail!("end-after ends the run after the last of the `faults`, and there are none");
        }
        if self.faults.first().is_some_and(|f| !f.when.is_empty()) {
            bail!(
                "the first of the `faults` has none before it, so it has nothing to wait for: leave its `when` out"
            );
        }
        if let Some(late) = self.faults.iter().find(|f| f.at >= self.time_limit) {
            bail!(
                "fault {:?} is planned at {}, but the clients stop at {}; raise time-limit",
                late.fault,
                humantime::format_duration(late.at),
                humantime::format_duration(self.time_limit)
            );
        }
        Ok(Resolved {
            spec: self,
            target,
            workload,
        })
    }

    /// What stands in words becomes what it means.
    fn plan_in_words(&mut self) -> Result<()> {
        if let Some(script) = self.script.take() {
            if !self.faults.is_empty() {
                bail!("give either `script` or `faults`, not both");
            }
            self.faults = script::read(&script)?;
        }
        if !self.phases.is_empty() {
            self.time_limit = self.phases.iter().map(|p| p.lasts).sum();
            let all = |p: &Stretch| p.chaos.is_some() && p.named().is_empty();
            if self.nemesis.is_empty() && self.phases.iter().any(all) {
                bail!("phases has chaos without faults: name them there, or in `nemesis`");
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<()> {
        if self.nodes == 0 || self.nodes > crate::arena::NODES_MAX {
            bail!(
                "nodes must be 1 to {}, not {}",
                crate::arena::NODES_MAX,
                self.nodes
            );
        }
        if self.concurrency == 0 || self.concurrency > CONCURRENCY_MAX {
            bail!(
                "concurrency must be 1 to {CONCURRENCY_MAX}, not {}",
                self.concurrency
            );
        }
        if !self.rate.is_finite() || self.rate < 0.0 {
            bail!(
                "rate must be a number from 0 (as fast as answers come), not {}",
                self.rate
            );
        }
        if self.rate > 0.0 && !(RATE_MIN..=RATE_MAX).contains(&self.rate) {
            bail!(
                "rate must be 0 or {RATE_MIN} to {RATE_MAX} operations a second, not {}",
                self.rate
            );
        }
        for (name, value, least) in [
            ("time-limit", self.time_limit, Duration::from_millis(10)),
            (
                "client-timeout",
                self.client_timeout,
                Duration::from_millis(1),
            ),
            (
                "fault-interval",
                self.fault_interval,
                Duration::from_millis(10),
            ),
            ("recovery-limit", self.recovery_limit, Duration::ZERO),
        ] {
            within(name, value, least)?;
        }
        if let Some(share) = self.availability.as_ref().and_then(|a| a.share)
            && !(0.0..=1.0).contains(&share)
        {
            bail!("availability.share must be 0 to 1, not {share}");
        }
        for fault in &self.faults {
            within("at", fault.at, Duration::ZERO)?;
            within("for", fault.lasts, Duration::from_millis(1))?;
        }
        let faults = self.time_limit.as_secs_f64() / self.fault_interval.as_secs_f64();
        if faults * self.drawn().len() as f64 > FAULTS_MAX {
            bail!(
                "a time-limit of {:?} with a fault-interval of {:?} makes too many faults; raise fault-interval",
                self.time_limit,
                self.fault_interval
            );
        }
        Ok(())
    }
}

fn within(name: &str, value: Duration, least: Duration) -> Result<()> {
    if value < least || value > TIME_MAX {
        let (least, most) = (
            humantime::format_duration(least),
            humantime::format_duration(TIME_MAX),
        );
        bail!(
            "{name} must be {least} to {most}, not {}; for example {name} = \"30s\"",
            humantime::format_duration(value)
        );
    }
    Ok(())
}
