//! What happened, as the report needs it: operations paired, faults by their stages, phases, and the span of the run.
//!
//! Reads the history only. The events of the nemesis and of the driver may be missing or unknown (a bare history file, another
//! version): whatever is not understood is left out.

use super::escape;
use schism_history::{Event, History, Op, Time};
use serde_json::Value;

/// One fault by its stages.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// Its number in the run.
    pub(super) id: u64,
    /// `partition`, `kill`, ...
    pub(super) family: String,
    /// What it does, in the nemesis' words without the family's name; the nodes if it has none.
    pub(super) what: String,
    pub(super) inject: Time,
    pub(super) effect: Option<Stage>,
    pub(super) heal: Option<Time>,
    pub(super) healed: Option<Stage>,
    pub(super) recovered: Option<Recovered>,
    /// What the rules of its links have stopped: from, to, how many packets.
    pub(super) stopped: Vec<(String, String, u64)>,
}

/// A stage at which the nemesis looked whether the fault is really there, or really gone.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) at: Time,
    /// `None` when the event does not say.
    pub(super) proved: Option<bool>,
    pub(super) evidence: String,
    /// How long it took since it was asked for, where the event says.
    pub(super) after_ms: Option<f64>,
}

/// What the target said of its recovery from one fault.
#[derive(Debug, Clone)]
pub(super) struct Recovered {
    pub(super) at: Time,
    /// `None`: another fault kept anybody from telling.
    pub(super) word: Option<bool>,
    pub(super) after_ms: Option<f64>,
    /// When it was asked last before it said no.
    pub(super) not_yet_ms: Option<f64>,
    /// How long it was to take at most.
    pub(super) within_ms: Option<f64>,
    pub(super) why: String,
}

impl Recovered {
    /// Whether it was seen not to have come when its time was over, as the property `recovery` judges it.
    pub(super) fn is_late(&self) -> bool {
        match (self.within_ms, self.not_yet_ms) {
            (Some(within), Some(asked)) => asked >= within,
            _ => false,
        }
    }
}

impl Fault {
    /// The end of its being in force; infinity when it was never healed.
    pub(super) fn end(&self) -> Time {
        self.healed
            .as_ref()
            .map(|s| s.at)
            .or(self.heal)
            .unwrap_or(Time::INFINITY)
    }

    /// Whether somebody saw that it took effect.
    pub(super) fn proved(&self) -> bool {
        self.effect.as_ref().is_some_and(|s| s.proved == Some(true))
    }

    /// Whether it is in force at this moment.
    pub(super) fn in_force(&self, time: Time) -> bool {
        self.inject <= time && time < self.end()
    }

    /// `1 partition`.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.id, self.family)
    }

    /// `1 partition (the leader n1 alone)`.
    pub(super) fn phrase(&self) -> String {
        match self.what.as_str() {
            "" => self.name(),
            what => format!("{} ({what})", self.name()),
        }
    }
}

/// A node that ended without anybody asking it to.
#[derive(Debug, Clone)]
pub(super) struct Crash {
    pub(super) at: Time,
    pub(super) node: String,
    pub(super) how: String,
}

/// What came of waiting for the target to recover.
#[derive(Debug, Clone)]
pub(super) struct Recovery {
    pub(super) at: Time,
    pub(super) recovered: bool,
    /// Milliseconds until then, where it recovered.
    pub(super) after_ms: Option<f64>,
    pub(super) why: String,
}

/// A history, read once for the whole report.
#[derive(Debug)]
pub(super) struct Scene<'h> {
    pub(super) history: &'h History,
    /// Ordered by invocation.
    pub(super) ops: Vec<Op<'h>>,
    /// In order of injection.
    pub(super) faults: Vec<Fault>,
    /// Name and beginning of each phase of the driver.
    pub(super) phases: Vec<(String, Time)>,
    pub(super) crashes: Vec<Crash>,
    /// Ends of nodes whose disks had refused calls: no finding.
    pub(super) gave_up: Vec<Crash>,
    pub(super) recovery: Option<Recovery>,
    pub(super) interrupted: Option<String>,
    /// What time axes show of the whole run, in ns.
    pub(super) from: f64,
    pub(super) to: f64,
}

impl<'h> Scene<'h> {
    pub(super) fn new(history: &'h History) -> Self {
        let (from, to) = span(history);
        let mut scene = Self {
            history,
            ops: history.ops(),
            faults: Vec::new(),
            phases: Vec::new(),
            crashes: Vec::new(),
            gave_up: Vec::new(),
            recovery: None,
            interrupted: None,
            from,
            to,
        };
        for event in history.faults() {
            scene.take(event);
        }
        scene.faults.sort_by_key(|f| (f.inject, f.id));
        scene
    }

