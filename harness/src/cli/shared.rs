//! Flags that commands share which do many runs.

use crate::store;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Of a command that does many runs and has one answer.
#[derive(Debug, Args)]
pub(super) struct Shared {
    /// So many runs side by side; without it as many as the machine carries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: Option<u64>,
    /// Where its folder, with all runs, is made
    #[arg(long, default_value = "results", value_name = "DIR")]
    out: PathBuf,
    /// The answer as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
    /// No progress on stderr
    #[arg(long, short)]
    pub(super) quiet: bool,
}

impl Shared {
    /// How many side by side, where it is said.
    pub(super) fn jobs(&self) -> Option<usize> {
        self.jobs.map(|n| n as usize)
    }

    /// Where its folder is made, if that can be.
    pub(super) fn out(&self) -> Result<PathBuf> {
        store::writable(&self.out)?;
        Ok(self.out.clone())
    }
}
