//! `schism bisect`.

use super::shared::Shared;
use super::{Failure, harness, usage};
use crate::bisect::{self, Range, Search};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

/// What the exit codes mean depends on who searches.
const AFTER: &str = "With --good and --bad it searches itself: 0 when it has found the commit, 2 when it cannot tell.\n\
    Without them it builds and runs what is checked out in --repo: 0 good, 1 bad, 125 undecided, as `git bisect run` wants it.";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct BisectArgs {
    /// What is run: a spec, a saved run's folder, or with --cell a campaign
    path: PathBuf,
    /// The cell of the campaign
    #[arg(long, value_name = "ID")]
    cell: Option<String>,
    /// A commit that passes
    #[arg(long, value_name = "A", requires = "bad")]
    good: Option<String>,
    /// A later commit that fails, if not in every run
    #[arg(long, value_name = "B", requires = "good")]
    bad: Option<String>,
    /// How often the bad commit is run to learn how often it fails; without --good and --bad, how often what is checked out is run
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    runs: u64,
    /// Without --good and --bad: the share of runs in which a bad commit fails, from which the number of runs is computed
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["runs", "good"])]
    rate: Option<f64>,
    /// The chance that bad luck may spoil the answer
    #[arg(long, default_value_t = 0.05, value_parser = share)]
    risk: f64,
    /// The target's repository
    #[arg(long, default_value = ".", value_name = "DIR")]
    repo: PathBuf,
    /// The shell command that builds a commit
    #[arg(
        long,
        default_value = "cargo build --release --locked --package schism",
        value_name = "COMMAND"
    )]
    build: String,
    /// What it builds, seen from the repository's root
    #[arg(long, default_value = "target/release/schism", value_name = "PATH")]
    binary: PathBuf,
    #[command(flatten)]
    shared: Shared,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("give more than 0 and less than 1".to_owned()),
    }
}

impl BisectArgs {
    /// Searches, or says of what is checked out what it is. The exit code.
    pub(super) fn carry_out(&self) -> Result<i32, Failure> {
        let search = usage(self.search())?;
        match (&self.good, &self.bad) {
            (Some(good), Some(bad)) => {
                let range = usage(Range::named(&search.repository, good, bad))?;
                harness(bisect::search(&search, &range))
            }
            // To `git bisect run` 128 and above mean the end of the search, and so it is.
            _ => harness(bisect::here(&search, self.rate)),
        }
    }

    fn search(&self) -> Result<Search> {
        let cell = bisect::what(&self.path, self.cell.as_deref())?;
        let repository = self
            .repo
            .canonicalize()
            .with_context(|| format!("cannot find the repository {}", self.repo.display()))?;
        Ok(Search {
            cell,
            repository,
            build: self.build.clone(),
            binary: self.binary.clone(),
            runs: self.runs,
            risk: self.risk,
            jobs: self.shared.jobs(),
            out: self.shared.out()?,
            json: self.shared.json,
            quiet: self.shared.quiet,
        })
    }
}
