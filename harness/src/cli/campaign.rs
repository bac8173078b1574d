//! `schism campaign` and what belongs to it.

use super::run::over;
use super::{Failure, harness, usage};
use crate::campaign::{self, Campaign};
use crate::exit;
use crate::store::{self, Run};
use crate::summary;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct CampaignArgs {
    #[command(subcommand)]
    command: Option<CampaignCommand>,
    /// The campaign's file (TOML); with --resume the one in the folder, unless another is given
    #[arg(required_unless_present = "resume")]
    file: Option<PathBuf>,
    /// How long it may take; what does not fit is skipped
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    budget: Option<Duration>,
    /// Every cell with so many seeds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "FIRST")]
    seed: Option<u64>,
    /// Only this cell, or row: D01 is D01 and D01-*
    #[arg(long = "cell", value_name = "ID")]
    cells: Vec<String>,
    /// Go on with the campaign in this folder
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// A part of the campaign, for a matrix of machines: 2/8 is the second of eight
    #[arg(long, value_name = "K/N", value_parser = |text: &str| campaign::shard(text).map_err(|e| e.to_string()))]
    shard: Option<(u64, u64)>,
    /// First what the last campaign of this name under --out did not find as expected
    #[arg(long)]
    since_last: bool,
    /// So many runs side by side; without it as many as the machine carries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: Option<u64>,
    /// Keep everything of runs that come out as expected, too, and not their reports alone
    #[arg(long)]
    keep: bool,
    /// Leave faults out that this machine cannot do; a run that needs them is skipped, aloud
    #[arg(long)]
    skip_unavailable: bool,
    /// Where campaigns are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    told: ToldArgs,
    /// No progress on stderr
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum CampaignCommand {
    /// The shards of a campaign as one
    Merge {
        /// The shards' folders
        #[arg(required = true)]
        parts: Vec<PathBuf>,
        /// Where campaigns are kept
        #[arg(long, default_value = "results", value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        told: ToldArgs,
    },
    /// A saved run as a cell, which looks for the same with the same seed
    Adopt {
        /// The run's folder
        run: PathBuf,
        /// The cell's id
        #[arg(long, default_value = "adopted")]
        id: String,
        /// Add it to this campaign file; without, it is printed
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Over all campaigns of a name: how many runs of each cell came out as expected
    Stats {
        /// The campaign's name
        name: String,
        /// Where campaigns are kept
        #[arg(long, default_value = "results", value_name = "DIR")]
        out: PathBuf,
        /// As JSON on stdout
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct ToldArgs {
    /// Known failures, which do not fail the campaign (TOML)
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// `JUnit` XML into this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// A summary in Markdown into this file
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// The outcomes as JSON on stdout
    #[arg(long)]
    json: bool,
}

fn adopt(run: &Path, id: &str, to: Option<&Path>) -> Result<()> {
    let cell = campaign::adopted(&Run::open(run)?, id)?;
    match to {
        Some(file) => campaign::add(&cell, file),
        None => summary::to_stdout(&cell),
    }
}

impl CampaignArgs {
    /// Carries it out, or what belongs to it. The exit code.
    pub(super) fn carry_out(&self) -> Result<i32, Failure> {
        match &self.command {
            None => {}
            Some(CampaignCommand::Merge { parts, out, told }) => {
                let (baseline, told) = usage(told.resolve())?;
                return usage(campaign::merge(parts, out, &baseline, &told));
            }
            Some(CampaignCommand::Adopt { run, id, to }) => {
                return usage(adopt(run, id, to.as_deref())).map(|()| exit::PASS);
            }
            Some(CampaignCommand::Stats { name, out, json }) => {
                return usage(campaign::stats(out, name, *json)).map(|()| exit::PASS);
            }
        }
        let campaign = usage(self.campaign())?;
        let (baseline, told) = usage(self.told.resolve())?;
        let (record, folder) = match &self.resume {
            Some(folder) => (usage(campaign::Record::read(folder))?, folder.clone()),
            None => usage(self.create(&campaign))?,
        };
        let way = campaign::Way {
            folder,
            jobs: self.jobs.map(|n| n as usize),
            budget: self.budget.or(campaign.budget),
            keep: self.keep,
            enough: None,
        };
        harness(campaign::run(
            &campaign, record, &way, &baseline, &told, self.quiet,
        ))
    }

    /// The campaign, with what the flags say of it.
    fn campaign(&self) -> Result<Campaign> {
        let kept = self
            .resume
            .as_ref()
            .map(|folder| folder.join(campaign::TEXT));
        let path = self
            .file
            .clone()
            .or(kept)
            .context("no campaign file is given")?;
        let mut campaign = Campaign::read(&path)?;

        campaign.select(&self.cells)?;
        over(&mut campaign.seed, self.seed.as_ref());
        for cell in &mut campaign.cells {
            over(&mut cell.seeds, self.seeds.as_ref());
            cell.spec.skip_unavailable |= self.skip_unavailable;
        }
        Ok(campaign)
    }

    fn create(&self, campaign: &Campaign) -> Result<(campaign::Record, PathBuf)> {
        store::writable(&self.out)?;
        let mut record = campaign::Record::new(campaign, self.shard);
        if self.since_last
            && let Some(last) = campaign::last(&self.out, &campaign.name)
        {
            record.first_what_failed(&last);
        }
        Ok((record, campaign::create(campaign, &self.out)?))
    }
}

impl ToldArgs {
    fn resolve(&self) -> Result<(campaign::Baseline, campaign::Told)> {
        let baseline = self.baseline.as_deref().map(campaign::Baseline::read);
        let told = campaign::Told {
            junit: self.junit.clone(),
            summary: self.summary.clone(),
            json: self.json,
        };
        Ok((baseline.transpose()?.unwrap_or_default(), told))
    }
}
