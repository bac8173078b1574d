//! What faults act on: the network and the nodes, and who holds what.

use super::faketime::{self, Clock};
use crate::cluster::{Cluster, State};
use crate::disk::Rule;
use crate::network::{Cut, Disturbance, Disturbed, Manner, Network};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The network and the nodes, with the faults that hold them.
#[derive(Debug)]
pub struct World {
    /// The network between the hosts.
    pub network: Network,
    /// The nodes' processes.
    pub cluster: Cluster,
    cuts: BTreeMap<u64, (Cut, Manner)>,
    disturbances: BTreeMap<u64, (Cut, Disturbance)>,
    killed: Holds,
    paused: Holds,
    clocks: BTreeMap<usize, BTreeMap<u64, (Clock, Instant)>>,
    sick: Holds,
    /// How many calls a disk had refused when it fell sick, and when it was cured.
    since: BTreeMap<usize, (u64, Option<Instant>)>,
    /// Nodes that have ended because their disks refused calls.
    given_up: BTreeSet<usize>,
    /// Nodes that have left, and that nobody has taken in again so far.
    pub(super) outside: BTreeSet<usize>,
}

/// So long after its disk was cured a node may still end of what it has seen.
const AFTERMATH: Duration = Duration::from_secs(2);

/// The ends of nodes that nobody had asked for, with how.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Those that are a finding.
    pub(super) crashes: Vec<(usize, String)>,
    /// Those of nodes whose disks refused calls: to stop is right.
    pub(super) given_up: Vec<(usize, String)>,
}

type Holds = BTreeMap<usize, BTreeSet<u64>>;

impl World {
    /// A world without faults.
    pub fn new(network: Network, cluster: Cluster) -> Self {
        Self {
            network,
            cluster,
            cuts: BTreeMap::new(),
            disturbances: BTreeMap::new(),
            killed: Holds::new(),
            paused: Holds::new(),
            clocks: BTreeMap::new(),
            sick: Holds::new(),
            since: BTreeMap::new(),
            given_up: BTreeSet::new(),
            outside: BTreeSet::new(),
        }
    }

    /// The place of the clients among the hosts.
    pub fn clients(&self) -> usize {
        self.cluster.size()
    }

    /// Adds a fault's cut to what is cut.
    pub fn cut(&mut self, fault: u64, cut: Cut, manner: Manner) -> Result<()> {
        self.cuts.insert(fault, (cut, manner));
        self.apply_cuts()
    }

    /// Takes a fault's cut away; what another fault cuts stays cut.
    pub fn mend(&mut self, fault: u64) -> Result<()> {
        let mended = self.cuts.remove(&fault);
        self.apply_cuts()?;
        let dropped = mended.filter(|(_, manner)| *manner == Manner::Drop);
        dropped.map_or(Ok(()), |(cut, _)| self.network.end_backoff(&cut))
    }

    fn apply_cuts(&mut self) -> Result<()> {
        let of = |manner: Manner| {
            let cuts = self.cuts.values().filter(move |(_, m)| *m == manner);
            cuts.flat_map(|(cut, _)| cut).copied().collect::<Cut>()
        };
        self.network.set_cut(of(Manner::Drop), of(Manner::Reset))
    }

    /// Disturbs a fault's links; on one that several faults disturb it adds up.
    pub fn disturb(&mut self, fault: u64, links: Cut, how: Disturbance) -> Result<()> {
        self.disturbances.insert(fault, (links, how));
        self.apply_disturbances()
    }

    /// Takes a fault's disturbance away; that of another fault stays.
    pub fn calm(&mut self, fault: u64) -> Result<()> {
        self.disturbances.remove(&fault);
        self.apply_disturbances()
    }

    fn apply_disturbances(&mut self) -> Result<()> {
        let mut all = Disturbed::new();
        for (links, how) in self.disturbances.values() {
            for link in links {
                let sum = all.entry(*link).or_default();
                *sum = sum.and(*how);
            }
        }
        self.network.set_disturbed(all)
    }

    /// Kills a node on behalf of a fault.
    pub fn kill(&mut self, fault: u64, node: usize) -> Result<()> {
        self.killed.entry(node).or_default().insert(fault);
        match self.cluster.state(node) {
            State::Gone(_) => self.note_end(node),
            State::Running | State::Paused => self.cluster.kill(node)?,
        }
        Ok(())
    }

    /// Asks a node to end on behalf of a fault.
    pub fn stop(&mut self, fault: u64, node: usize) -> Result<()> {
        self.killed.entry(node).or_default().insert(fault);
        match self.cluster.state(node) {
            State::Gone(_) => self.note_end(node),
            State::Running | State::Paused => self.cluster.terminate(node)?,
        }
        Ok(())
    }

    /// Starts a node again, unless another fault keeps it down.
    pub fn revive(&mut self, fault: u64, node: usize) -> Result<()> {
        if !release(&mut self.killed, fault, node) {
            return Ok(());
        }
        // One that was asked to end and has not yet would do so later, and stay down.
        self.cluster.end_what_is_asked_to(node)?;
        self.start(node)
    }

    /// Starts a node if it is gone, as the faults that are in force have it.
    fn start(&mut self, node: usize) -> Result<()> {
        if matches!(self.cluster.state(node), State::Gone(_)) {
            self.given_up.remove(&node);
            self.cluster.start(node)?;
            if self.clocks.contains_key(&node) {
                faketime::set(&self.cluster, node, self.clock(node, Instant::now()))?;
            }
            if self.paused.contains_key(&node) {
                self.cluster.pause(node)?;
            }
        }
        Ok(())
    }

    /// Pauses a node on behalf of a fault.
    pub fn pause(&mut self, fault: u64, node: usize) -> Result<()> {
        self.paused.entry(node).or_default().insert(fault);
        self.cluster.pause(node)
    }

