//! The network between the hosts: which links are cut, which are disturbed, and whether that is so.
//!
//! A link is a direction between two hosts. The cut set is the union of what all faults in force ask for; each change replaces the
//! router's whole FORWARD chain in one atomic restore (`firewall`). Whether a link carries anything is tried with a datagram
//! (`probe`): a fault that was asked for is not a fault that happened. Links that are not cut may be disturbed (`packets`): that is
//! measured with many datagrams.

mod disturbance;
mod firewall;
mod packets;
mod probe;
mod sockets;

pub use disturbance::{Distribution, Disturbance, Disturbed};
pub use firewall::{Firewall, Variant};
pub use packets::Choice;

use crate::arena::{Arena, BACKOFF_LIMIT, Host};
use anyhow::{Context, Result, ensure};
use packets::{Count, Engine, Load, Meter, Sample, judge};
use probe::Prober;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// A host by its place: the nodes from 0, the clients last.
pub type HostIndex = usize;
/// One direction of a link: from, to.
pub type Link = (HostIndex, HostIndex);
/// Links that drop every packet.
pub type Cut = BTreeSet<Link>;

/// What becomes of a packet on a cut link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It is dropped: who sent it waits.
    Drop,
    /// TCP is answered with a reset, as by a host whose program has ended; all else is dropped.
    Reset,
}

/// The arena's network.
#[derive(Debug)]
pub struct Network {
    firewall: Firewall,
    prober: Prober,
    hosts: Vec<Host>,
    names: Vec<String>,
    dropped: Cut,
    reset: Cut,
    /// Every cut link, in whatever manner.
    cut: Cut,
    /// The links that the rules now in force cut.
    ruled: Cut,
    /// Packets that the rules before these have stopped, by link.
    stopped: BTreeMap<Link, u64>,
    /// What disturbs packets, in runs that want it.
    packets: Option<Packets>,
    /// What all faults ask for, links that are cut included.
    disturbed: Disturbed,
}

/// An engine, and what measures its work.
#[derive(Debug)]
struct Packets {
    engine: Engine,
    meter: Meter,
}

/// How long a measurement may go on on a busy machine, after the longest delay.
const MEASURE_LIMIT: Duration = Duration::from_millis(1500);
/// What is later than this comes from a link that is not sound.
const SOUND_DELAY: Duration = Duration::from_millis(20);
/// How long probes are sent again over links that lose most of them.
const LOSSY_LIMIT: Duration = Duration::from_secs(5);

/// What the probes and the rules' counters say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Whether every cut link dropped and every open one carried a probe.
    pub proved: bool,
    /// The same in words.
    pub evidence: String,
}

impl Proof {
    /// Both.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            proved: self.proved && other.proved,
            evidence: format!("{}; {}", self.evidence, other.evidence),
        }
    }
}

impl Network {
    /// Finds a firewall that works here, and opens a probe socket at every host. Must run in the router's namespace.
    pub fn new(arena: &Arena) -> Result<Self> {
        let hosts: Vec<_> = arena.hosts().collect();
        let addresses = hosts.iter().map(|h| h.ip).collect();
        Ok(Self {
            firewall: Firewall::detect(addresses)?,
            prober: Prober::open(&hosts)?,
            names: hosts.iter().map(|h| h.name.clone()).collect(),
            hosts: hosts.into_iter().cloned().collect(),
            dropped: Cut::new(),
            reset: Cut::new(),
            cut: Cut::new(),
            ruled: Cut::new(),
            stopped: BTreeMap::new(),
            packets: None,
            disturbed: Disturbed::new(),
        })
    }

    /// Which firewall cuts the links.
    pub fn variant(&self) -> Variant {
        self.firewall.variant()
    }

    /// How many hosts there are, clients included.
    pub fn hosts(&self) -> usize {
        self.names.len()
    }

    /// Makes ready to disturb packets: an error says what the machine lacks. The seed is that of the run.
    pub fn prepare_packets(&mut self, choice: Choice, seed: u64) -> Result<()> {
        self.packets = Some(Packets {
            engine: Engine::start(choice, &self.hosts, &self.firewall, seed)?,
            meter: Meter::open(&self.hosts)?,
        });
        // The trial has left the chain empty.
        self.apply()
    }

    /// Ends every established connection of a host to the others; both sides see it at once. Says how many.
    pub fn reset_connections(&self, host: HostIndex, others: &[HostIndex]) -> Result<usize> {
        sockets::reset(&self.hosts[host], &self.addresses(others))
    }

