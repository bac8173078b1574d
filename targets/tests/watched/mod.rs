//! A simulated cluster that is watched: after every step of a replica what must hold at every moment is looked at.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::target;
use schism_targets::replicas::single_leader::{
    Ack, Command, Config, Failover, Join, LeaseClock, Operation, Query, ReadMode, Replica, Session,
    WriteConcern,
};
use schism_targets::replicas::{LogPosition, Millis, NodeName, RequestId, Term};
use schism_targets::simulator::fates::{self, Weather};
use schism_targets::simulator::single_leader::Asked;
use schism_targets::simulator::{
    Cluster, Common, Fault, Happened, Heard, Host, Kept, Link, Machine, Micros, News, Setup,
    Simulation, Whom,
};
use schism_targets::storage::Fsync;
use schism_targets::wire::{Role, Said, Status};
use serde_json::json;

/// Of messages on one link so many meet what the weather says: about as many as a storm has.
const MESSAGES: u64 = 800;
/// The faults' numbers: one partition at a time, and one of each other kind a node.
const PARTITION: u64 = 1;
const PAUSE: u64 = 100;
const DOWN: u64 = 200;
const POWER: u64 = 300;
const CLOCK: u64 = 301;

pub(crate) struct Sim {
    pub(crate) cluster: Cluster<Replica>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) replies: BTreeMap<RequestId, Heard>,
    size: usize,
    wakes: u64,
    invariants: Invariants,
    pub(crate) notes: Vec<String>,
}

/// What must hold at every moment.
#[derive(Default)]
struct Invariants {
    /// Who led a term: never two.
    leaders: BTreeMap<u64, String>,
    /// Which term's entry was applied at a position: under consensus and majority always the same.
    applied: BTreeMap<LogPosition, Term>,
    /// By node and life.
    checked: BTreeMap<(usize, u64), LogPosition>,
    applied_agree: bool,
}

/// How things are around the replicas.
#[derive(Clone, Copy)]
pub(crate) struct Around {
    /// Per thousand messages.
    pub(crate) loss: u64,
    /// How late messages may be; half of them are.
    pub(crate) delay_max_ms: u64,
    pub(crate) disk_ms: u64,
    /// Whose disk takes ten times as long.
    pub(crate) slow_disk: Option<usize>,
    pub(crate) fsync: Fsync,
    /// Whether nodes' notes are kept: that costs the words of every message, too.
    pub(crate) traced: bool,
}

impl Default for Around {
    fn default() -> Self {
        Self {
            loss: 0,
            delay_max_ms: 5,
            disk_ms: 4,
            slow_disk: None,
            fsync: Fsync::Always,
            traced: false,
        }
    }
}

impl Around {
    fn setup(self, size: usize, seed: u64) -> Setup {
        let weather = Weather {
            lost: self.loss as f64 / 1e3,
            twice: self.loss as f64 / 2e3,
            late: 0.33,
            delay_max: Micros::from_millis(self.delay_max_ms),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut perturbations = Vec::new();
        let nodes = || (0..size).map(Host::Node);
        for (from, to) in nodes().flat_map(|from| nodes().map(move |to| (from, to))) {
            let link = Link { from, to };
            fates::draw(&mut rng, link, MESSAGES, weather, &mut perturbations);
        }
        let machine = |index| Machine {
            drift_ppm: index as i64 * 100,
            offset_ms: index as u64 * 1000,
            sync_us: Micros::from_millis(self.disk_ms * self.slowness(index)),
        };
        Setup {
            machines: (0..size).map(machine).collect(),
            clients: 1,
            perturbations,
            seed,
            traced: self.traced,
        }
    }
}

impl Around {
    fn slowness(self, node: usize) -> u64 {
        if self.slow_disk == Some(node) { 10 } else { 1 }
    }
}

fn config(size: usize, index: usize, seed: u64) -> Config {
    let members: Vec<NodeName> = (1..=size)
        .map(|n| NodeName::from(format!("n{n}")))
        .collect();
    Config {
        name: members[index].clone(),
        members,
        ack: Ack::Majority,
        failover: Failover::Consensus,
        read: ReadMode::LeaderQuorum,
        election_timeout: Millis(200),
        heartbeat: Millis(30),
        follower_lag: Millis(0),
        lease_clock: LeaseClock::Monotonic,
        window: Millis(500),
        join: Join::SnapshotWithPosition,
        priority: BTreeMap::new(),
        bug: None,
        snapshot_every: 1000,
        pending_max: 1000,
        commit_timeout: Millis(2000),
        seed: seed.wrapping_mul(31).wrapping_add(index as u64),
    }
}

// ---- what is asked for

pub(crate) fn write(value: u64) -> Operation {
    Operation::Change(Command::Write {
        key: "x".into(),
        value: json!(value),
    })
}

pub(crate) fn add(element: u64) -> Operation {
    Operation::Change(Command::Add {
        key: "s".into(),
        element: json!(element),
    })
}

/// What [`write`] writes.
pub(crate) fn register() -> Query {
    Query::Register("x".into())
}

/// What [`add`] adds to.
pub(crate) fn set() -> Query {
    Query::Set("s".into())
}

impl Sim {
    pub(crate) fn new(size: usize, seed: u64, change: impl Fn(&mut Config)) -> Self {
        Self::under(Around::default(), size, seed, change)
    }

