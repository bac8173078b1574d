//! One commit: built, run, and called good, bad or undecided.

use super::Search;
use super::git::{Clone, Commit};
use crate::campaign::{Campaign, Cell, Entry, Listener, Outcome, Record, Way, carry_out};
use crate::stderr::say;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// It passed all the runs that it was given.
    Good,
    /// It failed in one.
    Bad,
    /// It cannot be built, or its runs do not decide.
    Skip,
}

impl Verdict {
    /// As git calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Skip => "skip",
        }
    }
}

/// One commit that was tested.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    /// Which.
    pub(super) commit: Commit,
    /// What it is.
    pub(super) verdict: Verdict,
    /// Runs that passed.
    pub(super) passed: u64,
    /// Runs in which a property that decides was violated.
    pub(super) violated: u64,
    /// Runs that do not decide.
    pub(super) undecided: u64,
    /// Why, in a sentence.
    pub(super) why: String,
}

/// All of them.
pub(super) struct Steps<'s> {
    search: &'s Search,
    folder: &'s Path,
    pub(super) done: Vec<Step>,
}

impl<'s> Steps<'s> {
    pub(super) const fn new(search: &'s Search, folder: &'s Path) -> Self {
        Self {
            search,
            folder,
            done: Vec::new(),
        }
    }

    pub(super) fn say(&self, text: &str) {
        if !self.search.quiet {
            say(text);
        }
    }

    /// So many runs, whatever they come to.
    pub(super) fn all(&mut self, tree: &Clone, commit: &Commit, runs: u64) -> Result<Step> {
        self.step(tree.folder(), commit, runs, None)
    }

    /// Runs until one fails, or so many have passed.
    pub(super) fn until_it_fails(
        &mut self,
        tree: &Clone,
        commit: &Commit,
        runs: u64,
    ) -> Result<Step> {
        self.until_it_fails_in(tree.folder(), commit, runs)
    }

    /// The same in any tree.
    pub(super) fn until_it_fails_in(
        &mut self,
        tree: &Path,
        commit: &Commit,
        runs: u64,
    ) -> Result<Step> {
        self.step(tree, commit, runs, Some(Outcome::UnexpectedViolation))
    }

    fn step(
        &mut self,
        tree: &Path,
        commit: &Commit,
        runs: u64,
        end_at: Option<Outcome>,
    ) -> Result<Step> {
        let name = format!("{:02}-{}", self.done.len() + 1, commit.short());
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let step = match self.build(tree, commit, &folder)? {
            Ok(binary) => self.runs(commit, &binary, &folder, runs, end_at)?,
            Err(why) => Step {
                commit: commit.clone(),
                verdict: Verdict::Skip,
                passed: 0,
                violated: 0,
                undecided: 0,
                why,
            },
        };
        let of = step.violated + step.passed;
        self.say(&format!(
            "{commit}: {}: {} of {of} runs failed; {}",
            step.verdict.name(),
            step.violated,
            step.why
        ));
        self.done.push(step.clone());
        Ok(step)
    }

    /// The binary, kept in the step's folder, or why there is none.
    fn build(
        &self,
        tree: &Path,
        commit: &Commit,
        folder: &Path,
    ) -> Result<std::result::Result<PathBuf, String>> {
        self.say(&format!("{commit}: building"));
        let path = folder.join("build.log");
        let log =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let too = log.try_clone().context("cannot share the build's log")?;
        let status = Command::new("sh")
            .args(["-c", &self.search.build])
            .current_dir(tree)
            // What it builds belongs into its own tree.
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(too)
            .status()
            .context("cannot start the build")?;
        if !status.success() {
            return Ok(Err(format!(
                "it does not build ({status}); see {}",
                path.display()
            )));
        }
        let (built, kept) = (tree.join(&self.search.binary), folder.join("binary"));
        match fs::copy(&built, &kept) {
            Ok(_) => kept
                .canonicalize()
                .map(Ok)
                .with_context(|| format!("cannot find {}", kept.display())),
            Err(error) => Ok(Err(format!(
                "the build has not made {}: {error}",
                built.display()
            ))),
        }
    }

    fn runs(
        &self,
        commit: &Commit,
        binary: &Path,
        folder: &Path,
        runs: u64,
        end_at: Option<Outcome>,
    ) -> Result<Step> {
        let mut cell = Cell {
            // Some of them may not decide.
            seeds: runs.saturating_mul(2),
            ..self.search.cell.clone()
        };
        cell.spec.binary = Some(binary.to_owned());
        let campaign = Campaign {
            name: format!("bisect-{}", commit.short()),
            about: format!("{commit}"),
            seed: cell.seed.unwrap_or(1),
            budget: None,
            cells: vec![cell],
            files: Vec::new(),
        };
        let mut record = Record::new(&campaign, None);
        let way = Way {
            folder: folder.to_owned(),
            jobs: self.search.jobs,
            budget: None,
            keep: false,
            enough: Some(Box::new(move |record: &Record| {
                let of = |outcome| record.of(outcome);
                let decided = of(Outcome::AsExpected) + of(Outcome::UnexpectedViolation);
                decided >= runs || end_at.is_some_and(|outcome| of(outcome) > 0)
            })),
        };
        if !carry_out(&campaign, &mut record, &way, &mut Told(self))? {
            bail!("stopped; what was run is in {}", self.folder.display());
        }
        Ok(decide(commit, &record, runs))
    }
}

fn decide(commit: &Commit, record: &Record, runs: u64) -> Step {
    let (passed, violated) = (
        record.of(Outcome::AsExpected),
        record.of(Outcome::UnexpectedViolation),
    );
    let undecided = record.of(Outcome::Inconclusive) + record.of(Outcome::Error);
    let worst = |e: &&Entry| !matches!(e.outcome, None | Some(Outcome::Skipped));
    let worst = record
        .cells
        .iter()
        .filter(worst)
        .min_by_key(|e| (e.outcome, e.seed));
    let (verdict, why) = match worst {
        Some(entry) if violated > 0 => {
            (Verdict::Bad, format!("seed {}: {}", entry.seed, entry.why))
        }
        Some(_) if passed >= runs => (Verdict::Good, "every property holds".to_owned()),
        Some(entry) => (
            Verdict::Skip,
            format!(
                "only {passed} of {runs} runs decide; seed {}: {}",
                entry.seed, entry.why
            ),
        ),
        None => (Verdict::Skip, "nothing was run".to_owned()),
    };
    Step {
        commit: commit.clone(),
        verdict,
        passed,
        violated,
        undecided,
        why,
    }
}

/// Runs that come out are not worth a line each: the step says what they come to.
struct Told<'t>(&'t Steps<'t>);

impl Listener for Told<'_> {
    fn begun(&mut self, _record: &Record, _entry: usize) {}

    fn ended(&mut self, record: &Record, entry: usize) {
        let entry = &record.cells[entry];
        if let Some(outcome @ (Outcome::Inconclusive | Outcome::Error)) = entry.outcome {
            self.0.say(&format!(
                "  seed {}: {}: {}",
                entry.seed,
                outcome.words(),
                entry.why
            ));
        }
    }

    fn side_by_side(&mut self, _runs: usize, _cores_a_run: f64) {}
}
