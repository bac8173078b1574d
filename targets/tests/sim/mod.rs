//! A small deterministic simulator: pure replicas, seeded delays, losses, partitions, crashes.
//!
//! One millisecond at a time. A crash loses what the disk had not been asked to finish, but for a random
//! prefix of it, as a real one does. After every step the invariants of `Invariants` are checked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schism_targets::replicas::single_leader::{
    Ack, Config, Effect, Failover, Input, Join, LeaseClock, Message, Operation, Persisted, Query,
    ReadMode, Replica, Reply, Request, Restored, Session, WriteConcern,
};
use schism_targets::replicas::{LogPosition, Millis, NodeName, Now, RequestId, Term};
use schism_targets::wire::{Role, Status};

/// A disk: what is durable, and what waits.
#[derive(Default)]
struct Disk {
    durable: Restored,
    done: Persisted,
    queue: VecDeque<Effect>,
}

pub(crate) struct Node {
    pub(crate) replica: Option<Replica>,
    disk: Disk,
    paused: bool,
}

pub(crate) struct Sim {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) replies: BTreeMap<RequestId, Reply>,
    /// Per thousand messages.
    pub(crate) loss: u64,
    pub(crate) delay_max: u64,
    /// A disk does what waits once in so many milliseconds.
    pub(crate) disk_delay: u64,
    configs: Vec<Config>,
    network: BTreeMap<(u64, u64), (usize, usize, Message)>,
    /// Nodes of different groups do not hear one another.
    group: Vec<usize>,
    /// What each wall clock is behind.
    pub(crate) wall_behind: Vec<u64>,
    sequence: u64,
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
    checked: BTreeMap<usize, LogPosition>,
    applied_agree: bool,
}

