//! Which messages are shown around a moment: those of the operations in question, those that were lost, and what the nodes told one another.
//!
//! Between five nodes pass thousands of packets a second. So messages of one kind between the same two hosts become one arrow, the
//! least telling ones are left out beyond a number of arrows, and what is left out is counted.

use super::escape;
use super::scene::Scene;
use crate::capture::{Captures, Fate, Message, Traffic};
use schism_history::{Op, Process};
use schism_targets::glance::Way;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Arrows of one diagram.
pub(super) const ARROWS_MAX: usize = 32;
/// Hosts that are shown whether they take part or not.
const HOSTS_ALL: usize = 8;
/// Stretches of time in one diagram.
const SPANS_MAX: usize = 3;
/// What is shown before and after an operation, in ns: a lost packet is sent again after 200 ms.
const BEFORE: f64 = 5e6;
const AFTER: f64 = 210e6;
/// Characters of a message.
const WORDS_CHARS: usize = 100;

/// Messages that are drawn, by time.
#[derive(Debug, Default)]
pub(super) struct Diagram {
    pub(super) hosts: Vec<String>,
    pub(super) arrows: Vec<Arrow>,
    /// Moments at which a fault came or went, and where.
    pub(super) marks: Vec<(f64, String)>,
    /// Beginnings of the stretches of time that are shown.
    pub(super) spans: Vec<(f64, f64)>,
    /// What was left out: how many, of what.
    pub(super) left_out: Vec<(u64, &'static str)>,
}

/// One arrow.
#[derive(Debug, Clone)]
pub(super) struct Arrow {
    pub(super) from: usize,
    pub(super) to: usize,
    /// When the first was sent, in ns since the run began.
    pub(super) at: f64,
    /// When the last was.
    pub(super) last: f64,
    /// How long it was under way, where there is one alone.
    pub(super) took: Option<f64>,
    pub(super) words: String,
    pub(super) count: u64,
    pub(super) fate: Fate,
    /// Whether it is of the operations in question.
    pub(super) own: bool,
    rank: Rank,
}

/// How much a message tells: the last ones are left out first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Own,
    Lost,
    Telling,
    Quiet,
}

