//! A saved run again: the same faults at the same times on the same targets, the same operations of the same clients, and how often the same comes of it.
//!
//! What the seed fixes is the schedule; how real processes interleave, it does not. So the answer is a rate, k of N, with its interval.

mod recorded;
pub(crate) mod tries;

pub(crate) use recorded::{Recorded, state, write_state};

use crate::campaign::{Entry, Listener, Outcome, Record};
use crate::spec::Spec;
use crate::stderr::say;
use crate::summary::to_stdout;
use crate::{exit, schedule, store};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tries::{Tally, Tries, percent, shows};

/// What is kept of a replay in its folder, so that it can go on.
const STATE: &str = "replay.json";
const SPEC: &str = "spec.toml";

/// What is done again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// The saved run.
    run: PathBuf,
    /// How often.
    times: u64,
    /// What another run must violate, one of them, to show the same; empty: anything.
    properties: BTreeSet<String>,
    /// In which shapes the saved run violated them.
    fingerprints: BTreeSet<String>,
    /// How many faults and operations its schedule has.
    faults: usize,
    /// See there.
    operations: usize,
}

/// How it is told and carried out.
#[derive(Debug, Clone)]
pub struct Telling {
    /// So many runs side by side; none: as many as the machine carries.
    pub jobs: Option<usize>,
    /// The answer as JSON on stdout.
    pub json: bool,
    /// No progress on stderr.
    pub quiet: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    asked: &'a Asked,
    /// Runs that violated one of the properties.
    violated: u64,
    /// Runs that decided.
    decided: u64,
    /// Runs that did not.
    undecided: u64,
    /// The rate lies between these two, with a confidence of 95 %.
    interval: (f64, f64),
    /// How many runs showed each shape.
    shapes: BTreeMap<&'a str, u64>,
    /// Whether all runs were carried out.
    complete: bool,
    /// Where they are.
    folder: &'a Path,
    /// Each of them.
    runs: &'a [Entry],
}

/// `<time>-<what>-<target>-<workload>-<seed>` under `out`, and a link to it.
pub(crate) fn folder(what: &str, spec: &Spec, out: &Path) -> Result<PathBuf> {
    let name = format!("{what}-{}-{}-{}", spec.target, spec.workload, spec.seed);
    store::fresh(out, &name, &format!("latest-{what}"))
}

/// Prepares to do a saved run again: makes the folder, with the schedule in it.
pub fn create(
    run: &Path,
    properties: &[String],
    times: u64,
    out: &Path,
) -> Result<(Asked, PathBuf)> {
    let recorded = Recorded::read(run)?;
    let asked = Asked {
        run: run
            .canonicalize()
            .with_context(|| format!("cannot find {}", run.display()))?,
        times,
        properties: recorded.wanted(properties)?,
        fingerprints: recorded.fingerprints,
        faults: recorded.schedule.faults.len(),
        operations: recorded.schedule.operations.len(),
    };
    let folder = folder("replay", &recorded.spec, out)?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write(schedule::FILE, recorded.schedule.to_text()?)?;
    write(SPEC, recorded.spec.to_toml()?)?;
    write_state(&asked, &folder, STATE)?;
    Ok((asked, folder))
}

/// One that was stopped goes on; `times` says how often it is to be done in all, where that is to change.
pub fn resume(folder: &Path, times: Option<u64>) -> Result<Asked> {
    let mut asked: Asked = state(folder, STATE)?;
    asked.times = times.unwrap_or(asked.times);
    write_state(&asked, folder, STATE)?;
    Ok(asked)
}

