//! `schism shrink`.

use super::shared::Shared;
use super::{Failure, harness, usage};
use crate::shrink::{self, State, Way};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct ShrinkArgs {
    /// The saved run's folder
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    run: Option<PathBuf>,
    /// How many runs decide whether something smaller still fails
    #[arg(long, value_name = "K", default_value_t = 3, conflicts_with = "resume", value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: u64,
    /// In which share of them it must, such as 60%
    #[arg(long, value_name = "SHARE", default_value = "60%", conflicts_with = "resume", value_parser = share)]
    share: f64,
    /// What must be violated; without it, one of the properties that the run violated
    #[arg(long = "property", value_name = "P", conflicts_with = "resume")]
    properties: Vec<String>,
    /// How long it may take; then the smallest so far is the answer
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    budget: Option<Duration>,
    /// Go on with the search in this folder
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared,
}

fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|p| p / 100.0),
        None => text.parse(),
    };
    match share {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("give more than 0% and at most 100%".to_owned()),
    }
}

impl ShrinkArgs {
    /// Shrinks. The exit code.
    pub(super) fn carry_out(&self) -> Result<i32, Failure> {
        let (mut state, folder) = usage(self.state())?;
        let way = Way {
            folder,
            budget: self.budget,
            jobs: self.shared.jobs(),
            quiet: self.shared.quiet,
            json: self.shared.json,
        };
        harness(shrink::carry_out(&mut state, &way))
    }

    fn state(&self) -> Result<(State, PathBuf)> {
        if let Some(folder) = &self.resume {
            return Ok((shrink::resume(folder)?, folder.clone()));
        }
        let run = self.run.as_ref().context("no run is given")?;
        shrink::create(
            run,
            &self.properties,
            self.runs,
            self.share,
            &self.shared.out()?,
        )
    }
}
