//! Cut links: who no longer hears whom. The shapes are Jepsen's, and a few more that need a link between a leader and its clients.

use crate::arena::CLIENTS;
use crate::nemesis::options::{off_or_time, text};
use crate::nemesis::select::{self, majority, minority};
use crate::nemesis::{Family, Fault, FaultOption, FaultOptions, Shape, View, World, named_nodes};
use crate::network::{Cut, Link, Manner, Proof};
use anyhow::{Context, Result, bail};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::Harm;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The family.
pub(super) struct Partition;

/// How long the probes may take to agree with the rules.
const PROBE_LIMIT: Duration = Duration::from_millis(500);

/// A cut takes the slower firewall 20 ms.
const FLAP_MIN: Duration = Duration::from_millis(50);

const SHAPES: &[Shape] = &[
    Shape {
        name: "one",
        nodes_min: 2,
        help: "one node, drawn from the seed, alone; its clients stay with it",
        drawn: true,
    },
    Shape {
        name: "halves",
        nodes_min: 2,
        help: "two halves; each keeps its clients",
        drawn: true,
    },
    Shape {
        name: "minority",
        nodes_min: 2,
        help: "a minority and a majority; each keeps its clients",
        drawn: true,
    },
    Shape {
        name: "leader",
        nodes_min: 2,
        help: "the leader alone; its clients stay with it",
        drawn: true,
    },
    Shape {
        name: "leader-and-in-sync",
        nodes_min: 3,
        help: "the leader and the follower whose acknowledgement it waits for (ack=semi-sync), their clients with them",
        drawn: false,
    },
    Shape {
        name: "leader-without-clients",
        nodes_min: 1,
        help: "the leader alone, without clients",
        drawn: true,
    },
    Shape {
        name: "bridge",
        nodes_min: 3,
        help: "two halves, and one node that sees both",
        drawn: true,
    },
    Shape {
        name: "ring",
        nodes_min: 4,
        help: "every node sees a majority, no two see the same one",
        drawn: true,
    },
    Shape {
        name: "one-way",
        nodes_min: 2,
        help: "one node hears no other node, but is heard",
        drawn: true,
    },
];

impl Family for Partition {
    fn name(&self) -> &'static str {
        "partition"
    }

    fn harms(&self) -> &'static [Harm] {
        &[Harm::Behind]
    }

    fn summary(&self) -> &'static str {
        "links cut at the router; n1+n2/n3 names a split (clients may be named too), n1 a node that is alone"
    }

    fn shapes(&self) -> &'static [Shape] {
        SHAPES
    }

    fn aim(
        &self,
        shape: &str,
        options: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        Ok(Box::new(Partitioned {
            manner: manner(options)?,
            flap: flap(options)?,
            ..draw(shape, view, rng)?
        }))
    }

    fn options(&self) -> &'static [FaultOption] {
        &[
            FaultOption {
                name: "with",
                default: "drop",
                help: "drop | reset: whether packets vanish, or TCP is answered with a reset",
            },
            FaultOption {
                name: "flap",
                default: "off",
                help: "off, or a time such as 500ms: cut for so long, open for so long, in turn",
            },
        ]
    }

    fn understands(&self, options: &FaultOptions) -> Result<()> {
        manner(options)?;
        flap(options).map(drop)
    }

    fn accepts(&self, shape: &str, names: &[String]) -> Result<()> {
        named_split(shape, names).map(drop)
    }
}

fn manner(options: &FaultOptions) -> Result<Manner> {
    match text(options, "with") {
        "drop" => Ok(Manner::Drop),
        "reset" => Ok(Manner::Reset),
        other => bail!("with = {other:?} is neither drop nor reset"),
    }
}

fn flap(options: &FaultOptions) -> Result<Option<Duration>> {
    off_or_time(options, "flap", FLAP_MIN)
}

