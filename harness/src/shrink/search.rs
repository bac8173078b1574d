//! The search: candidates are tried one after another, each in as many runs as it takes to know, and the smallest that still fails is kept.
//!
//! Every candidate that was decided is in the state, which is written in one step. A search that goes on asks the same questions in the same
//! order, so the state answers them until it comes to where it was stopped.

use super::candidate::{self, Whole};
use super::ddmin::ddmin;
use crate::campaign::{Listener, Outcome, Record, carries};
use crate::replay::tries::{Tally, Tries};
use crate::replay::write_state;
use crate::spec::Spec;
use crate::stderr::say;
use crate::store::Run;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is kept of a search in its folder.
pub(super) const STATE: &str = "shrink.json";
/// The smallest spec so far.
pub(super) const SHRUNK: &str = "shrunk.toml";
const SPEC: &str = "spec.toml";

/// A search as far as it got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The saved run.
    pub(super) run: PathBuf,
    /// What must be violated, one of them.
    pub(super) properties: BTreeSet<String>,
    /// How many runs decide on a candidate.
    pub(super) runs: u64,
    /// In which share of them it must fail.
    pub(super) share: f64,
    /// The run as a spec.
    pub(super) whole: Whole,
    /// What was tried.
    pub(super) tried: Vec<Tried>,
}

/// A candidate that was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tried {
    /// What is smaller about it.
    pub(super) what: String,
    /// Its spec as TOML.
    pub(super) spec: String,
    /// What its runs came to.
    pub(super) tally: Tally,
    /// Why a run of it did not decide, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) open: Option<String>,
    /// Whether it still fails.
    pub(super) fails: bool,
}

/// Why a search ends before its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// Its time is over.
    Budget,
    /// A signal.
    Interrupted,
    /// The harness failed.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// How it is carried out.
#[derive(Debug, Clone)]
pub struct Way {
    /// Its folder.
    pub folder: PathBuf,
    /// How long it may take.
    pub budget: Option<Duration>,
    /// So many runs side by side; none: as many as the machine carries.
    pub jobs: Option<usize>,
    /// No progress on stderr.
    pub quiet: bool,
    /// The answer as JSON on stdout.
    pub json: bool,
}

/// A search under way.
pub(super) struct Search<'s> {
    pub(super) state: &'s mut State,
    way: &'s Way,
    begun: Instant,
    cost: Cost,
    /// The smallest that still fails, and what its runs came to; none as long as not even the whole does.
    pub(super) best: Option<(Spec, Tally)>,
}

impl<'s> Search<'s> {
    pub(super) fn new(state: &'s mut State, way: &'s Way) -> Self {
        Self {
            state,
            way,
            begun: Instant::now(),
            cost: Cost::default(),
            best: None,
        }
    }

    pub(super) fn say(&self, text: &str) {
        if !self.way.quiet {
            say(text);
        }
    }

    /// Fewer faults, then shorter ones, then less time, fewer clients, fewer operations. Says whether the whole fails at all.
    pub(super) fn go(&mut self) -> Result<bool, Halt> {
        let whole = self.state.whole.clone();
        let count = whole.faults.len();
        let all: Vec<usize> = (0..count).collect();
        if !self.fails(whole.with(&all), "as it was")? {
            return Ok(false);
        }
        let kept = ddmin(count, |keep| {
            let faults = if keep.len() == 1 { "fault" } else { "faults" };
            let what = format!("{} {faults} of {count}{}", keep.len(), places(keep));
            self.fails(whole.with(keep), &what)
        })?;
        for i in 0..kept.len() {
            self.as_long_as_it_fails(|spec| {
                let smaller = candidate::shorter(&whole, spec, i)?;
                let lasts = humantime::format_duration(smaller.faults[i].lasts);
                Some((format!("fault {} for {lasts}", i + 1), smaller))
            })?;
        }
        self.first_that_fails(candidate::earlier, |spec| {
            let first = spec.faults.iter().map(|f| f.at).min();
            let first = humantime::format_duration(first.unwrap_or_default());
            format!("the first fault at {first}")
        })?;
        let limit = |spec: &Spec| format!("{} long", humantime::format_duration(spec.time_limit));
        if kept.is_empty() {
            self.as_long_as_it_fails(|spec| {
                let smaller = candidate::ends_sooner(spec).pop()?;
                Some((limit(&smaller), smaller))
            })?;
        } else {
            self.first_that_fails(candidate::ends_sooner, limit)?;
        }
        self.as_long_as_it_fails(|spec| {
            let smaller = candidate::fewer_clients(spec)?;
            let clients = match smaller.concurrency {
                1 => "1 client".to_owned(),
                n => format!("{n} clients"),
            };
            Some((clients, smaller))
        })?;
        self.as_long_as_it_fails(|spec| {
            let smaller = candidate::fewer_operations(spec)?;
            Some((format!("{} operations a second", smaller.rate), smaller))
        })?;
        self.confirm()?;
        Ok(true)
    }

