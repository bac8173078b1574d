//! The packets that each fault's links did not carry: what the rules have counted, and what the captures show of it.

use super::messages::{self, Diagram};
use super::scene::{Fault, Scene};
use super::{escape, message_picture, words};
use crate::capture::{Captures, Lost, Traffic};
use std::collections::{BTreeMap, BTreeSet};

/// Faults that are told of.
const FAULTS_MAX: usize = 40;
/// Links of one fault.
const LINKS_MAX: usize = 40;
/// Packets of one fault that are listed.
const PACKETS_MAX: usize = 20;
/// Faults whose messages are drawn.
const DRAWN_MAX: usize = 6;
/// What is drawn before and after an injection, in ns: a lost packet is sent again after 200 ms.
const BEFORE: f64 = 20e6;
const AFTER: f64 = 230e6;
/// What is drawn of the time until its effect was seen, in ns.
const EFFECT_MAX: f64 = 1e9;

/// What one fault's links did not carry.
#[derive(Debug)]
pub(super) struct DropsView {
    /// Its anchor.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) links: Vec<LinkRow>,
    pub(super) links_left_out: usize,
    /// Whether the rules have counted; a fault that disturbs links has none.
    pub(super) counted: bool,
    /// Whether there are captures.
    pub(super) captured: bool,
    pub(super) packets: Vec<PacketRow>,
    /// How many there are in all.
    pub(super) lost: String,
    /// Command lines that show them all.
    pub(super) commands: Vec<String>,
    pub(super) picture: String,
    pub(super) left_out: String,
}

/// One link.
#[derive(Debug)]
pub(super) struct LinkRow {
    pub(super) name: String,
    pub(super) stopped: String,
    pub(super) lost: String,
    /// When it did not carry: by the captures the first and the last packet, else the fault's own times.
    pub(super) from: String,
    pub(super) to: String,
}

/// One packet.
#[derive(Debug)]
pub(super) struct PacketRow {
    pub(super) at: String,
    pub(super) link: String,
    pub(super) what: String,
    pub(super) bytes: u32,
}

/// What each fault's links did not carry, of those faults of which anything is known.
pub(super) fn views(scene: &Scene<'_>, captures: Option<&Captures>) -> Vec<DropsView> {
    let captures = captures.filter(|c| c.kept);
    let mut views = Vec::new();
    for fault in &scene.faults {
        let lost = captures.map_or_else(Vec::new, |c| lost_during(scene, c, fault));
        let known = !fault.stopped.is_empty() || !lost.is_empty();
        if known && views.len() < FAULTS_MAX {
            let drawn = views.len() < DRAWN_MAX;
            views.push(view(scene, captures, fault, &lost, drawn));
        }
    }
    views
}

/// The packets that were lost on the fault's links while it was in force; on any link, where it does not say which are its own.
fn lost_during<'c>(scene: &Scene<'_>, captures: &'c Captures, fault: &Fault) -> Vec<&'c Lost> {
    if !["partition", "packets"].contains(&fault.family.as_str()) {
        return Vec::new();
    }
    let (from, to) = (fault.inject.0 as f64, scene.finite(fault.end()));
    let hosts = &captures.traffic.hosts;
    let place = |name: &str| hosts.iter().position(|h| h == name);
    let own = |(a, b, _): &(String, String, u64)| Some((place(a)?, place(b)?));
    let own: BTreeSet<(usize, usize)> = fault.stopped.iter().filter_map(own).collect();
    let ours = |lost: &&Lost| {
        let at = messages::since_begin(captures, lost.at);
        let on_its_link = fault.stopped.is_empty() || own.contains(&lost.link);
        from <= at && at <= to && on_its_link
    };
    captures.traffic.lost.iter().filter(ours).collect()
}

fn view(
    scene: &Scene<'_>,
    captures: Option<&Captures>,
    fault: &Fault,
    lost: &[&Lost],
    drawn: bool,
) -> DropsView {
    let id = format!("drops{}", fault.id);
    let mut links = captures.map_or_else(Vec::new, |c| links(scene, c, fault, lost));
    if captures.is_none() {
        links = fault
            .stopped
            .iter()
            .map(|s| counted(scene, fault, s))
            .collect();
    }
    let links_left_out = links.len().saturating_sub(LINKS_MAX);
    links.truncate(LINKS_MAX);
    let at = fault.inject.0 as f64;
    let there = fault
        .effect
        .as_ref()
        .map_or(at, |s| s.at.0 as f64)
        .min(at + EFFECT_MAX);
    let diagram = captures
        .filter(|_| drawn)
        .map(|c| Diagram::of(scene, c, &[(at - BEFORE, there + AFTER)], &[]))
        .unwrap_or_default();
    DropsView {
        name: fault.name(),
        links,
        links_left_out,
        counted: !fault.stopped.is_empty(),
        captured: captures.is_some(),
        packets: captures.map_or_else(Vec::new, |c| {
            lost.iter()
                .take(PACKETS_MAX)
                .map(|l| packet(scene, c, l))
                .collect()
        }),
        lost: words::thousands(lost.len() as u64),
        commands: captures.map_or_else(Vec::new, |c| commands(c, lost)),
        picture: message_picture::draw(scene, &diagram, &format!("{id}m")),
        left_out: left_out(&diagram),
        id,
    }
}

