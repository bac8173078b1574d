//! What became of each packet between two hosts.
//!
//! A packet that came in on its sender's link is looked for among those that went out on its receiver's. It is called lost only where the
//! receiver's capture covers its time: it may not reach back so far, may have missed packets, or have ended.

use super::PARTS;
use super::read::{Frame, Seen, Transport};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// A stretch in which a capture has missed packets: since 1970.
pub type Gap = (Duration, Duration);

/// What is known of one host's capture, besides its packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The host.
    pub host: String,
    /// Its address.
    pub ip: Ipv4Addr,
    /// When its capture began and ended, since 1970; without an end, the controller was killed.
    pub begun: Duration,
    /// The same.
    pub ended: Option<Duration>,
    /// Where it has missed packets.
    pub gaps: Vec<Gap>,
}

/// What became of a packet, or of the packets of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It went out on the receiver's link.
    Delivered,
    /// A part of it did.
    Partly,
    /// It never did.
    Lost,
    /// The receiver's capture does not cover its time.
    Unknown,
    /// The router made it: the reset with which a cut link answers.
    FromRouter,
}

/// What the clocks of two links may differ by: they are one clock, which may be set while it runs.
const SLACK: Duration = Duration::from_millis(1);
/// What was sent so shortly before the end of a capture may have been on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// No packet of this size is cut into smaller ones on its way.
const UNCUT: u32 = 1448;

/// One host's capture, read.
#[derive(Debug)]
pub(super) struct Capture<'a> {
    pub(super) host: String,
    ip: Ipv4Addr,
    /// Its packets, by who sent them and whom they are for.
    frames: BTreeMap<(Ipv4Addr, Ipv4Addr), Vec<Frame<'a>>>,
    /// What it covers; until the end of time where it has ended in order and nothing is known to lie behind it.
    from: Duration,
    to: Duration,
    gaps: Vec<Gap>,
    begun: Duration,
}

impl<'a> Capture<'a> {
    pub(super) fn new(window: &Window, frames: Vec<Frame<'a>>, parts: usize, whole: bool) -> Self {
        let last = frames.last().map_or(Duration::ZERO, |f| f.at);
        let first = frames.first().map_or(window.begun, |f| f.at);
        let from = match parts {
            0 => Duration::MAX,
            // As many as there can be: older packets may have given way.
            PARTS => first,
            _ => window.begun,
        };
        let to = window.ended.filter(|_| whole).unwrap_or(last);
        let mut by_ends: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for frame in frames {
            let ends = (frame.from, frame.to);
            by_ends.entry(ends).or_default().push(frame);
        }
        Self {
            host: window.host.clone(),
            ip: window.ip,
            frames: by_ends,
            from,
            to: to.saturating_sub(ON_ITS_WAY),
            gaps: window.gaps.clone(),
            begun: window.begun,
        }
    }

    /// Its packets from one host to another, in their order.
    fn between(&self, from: Ipv4Addr, to: Ipv4Addr) -> &[Frame<'a>] {
        self.frames.get(&(from, to)).map_or(&[][..], Vec::as_slice)
    }

    /// Whether everything that was sent to this host at this time must be in it.
    fn covers(&self, at: Duration) -> bool {
        let in_gap = |(from, to): &Gap| *from <= at + SLACK && at <= *to + SLACK;
        self.from <= at && at <= self.to && !self.gaps.iter().any(in_gap)
    }

    /// What it lacks, in words.
    pub(super) fn note(&self) -> Option<String> {
        if !self.gaps.is_empty() {
            return Some(format!(
                "The capture of {} missed packets in {} stretches: what was sent to it then is not called lost.",
                self.host,
                self.gaps.len()
            ));
        }
        let late = self.from.saturating_sub(self.begun);
        (late > Duration::from_millis(100) && self.from != Duration::MAX).then(|| {
            format!(
                "The capture of {} reaches back only to {:.1} s after its beginning: older parts gave way to newer ones.",
                self.host,
                late.as_secs_f64()
            )
        })
    }
}

/// A packet from one host to another, with what became of it.
pub(super) struct Followed<'a> {
    pub(super) frame: Frame<'a>,
    pub(super) sent: Duration,
    pub(super) arrived: Option<Duration>,
    pub(super) fate: Fate,
}

