//! Carries the schedule out: injects, proves, heals, proves again, and writes each of the four into the history.

use super::course::{Course, Step};
use super::members::take_in_the_rest;
use super::recovery::Recovery;
use super::schedule::aim_stream;
use super::select::AllHeld;
use super::world::Ends;
use super::{Fault, Planned, View, Watch, Witness, World, families};
use crate::control::{Order, Orders};
use crate::drive::Recorder;
use crate::network::Proof;
use crate::spec::Spec;
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
    pub(super) watcher: Watcher,
    pub(super) seed: u64,
    pub(super) course: Course,
    /// The families that were made ready.
    pub(super) prepared: BTreeSet<&'static str>,
    orders: Option<Orders>,
    /// What orders are read by.
    pub(super) spec: Option<Spec>,
    pub(super) active: BTreeMap<u64, (Planned, Box<dyn Fault>)>,
    recovery: Recovery,
    /// Faults that stand in the run's schedule; one that came by hand does when it is healed, for only then it is known how long it lasted.
    listed: BTreeSet<u64>,
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
            course: Course::new(&[], Instant::now()),
            prepared: BTreeSet::new(),
            orders: None,
            spec: None,
            active: BTreeMap::new(),
            listed: BTreeSet::new(),
            told: BTreeSet::new(),
        }
    }

    /// From now on takes orders, for a run of this spec.
    pub(crate) fn take_orders(&mut self, orders: Orders, spec: &Spec) {
        self.orders = Some(orders);
        self.spec = Some(spec.clone());
    }

    /// Carries out the schedule, whose times count from `begun`, and looks for nodes that end by themselves. Ends `end_after` the last heal, if by then enough operations succeed, or when
    /// it is told to; else never but with an error. May be dropped at any await.
    pub async fn carry_out(
        &mut self,
        plan: &[Planned],
        begun: Instant,
        end_after: Option<Duration>,
    ) -> Result<()> {
        self.course = Course::new(plan, begun);
        self.listed = plan.iter().map(|fault| fault.id).collect();
        let mut last = None;
        loop {
            if self.course.next().is_none() {
                let (end, enough) = *last.get_or_insert_with(|| {
                    let end = end_after.map(|after| Instant::now() + after);
                    (end, self.succeeded() + SUCCEED_AFTER)
                });
                // A slow machine takes longer to show that all is well again.
                if end.is_some_and(|end| Instant::now() >= end) && self.succeeded() >= enough {
                    return Ok(());
                }
            }
            let end = last.and_then(|(end, _)| end);
            if !self.turn(end).await? {
                return Ok(());
            }
        }
    }

    /// Keeps what is in force as it is, and takes orders, until it is told to end.
    pub(crate) async fn hold(&mut self) -> Result<()> {
        self.course.stand_still();
        while self.turn(None).await? {}
        Ok(())
    }

    /// Waits for an order, for the next step, or a little while, and does what is due. False: it was told to end.
    async fn turn(&mut self, end: Option<Instant>) -> Result<bool> {
        let now = Instant::now();
        let end = end.filter(|end| *end > now);
        let next = [self.course.next(), end].into_iter().flatten();
        let moment = next.fold(now + LOOK_EVERY, Instant::min);
        let order = tokio::select! {
            order = next_order(&mut self.orders) => Some(order),
            () = tokio::time::sleep_until(moment.into()) => None,
        };
        self.look();
        if let Some(order) = order
            && !self.obey(order).await
        {
            return Ok(false);
        }
        while let Some((step, place)) = self.course.take() {
            self.step(step, place).await?;
        }
        Ok(true)
    }

    async fn step(&mut self, step: Step, place: usize) -> Result<()> {
        let fault = self.course.fault(place).clone();
        match step {
            Step::Heal => self.heal(fault.id).map(drop)?,
            Step::Look if !self.active.contains_key(&fault.id) => {}
            Step::Look if self.recorder.watched(fault.id).has_seen(&fault.enough) => {
                self.heal(fault.id)?;
                self.course.forget(place);
            }
            Step::Look => self.course.put_in(WATCH_EVERY, Step::Look, place),
            Step::Drive => {
                if let Some(every) = self.drive(fault.id)? {
                    // From now: one that came late is not made up for.
                    self.course.put_in(every, Step::Drive, place);
                }
            }
            Step::Inject if self.waits(place) => {
                self.course.put_in(WATCH_EVERY, Step::Inject, place);
            }
            Step::Inject => self.come(&fault, place).await?,
        }
        Ok(())
    }

    /// How many operations have succeeded so far.
    fn succeeded(&self) -> u64 {
        self.recorder.counts().0
    }

    /// Whether a fault still waits for what the one before it must show first. It waits no longer than it would last.
    fn waits(&self, place: usize) -> bool {
        let fault = self.course.fault(place);
        let Some(before) = self.course.before(place) else {
            return false;
        };
        self.course.now() < fault.until && !self.recorder.watched(before.id).has_seen(&fault.when)
    }

    /// Aims and injects a fault, and plans its heal.
    async fn come(&mut self, fault: &Planned, place: usize) -> Result<()> {
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
                let now = self.course.now();
                let until = if waited {
                    now + lasts
                } else {
                    // On a busy machine an effect may take long to show; a fault has half of its time all the same.
                    fault.until.max(now + lasts / 2)
                };
                self.course.put(until, Step::Heal, place);
                if let Some(every) = self.every(fault.id) {
                    self.course.put(now + every, Step::Drive, place);
                }
                if !fault.enough.is_empty() {
                    self.course.put(now + WATCH_EVERY, Step::Look, place);
                }
            }
            // Nobody leads now: later. Other faults come and go meanwhile.
            Err(_) if self.course.now() + AIM_AGAIN < last_moment => {
                self.course.put_in(AIM_AGAIN, Step::Inject, place);
            }
            // Times that were drawn may fall where other faults hold every node: no harm is done.
            Err(error) if error.is::<AllHeld>() && !fault.written => self.skipped(fault, &error),
            Err(error) => self.never_came(fault, &format!("{error:#}")),
        }
        Ok(())
    }

    /// How often a fault in force must be driven.
    pub(super) fn every(&self, id: u64) -> Option<Duration> {
        self.active.get(&id).and_then(|(_, fault)| fault.every())
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
                self.prepared.insert(family.name());
            }
        }
        Ok(())
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
    pub(super) async fn aim(&self, planned: &Planned) -> Result<(String, Box<dyn Fault>)> {
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

    pub(super) fn inject(
        &mut self,
        planned: &Planned,
        shape: &str,
        mut fault: Box<dyn Fault>,
    ) -> Result<Proof> {
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
        Ok(proof)
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

    /// Ends a fault; none: it is not in force.
    pub(super) fn heal(&mut self, id: u64) -> Result<Option<Proof>> {
        let Some((mut planned, mut fault)) = self.active.remove(&id) else {
            return Ok(None);
        };
        if planned.until > self.course.now() && !self.listed.contains(&id) {
            planned.until = self.course.now();
        }
        if self.listed.insert(id) {
            self.recorder.planned(&planned);
        }
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
        Ok(Some(proof))
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

    /// Heals whatever is still in force, and lets those join who could not while it was.
    pub fn heal_all(&mut self) -> Result<()> {
        let ids: Vec<u64> = self.active.keys().copied().collect();
        ids.into_iter().try_for_each(|id| self.heal(id).map(drop))?;
        for (node, members) in take_in_the_rest(&mut self.world) {
            let (node, joined) = (self.world.cluster.name(node), members.is_ok());
            let value = json!({"node": node, "joined": joined, "said": members.unwrap_or_else(|why| vec![why])});
            self.recorder.nemesis("joined", value);
        }
        Ok(())
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

/// Never, where nobody can give any.
async fn next_order(orders: &mut Option<Orders>) -> Order {
    let next = match orders {
        Some(orders) => orders.recv().await,
        None => None,
    };
    match next {
        Some(order) => order,
        None => std::future::pending().await,
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
