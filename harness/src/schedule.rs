//! `schedule.jsonl` of a run's folder: what was to happen when. Written while a run goes, and read where one is to do the same again.
//!
//! Faults come first, then each operation in the order in which it was begun. A last line without its end is torn and left out, as in a history.

use crate::nemesis::{FaultOptions, Kind, Planned, Witness};
use anyhow::{Context, Result, bail};
use schism_history::Key;
use schism_workloads::Invocation;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The file's name in a run's folder.
pub const FILE: &str = "schedule.jsonl";

/// What clients of the bundled workloads may do.
const FUNCTIONS: [&str; 10] = [
    "read", "write", "cas", "add", "generate", "enqueue", "dequeue", "transfer", "ask", "answer",
];

/// An operation of one client, when it is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduled {
    /// Since the clients began.
    pub at: Duration,
    /// Which of the clients.
    pub worker: u64,
    /// What.
    pub invocation: Invocation,
}

/// A schedule that is kept in a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    /// The faults, in order of injection.
    pub faults: Vec<Planned>,
    /// The operations, in the order in which they were begun.
    pub operations: Vec<Scheduled>,
}

#[derive(Serialize, Deserialize)]
struct FaultLine {
    at: u64,
    until: u64,
    fault: u64,
    f: String,
    shape: String,
    #[serde(default)]
    options: FaultOptions,
    #[serde(default)]
    when: Vec<Witness>,
    #[serde(default)]
    enough: Vec<Witness>,
    /// The three below are missing in files of older versions.
    #[serde(default)]
    drawn: bool,
    #[serde(default = "yes")]
    written: bool,
    #[serde(default)]
    stream: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovers_within: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct OperationLine {
    at: u64,
    worker: u64,
    f: String,
    key: Option<Key>,
    value: Value,
}

const fn yes() -> bool {
    true
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The line of a planned fault.
pub fn fault_line(fault: &Planned) -> Result<String> {
    let line = FaultLine {
        at: nanoseconds(fault.at),
        until: nanoseconds(fault.until),
        fault: fault.id,
        f: fault.family.to_owned(),
        shape: fault.shape.clone(),
        options: fault.options.clone(),
        when: fault.when.clone(),
        enough: fault.enough.clone(),
        drawn: fault.drawn,
        written: fault.written,
        stream: fault.stream,
        recovers_within: fault.recovers_within.map(nanoseconds),
    };
    serde_json::to_string(&line).context("cannot write a fault as JSON")
}

/// The line of an operation.
pub fn operation_line(worker: u64, at: Duration, invocation: &Invocation) -> Result<String> {
    let line = OperationLine {
        at: nanoseconds(at),
        worker,
        f: invocation.f.to_owned(),
        key: invocation.key.clone(),
        value: invocation.value.clone(),
    };
    serde_json::to_string(&line).context("cannot write an operation as JSON")
}

impl Schedule {
    /// Reads the file, for a cluster of so many nodes and so many clients.
    pub fn read(path: &Path, nodes: usize, clients: u64) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the schedule {}", path.display()))?;
        Self::parse(&text, nodes, clients).with_context(|| format!("schedule {}", path.display()))
    }

    fn parse(text: &str, nodes: usize, clients: u64) -> Result<Self> {
        let mut schedule = Self::default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for (number, line) in (1..).zip(whole.lines()) {
            schedule
                .take(line, nodes, clients)
                .with_context(|| format!("line {number}"))?;
        }
        // The sort is stable: what has one time stays in the file's order. Numbers stay, too: the history has them.
        schedule.faults.sort_by_key(|fault| fault.at);
        let mut numbers = BTreeSet::new();
        if let Some(twice) = schedule.faults.iter().find(|f| !numbers.insert(f.id)) {
            bail!("two faults have the number {}", twice.id);
        }
        Ok(schedule)
    }

    fn take(&mut self, line: &str, nodes: usize, clients: u64) -> Result<()> {
        let value: Value = serde_json::from_str(line).context("it is no JSON")?;
        if value.get("fault").is_some() {
            let line = serde_json::from_value(value).context("it is no fault")?;
            self.faults.push(planned(line, nodes)?);
        } else {
            let line = serde_json::from_value(value).context("it is no operation")?;
            self.operations.push(scheduled(line, clients)?);
        }
        Ok(())
    }

    /// What one of the clients does, and when.
    pub fn of(&self, worker: u64) -> impl Iterator<Item = &Scheduled> {
        self.operations.iter().filter(move |o| o.worker == worker)
    }

    /// The text of the file.
    pub fn to_text(&self) -> Result<String> {
        let faults = self.faults.iter().map(fault_line);
        let operations = self
            .operations
            .iter()
            .map(|o| operation_line(o.worker, o.at, &o.invocation));
        let lines = faults.chain(operations).collect::<Result<Vec<_>>>()?;
        Ok(lines.join("\n") + "\n")
    }
}

fn planned(line: FaultLine, nodes: usize) -> Result<Planned> {
    let kind = Kind::parse(&format!("{}:{}", line.f, line.shape), &line.options, nodes)?;
    if line.until < line.at {
        bail!("the fault is to end before it comes");
    }
    Ok(Planned {
        id: line.fault,
        family: kind.family.name(),
        shape: line.shape,
        options: kind.options,
        stream: if line.stream == 0 {
            line.fault
        } else {
            line.stream
        },
        drawn: line.drawn,
        written: line.written,
        at: Duration::from_nanos(line.at),
        until: Duration::from_nanos(line.until),
        recovers_within: line.recovers_within.map(Duration::from_nanos),
        when: line.when,
        enough: line.enough,
    })
}

/// What clients may do, by its name.
pub(crate) fn function(name: &str) -> Result<&'static str> {
    let known = FUNCTIONS.iter().find(|f| **f == name);
    let known = known.copied();
    known.with_context(|| {
        format!(
            "no client does {name:?}; there are: {}",
            FUNCTIONS.join(", ")
        )
    })
}

