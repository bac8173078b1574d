//! Links that are neither cut nor sound: packets come late, twice, in another order, damaged, slowly, or not at all.
//!
//! Which nodes or links is the shape; what happens to their packets are the options, and with none of them chance mixes something.

use crate::arena::{Arena, CLIENTS, ask};
use crate::nemesis::options::{duration, share, text};
use crate::nemesis::select::{self, AllHeld};
use crate::nemesis::{
    Family, Fault, FaultOption, FaultOptions, Planned, Shape, View, World, named_nodes,
};
use crate::network::{Choice, Cut, Distribution, Disturbance, Network, Proof};
use anyhow::{Context, Result, anyhow, bail, ensure};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::{Harm, Target};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The family.
pub(super) struct Packets;

const DELAY_MAX: Duration = Duration::from_secs(5);
/// More than this is a partition.
const LOSS_MAX: f64 = 0.9;
const RATE_MIN: u64 = 8_000;
const RATE_MAX: u64 = 10_000_000_000;

const SHAPES: &[Shape] = &[
    Shape {
        name: "one",
        nodes_min: 1,
        help: "all links of one node, drawn from the seed",
        drawn: true,
    },
    Shape {
        name: "leader",
        nodes_min: 1,
        help: "all links of the node that leads when the fault comes",
        drawn: true,
    },
    Shape {
        name: "follower",
        nodes_min: 2,
        help: "all links of one node that does not lead, drawn from the seed",
        drawn: false,
    },
    Shape {
        name: "minority",
        nodes_min: 1,
        help: "all links of as many nodes as may fail while a majority is left",
        drawn: true,
    },
    Shape {
        name: "all",
        nodes_min: 1,
        help: "all links of all nodes",
        drawn: true,
    },
];

const OPTIONS: &[FaultOption] = &[
    FaultOption {
        name: "delay",
        default: "off",
        help: "off, or a time such as 50ms: how much later packets arrive, on each link",
    },
    FaultOption {
        name: "jitter",
        default: "off",
        help: "off, or a time such as 10ms: how far the delay varies; packets overtake each other",
    },
    FaultOption {
        name: "distribution",
        default: "uniform",
        help: "uniform | normal: how the delay varies (normal: jitter is the standard deviation)",
    },
    FaultOption {
        name: "loss",
        default: "off",
        help: "off, or the share of packets that are lost, such as 10%",
    },
    FaultOption {
        name: "duplicate",
        default: "off",
        help: "off, or the share of packets that arrive twice",
    },
    FaultOption {
        name: "reorder",
        default: "off",
        help: "off, or the share of packets that skip the delay and so overtake others",
    },
    FaultOption {
        name: "corrupt",
        default: "off",
        help: "off, or the share of packets of which one bit is flipped; checksums find it, and they are thrown away",
    },
    FaultOption {
        name: "rate",
        default: "off",
        help: "off, or what each link carries at most, such as 500kbit or 10mbit (a second)",
    },
    FaultOption {
        name: "clients",
        default: "yes",
        help: "yes | no: whether the links between these nodes and the clients are disturbed too",
    },
    FaultOption {
        name: "by",
        default: "auto",
        help: "auto | netem | nfqueue: auto is netem where the kernel has it, else NFQUEUE; only with NFQUEUE chance comes from the seed",
    },
];

impl Family for Packets {
    fn name(&self) -> &'static str {
        "packets"
    }

    fn harms(&self) -> &'static [Harm] {
        &[Harm::Behind]
    }

    fn summary(&self) -> &'static str {
        "packets late, lost, doubled, reordered, damaged or slow; without options a mix from the seed; n1>n2 names a link, n1+n2/n3 links between groups"
    }

    fn shapes(&self) -> &'static [Shape] {
        SHAPES
    }

    fn options(&self) -> &'static [FaultOption] {
        OPTIONS
    }

    fn understands(&self, options: &FaultOptions) -> Result<()> {
        disturbance(options)?;
        with_clients(options)?;
        choice(options).map(drop)
    }

    fn possible(&self, planned: &[&Planned], _: &dyn Target) -> Result<()> {
        let by = engine(planned)?;
        let tried = || -> Result<()> { Network::new(&Arena::build(1)?)?.prepare_packets(by, 1) };
        let tried = ask(|| tried().map_err(|error| format!("{error:#}")))?;
        tried.map_err(|why| anyhow!(why))
    }

    fn prepare_network(
        &self,
        planned: &[&Planned],
        network: &mut Network,
        seed: u64,
    ) -> Result<()> {
        network.prepare_packets(engine(planned)?, seed)
    }

    fn aim(
        &self,
        shape: &str,
        options: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        // Before the nodes are: a replay names them, and is to draw the same.
        let mixed = mix(rng);
        let (who, nodes, links) = links(shape, with_clients(options)?, view, rng)?;
        if links.iter().all(|link| view.cut.contains(link)) {
            return Err(AllHeld.into());
        }
        let given = disturbance(options)?;
        let how = if given.is_any() { given } else { mixed };
        Ok(Box::new(Disturbed {
            what: format!("packets {who}: {how}"),
            nodes,
            links,
            how,
        }))
    }

    fn accepts(&self, shape: &str, names: &[String]) -> Result<()> {
        named(shape, names).map(drop)
    }
}

