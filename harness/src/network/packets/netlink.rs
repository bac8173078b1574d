//! The kernel's packet queue, as netlink messages: bind, receive, give a verdict.
//!
//! Our own, and not the `nfq` crate: that one cannot be waited for together with a timer (its descriptor is hidden), keeps 70 kB for each
//! packet that is held back, and its socket is inherited by nodes that are started later. The format is in the kernel's
//! `linux/netfilter/nfnetlink_queue.h`.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    setsockopt, socket, sockopt,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const SUBSYSTEM_QUEUE: u16 = 3 << 8;
const MSG_PACKET: u16 = SUBSYSTEM_QUEUE;
const MSG_VERDICT: u16 = SUBSYSTEM_QUEUE | 1;
const MSG_CONFIG: u16 = SUBSYSTEM_QUEUE | 2;
const NLMSG_ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACK: u16 = 4;

const CFG_CMD: u16 = 1;
const CFG_PARAMS: u16 = 2;
const CFG_QUEUE_MAXLEN: u16 = 3;
const CMD_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;

const ATTR_PACKET_HDR: u16 = 1;
const ATTR_VERDICT_HDR: u16 = 2;
const ATTR_PAYLOAD: u16 = 10;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// Packets that the kernel holds for us at most; what comes on top it drops, and counts.
const LENGTH_MAX: u32 = 100_000;
const RECEIVE_BUFFER: usize = 8 << 20;

/// A bound queue.
#[derive(Debug)]
pub(super) struct PacketQueue {
    socket: OwnedFd,
    number: u16,
    buffer: Vec<u8>,
}

/// A packet that waits for its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'b> {
    /// As the kernel calls it.
    pub(super) id: u32,
    /// From its IP header on.
    pub(super) bytes: &'b [u8],
}

impl PacketQueue {
    /// Binds the queue of this number in the network namespace of the caller.
    pub(super) fn bind(number: u16) -> Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )
        .context("no netlink socket for packet queues")?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))
            .context("cannot bind a netlink socket")?;
        // More than an ordinary user may have; what the machine allows is taken.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
        }
        let mut queue = Self {
            socket,
            number,
            buffer: vec![0; 1 << 17],
        };
        queue.configure(CFG_CMD, &[CMD_BIND, 0, 0, 0])?;
        let mut params = 0xffff_u32.to_be_bytes().to_vec();
        params.push(COPY_PACKET);
        queue.configure(CFG_PARAMS, &params)?;
        queue.configure(CFG_QUEUE_MAXLEN, &LENGTH_MAX.to_be_bytes())?;
        Ok(queue)
    }

    /// To wait for.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Hands over what has arrived; says whether there may be more.
    pub(super) fn receive(&mut self, mut each: impl FnMut(Packet<'_>)) -> Result<bool> {
        match recv(
            self.socket.as_raw_fd(),
            &mut self.buffer,
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(size) => {
                for message in messages(&self.buffer[..size]) {
                    if let Some(packet) = packet(message) {
                        each(packet);
                    }
                }
                Ok(true)
            }
            Err(Errno::EAGAIN) => Ok(false),
            // The kernel had to drop some; it counts them.
            Err(Errno::ENOBUFS | Errno::EINTR) => Ok(true),
            Err(error) => Err(error).context("cannot read from the packet queue"),
        }
    }

    /// Lets a packet go on, changed to these bytes if there are any.
    pub(super) fn accept(&self, id: u32, bytes: Option<&[u8]>) -> Result<()> {
        self.verdict(NF_ACCEPT, id, bytes)
    }

    /// Drops a packet.
    pub(super) fn drop_packet(&self, id: u32) -> Result<()> {
        self.verdict(NF_DROP, id, None)
    }

    fn verdict(&self, verdict: u32, id: u32, bytes: Option<&[u8]>) -> Result<()> {
        let mut header = verdict.to_be_bytes().to_vec();
        header.extend(id.to_be_bytes());
        let mut attributes = attribute(ATTR_VERDICT_HDR, &header);
        if let Some(bytes) = bytes {
            attributes.extend(attribute(ATTR_PAYLOAD, bytes));
        }
        self.send(MSG_VERDICT, REQUEST, &attributes)
            .context("cannot give a packet its verdict")
    }

    fn configure(&mut self, kind: u16, value: &[u8]) -> Result<()> {
        self.send(MSG_CONFIG, REQUEST | ACK, &attribute(kind, value))?;
        let size = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())
            .context("the kernel does not answer about its packet queue")?;
        match messages(&self.buffer[..size]).next().and_then(answer) {
            Some(0) => Ok(()),
            Some(code) => Err(Errno::from_raw(-code)).context("the kernel refuses a packet queue"),
            None => bail!("the kernel's answer about its packet queue is not understood"),
        }
    }

    fn send(&self, kind: u16, flags: u16, attributes: &[u8]) -> Result<()> {
        let message = message(kind, flags, self.number, attributes);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(
            self.socket.as_raw_fd(),
            &message,
            &kernel,
            MsgFlags::empty(),
        )
        .context("cannot talk to the packet queue")?;
        Ok(())
    }
}