fn scheduled(line: OperationLine, clients: u64) -> Result<Scheduled> {
    let f = function(&line.f)?;
    if line.worker >= clients {
        bail!(
            "client {} is none of {clients}, which the spec's concurrency says",
            line.worker
        );
    }
    Ok(Scheduled {
        at: Duration::from_nanos(line.at),
        worker: line.worker,
        invocation: Invocation {
            f,
            key: line.key,
            value: line.value,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::plan;
    use crate::spec::Spec;
    use schism_workloads::registry::{Options, resolve};

    fn schedule() -> Schedule {
        let spec = Spec {
            seed: 3,
            nodes: 3,
            nemesis: vec!["partition".into(), "kill".into()],
            ..Spec::default()
        };
        let set = schism_workloads::workload("set").unwrap();
        let mut generator = set.generator(&resolve(set, &Options::new()).unwrap(), 3, 0, 1);
        let operation = |n| Scheduled {
            at: Duration::from_millis(n),
            worker: n % 2,
            invocation: generator.next().unwrap(),
        };
        Schedule {
            operations: (0..20).map(operation).collect(),
            faults: plan(&spec).unwrap(),
        }
    }

    #[test]
    fn a_schedule_survives_its_own_file() {
        let schedule = schedule();
        let text = schedule.to_text().unwrap();
        assert_eq!(Schedule::parse(&text, 3, 2).unwrap(), schedule);
        let torn = format!("{text}{{\"at\":5,\"wor");
        assert_eq!(Schedule::parse(&torn, 3, 2).unwrap(), schedule);
        assert_eq!(schedule.of(1).count(), 10);
    }

    #[test]
    fn what_clients_do_is_known() {
        for workload in schism_workloads::workloads() {
            let options = resolve(*workload, &Options::new()).unwrap();
            let mut generator = workload.generator(&options, 1, 0, 3);
            for _ in 0..200 {
                let f = generator.next().unwrap().f;
                assert!(FUNCTIONS.contains(&f), "{} does {f}", workload.name());
            }
        }
    }

    #[test]
    fn a_line_of_an_older_version_is_read() {
        let line = r#"{"at":1000,"until":2000,"fault":1,"f":"kill","shape":"leader","options":{},"when":[],"enough":[]}"#;
        let fault = Schedule::parse(&format!("{line}\n"), 3, 1).unwrap().faults[0].clone();
        assert_eq!((fault.stream, fault.written, fault.drawn), (1, true, false));
    }

    #[test]
    fn mistakes_name_their_line() {
        let fault = r#"{"at":1,"until":2,"fault":1,"f":"kill","shape":"n9"}"#;
        let stranger = r#"{"at":1,"worker":7,"f":"read","key":"x","value":null}"#;
        for (line, says) in [
            ("{", "no JSON"),
            (fault, "kill has no shape \"n9\""),
            (stranger, "client 7 is none of 2"),
            (
                r#"{"at":1,"worker":0,"f":"sing","value":1}"#,
                "no client does \"sing\"",
            ),
            (r#"{"at":1,"worker":0}"#, "no operation"),
        ] {
            let error = Schedule::parse(&format!("\n{line}\n").replacen('\n', "", 1), 3, 2);
            let error = format!("{:#}", error.unwrap_err());
            assert!(error.contains(says) && error.contains("line 1"), "{error}");
        }
    }
}
