//! What is done to a simulated cluster from outside: faults and their heals, processes that end and start, and the way in for a driver.

use super::cluster::Cluster;
use super::holds;
use super::node::{End, Node};
use super::queue::Event;
use super::{Call, Fault, Heard, Injected, Micros, News, Simulated, Simulation, Traced};
use crate::replicas::RequestId;
use crate::wire::{Role, Status};

impl<R: Simulated> Cluster<R> {
    pub(super) fn start(&mut self, index: usize) {
        let now = self.now;
        if self.nodes[index].start(now) {
            let life = self.nodes[index].life;
            if life > 1 {
                self.note_of(index, |_| "starts again".to_owned());
            }
            // Not all in one moment.
            self.after(
                Micros::from_millis(1 + index as u64),
                Event::Tick(index, life),
            );
        }
    }

    fn end(&mut self, index: usize, end: End) {
        let was_up = self.nodes[index].replica.is_some();
        let lost = self.nodes[index].end(end);
        if was_up {
            self.note_of(index, |_| end.words(lost));
        }
        for (id, client) in std::mem::take(&mut self.nodes[index].waiting) {
            self.answer(index, client, id, Heard::Reset);
        }
        self.let_go(index);
    }

    /// What has come while the node stood still, happens now.
    fn let_go(&mut self, index: usize) {
        for event in std::mem::take(&mut self.held[index]) {
            self.at(self.now, event);
        }
    }

    fn strike(&mut self, fault: &Fault, node: usize) {
        match fault {
            Fault::Kill { kept, .. } => self.end(node, End::Killed(*kept)),
            Fault::Power { kept, .. } => self.end(node, End::WithoutPower(*kept)),
            Fault::Wipe { .. } => self.end(node, End::Wiped),
            Fault::Pause { .. } => self.note_of(node, |_| "is paused".to_owned()),
            Fault::Clock { by_ms, .. } => self.nodes[node].clocks.jump(*by_ms),
            Fault::Partition { .. }
            | Fault::Isolate { .. }
            | Fault::OneWay { .. }
            | Fault::Leave { .. } => {}
        }
    }

    /// Whether a fault may hit these nodes: a wipe may be one that spares a majority.
    fn allows(&self, fault: &Fault, hit: &[usize]) -> bool {
        let Fault::Wipe { minority: true, .. } = fault else {
            return true;
        };
        let nodes = self.nodes.iter().enumerate();
        let lacking = nodes.filter(|(index, node)| hit.contains(index) || !node.is_whole());
        lacking.count() <= (self.nodes.len() - 1) / 2
    }

    fn leader(&self) -> usize {
        let leads = |(index, node): (usize, &Node<R>)| {
            let status = node.replica.as_ref()?.status();
            (status.role == Role::Leader).then_some((status.term, index))
        };
        let leader = self.nodes.iter().enumerate().filter_map(leads).max();
        let up = || self.nodes.iter().position(|node| node.replica.is_some());
        leader.map(|(_, index)| index).or_else(up).unwrap_or(0)
    }
}

impl<R: Simulated> Simulation for Cluster<R> {
    fn now(&self) -> Micros {
        self.now
    }

    fn next(&mut self) -> Option<News> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Some(news);
            }
            if !self.step() {
                return None;
            }
        }
    }

    fn wake(&mut self, at: Micros, token: u64) {
        self.at(at.max(self.now), Event::Wake(token));
    }

    fn call(&mut self, call: Call) -> RequestId {
        let (client, node) = (call.client, call.node);
        self.submit(client, node, R::request(call))
    }

    fn change_members(&mut self, client: usize, node: usize, join: bool) -> RequestId {
        let name = self.name(node).clone();
        self.submit(client, self.leader(), R::change_members(name, join))
    }

    fn inject(&mut self, id: u64, fault: &Fault) -> Injected {
        let mut nodes = holds::hit(fault, self.nodes.len(), || self.leader());
        if !self.allows(fault, &nodes) {
            nodes.clear();
        }
        self.holds.take(id, fault, &nodes);
        for node in &nodes {
            self.strike(fault, *node);
        }
        let what = fault.words(&nodes);
        Injected { nodes, what }
    }

    fn heal(&mut self, id: u64) {
        let freed = self.holds.free(id);
        freed.up.into_iter().for_each(|node| self.start(node));
        for node in freed.resumed {
            self.note_of(node, |_| "goes on".to_owned());
            self.let_go(node);
        }
        let (nodes, by_ms) = freed.jumped.unwrap_or_default();
        for node in nodes {
            self.nodes[node].clocks.jump(-by_ms);
        }
    }

    fn calm(&mut self) {
        self.links.calm();
        self.hurry();
    }

    fn statuses(&self) -> Vec<Option<Status>> {
        let replicas = self.nodes.iter().map(|node| node.replica.as_ref());
        replicas.map(|replica| replica.map(R::status)).collect()
    }

    fn take_trace(&mut self) -> Vec<Traced> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