/// Does it, and tells what came of it. The exit code.
pub fn carry_out(asked: &Asked, folder: &Path, telling: &Telling) -> Result<i32> {
    let mut spec = Spec::read(&folder.join(SPEC))?;
    let schedule = folder.join(schedule::FILE).canonicalize();
    spec.schedule = Some(schedule.context("the schedule is gone")?);
    let mut told = Told {
        asked,
        quiet: telling.quiet,
    };
    told.say(&format!(
        "{} times the {} faults and {} operations of {}; {}",
        asked.times,
        asked.faults,
        asked.operations,
        asked.run.display(),
        folder.display()
    ));
    let tries = Tries {
        folder,
        spec: &spec,
        most: asked.times,
        jobs: telling.jobs,
        budget: None,
        keep: true,
    };
    let (record, complete) = tries.carry_out(&mut told)?;
    let answer = answer(asked, folder, &record, complete);
    if telling.json {
        let text = serde_json::to_string_pretty(&answer).context("cannot write JSON")?;
        to_stdout(&format!("{text}\n"))?;
    } else {
        to_stdout(&words(&answer))?;
    }
    if complete {
        return Ok(exit::PASS);
    }
    say(&format!(
        "stopped; go on with: schism replay --resume {}",
        folder.display()
    ));
    Ok(exit::HARNESS)
}

fn answer<'a>(
    asked: &'a Asked,
    folder: &'a Path,
    record: &'a Record,
    complete: bool,
) -> Answer<'a> {
    let tally = Tally::of(record, &asked.properties);
    let mut shapes = BTreeMap::new();
    for shape in record.cells.iter().flat_map(|e| &e.fingerprints) {
        *shapes.entry(shape.as_str()).or_default() += 1;
    }
    Answer {
        asked,
        violated: tally.same,
        decided: tally.decided(),
        undecided: tally.undecided,
        interval: tally.interval(),
        shapes,
        complete,
        folder,
        runs: &record.cells,
    }
}

/// What is looked for, in words.
pub(crate) fn looked_for(properties: &BTreeSet<String>) -> String {
    let names: Vec<&str> = properties.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => "anything".to_owned(),
        [one] => (*one).to_owned(),
        [front @ .., last] => format!("{} or {last}", front.join(", ")),
    }
}

fn words(answer: &Answer) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} of {} runs violated {}: the rate is {} (95 %)",
        answer.violated,
        answer.decided,
        looked_for(&answer.asked.properties),
        percent(answer.interval)
    );
    for (shape, runs) in &answer.shapes {
        let same = if answer.asked.fingerprints.contains(*shape) {
            "as in the saved run"
        } else {
            "not in the saved run"
        };
        let _ = writeln!(out, "  {runs:>3}  {shape}, {same}");
    }
    let open = |e: &&Entry| matches!(e.outcome, Some(Outcome::Inconclusive | Outcome::Error));
    for entry in answer.runs.iter().filter(open) {
        let _ = writeln!(out, "run {} did not decide: {}", entry.id, entry.why);
    }
    let _ = writeln!(out, "runs: {}", answer.folder.join("runs").display());
    out
}

/// A line for each run that has ended.
struct Told<'t> {
    asked: &'t Asked,
    quiet: bool,
}

impl Told<'_> {
    fn say(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }
}

impl Listener for Told<'_> {
    fn begun(&mut self, _record: &Record, _entry: usize) {}

    fn ended(&mut self, record: &Record, entry: usize) {
        let entry = &record.cells[entry];
        let what = match entry.outcome {
            Some(Outcome::UnexpectedViolation) if shows(entry, &self.asked.properties) => "again",
            Some(Outcome::UnexpectedViolation) => "something else",
            Some(Outcome::AsExpected) => "not this time",
            _ => "undecided",
        };
        let tally = Tally::of(record, &self.asked.properties);
        self.say(&format!(
            "run {} of {}: {what}: {} ({} of {} so far)",
            entry.id.trim_start_matches('0'),
            record.cells.len(),
            entry.why,
            tally.same,
            tally.decided()
        ));
    }

    fn side_by_side(&mut self, runs: usize, _cores_a_run: f64) {
        if runs > 1 {
            self.say(&format!("{runs} runs side by side from now on"));
        }
    }
}
