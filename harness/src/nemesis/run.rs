//! Carries the schedule out: injects, proves, heals, proves again, and writes each of the four into the history.

use super::recovery::Recovery;
use super::schedule::aim_stream;
use super::select::AllHeld;
use super::world::Ends;
use super::{Fault, Planned, View, Watch, Witness, World, families};
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
    recovery: Recovery,
    /// Faults that have come, or of which it is written that they have not.
    told: BTreeSet<u64>,
}

/// How the evidence begins of a fault that has not come at all.
pub(crate) const NOT_INJECTED: &str = "not injected";

/// How long until a fault that could not be aimed is tried again.
const AIM_AGAIN: Duration = Duration::from_millis(50);
/// How long it is tried at least; a longer fault is tried as long as it was to last.
const AIM_FOR: Duration = Duration::from_secs(1);
/// How often it is looked whether a node has ended by itself.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// So many operations must succeed after the last heal before `end-after` may end the run: some of them were invoked before it, and the verdict wants ten.
const SUCCEED_AFTER: u64 = 20;

/// How often it is looked whether a fault has shown enough.
const WATCH_EVERY: Duration = Duration::from_millis(10);

/// What is next for a fault. At one moment heals come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Heal,
    /// Heal it if it has shown enough.
    Look,
    /// Drive it on.
    Drive,
    Inject,
}

/// What is to be done when, for which fault of the plan.
type Steps = BTreeSet<(Duration, Step, usize)>;

