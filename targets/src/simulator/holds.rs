//! Who is held by which fault: cut off, down, paused. A host is free again when no fault holds it any more.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Host, Link, Whom};

/// The faults in force, with what they hold.
#[derive(Debug, Default)]
pub(super) struct Holds {
    cuts: BTreeMap<u64, Cut>,
    down: Nodes,
    paused: Nodes,
    jumps: BTreeMap<u64, (Vec<usize>, i64)>,
}

/// By node, the faults that hold it.
#[derive(Debug, Default)]
pub(super) struct Nodes(BTreeMap<usize, BTreeSet<u64>>);

/// Which links a fault cuts.
#[derive(Debug)]
enum Cut {
    Groups(Vec<Vec<Host>>),
    /// These on one side, all others on the other.
    Apart(Vec<Host>),
    OneWay(Vec<Host>, Vec<Host>),
}

/// What a heal sets free.
#[derive(Debug, Default)]
pub(super) struct Freed {
    pub(super) up: Vec<usize>,
    pub(super) resumed: Vec<usize>,
    pub(super) jumped: Option<(Vec<usize>, i64)>,
}

impl Holds {
    /// Takes what a fault holds, of these nodes.
    pub(super) fn take(&mut self, id: u64, fault: &Fault, nodes: &[usize]) {
        match fault {
            Fault::Partition { groups } => self.cut(id, Cut::Groups(groups.clone())),
            Fault::Isolate { with, .. } => {
                let nodes = nodes.iter().map(|index| Host::Node(*index));
                self.cut(id, Cut::Apart(nodes.chain(with.iter().copied()).collect()));
            }
            Fault::OneWay { from, to } => self.cut(id, Cut::OneWay(from.clone(), to.clone())),
            Fault::Kill { .. } | Fault::Power { .. } | Fault::Wipe { .. } => {
                self.down.add(id, nodes);
            }
            Fault::Pause { .. } => self.paused.add(id, nodes),
            Fault::Leave { .. } => {}
            Fault::Clock { by_ms, .. } => drop(self.jumps.insert(id, (nodes.to_vec(), *by_ms))),
        }
    }

    fn cut(&mut self, id: u64, cut: Cut) {
        self.cuts.insert(id, cut);
    }

    /// Gives up what a fault holds.
    pub(super) fn free(&mut self, id: u64) -> Freed {
        self.cuts.remove(&id);
        Freed {
            up: self.down.free(id),
            resumed: self.paused.free(id),
            jumped: self.jumps.remove(&id),
        }
    }

    /// Whether what is sent over a link is lost.
    pub(super) fn is_cut(&self, link: Link) -> bool {
        self.cuts.values().any(|cut| cut.parts(link))
    }

    pub(super) fn is_paused(&self, node: usize) -> bool {
        self.paused.0.contains_key(&node)
    }
}

impl Nodes {
    fn add(&mut self, id: u64, nodes: &[usize]) {
        for node in nodes {
            self.0.entry(*node).or_default().insert(id);
        }
    }

    /// The nodes that nobody holds any more.
    fn free(&mut self, id: u64) -> Vec<usize> {
        let mut freed = Vec::new();
        self.0.retain(|node, faults| {
            if faults.remove(&id) && faults.is_empty() {
                freed.push(*node);
            }
            !faults.is_empty()
        });
        freed
    }
}

impl Cut {
    fn parts(&self, link: Link) -> bool {
        let Link { from, to } = link;
        match self {
            Self::Groups(groups) => {
                let group = |host| groups.iter().position(|group| group.contains(&host));
                matches!((group(from), group(to)), (Some(a), Some(b)) if a != b)
            }
            Self::Apart(side) => side.contains(&from) != side.contains(&to),
            Self::OneWay(deaf, hearers) => deaf.contains(&from) && hearers.contains(&to),
        }
    }
}

/// The nodes that a fault hits, in a cluster of so many; `leader` is found out by the caller.
pub(super) fn hit(fault: &Fault, size: usize, leader: impl FnOnce() -> usize) -> Vec<usize> {
    match fault.whom() {
        Some(Whom::All) => (0..size).collect(),
        Some(Whom::Leader) => vec![leader()],
        Some(Whom::Host(Host::Node(index))) if index < size => vec![index],
        Some(Whom::Host(_)) => Vec::new(),
        None => {
            let named = |index: &usize| fault.names(Host::Node(*index));
            (0..size).filter(named).collect()
        }
    }
}

impl Fault {
    fn names(&self, host: Host) -> bool {
        match self {
            Self::Partition { groups } => groups.iter().any(|group| group.contains(&host)),
            Self::OneWay { from, to } => from.contains(&host) || to.contains(&host),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::Kept;

    fn link(from: usize, to: usize) -> Link {
        let (from, to) = (Host::Node(from), Host::Node(to));
        Link { from, to }
    }

    #[test]
    fn what_two_faults_hold_is_free_after_both() {
        let mut holds = Holds::default();
        let (who, kept) = (Whom::All, Kept(0));
        holds.take(1, &Fault::Kill { who, kept }, &[0, 1]);
        holds.take(2, &Fault::Power { who, kept }, &[1]);
        assert_eq!(holds.free(1).up, [0]);
        assert_eq!(holds.free(2).up, [1]);
    }

    #[test]
    fn cuts_are_one_way_between_groups_or_around_somebody() {
        let mut holds = Holds::default();
        let node = |index| vec![Host::Node(index)];
        let (from, to) = (node(0), node(1));
        holds.take(1, &Fault::OneWay { from, to }, &[]);
        assert!(holds.is_cut(link(0, 1)) && !holds.is_cut(link(1, 0)));
        holds.free(1);
        let groups = vec![node(0), node(1)];
        holds.take(2, &Fault::Partition { groups }, &[]);
        assert!(holds.is_cut(link(1, 0)) && !holds.is_cut(link(0, 2)));
        let (who, with) = (Whom::Leader, vec![]);
        holds.take(3, &Fault::Isolate { who, with }, &[2]);
        assert!(holds.is_cut(link(0, 2)) && holds.is_cut(link(2, 1)));
        holds.free(2);
        assert!(!holds.is_cut(link(0, 1)));
    }
}