    /// A candidate was kept because it failed, so its rate flatters: the last one is run anew, as often as was asked.
    fn confirm(&mut self) -> Result<(), Halt> {
        let Some((spec, _)) = self.best.clone() else {
            return Ok(());
        };
        let (tally, _) = self.runs(&spec, "confirmed", None)?;
        self.say(&format!(
            "once more: it fails in {} of {} runs",
            tally.same,
            tally.decided()
        ));
        self.best = Some((spec, tally));
        Ok(())
    }

    fn as_long_as_it_fails(
        &mut self,
        smaller: impl Fn(&Spec) -> Option<(String, Spec)>,
    ) -> Result<(), Halt> {
        while let Some((what, spec)) = self.best.as_ref().and_then(|(best, _)| smaller(best)) {
            if !self.fails(spec, &what)? {
                break;
            }
        }
        Ok(())
    }

    fn first_that_fails(
        &mut self,
        smaller: impl Fn(&Spec) -> Vec<Spec>,
        what: impl Fn(&Spec) -> String,
    ) -> Result<(), Halt> {
        let all = self.best.as_ref().map(|(best, _)| smaller(best));
        for spec in all.unwrap_or_default() {
            let what = what(&spec);
            if self.fails(spec, &what)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether a candidate fails often enough; then it is the best so far.
    fn fails(&mut self, spec: Spec, what: &str) -> Result<bool, Halt> {
        if spec.clone().resolve().is_err() {
            return Ok(false);
        }
        let text = spec.to_toml()?;
        let known = self.state.tried.iter().find(|t| t.spec == text).cloned();
        let tried = match known {
            Some(tried) => tried,
            None => self.try_it(&spec, text, what)?,
        };
        if tried.fails {
            self.best = Some((spec, tried.tally));
        }
        Ok(tried.fails)
    }

    fn try_it(&mut self, spec: &Spec, text: String, what: &str) -> Result<Tried, Halt> {
        let number = self.state.tried.len() + 1;
        let (runs, need) = (self.state.runs, self.need());
        let (tally, open) = self.runs(spec, &format!("{number:03}"), Some((runs, need)))?;
        let fails = decided(tally, runs, need) == Some(true);
        let undecided = match &open {
            None => String::new(),
            Some(why) => format!(", {} did not decide ({why})", tally.undecided),
        };
        self.say(&format!(
            "{number:>3}. {what}: it fails in {} of {} runs{undecided}: {}",
            tally.same,
            tally.decided(),
            if fails { "kept" } else { "not kept" }
        ));
        let tried = Tried {
            what: what.to_owned(),
            spec: text,
            tally,
            open,
            fails,
        };
        self.state.tried.push(tried.clone());
        write_state(self.state, &self.way.folder, STATE)?;
        if fails {
            let kept = Some((spec.clone(), tally));
            super::write_best(self.state, kept.as_ref(), &self.way.folder)?;
        }
        Ok(tried)
    }

    /// In how many runs a candidate must fail.
    fn need(&self) -> u64 {
        // Less a little, for 0.6 times 5 is to be 3.
        ((self.state.runs as f64 * self.state.share - 1e-9).ceil() as u64).max(1)
    }

    /// What is left of the time, if another run fits into it.
    fn time_left(&self) -> Result<Option<Duration>, Halt> {
        let Some(budget) = self.way.budget else {
            return Ok(None);
        };
        let left = budget.saturating_sub(self.begun.elapsed());
        if left.is_zero() || left.as_secs_f64() < self.cost.seconds_a_run() {
            return Err(Halt::Budget);
        }
        Ok(Some(left))
    }

    /// Runs a spec in a folder of its own until it is decided; without a bound as often as was asked. Says, too, why a run did not decide.
    fn runs(
        &mut self,
        spec: &Spec,
        name: &str,
        bound: Option<(u64, u64)>,
    ) -> Result<(Tally, Option<String>), Halt> {
        let folder = self.way.folder.join("tries").join(name);
        own_folder(&folder, &spec.to_toml()?)?;
        let runs = self.state.runs;
        // Some of them may not decide.
        let limit = runs + runs.max(UNDECIDED);
        let (mut tally, mut most) = (Tally::default(), 0);
        let mut last = None;
        loop {
            let more = match bound {
                Some((runs, need)) => wave(tally, runs, need),
                None => runs.saturating_sub(tally.decided()),
            };
            if more == 0 || most >= limit {
                break;
            }
            most = (most + more).min(limit);
            let record = self.wave(spec, &folder, most)?;
            tally = Tally::of(&record, &self.state.properties);
            last = Some(record);
        }
        let Some(record) = last else {
            return Ok((tally, None));
        };
        self.cost.add(&record);
        if bound.is_some() {
            lighten(&record, &folder)?;
        }
        let open = [Outcome::Inconclusive, Outcome::Error].map(Some);
        let open = record.cells.iter().find(|e| open.contains(&e.outcome));
        Ok((tally, open.map(|e| e.why.clone())))
    }

    /// Runs a spec until there are so many runs of it in all.
    fn wave(&self, spec: &Spec, folder: &Path, most: u64) -> Result<Record, Halt> {
        let tries = Tries {
            folder,
            spec,
            most,
            jobs: self.way.jobs.or_else(|| self.cost.carries()),
            budget: self.time_left()?,
            keep: false,
        };
        let (record, complete) = tries.carry_out(&mut Silent)?;
        if !complete {
            return Err(Halt::Interrupted);
        }
        if record.of(Outcome::Skipped) > 0 {
            return Err(Halt::Budget);
        }
        Ok(record)
    }
}

/// What runs have cost so far.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    runs: u32,
    seconds: f64,
    cores: f64,
}

impl Cost {
    fn add(&mut self, record: &Record) {
        for entry in &record.cells {
            if let (Some(seconds), Some(cores)) = (entry.seconds, entry.cores) {
                self.runs += 1;
                self.seconds += seconds;
                self.cores += cores;
            }
        }
    }

