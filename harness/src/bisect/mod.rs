//! Which commit of a target made it fail, where each run fails only sometimes.
//!
//! The bad commit is run first, often enough to learn how often it fails. From that comes how many runs without a failure each commit needs before
//! it may be called good (`rate.rs`); one failure is enough to call it bad. The search itself is git's, in a clone of its own, so that
//! neither the user's working tree nor the refs of the repository are touched.

mod git;
mod rate;
mod step;

use crate::campaign::{Campaign, Cell};
use crate::interval::wilson;
use crate::spec::Spec;
use crate::stderr::say;
use crate::store::Run;
use crate::summary::to_stdout;
use crate::{exit, store};
use anyhow::{Context, Result, bail};
use git::{Clone, Commit, Next};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use step::{Step, Steps, Verdict};

/// The exit code with which `git bisect run` goes on to another commit.
const SKIP: i32 = 125;

/// What is looked for, and how.
#[derive(Debug, Clone)]
pub struct Search {
    /// What is run, and must pass.
    pub cell: Cell,
    /// The repository.
    pub repository: PathBuf,
    /// The shell command that builds a commit, in its tree.
    pub build: String,
    /// What it builds, seen from the tree.
    pub binary: PathBuf,
    /// How often the bad commit is run to learn its rate.
    pub runs: u64,
    /// The chance that the answer may be wrong by bad luck.
    pub risk: f64,
    /// So many runs side by side; none: as many as the machine carries.
    pub jobs: Option<usize>,
    /// Where the folder of the search is made.
    pub out: PathBuf,
    /// The answer as JSON on stdout.
    pub json: bool,
    /// No progress on stderr.
    pub quiet: bool,
}

impl Search {
    fn folder(&self) -> Result<PathBuf> {
        store::fresh(
            &self.out,
            &format!("bisect-{}", self.cell.id),
            "latest-bisect",
        )
    }
}

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    /// The commit that made it fail.
    first_bad: Option<Commit>,
    /// Where some could not be tested: one of these did.
    candidates: Vec<Commit>,
    /// How often the bad commit failed, of how many runs.
    failed: (u64, u64),
    /// The rate of that lies between these two, with a confidence of 95 %.
    interval: (f64, f64),
    /// How many runs without a failure called a commit good.
    runs_a_commit: u64,
    /// Every commit that was tested.
    steps: Vec<Step>,
}

/// What is run, of a spec, of a campaign's cell or of a saved run.
pub fn what(path: &Path, cell: Option<&str>) -> Result<Cell> {
    let of_spec = |spec: Spec| -> Result<Cell> {
        spec.clone().resolve()?;
        Ok(Cell {
            id: "bisect".to_owned(),
            about: String::new(),
            finds: Vec::new(),
            counters: Vec::new(),
            seed: Some(spec.seed),
            seeds: 1,
            spec,
        })
    };
    if path.is_dir() {
        return of_spec(Run::open(path)?.spec()?.spec);
    }
    let Some(id) = cell else {
        return of_spec(Spec::read(path)?)
            .with_context(|| "give --cell ID where the file is a campaign".to_owned());
    };
    let campaign = Campaign::read(path)?;
    let first = campaign.seed;
    let found = campaign.cells.into_iter().find(|c| c.id == id);
    let mut found = found.with_context(|| format!("{} has no cell {id:?}", path.display()))?;
    found.seed = found.seed.or(Some(first));
    // It fails when anything that decides is violated, whatever the campaign hopes to find.
    found.finds = Vec::new();
    Ok(found)
}

/// Where the first bad commit is looked for.
#[derive(Debug)]
pub struct Range {
    good: Commit,
    bad: Commit,
    /// How many commits it may be.
    between: u64,
}

impl Range {
    /// The commits that these names stand for.
    pub fn named(repository: &Path, good: &str, bad: &str) -> Result<Self> {
        let (good, bad) = (
            git::commit(repository, good)?,
            git::commit(repository, bad)?,
        );
        let between = git::between(repository, &good, &bad)?;
        Ok(Self { good, bad, between })
    }
}

