//! What `schism sim` says and writes: progress on stderr, the outcome on stdout, and the folder of a seed that fails or leaves something undecided.

use super::drive::Driven;
use super::judge::verdict;
use super::plan::Plan;
use super::search::{Found, Seeds};
use super::setting::{CLIENTS, Setting, Wanted};
use super::shrink::Shrunk;
use super::trace::Extent;
use super::trace_of;
use crate::stderr::say;
use crate::summary::{self, to_stdout};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget};
use schism_checkers::verdict::Verdict;
use schism_history::jsonl;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a line says how far it is, where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// How it is shown.
pub struct Show {
    /// As JSON on stdout.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
    /// Where folders are made.
    pub out: PathBuf,
    bar: ProgressBar,
    live: bool,
    next_line: Cell<Instant>,
}

/// A plan in a file, with all that it belongs to.
#[derive(Debug, Serialize, Deserialize)]
struct PlanFile {
    /// What kind of file it is, and of which version.
    format: String,
    version: u32,
    #[serde(flatten)]
    wanted: Wanted,
    plan: Plan,
}

const FORMAT: &str = "schism-plan";
const VERSION: u32 = 1;

/// What was written of a seed.
pub struct Saved {
    folder: PathBuf,
    seed: u64,
    trace: String,
    verdict: Verdict,
    sizes: [Sizes; 2],
    tries: u64,
    complete: bool,
}

/// How large a plan is.
#[derive(Debug, Clone, Copy, Serialize)]
struct Sizes {
    faults: usize,
    operations: usize,
    messages: usize,
    machines: usize,
}

impl Sizes {
    fn of(plan: &Plan) -> Self {
        let plain = schism_targets::simulator::Machine::default();
        Self {
            faults: plan.faults.len(),
            operations: plan.operations.len(),
            messages: plan.messages.len(),
            machines: plan.machines.iter().filter(|m| **m != plain).count(),
        }
    }

    fn words(self) -> String {
        let count = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        format!(
            "{}, {}, {}, {}",
            count(self.faults, "fault"),
            count(self.operations, "operation"),
            count(self.messages, "disturbed message"),
            count(self.machines, "peculiar machine")
        )
    }
}

/// Reads a plan's file.
pub fn read_plan(path: &Path) -> Result<(Wanted, Plan)> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the plan {}", path.display()))?;
    let read = || -> Result<(Wanted, Plan)> {
        let file: PlanFile = serde_json::from_str(&text).context("it is no plan")?;
        anyhow::ensure!(
            file.format == FORMAT,
            "it is no plan, but {:?}",
            file.format
        );
        anyhow::ensure!(
            file.version == VERSION,
            "it has version {}, this program reads {VERSION}",
            file.version
        );
        file.plan.check(file.wanted.nodes, CLIENTS)?;
        Ok((file.wanted, file.plan))
    };
    read().with_context(|| format!("plan {}", path.display()))
}

/// Writes the folder of a seed.
pub(super) fn save(
    setting: &Setting,
    whole: &Plan,
    shrunk: &Shrunk,
    driven: &Driven,
    show: &Show,
) -> Result<Saved> {
    let saved = Saved {
        folder: show
            .out
            .join(format!("sim-{}-{}", setting.wanted.target, whole.seed)),
        seed: whole.seed,
        trace: trace_of(setting, driven, Extent::Short),
        verdict: verdict(setting, &driven.history),
        sizes: [Sizes::of(whole), Sizes::of(&shrunk.plan)],
        tries: shrunk.tries,
        complete: shrunk.complete,
    };
    let file = PlanFile {
        format: FORMAT.to_owned(),
        version: VERSION,
        wanted: setting.wanted.clone(),
        plan: shrunk.plan.clone(),
    };
    let mut history = Vec::new();
    jsonl::write(&mut history, &driven.history).context("cannot write the history")?;
    let plan = serde_json::to_string_pretty(&file).context("cannot write the plan as JSON")? + "\n";
    saved.write("history.jsonl", &history)?;
    saved.write("plan.json", plan.as_bytes())?;
    saved.write("trace.txt", saved.trace.as_bytes())?;
    let all = trace_of(setting, driven, Extent::Whole);
    saved.write("trace-all.txt", all.as_bytes())?;
    Ok(saved)
}

