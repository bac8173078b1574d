//! What became of each packet between two hosts, and what it was.
//!
//! A packet that came in on its sender's link is looked for among those that went out on its receiver's. It is called lost only where the
//! receiver's capture covers its time: it may not reach back so far, may have missed packets, or have ended.

use super::read::{self, Frame, Parts, Seen, Transport};
use anyhow::Result;
use schism_targets::glance::{Glance, Way, glance};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
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

/// What became of a message.
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

/// Packets that belong together: a request, an answer, or a sign of TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The place of its sender among the hosts.
    pub from: usize,
    /// The place of its receiver.
    pub to: usize,
    /// Its ports, from and to; those of a connection tell whose answer it is.
    pub ports: (u16, u16),
    /// When its first packet came to the router, since 1970; for one that the router made, when that went out.
    pub sent: Duration,
    /// When its last packet went out, where that is known.
    pub arrived: Option<Duration>,
    /// What it says, where it can be read.
    pub glance: Option<Glance>,
    /// What it is where it cannot: `connect`, `reset`, ...
    pub sign: &'static str,
    /// Whether its first packet had been sent before.
    pub again: bool,
    /// Packets.
    pub packets: u64,
    /// Of those, how many were lost.
    pub lost: u64,
    /// Of those, how many nobody knows of.
    pub unknown: u64,
    /// Whether a part of one of them was lost.
    pub torn: bool,
    /// Bytes that it carries.
    pub bytes: u64,
}

impl Message {
    /// What became of it as a whole.
    pub fn fate(&self) -> Fate {
        match (self.lost, self.unknown) {
            _ if self.sign == FROM_ROUTER => Fate::FromRouter,
            _ if self.torn => Fate::Partly,
            (0, 0) => Fate::Delivered,
            (0, _) => Fate::Unknown,
            (lost, _) if lost == self.packets => Fate::Lost,
            _ => Fate::Partly,
        }
    }
}

/// A packet that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// When it came to the router, since 1970.
    pub at: Duration,
    /// The places of sender and receiver.
    pub link: (usize, usize),
    /// The message that it belongs to, by its place; none for a bare acknowledgement.
    pub message: Option<usize>,
    /// What TCP says of it.
    pub sign: &'static str,
    /// Bytes that it carries.
    pub length: u32,
}

/// What passed between the hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The hosts' names.
    pub hosts: Vec<String>,
    /// By the time of sending.
    pub messages: Vec<Message>,
    /// Every packet that was lost, by time.
    pub lost: Vec<Lost>,
    /// What the captures lack, in words.
    pub notes: Vec<String>,
}

const CONNECT: &str = "connect";
const CONNECTED: &str = "connected";
const CLOSE: &str = "close";
const RESET: &str = "reset";
const FROM_ROUTER: &str = "reset by the cut link";
const ACKNOWLEDGED: &str = "acknowledgement";
const DATA: &str = "data";
const DATAGRAM: &str = "datagram";
const OTHER: &str = "packet";

/// What the clocks of two links may differ by: they are one clock, which may be set while it runs.
const SLACK: Duration = Duration::from_millis(1);
/// What was sent so shortly before the end of a capture may have been on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// No packet of this size is cut into smaller ones on its way.
const UNCUT: u32 = 1448;

impl Traffic {
    /// Reads the captures of these hosts, each in the folder of its name.
    pub fn read(folder: &Path, windows: &[Window]) -> Result<Self> {
        let mut notes = Vec::new();
        let parts = windows
            .iter()
            .map(|w| Parts::read(&folder.join(&w.host)))
            .collect::<Result<Vec<_>>>()?;
        let mut taken = Vec::new();
        for (window, parts) in windows.iter().zip(&parts) {
            let mut frames = Vec::new();
            if parts.bytes.is_empty() {
                notes.push(format!("The capture of {} is not there.", window.host));
            } else if !parts.whole {
                notes.push(format!(
                    "A newer part of the capture of {} is not there.",
                    window.host
                ));
            }
            for bytes in &parts.bytes {
                let torn = read::records(bytes, |at, length, head| {
                    frames.extend(read::frame(at, length, head));
                });
                notes.extend(
                    torn.map(|why| format!("A part of the capture of {} {why}.", window.host)),
                );
            }
            taken.push(Capture::new(window, frames, parts.bytes.len(), parts.whole));
        }
        let mut traffic = Self::of(&taken);
        notes.append(&mut traffic.notes);
        traffic.notes = notes;
        Ok(traffic)
    }