    fn seconds_a_run(self) -> f64 {
        self.seconds / f64::from(self.runs.max(1))
    }

    /// How many runs go side by side; none, as long as nothing is known.
    fn carries(self) -> Option<usize> {
        (self.runs > 0).then(|| carries(self.cores / f64::from(self.runs)))
    }
}

/// So many runs may at least come to nothing before a candidate is given up.
const UNDECIDED: u64 = 2;

/// Whether so many runs say that a candidate fails, or that it does not; none: not yet. One that cannot be decided is none that fails.
fn decided(tally: Tally, runs: u64, need: u64) -> Option<bool> {
    let hopeless = tally.decided() == 0 && tally.undecided >= UNDECIDED;
    if tally.same >= need {
        Some(true)
    } else if tally.other > runs - need || hopeless || tally.undecided >= runs.max(UNDECIDED) {
        Some(false)
    } else {
        None
    }
}

/// How many more runs it takes at least to know.
fn wave(tally: Tally, runs: u64, need: u64) -> u64 {
    match decided(tally, runs, need) {
        Some(_) => 0,
        None => (need - tally.same).min(runs - need + 1 - tally.other),
    }
}

/// ` (1, 4, 7)`, as long as that can be read.
fn places(keep: &[usize]) -> String {
    let names: Vec<String> = keep.iter().map(|i| (i + 1).to_string()).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" ({})", names.join(", "))
    }
}

/// Makes the folder of a candidate, unless it is there from before; one of another candidate goes.
fn own_folder(folder: &Path, spec: &str) -> Result<()> {
    let path = folder.join(SPEC);
    if fs::read_to_string(&path).is_ok_and(|text| text == spec) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, spec))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Of the many runs that fail on the way the nodes' data is not worth its room.
fn lighten(record: &Record, folder: &Path) -> Result<()> {
    let runs = record.cells.iter().filter_map(|e| e.run.as_ref());
    for run in runs.filter_map(|run| Run::open(&folder.join(run)).ok()) {
        run.keep_small(true)?;
    }
    Ok(())
}

/// A candidate has one line when it is decided.
struct Silent;

impl Listener for Silent {
    fn begun(&mut self, _record: &Record, _entry: usize) {}
    fn ended(&mut self, _record: &Record, _entry: usize) {}
    fn side_by_side(&mut self, _runs: usize, _cores_a_run: f64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_decided_as_soon_as_it_can_be() {
        let of = |same, other, undecided| Tally {
            same,
            other,
            undecided,
        };
        for (tally, says) in [
            (of(0, 0, 0), None),
            (of(1, 0, 0), None),
            (of(2, 0, 0), Some(true)),
            (of(1, 1, 0), None),
            (of(0, 2, 0), Some(false)),
            (of(1, 2, 0), Some(false)),
            (of(2, 1, 0), Some(true)),
            (of(0, 0, 1), None),
            (of(0, 0, 2), Some(false)),
            (of(1, 0, 2), None),
            (of(1, 0, 3), Some(false)),
        ] {
            assert_eq!(decided(tally, 3, 2), says, "{tally:?}");
            assert_eq!(wave(tally, 3, 2) == 0, says.is_some(), "{tally:?}");
        }
        assert_eq!(
            decided(of(0, 0, 1), 1, 1),
            None,
            "bad luck has a second try"
        );
        assert_eq!(decided(of(0, 1, 0), 1, 1), Some(false));
        assert_eq!(wave(of(0, 0, 0), 5, 3), 3);
        assert_eq!(wave(of(1, 2, 1), 5, 3), 1, "one more that passes decides");
    }
}