    /// How many established connections a host has to the others.
    pub fn connections(&self, host: HostIndex, others: &[HostIndex]) -> Result<usize> {
        sockets::established(&self.hosts[host], &self.addresses(others))
    }

    fn addresses(&self, hosts: &[HostIndex]) -> Vec<IpAddr> {
        hosts.iter().map(|host| self.hosts[*host].ip).collect()
    }

    /// TCP waits longer and longer over a cut link, and so hides for seconds that it is whole again. Newer kernels bound that (the arena sets it);
    /// elsewhere the connections over links that were cut, and are no longer, are ended.
    pub fn end_backoff(&self, were_cut: &Cut) -> Result<()> {
        if Path::new(BACKOFF_LIMIT).exists() {
            return Ok(());
        }
        self.end_connections(were_cut)
    }

    fn end_connections(&self, links: &Cut) -> Result<()> {
        for host in 0..self.hosts.len() {
            let whole = links.difference(&self.cut);
            let others: Vec<_> = whole
                .filter(|(from, _)| *from == host)
                .map(|(_, to)| *to)
                .collect();
            if !others.is_empty() {
                self.reset_connections(host, &others)?;
            }
        }
        Ok(())
    }

    /// Tries whether this kernel lets connections be ended: with one that is made for it, within a host.
    pub fn can_reset(&self) -> Result<()> {
        let host = self.hosts.first().context("a network has hosts")?;
        let own = SocketAddr::new(host.ip, 0);
        let _pair = host.ns.run(|| {
            let listener = TcpListener::bind(own).context("cannot listen")?;
            let address = listener.local_addr().context("no address")?;
            let caller = TcpStream::connect(address).context("cannot connect")?;
            let (called, _) = listener.accept().context("cannot accept")?;
            Ok((caller, called))
        })?;
        let reset = sockets::reset(host, &[host.ip])?;
        ensure!(
            reset > 0 && sockets::established(host, &[host.ip])? == 0,
            "connections cannot be reset here; it wants a kernel with CONFIG_INET_DIAG_DESTROY"
        );
        Ok(())
    }

