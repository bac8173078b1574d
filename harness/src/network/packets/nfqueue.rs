//! Disturbs links by the kernel's packet queue: a thread of the controller holds the packets, and lets them go, or not.
//!
//! The router's FORWARD chain sends the packets of disturbed links here. What is held belongs to the kernel, so nothing is left when the
//! controller dies. A copy of a packet goes out through a raw socket of the router: it is not forwarded, so it does not come here again.

use super::fate::{self, Fate};
use super::netlink::{Packet, PacketQueue};
use super::{Count, Counts};
use crate::network::{Cut, Disturbance, Disturbed, HostIndex, Link};
use anyhow::{Context, Result, anyhow};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use nix::sys::time::TimeSpec;
use rand_chacha::ChaCha8Rng;
use schism_workloads::generator::stream;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The number of our queue, in a network namespace of our own.
pub(in crate::network) const NUMBER: u16 = 5;
/// The streams of the links; those of workers, packages and aims lie below.
const STREAM: u64 = 1 << 50;
/// How long the thread may take to answer on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The engine, as the controller holds it.
#[derive(Debug)]
pub(in crate::network) struct NfQueue {
    commands: Sender<Command>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Drop for NfQueue {
    /// The queue's number is free when this has returned.
    fn drop(&mut self) {
        self.commands = channel().0;
        let _ = self.wake.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
enum Command {
    /// Disturb these links, drop what is held for those that are cut, let the rest go.
    Set(Disturbed, Cut, SyncSender<()>),
    Count(SyncSender<Counts>),
}

impl NfQueue {
    /// Binds the queue and starts its thread. `addresses` are the hosts', by their place.
    pub(super) fn start(addresses: &[IpAddr], seed: u64) -> Result<Self> {
        let queue = PacketQueue::bind(NUMBER)?;
        let raw = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Raw,
        )
        .context("no raw socket for copies of packets")?;
        let (wake, woken) = UnixStream::pair().context("cannot make a pair of sockets")?;
        woken
            .set_nonblocking(true)
            .context("cannot set up a pair of sockets")?;
        let (commands, receiver) = channel();
        let hosts = addresses
            .iter()
            .enumerate()
            .filter_map(|(place, address)| match address {
                IpAddr::V4(address) => Some((*address, place)),
                IpAddr::V6(_) => None,
            });
        let keeper = Keeper {
            queue,
            raw,
            hosts: hosts.collect(),
            links: BTreeMap::new(),
            held: BTreeMap::new(),
            order: 0,
            seed,
        };
        let thread = std::thread::Builder::new()
            .name("packets".to_owned())
            .spawn(move || keeper.work(&receiver, woken))
            .context("cannot start the thread of the packet queue")?;
        Ok(Self {
            commands,
            wake,
            thread: Some(thread),
        })
    }

    /// Makes it so. When this returns, what was held for links that are no longer disturbed has gone.
    pub(super) fn set(&self, disturbed: &Disturbed, cut: &Cut) -> Result<()> {
        self.ask(|answer| Command::Set(disturbed.clone(), cut.clone(), answer))
    }

    /// What it has done to the packets of each disturbed link.
    pub(super) fn counts(&self) -> Result<Counts> {
        self.ask(Command::Count)
    }

    /// How many packets were dropped, in the whole run, because we did not take them soon enough.
    pub(super) fn overrun() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue");
        let text = text.unwrap_or_default();
        let ours = text.lines().find_map(|line| {
            let words: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
            // Number, port, waiting, mode, range, dropped by a full queue, dropped by a full socket.
            (words.first() == Some(&u64::from(NUMBER)))
                .then(|| words.get(5).zip(words.get(6)).map(|(a, b)| a + b))?
        });
        ours.unwrap_or(0)
    }

    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T> {
        let (answer, answered) = sync_channel(1);
        let gone = || anyhow!("the thread of the packet queue has ended");
        self.commands.send(command(answer)).map_err(|_| gone())?;
        // A full buffer wakes it as well.
        let _ = (&self.wake).write(&[0]);
        answered
            .recv_timeout(ANSWER_LIMIT)
            .map_err(|_| anyhow!("the thread of the packet queue does not answer"))
    }
}

/// What the thread keeps.
struct Keeper {
    queue: PacketQueue,
    raw: OwnedFd,
    hosts: HashMap<Ipv4Addr, HostIndex>,
    links: BTreeMap<Link, LinkState>,
    /// Packets that wait, the earliest due first.
    held: BTreeMap<(Instant, u64), Held>,
    order: u64,
    seed: u64,
}

struct LinkState {
    how: Disturbance,
    rng: ChaCha8Rng,
    free_at: Instant,
    count: Count,
}

struct Held {
    link: Link,
    what: What,
}

enum What {
    /// The packet itself, with its bytes if they were changed.
    Packet(u32, Option<Vec<u8>>),
    Copy(Vec<u8>),
}

impl Keeper {
    /// Ends when nobody can give commands any more, or the kernel no longer lets it.
    fn work(mut self, commands: &Receiver<Command>, mut woken: UnixStream) {
        if let Err(error) = self.keep(commands, &mut woken) {
            crate::stderr::say(&format!(
                "schism: packets are no longer disturbed: {error:#}"
            ));
        }
    }

