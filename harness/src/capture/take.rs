//! Taking captures: a packet socket on each of the router's links, and one thread that reads them all.
//!
//! The kernel says when it saw each packet, and how many it dropped because nobody read them in time: where that was is kept, so that
//! a packet which the capture missed is not taken for one that the network lost. No tool is started: tcpdump gives its rights away when
//! it is started as root, and cannot do that in the user namespace of somebody who is not.

use super::HEAD_BYTES;
use super::roll::Rolling;
use crate::arena::Host;
use anyhow::{Context, Result, anyhow, bail};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
    recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use serde_json::{Value, json};
use std::io::IoSliceMut;
use std::net::{Shutdown, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long packets may wait for the disk.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// Packets that are taken from one link before the next has its turn.
const TURN: usize = 256;
/// What a socket may hold while its thread waits; without rights on the host the kernel gives less.
const BUFFER: usize = 16 << 20;
/// Stretches without packets that are told one by one.
const GAPS_MAX: usize = 100;

/// The captures of all hosts, while they are taken.
#[derive(Debug)]
pub struct Taker {
    wake: UnixStream,
    thread: Option<JoinHandle<Result<Vec<Tally>>>>,
}

/// What was taken of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The host.
    pub host: String,
    /// Packets that were written.
    pub packets: u64,
    /// Packets that the kernel dropped because they were not read in time.
    pub missed: u64,
    /// Between which times they were: since 1970.
    pub gaps: Vec<(Duration, Duration)>,
    /// Parts that were begun.
    pub parts: usize,
}

impl Tally {
    /// Takes what the kernel says it has dropped so far: between the packet before, and this one.
    fn note_gap(&mut self, dropped: Option<u32>, before: Duration, at: Duration) {
        let dropped = u64::from(dropped.unwrap_or_default());
        if dropped <= self.missed {
            return;
        }
        self.missed = dropped;
        let full = self.gaps.len() == GAPS_MAX;
        match self.gaps.last_mut() {
            // One that goes on, or one too many.
            Some(last) if full || before <= last.1 => last.1 = at,
            _ => self.gaps.push((before, at)),
        }
    }

    /// As it stands in a history; times in microseconds.
    pub fn to_json(&self) -> Value {
        let us = |at: &Duration| u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let gaps: Vec<_> = self.gaps.iter().map(|(a, b)| [us(a), us(b)]).collect();
        json!({
            "host": self.host,
            "packets": self.packets,
            "missed": self.missed,
            "gaps_us": gaps,
            "parts": self.parts,
        })
    }
}

impl Taker {
    /// Begins captures of all hosts, each in a folder of its name under `folder`. Must run in the router's namespace.
    pub fn start<'a>(hosts: impl Iterator<Item = &'a Host>, folder: &Path) -> Result<Self> {
        let links = hosts
            .map(|host| Link::open(host, &folder.join(&host.name)))
            .collect::<Result<Vec<_>>>()?;
        let (wake, woken) = UnixStream::pair().context("cannot make a pair of sockets")?;
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || work(links, &woken))
            .context("cannot start the thread of the captures")?;
        Ok(Self {
            wake,
            thread: Some(thread),
        })
    }

    /// Takes what has passed until now, and ends.
    pub fn finish(mut self) -> Result<Vec<Tally>> {
        let _ = self.wake.shutdown(Shutdown::Both);
        let thread = self.thread.take().expect("it is taken once");
        thread
            .join()
            .map_err(|_| anyhow!("the thread of the captures panicked"))?
    }
}