/// What the shape means for this cluster.
fn draw(shape: &str, view: &View, rng: &mut ChaCha8Rng) -> Result<Partitioned> {
    let n = view.names.len();
    let leader = || view.leader.context("no node leads now");
    Ok(match shape {
        "one" => alone(vec![rng.random_range(0..n)], view, ""),
        "leader" => alone(vec![leader()?], view, "the leader "),
        "leader-and-in-sync" => {
            let Some(follower) = view.in_sync.first() else {
                bail!("no follower is in sync now");
            };
            alone(
                vec![leader()?, *follower],
                view,
                "the leader and its follower in sync, ",
            )
        }
        "leader-without-clients" => {
            let leader = leader()?;
            let everybody_else: Vec<_> = (0..=n).filter(|h| *h != leader).collect();
            let what = format!("the leader {} alone, without clients", view.names[leader]);
            split(what, &[vec![leader], everybody_else], n)
        }
        "halves" => drawn_split(n / 2, view, rng),
        "minority" => drawn_split(minority(n), view, rng),
        "bridge" => bridge(view, rng),
        "ring" => ring(view, rng),
        "one-way" => one_way(view, rng),
        named => {
            let groups = named_split(named, &view.names)?;
            match groups.as_slice() {
                [nodes] => alone(nodes.clone(), view, ""),
                groups => split(format!("split {named}"), groups, n),
            }
        }
    })
}

/// The first group, apart from the others.
fn split(what: String, groups: &[Vec<usize>], nodes: usize) -> Partitioned {
    let isolated = groups.first().into_iter().flatten();
    Partitioned {
        what,
        cut: between(groups),
        isolated: isolated.copied().filter(|host| *host < nodes).collect(),
        ..Partitioned::default()
    }
}

/// Every link between different groups, both ways.
fn between(groups: &[Vec<usize>]) -> Cut {
    let mut cut = Cut::new();
    for (i, a) in groups.iter().enumerate() {
        for b in groups
            .iter()
            .enumerate()
            .filter(|(j, _)| *j != i)
            .flat_map(|(_, b)| b)
        {
            cut.extend(a.iter().map(|a| (*a, *b)));
        }
    }
    cut
}

fn alone(nodes: Vec<usize>, view: &View, who: &str) -> Partitioned {
    let n = view.names.len();
    let rest: Vec<_> = (0..n).filter(|node| !nodes.contains(node)).collect();
    let what = format!(
        "{who}{} alone, {} clients with {}",
        select::list(&nodes, &view.names),
        if nodes.len() == 1 { "its" } else { "their" },
        if nodes.len() == 1 { "it" } else { "them" }
    );
    split(what, &[nodes, rest], n)
}

fn shuffled(n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(rng);
    order
}

fn drawn_split(count: usize, view: &View, rng: &mut ChaCha8Rng) -> Partitioned {
    let mut some = shuffled(view.names.len(), rng);
    let mut rest = some.split_off(count);
    some.sort_unstable();
    rest.sort_unstable();
    let what = format!(
        "{} from {}",
        select::list(&some, &view.names),
        select::list(&rest, &view.names)
    );
    split(what, &[some, rest], view.names.len())
}

fn bridge(view: &View, rng: &mut ChaCha8Rng) -> Partitioned {
    let mut rest = shuffled(view.names.len(), rng);
    let middle = rest.remove(0);
    let other = rest.split_off(rest.len() / 2);
    let what = format!(
        "{} from {}, with {} as the bridge",
        select::list(&rest, &view.names),
        select::list(&other, &view.names),
        view.names[middle]
    );
    nobody_alone(what, between(&[rest, other]))
}

/// A cut that has no isolated side.
fn nobody_alone(what: String, cut: Cut) -> Partitioned {
    Partitioned {
        what,
        cut,
        ..Partitioned::default()
    }
}