impl Nemesis {
    /// Over a world without faults. After a heal the target may take so long to recover, where nothing else is declared.
    pub fn new(
        world: World,
        recorder: Arc<Recorder>,
        watcher: Watcher,
        seed: u64,
        recovery_limit: Duration,
    ) -> Self {
        Self {
            recovery: Recovery::new(Arc::clone(&recorder), watcher.clone(), recovery_limit),
            world,
            recorder,
            watcher,
            seed,
            active: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Carries out the schedule, whose times count from `begun`, and looks for nodes that end by themselves. Ends `end_after` the last heal, if by then enough operations succeed;
    /// without that, never but with an error. May be dropped at any await.
    pub async fn carry_out(
        &mut self,
        plan: &[Planned],
        begun: Instant,
        end_after: Option<Duration>,
    ) -> Result<()> {
        let injections = plan.iter().enumerate();
        let mut steps: Steps = injections.map(|(i, f)| (f.at, Step::Inject, i)).collect();
        while let Some((at, step, i)) = steps.pop_first() {
            self.look_until(begun + at).await;
            let fault = &plan[i];
            match step {
                Step::Heal => self.heal(fault.id)?,
                Step::Look if !self.active.contains_key(&fault.id) => {}
                Step::Look if self.recorder.watched(fault.id).has_seen(&fault.enough) => {
                    self.heal(fault.id)?;
                    steps.retain(|(_, _, of)| *of != i);
                }
                Step::Look => {
                    steps.insert((begun.elapsed() + WATCH_EVERY, Step::Look, i));
                }
                Step::Drive => {
                    if let Some(every) = self.drive(fault.id)? {
                        // From now: one that came late is not made up for.
                        steps.insert((begun.elapsed() + every, Step::Drive, i));
                    }
                }
                Step::Inject if self.waits(plan, i, begun.elapsed()) => {
                    steps.insert((begun.elapsed() + WATCH_EVERY, Step::Inject, i));
                }
                Step::Inject => self.come(fault, i, begun, &mut steps).await?,
            }
        }
        let end = end_after.map(|after| Instant::now() + after);
        let enough = self.succeeded() + SUCCEED_AFTER;
        // A slow machine takes longer to show that all is well again.
        while end.is_none_or(|end| Instant::now() < end || self.succeeded() < enough) {
            let next = Instant::now() + LOOK_EVERY;
            let end = end.filter(|end| *end > Instant::now());
            self.look_until(end.map_or(next, |end| end.min(next))).await;
        }
        Ok(())
    }

    /// How many operations have succeeded so far.
    fn succeeded(&self) -> u64 {
        self.recorder.counts().0
    }

    /// Whether a fault still waits for what the one before it must show first. It waits no longer than it would last.
    fn waits(&self, plan: &[Planned], i: usize, now: Duration) -> bool {
        let fault = &plan[i];
        let Some(before) = i.checked_sub(1).map(|before| &plan[before]) else {
            return false;
        };
        now < fault.until && !self.recorder.watched(before.id).has_seen(&fault.when)
    }

    /// Aims and injects a fault, and plans its heal.
    async fn come(
        &mut self,
        fault: &Planned,
        i: usize,
        begun: Instant,
        steps: &mut Steps,
    ) -> Result<()> {
        let waited = !fault.when.is_empty();
        let lasts = fault.until.saturating_sub(fault.at);
        let last_moment = if waited {
            fault.until + lasts
        } else {
            fault.until.max(fault.at + AIM_FOR)
        };
        match self.aim(fault).await {
            Ok((shape, aimed)) => {
                self.inject(fault, &shape, aimed)?;
                let until = if waited {
                    begun.elapsed() + lasts
                } else {
                    // On a busy machine an effect may take long to show; a fault has half of its time all the same.
                    fault.until.max(begun.elapsed() + lasts / 2)
                };
                steps.insert((until, Step::Heal, i));
                if let Some(every) = self.active.get(&fault.id).and_then(|(_, f)| f.every()) {
                    steps.insert((begun.elapsed() + every, Step::Drive, i));
                }
                if !fault.enough.is_empty() {
                    steps.insert((begun.elapsed() + WATCH_EVERY, Step::Look, i));
                }
            }
            // Nobody leads now: later. Other faults come and go meanwhile.
            Err(_) if begun.elapsed() + AIM_AGAIN < last_moment => {
                steps.insert((begun.elapsed() + AIM_AGAIN, Step::Inject, i));
            }
            // Times that were drawn may fall where other faults hold every node: no harm is done.
            Err(error) if error.is::<AllHeld>() && !fault.written => self.skipped(fault, &error),
            Err(error) => self.never_came(fault, &format!("{error:#}")),
        }
        Ok(())
    }

    /// Drives a fault in force on; says when again.
    fn drive(&mut self, id: u64) -> Result<Option<Duration>> {
        let Some((_, fault)) = self.active.get_mut(&id) else {
            return Ok(None);
        };
        fault.drive(id, &mut self.world)?;
        Ok(fault.every())
    }

    /// What the planned faults need before the nodes are started.
    pub fn prepare(&mut self, plan: &[Planned]) -> Result<()> {
        for family in families() {
            let own: Vec<&Planned> = plan.iter().filter(|p| p.family == family.name()).collect();
            if !own.is_empty() {
                let prepared = family.prepare(&own, &mut self.world.cluster);
                let network = &mut self.world.network;
                prepared
                    .and_then(|()| family.prepare_network(&own, network, self.seed))
                    .with_context(|| format!("cannot prepare {}", family.name()))?;
            }
        }
        Ok(())
    }

    /// Waits, and writes down which nodes end meanwhile without being asked to.
    async fn look_until(&mut self, moment: Instant) {
        loop {
            self.look();
            let now = Instant::now();
            if now >= moment {
                return;
            }
            tokio::time::sleep_until(moment.min(now + LOOK_EVERY).into()).await;
        }
    }

    /// Writes down which nodes have ended without being asked to; says how many.
    pub fn look(&mut self) -> usize {
        let Ends { crashes, given_up } = self.world.take_ends();
        let tell = |event: &'static str, (node, how): &(usize, String)| {
            let name = self.world.cluster.name(*node);
            self.recorder
                .nemesis(event, json!({"node": name, "how": how}));
        };
        for end in &given_up {
            tell("gave-up", end);
        }
        for end in &crashes {
            tell("crash", end);
        }
        crashes.len()
    }

    /// Writes down the faults that were planned and have not come.
    pub fn missed(&mut self, plan: &[Planned], why: &str) {
        for fault in plan {
            if !self.told.contains(&fault.id) {
                self.never_came(fault, why);
            }
        }
    }

    /// The faults now in force, in words.
    pub fn in_force(&self) -> Vec<String> {
        self.active
            .values()
            .map(|(_, fault)| fault.what())
            .collect()
    }

    /// Makes the planned fault concrete. One whose shape was drawn makes do with any node when nobody leads.
    async fn aim(&self, planned: &Planned) -> Result<(String, Box<dyn Fault>)> {
        let family = families()
            .iter()
            .find(|f| f.name() == planned.family)
            .context("a planned fault is of a known family")?;
        let mut rng = aim_stream(self.seed, planned.stream);
        // Asking takes as long as a paused node stays silent: only where it matters.
        let asks = planned.shape.starts_with("leader")
            || ["follower", "in-sync"].contains(&planned.shape.as_str());
        let (leader, in_sync) = if asks {
            self.watcher.leadership().await
        } else {
            (None, Vec::new())
        };
        let view = View {
            names: self.watcher.names(),
            leader,
            in_sync,
            isolated: self.isolated(),
            held: self.world.held(),
            cut: self.world.network.cut().clone(),
        };
        let aimed = family.aim(&planned.shape, &planned.options, &view, &mut rng);
        if aimed.is_err() && planned.drawn {
            Ok((
                "one".to_owned(),
                family.aim("one", &planned.options, &view, &mut rng)?,
            ))
        } else {
            Ok((planned.shape.clone(), aimed?))
        }
    }

    fn isolated(&self) -> BTreeSet<usize> {
        let partitions = self
            .active
            .values()
            .filter(|(p, _)| p.family == "partition");
        partitions
            .flat_map(|(_, fault)| fault.nodes())
            .copied()
            .collect()
    }

    fn inject(&mut self, planned: &Planned, shape: &str, mut fault: Box<dyn Fault>) -> Result<()> {
        self.look();
        self.recovery.disturbed(planned.id);
        self.told.insert(planned.id);
        let mut value = fault.value(&self.world);
        value.insert("shape".into(), json!(shape));
        value.insert("what".into(), json!(fault.what()));
        let requested = Instant::now();
        self.event(planned, "inject", value);
        fault.inject(planned.id, &mut self.world)?;
        let proof = fault.prove(&mut self.world)?;
        self.proof(planned, "effect", requested, &proof);
        let names = fault
            .nodes()
            .iter()
            .map(|n| self.world.cluster.name(*n).to_owned());
        self.recorder.watch(planned.id, Watch::new(names));
        self.active.insert(planned.id, (planned.clone(), fault));
        self.tell();
        Ok(())
    }

    /// A drawn fault that would have changed nothing is left out, aloud.
    fn skipped(&mut self, planned: &Planned, why: &anyhow::Error) {
        self.told.insert(planned.id);
        let what = format!("{}:{}", planned.family, planned.shape);
        self.recorder
            .nemesis("skipped", json!({"what": what, "why": why.to_string()}));
    }

    /// A fault that could not even be aimed: the history says so, and the run will be inconclusive.
    fn never_came(&mut self, planned: &Planned, why: &str) {
        self.told.insert(planned.id);
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
            evidence: format!("{NOT_INJECTED}: {why}"),
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
        let Some((planned, mut fault)) = self.active.remove(&id) else {
            return Ok(());
        };
        let requested = Instant::now();
        self.event(&planned, "heal", self.shown(&planned));
        fault.heal(id, &mut self.world)?;
        let proof = fault.prove_healed(&mut self.world)?;
        let mut value = proved(requested, &proof);
        value.extend(fault.came_of_it(&self.world));
        self.event(&planned, "healed", value);
        let others: Vec<u64> = self.active.keys().copied().collect();
        self.recovery.healed(&planned, requested, &others);
        self.tell();
        Ok(())
    }

    /// Waits until the target has recovered from the last fault, or has had its time for it.
    pub async fn settle(&mut self) {
        self.recovery.settle().await;
    }

    /// What was waited for, each with the operation that showed it, or null.
    fn shown(&self, planned: &Planned) -> Map<String, Value> {
        if planned.enough.is_empty() {
            return Map::new();
        }
        let watch = self.recorder.watched(planned.id);
        let shown = |w: &Witness| (w.name().to_owned(), json!(watch.seen().get(w)));
        let shown = planned.enough.iter().map(shown).collect();
        Map::from_iter([("shown".to_owned(), Value::Object(shown))])
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
        self.event(planned, stage, proved(requested, proof));
    }

    fn tell(&self) {
        self.recorder.set_faults(self.in_force());
    }
}

/// What was seen, and how long after it was asked for.
fn proved(requested: Instant, proof: &Proof) -> Map<String, Value> {
    let after_ms = requested.elapsed().as_secs_f64() * 1e3;
    Map::from_iter([
        ("proved".to_owned(), json!(proof.proved)),
        ("evidence".to_owned(), json!(proof.evidence)),
        ("after_ms".to_owned(), json!((after_ms * 1e3).round() / 1e3)),
    ])
}
