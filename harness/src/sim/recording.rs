//! The history of a simulation while it grows, in the shapes that a real run's has.

use super::plan::PlannedFault;
use anyhow::{Context, Result};
use schism_history::{Event, EventKind, History, NodeId, Process, Time};
use schism_targets::simulator::{Host, Injected, Micros};
use schism_workloads::{Completion, Invocation};
use serde_json::{Value, json};

/// What was written down so far.
#[derive(Debug, Default)]
pub(super) struct Recording(Vec<Event>);

fn time(at: Micros) -> Time {
    Time(at.0 * 1000)
}

fn name(node: usize) -> String {
    Host::Node(node).to_string()
}

impl Recording {
    /// All of it.
    pub(super) fn history(self) -> Result<History> {
        History::new(self.0).context("the simulation has written no history")
    }

    fn nemesis(&mut self, at: Micros, f: &'static str, value: Value) {
        let (process, kind) = (Process::Nemesis, EventKind::Info);
        self.0.push(Event::new(time(at), process, kind, f, value));
    }

    /// What a checker is to know beside the operations.
    pub(super) fn declared(&mut self, at: Micros, name: &'static str, value: Value) {
        self.nemesis(at, name, value);
    }

    /// A stage of the driver begins.
    pub(super) fn phase(&mut self, at: Micros, phase: &str) {
        self.nemesis(at, "phase", json!({"phase": phase}));
    }

    /// The target's own word on whether it has recovered.
    pub(super) fn recovery(
        &mut self,
        at: Micros,
        since: Micros,
        limit: Micros,
        word: Result<(), String>,
    ) {
        let value = match word {
            Ok(()) => {
                let after = Micros(at.0 - since.0).as_millis_f64();
                json!({"recovered": true, "after_ms": after})
            }
            Err(why) => {
                json!({"recovered": false, "within_ms": limit.0 / 1000, "why": why})
            }
        };
        self.nemesis(at, "recovery", value);
    }

    /// A fault came, and is in force: nothing in a simulation can hinder it.
    pub(super) fn injected(&mut self, at: Micros, planned: &PlannedFault, injected: &Injected) {
        let (family, id) = (planned.fault.family(), planned.id);
        let nodes: Vec<String> = injected.nodes.iter().copied().map(name).collect();
        let what = &injected.what;
        let inject = json!({"fault": id, "stage": "inject", "nodes": nodes, "what": what});
        self.nemesis(at, family, inject);
        let effect =
            json!({"fault": id, "stage": "effect", "proved": true, "evidence": "simulated"});
        self.nemesis(at, family, effect);
    }

    /// It was healed.
    pub(super) fn healed(&mut self, at: Micros, planned: &PlannedFault) {
        let (family, id) = (planned.fault.family(), planned.id);
        self.nemesis(at, family, json!({"fault": id, "stage": "heal"}));
        self.nemesis(
            at,
            family,
            json!({"fault": id, "stage": "healed", "proved": true}),
        );
    }

    /// An operation begins; `last`: it is a final read of that node.
    pub(super) fn invoked(
        &mut self,
        at: Micros,
        process: u64,
        invocation: &Invocation,
        last: Option<usize>,
    ) {
        let event = invocation.event(time(at), Process::Client(process));
        self.0.push(of_final_read(event, last));
    }

    /// It has come to its end.
    pub(super) fn completed(
        &mut self,
        at: Micros,
        process: u64,
        invocation: &Invocation,
        completion: Completion,
        last: Option<usize>,
    ) {
        let event = completion.event(invocation, time(at), Process::Client(process));
        self.0.push(of_final_read(event, last));
    }
}

fn of_final_read(mut event: Event, node: Option<usize>) -> Event {
    if let Some(node) = node {
        event.is_final = true;
        event.node.get_or_insert_with(|| NodeId(name(node).into()));
    }
    event
}