fn work(mut links: Vec<Link>, woken: &UnixStream) -> Result<Vec<Tally>> {
    let mut flushed = Instant::now();
    loop {
        let mut fds: Vec<PollFd<'_>> = links
            .iter()
            .map(|link| PollFd::new(link.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        fds.push(PollFd::new(woken.as_fd(), PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::from(FLUSH_EVERY.as_millis() as u16)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for packets"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() != Some(false)).collect();
        drop(fds);
        let end = ready.last() == Some(&true);
        for (link, _) in links.iter_mut().zip(&ready).filter(|(_, ready)| **ready) {
            link.take(TURN)?;
        }
        if end || flushed.elapsed() >= FLUSH_EVERY {
            links.iter_mut().try_for_each(|link| link.file.flush())?;
            flushed = Instant::now();
        }
        if end {
            return links.into_iter().map(Link::finish).collect();
        }
    }
}

/// One of the router's links.
#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    interface: usize,
    file: Rolling,
    tally: Tally,
    /// When the last packet passed.
    last: Duration,
}

/// What is known of a packet besides its bytes.
struct Taken {
    length: usize,
    at: Duration,
    /// How many the kernel has dropped on this socket before it.
    dropped: Option<u32>,
    interface: usize,
}

impl Link {
    fn open(host: &Host, folder: &Path) -> Result<Self> {
        let (socket, interface) = listen(&host.router_interface())?;
        Ok(Self {
            socket,
            interface,
            file: Rolling::create(folder)?,
            tally: Tally {
                host: host.name.clone(),
                packets: 0,
                missed: 0,
                gaps: Vec::new(),
                parts: 1,
            },
            last: Duration::ZERO,
        })
    }

    /// Takes at most so many packets; says whether there were as many.
    fn take(&mut self, most: usize) -> Result<bool> {
        let mut head = [0; HEAD_BYTES];
        for _ in 0..most {
            let Some(taken) = receive(&self.socket, &mut head)? else {
                return Ok(false);
            };
            // Between its making and its binding the socket heard every link.
            if taken.interface != self.interface {
                continue;
            }
            self.tally.note_gap(taken.dropped, self.last, taken.at);
            let head = &head[..taken.length.min(HEAD_BYTES)];
            self.file.write(taken.at, taken.length, head)?;
            self.tally.packets += 1;
            self.last = taken.at;
        }
        Ok(true)
    }

    fn finish(mut self) -> Result<Tally> {
        while self.take(TURN)? {}
        self.file.flush()?;
        self.tally.parts = self.file.parts();
        Ok(self.tally)
    }
}

/// A socket that hears every packet of one of our interfaces, and that interface's number.
fn listen(interface: &str) -> Result<(OwnedFd, usize)> {
    let addresses = getifaddrs().context("cannot list the router's interfaces")?;
    let link = addresses
        .filter(|a| a.interface_name == interface)
        .find_map(|a| a.address?.as_link_addr().copied())
        .with_context(|| format!("the router has no interface {interface}"))?;
    let socket = packet_socket().context("cannot open a packet socket")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)
        .context("the kernel gives no time stamps")?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)
        .context("the kernel does not say which packets it drops")?;
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        let _ = setsockopt(&socket, sockopt::RcvBuf, &BUFFER);
    }
    bind(socket.as_raw_fd(), &link).with_context(|| format!("cannot listen on {interface}"))?;
    Ok((socket, link.ifindex()))
}

fn packet_socket() -> nix::Result<OwnedFd> {
    socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::EthAll,
    )
}

/// The next packet, where there is one: its head goes into the buffer.
fn receive(socket: &OwnedFd, head: &mut [u8]) -> Result<Option<Taken>> {
    let mut space = cmsg_space!(TimeSpec, u32);
    let mut parts = [IoSliceMut::new(head)];
    // With this flag the answer is how long it was, not how much of it fits.
    let flags = MsgFlags::MSG_TRUNC;
    let got = match recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
        Ok(got) => got,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(error) => return Err(error).context("cannot take a packet"),
    };
    let mut taken = Taken {
        length: got.bytes,
        at: Duration::ZERO,
        dropped: None,
        interface: got.address.map_or(0, |a| a.ifindex()),
    };
    for message in got
        .cmsgs()
        .context("cannot read what the kernel says of a packet")?
    {
        match message {
            ControlMessageOwned::ScmTimestampns(at) => taken.at = Duration::from(at),
            ControlMessageOwned::RxqOvfl(dropped) => taken.dropped = Some(dropped),
            _ => {}
        }
    }
    Ok(Some(taken))
}

/// Whether this kernel has packet sockets at all; whether they may be opened shows only in the arena.
pub fn supported() -> Result<()> {
    match packet_socket() {
        Err(Errno::EAFNOSUPPORT) => {
            bail!(
                "this kernel has no packet sockets, so nothing can be captured: modprobe af_packet (as root)"
            )
        }
        _ => Ok(()),
    }
}

/// Hears a datagram on its way to this host. Must run in the router's namespace.
pub fn works(host: &Host) -> Result<()> {
    let (listener, _) = listen(&host.router_interface())?;
    let sender = UdpSocket::bind("0.0.0.0:0").context("cannot open a socket")?;
    sender
        .send_to(b"heard?", (host.ip, 9))
        .context("cannot send a datagram")?;
    let begun = Instant::now();
    let mut head = [0; HEAD_BYTES];
    while begun.elapsed() < Duration::from_secs(1) {
        if receive(&listener, &mut head)?
            .is_some_and(|t| head[..t.length.min(HEAD_BYTES)].ends_with(b"heard?"))
        {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("a datagram passed unheard")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally {
            host: "n1".to_owned(),
            packets: 0,
            missed: 0,
            gaps: Vec::new(),
            parts: 1,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn where_packets_were_missed_is_kept() {
        let mut tally = tally();
        for (dropped, before, at) in [
            (None, 0, 1),
            (Some(3), 1, 5),
            // The same count again: nothing new was dropped.
            (Some(3), 5, 6),
            (Some(4), 9, 12),
            // It goes on where the last one ended.
            (Some(9), 12, 20),
        ] {
            tally.note_gap(dropped, ms(before), ms(at));
        }
        assert_eq!(tally.missed, 9);
        assert_eq!(tally.gaps, [(ms(1), ms(5)), (ms(9), ms(20))]);
    }

    #[test]
    fn the_last_of_many_gaps_holds_the_rest() {
        let mut tally = tally();
        for i in 0..5000 {
            tally.note_gap(
                Some(i + 1),
                ms(u64::from(i) * 10),
                ms(u64::from(i) * 10 + 1),
            );
        }
        assert_eq!(tally.gaps.len(), GAPS_MAX);
        assert_eq!(tally.gaps.last().map(|gap| gap.1), Some(ms(49_991)));
    }
}
