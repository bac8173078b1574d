//! `schism replay`.

use super::shared::Shared;
use super::{Failure, harness, usage};
use crate::replay::{self, Asked, Telling};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The saved run's folder
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    run: Option<PathBuf>,
    /// How often
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    times: Option<u64>,
    /// What counts as the same: that this is violated; without it, one of those that the run violated
    #[arg(long = "property", value_name = "P", conflicts_with = "resume")]
    properties: Vec<String>,
    /// Go on with the replay in this folder
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared,
}

impl ReplayArgs {
    /// Does the run again. The exit code.
    pub(super) fn carry_out(&self) -> Result<i32, Failure> {
        let (asked, folder) = usage(self.asked())?;
        let telling = Telling {
            jobs: self.shared.jobs(),
            json: self.shared.json,
            quiet: self.shared.quiet,
        };
        harness(replay::carry_out(&asked, &folder, &telling))
    }

    fn asked(&self) -> Result<(Asked, PathBuf)> {
        if let Some(folder) = &self.resume {
            return Ok((replay::resume(folder, self.times)?, folder.clone()));
        }
        let run = self.run.as_ref().context("no run is given")?;
        replay::create(
            run,
            &self.properties,
            self.times.unwrap_or(1),
            &self.shared.out()?,
        )
    }
}
