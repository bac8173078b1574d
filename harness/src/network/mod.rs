//! The network between the hosts: which links are cut, and whether that is so.
//!
//! A link is a direction between two hosts. The cut set is the union of what all faults in force ask for; each change replaces the
//! router's whole FORWARD chain in one atomic restore (`firewall`). Whether a link carries anything is tried with a datagram
//! (`probe`): a fault that was asked for is not a fault that happened.

mod firewall;
mod probe;

pub use firewall::{Firewall, Variant};

use crate::arena::Arena;
use anyhow::Result;
use probe::Prober;
use std::collections::BTreeSet;
use std::time::Duration;

/// A host by its place: the nodes from 0, the clients last.
pub type HostIndex = usize;
/// One direction of a link: from, to.
pub type Link = (HostIndex, HostIndex);
/// Links that drop every packet.
pub type Cut = BTreeSet<Link>;

/// What becomes of a packet on a cut link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It is dropped: who sent it waits.
    Drop,
    /// TCP is answered with a reset, as by a host whose program has ended; all else is dropped.
    Reset,
}

/// The arena's network.
#[derive(Debug)]
pub struct Network {
    firewall: Firewall,
    prober: Prober,
    names: Vec<String>,
    /// Every cut link, in whatever manner.
    cut: Cut,
}

/// What the probes and the rules' counters say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Whether every cut link dropped and every open one carried a probe.
    pub proved: bool,
    /// The same in words.
    pub evidence: String,
}

impl Network {
    /// Finds a firewall that works here, and opens a probe socket at every host. Must run in the router's namespace.
    pub fn new(arena: &Arena) -> Result<Self> {
        let hosts: Vec<_> = arena.hosts().collect();
        let addresses = hosts.iter().map(|h| h.ip).collect();
        Ok(Self {
            firewall: Firewall::detect(addresses)?,
            prober: Prober::open(&hosts)?,
            names: hosts.iter().map(|h| h.name.clone()).collect(),
            cut: Cut::new(),
        })
    }

    /// Which firewall cuts the links.
    pub fn variant(&self) -> Variant {
        self.firewall.variant()
    }

    /// How many hosts there are, clients included.
    pub fn hosts(&self) -> usize {
        self.names.len()
    }

    /// Cuts exactly these links, in one step: those of `reset` answer TCP.
    pub fn set_cut(&mut self, dropped: Cut, reset: Cut) -> Result<()> {
        self.firewall.restore(&dropped, &reset)?;
        self.cut = dropped;
        self.cut.extend(reset);
        Ok(())
    }

    /// Sends a datagram over every link until all is as it should be, or `limit` has passed.
    pub fn prove(&self, limit: Duration) -> Result<Proof> {
        let open: Cut = self
            .links()
            .filter(|link| !self.cut.contains(link))
            .collect();
        let seen = self
            .prober
            .probe(&open, &self.cut, limit, || self.firewall.dropped(&self.cut))?;
        let leaked: Vec<_> = self.cut.intersection(&seen.carried).collect();
        let silent: Vec<_> = open.difference(&seen.carried).collect();
        let unseen: Vec<_> = self.cut.difference(&seen.dropped).collect();
        let mut evidence = Vec::new();
        if !self.cut.is_empty() {
            evidence.push(format!(
                "{} of {} cut links dropped the probe (rule counters)",
                self.cut.intersection(&seen.dropped).count(),
                self.cut.len()
            ));
        }
        evidence.push(format!(
            "{} of {} open links carried it",
            open.len() - silent.len(),
            open.len()
        ));
        for (what, links) in [
            ("leaked", &leaked),
            ("open but silent", &silent),
            ("cut but not counted", &unseen),
        ] {
            if !links.is_empty() {
                let names: Vec<_> = links.iter().map(|link| self.link_name(**link)).collect();
                evidence.push(format!("{what}: {}", names.join(", ")));
            }
        }
        let proved = leaked.is_empty() && silent.is_empty() && unseen.is_empty();
        Ok(Proof {
            proved,
            evidence: evidence.join("; "),
        })
    }

    fn links(&self) -> impl Iterator<Item = Link> {
        let n = self.names.len();
        (0..n).flat_map(move |a| (0..n).filter(move |b| *b != a).map(move |b| (a, b)))
    }

    fn link_name(&self, (from, to): Link) -> String {
        format!("{} -> {}", self.names[from], self.names[to])
    }

    /// The cut as the history has it: each host with those that it does not hear.
    pub fn describe(&self, cut: &Cut) -> serde_json::Value {
        let mut deaf: std::collections::BTreeMap<&str, Vec<&str>> =
            std::collections::BTreeMap::new();
        for (from, to) in cut {
            deaf.entry(&self.names[*to])
                .or_default()
                .push(&self.names[*from]);
        }
        serde_json::json!(deaf)
    }
}
