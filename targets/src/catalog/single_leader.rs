//! The target `single-leader`: its options, how its nodes are started, what its configurations promise.
//!
//! The replica itself is in `replicas/single_leader/`; this file is its face to the registry and to the
//! server's start.

mod options;
mod setup;

use std::path::Path;

use crate::registry::{
    Guarantees, LoseUnsynced, NodeAddress, NodeCommand, NotSimulated, OptionError, OptionSpec,
    Options, Program, ReadPromise, Target, Varied, fill_in, per_node,
};
use crate::replicas::NodeName;
use crate::replicas::single_leader::BUGS;
use crate::server::partitions;
use crate::simulator::{self, Simulation};
use crate::storage;
use crate::wire::{self, MembersBody, Role, Status};
use options::{HEARTBEATS, LAGS, NOT_SIMULATED, OPTIONS, PRIORITIES, SNAPSHOTS};
pub(crate) use setup::{Setup, configure};
use setup::{all_may_lead, longest_lag, number, priorities};

/// The name of the target.
pub const NAME: &str = "single-leader";

/// The target.
#[derive(Debug, Clone, Copy)]
pub struct SingleLeader;

impl Target for SingleLeader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "one leader orders all writes in a log, followers copy it (registers, sets, counters, queues, transactions, generated ids)"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn bugs(&self) -> Vec<(&'static str, &'static str)> {
        BUGS.iter().map(|(name, _, told)| (*name, *told)).collect()
    }

    fn resolve(&self, given: &Options, nodes: usize) -> Result<Options, OptionError> {
        let options = fill_in(NAME, OPTIONS, given)?;
        if !(1..=15).contains(&nodes) {
            return Err(OptionError::Nodes {
                target: NAME,
                nodes,
                choices: "1 to 15",
            });
        }
        check_names(&options, nodes)?;
        if number(&options, "heartbeat") * 2 > number(&options, "election-timeout") {
            let why = "it is at most half of election-timeout";
            return Err(wrong("heartbeat", &options, why));
        }
        Ok(options)
    }

    fn command(
        &self,
        options: &Options,
        node: &NodeAddress,
        peers: &[NodeAddress],
        data: &Path,
    ) -> NodeCommand {
        let data = data.display().to_string();
        let mut args: Vec<String> = [
            "node", "--target", NAME, "--id", &node.name, "--data", &data,
        ]
        .map(str::to_owned)
        .to_vec();
        args.extend(["--listen".to_owned(), node.address.to_string()]);
        for peer in peers.iter().filter(|peer| peer.name != node.name) {
            args.extend([
                "--peer".to_owned(),
                format!("{}={}", peer.name, peer.address),
            ]);
        }
        for (name, value) in options {
            args.extend(["--set".to_owned(), format!("{name}={value}")]);
        }
        NodeCommand {
            program: Program::Own,
            args,
            env: Vec::new(),
        }
    }

    fn lose_unsynced(&self) -> Option<LoseUnsynced> {
        Some(|data, keep| {
            let (mut records, mut bytes) = (0, 0);
            for partition in (0..).map(|number| partitions::folder(data, number)) {
                if !partition.is_dir() {
                    break;
                }
                let lost = storage::lose_unsynced(&partition, keep)?;
                records += lost.records;
                bytes += lost.bytes;
            }
            Ok(format!(
                "{records} records ({bytes} bytes) were not synced and are gone"
            ))
        })
    }

    fn recovered(&self, statuses: &[Option<Status>]) -> Result<(), String> {
        let mut partitions = wire::of_partitions(statuses).into_iter();
        partitions.try_for_each(|of| partition_recovered(&of))
    }

    fn simulation(
        &self,
        options: &Options,
        nodes: usize,
        setup: &simulator::Setup,
    ) -> Option<Box<dyn Simulation>> {
        let one_log = setup::partitions(options) == 1;
        one_log.then(|| simulator::single_leader::simulation(options, nodes, setup))
    }

    fn varied(&self, options: &Options, nodes: usize) -> Vec<Varied> {
        let option = |name: &str| options.get(name).map_or("", String::as_str);
        let mut varied = vec![SNAPSHOTS];
        if number(options, "election-timeout") >= 500 {
            varied.push(HEARTBEATS);
        }
        // A window assumes that there is no lag.
        if option("read") != "window" {
            varied.push(LAGS);
        }
        if option("failover") == "consensus" && nodes >= 3 {
            varied.push(PRIORITIES);
        }
        varied
    }

    fn not_simulated(&self) -> &'static [NotSimulated] {
        NOT_SIMULATED
    }

    fn change_members(&self, options: &Options, node: &str, join: bool) -> Vec<(String, String)> {
        let name = node.to_owned();
        let body = if join {
            MembersBody::Join(name)
        } else {
            MembersBody::Leave(name)
        };
        let body = serde_json::json!(body).to_string();
        let path = |number| format!("{}?partition={number}", wire::MEMBERS_PATH);
        let all = 0..setup::partitions(options);
        all.map(|number| (path(number), body.clone())).collect()
    }

    fn guarantees(&self, options: &Options) -> Guarantees {
        let option = |name: &str| options.get(name).map_or("", String::as_str);
        let (ack, failover, read) = (option("ack"), option("failover"), option("read"));
        let one_leader = failover != "naive";
        let quorum = matches!(ack, "majority" | "sync");
        let keeps = failover == "off" || (failover == "consensus" && quorum);
        let reads = match read {
            "leader-quorum" if keeps => ReadPromise::Linearizable,
            // Only votes are held back while a lease runs.
            "leader-lease"
                if failover == "consensus" && keeps && option("lease-clock") == "monotonic" =>
            {
                ReadPromise::Linearizable
            }
            // The one leader of `off` is never deposed, so its own state is always the newest.
            "leader" | "leader-lease" if failover == "off" => ReadPromise::Linearizable,
            "leader" | "leader-quorum" | "leader-lease" => ReadPromise::Leader,
            "caught-up" => ReadPromise::Session,
            "window" if longest_lag(options) < number(options, "window") => ReadPromise::OwnWrites,
            "sticky" => ReadPromise::Sticky,
            _ => ReadPromise::Eventual,
        };
        // Each partition has terms of its own, and answers of several say none.
        let one_log = setup::partitions(options) == 1;
        Guarantees {
            reads,
            consistent_prefix: match reads {
                ReadPromise::Linearizable => true,
                // In one log, only who goes from replica to replica may go back.
                ReadPromise::Leader | ReadPromise::Session | ReadPromise::Sticky => {
                    one_log || option("placement") == "causal"
                }
                ReadPromise::OwnWrites | ReadPromise::Eventual => false,
            },
            keeps_acknowledged_writes: keeps,
            no_split_brain: one_leader && keeps && one_log,
            survives_power_loss: matches!(option("fsync"), "always" | "each"),
            survives_clock_jumps: read != "leader-lease"
                || failover == "off"
                || option("lease-clock") == "monotonic",
            survives_replacement: failover == "consensus" && quorum,
            available_with_minority_down: failover != "off"
                && ack != "sync"
                && all_may_lead(options),
        }
    }
}

