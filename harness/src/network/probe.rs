//! One datagram over each link: what arrives was carried, what a rule counts was dropped.
//!
//! A socket is opened inside each host's namespace once and kept: the controller holds it, so a killed or paused node does not
//! matter, and a link is tried in one direction at a time.

use super::{Cut, HostIndex, Link};
use crate::arena::Host;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The probe sockets, by the hosts' places.
#[derive(Debug)]
pub(super) struct Prober {
    sockets: Vec<(UdpSocket, SocketAddr)>,
    round: AtomicU32,
}

/// What became of the probes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Links whose probe arrived.
    pub(super) carried: Cut,
    /// Links whose rule dropped a probe.
    pub(super) dropped: Cut,
}

const RESEND_AFTER: Duration = Duration::from_millis(20);
/// How long a probe that slipped past a cut may take to show itself, once all others are settled.
const LEAK_WAIT: Duration = Duration::from_millis(1);

impl Prober {
    pub(super) fn open(hosts: &[&Host]) -> Result<Self> {
        let sockets = hosts
            .iter()
            .map(|host| {
                host.ns.run(|| {
                    let socket =
                        UdpSocket::bind((host.ip, 0)).context("cannot open a probe socket")?;
                    socket
                        .set_nonblocking(true)
                        .context("cannot set up a probe socket")?;
                    let address = socket
                        .local_addr()
                        .context("a probe socket has no address")?;
                    Ok((socket, address))
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            sockets,
            round: AtomicU32::new(0),
        })
    }

    /// Tries every link of `open` and `cut` until the open ones have carried and the cut ones have dropped, or time is up.
    pub(super) fn probe(
        &self,
        open: &Cut,
        cut: &Cut,
        limit: Duration,
        dropped: impl Fn() -> Result<Cut>,
    ) -> Result<Seen> {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let mut seen = Seen::default();
        loop {
            for link in open
                .difference(&seen.carried)
                .chain(cut.difference(&seen.dropped))
            {
                self.send(*link, round);
            }
            let sent = Instant::now();
            while !open.is_subset(&seen.carried) && sent.elapsed() < RESEND_AFTER {
                if !self.receive(round, &mut seen.carried) {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
            if !cut.is_empty() {
                seen.dropped = dropped()?;
            }
            if (open.is_subset(&seen.carried) && cut.is_subset(&seen.dropped))
                || begun.elapsed() > limit
            {
                break;
            }
        }
        if !cut.is_empty() {
            std::thread::sleep(LEAK_WAIT);
        }
        while self.receive(round, &mut seen.carried) {}
        Ok(seen)
    }

    fn send(&self, (from, to): Link, round: u32) {
        let mut datagram = [0; 8];
        datagram[..4].copy_from_slice(&round.to_be_bytes());
        datagram[4..].copy_from_slice(&(from as u32).to_be_bytes());
        // A full buffer or an error from an earlier probe is a lost probe: it is sent again.
        let _ = self.sockets[from].0.send_to(&datagram, self.sockets[to].1);
    }

    /// Takes what has arrived; says whether anything had.
    fn receive(&self, round: u32, carried: &mut BTreeSet<(HostIndex, HostIndex)>) -> bool {
        let mut any = false;
        for (to, (socket, _)) in self.sockets.iter().enumerate() {
            let mut datagram = [0; 16];
            while let Ok((length, _)) = socket.recv_from(&mut datagram) {
                any = true;
                if length != 8 {
                    continue;
                }
                let word = |at: usize| {
                    u32::from_be_bytes([
                        datagram[at],
                        datagram[at + 1],
                        datagram[at + 2],
                        datagram[at + 3],
                    ])
                };
                if word(0) == round {
                    carried.insert((word(4) as usize, to));
                }
            }
        }
        any
    }
}
