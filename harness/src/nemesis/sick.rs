//! Disks that fail while their nodes run: full, broken or slow. Each is asked by a call of ours what it does.

use super::select;
use super::{Fault, World};
use crate::cluster::State;
use crate::disk::{Call, Rule};
use crate::network::Proof;
use anyhow::{Result, bail};
use nix::errno::Errno;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A call may be late for other reasons: so often it is asked whether the disk is fast again.
const ASKED_MAX: u32 = 20;

/// The fault.
pub(super) struct Sick {
    pub(super) nodes: Vec<usize>,
    pub(super) names: Vec<String>,
    pub(super) rule: Rule,
    /// How many calls each disk had refused and how many were late, before.
    before: Vec<(u64, u64)>,
    /// Which nodes had ended and were started again.
    restarted: Vec<usize>,
}

impl Sick {
    pub(super) fn new(nodes: Vec<usize>, names: Vec<String>, rule: Rule) -> Self {
        Self {
            nodes,
            names,
            rule,
            before: Vec::new(),
            restarted: Vec::new(),
        }
    }

    /// The calls that show what the disk does. Where nothing can be written there is nothing to sync.
    fn telling(&self) -> Vec<Call> {
        match &self.rule {
            Rule::Full => vec![Call::Write],
            Rule::Broken(calls) if calls.contains(&Call::Write) => {
                let mut calls = calls.clone();
                calls.retain(|call| *call != Call::Sync);
                calls
            }
            Rule::Broken(calls) => calls.clone(),
            // One is enough: each takes its time.
            Rule::Late(calls, _) => calls.iter().take(1).copied().collect(),
        }
    }

    fn counts(&self, world: &World) -> Result<Vec<(u64, u64)>> {
        let count = |node: &usize| {
            let policy = world.cluster.disk(*node)?.policy();
            Ok((policy.refused(), policy.late()))
        };
        self.nodes.iter().map(count).collect()
    }
}

impl Fault for Sick {
    fn what(&self) -> String {
        let nodes = select::list(&self.nodes, &self.names);
        match &self.rule {
            Rule::Full => format!("disk full on {nodes}"),
            Rule::Broken(calls) => format!("disk broken on {nodes} ({}: EIO)", list(calls)),
            Rule::Late(calls, by) => format!(
                "disk slow on {nodes} ({}: {} ms longer)",
                list(calls),
                by.as_millis()
            ),
        }
    }

    fn value(&self, _: &World) -> Map<String, Value> {
        let mut value = select::value(&self.nodes, &self.names);
        let mut put = |name: &str, what: Value| value.insert(name.to_owned(), what);
        let names = |calls: &[Call]| json!(calls.iter().map(|c| c.name()).collect::<Vec<_>>());
        match &self.rule {
            Rule::Full => put("do", json!("full")),
            Rule::Broken(calls) => {
                put("calls", names(calls));
                put("do", json!("eio"))
            }
            Rule::Late(calls, by) => {
                put("calls", names(calls));
                put("by_ms", json!(by.as_millis() as u64));
                put("do", json!("slow"))
            }
        };
        value
    }

    fn nodes(&self) -> &[usize] {
        &self.nodes
    }

    fn inject(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.before = self.counts(world)?;
        let mut nodes = self.nodes.iter();
        nodes.try_for_each(|node| world.sicken(id, *node, self.rule.clone()))
    }

    fn prove(&mut self, world: &mut World) -> Result<Proof> {
        let mut proved = true;
        let mut evidence = Vec::new();
        let asked = self.on_each(|node| {
            let calls = self.telling().into_iter();
            calls
                .map(|call| Ok((call, world.cluster.probe_disk(node, call)?)))
                .collect::<Result<Vec<_>>>()
        })?;
        for (node, answers) in self.nodes.iter().zip(asked) {
            for (call, answer) in answers {
                proved &= match &self.rule {
                    Rule::Full => answer.error == Some(Errno::ENOSPC as i32),
                    Rule::Broken(_) => answer.error == Some(Errno::EIO as i32),
                    Rule::Late(_, by) => answer.took >= *by,
                };
                evidence.push(format!("{}: {}: {answer}", self.names[*node], call.name()));
            }
        }
        Ok(Proof {
            proved,
            evidence: format!("{} (a call of ours)", evidence.join("; ")),
        })
    }

    fn heal(&mut self, id: u64, world: &mut World) -> Result<()> {
        for node in &self.nodes {
            if world.cure(id, *node)? {
                self.restarted.push(*node);
            }
        }
        Ok(())
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        let mut proved = true;
        let mut evidence = Vec::new();
        let asked = self.on_each(|node| self.asked_again(world, node))?;
        let counts = self.before.iter().zip(self.counts(world)?);
        for ((node, (well, mut said)), (before, after)) in self.nodes.iter().zip(asked).zip(counts)
        {
            proved &= well;
            let (refused, late) = (after.0 - before.0, after.1 - before.1);
            said.push(format!(
                "calls of the node refused: {refused}, late: {late}"
            ));
            if self.restarted.contains(node) {
                said.push("it had ended, and is started again".to_owned());
            } else if let State::Gone(how) = world.cluster.state(*node) {
                said.push(format!("the node is down: {how}"));
            }
            evidence.push(format!("{}: {}", self.names[*node], said.join(", ")));
        }
        Ok(Proof {
            proved,
            evidence: evidence.join("; "),
        })
    }
}

impl Sick {
    /// Does something on behalf of each node at once: a call of a slow disk takes its time.
    fn on_each<T: Send>(&self, ask: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
        std::thread::scope(|scope| {
            let ask = &ask;
            let nodes = self.nodes.iter();
            let threads: Vec<_> = nodes.map(|node| scope.spawn(|| ask(*node))).collect();
            let done = threads.into_iter().map(|thread| match thread.join() {
                Ok(done) => done,
                Err(_) => bail!("a thread that asked a disk panicked"),
            });
            done.collect()
        })
    }

    /// Whether a node's disk does again as a sound one would, and what it answers.
    fn asked_again(&self, world: &World, node: usize) -> Result<(bool, Vec<String>)> {
        if world.is_sick(node) {
            return Ok((true, vec!["another fault makes it fail".to_owned()]));
        }
        let mut all_well = true;
        let mut said = Vec::new();
        for call in self.telling() {
            let (well, answer) = self.is_well(world, node, call)?;
            all_well &= well;
            said.push(format!("{}: {answer}", call.name()));
        }
        Ok((all_well, said))
    }

    /// Asks until the disk does as a sound one would.
    fn is_well(&self, world: &World, node: usize, call: Call) -> Result<(bool, String)> {
        let limit = match &self.rule {
            Rule::Late(_, by) => *by,
            _ => Duration::MAX,
        };
        let mut said = String::new();
        for _ in 0..ASKED_MAX {
            let answer = world.cluster.probe_disk(node, call)?;
            said = answer.to_string();
            if answer.error.is_some() {
                break;
            }
            if answer.took < limit {
                return Ok((true, said));
            }
        }
        Ok((false, said))
    }
}

fn list(calls: &[Call]) -> String {
    let names: Vec<&str> = calls.iter().map(|call| call.name()).collect();
    names.join(", ")
}
