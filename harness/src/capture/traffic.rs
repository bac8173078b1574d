//! What passed between the hosts: packets put together into messages, each with what it says and what became of it.
//!
//! No stream is put together again: a segment that begins a request or an answer begins a message, and those that do not go on with the one before.

use super::fate::{Capture, Fate, Followed, Window, follow};
use super::read::{self, Parts, Transport};
use anyhow::Result;
use schism_targets::glance::{Glance, Way, glance};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

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