    /// What disturbs packets here, once it has been made ready.
    pub fn packets_by(&self) -> Option<&'static str> {
        self.packets.as_ref().map(|p| p.engine.name())
    }

    /// Cuts exactly these links, in one step: those of `reset` answer TCP.
    pub fn set_cut(&mut self, dropped: Cut, reset: Cut) -> Result<()> {
        self.cut = dropped.union(&reset).copied().collect();
        (self.dropped, self.reset) = (dropped, reset);
        self.apply()
    }

    /// Disturbs exactly these links. On those that are cut it shows when they are no longer.
    pub fn set_disturbed(&mut self, disturbed: Disturbed) -> Result<()> {
        self.disturbed = disturbed;
        self.apply()
    }

    /// The links that are cut now.
    pub fn cut(&self) -> &Cut {
        &self.cut
    }

    /// How many packets the rules of each of these links have stopped so far: dropped, or answered with a reset.
    pub fn stopped(&self, links: &Cut) -> Result<BTreeMap<Link, u64>> {
        let ruled = links.intersection(&self.ruled).copied().collect::<Cut>();
        let now = if ruled.is_empty() {
            BTreeMap::new()
        } else {
            self.firewall.stopped(&ruled)?
        };
        let of = |counts: &BTreeMap<Link, u64>, link: Link| counts.get(&link).copied();
        let sum = |link: &Link| {
            let before = of(&self.stopped, *link).unwrap_or_default();
            (*link, before + of(&now, *link).unwrap_or_default())
        };
        Ok(links.iter().map(sum).collect())
    }

    fn apply(&mut self) -> Result<()> {
        // New rules begin to count at nothing.
        self.stopped.extend(self.stopped(&self.ruled)?);
        let mut shown = self.disturbed.clone();
        shown.retain(|link, _| !self.cut.contains(link));
        let queues = self.packets.as_ref().is_some_and(|p| p.engine.queues());
        let queued = shown.keys().filter(|_| queues).copied().collect();
        // First the rules: then nothing new comes for links that are cut or sound again.
        self.firewall.replace(&self.dropped, &self.reset, &queued)?;
        self.ruled.clone_from(&self.cut);
        match &mut self.packets {
            Some(packets) => packets.engine.set(&shown, &self.cut),
            None => Ok(()),
        }
    }

    /// Sends a datagram over every link until all is as it should be, or `limit` has passed; longer where links are slow or lose much.
    pub fn prove(&self, limit: Duration) -> Result<Proof> {
        let open: Cut = self
            .links()
            .filter(|link| !self.cut.contains(link))
            .collect();
        let seen = self
            .prober
            .probe(&open, &self.cut, limit + self.patience(), || {
                self.firewall.dropped(&self.cut)
            })?;
        let leaked: Vec<_> = self.cut.intersection(&seen.carried).collect();
        let silent: Vec<_> = open.difference(&seen.carried).collect();
        let unseen: Vec<_> = self.cut.difference(&seen.dropped).collect();
        let mut evidence = Vec::new();
        if !self.cut.is_empty() {
            evidence.push(format!(
                "{} of {} cut links dropped the probe (rule counters)",
                self.cut.intersection(&seen.dropped).count(),
                self.cut.len()
            ));
        }
        evidence.push(format!(
            "{} of {} open links carried it",
            open.len() - silent.len(),
            open.len()
        ));
        for (what, links) in [
            ("leaked", &leaked),
            ("open but silent", &silent),
            ("cut but not counted", &unseen),
        ] {
            if !links.is_empty() {
                let names: Vec<_> = links.iter().map(|link| self.link_name(**link)).collect();
                evidence.push(format!("{what}: {}", names.join(", ")));
            }
        }
        let proved = leaked.is_empty() && silent.is_empty() && unseen.is_empty();
        Ok(Proof {
            proved,
            evidence: evidence.join("; "),
        })
    }

    /// How much longer a probe may take than over sound links.
    fn patience(&self) -> Duration {
        let of = |how: &Disturbance| {
            // So many probes that all of them are lost once in 10^9, one every 20 ms.
            let lost = (1.0 - how.sound()).clamp(0.0, 0.99);
            let probes = if lost > 0.0 { -20.7 / lost.ln() } else { 0.0 };
            let again = Duration::from_secs_f64(probes * 0.02).min(LOSSY_LIMIT);
            let full = if how.rate.is_some() {
                LOSSY_LIMIT
            } else {
                Duration::ZERO
            };
            how.delay_max() * 2 + again.max(full)
        };
        self.disturbed.values().map(of).max().unwrap_or_default()
    }

    /// Measures the disturbed ones of these links that are not cut.
    pub fn prove_disturbed(&mut self, links: &Cut) -> Result<Proof> {
        let mut groups: Vec<(Disturbance, Cut)> = Vec::new();
        for (link, how) in &self.disturbed {
            if links.contains(link) && !self.cut.contains(link) {
                match groups.iter_mut().find(|(other, _)| other == how) {
                    Some((_, group)) => drop(group.insert(*link)),
                    None => groups.push((*how, [*link].into())),
                }
            }
        }
        let hidden = links.intersection(&self.cut).count();
        let packets = self.packets.as_mut().context("packets were not prepared")?;
        let mut proved = !groups.is_empty();
        let mut evidence = Vec::new();
        for (how, group) in &groups {
            let (fits, words) = packets.measure(how, group)?;
            proved &= fits;
            evidence.push(format!("{} links ({how}): {words}", group.len()));
        }
        if hidden > 0 {
            evidence.push(format!("{hidden} links are cut by another fault"));
        }
        let by = packets.engine.name();
        Ok(Proof {
            proved,
            evidence: format!("by {by}: {}", evidence.join("; ")),
        })
    }

    /// Looks whether these links are sound again, those aside that another fault cuts or disturbs.
    pub fn prove_sound(&mut self, links: &Cut) -> Result<Proof> {
        let free = |link: &&Link| !self.cut.contains(link) && !self.disturbed.contains_key(link);
        let sound: Cut = links.iter().filter(free).copied().collect();
        let held = links.len() - sound.len();
        let packets = self.packets.as_mut().context("packets were not prepared")?;
        let (proved, mut evidence) = packets.sound(&sound)?;
        if held > 0 {
            let _ = write!(evidence, "; {held} links are held by another fault");
        }
        let overrun = packets.engine.overrun();
        if overrun > 0 {
            let _ = write!(
                evidence,
                "; the engine was too slow for {overrun} packets of this run, which were lost too"
            );
        }
        Ok(Proof { proved, evidence })
    }

    fn links(&self) -> impl Iterator<Item = Link> {
        let n = self.names.len();
        (0..n).flat_map(move |a| (0..n).filter(move |b| *b != a).map(move |b| (a, b)))
    }

    fn link_name(&self, (from, to): Link) -> String {
        format!("{} -> {}", self.names[from], self.names[to])
    }

    /// Figures of links as the history has them: by `n1>n2`.
    pub fn by_link(&self, figures: &BTreeMap<Link, u64>) -> serde_json::Value {
        let named = figures.iter().map(|((from, to), figure)| {
            let link = format!("{}>{}", self.names[*from], self.names[*to]);
            (link, serde_json::json!(figure))
        });
        named.collect::<serde_json::Map<_, _>>().into()
    }

    /// The cut as the history has it: each host with those that it does not hear.
    pub fn describe(&self, cut: &Cut) -> serde_json::Value {
        let mut deaf: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (from, to) in cut {
            deaf.entry(&self.names[*to])
                .or_default()
                .push(&self.names[*from]);
        }
        serde_json::json!(deaf)
    }
}

