//! The target's own reconfiguration: nodes that it takes out of the cluster, and takes in again.

use super::down::Down;
use super::{Fault, World, select};
use crate::cluster::Cluster;
use crate::network::Proof;
use crate::node_http::{Answer, Question};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// How long somebody is looked for who takes a node out or in: longer would hold up the other faults, whose heals may be what the target waits for.
const LIMIT: Duration = Duration::from_secs(5);
/// How long one node may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(11);
/// Before it is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// The fault: nodes leave, one after the other, and are stopped; the heal starts them, empty or as they were, and they join.
pub(super) struct Left {
    pub(super) down: Down,
    /// Whether they come back without their data.
    pub(super) empty: bool,
    /// Who the members were after the last leave, or why not.
    pub(super) after: Result<Vec<String>, String>,
    /// The same after the last one has joined again.
    pub(super) again: Result<Vec<String>, String>,
}

impl Left {
    pub(super) fn new(down: Down, empty: bool) -> Self {
        let not_yet = || Err("nobody has asked yet".to_owned());
        Self {
            down,
            empty,
            after: not_yet(),
            again: not_yet(),
        }
    }

    /// What the target has said, and whether that is what was asked for.
    fn told(&self, members: &Result<Vec<String>, String>, are_in: bool) -> Proof {
        let names = self.down.nodes.iter().map(|node| &self.down.names[*node]);
        match members {
            Ok(members) => Proof {
                proved: names.clone().all(|name| members.contains(name) == are_in),
                evidence: format!("the members are {} (its leader says)", members.join(", ")),
            },
            Err(why) => Proof {
                proved: false,
                evidence: format!("the members were not changed: {why}"),
            },
        }
    }
}

impl Fault for Left {
    fn what(&self) -> String {
        let nodes = select::list(&self.down.nodes, &self.down.names);
        match (self.down.nodes.len(), self.empty) {
            (1, true) => format!("{nodes} leaves the cluster and comes back empty"),
            (1, false) => format!("{nodes} leaves the cluster and comes back as it was"),
            (_, true) => format!("{nodes} leave the cluster and come back empty"),
            (_, false) => format!("{nodes} leave the cluster and come back as they were"),
        }
    }

    fn value(&self, world: &World) -> Map<String, Value> {
        let mut value = self.down.value(world);
        let returns = if self.empty { "empty" } else { "as-it-was" };
        value.insert("do".to_owned(), json!("leave"));
        value.insert("returns".to_owned(), json!(returns));
        value
    }

    fn nodes(&self) -> &[usize] {
        self.down.nodes()
    }

    fn inject(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.after = change_all(world, &self.down.nodes, false);
        self.down.inject(id, world)
    }

    fn prove(&mut self, world: &mut World) -> Result<Proof> {
        let down = self.down.prove(world)?;
        let mut proof = self.told(&self.after, false).and(&down);
        if self.empty {
            for node in &self.down.nodes {
                let emptied = world.cluster.change_data(*node, super::damage::empty)?;
                proof.evidence = format!("{}; {emptied}", proof.evidence);
            }
        }
        Ok(proof)
    }

    fn heal(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.down.heal(id, world)?;
        self.again = take_in(world, &self.down.nodes);
        Ok(())
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        let up = self.down.prove_healed(world)?;
        Ok(self.told(&self.again, true).and(&up))
    }
}

/// Lets nodes join; those that nobody takes in now are remembered, to be asked for once nothing is in the way.
fn take_in(world: &mut World, nodes: &[usize]) -> Result<Vec<String>, String> {
    let again = change_all(world, nodes, true);
    match again {
        Ok(_) => world.outside.retain(|node| !nodes.contains(node)),
        Err(_) => world.outside.extend(nodes),
    }
    again
}

/// Asks once more for the nodes that nobody has taken in; answers what came of each. One that is a member already stays one.
pub(super) fn take_in_the_rest(world: &mut World) -> Vec<(usize, Result<Vec<String>, String>)> {
    let outside = std::mem::take(&mut world.outside).into_iter();
    let asked = outside.map(|node| (node, take_in(world, &[node])));
    asked.collect()
}

/// Asks for one change after the other; answers who the members are after the last.
fn change_all(world: &World, nodes: &[usize], join: bool) -> Result<Vec<String>, String> {
    let changed = nodes.iter().map(|node| change(world, *node, join));
    let last = changed.reduce(Result::and);
    last.unwrap_or_else(|| Err("no node is named".to_owned()))
}

/// Asks for one node's change, of each partition.
fn change(world: &World, node: usize, join: bool) -> Result<Vec<String>, String> {
    let cluster = &world.cluster;
    // The node itself, too: it may lead, also where it is to join, for nobody may have taken it out. A paused one would keep the question until the time is up.
    let able: Vec<usize> = (0..cluster.size())
        .filter(|asked| !world.is_paused(*asked))
        .collect();
    let name = cluster.name(node);
    let asks = cluster.target.change_members(&cluster.options, name, join);
    let done = asks
        .iter()
        .map(|(path, body)| change_one(cluster, &able, path, body));
    let last = done.reduce(Result::and);
    last.unwrap_or_else(|| Err("the target cannot".to_owned()))
}

/// Asks one of these nodes after the other, until the leader has done it or the time is up.
fn change_one(
    cluster: &Cluster,
    able: &[usize],
    path: &str,
    body: &str,
) -> Result<Vec<String>, String> {
    let begun = Instant::now();
    let mut why = "nobody leads".to_owned();
    for asked in able.iter().cycle() {
        let address = cluster.addresses[*asked].address;
        match ask(address, path, body) {
            Ok(members) => return Ok(members),
            Err(error) => why = format!("{error:#}"),
        }
        if begun.elapsed() > LIMIT {
            break;
        }
        std::thread::sleep(AGAIN);
    }
    Err(why)
}

fn ask(address: std::net::SocketAddr, path: &str, body: &str) -> Result<Vec<String>> {
    let answer = Question::to(address, ANSWER_LIMIT)?.post(path, body)?;
    let Answer {
        status,
        location,
        body,
    } = answer;
    match (status, location) {
        (200, _) => serde_json::from_value(body["value"].clone()).context("no list of members"),
        (307, Some(location)) => bail!("the leader is at {location}"),
        _ => bail!("{}", body["message"].as_str().unwrap_or("it was refused")),
    }
}