/// Each node hears the majority nearest to it on a ring; distance is symmetric, so links are cut both ways.
fn ring(view: &View, rng: &mut ChaCha8Rng) -> Partitioned {
    let n = view.names.len();
    let order = shuffled(n, rng);
    let reach = (majority(n) - 1).div_ceil(2);
    let mut cut = Cut::new();
    for a in 0..n {
        for b in 0..n {
            let distance = (a + n - b) % n;
            if distance.min(n - distance) > reach {
                cut.insert((order[a], order[b]));
            }
        }
    }
    let order = select::list(&order, &view.names);
    nobody_alone(format!("majorities on the ring {order}"), cut)
}

fn one_way(view: &View, rng: &mut ChaCha8Rng) -> Partitioned {
    let n = view.names.len();
    let deaf = rng.random_range(0..n);
    let cut = (0..n)
        .filter(|other| *other != deaf)
        .map(|other| (other, deaf))
        .collect();
    Partitioned {
        what: format!("{} hears no other node, but is heard", view.names[deaf]),
        cut,
        isolated: vec![deaf],
        ..Partitioned::default()
    }
}

/// Reads `n1+n2/n3+clients`, or `n1+n2`, which are alone. A host that is not named keeps all its links.
fn named_split(text: &str, names: &[String]) -> Result<Vec<Vec<usize>>> {
    let hosts: Vec<String> = names.iter().cloned().chain([CLIENTS.to_owned()]).collect();
    let groups = text
        .split('/')
        .map(|group| named_nodes(group, &hosts).map_err(|_| {
            anyhow::anyhow!("{group:?} is no list of hosts such as n1+n2; there are n1 to n{} and {CLIENTS}", names.len())
        }))
        .collect::<Result<Vec<_>>>()?;
    if let [side] = groups.as_slice() {
        let all = side.len() == names.len();
        if all || side.contains(&names.len()) {
            bail!(
                "a split names at least two sides, such as n1+n2/n3, or nodes that are alone, such as n1+n2"
            );
        }
    }
    let mut all: Vec<usize> = groups.iter().flatten().copied().collect();
    all.sort_unstable();
    if all.windows(2).any(|pair| pair[0] == pair[1]) {
        bail!("a host stands on two sides of the split {text:?}");
    }
    Ok(groups)
}

struct Partitioned {
    what: String,
    cut: Cut,
    /// The side that is apart from the others, where there is one.
    isolated: Vec<usize>,
    manner: Manner,
    /// How long it is cut and how long open, in turn.
    flap: Option<Duration>,
    open: bool,
    /// How often it was cut.
    cuts: u64,
    /// Packets that the rules of its links have stopped: until it began, then while it was in force.
    stopped: BTreeMap<Link, u64>,
}

impl Default for Partitioned {
    fn default() -> Self {
        Self {
            what: String::new(),
            cut: Cut::new(),
            isolated: Vec::new(),
            manner: Manner::Drop,
            flap: None,
            open: false,
            cuts: 1,
            stopped: BTreeMap::new(),
        }
    }
}

impl Fault for Partitioned {
    fn what(&self) -> String {
        let manner = match self.manner {
            Manner::Drop => "",
            Manner::Reset => ", TCP is reset",
        };
        let flap = self.flap.map_or_else(String::new, |time| {
            format!(", cut and open for {} ms in turn", time.as_millis())
        });
        format!("partition: {}{manner}{flap}", self.what)
    }

    fn value(&self, world: &World) -> Map<String, Value> {
        Map::from_iter([("cut".to_owned(), world.network.describe(&self.cut))])
    }

    fn nodes(&self) -> &[usize] {
        &self.isolated
    }

    fn inject(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.stopped = world.network.stopped(&self.cut)?;
        world.cut(id, self.cut.clone(), self.manner)
    }

    fn every(&self) -> Option<Duration> {
        self.flap
    }

    fn drive(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.open = !self.open;
        if self.open {
            world.mend(id)
        } else {
            self.cuts += 1;
            world.cut(id, self.cut.clone(), self.manner)
        }
    }