/// Whether the members of one partition agree with its leader, and have all that it has.
fn partition_recovered(statuses: &[&Status]) -> Result<(), String> {
    let leader = wire::leading(statuses).ok_or("no node leads")?;
    for member in &leader.members {
        let status = statuses.iter().find(|status| status.node == *member);
        follows(
            status.ok_or_else(|| format!("{member} is unreachable"))?,
            leader,
        )?;
    }
    Ok(())
}

/// Whether a node agrees with the leader and has all that it has.
fn follows(status: &Status, leader: &Status) -> Result<(), String> {
    let (node, lead) = (&status.node, &leader.node);
    if status.role == Role::Joining {
        return Err(format!("{node} has not caught up since it started"));
    }
    if status.leader.as_ref() != Some(lead) || status.term != leader.term {
        return Err(format!(
            "{node} does not follow {lead} in term {}",
            leader.term
        ));
    }
    let (position, target) = (status.position, leader.position);
    if position > target {
        return Err(format!(
            "{node} has {position} entries, its leader {target}"
        ));
    }
    // What is applied beyond `matched` may be about to be rolled back.
    let applied = status.applied.min(status.matched);
    if applied < target {
        return Err(format!("{node} has applied {applied} of {target} entries"));
    }
    Ok(())
}

/// What is said of nodes and partitions is said of some that there are, and somebody may lead.
fn check_names(options: &Options, nodes: usize) -> Result<(), OptionError> {
    let nodes: Vec<String> = (1..=nodes).map(|number| format!("n{number}")).collect();
    let partitions = (0..setup::partitions(options)).map(|number| format!("p{number}"));
    check_known("priority", options, &nodes)?;
    check_known("node-lag", options, &nodes)?;
    check_known("partition-lag", options, &partitions.collect::<Vec<_>>())?;
    let priority = priorities(&options["priority"]);
    let leads = |name: &String| priority.get(&NodeName::from(name.as_str())) != Some(&0);
    if nodes.iter().any(leads) {
        return Ok(());
    }
    Err(wrong("priority", options, "somebody must be able to lead"))
}

/// An option that says a number of some of these says none of others.
fn check_known(name: &'static str, options: &Options, known: &[String]) -> Result<(), OptionError> {
    let said = per_node(&options[name]).unwrap_or_default();
    match said.keys().find(|one| !known.contains(one)) {
        Some(one) => {
            let why = format!("there is no {one} among {}", known.join(", "));
            Err(wrong(name, options, &why))
        }
        None => Ok(()),
    }
}

fn wrong(name: &str, options: &Options, choices: &str) -> OptionError {
    OptionError::Value {
        name: name.to_owned(),
        value: options[name].clone(),
        choices: choices.to_owned(),
        hint: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_nobody_is_refused() {
        let resolve = |name: &str, value: &str| {
            let given = [(name, value), ("partitions", "2")];
            let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
            SingleLeader.resolve(&Options::from(given), 3)
        };
        for (name, good, bad) in [
            ("priority", "n1=2,n3=0", "n4=2"),
            ("node-lag", "n1=0,n3=500", "n9=500"),
            ("partition-lag", "p0=0,p1=300", "p2=300"),
        ] {
            assert!(resolve(name, good).is_ok(), "{name}={good}");
            let error = resolve(name, bad).unwrap_err().to_string();
            let nobody = bad.split('=').next().unwrap();
            assert!(error.contains(&format!("no {nobody} among")), "{error}");
        }
        let nobody = resolve("priority", "n1=0,n2=0,n3=0").unwrap_err();
        assert!(nobody.to_string().contains("able to lead"), "{nobody}");
    }
}