/// What the options say.
fn disturbance(options: &FaultOptions) -> Result<Disturbance> {
    let is_off = |name: &str| text(options, name) == "off";
    let time = |name: &str| {
        if is_off(name) {
            return Ok(Duration::ZERO);
        }
        let time = duration(options, name)?;
        ensure!(time <= DELAY_MAX, "{name} must be at most 5s");
        Ok(time)
    };
    let part = |name: &str| {
        if is_off(name) {
            Ok(0.0)
        } else {
            share(options, name)
        }
    };
    let how = Disturbance {
        delay: time("delay")?,
        jitter: time("jitter")?,
        distribution: match text(options, "distribution") {
            "uniform" => Distribution::Uniform,
            "normal" => Distribution::Normal,
            other => bail!("distribution = {other:?} is neither uniform nor normal"),
        },
        loss: part("loss")?,
        duplicate: part("duplicate")?,
        reorder: part("reorder")?,
        corrupt: part("corrupt")?,
        rate: if is_off("rate") {
            None
        } else {
            Some(rate(text(options, "rate"))?)
        },
    };
    if how.jitter > how.delay {
        bail!("jitter must not be more than the delay, from which it goes up and down");
    }
    if how.reorder > 0.0 && how.delay.is_zero() {
        bail!("reorder needs a delay: it is the share of packets that skip it");
    }
    if how.sound() < 1.0 - LOSS_MAX - 1e-9 {
        bail!(
            "loss and corrupt together must leave at least 10%; to lose everything take the family partition"
        );
    }
    Ok(how)
}

/// Reads `500kbit`, in bits a second.
fn rate(text: &str) -> Result<u64> {
    let units = [
        ("kbit", 1_000.0),
        ("mbit", 1_000_000.0),
        ("gbit", 1_000_000_000.0),
    ];
    let read = units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        Some((number * factor) as u64)
    });
    match read {
        Some(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(rate),
        Some(_) => bail!("rate must be 8kbit to 10gbit"),
        None => bail!("rate = {text:?} is no rate such as 500kbit or 10mbit"),
    }
}

fn with_clients(options: &FaultOptions) -> Result<bool> {
    match text(options, "clients") {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        other => bail!("clients = {other:?} is neither yes nor no"),
    }
}

/// The one engine of all of them.
fn engine(planned: &[&Planned]) -> Result<Choice> {
    let asked = planned.iter().map(|fault| choice(&fault.options));
    let mut asked = asked.collect::<Result<Vec<Choice>>>()?;
    asked.retain(|choice| *choice != Choice::Auto);
    let by = asked.first().copied().unwrap_or(Choice::Auto);
    ensure!(
        asked.iter().all(|choice| *choice == by),
        "one run disturbs packets by one engine: give all of its faults the same `by`"
    );
    Ok(by)
}

fn choice(options: &FaultOptions) -> Result<Choice> {
    match text(options, "by") {
        "auto" => Ok(Choice::Auto),
        "netem" => Ok(Choice::Netem),
        "nfqueue" => Ok(Choice::NfQueue),
        other => bail!("by = {other:?} is none of auto, netem, nfqueue"),
    }
}

