//! Many datagrams over links, each with the moment at which the kernel saw it arrive: what a disturbance does, seen from outside.
//!
//! The kernel's own time stamps are taken, so a prober that a busy machine keeps waiting sees no delay that is not there.

use crate::arena::Host;
use crate::network::{Cut, Disturbance, Link};
use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The measuring sockets, by the hosts' places.
#[derive(Debug)]
pub(in crate::network) struct Meter {
    sockets: Vec<(UdpSocket, SocketAddr)>,
    round: u32,
}

/// What is sent over each link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network) struct Load {
    /// How many datagrams.
    pub(in crate::network) each: u32,
    /// Bytes in each.
    pub(in crate::network) size: usize,
    /// Between one and the next.
    pub(in crate::network) gap: Duration,
}

/// IP and UDP header.
const HEADERS: usize = 28;
/// Round, sender, number.
const SIZE_MIN: usize = 12;
const SIZE_MAX: usize = 1400;
/// Datagrams in all, about.
const ALL_MAX: usize = 3000;
const EACH_MIN: u32 = 10;

impl Load {
    /// How long a limited link is kept busy.
    pub(in crate::network) const BUSY: Duration = Duration::from_millis(150);

    /// Enough to see the disturbance on so many links.
    pub(in crate::network) fn to_see(how: &Disturbance, links: usize) -> Self {
        let each = ((ALL_MAX / links.max(1)) as u32).clamp(EACH_MIN, 50);
        match how.rate {
            None => Self {
                each,
                size: SIZE_MIN,
                gap: Duration::from_millis(2),
            },
            // At once, so that the link is what spaces them.
            Some(rate) => {
                let bytes = (rate as f64 / 8.0 * Self::BUSY.as_secs_f64()) as usize;
                let each = ((bytes / SIZE_MAX) as u32).clamp(EACH_MIN, 50);
                Self {
                    each,
                    size: (bytes / each as usize).clamp(SIZE_MIN + HEADERS, SIZE_MAX) - HEADERS,
                    gap: Duration::ZERO,
                }
            }
        }
    }

    /// A few, to see that nothing holds them up.
    pub(in crate::network) const FEW: Self = Self {
        each: 5,
        size: SIZE_MIN,
        gap: Duration::from_millis(1),
    };
}

/// What became of the datagrams, over all links together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::network) struct Sample {
    /// Sent.
    pub(in crate::network) sent: u64,
    /// Of those, arrived at least once.
    pub(in crate::network) arrived: u64,
    /// Arrivals of one that had arrived before.
    pub(in crate::network) copies: u64,
    /// From sending to the first arrival, the shortest first.
    pub(in crate::network) delays: Vec<Duration>,
    /// Arrived after one that was sent later on the same link.
    pub(in crate::network) overtaken: u64,
    /// Of each link: bytes that arrived after the first datagram, and in which time.
    pub(in crate::network) spans: Vec<(u64, Duration)>,
}

impl Sample {
    /// The delay that this share of the datagrams did not exceed.
    pub(in crate::network) fn quantile(&self, share: f64) -> Option<Duration> {
        let place = (self.delays.len() as f64 * share) as usize;
        let last = self.delays.len().checked_sub(1)?;
        self.delays.get(place.min(last)).copied()
    }
}

/// Nanoseconds since the epoch.
type Stamp = i128;

#[derive(Default)]
struct OnLink {
    sent: Vec<Stamp>,
    arrived: Vec<(u32, Stamp)>,
}