    /// Lets a node go on, unless another fault holds it.
    pub fn resume(&mut self, fault: u64, node: usize) -> Result<()> {
        if release(&mut self.paused, fault, node) {
            self.cluster.resume(node)
        } else {
            Ok(())
        }
    }

    /// Makes a node's clock wrong on behalf of a fault; what several do adds up.
    pub(super) fn set_clock(&mut self, fault: u64, node: usize, clock: Clock) -> Result<()> {
        let now = Instant::now();
        self.clocks
            .entry(node)
            .or_default()
            .insert(fault, (clock, now));
        faketime::set(&self.cluster, node, self.clock(node, now))
    }

    /// Takes away what a fault has done to a node's clock.
    pub(super) fn reset_clock(&mut self, fault: u64, node: usize) -> Result<()> {
        if let Some(faults) = self.clocks.get_mut(&node) {
            faults.remove(&fault);
        }
        faketime::set(&self.cluster, node, self.clock(node, Instant::now()))
    }

    /// What a node's clock is to be at a moment.
    pub(super) fn clock(&self, node: usize, at: Instant) -> Clock {
        let faults = self
            .clocks
            .get(&node)
            .into_iter()
            .flat_map(BTreeMap::values);
        let now = faults.map(|(clock, since)| Clock {
            ahead_ms: clock.ahead_ms
                + at.saturating_duration_since(*since).as_secs_f64() * 1e3 * (clock.rate - 1.0),
            rate: clock.rate,
        });
        now.fold(Clock::TRUE, Clock::and)
    }

    /// Makes a node's disk fail on behalf of a fault.
    pub(super) fn sicken(&mut self, fault: u64, node: usize, rule: Rule) -> Result<()> {
        let policy = self.cluster.disk(node)?.policy();
        if !self.sick.contains_key(&node) {
            self.since.insert(node, (policy.refused(), None));
        }
        policy.set(fault, rule);
        self.sick.entry(node).or_default().insert(fault);
        Ok(())
    }

    /// Takes away what a fault does to a node's disk; starts the node again if it has ended of that, and says whether it has.
    pub(super) fn cure(&mut self, fault: u64, node: usize) -> Result<bool> {
        self.cluster.disk(node)?.policy().lift(fault);
        if !release(&mut self.sick, fault, node) {
            return Ok(false);
        }
        if let Some((_, cured)) = self.since.get_mut(&node) {
            *cured = Some(Instant::now());
        }
        let gone = matches!(self.cluster.state(node), State::Gone(_));
        let ours = gone && !self.killed.contains_key(&node) && self.may_give_up(node);
        if ours {
            self.start(node)?;
        }
        Ok(ours)
    }

    /// Whether a node's disk has just refused calls, so that the node may end by itself.
    fn may_give_up(&self, node: usize) -> bool {
        let Some((refused, cured)) = self.since.get(&node) else {
            return false;
        };
        let disk = self.cluster.disk(node);
        disk.is_ok_and(|disk| disk.policy().refused() > *refused)
            && cured.is_none_or(|cured| cured.elapsed() < AFTERMATH)
    }

    /// Whether a node is down because its disk had refused calls.
    pub(super) fn has_given_up(&self, node: usize) -> bool {
        self.given_up.contains(&node)
    }

    /// Notes why a node is down, before it is next looked which ones have ended.
    fn note_end(&mut self, node: usize) {
        if self.may_give_up(node) && !self.cluster.was_killed(node) {
            self.given_up.insert(node);
        }
    }

    /// Whether some fault makes the node's disk fail.
    pub(super) fn is_sick(&self, node: usize) -> bool {
        self.sick.contains_key(&node)
    }

    /// Which nodes have ended since this was last called, without being asked to. One whose disk is well again is started again.
    pub(super) fn take_ends(&mut self) -> Ends {
        let mut ends = Ends::default();
        for (node, how) in self.cluster.take_crashes() {
            if !self.may_give_up(node) {
                ends.crashes.push((node, how));
                continue;
            }
            let held = self.sick.contains_key(&node) || self.killed.contains_key(&node);
            match if held { Ok(()) } else { self.start(node) } {
                Ok(()) => ends.given_up.push((node, how)),
                Err(error) => ends.crashes.push((node, format!("{how}; {error:#}"))),
            }
        }
        for (node, _) in &ends.given_up {
            if matches!(self.cluster.state(*node), State::Gone(_)) {
                self.given_up.insert(*node);
            }
        }
        ends
    }

    /// The nodes that some fault has killed or paused, or made end.
    pub fn held(&self) -> BTreeSet<usize> {
        self.killed
            .keys()
            .chain(self.paused.keys())
            .chain(&self.given_up)
            .copied()
            .collect()
    }

    /// Whether some fault keeps the node down.
    pub fn is_killed(&self, node: usize) -> bool {
        self.killed.contains_key(&node) || self.given_up.contains(&node)
    }

    /// Whether some fault keeps the node paused.
    pub fn is_paused(&self, node: usize) -> bool {
        self.paused.contains_key(&node)
    }
}

/// Takes one fault's hold away; says whether nobody holds the node any more.
fn release(holds: &mut Holds, fault: u64, node: usize) -> bool {
    let Some(faults) = holds.get_mut(&node) else {
        return false;
    };
    faults.remove(&fault);
    let free = faults.is_empty();
    if free {
        holds.remove(&node);
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_free_when_the_last_fault_lets_go() {
        let mut holds = Holds::from([(2, BTreeSet::from([1, 4]))]);
        assert!(!release(&mut holds, 1, 2));
        assert!(release(&mut holds, 4, 2));
        assert!(!release(&mut holds, 4, 2), "nobody held it");
    }
}