/// One to three things at once, such as a bad line or a distant region has.
fn mix(rng: &mut ChaCha8Rng) -> Disturbance {
    let mut how = Disturbance::default();
    let mut kinds = [0, 1, 2, 3, 4];
    kinds.shuffle(rng);
    let count = rng.random_range(1..=3);
    for kind in &kinds[..count] {
        match kind {
            0 => {
                let delay = rng.random_range(5..=100);
                how.delay = Duration::from_millis(delay);
                how.jitter = Duration::from_millis(rng.random_range(0..=delay / 2));
                if rng.random_bool(0.5) {
                    how.distribution = Distribution::Normal;
                }
                if rng.random_bool(0.3) {
                    how.reorder = percent(rng, 5, 25);
                }
            }
            1 => how.loss = percent(rng, 1, 20),
            2 => how.duplicate = percent(rng, 1, 20),
            3 => how.corrupt = percent(rng, 1, 5),
            _ => how.rate = Some(rng.random_range(1..=20) * 1_000_000),
        }
    }
    how
}

fn percent(rng: &mut ChaCha8Rng, least: u32, most: u32) -> f64 {
    f64::from(rng.random_range(least..=most)) / 100.0
}

/// In words, the nodes, and the links that the shape means.
fn links(
    shape: &str,
    clients: bool,
    view: &View,
    rng: &mut ChaCha8Rng,
) -> Result<(String, Vec<usize>, Cut)> {
    let n = view.names.len();
    let (who, nodes, links) = if SHAPES.iter().any(|s| s.name == shape) {
        let nodes = select::nodes(shape, view, rng)?;
        let who = select::list(&nodes, &view.names);
        (who, nodes.clone(), of_nodes(&nodes, n))
    } else {
        let (nodes, links) = named(shape, &view.names)?;
        let who = if shape.contains(['>', '/']) {
            format!("on {shape}")
        } else {
            select::list(&nodes, &view.names)
        };
        (who, nodes, links)
    };
    // Links that are named with the clients are meant.
    let kept = clients || shape.contains(CLIENTS);
    let links: Cut = links
        .into_iter()
        .filter(|(a, b)| kept || (*a != n && *b != n))
        .collect();
    if links.is_empty() {
        bail!("no link to disturb: with clients = no a node needs others beside it");
    }
    Ok((who, nodes, links))
}

/// All links of these nodes, both ways; the clients have the last place.
fn of_nodes(nodes: &[usize], n: usize) -> Cut {
    let others = |node: usize| (0..=n).filter(move |other| *other != node);
    nodes
        .iter()
        .flat_map(|node| others(*node).flat_map(|other| [(*node, other), (other, *node)]))
        .collect()
}

/// Reads `n1>n2` (that link alone), `n1+n2/n3` (both ways between the groups) and `n1+n2` (all their links).
fn named(text: &str, names: &[String]) -> Result<(Vec<usize>, Cut)> {
    let hosts: Vec<String> = names.iter().cloned().chain([CLIENTS.to_owned()]).collect();
    let group = |text: &str| {
        named_nodes(text, &hosts)
            .with_context(|| format!("{text:?} is no list of hosts such as n1+clients"))
    };
    let (mut nodes, links) = if let Some((from, to)) = text.split_once('>') {
        let (from, to) = (group(from)?, group(to)?);
        let links = pairs(&from, &to);
        ([from, to].concat(), links)
    } else if text.contains('/') {
        let groups = text.split('/').map(group).collect::<Result<Vec<_>>>()?;
        let each = groups.iter().enumerate();
        let links = each.flat_map(|(i, a)| {
            let others = groups.iter().enumerate().filter(move |(j, _)| *j != i);
            others.flat_map(|(_, b)| pairs(a, b))
        });
        (groups.concat(), links.collect())
    } else {
        let nodes = named_nodes(text, names)?;
        let links = of_nodes(&nodes, names.len());
        (nodes, links)
    };
    if links.iter().any(|(a, b)| a == b) || links.is_empty() {
        bail!("{text:?} has a host on both sides of a link");
    }
    nodes.retain(|node| *node < names.len());
    nodes.sort_unstable();
    nodes.dedup();
    Ok((nodes, links))
}

fn pairs(from: &[usize], to: &[usize]) -> Cut {
    from.iter()
        .flat_map(|a| to.iter().map(|b| (*a, *b)))
        .collect()
}

struct Disturbed {
    what: String,
    nodes: Vec<usize>,
    links: Cut,
    how: Disturbance,
}

