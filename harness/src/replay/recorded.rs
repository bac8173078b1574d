//! What is known of a saved run that is to be done again: its schedule with the targets that were hit, and what it violated.

use crate::campaign::fingerprints;
use crate::check;
use crate::schedule::{self, Schedule};
use crate::spec::Spec;
use crate::store::Run;
use anyhow::{Context, Result, bail};
use schism_checkers::verdict::Decision;
use schism_history::{History, Time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Shapes that say how many nodes are hit and leave it to chance which. A role, such as `leader`, is whoever has it then.
const COUNTED: [&str; 4] = ["one", "minority", "majority", "third"];

/// A saved run.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// What was run.
    pub(crate) spec: Spec,
    /// What happened when; each fault with the nodes that it hit, where chance has chosen them.
    pub(crate) schedule: Schedule,
    /// How long the clients worked.
    pub(crate) worked: Duration,
    /// The faults that came, by their numbers.
    pub(crate) came: BTreeMap<u64, Came>,
    /// The deciding properties that were violated.
    pub(crate) violated: BTreeSet<String>,
    /// In which shapes.
    pub(crate) fingerprints: BTreeSet<String>,
}

/// How a fault came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Came {
    /// When, since the clients began.
    pub(crate) at: Duration,
    /// For how long, where it was healed.
    pub(crate) lasted: Option<Duration>,
    /// What it did, in words.
    pub(crate) what: String,
}

impl Recorded {
    /// Reads a run's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let run = Run::open(folder)?;
        let spec = run.spec()?.spec;
        let path = run.folder().join(schedule::FILE);
        if !path.is_file() {
            bail!(
                "{} has no {}: a campaign drops it of runs that come out as expected, unless it is told to --keep everything",
                folder.display(),
                schedule::FILE
            );
        }
        let mut schedule = Schedule::read(&path, spec.nodes, spec.concurrency)?;
        if schedule.operations.is_empty() {
            bail!(
                "no client had begun anything: there is nothing to do again in {}",
                folder.display()
            );
        }
        let history = run.history()?;
        let verdict = run.verdict().or_else(|_| check::run(&run))?;
        name_targets(&mut schedule, &history, spec.nodes);
        let violated = verdict
            .properties
            .iter()
            .filter(|(_, p)| p.decides && p.verdict == Decision::Violated);
        Ok(Self {
            violated: violated.map(|(name, _)| name.clone()).collect(),
            fingerprints: fingerprints(&verdict, &history),
            worked: worked(&history).unwrap_or(spec.time_limit),
            came: came(&history),
            spec,
            schedule,
        })
    }

    /// What another run must violate to show the same: one of these. Those that the run violated, or of them those that are named.
    pub(crate) fn wanted(&self, named: &[String]) -> Result<BTreeSet<String>> {
        if let Some(stranger) = named.iter().find(|name| !self.violated.contains(*name)) {
            let violated: Vec<&str> = self.violated.iter().map(String::as_str).collect();
            let violated = match violated.as_slice() {
                [] => "nothing".to_owned(),
                all => all.join(", "),
            };
            bail!("the run did not violate {stranger:?}; it violated: {violated}");
        }
        Ok(match named {
            [] => self.violated.clone(),
            named => named.iter().cloned().collect(),
        })
    }
}

/// A fault's event, if it is one of this stage: the fault's number, and what the event says.
fn stage<'h>(event: &'h schism_history::Event, stage: &str) -> Option<(u64, &'h Value)> {
    let value = &event.value;
    (value["stage"] == stage).then_some((value["fault"].as_u64()?, value))
}

/// The nodes that chance has chosen take the shape's place.
fn name_targets(schedule: &mut Schedule, history: &History, nodes: usize) {
    for (id, value) in history.faults().filter_map(|e| stage(e, "inject")) {
        let hit = value["nodes"].as_array().into_iter().flatten();
        let hit: Vec<&str> = hit.filter_map(Value::as_str).collect();
        let counted = value["shape"]
            .as_str()
            .is_some_and(|s| COUNTED.contains(&s));
        let Some(fault) = schedule.faults.iter_mut().find(|f| f.id == id) else {
            continue;
        };
        if counted && !hit.is_empty() {
            let shape = hit.join("+");
            let text = format!("{}:{shape}", fault.family);
            if crate::nemesis::Kind::parse(&text, &fault.options, nodes).is_ok() {
                fault.shape = shape;
            }
        }
    }
}

/// When a phase of the run began.
fn phase(history: &History, name: &str) -> Option<Time> {
    let mut phases = history.faults().filter(|e| e.f == "phase");
    phases
        .find(|e| e.value["phase"] == name)
        .map(|event| event.time)
}

fn worked(history: &History) -> Option<Duration> {
    let (main, heal) = (phase(history, "main")?, phase(history, "heal")?);
    Some(Duration::from_nanos(heal.since(main)))
}

fn came(history: &History) -> BTreeMap<u64, Came> {
    let begun = phase(history, "main").unwrap_or(Time::ZERO);
    let never: BTreeSet<u64> = history
        .faults()
        .filter_map(|e| stage(e, "effect"))
        .filter(|(_, value)| {
            let evidence = value["evidence"].as_str().unwrap_or_default();
            evidence.starts_with(crate::nemesis::NOT_INJECTED)
        })
        .map(|(id, _)| id)
        .collect();
    let healed: BTreeMap<u64, Time> = history
        .faults()
        .filter_map(|e| stage(e, "heal").map(|(id, _)| (id, e.time)))
        .collect();
    let injected = history.faults().filter_map(|e| {
        let (id, value) = stage(e, "inject")?;
        let came = Came {
            at: Duration::from_nanos(e.time.since(begun)),
            lasted: healed
                .get(&id)
                .map(|healed| Duration::from_nanos(healed.since(e.time))),
            what: value["what"].as_str().unwrap_or_default().to_owned(),
        };
        (!never.contains(&id)).then_some((id, came))
    });
    injected.collect()
}

/// Reads what a folder of this kind has of itself.
pub(crate) fn state<T: serde::de::DeserializeOwned>(folder: &Path, file: &str) -> Result<T> {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{} cannot be gone on with: cannot read its {file}",
            folder.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Writes it, in one step: whoever is killed in the middle leaves the one before.
pub(crate) fn write_state<T: serde::Serialize>(state: &T, folder: &Path, file: &str) -> Result<()> {
    let path = folder.join(file);
    let next = folder.join(format!(".{file}"));
    let text = serde_json::to_string_pretty(state)
        .with_context(|| format!("cannot write {file} as JSON"))?;
    std::fs::write(&next, text)
        .and_then(|()| std::fs::rename(&next, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