/// Looks for the first bad commit in the range. The exit code: 0 when it has answered.
pub fn search(search: &Search, range: &Range) -> Result<i32> {
    let Range { good, bad, between } = range;
    let folder = search.folder()?;
    let mut steps = Steps::new(search, &folder);
    let tree = Clone::new(&search.repository, &folder.join("tree"))?;
    steps.say(&format!(
        "{between} commits between good {good} and bad {bad}; {}",
        folder.display()
    ));

    tree.check_out(bad)?;
    let step = steps.all(&tree, bad, search.runs)?;
    let (failed, of) = (step.violated, step.violated + step.passed);
    if failed == 0 {
        say(&format!(
            "the bad commit {bad} did not fail in {of} runs ({}): there is nothing to look for; give more --runs, or another seed",
            step.why
        ));
        return Ok(exit::INCONCLUSIVE);
    }
    let interval = wilson(failed, of);
    let runs_a_commit = rate::runs(interval.0, search.risk / f64::from(rate::steps(*between)));
    steps.say(&format!(
        "it fails in {:.0} to {:.0} % of the runs (95 %), so a commit is called good after {runs_a_commit} runs without a failure",
        interval.0 * 100.0,
        interval.1 * 100.0
    ));

    tree.check_out(good)?;
    let step = steps.until_it_fails(&tree, good, runs_a_commit)?;
    if step.verdict != Verdict::Good {
        say(&format!(
            "the good commit {good} is {}: {}",
            step.verdict.name(),
            step.why
        ));
        return Ok(exit::INCONCLUSIVE);
    }

    let mut next = tree.start(good, bad)?;
    while let Next::Test(commit) = &next {
        let step = steps.until_it_fails(&tree, commit, runs_a_commit)?;
        next = tree.mark(step.verdict.name())?;
    }
    let (first_bad, candidates) = match next {
        Next::Found(commit) => (Some(commit), Vec::new()),
        Next::OneOf(commits) => (None, commits),
        Next::Test(_) => (None, Vec::new()),
    };
    let answer = Answer {
        first_bad,
        candidates,
        failed: (failed, of),
        interval,
        runs_a_commit,
        steps: steps.done,
    };
    tell(&answer, search, &folder)?;
    Ok(match answer.first_bad {
        Some(_) => exit::PASS,
        None => exit::INCONCLUSIVE,
    })
}

fn tell(answer: &Answer, search: &Search, folder: &Path) -> Result<()> {
    let json =
        serde_json::to_string_pretty(answer).context("cannot write the answer as JSON")? + "\n";
    let path = folder.join("bisect.json");
    std::fs::write(&path, &json).with_context(|| format!("cannot write {}", path.display()))?;
    if search.json {
        return to_stdout(&json);
    }
    let mut out = String::new();
    for step in &answer.steps {
        let _ = writeln!(
            out,
            "{:<12}  {:<4}  {:>3} of {:<3} runs failed  {}",
            step.commit.short(),
            step.verdict.name(),
            step.violated,
            step.violated + step.passed,
            step.commit.subject
        );
    }
    if let Some(commit) = &answer.first_bad {
        let _ = writeln!(out, "\n{commit} is the first bad commit");
        if let Some(step) = answer.steps.iter().rfind(|s| s.commit == *commit) {
            let _ = writeln!(out, "{}", step.why);
        }
    } else {
        out.push_str("\nwhat is left could not be tested; the first bad commit is one of:\n");
        for commit in &answer.candidates {
            let _ = writeln!(out, "  {commit}");
        }
    }
    let _ = writeln!(out, "runs: {}", folder.display());
    to_stdout(&out)
}

/// Builds and runs what is checked out, for `git bisect run`: 0 good, 1 bad, 125 undecided.
pub fn here(search: &Search, rate: Option<f64>) -> Result<i32> {
    let tree = git::root(&search.repository)?;
    let commit = git::commit(&tree, "HEAD")?;
    let runs = match rate {
        Some(rate) if rate > 0.0 && rate <= 1.0 => rate::runs(rate, search.risk),
        Some(rate) => bail!("--rate {rate} is no share of runs: give more than 0 and at most 1"),
        None => search.runs,
    };
    let folder = search.folder()?;
    let mut steps = Steps::new(search, &folder);
    let step = steps.until_it_fails_in(&tree, &commit, runs)?;
    if search.json {
        let json = serde_json::to_string_pretty(&step).context("cannot write the step as JSON")?;
        to_stdout(&format!("{json}\n"))?;
    }
    Ok(match step.verdict {
        Verdict::Good => exit::PASS,
        Verdict::Bad => exit::VIOLATION,
        Verdict::Skip => SKIP,
    })
}