pub(crate) fn config(size: usize, index: usize, seed: u64) -> Config {
    let members: Vec<NodeName> = (1..=size).map(|n| NodeName(format!("n{n}"))).collect();
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

impl Sim {
    pub(crate) fn new(size: usize, seed: u64, change: impl Fn(&mut Config)) -> Self {
        let mut configs: Vec<_> = (0..size).map(|index| config(size, index, seed)).collect();
        configs.iter_mut().for_each(change);
        let first = &configs[0];
        let quorum = matches!(first.ack, Ack::Majority | Ack::Sync);
        let applied_agree = first.failover == Failover::Consensus && quorum;
        let invariants = Invariants {
            applied_agree,
            ..Invariants::default()
        };
        let node = |_| Node {
            replica: None,
            disk: Disk::default(),
            paused: false,
        };
        let mut sim = Self {
            now: 0,
            nodes: (0..size).map(node).collect(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            replies: BTreeMap::new(),
            loss: 0,
            delay_max: 5,
            disk_delay: 4,
            configs,
            network: BTreeMap::new(),
            group: vec![0; size],
            wall_behind: vec![0; size],
            sequence: 0,
            invariants,
            notes: Vec::new(),
        };
        (0..size).for_each(|index| sim.restart(index));
        sim
    }

    pub(crate) fn size(&self) -> usize {
        self.nodes.len()
    }

    // ---- faults

    /// These on one side, the others on the other.
    pub(crate) fn partition(&mut self, side: &[usize]) {
        self.group = vec![0; self.size()];
        for index in side {
            self.group[*index] = 1;
        }
    }

    pub(crate) fn isolate(&mut self, index: usize) {
        self.partition(&[index]);
    }

    pub(crate) fn heal(&mut self) {
        self.group = vec![0; self.size()];
    }

    pub(crate) fn pause(&mut self, index: usize, paused: bool) {
        self.nodes[index].paused = paused;
    }

    pub(crate) fn crash(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.replica = None;
        let kept = self.rng.random_range(0..=node.disk.queue.len());
        let queue: Vec<_> = node.disk.queue.drain(..).take(kept).collect();
        for effect in queue {
            node.disk.perform(effect);
        }
    }

    pub(crate) fn wipe(&mut self, index: usize) {
        self.crash(index);
        self.nodes[index].disk = Disk::default();
        self.invariants.checked.remove(&index);
    }

    pub(crate) fn restart(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.disk.done = Persisted {
            position: node.disk.last(),
            ..Persisted::default()
        };
        let restored = node.disk.durable.clone();
        let mut config = self.configs[index].clone();
        config.seed ^= self.now;
        node.replica = Some(Replica::new(config, restored, Millis(self.now)));
        node.paused = false;
        self.invariants.checked.remove(&index);
    }

    // ---- clients

    pub(crate) fn submit(&mut self, index: usize, operation: Operation) -> RequestId {
        let session = Session::default();
        self.submit_with(index, operation, session, None)
    }

    pub(crate) fn submit_with(
        &mut self,
        index: usize,
        operation: Operation,
        session: Session,
        concern: Option<WriteConcern>,
    ) -> RequestId {
        self.sequence += 1;
        let id = RequestId(self.sequence);
        if self.nodes[index].replica.is_some() {
            let request = Request {
                id,
                session,
                operation,
                concern,
            };
            self.feed(index, Input::Clients(vec![request]));
        }
        id
    }

    pub(crate) fn done(&self, id: RequestId) -> bool {
        matches!(self.replies.get(&id), Some(Reply::Done { .. }))
    }

    pub(crate) fn value(&self, id: RequestId) -> Option<serde_json::Value> {
        match self.replies.get(&id) {
            Some(Reply::Done { value, .. }) => Some(value.clone()),
            _ => None,
        }
    }

    /// The value of a register in a replica's applied state.
    pub(crate) fn local(&mut self, index: usize, query: Query) -> serde_json::Value {
        let id = self.submit(index, Operation::ReadLocal(query));
        self.value(id).expect("a live replica answers a local read")
    }

    // ---- time

    pub(crate) fn run_for(&mut self, millis: u64) {
        for _ in 0..millis {
            self.tick();
        }
    }

    /// Runs until it holds, at most a simulated minute.
    pub(crate) fn run_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..60_000 {
            if holds(self) {
                return;
            }
            self.tick();
        }
        let statuses = self.statuses();
        let tail = self.notes.len().saturating_sub(40);
        panic!("never: {what}\n{statuses:#?}\n{:#?}", &self.notes[tail..]);
    }

    pub(crate) fn statuses(&self) -> Vec<Option<Status>> {
        self.nodes
            .iter()
            .map(|node| node.replica.as_ref().map(Replica::status))
            .collect()
    }

    pub(crate) fn recovered(&self) -> bool {
        let target = schism_targets::registry::target("single-leader").unwrap();
        target.recovered(&self.statuses()).is_ok()
    }

    /// The leader of the highest term, if any node leads.
    pub(crate) fn leader(&self) -> Option<usize> {
        let target = schism_targets::registry::target("single-leader").unwrap();
        target.leader(&self.statuses())
    }

    pub(crate) fn wait_for_leader(&mut self) -> usize {
        self.run_until("a cluster that has recovered", |sim| sim.recovered());
        self.leader().unwrap()
    }

    fn tick(&mut self) {
        self.now += 1;
        while let Some((key, _)) = self.network.first_key_value() {
            if key.0 > self.now {
                break;
            }
            let ((_, order), (from, to, message)) = self.network.pop_first().unwrap();
            if self.nodes[to].paused {
                self.network
                    .insert((self.now + 1, order), (from, to, message));
            } else if self.group[from] == self.group[to] {
                let from = self.configs[from].name.clone();
                self.feed(to, Input::Peer { from, message });
            }
        }
        for index in 0..self.size() {
            if self.nodes[index].paused {
                continue;
            }
            if (self.now + index as u64).is_multiple_of(5) {
                self.feed(index, Input::Tick);
            }
            if self.rng.random_range(0..self.disk_delay) == 0 {
                self.sync(index);
            }
        }
    }

    /// The disk does all that waits.
    fn sync(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.disk.queue.is_empty() || node.replica.is_none() {
            return;
        }
        let mut released = Vec::new();
        while let Some(effect) = node.disk.queue.pop_front() {
            match effect {
                Effect::Send { to, message, .. } => released.push((to, message)),
                other => node.disk.perform(other),
            }
        }
        let done = node.disk.done;
        self.feed(index, Input::Persisted(done));
        for (to, message) in released {
            self.post(index, &to, message);
        }
    }

    fn feed(&mut self, index: usize, input: Input) {
        let now = Now {
            monotonic: Millis(self.now),
            wall: Millis(1_000_000 + self.now - self.wall_behind[index]),
        };
        let Some(replica) = &mut self.nodes[index].replica else {
            return;
        };
        let effects = replica.step(now, input);
        for effect in effects {
            match effect {
                Effect::Send {
                    to,
                    message,
                    after_disk: false,
                } => self.post(index, &to, message),
                Effect::Reply { to, reply } => {
                    let twice = self.replies.insert(to, reply);
                    assert!(twice.is_none(), "request {to:?} was answered twice");
                }
                Effect::Note(text) => {
                    self.notes
                        .push(format!("{} n{}: {text}", self.now, index + 1));
                }
                disk => self.nodes[index].disk.queue.push_back(disk),
            }
        }
        let replica = self.nodes[index]
            .replica
            .as_ref()
            .expect("it has just made a step");
        self.invariants.check(index, replica, &self.notes);
    }

    fn post(&mut self, from: usize, to: &NodeName, message: Message) {
        let to = self
            .configs
            .iter()
            .position(|config| config.name == *to)
            .unwrap();
        if self.group[from] != self.group[to] || self.rng.random_range(0..1000) < self.loss {
            return;
        }
        self.sequence += 1;
        let at = self.now + self.rng.random_range(1..=self.delay_max);
        self.network
            .insert((at, self.sequence), (from, to, message));
    }
}

impl Disk {
    fn last(&self) -> LogPosition {
        LogPosition(self.durable.base.1.0 + self.durable.entries.len() as u64)
    }

    fn perform(&mut self, effect: Effect) {
        let durable = &mut self.durable;
        match effect {
            Effect::Append { epoch, entries } => {
                self.done.epoch = epoch;
                durable.entries.extend(entries);
            }
            Effect::Truncate { epoch, after } => {
                self.done.epoch = epoch;
                durable
                    .entries
                    .truncate((after.0 - durable.base.1.0) as usize);
            }
            Effect::SaveHardState { sequence, state } => {
                self.done.hard_sequence = sequence;
                durable.hard = state;
            }
            Effect::SaveSnapshot {
                snapshot,
                drop_through,
            } => {
                durable.snapshot = Some(snapshot);
                while durable.base.1 < drop_through {
                    let first = durable.entries.remove(0);
                    durable.base = (first.term, first.position);
                }
            }
            Effect::InstallSnapshot { epoch, snapshot } => {
                self.done.epoch = epoch;
                durable.base = (snapshot.term, snapshot.position);
                durable.entries.clear();
                durable.snapshot = Some(Arc::clone(&snapshot));
            }
            Effect::Send { .. } | Effect::Reply { .. } | Effect::Note(_) => {}
        }
        self.done.position = self.last();
    }
}

impl Invariants {
    fn check(&mut self, index: usize, replica: &Replica, notes: &[String]) {
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
        let checked = self.checked.entry(index).or_default();
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