impl Packets {
    /// Measures links that are all disturbed in this way; says whether it fits, and what was seen.
    fn measure(&mut self, how: &Disturbance, links: &Cut) -> Result<(bool, String)> {
        let links = &some_of(links);
        let before = self.count(links)?;
        let load = Load::to_see(how, links.len());
        // A limited link is kept busy for a while.
        let busy = how.rate.map_or(Duration::ZERO, |_| Load::BUSY);
        let at_least = how.delay_max() + busy + Duration::from_millis(20);
        let limits = (at_least, at_least + MEASURE_LIMIT);
        let engine = &self.engine;
        let judged = |sample: &Sample| -> Result<packets::Verdict> {
            let now = count(engine, links)?;
            Ok(judge(how, sample, &now.since(before)))
        };
        let fits = |sample: &Sample| judged(sample).is_ok_and(|v| v.misfits.is_empty());
        let sample = self.meter.measure(links, load, limits, fits)?;
        let verdict = judged(&sample)?;
        let done = self.count(links)?.since(before);
        let mut words = format!("{}{}", verdict.seen, told(&done));
        if !verdict.misfits.is_empty() {
            let _ = write!(words, "; but {}", verdict.misfits.join(", "));
        }
        Ok((verdict.misfits.is_empty(), words))
    }

    fn count(&self, links: &Cut) -> Result<Count> {
        count(&self.engine, links)
    }

    /// Sends a few datagrams over each link until all arrive, and fast.
    fn sound(&mut self, links: &Cut) -> Result<(bool, String)> {
        if links.is_empty() {
            return Ok((true, "no link to look at".to_owned()));
        }
        let links = &some_of(links);
        let all = |s: &Sample| s.arrived == s.sent;
        let begun = Instant::now();
        loop {
            let limits = (Duration::ZERO, Duration::from_millis(100));
            let sample = self.meter.measure(links, Load::FEW, limits, all)?;
            let middle = sample.quantile(0.5).unwrap_or(Duration::MAX);
            let sound = all(&sample) && sample.copies == 0 && middle < SOUND_DELAY;
            if sound || begun.elapsed() > MEASURE_LIMIT {
                let words = format!(
                    "{} of {} probes over {} links arrived, {} twice, after {:.2} ms (median)",
                    sample.arrived,
                    sample.sent,
                    links.len(),
                    sample.copies,
                    middle.as_secs_f64().min(99.0) * 1e3
                );
                return Ok((sound, words));
            }
        }
    }
}

/// What the engine has counted meanwhile, the clients' and the nodes' packets among them.
fn told(done: &Count) -> String {
    let parts = [
        ("lost", done.lost),
        ("dropped by a full queue", done.overflowed),
        ("doubled", done.duplicated),
        ("damaged", done.corrupted),
        ("skipped the delay", done.skipped),
    ];
    let mut words = format!(" (it took {} packets", done.seen);
    for (what, n) in parts.iter().filter(|(_, n)| *n > 0) {
        let _ = write!(words, ", {n} {what}");
    }
    words + ")"
}

/// As many links as can be measured in a moment, spread over all.
fn some_of(links: &Cut) -> Cut {
    const MOST: usize = 300;
    let step = links.len().div_ceil(MOST).max(1);
    links.iter().step_by(step).copied().collect()
}

fn count(engine: &Engine, links: &Cut) -> Result<Count> {
    let counts = engine.counts()?;
    let of = links.iter().filter_map(|link| counts.get(link));
    Ok(of.fold(Count::default(), |sum, count| sum.plus(*count)))
}
