//! Faults and phases of a run, as the nemesis and the driver wrote them into the history.
//!
//! A fault has an id and four stages, each an event: `inject`, `effect` (proved or not), `heal`, `healed`. It is in force from
//! its `inject` to its `healed` event (or `heal`, where `healed` is missing). Unknown events of the nemesis are left alone.

use schism_history::{Event, Time};
use serde_json::Value;
use std::collections::BTreeMap;

/// One fault, from its injection to its heal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its number in the run.
    pub id: u64,
    /// `partition`, `kill`, `pause`, ...
    pub family: String,
    /// The nodes that it hits, as the nemesis named them.
    pub nodes: Vec<String>,
    /// What it does, in the nemesis' words.
    pub what: String,
    /// When it was injected.
    pub inject: Time,
    /// When its effect was looked for.
    pub effect: Option<Time>,
    /// When healing began.
    pub heal: Option<Time>,
    /// When healing was done.
    pub healed: Option<Time>,
    /// Whether its effect was proved; `None`: nobody looked.
    pub proved: Option<bool>,
    /// What was seen of its effect, in the nemesis' words.
    pub evidence: String,
    /// Whether its heal was proved; `None`: nobody looked.
    pub heal_proved: Option<bool>,
}

impl Fault {
    /// The end of its being in force: infinity when it was never healed.
    pub fn end(&self) -> Time {
        self.healed.or(self.heal).unwrap_or(Time::INFINITY)
    }

    /// Whether it is in force at `time`.
    pub fn in_force(&self, time: Time) -> bool {
        self.inject <= time && time < self.end()
    }

    /// Its name in a sentence: `fault 1 (partition: the leader alone)`.
    pub fn phrase(&self) -> String {
        match self.what.as_str() {
            "" => format!("fault {} ({})", self.id, self.family),
            what if what.starts_with(&self.family) => format!("fault {} ({what})", self.id),
            what => format!("fault {} ({}: {what})", self.id, self.family),
        }
    }
}

/// Where in the run a moment lies, with regard to the faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before the first fault; everything, in a run without faults.
    Before,
    /// While at least one fault is in force.
    During,
    /// After a fault and before the next one.
    Between,
    /// After the last heal.
    After,
    /// A final read.
    Final,
}

impl Phase {
    /// Its name in `results.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before-faults",
            Self::During => "during-faults",
            Self::Between => "between-faults",
            Self::After => "after-last-heal",
            Self::Final => "final",
        }
    }
}

/// What the driver said: phases, recovery, what is declared, an early end.
#[derive(Debug, Clone, Default)]
pub struct Driver<'h> {
    /// When each phase of the driver began (`main`, `heal`, `final-reads`, `end`), in order.
    pub phases: Vec<(String, Time)>,
    /// The `recovery` event, the last one if there are several.
    pub recovery: Option<&'h Event>,
    /// What the workload declared of its bank: see the property `bank`.
    pub bank: Option<&'h Event>,
    /// What the target was declared to keep: see the property `availability`.
    pub declared: Option<&'h Event>,
    /// Why the run was ended early.
    pub interrupted: Option<String>,
}

/// The faults by id, in order of injection.
pub(crate) fn faults(nemesis: &[&Event]) -> Vec<Fault> {
    let mut by_id: BTreeMap<u64, Fault> = BTreeMap::new();
    for event in nemesis {
        let (Some(id), Some(stage)) = (number(event, "fault"), event.value["stage"].as_str())
        else {
            continue;
        };
        if stage == "inject" {
            by_id.entry(id).or_insert_with(|| injected(id, event));
        } else if let Some(fault) = by_id.get_mut(&id) {
            advance(fault, stage, event);
        }
    }
    let mut faults: Vec<Fault> = by_id.into_values().collect();
    faults.sort_by_key(|f| (f.inject, f.id));
    faults
}

fn injected(id: u64, event: &Event) -> Fault {
    let nodes = event.value["nodes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    Fault {
        id,
        family: event.f.to_string(),
        nodes: nodes
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        what: text(event, "what"),
        inject: event.time,
        effect: None,
        heal: None,
        healed: None,
        proved: None,
        evidence: String::new(),
        heal_proved: None,
    }
}

fn advance(fault: &mut Fault, stage: &str, event: &Event) {
    match stage {
        "effect" => {
            fault.effect = Some(event.time);
            fault.proved = event.value["proved"].as_bool();
            fault.evidence = text(event, "evidence");
        }
        "heal" => fault.heal = Some(event.time),
        "healed" => {
            fault.healed = Some(event.time);
            fault.heal_proved = event.value["proved"].as_bool();
        }
        _ => {}
    }
}

/// What the driver said, among all that is not a client's.
pub(crate) fn driver<'h>(nemesis: &[&'h Event]) -> Driver<'h> {
    let mut driver = Driver::default();
    for event in nemesis.iter().copied() {
        match event.f.as_ref() {
            "phase" => driver.phases.push((text(event, "phase"), event.time)),
            "bank" => driver.bank = Some(event),
            "declared" => driver.declared = Some(event),
            "recovery" => driver.recovery = Some(event),
            "interrupted" => driver.interrupted = Some(text(event, "why")),
            _ => {}
        }
    }
    driver
}

fn number(event: &Event, field: &str) -> Option<u64> {
    event.value[field].as_u64()
}

fn text(event: &Event, field: &str) -> String {
    event.value[field].as_str().unwrap_or_default().to_owned()
}