impl Diagram {
    /// Around operations; empty where nothing was captured then.
    pub(super) fn around(scene: &Scene<'_>, captures: &Captures, ops: &[&Op<'_>]) -> Self {
        let spans: Vec<(f64, f64)> = ops.iter().map(|op| stretch(op)).collect();
        Self::of(scene, captures, &merged(spans), ops)
    }

    /// In these stretches of time.
    pub(super) fn of(
        scene: &Scene<'_>,
        captures: &Captures,
        spans: &[(f64, f64)],
        ops: &[&Op<'_>],
    ) -> Self {
        let traffic = &captures.traffic;
        let mut diagram = Self {
            hosts: traffic
                .hosts
                .iter()
                .map(|h| escape::shorten(h, 12))
                .collect(),
            ..Self::default()
        };
        let mut left_out: BTreeMap<&'static str, u64> = BTreeMap::new();
        for &(from, to) in spans {
            let mut folded = Folded::default();
            let mut asked = Asked::default();
            for message in within(captures, from, to) {
                let own = asked.is_own(message, captures, ops);
                match rank(message, own, traffic) {
                    Ok(rank) => folded.add(arrow(message, captures, ops, rank)),
                    Err(kind) => *left_out.entry(kind).or_default() += 1,
                }
            }
            diagram.arrows.extend(folded.arrows);
            diagram.spans.push((from, to));
        }
        diagram.bound(&mut left_out);
        diagram.left_out = left_out.into_iter().map(|(kind, n)| (n, kind)).collect();
        diagram.arrows.sort_by(|a, b| a.at.total_cmp(&b.at));
        diagram.marks = marks(scene, spans);
        diagram.leave_out_idle_hosts();
        diagram
    }

    /// Where there are many hosts, only those that an arrow begins or ends at have a place.
    fn leave_out_idle_hosts(&mut self) {
        if self.hosts.len() <= HOSTS_ALL {
            return;
        }
        let busy: BTreeSet<usize> = self.arrows.iter().flat_map(|a| [a.from, a.to]).collect();
        let places: BTreeMap<usize, usize> = busy
            .iter()
            .enumerate()
            .map(|(new, old)| (*old, new))
            .collect();
        for arrow in &mut self.arrows {
            (arrow.from, arrow.to) = (places[&arrow.from], places[&arrow.to]);
        }
        self.hosts = busy.iter().map(|old| self.hosts[*old].clone()).collect();
    }

    fn bound(&mut self, left_out: &mut BTreeMap<&'static str, u64>) {
        self.arrows.sort_by(|a, b| {
            (a.rank, a.at)
                .partial_cmp(&(b.rank, b.at))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        for arrow in self.arrows.drain(self.arrows.len().min(ARROWS_MAX)..) {
            let kind = match arrow.rank {
                Rank::Own => "messages of these operations",
                Rank::Lost => "lost messages",
                Rank::Telling => "messages between nodes",
                Rank::Quiet => "heartbeats and their answers",
            };
            *left_out.entry(kind).or_default() += arrow.count;
        }
    }

    /// How many of the messages that are drawn were lost.
    pub(super) fn lost(&self) -> u64 {
        let lost = self
            .arrows
            .iter()
            .filter(|a| matches!(a.fate, Fate::Lost | Fate::Partly));
        lost.map(|a| a.count).sum()
    }

    /// How many are drawn.
    pub(super) fn drawn(&self) -> u64 {
        self.arrows.iter().map(|a| a.count).sum()
    }
}

/// When an operation went on, and a while around it.
fn stretch(op: &Op<'_>) -> (f64, f64) {
    let end = op.completion.map_or(op.start(), |c| c.time);
    (op.start().0 as f64 - BEFORE, end.0 as f64 + AFTER)
}

/// The first stretches, those that touch as one.
fn merged(mut spans: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged.truncate(SPANS_MAX);
    merged
}

/// A packet's time in ns since the run began.
pub(super) fn since_begin(captures: &Captures, at: Duration) -> f64 {
    at.as_nanos() as f64 - captures.origin.as_nanos() as f64
}

fn within(captures: &Captures, from: f64, to: f64) -> &[Message] {
    let messages = &captures.traffic.messages;
    let place = |time: f64| messages.partition_point(|m| since_begin(captures, m.sent) < time);
    let (a, b) = (place(from), place(to));
    &messages[a..b.max(a)]
}

/// Where answers to the operations in question are waited for: from, to, and ports.
#[derive(Debug, Default)]
struct Asked(Vec<((usize, usize), (u16, u16))>);

impl Asked {
    /// Whether a message is the request of one of the operations, or its answer, or carries its value from node to node.
    fn is_own(&mut self, message: &Message, captures: &Captures, ops: &[&Op<'_>]) -> bool {
        let Some(glance) = &message.glance else {
            return false;
        };
        let (link, ports) = ((message.from, message.to), message.ports);
        match glance.way {
            Way::Request => {
                let at = since_begin(captures, message.sent);
                let own = ops.iter().any(|op| asks(op, glance.session, at));
                if own && !message.again {
                    self.0.push(((link.1, link.0), (ports.1, ports.0)));
                }
                own
            }
            Way::Answer => match self.0.iter().position(|asked| *asked == (link, ports)) {
                Some(place) => {
                    self.0.remove(place);
                    true
                }
                None => false,
            },
            Way::Peer => ops.iter().any(|op| carried(&glance.detail, op).is_some()),
            Way::Heartbeat | Way::Heard => false,
        }
    }
}

/// What a clock of packets and one of operations may differ by, in ns.
const CLOCKS_APART: f64 = 1e5;

/// Whether a request of this session at this time is one of the operation.
fn asks(op: &Op<'_>, session: Option<u64>, at: f64) -> bool {
    let Process::Client(process) = op.process() else {
        return false;
    };
    let end = op.completion.map_or(f64::INFINITY, |c| c.time.0 as f64);
    let meanwhile = op.start().0 as f64 - CLOCKS_APART <= at && at <= end;
    session == Some(process) && meanwhile
}

/// Where a message between nodes names the key and the value of an operation.
fn carried(detail: &str, op: &Op<'_>) -> Option<String> {
    let value = op.argument();
    let words = format!("{} {value}", op.key()?);
    let alone = |(at, _): &(usize, &str)| {
        let next = detail[at + words.len()..].chars().next();
        next.is_none_or(|c| !c.is_alphanumeric() && c != '.')
    };
    let named = !value.is_null() && detail.match_indices(&words).any(|m| alone(&m));
    named.then_some(words)
}

/// How much a message tells; an error says as what it is left out.
fn rank(message: &Message, own: bool, traffic: &Traffic) -> Result<Rank, &'static str> {
    let lost = matches!(message.fate(), Fate::Lost | Fate::Partly | Fate::FromRouter);
    let between_nodes = [message.from, message.to]
        .iter()
        .all(|h| is_node(traffic, *h));
    match message.glance.as_ref().map(|g| g.way) {
        _ if Traffic::is_datagram(message) => Err("probes of the harness"),
        _ if own => Ok(Rank::Own),
        _ if lost => Ok(Rank::Lost),
        Some(Way::Heard) => Err("empty answers of HTTP"),
        _ if Traffic::is_sign(message) => Err("signs of TCP"),
        _ if !between_nodes => Err("messages of other operations"),
        Some(Way::Heartbeat) => Ok(Rank::Quiet),
        _ => Ok(Rank::Telling),
    }
}

fn is_node(traffic: &Traffic, host: usize) -> bool {
    traffic
        .hosts
        .get(host)
        .is_some_and(|h| h != crate::arena::CLIENTS)
}

fn arrow(message: &Message, captures: &Captures, ops: &[&Op<'_>], rank: Rank) -> Arrow {
    let at = since_begin(captures, message.sent);
    let own = rank == Rank::Own;
    let detail = message.glance.as_ref().map_or("", |g| &g.detail);
    let between_nodes = message.glance.as_ref().is_some_and(|g| g.way == Way::Peer);
    let named = ops
        .iter()
        .find_map(|op| carried(detail, op).filter(|_| own && between_nodes));
    // Among many entries those in question would be cut off.
    let detail = named.map_or_else(|| detail.to_owned(), |words| format!("… {words} …"));
    let what = Traffic::words(message);
    let words = if detail.is_empty() {
        what
    } else {
        format!("{what}: {detail}")
    };
    Arrow {
        from: message.from,
        to: message.to,
        at,
        last: at,
        took: message.arrived.map(|t| since_begin(captures, t) - at),
        words: escape::shorten(&words, WORDS_CHARS),
        count: 1,
        fate: message.fate(),
        own,
        rank,
    }
}

/// The words of what is folded: without what is particular.
fn kind(words: &str) -> &str {
    words.split(": ").next().unwrap_or(words)
}

/// Arrows of one stretch, by what they may be one of.
#[derive(Debug, Default)]
struct Folded {
    arrows: Vec<Arrow>,
    places: BTreeMap<(usize, usize, Fate, String), usize>,
}

impl Folded {
    /// Adds an arrow to those that there are, or to one of its kind.
    fn add(&mut self, arrow: Arrow) {
        let next = self.arrows.len();
        if !arrow.own {
            let of = kind(&arrow.words).to_owned();
            let key = (arrow.from, arrow.to, arrow.fate, of);
            let place = *self.places.entry(key).or_insert(next);
            if let Some(of) = self.arrows.get_mut(place) {
                of.words.truncate(kind(&of.words).len());
                of.count += 1;
                of.last = arrow.at;
                of.took = None;
                return;
            }
        }
        self.arrows.push(arrow);
    }
}

fn marks(scene: &Scene<'_>, spans: &[(f64, f64)]) -> Vec<(f64, String)> {
    let mut marks = Vec::new();
    for fault in &scene.faults {
        let mut mark = |at: f64, words: &str| {
            if spans.iter().any(|(from, to)| *from <= at && at <= *to) {
                marks.push((at, format!("{}: {words}", fault.name())));
            }
        };
        mark(fault.inject.0 as f64, "injected");
        if let Some(effect) = &fault.effect {
            mark(effect.at.0 as f64, "seen to take effect");
        }
        if let Some(heal) = fault.heal {
            mark(heal.0 as f64, "heal");
        }
        if !fault.end().is_infinite() {
            mark(fault.end().0 as f64, "healed");
        }
    }
    marks.truncate(MARKS_MAX);
    marks.sort_by(|a, b| a.0.total_cmp(&b.0));
    marks
}

/// Comings and goings of faults in one diagram.
const MARKS_MAX: usize = 12;