    fn take(&mut self, event: &Event) {
        let value = &event.value;
        match event.f.as_ref() {
            "phase" => self.phases.push((text(value, "phase"), event.time)),
            "recovery" => {
                self.recovery = Some(Recovery {
                    at: event.time,
                    recovered: value["recovered"].as_bool() == Some(true),
                    after_ms: value["after_ms"].as_f64(),
                    why: text(value, "why"),
                });
            }
            "crash" => self.crashes.push(ended(event)),
            "gave-up" => self.gave_up.push(ended(event)),
            "interrupted" => self.interrupted = Some(text(value, "why")),
            _ => self.take_fault(event),
        }
    }

    fn take_fault(&mut self, event: &Event) {
        let (Some(id), Some(stage)) =
            (event.value["fault"].as_u64(), event.value["stage"].as_str())
        else {
            return;
        };
        if stage == "inject" {
            self.faults.push(injected(id, event));
            return;
        }
        let Some(fault) = self.faults.iter_mut().rev().find(|f| f.id == id) else {
            return;
        };
        match stage {
            "effect" => fault.effect = Some(looked(event)),
            "heal" => fault.heal = Some(event.time),
            "healed" => {
                fault.healed = Some(looked(event));
                fault.stopped = stopped(&event.value);
            }
            "recovered" => fault.recovered = Some(recovered(event)),
            _ => {}
        }
    }

    /// The operation whose invocation has this index.
    pub(super) fn op(&self, index: u64) -> Option<&Op<'h>> {
        let at = self.ops.binary_search_by_key(&index, Op::index).ok()?;
        self.ops.get(at)
    }

    /// When the driver's phase of this name began.
    pub(super) fn phase(&self, name: &str) -> Option<Time> {
        self.phases
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, at)| *at)
    }

    /// An end that may be infinite, as a point on the run's axis.
    pub(super) fn finite(&self, time: Time) -> f64 {
        if time.is_infinite() {
            self.to
        } else {
            (time.0 as f64).min(self.to)
        }
    }

    /// The unit that fits the run's length: its name, and how many ns it has.
    pub(super) fn unit(&self) -> (&'static str, f64) {
        match self.to {
            t if t >= 1e9 => ("s", 1e9),
            t if t >= 1e6 => ("ms", 1e6),
            t if t >= 1e3 => ("µs", 1e3),
            _ => ("ns", 1.0),
        }
    }
}

/// From zero, unless the history begins late; never empty.
fn span(history: &History) -> (f64, f64) {
    let first = history.events.first().map_or(0.0, |e| e.time.0 as f64);
    let last = history.end().0 as f64;
    let from = if first > 2.0 * (last - first) {
        first
    } else {
        0.0
    };
    (from, if last > from { last } else { from + 1.0 })
}

fn ended(event: &Event) -> Crash {
    Crash {
        at: event.time,
        node: text(&event.value, "node"),
        how: text(&event.value, "how"),
    }
}

fn injected(id: u64, event: &Event) -> Fault {
    let what = match text(&event.value, "what") {
        what if what.is_empty() => nodes(&event.value),
        what => without_family(&what, &event.f),
    };
    Fault {
        id,
        family: escape::shorten(&event.f, 80),
        what,
        inject: event.time,
        effect: None,
        heal: None,
        healed: None,
        recovered: None,
        stopped: Vec::new(),
    }
}

fn recovered(event: &Event) -> Recovered {
    Recovered {
        at: event.time,
        word: event.value["recovered"].as_bool(),
        after_ms: event.value["after_ms"].as_f64(),
        not_yet_ms: event.value["not_yet_ms"].as_f64(),
        within_ms: event.value["within_ms"].as_f64(),
        why: text(&event.value, "why"),
    }
}

/// `n4` of `pause n4`, `n5 alone` of `partition: n5 alone`: the family stands beside it wherever it is shown.
fn without_family(what: &str, family: &str) -> String {
    let rest = what
        .strip_prefix(family)
        .map(|r| r.trim_start_matches([':', ' ']));
    rest.filter(|r| !r.is_empty()).unwrap_or(what).to_owned()
}

fn nodes(value: &Value) -> String {
    let nodes = value["nodes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    nodes
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn looked(event: &Event) -> Stage {
    Stage {
        at: event.time,
        proved: event.value["proved"].as_bool(),
        evidence: text(&event.value, "evidence"),
        after_ms: event.value["after_ms"].as_f64(),
    }
}

/// `{"n1>n2": 12}` as from, to, figure.
fn stopped(value: &Value) -> Vec<(String, String, u64)> {
    let links = value["stopped"].as_object().into_iter().flatten();
    let link = |(name, figure): (&String, &Value)| {
        let (from, to) = name.split_once('>')?;
        let short = |name: &str| escape::shorten(name, 40);
        Some((short(from), short(to), figure.as_u64()?))
    };
    links.filter_map(link).collect()
}

/// Characters of a text from an event that are kept.
const TEXT_CHARS: usize = 500;

fn text(value: &Value, field: &str) -> String {
    escape::sentence(value[field].as_str().unwrap_or_default(), TEXT_CHARS)
}
