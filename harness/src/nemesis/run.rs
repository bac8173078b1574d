//! Carries the schedule out: injects, proves, heals, proves again, and writes each of the four into the history.

use super::schedule::aim_stream;
use super::{Fault, Planned, View, World, families};
use crate::drive::Recorder;
use crate::network::Proof;
use crate::status::Watcher;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The faults of one run.
pub struct Nemesis {
    /// What the faults act on.
    pub world: World,
    recorder: Arc<Recorder>,
    watcher: Watcher,
    seed: u64,
    active: BTreeMap<u64, (Planned, Box<dyn Fault>)>,
}

/// How long until a fault that could not be aimed is tried again.
const AIM_AGAIN: Duration = Duration::from_millis(50);

/// What is next for a fault. At one moment heals come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Heal,
    Inject,
}

impl Nemesis {
    /// Over a world without faults.
    pub fn new(world: World, recorder: Arc<Recorder>, watcher: Watcher, seed: u64) -> Self {
        Self {
            world,
            recorder,
            watcher,
            seed,
            active: BTreeMap::new(),
        }
    }

    /// Carries out the schedule, whose times count from `begun`. Returns after the last heal; may be dropped at any await before.
    pub async fn carry_out(&mut self, plan: &[Planned], begun: Instant) -> Result<()> {
        let mut steps: BTreeSet<(Duration, Step, usize)> = BTreeSet::new();
        for (i, fault) in plan.iter().enumerate() {
            steps.extend([(fault.at, Step::Inject, i), (fault.until, Step::Heal, i)]);
        }
        while let Some((at, step, i)) = steps.pop_first() {
            tokio::time::sleep_until((begun + at).into()).await;
            let fault = &plan[i];
            match step {
                Step::Heal => self.heal(fault.id)?,
                Step::Inject => match self.aim(fault).await {
                    Ok(aimed) => self.inject(fault, aimed)?,
                    // Nobody leads now: later, as long as the fault was to last. Other faults come and go meanwhile.
                    Err(_) if begun.elapsed() + AIM_AGAIN < fault.until => {
                        steps.insert((begun.elapsed() + AIM_AGAIN, Step::Inject, i));
                    }
                    Err(error) => self.never_came(fault, &error),
                },
            }
        }
        Ok(())
    }

    /// The faults now in force, in words.
    pub fn in_force(&self) -> Vec<String> {
        self.active
            .values()
            .map(|(_, fault)| fault.what())
            .collect()
    }

    /// Makes the planned fault concrete. One whose shape was drawn makes do with any node when nobody leads.
    async fn aim(&self, planned: &Planned) -> Result<Box<dyn Fault>> {
        let family = families()
            .iter()
            .find(|f| f.name() == planned.family)
            .context("a planned fault is of a known family")?;
        let mut rng = aim_stream(self.seed, planned.id);
        let view = View {
            names: self.watcher.names(),
            leader: self.watcher.leader().await,
        };
        let aimed = family.aim(&planned.shape, &view, &mut rng);
        if aimed.is_err() && planned.drawn {
            family.aim("one", &view, &mut rng)
        } else {
            aimed
        }
    }

    fn inject(&mut self, planned: &Planned, fault: Box<dyn Fault>) -> Result<()> {
        let mut value = fault.value(&self.world);
        value.insert("shape".into(), json!(planned.shape));
        value.insert("what".into(), json!(fault.what()));
        let requested = Instant::now();
        self.event(planned, "inject", value);
        fault.inject(planned.id, &mut self.world)?;
        let proof = fault.prove(&mut self.world)?;
        self.proof(planned, "effect", requested, &proof);
        self.active.insert(planned.id, (planned.clone(), fault));
        self.tell();
        Ok(())
    }

    /// A fault that could not even be aimed: the history says so, and the run will be inconclusive.
    fn never_came(&self, planned: &Planned, error: &anyhow::Error) {
        let value = Map::from_iter([
            ("shape".to_owned(), json!(planned.shape)),
            (
                "what".to_owned(),
                json!(format!("{}:{}", planned.family, planned.shape)),
            ),
        ]);
        let requested = Instant::now();
        self.event(planned, "inject", value);
        let proof = Proof {
            proved: false,
            evidence: format!("not injected: {error:#}"),
        };
        self.proof(planned, "effect", requested, &proof);
        self.event(planned, "heal", Map::new());
        self.proof(
            planned,
            "healed",
            requested,
            &Proof {
                proved: true,
                evidence: "nothing to heal".into(),
            },
        );
    }

    fn heal(&mut self, id: u64) -> Result<()> {
        let Some((planned, fault)) = self.active.remove(&id) else {
            return Ok(());
        };
        let requested = Instant::now();
        self.event(&planned, "heal", Map::new());
        fault.heal(id, &mut self.world)?;
        let proof = fault.prove_healed(&mut self.world)?;
        self.proof(&planned, "healed", requested, &proof);
        self.tell();
        Ok(())
    }

    /// Heals whatever is still in force.
    pub fn heal_all(&mut self) -> Result<()> {
        let ids: Vec<u64> = self.active.keys().copied().collect();
        ids.into_iter().try_for_each(|id| self.heal(id))
    }

    fn event(&self, planned: &Planned, stage: &str, more: Map<String, Value>) {
        let mut value = Map::from_iter([
            ("fault".to_owned(), json!(planned.id)),
            ("stage".to_owned(), json!(stage)),
        ]);
        value.extend(more);
        self.recorder.nemesis(planned.family, Value::Object(value));
    }

    fn proof(&self, planned: &Planned, stage: &str, requested: Instant, proof: &Proof) {
        let after_ms = requested.elapsed().as_secs_f64() * 1e3;
        self.event(
            planned,
            stage,
            Map::from_iter([
                ("proved".to_owned(), json!(proof.proved)),
                ("evidence".to_owned(), json!(proof.evidence)),
                ("after_ms".to_owned(), json!((after_ms * 1e3).round() / 1e3)),
            ]),
        );
    }

    fn tell(&self) {
        self.recorder.set_faults(self.in_force());
    }
}