impl Meter {
    pub(in crate::network) fn open(hosts: &[Host]) -> Result<Self> {
        let open = |host: &Host| {
            let socket = UdpSocket::bind((host.ip, 0)).context("cannot open a measuring socket")?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)
                .context("the kernel gives no time stamps")?;
            let address = socket
                .local_addr()
                .context("a measuring socket has no address")?;
            Ok((socket, address))
        };
        let sockets = hosts.iter().map(|host| host.ns.run(|| open(host)));
        Ok(Self {
            sockets: sockets.collect::<Result<_>>()?,
            round: 0,
        })
    }

    /// Sends the load over each link; ends when it is `enough` after `at_least`, or at `at_most`, both counted from the last sending.
    pub(in crate::network) fn measure(
        &mut self,
        links: &Cut,
        load: Load,
        (at_least, at_most): (Duration, Duration),
        enough: impl Fn(&Sample) -> bool,
    ) -> Result<Sample> {
        self.round += 1;
        let mut seen: BTreeMap<Link, OnLink> = BTreeMap::new();
        // Stragglers of earlier rounds would fill the buffers.
        for host in 0..self.sockets.len() {
            self.receive(host, load.size, &mut seen)?;
        }
        for number in 0..load.each {
            for link in links {
                let sent = self.send(*link, number, load.size);
                seen.entry(*link).or_default().sent.push(sent);
                if load.gap.is_zero() {
                    self.receive(link.1, load.size, &mut seen)?;
                }
            }
            let next = Instant::now() + load.gap;
            while Instant::now() < next {
                self.receive_all(load.size, &mut seen)?;
                std::thread::sleep(Duration::from_micros(200).min(load.gap));
            }
        }
        let sent = Instant::now();
        loop {
            self.receive_all(load.size, &mut seen)?;
            let waited = sent.elapsed();
            if waited >= at_least {
                let sample = sum(&seen, load.size);
                if waited >= at_most || enough(&sample) {
                    return Ok(sample);
                }
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn send(&self, (from, to): Link, number: u32, size: usize) -> Stamp {
        let mut datagram = vec![0; size.max(SIZE_MIN)];
        let words = [self.round, from as u32, number];
        for (place, word) in datagram.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // One that cannot be sent is one that was lost.
        let _ = self.sockets[from].0.send_to(&datagram, self.sockets[to].1);
        now.as_nanos() as Stamp
    }

    fn receive_all(&self, size: usize, seen: &mut BTreeMap<Link, OnLink>) -> Result<()> {
        let hosts: BTreeSet<usize> = seen.keys().map(|(_, to)| *to).collect();
        hosts
            .into_iter()
            .try_for_each(|to| self.receive(to, size, seen))
    }

    /// Takes what has arrived at a host.
    fn receive(&self, to: usize, size: usize, seen: &mut BTreeMap<Link, OnLink>) -> Result<()> {
        let mut bytes = vec![0; SIZE_MAX];
        let mut control = cmsg_space!(TimeSpec);
        loop {
            let mut places = [IoSliceMut::new(&mut bytes)];
            let received = recvmsg::<()>(
                self.sockets[to].0.as_raw_fd(),
                &mut places,
                Some(&mut control),
                MsgFlags::MSG_DONTWAIT,
            );
            let Ok(message) = received else {
                return Ok(());
            };
            let length = message.bytes;
            let stamp = message
                .cmsgs()
                .context("a time stamp cannot be read")?
                .find_map(|c| match c {
                    ControlMessageOwned::ScmTimestampns(time) => Some(time),
                    _ => None,
                })
                .context("the kernel gave no time stamp")?;
            let stamp = Stamp::from(stamp.tv_sec()) * 1_000_000_000 + Stamp::from(stamp.tv_nsec());
            let mut words = bytes.chunks_exact(4).map(|c| {
                let word = c.first_chunk().copied().unwrap_or_default();
                u32::from_be_bytes(word)
            });
            let (Some(round), Some(from), Some(number)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            if length == size.max(SIZE_MIN)
                && round == self.round
                && let Some(link) = seen.get_mut(&(from as usize, to))
                && (number as usize) < link.sent.len()
            {
                link.arrived.push((number, stamp));
            }
        }
    }
}

fn sum(seen: &BTreeMap<Link, OnLink>, size: usize) -> Sample {
    let mut sample = Sample::default();
    for link in seen.values() {
        let mut arrived = link.arrived.clone();
        arrived.sort_by_key(|(_, stamp)| *stamp);
        let mut known = BTreeSet::new();
        let mut last = None;
        for (number, stamp) in &arrived {
            if known.insert(*number) {
                let nanos = (stamp - link.sent[*number as usize]).max(0);
                sample.delays.push(Duration::from_nanos(nanos as u64));
                sample.overtaken += u64::from(last.is_some_and(|last| last > *number));
                last = last.max(Some(*number));
            }
        }
        if let ([(_, first), ..], [.., (_, last)]) = (&arrived[..], &arrived[..]) {
            let bytes = (arrived.len() - 1) * (size.max(SIZE_MIN) + HEADERS);
            let span = Duration::from_nanos((last - first).max(0) as u64);
            sample.spans.push((bytes as u64, span));
        }
        sample.sent += link.sent.len() as u64;
        sample.arrived += known.len() as u64;
        sample.copies += (arrived.len() - known.len()) as u64;
    }
    sample.delays.sort_unstable();
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_summed_up() {
        let on_link = OnLink {
            sent: vec![0, 10, 20, 30],
            arrived: vec![(0, 1000), (2, 1020), (1, 1500), (2, 1600)],
        };
        let sample = sum(&BTreeMap::from([((0, 1), on_link)]), 100);
        let nanos = Duration::from_nanos;
        let wanted = Sample {
            sent: 4,
            arrived: 3,
            copies: 1,
            delays: vec![nanos(1000), nanos(1000), nanos(1490)],
            overtaken: 1,
            spans: vec![(3 * 128, nanos(600))],
        };
        assert_eq!(sample, wanted);
        assert_eq!(sample.quantile(0.5), Some(nanos(1000)));
        assert_eq!(Sample::default().quantile(0.5), None);
    }

    #[test]
    fn a_slow_link_gets_little_and_a_fast_one_much() {
        let load = |rate| {
            Load::to_see(
                &Disturbance {
                    rate: Some(rate),
                    ..Disturbance::default()
                },
                4,
            )
        };
        assert_eq!(load(100_000_000).each, 50);
        assert_eq!(load(100_000_000).size, SIZE_MAX - HEADERS);
        let slow = load(64_000);
        assert!(
            slow.each == EACH_MIN && slow.size + HEADERS <= 120,
            "{slow:?}"
        );
    }
}