impl Saved {
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        let written = fs::create_dir_all(&self.folder).and_then(|()| fs::write(&path, bytes));
        written.with_context(|| {
            let path = path.display();
            format!("cannot write {path}; free some space or give another place with --out")
        })
    }

    fn to_json(&self) -> Value {
        let [whole, shrunk] = self.sizes;
        json!({
            "folder": self.folder,
            "seed": self.seed,
            "whole": whole,
            "shrunk": shrunk,
            "tries": self.tries,
            "complete": self.complete,
            "verdict": self.verdict,
        })
    }

    fn words(&self) -> String {
        let [whole, shrunk] = self.sizes.map(Sizes::words);
        let folder = self.folder.display();
        let end = if self.complete {
            "nothing of it can be left out"
        } else {
            "there may be smaller ones"
        };
        format!(
            "\n{}\nseed {}: {whole}\nshrunk:   {shrunk}; {end} ({} plans tried)\n\
             in {folder}: trace.txt, trace-all.txt, plan.json, history.jsonl\n\
             again:    schism sim --plan {folder}/plan.json (--trace all: nothing of it left out)\n\
             check:    schism check {folder}/history.jsonl\n",
            self.trace.trim_end(),
            self.seed,
            self.tries
        )
    }
}

impl Show {
    /// On a terminal a live line, elsewhere one now and then.
    pub fn new(json: bool, quiet: bool, out: PathBuf) -> Self {
        let live = !quiet && std::io::stderr().is_terminal();
        let target = if live {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            json,
            quiet,
            out,
            bar: ProgressBar::with_draw_target(None, target),
            live,
            next_line: Cell::new(Instant::now() + LINE_EVERY),
        }
    }

    /// Says one thing on stderr.
    pub(super) fn say(&self, line: &str) {
        if !self.quiet {
            self.bar.suspend(|| say(line));
        }
    }

    /// So far.
    pub(super) fn progress(&self, found: &Found, of: u64) {
        let (done, rate, failing) = (found.schedules, found.rate(), found.failing.len());
        let line = format!("{done} of {of} schedules, {rate:.0} a second a core, {failing} fail");
        if self.live {
            self.bar.set_message(line);
            self.bar.tick();
        } else if Instant::now() >= self.next_line.get() {
            self.next_line.set(Instant::now() + LINE_EVERY);
            self.say(&line);
        }
    }

    /// The live line goes.
    pub(super) fn done(&self) {
        self.bar.finish_and_clear();
    }

    /// What many seeds have come to.
    pub(super) fn found(
        &self,
        setting: &Setting,
        seeds: &Seeds,
        found: &Found,
        saved: Option<&Saved>,
        why_undecided: Option<&str>,
    ) -> Result<()> {
        if self.json {
            let value = found_json(setting, seeds, found, saved, why_undecided);
            let text = serde_json::to_string_pretty(&value).context("cannot write JSON")?;
            return to_stdout(&format!("{text}\n"));
        }
        let saved = saved.map(Saved::words).unwrap_or_default();
        to_stdout(&(found_words(setting, seeds, found, why_undecided) + &saved))
    }

    /// What one plan has come to.
    pub(super) fn replayed(
        &self,
        setting: &Setting,
        driven: &Driven,
        extent: Extent,
    ) -> Result<()> {
        if self.json {
            return summary::print_verdict(&verdict(setting, &driven.history), true);
        }
        to_stdout(&trace_of(setting, driven, extent))
    }
}

