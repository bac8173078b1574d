//! Carries a campaign out: runs as processes of their own, as many side by side as the machine carries.
//!
//! Each run is `schism run` with an arena of its own, so one that crashes takes nothing with it. How many go side by side is measured: the first one goes alone,
//! and how many cores it keeps busy (controller, clients and nodes, as its own history says) tells how many fit into [`CARRIES`] of the cores.
//! The average is kept up as runs end. A run that dies with this process cannot outlive it: it is killed with its parent.

use super::file::{Campaign, Cell};
use super::outcome::{Judgement, Outcome, judge};
use super::record::Record;
use crate::store::Run;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// The share of the cores that runs may keep busy: time-outs of the targets are to come from faults, not from waiting for a core.
const CARRIES: f64 = 0.6;
/// As many as ever go side by side.
const MOST: usize = 32;

/// Whether enough is known, so that what is still open need not be run.
pub(crate) type Enough = Box<dyn Fn(&Record) -> bool>;

/// How a campaign is carried out.
pub struct Way {
    /// The campaign's folder.
    pub folder: PathBuf,
    /// So many side by side; none: as many as the machine carries.
    pub jobs: Option<usize>,
    /// How long it may take.
    pub budget: Option<Duration>,
    /// Whether everything is kept of runs that come out as expected, too.
    pub keep: bool,
    /// Ends it early, before its budget.
    pub(crate) enough: Option<Enough>,
}

/// Hears what happens.
pub(crate) trait Listener {
    /// A run has begun.
    fn begun(&mut self, record: &Record, entry: usize);
    /// A run has ended; its outcome is in the record.
    fn ended(&mut self, record: &Record, entry: usize);
    /// So many go side by side from now on.
    fn side_by_side(&mut self, runs: usize, cores_a_run: f64);
}

/// Runs whatever the record has open. Says whether it came to its end, or was stopped by a signal.
pub(crate) fn carry_out(
    campaign: &Campaign,
    record: &mut Record,
    way: &Way,
    listener: &mut dyn Listener,
) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the campaign's runtime")?;
    runtime.block_on(Engine::new(campaign, record, way, listener).go())
}

/// A run that has ended.
struct Ended {
    entry: usize,
    took: Duration,
    code: Option<i32>,
    said: String,
}

struct Engine<'a> {
    cells: BTreeMap<&'a str, &'a Cell>,
    record: &'a mut Record,
    way: &'a Way,
    listener: &'a mut dyn Listener,
    begun: Instant,
    /// What earlier parts of this campaign have taken.
    before_s: f64,
    running: JoinSet<Result<Ended>>,
    load: Load,
    /// How many side by side were announced.
    said: usize,
}

/// What runs have cost so far.
#[derive(Debug, Default)]
struct Load {
    runs: u32,
    cores: f64,
    seconds: f64,
}

impl Load {
    fn add(&mut self, cores: f64, seconds: f64) {
        self.runs += 1;
        self.cores += cores;
        self.seconds += seconds;
    }

    fn cores_a_run(&self) -> Option<f64> {
        (self.runs > 0).then(|| self.cores / f64::from(self.runs))
    }

    fn seconds_a_run(&self) -> f64 {
        self.seconds / f64::from(self.runs.max(1))
    }

    /// How many runs the cores carry. One, as long as nothing is known.
    fn fit(&self, cores: usize) -> usize {
        self.cores_a_run().map_or(1, |each| fit(cores, each))
    }
}

/// How many runs so many cores carry, each of which keeps so many of them busy.
fn fit(cores: usize, each: f64) -> usize {
    ((cores as f64 * CARRIES / each.max(0.01)) as usize).clamp(1, MOST)
}

/// How many runs this machine carries, each of which keeps so many cores busy.
pub(crate) fn carries(each: f64) -> usize {
    fit(cores_here(), each)
}