    /// Matches what came in with what went out.
    pub(super) fn of(captures: &[Capture<'_>]) -> Self {
        let mut traffic = Self {
            hosts: captures.iter().map(|c| c.host.clone()).collect(),
            ..Self::default()
        };
        for (i, from) in captures.iter().enumerate() {
            for (j, to) in captures.iter().enumerate().filter(|(j, _)| *j != i) {
                traffic.take_link((i, j), follow(from, to));
            }
        }
        traffic.sort();
        traffic.notes = captures.iter().filter_map(Capture::note).collect();
        traffic
    }

    /// Puts the packets of one direction together into messages.
    fn take_link(&mut self, link: (usize, usize), packets: Vec<Followed<'_>>) {
        let mut flows: BTreeMap<(u16, u16), Flow> = BTreeMap::new();
        for packet in packets {
            let place = match packet.frame.seen.transport {
                Transport::Tcp { ports, .. } => {
                    let flow = flows.entry(ports).or_default();
                    self.take_segment(link, flow, &packet)
                }
                Transport::Udp { .. } => Some(self.begin(link, &packet, DATAGRAM)),
                Transport::Other(_) => Some(self.begin(link, &packet, OTHER)),
            };
            if packet.fate == Fate::Lost {
                let sign = match place {
                    Some(place) => self.messages[place].sign,
                    None => ACKNOWLEDGED,
                };
                self.lost.push(Lost {
                    at: packet.sent,
                    link,
                    message: place,
                    sign,
                    length: packet.frame.seen.length,
                });
            }
        }
    }

    /// The place of the message that it begins or goes on with; none for a bare acknowledgement.
    fn take_segment(
        &mut self,
        link: (usize, usize),
        flow: &mut Flow,
        packet: &Followed<'_>,
    ) -> Option<usize> {
        let Transport::Tcp {
            sequence,
            syn,
            fin,
            rst,
            acknowledged,
            ..
        } = packet.frame.seen.transport
        else {
            return None;
        };
        let length = packet.frame.seen.length;
        if length == 0 {
            let sign = match (packet.fate, rst, syn, fin) {
                (Fate::FromRouter, ..) => FROM_ROUTER,
                (_, true, ..) => RESET,
                (_, _, true, _) if acknowledged == 0 => CONNECT,
                (_, _, true, _) => CONNECTED,
                (_, _, _, true) => CLOSE,
                _ => return None,
            };
            return Some(self.begin(link, packet, sign));
        }
        let end = sequence.wrapping_add(length);
        let again = flow.end.is_some_and(|known| !after(end, known));
        if !again {
            flow.end = Some(end);
        }
        let before = flow
            .begun
            .iter()
            .rev()
            .find(|(at, _)| *at == sequence)
            .map(|(_, place)| *place);
        if let (true, Some(first)) = (again, before) {
            let place = self.begin(link, packet, DATA);
            self.messages[place].glance = self.messages[first].glance.clone();
            self.messages[place].again = true;
            return Some(place);
        }
        let glance = glance(packet.frame.head);
        match (glance, flow.begun.last()) {
            (None, Some((_, place))) => {
                self.go_on(*place, packet);
                Some(*place)
            }
            (glance, _) => {
                let place = self.begin(link, packet, DATA);
                self.messages[place].glance = glance;
                self.messages[place].again = again;
                flow.begun.push((sequence, place));
                if flow.begun.len() > BEGUN_MAX {
                    flow.begun.remove(0);
                }
                Some(place)
            }
        }
    }

    fn begin(
        &mut self,
        (from, to): (usize, usize),
        packet: &Followed<'_>,
        sign: &'static str,
    ) -> usize {
        self.messages.push(Message {
            from,
            to,
            ports: match packet.frame.seen.transport {
                Transport::Tcp { ports, .. } | Transport::Udp { ports, .. } => ports,
                Transport::Other(_) => (0, 0),
            },
            sent: packet.sent,
            arrived: packet.arrived,
            glance: None,
            sign,
            again: false,
            packets: 0,
            lost: 0,
            unknown: 0,
            torn: false,
            bytes: 0,
        });
        let place = self.messages.len() - 1;
        self.go_on(place, packet);
        place
    }

    fn go_on(&mut self, place: usize, packet: &Followed<'_>) {
        let message = &mut self.messages[place];
        message.packets += 1;
        message.bytes += u64::from(packet.frame.seen.length);
        message.lost += u64::from(packet.fate == Fate::Lost);
        message.unknown += u64::from(packet.fate == Fate::Unknown);
        message.torn |= packet.fate == Fate::Partly;
        message.arrived = message.arrived.max(packet.arrived);
    }

    fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.messages.len()).collect();
        order.sort_by_key(|place| self.messages[*place].sent);
        let mut places = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            places[*old] = new;
        }
        for lost in &mut self.lost {
            lost.message = lost.message.map(|old| places[old]);
        }
        self.messages.sort_by_key(|m| m.sent);
        self.lost.sort_by_key(|l| l.at);
    }

    /// What a message is, in a few words: never empty.
    pub fn words(message: &Message) -> String {
        let what = message.glance.as_ref().map_or(message.sign, |g| &g.what);
        if message.again {
            format!("{what} (again)")
        } else {
            what.to_owned()
        }
    }

    /// Whether it is one of the signs that TCP gives by itself.
    pub fn is_sign(message: &Message) -> bool {
        [CONNECT, CONNECTED, CLOSE, RESET].contains(&message.sign)
    }

    /// Whether it is one of the harness' own datagrams: no target of ours sends any.
    pub fn is_datagram(message: &Message) -> bool {
        message.sign == DATAGRAM
    }

    /// Whether nothing but that somebody is there is in it.
    pub fn is_quiet(message: &Message) -> bool {
        let way = message.glance.as_ref().map(|g| g.way);
        matches!(way, Some(Way::Heartbeat | Way::Heard))
    }
}

/// Messages of one connection whose beginnings are remembered, for when they are sent again.
const BEGUN_MAX: usize = 64;

/// One direction of a connection, as far as it was read.
#[derive(Debug, Default)]
struct Flow {
    /// Behind the last byte that was sent.
    end: Option<u32>,
    /// Where messages began, and their places.
    begun: Vec<(u32, usize)>,
}

/// Whether a number of a byte comes after another one: they begin again at 2^32.
fn after(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}

/// One host's capture, read.
#[derive(Debug)]
pub(super) struct Capture<'a> {
    host: String,
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
            super::PARTS => first,
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

    fn note(&self) -> Option<String> {
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
struct Followed<'a> {
    frame: Frame<'a>,
    sent: Duration,
    arrived: Option<Duration>,
    fate: Fate,
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
fn follow<'a>(from: &Capture<'a>, to: &Capture<'a>) -> Vec<Followed<'a>> {
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
