//! One node of a simulation: its process, if it is up, its disk and its clocks.

use super::clock::Clocks;
use super::disk::Disk;
use super::{Kept, Machine, Micros, Simulated};
use crate::replicas::RequestId;

/// A node.
pub(super) struct Node<R: Simulated> {
    config: R::Config,
    pub(super) replica: Option<R>,
    pub(super) disk: Disk<R>,
    pub(super) clocks: Clocks,
    /// How long a batch takes its disk.
    pub(super) sync: Micros,
    /// How many processes there were: what was meant for an earlier one is dropped.
    pub(super) life: u64,
    /// Requests that wait for an answer, with their clients.
    pub(super) waiting: Vec<(RequestId, usize)>,
}

/// How a process ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Killed(Kept),
    WithoutPower(Kept),
    Wiped,
}

impl End {
    /// What is said of it, where so many jobs of the disk are lost.
    pub(super) fn words(self, lost: usize) -> String {
        let how = match self {
            Self::Killed(_) => "is killed",
            Self::WithoutPower(_) => "loses its power",
            Self::Wiped => return "is killed, and its disk is emptied".to_owned(),
        };
        match lost {
            0 => format!("{how}; its disk has all that it was given"),
            1 => format!("{how}; 1 job of its disk is lost"),
            n => format!("{how}; {n} jobs of its disk are lost"),
        }
    }
}

impl<R: Simulated> Node<R> {
    /// A node that is down, with an empty disk.
    pub(super) fn new(config: R::Config, machine: Machine, always_syncs: bool) -> Self {
        Self {
            config,
            replica: None,
            disk: Disk::new(always_syncs),
            clocks: Clocks::new(machine),
            sync: machine.sync_us,
            life: 0,
            waiting: Vec::new(),
        }
    }

    /// Starts a process, if none is up.
    pub(super) fn start(&mut self, now: Micros) -> bool {
        let starts = self.replica.is_none();
        if starts {
            let clock = self.clocks.read(now);
            let disk = &mut self.disk.written;
            self.replica = Some(R::start(&self.config, disk, clock, self.life));
            self.life += 1;
        }
        starts
    }

    /// Ends the process, if one is up, and does to the disk what such an end does. Says how many jobs of the disk are lost.
    pub(super) fn end(&mut self, end: End) -> usize {
        self.replica = None;
        match end {
            End::Killed(kept) => self.disk.kill(kept),
            End::WithoutPower(kept) => self.disk.cut_power(kept),
            End::Wiped => {
                self.disk.wipe();
                0
            }
        }
    }

    /// Whether its disk has what others rely on it to have.
    pub(super) fn is_whole(&self) -> bool {
        R::is_whole(&self.disk.written)
    }

    /// Whose request that was, which is answered now.
    pub(super) fn answered(&mut self, id: RequestId) -> Option<usize> {
        let place = self
            .waiting
            .iter()
            .position(|(waiting, _)| *waiting == id)?;
        Some(self.waiting.swap_remove(place).1)
    }
}