    pub(crate) fn under(
        around: Around,
        size: usize,
        seed: u64,
        change: impl Fn(&mut Config),
    ) -> Self {
        let mut configs: Vec<_> = (0..size).map(|index| config(size, index, seed)).collect();
        configs.iter_mut().for_each(change);
        let first = &configs[0];
        let quorum = matches!(first.ack, Ack::Majority | Ack::Sync);
        let durable = around.fsync == Fsync::Always;
        let invariants = Invariants {
            applied_agree: first.failover == Failover::Consensus && quorum && durable,
            ..Invariants::default()
        };
        let configs = configs
            .into_iter()
            .map(|config| (config.name.clone(), config));
        let common = Common {
            fsync: around.fsync,
            tick: Micros::from_millis(5),
        };
        Self {
            cluster: Cluster::new(configs.collect(), common, &around.setup(size, seed)),
            rng: ChaCha8Rng::seed_from_u64(seed),
            replies: BTreeMap::new(),
            size,
            wakes: 0,
            invariants,
            notes: Vec::new(),
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.cluster.now().0 / 1000
    }

    pub(crate) fn is_up(&self, index: usize) -> bool {
        self.cluster.replica(index).is_some()
    }

    // ---- faults

    /// These on one side, the others on the other.
    pub(crate) fn partition(&mut self, side: &[usize]) {
        let other = (0..self.size).filter(|node| !side.contains(node));
        let groups = vec![
            side.iter().copied().map(Host::Node).collect(),
            other.map(Host::Node).collect(),
        ];
        self.heal();
        self.cluster.inject(PARTITION, &Fault::Partition { groups });
    }

    pub(crate) fn isolate(&mut self, index: usize) {
        self.partition(&[index]);
    }

    pub(crate) fn heal(&mut self) {
        self.cluster.heal(PARTITION);
    }

    pub(crate) fn pause(&mut self, index: usize, paused: bool) {
        self.cluster.heal(PAUSE + index as u64);
        if paused {
            let who = Whom::Host(Host::Node(index));
            self.cluster
                .inject(PAUSE + index as u64, &Fault::Pause { who });
        }
    }

    pub(crate) fn crash(&mut self, index: usize) {
        let (who, kept) = (Whom::Host(Host::Node(index)), self.some_kept());
        self.cluster
            .inject(DOWN + index as u64, &Fault::Kill { who, kept });
    }

    pub(crate) fn wipe(&mut self, index: usize) {
        let who = Whom::Host(Host::Node(index));
        self.cluster.inject(
            DOWN + index as u64,
            &Fault::Wipe {
                who,
                minority: false,
            },
        );
    }

    pub(crate) fn restart(&mut self, index: usize) {
        self.cluster.heal(DOWN + index as u64);
    }

    /// Nobody keeps more than its disk, and of what was not synced so much.
    pub(crate) fn power_loss(&mut self, kept: Kept) {
        let who = Whom::All;
        self.cluster.inject(POWER, &Fault::Power { who, kept });
        self.cluster.heal(POWER);
    }

    /// The wall clock is set back by a minute.
    pub(crate) fn set_back(&mut self, index: usize) {
        let (who, by_ms) = (Whom::Host(Host::Node(index)), -60_000);
        self.cluster.inject(CLOCK, &Fault::Clock { who, by_ms });
    }

    pub(crate) fn some_kept(&mut self) -> Kept {
        Kept([0, 50, 100][self.rng.random_range(0..3)])
    }

    // ---- clients

    /// Asks a node, and waits for as long as a request and its answer take when nobody else is asked.
    pub(crate) fn submit(&mut self, node: usize, operation: Operation) -> RequestId {
        self.submit_with(node, operation, Session::default(), None)
    }

    pub(crate) fn submit_with(
        &mut self,
        node: usize,
        operation: Operation,
        session: Session,
        concern: Option<WriteConcern>,
    ) -> RequestId {
        let asked = Asked {
            session,
            operation,
            concern,
        };
        let id = self.cluster.submit(0, node, asked);
        self.run_for(2);
        id
    }

    pub(crate) fn said(&self, id: RequestId) -> Option<&Said> {
        match self.replies.get(&id) {
            Some(Heard::Said(said)) => Some(said),
            _ => None,
        }
    }

    pub(crate) fn done(&self, id: RequestId) -> bool {
        matches!(self.said(id), Some(Said::Answer(_)))
    }

    pub(crate) fn value(&self, id: RequestId) -> Option<serde_json::Value> {
        match self.said(id) {
            Some(Said::Answer(body)) => Some(body.value.clone()),
            _ => None,
        }
    }

    /// The kind of a refusal.
    pub(crate) fn refusal(&self, id: RequestId) -> Option<&str> {
        match self.said(id) {
            Some(Said::Refused(_, body)) => Some(&body.error),
            _ => None,
        }
    }

    /// The position of the last change of what was read or written.
    pub(crate) fn version(&self, id: RequestId) -> Option<u64> {
        match self.said(id) {
            Some(Said::Answer(body)) => body.version,
            _ => None,
        }
    }

    /// What a replica's applied state says.
    pub(crate) fn local(&mut self, index: usize, query: Query) -> serde_json::Value {
        let id = self.submit(index, Operation::ReadLocal(query));
        self.run_until("a live replica answers a local read", |sim| sim.done(id));
        self.value(id).unwrap()
    }

    // ---- time

    pub(crate) fn run_for(&mut self, millis: u64) {
        self.wakes += 1;
        let token = self.wakes;
        let at = self.cluster.now().plus(Micros::from_millis(millis));
        self.cluster.wake(at, token);
        while self.step() != Some(token) {}
    }

    /// Runs until it holds, at most a simulated minute.
    pub(crate) fn run_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..60_000 {
            if holds(self) {
                return;
            }
            self.run_for(1);
        }
        let statuses = self.statuses();
        let tail = self.notes.len().saturating_sub(40);
        panic!("never: {what}\n{statuses:#?}\n{:#?}", &self.notes[tail..]);
    }

