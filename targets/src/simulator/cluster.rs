//! The scheduler: one queue of what is going to happen, and the nodes to which it happens.
//!
//! Events of one moment happen in the order in which they came about, so a run depends on its input alone. [`Cluster::step`] is one
//! event; [`super::Simulation::next`] goes on to the next news.

use std::collections::{BinaryHeap, VecDeque};

use super::fates::{DELAY, Links};
use super::holds::Holds;
use super::node::Node;
use super::queue::{Due, Event, Parcel};
use super::trace::{answer_words, leap};
use super::{
    Effect, Fate, Happened, Heard, Host, Input, Link, Micros, News, Setup, Simulated, Traced,
};
use crate::replicas::{NodeName, RequestId};
use crate::storage::Fsync;

/// What all nodes have in common.
#[derive(Debug, Clone, Copy)]
pub struct Common {
    /// When logs are synced.
    pub fsync: Fsync,
    /// Time between two ticks.
    pub tick: Micros,
}

/// A cluster of these replicas, with its network, its disks and its clients' hosts.
pub struct Cluster<R: Simulated> {
    pub(super) now: Micros,
    queue: BinaryHeap<Due<R>>,
    order: u64,
    common: Common,
    names: Vec<NodeName>,
    pub(super) nodes: Vec<Node<R>>,
    /// What has come for nodes that are paused.
    pub(super) held: Vec<Vec<Event<R>>>,
    pub(super) links: Links,
    pub(super) holds: Holds,
    requests: u64,
    pub(super) news: VecDeque<News>,
    effects: Vec<Effect<R>>,
    pub(super) trace: Option<Vec<Traced>>,
    stepped: Option<usize>,
}

impl<R: Simulated> Cluster<R> {
    /// Starts a node for each configuration, at time zero.
    pub fn new(configs: Vec<(NodeName, R::Config)>, common: Common, setup: &Setup) -> Self {
        let size = configs.len();
        let always = common.fsync.comes_first();
        let machine = |index| setup.machines.get(index).copied().unwrap_or_default();
        let (names, configs): (Vec<_>, Vec<_>) = configs.into_iter().unzip();
        let nodes = configs.into_iter().enumerate();
        let node = |(index, config)| Node::new(config, machine(index), always);
        let mut cluster = Self {
            now: Micros::ZERO,
            queue: BinaryHeap::new(),
            order: 0,
            common,
            names,
            nodes: nodes.map(node).collect(),
            held: (0..size).map(|_| Vec::new()).collect(),
            links: Links::new(size, setup.clients, &setup.perturbations),
            holds: Holds::default(),
            requests: 0,
            news: VecDeque::new(),
            effects: Vec::new(),
            trace: setup.traced.then(Vec::new),
            stepped: None,
        };
        (0..size).for_each(|index| cluster.start(index));
        if let Fsync::Interval(interval) = common.fsync {
            let interval = Micros(interval.as_micros() as u64);
            cluster.at(interval, Event::SyncAll(interval));
        }
        cluster
    }

    /// How many nodes.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A node's replica, unless it is down.
    pub fn replica(&self, node: usize) -> Option<&R> {
        self.nodes[node].replica.as_ref()
    }

    pub(super) fn name(&self, node: usize) -> &NodeName {
        &self.names[node]
    }

    /// How many processes a node has had.
    pub fn life(&self, node: usize) -> u64 {
        self.nodes[node].life
    }

    /// The node whose replica took an input in the last step, if one did.
    pub fn stepped(&self) -> Option<usize> {
        self.stepped
    }

    /// When the next event is due.
    pub fn next_due(&self) -> Option<Micros> {
        self.queue.peek().map(|due| due.at)
    }

    /// The next thing happens; false when nothing can happen any more.
    pub fn step(&mut self) -> bool {
        self.stepped = None;
        let Some(Due { at, event, .. }) = self.queue.pop() else {
            return false;
        };
        self.now = at;
        match event.node() {
            Some(node) if self.stands_still(node) => self.held[node].push(event),
            _ => self.happen(event),
        }
        true
    }

