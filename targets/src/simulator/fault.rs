//! Faults as a plan has them: whom they hit, how hard, and what they are called.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Host;

/// Whom a fault hits. A role is found out when the fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// This host.
    Host(Host),
    /// The node that leads; the first one that is up, where none does.
    Leader,
    /// Every node.
    All,
}

/// How much of what a disk had not done, or not synced, is there all the same: the first so many of a hundred jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kept(pub u8);

impl Kept {
    /// How many of so many jobs.
    pub(super) fn of(self, jobs: usize) -> usize {
        (jobs * usize::from(self.0.min(100))).div_ceil(100)
    }
}

/// What is done to a cluster, until it is healed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "f", rename_all = "kebab-case")]
pub enum Fault {
    /// Hosts of different groups do not hear one another; who is in no group hears everybody.
    Partition {
        /// The groups.
        groups: Vec<Vec<Host>>,
    },
    /// A node and some clients are cut off from all other hosts.
    Isolate {
        /// The node.
        who: Whom,
        /// The clients that stay with it.
        with: Vec<Host>,
    },
    /// What one side sends does not reach the other; the other way it does.
    OneWay {
        /// Who is not heard.
        from: Vec<Host>,
        /// By whom.
        to: Vec<Host>,
    },
    /// The process is killed, and started again at the heal. What it had given to its disk and the disk had not done may be lost.
    Kill {
        /// Whose.
        who: Whom,
        /// Of what the disk had not done.
        kept: Kept,
    },
    /// The power fails: what was not synced may be lost, too. It is back at the heal.
    Power {
        /// Whose.
        who: Whom,
        /// Of what was not synced.
        kept: Kept,
    },
    /// The process stands still. What is sent to it waits.
    Pause {
        /// Whose.
        who: Whom,
    },
    /// The process is killed and its disk is emptied; it starts again at the heal.
    Wipe {
        /// Whose.
        who: Whom,
        /// Not at all where more than a minority of the nodes would then lack their data.
        #[serde(default)]
        minority: bool,
    },
    /// The target takes the node out of the cluster, and in again at the heal, as whoever drives the simulation asks for it. The process goes on.
    Leave {
        /// Whom.
        who: Whom,
    },
    /// The wall clock jumps, and back at the heal.
    Clock {
        /// Whose.
        who: Whom,
        /// How far, in milliseconds.
        by_ms: i64,
    },
}

/// What came of an injection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// The nodes that it hit.
    pub nodes: Vec<usize>,
    /// What it does, in words.
    pub what: String,
}

impl Fault {
    /// The family that it belongs to: the nemesis' of the same name does the same to real nodes, where there is one.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Partition { .. } | Self::Isolate { .. } | Self::OneWay { .. } => "partition",
            Self::Kill { .. } => "kill",
            Self::Power { .. } => "power",
            Self::Pause { .. } => "pause",
            Self::Wipe { .. } | Self::Leave { .. } => "membership",
            Self::Clock { .. } => "clock",
        }
    }

    /// Whom it hits, where that is one node or all.
    pub fn whom(&self) -> Option<Whom> {
        match self {
            Self::Partition { .. } | Self::OneWay { .. } => None,
            Self::Isolate { who, .. }
            | Self::Kill { who, .. }
            | Self::Power { who, .. }
            | Self::Pause { who }
            | Self::Wipe { who, .. }
            | Self::Leave { who }
            | Self::Clock { who, .. } => Some(*who),
        }
    }

    /// What it does to these nodes, in words.
    pub(super) fn words(&self, nodes: &[usize]) -> String {
        let nodes = list(nodes.iter().map(|index| Host::Node(*index)));
        match self {
            Self::Partition { groups } => {
                let groups: Vec<String> = groups.iter().map(|g| list(g.iter().copied())).collect();
                format!("partition: {}", groups.join(" | "))
            }
            Self::Isolate { with, .. } if with.is_empty() => format!("partition: {nodes} alone"),
            Self::Isolate { with, .. } => {
                format!(
                    "partition: {nodes} alone with {}",
                    list(with.iter().copied())
                )
            }
            Self::OneWay { from, to } => {
                let (from, to) = (list(from.iter().copied()), list(to.iter().copied()));
                format!("partition: nothing from {from} reaches {to}")
            }
            Self::Kill { kept, .. } => {
                format!("kill {nodes}, {kept} of what the disk had not done")
            }
            Self::Power { kept, .. } => {
                format!("cut the power of {nodes}, {kept} of what was not synced")
            }
            Self::Pause { .. } => format!("pause {nodes}"),
            Self::Wipe { .. } if nodes.is_empty() => {
                "no disk is emptied: too many nodes lack their data".to_owned()
            }
            Self::Wipe { .. } => format!("kill {nodes} and empty the disk"),
            Self::Leave { .. } => format!("{nodes} is to leave the cluster"),
            Self::Clock { by_ms, .. } => format!("the wall clock of {nodes} jumps by {by_ms} ms"),
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => out.write_str("losing all"),
            percent if percent >= 100 => out.write_str("losing nothing"),
            percent => write!(out, "keeping {percent} %"),
        }
    }
}

fn list(hosts: impl Iterator<Item = Host>) -> String {
    let names: Vec<String> = hosts.map(|host| host.to_string()).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nothing_and_a_prefix_are_kept() {
        assert_eq!([0, 50, 100].map(|p| Kept(p).of(5)), [0, 3, 5]);
        assert_eq!(Kept(1).of(0), 0);
    }
}