fn message(kind: u16, flags: u16, queue: u16, attributes: &[u8]) -> Vec<u8> {
    let length = 20 + attributes.len();
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence and port: the kernel fills in the one and needs not the other.
    message.extend([0; 8]);
    // Any family, version 0, the queue's number.
    message.extend([0, 0]);
    message.extend(queue.to_be_bytes());
    message.extend(attributes);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut attribute = Vec::with_capacity(length.next_multiple_of(4));
    attribute.extend((length as u16).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(length.next_multiple_of(4), 0);
    attribute
}

/// The messages of one datagram: kind, and what follows the header.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.first_chunk().copied()?) as usize;
        let message = bytes.get(..length)?;
        let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, message.get(16..)?))
    })
}

/// The error code of an acknowledgement; 0 is none.
fn answer((kind, body): (u16, &[u8])) -> Option<i32> {
    (kind == NLMSG_ERROR)
        .then(|| body.first_chunk().copied().map(i32::from_ne_bytes))
        .flatten()
}

fn packet((kind, body): (u16, &[u8])) -> Option<Packet<'_>> {
    if kind != MSG_PACKET {
        return None;
    }
    let (mut id, mut bytes): (Option<u32>, &[u8]) = (None, &[]);
    let mut rest = body.get(4..)?;
    while let Some([a, b, c, d]) = rest.first_chunk().copied() {
        let (length, kind) = (
            u16::from_ne_bytes([a, b]) as usize,
            u16::from_ne_bytes([c, d]),
        );
        let value = rest.get(4..length)?;
        match kind {
            ATTR_PACKET_HDR => id = value.first_chunk().copied().map(u32::from_be_bytes),
            ATTR_PAYLOAD => bytes = value,
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Packet { id: id?, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_from_its_message() {
        let mut attributes = attribute(ATTR_PACKET_HDR, &[0, 0, 0, 7, 8, 0, 2]);
        attributes.extend(attribute(9, &[1, 2, 3]));
        attributes.extend(attribute(ATTR_PAYLOAD, &[0x45, 1, 2]));
        let mut bytes = message(MSG_PACKET, 0, 5, &attributes);
        bytes.extend(message(NLMSG_ERROR, 0, 0, &[]));
        let read: Vec<_> = messages(&bytes).collect();
        assert_eq!(read.len(), 2);
        let wanted = Packet {
            id: 7,
            bytes: &[0x45, 1, 2],
        };
        assert_eq!(packet(read[0]), Some(wanted));
        assert_eq!(packet(read[1]), None);
    }

    #[test]
    fn what_is_cut_short_is_no_packet() {
        let whole = message(
            MSG_PACKET,
            0,
            5,
            &attribute(ATTR_PACKET_HDR, &[0, 0, 0, 7, 8, 0, 2]),
        );
        for length in 0..whole.len() - 1 {
            assert!(messages(&whole[..length]).next().is_none(), "{length}");
        }
    }
}
