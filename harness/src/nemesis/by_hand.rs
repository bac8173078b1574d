//! Faults that somebody asks for while the run goes: injected at once, and in the history like those that were planned.

use super::{FaultOptions, Nemesis, Planned, families};
use crate::cluster::State;
use crate::control::{Answer, Order, Request};
use crate::spec::Spec;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::time::Duration;

/// One that lasts until it is healed.
const FOR_GOOD: Duration = Duration::from_secs(30 * 24 * 3600);
/// Below it are the streams of faults that are planned.
const STREAM: u64 = 1 << 32;

impl Nemesis {
    /// Carries an order out and answers it. False: it was to end.
    pub(super) async fn obey(&mut self, order: Order) -> bool {
        let answer = match order.request.clone() {
            Request::Fault {
                fault,
                options,
                for_ms,
            } => self.fault(&fault, &options, for_ms).await,
            Request::Heal(what) => self.end_faults(what.as_deref()),
            Request::Status => Ok(self.status().await),
            Request::End => {
                let said = "it goes on to its end: heal, recovery, final reads, checks".to_owned();
                order.answer(Ok(Answer {
                    said,
                    proved: true,
                    ..Answer::default()
                }));
                return false;
            }
            Request::Exec { .. } => Err(anyhow::anyhow!("commands are not for the nemesis")),
        };
        order.answer(answer);
        true
    }

    async fn fault(
        &mut self,
        text: &str,
        options: &FaultOptions,
        for_ms: Option<u64>,
    ) -> Result<Answer> {
        let spec = self.spec.clone().context("this run takes no orders")?;
        let planned = self.planned(&spec, text, options, for_ms)?;
        self.prepare_now(&planned)?;
        let (shape, fault) = self.aim(&planned).await?;
        let what = fault.what();
        let id = planned.id;
        let proof = self.inject(&planned, &shape, fault)?;
        self.course.add(planned, self.every(id));
        let sign = if proof.proved {
            "took effect"
        } else {
            "NOT PROVED"
        };
        Ok(Answer {
            said: format!("fault {id}: {what}\n{sign}: {}", proof.evidence),
            proved: proof.proved,
            code: None,
        })
    }

    fn planned(
        &mut self,
        spec: &Spec,
        text: &str,
        options: &FaultOptions,
        for_ms: Option<u64>,
    ) -> Result<Planned> {
        let kind = spec.kind(text, options)?;
        let at = self.course.now();
        let id = self.course.next_id();
        let mut rng = super::schedule::aim_stream(self.seed, STREAM + id);
        Ok(Planned {
            id,
            family: kind.family.name(),
            shape: spec.drawn_shape(kind.shape.unwrap_or_else(|| "one".to_owned()), &mut rng),
            options: kind.options,
            stream: STREAM + id,
            drawn: false,
            written: true,
            at,
            until: at + for_ms.map_or(FOR_GOOD, Duration::from_millis),
            recovers_within: spec.recovers_within,
            when: Vec::new(),
            enough: Vec::new(),
        })
    }

    /// What a family needs, if nothing of it was planned.
    fn prepare_now(&mut self, planned: &Planned) -> Result<()> {
        let family = families()
            .iter()
            .find(|f| f.name() == planned.family)
            .context("a fault is of a known family")?;
        if self.prepared.contains(family.name()) {
            return Ok(());
        }
        ensure!(
            !family.before_start(&planned.options, &self.world.cluster),
            "{0} faults need nodes that were started for them: give `schism run` --prepare {0}",
            family.name()
        );
        family.prepare_network(&[planned], &mut self.world.network, self.seed)?;
        self.prepared.insert(family.name());
        Ok(())
    }

    fn end_faults(&mut self, what: Option<&str>) -> Result<Answer> {
        let named = |id: &u64, planned: &Planned| match what {
            None => true,
            Some(word) => planned.family == word || word.parse() == Ok(*id),
        };
        let ids: Vec<u64> = self
            .active
            .iter()
            .filter(|(id, (planned, _))| named(id, planned))
            .map(|(id, _)| *id)
            .collect();
        if ids.is_empty() {
            match self.faults().as_str() {
                "" => bail!("no fault is in force"),
                faults => bail!("no such fault is in force; there are:\n{faults}"),
            }
        }
        let (mut said, mut proved) = (String::new(), true);
        for id in ids {
            let Some(proof) = self.heal(id)? else {
                continue;
            };
            proved &= proof.proved;
            let sign = if proof.proved {
                "healed"
            } else {
                "heal NOT PROVED"
            };
            let _ = writeln!(said, "fault {id}: {sign}: {}", proof.evidence);
        }
        Ok(Answer {
            said,
            proved,
            code: None,
        })
    }

    /// A line a fault in force.
    pub fn faults(&self) -> String {
        let each = self.active.iter();
        let lines: Vec<_> = each
            .map(|(id, (_, fault))| format!("fault {id}: {}", fault.what()))
            .collect();
        lines.join("\n")
    }

    async fn status(&mut self) -> Answer {
        let (leader, _) = self.watcher.leadership().await;
        let mut said = String::new();
        for node in 0..self.world.cluster.size() {
            let state = match self.world.cluster.state(node) {
                State::Running => "running".to_owned(),
                State::Paused => "stopped".to_owned(),
                State::Gone(how) => how,
            };
            let leads = if leader == Some(node) { ", leads" } else { "" };
            let address = self.world.cluster.addresses[node].address;
            let name = self.world.cluster.name(node);
            let _ = writeln!(said, "{name:<4} {address:<18} {state}{leads}");
        }
        let faults = self.faults();
        said += if faults.is_empty() {
            "no fault is in force"
        } else {
            &faults
        };
        Answer {
            said,
            proved: true,
            code: None,
        }
    }
}