    /// Sends what a client asks of a node, in the replica's own words.
    pub fn submit(&mut self, client: usize, node: usize, request: R::Request) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        let (from, to) = (Host::Client(client), Host::Node(node));
        self.post(Link { from, to }, Parcel::Request(id, client, request));
        id
    }

    /// What concerns whoever drives it, if there is anything.
    pub fn take_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    fn stands_still(&self, node: usize) -> bool {
        self.holds.is_paused(node) && self.nodes[node].replica.is_some()
    }

    pub(super) fn at(&mut self, at: Micros, event: Event<R>) {
        self.order += 1;
        let order = self.order;
        self.queue.push(Due { at, order, event });
    }

    pub(super) fn after(&mut self, delay: Micros, event: Event<R>) {
        self.at(self.now.plus(delay), event);
    }

    fn happen(&mut self, event: Event<R>) {
        match event {
            Event::Arrives(link, parcel) => self.arrive(link, *parcel),
            Event::Tick(node, life) if self.lives(node, life) => {
                self.feed(node, Input::Tick);
                self.after(self.common.tick, Event::Tick(node, life));
            }
            Event::DiskDone(node, life) if self.lives(node, life) => self.disk_done(node),
            Event::Tick(..) | Event::DiskDone(..) => {}
            Event::SyncAll(interval) => {
                self.nodes.iter_mut().for_each(|node| node.disk.sync());
                self.after(interval, Event::SyncAll(interval));
            }
            Event::Wake(token) => self.news.push_back(News::Woken(token)),
        }
    }

    fn lives(&self, node: usize, life: u64) -> bool {
        let node = &self.nodes[node];
        node.life == life && node.replica.is_some()
    }

    fn arrive(&mut self, link: Link, parcel: Parcel<R>) {
        match (parcel, link.to) {
            (Parcel::Message(message), Host::Node(to)) => self.hear(link, to, message),
            (Parcel::Request(id, client, request), Host::Node(to)) => {
                self.take_request(to, id, client, request);
            }
            (Parcel::Answer(id, heard), _) => self.news.push_back(News::Heard(id, heard)),
            (Parcel::Message(_) | Parcel::Request(..), Host::Client(_)) => {}
        }
    }

    fn hear(&mut self, link: Link, to: usize, message: R::Message) {
        let Host::Node(from) = link.from else { return };
        if self.nodes[to].replica.is_none() {
            return self.note(Happened::Unheard { link });
        }
        let from = self.names[from].clone();
        self.feed(to, Input::Peer { from, message });
    }

    fn take_request(&mut self, to: usize, id: RequestId, client: usize, request: R::Request) {
        if self.nodes[to].replica.is_none() {
            return self.answer(to, client, id, Heard::Unreachable);
        }
        self.nodes[to].waiting.push((id, client));
        self.feed(to, Input::Client { id, request });
    }

    /// One step of a replica, and what it wants done.
    fn feed(&mut self, node: usize, input: Input<R>) {
        self.stepped = Some(node);
        let Node {
            replica, clocks, ..
        } = &mut self.nodes[node];
        let Some(replica) = replica else { return };
        let mut effects = std::mem::take(&mut self.effects);
        let before = self.trace.is_some().then(|| replica.status().applied);
        replica.step(clocks.read(self.now), input, &mut effects);
        let leap = before.and_then(|before| leap(before, replica.status().applied));
        for effect in effects.drain(..) {
            self.perform(node, effect);
        }
        self.effects = effects;
        if let Some(words) = leap {
            self.note_of(node, |_| words);
        }
        self.begin_batch(node);
    }

    fn perform(&mut self, node: usize, effect: Effect<R>) {
        match effect {
            Effect::Send {
                to,
                message,
                after_disk: true,
            } => self.nodes[node].disk.release(to, message),
            Effect::Send {
                to,
                message,
                after_disk: false,
            } => self.send(node, &to, message),
            Effect::Disk(job) => self.nodes[node].disk.give(job),
            Effect::Reply { to, said } => {
                let client = self.nodes[node].answered(to);
                let client = client.expect("a replica answers what it was asked, and once");
                self.answer(node, client, to, Heard::Said(said));
            }
            Effect::Note(text) => self.note_of(node, |_| text),
        }
    }

    fn begin_batch(&mut self, node: usize) {
        let Node {
            disk, sync, life, ..
        } = &mut self.nodes[node];
        if disk.begin() {
            let (sync, life) = (*sync, *life);
            self.after(sync, Event::DiskDone(node, life));
        }
    }

    fn disk_done(&mut self, node: usize) {
        let batch = self.nodes[node].disk.end(self.trace.is_some());
        if !batch.words.is_empty() {
            let (text, node) = (batch.words.join(", "), Host::Node(node));
            self.note(Happened::Synced { node, text });
        }
        self.feed(node, Input::Persisted(batch.done));
        for (to, message) in batch.released {
            self.send(node, &to, message);
        }
    }

    fn send(&mut self, from: usize, to: &NodeName, message: R::Message) {
        let Some(to) = self.names.iter().position(|name| name == to) else {
            return;
        };
        let (from, to) = (Host::Node(from), Host::Node(to));
        self.post(Link { from, to }, Parcel::Message(message));
    }

    pub(super) fn answer(&mut self, node: usize, client: usize, id: RequestId, heard: Heard) {
        let (from, to) = (Host::Node(node), Host::Client(client));
        self.post(Link { from, to }, Parcel::Answer(id, heard));
    }

    /// Puts a parcel on its way, to what is listed for it.
    fn post(&mut self, link: Link, parcel: Parcel<R>) {
        let cut = self.holds.is_cut(link);
        let mut fate = self.links.next(link);
        if !matches!(parcel, Parcel::Message(_)) {
            // A connection hands nothing over twice.
            fate = fate.filter(|fate| !matches!(fate, Fate::Twice(_)));
        }
        self.note_sent(link, &parcel, cut, fate);
        if cut || fate == Some(Fate::Lost) {
            return;
        }
        let delay = match fate {
            Some(Fate::Late(by)) => DELAY.plus(by),
            Some(Fate::Twice(again)) => {
                let copy = Event::Arrives(link, Box::new(parcel.clone()));
                self.after(DELAY.plus(again), copy);
                DELAY
            }
            _ => DELAY,
        };
        self.after(delay, Event::Arrives(link, Box::new(parcel)));
    }

    /// What is late takes no longer than what is sent now.
    pub(super) fn hurry(&mut self) {
        let soon = self.now.plus(DELAY);
        let mut dues = std::mem::take(&mut self.queue).into_vec();
        for due in &mut dues {
            if matches!(due.event, Event::Arrives(..)) {
                due.at = due.at.min(soon);
            }
        }
        self.queue = dues.into();
    }

    // ---- the trace

    pub(super) fn note(&mut self, what: Happened) {
        let at = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(Traced { at, what });
        }
    }

    pub(super) fn note_of(&mut self, node: usize, text: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let (node, text) = (Host::Node(node), text(self));
            self.note(Happened::Node { node, text });
        }
    }

    fn note_sent(&mut self, link: Link, parcel: &Parcel<R>, cut: bool, fate: Option<Fate>) {
        if self.trace.is_none() {
            return;
        }
        let (text, elects) = match parcel {
            Parcel::Message(message) => (R::describe(message), R::elects(message)),
            Parcel::Request(_, _, request) => (R::describe_request(request), false),
            Parcel::Answer(_, heard) => (answer_words(heard), false),
        };
        self.note(Happened::Sent {
            link,
            text,
            cut,
            fate,
            elects,
        });
    }
}