    /// One event; the token of a wake.
    fn step(&mut self) -> Option<u64> {
        assert!(self.cluster.step(), "ticks never end");
        for traced in self.cluster.take_trace() {
            if let Happened::Node { node, text } = traced.what {
                self.notes.push(format!("{:?} {node}: {text}", traced.at));
            }
        }
        if let Some(index) = self.cluster.stepped() {
            self.invariants.check(index, &self.cluster, &self.notes);
        }
        let mut woken = None;
        while let Some(news) = self.cluster.take_news() {
            match news {
                News::Woken(token) => woken = Some(token),
                News::Heard(id, heard) => {
                    let twice = self.replies.insert(id, heard);
                    assert!(twice.is_none(), "request {id:?} was answered twice");
                }
            }
        }
        woken
    }

    /// Waits until another leads and has a write acknowledged; then the old leader is asked for what it has.
    pub(crate) fn read_after_another_has_written(&mut self, old: usize) -> RequestId {
        self.run_until("a new leader", |sim| {
            sim.leader().is_some_and(|index| index != old)
        });
        let new = self.leader().unwrap();
        let second = self.submit(new, write(2));
        self.run_until("the second write", |sim| sim.done(second));
        self.submit(old, Operation::Read(register()))
    }

    pub(crate) fn statuses(&self) -> Vec<Option<Status>> {
        self.cluster.statuses()
    }

    pub(crate) fn recovered(&self) -> bool {
        let target = target("single-leader").unwrap();
        target.recovered(&self.statuses()).is_ok()
    }

    /// The leader of the highest term, if any node leads.
    pub(crate) fn leader(&self) -> Option<usize> {
        let target = target("single-leader").unwrap();
        target.leader(&self.statuses())
    }

    pub(crate) fn wait_for_leader(&mut self) -> usize {
        self.run_until("a cluster that has recovered", |sim| sim.recovered());
        self.leader().unwrap()
    }
}

impl Invariants {
    fn check(&mut self, index: usize, cluster: &Cluster<Replica>, notes: &[String]) {
        let replica = cluster.replica(index).expect("it has just made a step");
        let status = replica.status();
        if status.role == Role::Leader {
            let leader = self
                .leaders
                .entry(status.term)
                .or_insert_with(|| status.node.clone());
            assert_eq!(
                *leader, status.node,
                "two leaders in term {}: {notes:#?}",
                status.term
            );
        }
        if !self.applied_agree {
            return;
        }
        let checked = self
            .checked
            .entry((index, cluster.life(index)))
            .or_default();
        while checked.0 < status.applied {
            *checked = checked.next();
            let Some(term) = replica.term_at(*checked) else {
                continue;
            };
            let known = *self.applied.entry(*checked).or_insert(term);
            assert_eq!(
                known, term,
                "{} applied another entry at {checked}",
                status.node
            );
        }
    }
}