/// `17 heartbeats and their answers, 3 signs of TCP`.
pub(super) fn left_out(diagram: &Diagram) -> String {
    let told = diagram
        .left_out
        .iter()
        .map(|(n, kind)| format!("{} {kind}", words::thousands(*n)));
    told.collect::<Vec<_>>().join(", ")
}

fn time(scene: &Scene<'_>, ns: f64) -> String {
    format!("{:.3}", ns.max(0.0) / scene.unit().1)
}

/// A link of which only the rule's count is known.
fn counted(
    scene: &Scene<'_>,
    fault: &Fault,
    (from, to, stopped): &(String, String, u64),
) -> LinkRow {
    LinkRow {
        name: format!("{from} → {to}"),
        stopped: words::thousands(*stopped),
        lost: String::new(),
        from: time(scene, fault.inject.0 as f64),
        to: time(scene, scene.finite(fault.heal.unwrap_or(fault.end()))),
    }
}

/// What is known of one link.
#[derive(Debug, Default)]
struct OnLink {
    /// What its rule has counted.
    stopped: Option<u64>,
    /// When packets were lost.
    lost: Vec<f64>,
}

/// The fault's links: those whose rules have counted, and those that lost something.
fn links(scene: &Scene<'_>, captures: &Captures, fault: &Fault, lost: &[&Lost]) -> Vec<LinkRow> {
    let hosts = &captures.traffic.hosts;
    let mut by_link: BTreeMap<(&str, &str), OnLink> = BTreeMap::new();
    for (from, to, stopped) in &fault.stopped {
        by_link.entry((from, to)).or_default().stopped = Some(*stopped);
    }
    for lost in lost {
        let link = (hosts[lost.link.0].as_str(), hosts[lost.link.1].as_str());
        let at = messages::since_begin(captures, lost.at);
        by_link.entry(link).or_default().lost.push(at);
    }
    let (begin, end) = (fault.inject, fault.heal.unwrap_or(fault.end()));
    let (begin, end) = (begin.0 as f64, scene.finite(end));
    let row = |((from, to), link): (&(&str, &str), &OnLink)| LinkRow {
        name: format!(
            "{} → {}",
            escape::shorten(from, 20),
            escape::shorten(to, 20)
        ),
        stopped: link
            .stopped
            .map_or_else(|| "–".to_owned(), words::thousands),
        lost: words::thousands(link.lost.len() as u64),
        from: time(scene, link.lost.first().copied().unwrap_or(begin)),
        to: time(scene, link.lost.last().copied().unwrap_or(end)),
    };
    by_link.iter().map(row).collect()
}

fn packet(scene: &Scene<'_>, captures: &Captures, lost: &Lost) -> PacketRow {
    let traffic = &captures.traffic;
    let (_, ns) = scene.unit();
    let at = messages::since_begin(captures, lost.at).max(0.0) / ns;
    let message = lost.message.and_then(|place| traffic.messages.get(place));
    let what = match message {
        Some(message) if Traffic::is_datagram(message) => {
            "datagram: a probe of the harness".to_owned()
        }
        Some(message) => {
            let what = Traffic::words(message);
            match message.glance.as_ref().map(|g| g.detail.as_str()) {
                Some(detail) if !detail.is_empty() => format!("{what}: {detail}"),
                _ => what,
            }
        }
        None => lost.sign.to_owned(),
    };
    PacketRow {
        at: format!("{at:.6}"),
        link: format!(
            "{} → {}",
            traffic.hosts[lost.link.0], traffic.hosts[lost.link.1]
        ),
        what: escape::shorten(&what, 120),
        bytes: lost.length,
    }
}

/// What shows all packets of the link that lost the most, as its sender's capture has them.
fn commands(captures: &Captures, lost: &[&Lost]) -> Vec<String> {
    let (Some(first), Some(last)) = (lost.first(), lost.last()) else {
        return Vec::new();
    };
    let mut by_link: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for lost in lost {
        *by_link.entry(lost.link).or_default() += 1;
    }
    let Some(((from, to), _)) = by_link.into_iter().max_by_key(|(_, n)| *n) else {
        return Vec::new();
    };
    let host = &captures.traffic.hosts[from];
    let (a, b) = (captures.addresses[from], captures.addresses[to]);
    let seconds = |l: &Lost| format!("{}.{:09}", l.at.as_secs(), l.at.subsec_nanos());
    vec![
        format!("tcpdump -nn -A -r nodes/{host}/capture.pcap 'src host {a} and dst host {b}'"),
        format!(
            "tshark -r nodes/{host}/capture.pcap -Y 'ip.src == {a} && ip.dst == {b} && frame.time_epoch >= {} && frame.time_epoch <= {}'",
            seconds(first),
            seconds(last)
        ),
    ]
}