/// One that came in, while it is looked for.
struct Sent<'a> {
    frame: Frame<'a>,
    arrived: Option<Duration>,
    /// Bytes that have gone out; of one that carries none, one.
    out: u64,
}

impl Sent<'_> {
    fn whole(&self) -> bool {
        self.out >= u64::from(self.frame.seen.length.max(1))
    }
}

/// Follows the packets of one direction, by the time of sending.
pub(super) fn follow<'a>(from: &Capture<'a>, to: &Capture<'a>) -> Vec<Followed<'a>> {
    let came_in = from.between(from.ip, to.ip).iter();
    let mut sent: Vec<Sent<'_>> = came_in
        .map(|frame| Sent {
            frame: *frame,
            arrived: None,
            out: 0,
        })
        .collect();
    let mut by_seen: BTreeMap<Seen, Vec<usize>> = BTreeMap::new();
    let mut large: BTreeMap<(u16, u16), Vec<usize>> = BTreeMap::new();
    for (place, packet) in sent.iter().enumerate() {
        let seen = packet.frame.seen;
        by_seen.entry(seen).or_default().push(place);
        if let (Transport::Tcp { ports, .. }, true) = (seen.transport, seen.length > UNCUT) {
            large.entry(ports).or_default().push(place);
        }
    }
    let mut foreign = Vec::new();
    for frame in to.between(from.ip, to.ip) {
        let places = by_seen.get(&frame.seen).map_or(&[][..], Vec::as_slice);
        let in_time = |place: &&usize| sent[**place].frame.at <= frame.at + SLACK;
        let free = places
            .iter()
            .rev()
            .filter(in_time)
            .find(|p| !sent[**p].whole());
        match free.or_else(|| places.first()) {
            Some(place) => {
                let packet = &mut sent[*place];
                packet.out += u64::from(frame.seen.length.max(1));
                packet.arrived.get_or_insert(frame.at);
            }
            None if take_piece(&mut sent, &large, frame) => {}
            None => foreign.push(*frame),
        }
    }
    let known = sent.iter().map(|packet| Followed {
        frame: packet.frame,
        sent: packet.frame.at,
        arrived: packet.arrived,
        fate: match packet.out {
            0 if to.covers(packet.frame.at) => Fate::Lost,
            0 => Fate::Unknown,
            _ if !packet.whole() && to.covers(packet.frame.at) => Fate::Partly,
            _ => Fate::Delivered,
        },
    });
    let mut all: Vec<Followed<'_>> = known.chain(foreign.iter().map(arrived_only)).collect();
    all.sort_by_key(|packet| packet.sent);
    all
}

/// A packet whose sending no capture has: the router's own, or one from before the sender's capture.
fn arrived_only<'a>(frame: &Frame<'a>) -> Followed<'a> {
    let rst = matches!(frame.seen.transport, Transport::Tcp { rst: true, .. });
    Followed {
        frame: *frame,
        sent: frame.at,
        arrived: Some(frame.at),
        fate: if rst {
            Fate::FromRouter
        } else {
            Fate::Delivered
        },
    }
}

/// A large packet may go out in pieces: the kernel puts segments together, and takes them apart where they wait in a queue.
fn take_piece(
    sent: &mut [Sent<'_>],
    large: &BTreeMap<(u16, u16), Vec<usize>>,
    piece: &Frame<'_>,
) -> bool {
    let Transport::Tcp {
        ports, sequence, ..
    } = piece.seen.transport
    else {
        return false;
    };
    let length = u64::from(piece.seen.length);
    let holds = |place: &&usize| {
        let packet = &sent[**place];
        let Transport::Tcp {
            sequence: begin, ..
        } = packet.frame.seen.transport
        else {
            return false;
        };
        let offset = u64::from(sequence.wrapping_sub(begin));
        let inside = offset + length <= u64::from(packet.frame.seen.length);
        inside && packet.frame.at <= piece.at + SLACK
    };
    let mut places = large.get(&ports).map_or(&[][..], Vec::as_slice).iter();
    let Some(place) = places.rfind(holds).filter(|_| length > 0) else {
        return false;
    };
    let packet = &mut sent[*place];
    packet.out += length;
    packet.arrived = Some(piece.at);
    true
}
