//! Reading a capture: from the bytes of a file to packets.
//!
//! A file may be torn (the controller was killed), and what stands in it came from servers under test: what cannot be understood is left out.

use super::{PARTS, part};
use anyhow::{Context, Result};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_file::pcap::PcapParser;
use pcap_file::{PcapError, TsResolution};
use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// A packet as one capture has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When the kernel saw it: since 1970.
    pub at: Duration,
    /// Who sent it.
    pub from: Ipv4Addr,
    /// Whom it is for.
    pub to: Ipv4Addr,
    /// What does not change on its way.
    pub seen: Seen,
    /// The beginning of what it carries.
    pub head: &'a [u8],
}

/// What tells one packet of a link from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// The number that the sender's kernel gave it.
    pub id: u16,
    /// Bytes that it carries.
    pub length: u32,
    /// The rest.
    pub transport: Transport,
}

/// How it is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// A segment of a connection.
    Tcp {
        /// From and to.
        ports: (u16, u16),
        /// The number of its first byte.
        sequence: u32,
        /// The number of the byte that is waited for.
        acknowledged: u32,
        /// It opens the connection.
        syn: bool,
        /// It closes its direction.
        fin: bool,
        /// It ends the connection at once.
        rst: bool,
    },
    /// A datagram.
    Udp {
        /// From and to.
        ports: (u16, u16),
        /// What it carries, in a few bits: datagrams often have no number.
        digest: u64,
    },
    /// Something else, by the number of its protocol.
    Other(u8),
}

/// The parts of one host's capture, the oldest first; and what is wrong with them, in words.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) bytes: Vec<Vec<u8>>,
    /// How many of them are there.
    pub(super) whole: bool,
}

impl Parts {
    /// Reads what there is; none where there is no capture.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut parts = Self::default();
        let mut missing = Vec::new();
        for age in (0..PARTS).rev() {
            let path = folder.join(part(age));
            match fs::read(&path) {
                Ok(bytes) => parts.bytes.push(bytes),
                Err(error) if error.kind() == ErrorKind::NotFound => missing.push(age),
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", path.display()));
                }
            }
        }
        // Older parts alone may be missing: they are not begun yet.
        let begun = PARTS - missing.len();
        parts.whole = missing.iter().all(|age| *age >= begun);
        Ok(parts)
    }
}

/// Gives each packet of a file: its time, its length, its head. Says what ended the file before its end, if anything.
pub(super) fn records<'a>(
    bytes: &'a [u8],
    mut take: impl FnMut(Duration, u32, &'a [u8]),
) -> Option<String> {
    let (mut rest, parser) = match PcapParser::new(bytes) {
        Ok(begun) => begun,
        Err(PcapError::IncompleteBuffer) => return Some("is cut in its first line".to_owned()),
        Err(_) => return Some("is no capture".to_owned()),
    };
    let unit = match parser.header().ts_resolution {
        TsResolution::NanoSecond => 1,
        TsResolution::MicroSecond => 1000,
    };
    while !rest.is_empty() {
        // Not the checked form: it refuses packets that are longer than what is kept of them.
        let Ok((after, record)) = parser.next_raw_packet(rest) else {
            return Some(format!(
                "is torn: its last {} bytes were left out",
                rest.len()
            ));
        };
        let head = &rest[rest.len() - after.len() - record.data.len()..rest.len() - after.len()];
        let nanos = u64::from(record.ts_frac) * unit;
        let at = Duration::from_secs(u64::from(record.ts_sec)) + Duration::from_nanos(nanos);
        take(at, record.orig_len, head);
        rest = after;
    }
    None
}

/// Understands one packet, where it is one of IPv4.
pub(super) fn frame(at: Duration, length: u32, bytes: &[u8]) -> Option<Frame<'_>> {
    let packet = LaxSlicedPacket::from_ethernet(bytes).ok()?;
    let Some(LaxNetSlice::Ipv4(ip)) = &packet.net else {
        return None;
    };
    let header = ip.header();
    // Packets that the kernel has put together may be too long for the header to say it.
    let total = match header.total_len() {
        0 => length.saturating_sub(14),
        total => u32::from(total),
    };
    let inside = total.saturating_sub(u32::from(header.ihl()) * 4);
    let (transport, own, head) = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (
            Transport::Tcp {
                ports: (tcp.source_port(), tcp.destination_port()),
                sequence: tcp.sequence_number(),
                acknowledged: if tcp.ack() {
                    tcp.acknowledgment_number()
                } else {
                    0
                },
                syn: tcp.syn(),
                fin: tcp.fin(),
                rst: tcp.rst(),
            },
            u32::from(tcp.data_offset()) * 4,
            tcp.payload(),
        ),
        Some(TransportSlice::Udp(udp)) => (
            Transport::Udp {
                ports: (udp.source_port(), udp.destination_port()),
                digest: digest(udp.payload()),
            },
            8,
            udp.payload(),
        ),
        _ => (
            Transport::Other(header.protocol().0),
            0,
            &bytes[bytes.len()..],
        ),
    };
    let length = inside.saturating_sub(own);
    Some(Frame {
        at,
        from: header.source_addr(),
        to: header.destination_addr(),
        seen: Seen {
            id: header.identification(),
            length,
            transport,
        },
        // A frame may be filled up to the shortest that there is.
        head: &head[..head.len().min(length as usize)],
    })
}

/// FNV-1a (Fowler, Noll and Vo): the same in every version.
fn digest(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