    fn keep(&mut self, commands: &Receiver<Command>, woken: &mut UnixStream) -> Result<()> {
        loop {
            self.let_go()?;
            self.wait(woken)?;
            let _ = woken.read(&mut [0; 64]);
            while self.take()? {}
            loop {
                match commands.try_recv() {
                    Ok(command) => self.obey(command)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
        }
    }

    /// Until a packet or a command comes, or one that is held is due.
    fn wait(&self, woken: &UnixStream) -> Result<()> {
        let next = self.held.first_key_value().map(|((due, _), _)| *due);
        let timeout = next.map(|due| due.saturating_duration_since(Instant::now()));
        let mut fds = [
            PollFd::new(self.queue.descriptor(), PollFlags::POLLIN),
            PollFd::new(woken.as_fd(), PollFlags::POLLIN),
        ];
        match ppoll(&mut fds, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for packets"),
        }
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Set(disturbed, cut, answer) => {
                self.set(&disturbed, &cut)?;
                let _ = answer.send(());
            }
            Command::Count(answer) => {
                let counts = self.links.iter().map(|(link, state)| (*link, state.count));
                let _ = answer.send(counts.collect());
            }
        }
        Ok(())
    }

    fn set(&mut self, disturbed: &Disturbed, cut: &Cut) -> Result<()> {
        self.links.retain(|link, _| disturbed.contains_key(link));
        for (link, how) in disturbed {
            let state = self.links.entry(*link).or_insert_with(|| LinkState {
                how: *how,
                rng: stream(self.seed, STREAM + ((link.0 as u64) << 16) + link.1 as u64),
                free_at: Instant::now(),
                count: Count::default(),
            });
            state.how = *how;
        }
        for (key, held) in std::mem::take(&mut self.held) {
            if cut.contains(&held.link) {
                self.discard(&held)?;
            } else if disturbed.contains_key(&held.link) {
                self.held.insert(key, held);
            } else {
                self.release(held)?;
            }
        }
        Ok(())
    }

    /// What is due.
    fn let_go(&mut self) -> Result<()> {
        let now = Instant::now();
        while let Some(first) = self.held.first_entry()
            && first.key().0 <= now
        {
            let held = first.remove();
            self.release(held)?;
        }
        Ok(())
    }

    fn release(&self, held: Held) -> Result<()> {
        match held.what {
            What::Packet(id, bytes) => self.queue.accept(id, bytes.as_deref()),
            What::Copy(bytes) => {
                self.send(&bytes);
                Ok(())
            }
        }
    }

    fn discard(&self, held: &Held) -> Result<()> {
        match held.what {
            What::Packet(id, _) => self.queue.drop_packet(id),
            What::Copy(_) => Ok(()),
        }
    }

    /// A copy that cannot be sent is a copy that was lost.
    fn send(&self, bytes: &[u8]) {
        let Some((_, to)) = ends(bytes) else { return };
        let [a, b, c, d] = to.octets();
        let to = SockaddrIn::new(a, b, c, d, 0);
        let _ = sendto(self.raw.as_raw_fd(), bytes, &to, MsgFlags::MSG_DONTWAIT);
    }

    /// Takes what the kernel has queued; says whether there may be more.
    fn take(&mut self) -> Result<bool> {
        let Self {
            queue,
            hosts,
            links,
            held,
            order,
            ..
        } = self;
        let mut at_once = Vec::new();
        let now = Instant::now();
        let more = queue.receive(|packet| {
            let link = link_of(&packet, hosts);
            let Some((link, state)) = link.and_then(|l| Some((l, links.get_mut(&l)?))) else {
                at_once.push((packet.id, true));
                return;
            };
            for (due, what) in treat(&packet, now, state) {
                match (due, what) {
                    (None, What::Packet(id, _)) => at_once.push((id, false)),
                    (None, What::Copy(_)) => {}
                    (Some(due), what) => {
                        *order += 1;
                        held.insert((due, *order), Held { link, what });
                    }
                }
            }
        })?;
        for (id, passes) in at_once {
            if passes {
                self.queue.accept(id, None)?;
            } else {
                self.queue.drop_packet(id)?;
            }
        }
        self.let_go()?;
        Ok(more)
    }
}

/// What goes on when, for one packet; without a time it is dropped.
fn treat(packet: &Packet<'_>, now: Instant, state: &mut LinkState) -> Vec<(Option<Instant>, What)> {
    let LinkState {
        how,
        rng,
        free_at,
        count,
    } = state;
    count.seen += 1;
    match fate::draw(how, packet.bytes.len(), now, free_at, rng) {
        Fate::Lost => {
            count.lost += 1;
            vec![(None, What::Packet(packet.id, None))]
        }
        Fate::Overflowed => {
            count.overflowed += 1;
            vec![(None, What::Packet(packet.id, None))]
        }
        Fate::Passes {
            due,
            flip,
            copy,
            skips,
        } => {
            count.corrupted += u64::from(flip.is_some());
            count.duplicated += u64::from(copy.is_some());
            count.skipped += u64::from(skips);
            let changed = flip.map(|place| {
                let mut bytes = packet.bytes.to_vec();
                fate::flip(&mut bytes, place);
                bytes
            });
            let copy = copy.map(|due| (Some(due), What::Copy(packet.bytes.to_vec())));
            let itself = (Some(due), What::Packet(packet.id, changed));
            std::iter::once(itself).chain(copy).collect()
        }
    }
}

fn link_of(packet: &Packet<'_>, hosts: &HashMap<Ipv4Addr, HostIndex>) -> Option<Link> {
    let (from, to) = ends(packet.bytes)?;
    Some((*hosts.get(&from)?, *hosts.get(&to)?))
}

/// Source and destination of an IPv4 packet.
fn ends(bytes: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let address = |at: usize| bytes.get(at..at + 4)?.first_chunk::<4>().copied();
    Some((address(12)?.into(), address(16)?.into()))
}