fn found_json(
    setting: &Setting,
    seeds: &Seeds,
    found: &Found,
    saved: Option<&Saved>,
    why_undecided: Option<&str>,
) -> Value {
    let (counts, deciding) = (found.operations, deciding(setting));
    json!({
        "target": setting.wanted.target,
        "options": setting.wanted.options,
        "workload": setting.wanted.workload,
        "nodes": setting.wanted.nodes,
        "properties": deciding,
        "faults": seeds.families.names(),
        "first_seed": seeds.first,
        "schedules": found.schedules,
        "failing": found.failing,
        "undecided": found.undecided,
        "why_undecided": why_undecided,
        "void": found.void,
        "drawn_options": setting.variety.names(),
        "unpromised": unpromised(setting, found),
        "operations": {"ok": counts.ok, "fail": counts.fail, "info": counts.info},
        "faults_injected": found.faults,
        "took_ms": found.took.as_millis() as u64,
        "jobs": found.jobs,
        "schedules_a_second_a_core": found.rate().round(),
        "first": saved.map(Saved::to_json),
    })
}

/// How many schedules violate what is not promised under these faults.
fn unpromised(setting: &Setting, found: &Found) -> BTreeMap<&'static str, u64> {
    let names = setting.unpromised.iter().map(|property| property.name());
    let count = |name| found.unpromised.get(name).copied().unwrap_or(0);
    names.map(|name| (name, count(name))).collect()
}

fn deciding(setting: &Setting) -> Vec<&'static str> {
    setting
        .deciding
        .iter()
        .map(|property| property.name())
        .collect()
}

/// The outcome in a few lines; `took` and the rate are in a line of their own.
fn found_words(
    setting: &Setting,
    seeds: &Seeds,
    found: &Found,
    why_undecided: Option<&str>,
) -> String {
    let families = match seeds.families.names() {
        [] => "no faults".to_owned(),
        names => names.join(", "),
    };
    let Wanted {
        target,
        workload,
        nodes,
        ..
    } = &setting.wanted;
    let deciding = deciding(setting).join(", ");
    let counts = found.operations;
    let mut out = format!(
        "{target}, {workload}, {nodes} nodes; {families}; it decides: {deciding}\n\
         {} schedules from seed {} on, in {:.2} s: {:.0} a second a core\n\
         {} faults; operations: {} ok, {} refused, {} of unknown outcome\n",
        found.schedules,
        seeds.first,
        found.took.as_secs_f64(),
        found.rate(),
        found.faults,
        counts.ok,
        counts.fail,
        counts.info
    );
    if let names @ [_, ..] = &setting.variety.names()[..] {
        let _ = writeln!(out, "drawn for each schedule: {}", names.join(", "));
    }
    for (name, count) in unpromised(setting, found) {
        let _ = writeln!(
            out,
            "{name} is not promised under these faults: violated in {count} of them"
        );
    }
    for (name, count) in &found.void {
        let _ = writeln!(
            out,
            "in {count} of them there was nothing to look at for {name}"
        );
    }
    if let Some((seed, name)) = found.undecided.first_key_value() {
        let count = found.undecided.len();
        let why = why_undecided.unwrap_or_default();
        let _ = writeln!(
            out,
            "undecided: {count}, the first is seed {seed}: {name}, {why}"
        );
    }
    out.push_str(&outcome(found));
    out
}

fn outcome(found: &Found) -> String {
    match (found.failing.len(), found.first()) {
        (1, Some((seed, name))) => format!("violation: seed {seed} violates {name}\n"),
        (count, Some((seed, name))) => {
            format!("violation: {count} seeds fail, the first is {seed}, which violates {name}\n")
        }
        _ if found.shows_too_little() => {
            "inconclusive: in most of them there was nothing to look at; give it longer schedules, or fewer keys\n".to_owned()
        }
        _ if found.exit_code() == crate::exit::INCONCLUSIVE => "inconclusive\n".to_owned(),
        _ => "clean\n".to_owned(),
    }
}