    fn prove(&mut self, world: &mut World) -> Result<Proof> {
        if self.cut.is_empty() {
            let evidence = "no link to cut: too few nodes for this shape".to_owned();
            return Ok(Proof {
                proved: false,
                evidence,
            });
        }
        world.network.prove(PROBE_LIMIT)
    }

    fn heal(&mut self, id: u64, world: &mut World) -> Result<()> {
        for (link, until_now) in world.network.stopped(&self.cut)? {
            let before = self.stopped.entry(link).or_default();
            *before = until_now.saturating_sub(*before);
        }
        world.mend(id)
    }

    fn came_of_it(&self, world: &World) -> Map<String, Value> {
        Map::from_iter([("stopped".to_owned(), world.network.by_link(&self.stopped))])
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        let mut proof = world.network.prove(PROBE_LIMIT)?;
        let stopped: u64 = self.stopped.values().sum();
        let _ = write!(
            proof.evidence,
            "; until then its rules stopped {stopped} packets"
        );
        if self.flap.is_some() {
            let _ = write!(proof.evidence, "; it was cut {} times", self.cuts);
        }
        Ok(proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(n: usize) -> View {
        View {
            names: (1..=n).map(|i| format!("n{i}")).collect(),
            leader: Some(0),
            ..View::default()
        }
    }

    fn cut(shape: &str, n: usize) -> Cut {
        draw(
            shape,
            &view(n),
            &mut schism_workloads::generator::stream(3, 9),
        )
        .unwrap()
        .cut
    }

    #[test]
    fn the_leader_alone_keeps_its_clients() {
        let cut = cut("leader", 3);
        assert_eq!(cut, Cut::from([(0, 1), (0, 2), (1, 0), (2, 0)]));
    }

    #[test]
    fn the_leader_and_who_is_in_sync_are_on_one_side() {
        let view = View {
            in_sync: vec![2],
            ..view(5)
        };
        let mut rng = schism_workloads::generator::stream(3, 9);
        let both = draw("leader-and-in-sync", &view, &mut rng).unwrap();
        assert_eq!(both.isolated, [0, 2]);
        assert!(!both.cut.contains(&(0, 2)) && both.cut.contains(&(0, 1)));
    }

    #[test]
    fn every_node_of_a_ring_hears_a_majority_and_no_two_the_same() {
        for n in [4, 5, 7, 9] {
            let cut = cut("ring", n);
            let heard = |to: usize| -> Vec<usize> {
                (0..n).filter(|from| !cut.contains(&(*from, to))).collect()
            };
            let views: std::collections::BTreeSet<_> = (0..n).map(heard).collect();
            assert!(
                views.iter().all(|v| v.len() >= majority(n)),
                "{n}: {views:?}"
            );
            assert!(views.len() == n, "{n}: {views:?}");
        }
    }

    #[test]
    fn one_node_bridges_two_halves() {
        let cut = cut("bridge", 5);
        let whole: Vec<_> = (0..5)
            .filter(|n| cut.iter().all(|(a, b)| a != n && b != n))
            .collect();
        assert_eq!(whole.len(), 1);
        assert_eq!(cut.len(), 8);
    }

    #[test]
    fn one_way_is_one_way() {
        let cut = cut("one-way", 4);
        assert_eq!(cut.len(), 3);
        assert!(cut.iter().all(|(a, b)| !cut.contains(&(*b, *a))));
    }

    #[test]
    fn a_named_split_may_name_the_clients() {
        assert_eq!(
            cut("n1+clients/n2", 3),
            Cut::from([(0, 1), (3, 1), (1, 0), (1, 3)])
        );
        let names = view(3).names;
        for bad in ["n1+n2+n3", "clients", "n1+clients", "n1/n1", "n1/n9", "/"] {
            assert!(named_split(bad, &names).is_err(), "{bad}");
        }
    }
}
