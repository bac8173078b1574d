//! Disturbs links: by `netem` where the kernel has it, else by its packet queue (NFQUEUE) and a thread of ours. One interface for both.
//!
//! Which one is chosen once a run, before the nodes start; each fault's evidence names it.

mod fate;
mod judge;
mod meter;
mod netem;
mod netlink;
mod nfqueue;

pub(super) use judge::{Verdict, judge};
pub(super) use meter::{Load, Meter, Sample};
pub(super) use nfqueue::NUMBER;

use super::firewall::Firewall;
use super::{Cut, Disturbed, Link};
use crate::arena::Host;
use anyhow::{Context, Result, anyhow};
use netem::Netem;
use nfqueue::NfQueue;
use std::collections::BTreeMap;

/// By which engine packets are to be disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Netem where the kernel has it, else NFQUEUE.
    Auto,
    /// Netem or nothing.
    Netem,
    /// NFQUEUE or nothing.
    NfQueue,
}

/// What an engine has done to the packets of each disturbed link.
pub(super) type Counts = BTreeMap<Link, Count>;

/// What was done to the packets of one link since it was disturbed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) seen: u64,
    pub(super) lost: u64,
    pub(super) overflowed: u64,
    pub(super) duplicated: u64,
    pub(super) corrupted: u64,
    pub(super) skipped: u64,
}

impl Count {
    fn each(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            seen: with(self.seen, other.seen),
            lost: with(self.lost, other.lost),
            overflowed: with(self.overflowed, other.overflowed),
            duplicated: with(self.duplicated, other.duplicated),
            corrupted: with(self.corrupted, other.corrupted),
            skipped: with(self.skipped, other.skipped),
        }
    }

    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        self.each(other, |a, b| a + b)
    }

    /// What came after `before`.
    pub(super) fn since(self, before: Self) -> Self {
        self.each(before, u64::saturating_sub)
    }
}

/// The engine of this run.
#[derive(Debug)]
pub(super) enum Engine {
    Netem(Netem),
    NfQueue(NfQueue),
}

impl Engine {
    /// The one that was chosen, if it works here.
    pub(super) fn start(
        choice: Choice,
        hosts: &[Host],
        firewall: &Firewall,
        seed: u64,
    ) -> Result<Self> {
        let addresses: Vec<_> = hosts.iter().map(|h| h.ip).collect();
        let netem = || {
            let interfaces = hosts.iter().map(Host::router_interface).collect();
            Netem::detect(interfaces, addresses.clone())
                .context("netem does not work here; it wants a kernel with CONFIG_NET_SCH_NETEM, CONFIG_NET_SCH_HTB and CONFIG_NET_CLS_U32 (modprobe sch_netem sch_htb cls_u32, as root on the host)")
        };
        let queue = || {
            firewall
                .queues()
                .and_then(|()| NfQueue::start(&addresses, seed))
                .context("NFQUEUE does not work here; it wants a kernel with CONFIG_NETFILTER_XT_TARGET_NFQUEUE (modprobe nfnetlink_queue xt_NFQUEUE, as root on the host)")
        };
        match choice {
            Choice::Netem => netem().map(Self::Netem),
            Choice::NfQueue => queue().map(Self::NfQueue),
            Choice::Auto => netem().map(Self::Netem).or_else(|first| {
                queue().map(Self::NfQueue).map_err(|second| {
                    anyhow!("packets cannot be disturbed on this machine: {first:#}; {second:#}")
                })
            }),
        }
    }

    /// As people know it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Netem(_) => "netem",
            Self::NfQueue(_) => "NFQUEUE",
        }
    }

    /// Whether the firewall must hand the packets of disturbed links over.
    pub(super) fn queues(&self) -> bool {
        matches!(self, Self::NfQueue(_))
    }

    /// Disturbs exactly these links, none of which is cut. What is held for links that are cut is dropped.
    pub(super) fn set(&mut self, disturbed: &Disturbed, cut: &Cut) -> Result<()> {
        match self {
            Self::Netem(netem) => netem.set(disturbed),
            Self::NfQueue(queue) => queue.set(disturbed, cut),
        }
    }

    /// Packets that were lost, in the whole run, though nobody asked for it: the engine was too slow.
    pub(super) fn overrun(&self) -> u64 {
        match self {
            Self::Netem(_) => 0,
            Self::NfQueue(_) => NfQueue::overrun(),
        }
    }

    /// What it has done so far. Netem tells only how many packets it saw.
    pub(super) fn counts(&self) -> Result<Counts> {
        match self {
            Self::Netem(netem) => {
                let of = |(link, seen)| {
                    let count = Count {
                        seen,
                        ..Count::default()
                    };
                    (link, count)
                };
                Ok(netem.seen()?.into_iter().map(of).collect())
            }
            Self::NfQueue(queue) => queue.counts(),
        }
    }
}