impl Fault for Disturbed {
    fn what(&self) -> String {
        self.what.clone()
    }

    fn value(&self, world: &World) -> Map<String, Value> {
        Map::from_iter([
            ("disturbed".to_owned(), world.network.describe(&self.links)),
            ("how".to_owned(), json!(self.how.to_string())),
            ("by".to_owned(), json!(world.network.packets_by())),
        ])
    }

    fn nodes(&self) -> &[usize] {
        &self.nodes
    }

    fn inject(&mut self, id: u64, world: &mut World) -> Result<()> {
        world.disturb(id, self.links.clone(), self.how)
    }

    fn prove(&mut self, world: &mut World) -> Result<Proof> {
        world.network.prove_disturbed(&self.links)
    }

    fn heal(&mut self, id: u64, world: &mut World) -> Result<()> {
        world.calm(id)
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        world.network.prove_sound(&self.links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::options::resolve;
    use schism_workloads::generator::stream;

    fn options(given: &[(&str, &str)]) -> Result<FaultOptions> {
        let given = given
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        resolve(&Packets, &given.collect())
    }

    fn view() -> View {
        View {
            names: vec!["n1".into(), "n2".into(), "n3".into()],
            leader: Some(1),
            ..View::default()
        }
    }

    fn aimed(shape: &str, clients: bool) -> Result<Cut> {
        links(shape, clients, &view(), &mut stream(1, 1)).map(|(_, _, links)| links)
    }

    #[test]
    fn links_are_those_of_the_nodes_or_those_that_are_named() {
        let leader = Cut::from([(0, 1), (1, 0), (1, 2), (2, 1)]);
        assert_eq!(aimed("leader", false).unwrap(), leader);
        assert_eq!(aimed("n2", false).unwrap(), leader);
        assert_eq!(aimed("leader", true).unwrap().len(), 6);
        assert_eq!(aimed("all", true).unwrap().len(), 12);
        assert_eq!(
            aimed("n1>n2+clients", false).unwrap(),
            Cut::from([(0, 1), (0, 3)])
        );
        let both = Cut::from([(0, 2), (1, 2), (2, 0), (2, 1)]);
        assert_eq!(aimed("n1+n2/n3", true).unwrap(), both);
        for bad in ["n1>n1", "n9", "n1>", "n1/n1+n2", ">"] {
            assert!(aimed(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn options_are_read_or_refused_with_the_reason() {
        let read = |given: &[(&str, &str)]| disturbance(&options(given)?);
        let all = [
            ("delay", "50ms"),
            ("jitter", "10ms"),
            ("distribution", "normal"),
            ("loss", "10%"),
            ("rate", "1.5mbit"),
        ];
        assert_eq!(
            read(&all).unwrap().to_string(),
            "delay 50 ms ± 10 ms (normal), loss 10 %, rate 1500 kbit/s"
        );
        for (given, says) in [
            (&[("jitter", "10ms")][..], "more than the delay"),
            (&[("reorder", "10%")], "needs a delay"),
            (&[("loss", "95%")], "partition"),
            (&[("loss", "0.3")], "no share"),
            (&[("delay", "1h")], "at most 5s"),
            (&[("rate", "fast")], "no rate"),
            (&[("rate", "1kbit")], "8kbit"),
            (&[("distribution", "flat")], "neither"),
            (&[("clients", "some")], "neither yes nor no"),
            (&[("by", "magic")], "none of auto"),
        ] {
            let error = format!("{:#}", options(given).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn without_options_chance_mixes_something() {
        for seed in 0..200 {
            let how = mix(&mut stream(seed, 1));
            assert!(
                how.is_any() && how.jitter <= how.delay && how.sound() > 0.7,
                "{how}"
            );
        }
        assert_eq!(mix(&mut stream(7, 1)), mix(&mut stream(7, 1)));
    }

    #[test]
    fn where_every_link_is_cut_there_is_nothing_to_disturb() {
        let view = View {
            cut: Cut::from([(0, 1)]),
            ..view()
        };
        let aim = |shape| Packets.aim(shape, &options(&[]).unwrap(), &view, &mut stream(1, 1));
        assert!(aim("n1>n2").is_err_and(|e| e.is::<AllHeld>()));
        assert!(aim("n2>n1").is_ok());
    }
}
