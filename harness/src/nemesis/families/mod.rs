//! One family of faults a file; each has its entry in [`families`].

mod clock;
mod disk;
mod kill;
mod membership;
mod packets;
mod partition;
mod pause;
mod power;
mod slow;
mod sockets;
mod stop;

use super::Family;

/// Every family there is.
pub fn families() -> &'static [&'static dyn Family] {
    &[
        &partition::Partition,
        &packets::Packets,
        &sockets::Sockets,
        &membership::Membership,
        &kill::Kill,
        &stop::Stop,
        &pause::Pause,
        &slow::Slow,
        &power::Power,
        &disk::Disks,
        &clock::Clocks,
    ]
}