fn cores_here() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl<'a> Engine<'a> {
    fn new(
        campaign: &'a Campaign,
        record: &'a mut Record,
        way: &'a Way,
        listener: &'a mut dyn Listener,
    ) -> Self {
        let mut load = Load::default();
        for entry in &record.cells {
            if let (Some(cores), Some(seconds)) = (entry.cores, entry.seconds) {
                load.add(cores, seconds);
            }
        }
        Self {
            cells: campaign.cells.iter().map(|c| (c.id.as_str(), c)).collect(),
            before_s: record.elapsed_s,
            record,
            way,
            listener,
            begun: Instant::now(),
            running: JoinSet::new(),
            load,
            said: 1,
        }
    }

    async fn go(mut self) -> Result<bool> {
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt()).context("cannot listen for signals")?,
            signal(SignalKind::terminate()).context("cannot listen for signals")?,
        );
        let mut open: Vec<usize> = self.record.open().collect();
        open.reverse();
        self.record.write(&self.way.folder)?;
        loop {
            while self.running.len() < self.side_by_side()
                && self.has_time()
                && !self.is_enough()
                && let Some(entry) = open.pop()
            {
                self.begin(entry)?;
            }
            if self.running.is_empty() {
                break;
            }
            tokio::select! {
                ended = self.running.join_next() => {
                    let ended = ended.context("a run is under way")?;
                    self.end(&ended.context("the task of a run panicked")??)?;
                }
                _ = interrupt.recv() => return Ok(false),
                _ = terminate.recv() => return Ok(false),
            }
        }
        let why = if self.is_enough() {
            "enough was known"
        } else {
            "the budget was over"
        };
        for entry in open {
            let entry = &mut self.record.cells[entry];
            entry.judged(Judgement {
                outcome: Outcome::Skipped,
                why: why.to_owned(),
                ..Judgement::error("")
            });
        }
        self.record.write(&self.way.folder)?;
        Ok(true)
    }

    fn side_by_side(&self) -> usize {
        self.way.jobs.unwrap_or_else(|| self.load.fit(cores_here()))
    }

    /// Whether a run that takes as long as the others would end within the budget.
    fn has_time(&self) -> bool {
        let enough = |budget: Duration| {
            self.begun.elapsed().as_secs_f64() + self.load.seconds_a_run() <= budget.as_secs_f64()
        };
        self.way.budget.is_none_or(enough)
    }

    fn is_enough(&self) -> bool {
        self.way
            .enough
            .as_ref()
            .is_some_and(|enough| enough(self.record))
    }

    fn begin(&mut self, entry: usize) -> Result<()> {
        let Some(cell) = self.cells.get(self.record.cells[entry].id.as_str()) else {
            let why = "the campaign file has no such cell any more";
            self.record.cells[entry].judged(Judgement::error(why));
            return Ok(());
        };
        let seed = self.record.cells[entry].seed;
        let folder = self
            .way
            .folder
            .join("runs")
            .join(&cell.id)
            .join(seed.to_string());
        // What a campaign that was killed has left of this run.
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
            }
            _ => {}
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let spec = folder.join("cell.toml");
        let mut what = cell.spec.clone();
        what.seed = seed;
        fs::write(&spec, what.to_toml()?)
            .with_context(|| format!("cannot write {}", spec.display()))?;
        self.running.spawn(run(entry, spec, folder));
        self.record.side_by_side = self.record.side_by_side.max(self.running.len());
        self.listener.begun(self.record, entry);
        Ok(())
    }

    fn end(&mut self, ended: &Ended) -> Result<()> {
        let entry = &mut self.record.cells[ended.entry];
        let folder = self
            .way
            .folder
            .join("runs")
            .join(&entry.id)
            .join(entry.seed.to_string());
        let run = fs::canonicalize(folder.join("latest"))
            .ok()
            .and_then(|f| Run::open(&f).ok());
        let cell = self.cells[entry.id.as_str()];
        entry.judged(judge(cell, run.as_ref(), ended.code, &ended.said));
        entry.seconds = Some((ended.took.as_secs_f64() * 1e3).round() / 1e3);
        let root = fs::canonicalize(&self.way.folder);
        let inside = |run: &Run| {
            run.folder()
                .strip_prefix(root.as_ref().ok()?)
                .ok()
                .map(Path::to_owned)
        };
        entry.run = run.as_ref().and_then(inside);
        entry.cores = run.as_ref().and_then(|run| cores(run, ended.took));
        if let Some(cores) = entry.cores {
            self.load.add(cores, ended.took.as_secs_f64());
        }
        // What is as expected need not be looked into.
        if let (Some(Outcome::AsExpected), Some(run), false) = (entry.outcome, &run, self.way.keep)
        {
            run.keep_small(!entry.finds.is_empty())?;
        }
        self.record.elapsed_s = self.before_s + self.begun.elapsed().as_secs_f64();
        self.record.write(&self.way.folder)?;
        self.listener.ended(self.record, ended.entry);
        // A run more or less is not worth a word.
        let now = self.side_by_side();
        if self.load.runs == 1 || now.abs_diff(self.said) > 1 {
            self.said = now;
            self.listener
                .side_by_side(now, self.load.cores_a_run().unwrap_or_default());
        }
        Ok(())
    }
}

/// How many cores a run kept busy, as its history says of controller and nodes.
fn cores(run: &Run, took: Duration) -> Option<f64> {
    let verdict = run.verdict().ok()?;
    let usage = &verdict.stats["usage"];
    let seconds = usage["controller_cpu_s"].as_f64()? + usage["nodes_cpu_s"].as_f64()?;
    Some((seconds / took.as_secs_f64() * 1e3).round() / 1e3)
}

/// One run, as a process of its own that dies with this one.
async fn run(entry: usize, spec: PathBuf, folder: PathBuf) -> Result<Ended> {
    let begun = Instant::now();
    let own = std::env::current_exe().context("cannot find the own executable")?;
    let mut command = Command::new(own);
    command
        .arg("run")
        .arg(&spec)
        .arg("--out")
        .arg(&folder)
        .args(["--quiet", "--parent", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn().context("cannot start a run")?;
    let output = child
        .wait_with_output()
        .await
        .context("cannot wait for a run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !said.trim().is_empty() {
        let path = folder.join("stderr");
        fs::write(&path, &*said).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Ended {
        entry,
        took: begun.elapsed(),
        code: output.status.code(),
        said: reason(&said),
    })
}

/// The last that a run said of itself; where its folder is, the campaign knows.
fn reason(said: &str) -> String {
    let of_itself = |line: &str| line.strip_prefix("schism: ").map(str::to_owned);
    let lines = said.lines().rev().filter(|l| !l.trim().is_empty());
    let last = lines.clone().next().unwrap_or_default().to_owned();
    let reason = lines
        .filter_map(of_itself)
        .find(|line| !line.starts_with("what was recorded until then"));
    reason.unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_not_where_the_folder_is() {
        let said =
            "schism: n1 exited with code 3\nschism: what was recorded until then is in x\n\n";
        assert_eq!(reason(said), "n1 exited with code 3");
        assert_eq!(reason("a line\nanother\n"), "another");
        assert_eq!(reason(""), "");
    }

    #[test]
    fn as_many_go_side_by_side_as_the_cores_carry() {
        let mut load = Load::default();
        assert_eq!(load.fit(64), 1, "the first one goes alone");
        load.add(0.3, 4.0);
        assert_eq!(load.fit(2), 4);
        assert_eq!(load.fit(1), 2);
        load.add(2.1, 4.0);
        assert_eq!(load.fit(2), 1, "1.2 cores a run");
        assert_eq!(load.fit(1000), MOST);
    }
}
