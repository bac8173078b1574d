//! The command line: raw arguments become meaningful ones here, once.

use crate::campaign::{self, Campaign};
use crate::check::Limits;
use crate::exit;
use crate::spec::{Binding, Spec};
use crate::stderr::say;
use crate::store::Run;
use crate::{check, convert, doctor, draw, list, run, store, streamed, summary};
use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use schism_checkers::Model;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Fault-injection testing for replicated data systems: no ssh, no Docker, no root.
#[derive(Debug, Parser)]
#[command(name = "schism", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One experiment, then its checks and its report
    Run(RunArgs),
    /// Check a run's folder, a history.jsonl or a Jepsen history.edn
    Check(CheckArgs),
    /// Draw the report of a saved run, or of a bare history file, again
    Report(ReportArgs),
    /// A matrix of runs with what is expected of each
    Campaign(CampaignArgs),
    /// What there is: targets, workloads, nemeses, properties, with options and defaults
    List {
        /// Which registry
        #[arg(value_enum)]
        what: list::What,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// A history into another format: .jsonl or Jepsen's .edn, by the ending of OUT
    Convert {
        /// A history in any format that `check` reads
        from: PathBuf,
        /// The file to write
        to: PathBuf,
    },
    /// What this machine can do, and what mends the rest
    Doctor {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// A bundled server; started by the controller
    #[command(hide = true, disable_help_flag = true)]
    Node {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// A spec file (TOML); flags override it
    spec: Option<PathBuf>,
    /// The system under test (see `schism list targets`)
    #[arg(long)]
    target: Option<String>,
    /// An option of the target; `workload.KEY=VALUE` is one of the workload
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What clients do (see `schism list workloads`)
    #[arg(long)]
    workload: Option<String>,
    /// Faults drawn from the seed: FAMILY or FAMILY:SHAPE (see `schism list nemeses`); `none` for none
    #[arg(long, value_delimiter = ',', value_name = "F")]
    nemesis: Option<Vec<String>>,
    /// How many nodes
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// How long clients run, such as 30s
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    time_limit: Option<Duration>,
    /// Operations a second, all clients together; 0 for as fast as answers come
    #[arg(long)]
    rate: Option<f64>,
    /// How many clients
    #[arg(long, value_name = "N")]
    concurrency: Option<u64>,
    /// Whether a client belongs to one node
    #[arg(long, value_enum)]
    clients: Option<Binding>,
    /// Mean length of a fault, and of the quiet between two of one kind
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    fault_interval: Option<Duration>,
    /// After this long without an answer an outcome is unknown
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    client_timeout: Option<Duration>,
    /// How long the target may take to recover after the last heal
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    recovery_limit: Option<Duration>,
    /// From which everything random comes
    #[arg(long)]
    seed: Option<u64>,
    /// A property that decides the verdict, instead of the workload's claims
    #[arg(long = "property", value_name = "P")]
    properties: Vec<String>,
    /// Where runs are kept
    #[arg(long, default_value = "results", value_name = "DIR")]
    out: PathBuf,
    /// The verdict as JSON on stdout
    #[arg(long)]
    json: bool,
    /// No progress on stderr
    #[arg(long, short)]
    quiet: bool,
    /// To end with this process, which has started it
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<i32>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
struct CampaignArgs {
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
enum CampaignCommand {
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
struct ToldArgs {
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

#[derive(Debug, Args)]
struct CheckArgs {
    /// A run's folder, a history.jsonl, or a Jepsen history.edn
    path: PathBuf,
    /// A property to check; without any, those that fit
    #[arg(long = "property", value_name = "P")]
    properties: Vec<String>,
    /// As what `linearizable` checks it: without, keys of registers and locks, told by their operations
    #[arg(long, value_name = "M", value_parser = models())]
    model: Option<String>,
    /// How long each property may take; past that it is unknown
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME", default_value = "60s")]
    time_limit: Duration,
    /// How much each property may remember, such as 2GiB; past that it is unknown
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    memory_limit: bytesize::ByteSize,
    /// Read the history as a stream, in bounded memory: done by itself when it does not fit
    #[arg(long)]
    stream: bool,
    /// As JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// A run's folder, a history.jsonl, or a Jepsen history.edn
    path: PathBuf,
    /// Where to write it; without, report.html of the run's folder, or stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// In which form
    #[arg(long, value_enum, default_value = "html")]
    format: draw::Format,
}

/// Runs the command line and says the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> i32 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                exit::USAGE
            } else {
                exit::PASS
            };
        }
    };
    log_to_stderr(&cli.command);
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(Failure { code, error }) => {
            say(&format!("schism: {error:#}"));
            code
        }
    }
}

/// An error with the exit code that says whose it is.
struct Failure {
    code: i32,
    error: anyhow::Error,
}

/// The user's: bad arguments or input.
fn usage<T>(result: Result<T>) -> Result<T, Failure> {
    result.map_err(|error| Failure {
        code: exit::USAGE,
        error,
    })
}

/// The harness' own.
fn harness<T>(result: Result<T>) -> Result<T, Failure> {
    result.map_err(|error| Failure {
        code: exit::HARNESS,
        error,
    })
}

fn dispatch(command: Command) -> Result<i32, Failure> {
    match command {
        Command::Run(args) => {
            let spec = usage(args.spec().and_then(Spec::resolve))?;
            usage(store::writable(&args.out))?;
            harness(args.parent.map_or(Ok(()), end_with))?;
            harness(run::run(&spec, &args.out, args.quiet, args.json))
        }
        Command::Check(args) => usage(check_path(&args)),
        Command::Report(args) => usage(report_path(&args)).map(|()| exit::PASS),
        Command::Campaign(args) => run_campaign(&args),
        Command::List { what, json } => harness(list::print(what, json)).map(|()| exit::PASS),
        Command::Convert { from, to } => usage(convert::convert(&from, &to)).map(|()| exit::PASS),
        Command::Doctor { json } => harness(doctor::print(json)),
        Command::Node { args } => {
            let ended = schism_targets::server::main(&args);
            harness(ended.map_err(anyhow::Error::from)).map(|()| exit::PASS)
        }
    }
}

/// Whoever started this process has ended: then so does this one.
fn end_with(parent: i32) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .context("cannot be told of the parent's end")?;
    if nix::unistd::getppid().as_raw() != parent {
        bail!("the process that has started this one is gone");
    }
    Ok(())
}

fn run_campaign(args: &CampaignArgs) -> Result<i32, Failure> {
    match &args.command {
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
    let campaign = usage(args.campaign())?;
    let (baseline, told) = usage(args.told.resolve())?;
    let (record, folder) = match &args.resume {
        Some(folder) => (usage(campaign::Record::read(folder))?, folder.clone()),
        None => usage(args.create(&campaign))?,
    };
    let way = campaign::Way {
        folder,
        jobs: args.jobs.map(|n| n as usize),
        budget: args.budget.or(campaign.budget),
        keep: args.keep,
    };
    harness(campaign::run(
        &campaign, record, &way, &baseline, &told, args.quiet,
    ))
}

fn adopt(run: &Path, id: &str, to: Option<&Path>) -> Result<()> {
    let cell = campaign::adopted(&Run::open(run)?, id)?;
    match to {
        Some(file) => campaign::add(&cell, file),
        None => summary::to_stdout(&cell),
    }
}

fn models() -> PossibleValuesParser {
    PossibleValuesParser::new(Model::ALL.map(Model::name))
}

fn check_path(args: &CheckArgs) -> Result<i32> {
    let model = args.model.as_deref().and_then(Model::named);
    let of_the_model = ["linearizable".to_owned()];
    let named = match args.properties.as_slice() {
        [] => model.map(|_| of_the_model.as_slice()),
        properties => Some(properties),
    };
    let limits = Limits {
        time: args.time_limit,
        memory_bytes: args.memory_limit.as_u64(),
    };
    let (path, deciding) = if args.path.is_dir() {
        let run = Run::open(&args.path)?;
        // A run says itself what decides it, unless somebody else does.
        let deciding = if named.is_none() {
            run.spec()?.deciding()
        } else {
            Vec::new()
        };
        (run.history_path(), deciding)
    } else {
        (args.path.clone(), Vec::new())
    };
    let asked = || args.stream.then(|| "is not kept in memory".to_owned());
    let (verdict, torn) = if let Some(why) = streamed::too_large(&path).or_else(asked) {
        streamed::check(&path, model, named, &deciding, limits, &why)?
    } else {
        let history = store::read_history(&path)?;
        let verdict = check::history_as(&history, model, named, &deciding, limits)?;
        let torn = history.torn.clone();
        // The process ends soon: taking a large history apart piece by piece would only cost time.
        std::mem::forget(history);
        (verdict, torn)
    };
    if args.path.is_dir() && named.is_none() {
        // Somebody else's run can be checked as well.
        if let Err(error) = Run::open(&args.path)?.write_verdict(&verdict) {
            say(&format!("schism: the verdict stands, but: {error:#}"));
        }
    }
    if let Some(torn) = torn {
        say(&format!(
            "line {} of the history is torn: {} bytes were left out",
            torn.line, torn.bytes
        ));
    }
    summary::print_verdict(&verdict, args.json)?;
    Ok(check::exit_code(&verdict))
}

fn report_path(args: &ReportArgs) -> Result<()> {
    if args.path.is_dir() {
        let run = Run::open(&args.path)?;
        let verdict = check::run(&run)?;
        let text = draw::of_run(&run, &verdict, args.format)?;
        let default = match args.format {
            draw::Format::Html => Some(run.folder().join("report.html")),
            draw::Format::Md | draw::Format::Json => None,
        };
        deliver(args.out.as_deref().or(default.as_deref()), &text)
    } else {
        let history = store::read_history(&args.path)?;
        let verdict = check::history(&history, None, &[], Limits::default())?;
        deliver(
            args.out.as_deref(),
            &draw::of_history(&history, &verdict, args.format)?,
        )
    }
}

fn deliver(out: Option<&Path>, text: &str) -> Result<()> {
    match out {
        Some(path) => {
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
            say(&format!("wrote {}", path.display()));
        }
        None => summary::to_stdout(text)?,
    }
    Ok(())
}

impl CampaignArgs {
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

impl RunArgs {
    fn spec(&self) -> Result<Spec> {
        let mut spec = match &self.spec {
            Some(path) => Spec::read(path)?,
            None => Spec::default(),
        };
        over(&mut spec.target, self.target.as_ref());
        over(&mut spec.workload, self.workload.as_ref());
        over(&mut spec.nodes, self.nodes.as_ref());
        over(&mut spec.time_limit, self.time_limit.as_ref());
        over(&mut spec.rate, self.rate.as_ref());
        over(&mut spec.concurrency, self.concurrency.as_ref());
        over(&mut spec.clients, self.clients.as_ref());
        over(&mut spec.fault_interval, self.fault_interval.as_ref());
        over(&mut spec.client_timeout, self.client_timeout.as_ref());
        over(&mut spec.recovery_limit, self.recovery_limit.as_ref());
        over(&mut spec.seed, self.seed.as_ref());
        if !self.properties.is_empty() {
            spec.properties.clone_from(&self.properties);
        }
        if let Some(nemesis) = &self.nemesis {
            spec.nemesis = nemesis.iter().filter(|n| *n != "none").cloned().collect();
            spec.faults.clear();
        }
        for pair in &self.set {
            let Some((key, value)) = pair.split_once('=') else {
                bail!("--set {pair:?} is not of the form key=value");
            };
            match key.strip_prefix("workload.") {
                Some(key) => spec.workload_options.insert(key.into(), value.into()),
                None => spec.options.insert(key.into(), value.into()),
            };
        }
        Ok(spec)
    }
}

fn over<T: Clone>(value: &mut T, flag: Option<&T>) {
    if let Some(flag) = flag {
        value.clone_from(flag);
    }
}

/// The bundled servers set up their own log.
fn log_to_stderr(command: &Command) {
    if matches!(command, Command::Node { .. }) {
        return;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_override_the_file_and_options_find_their_owner() {
        let cli = Cli::try_parse_from([
            "schism",
            "run",
            "--set",
            "ack=async",
            "--set",
            "workload.keys=2",
            "--nemesis",
            "partition:leader,kill",
            "--seed",
            "3",
        ]);
        let Command::Run(args) = cli.unwrap().command else {
            panic!("not a run")
        };
        let spec = args.spec().unwrap();
        assert_eq!(spec.options["ack"], "async");
        assert_eq!(spec.workload_options["keys"], "2");
        assert_eq!(spec.nemesis, ["partition:leader", "kill"]);
        assert_eq!(spec.seed, 3);
    }

    #[test]
    fn the_command_of_a_report_is_the_run_again() {
        let spec = Spec {
            seed: 5,
            nodes: 3,
            nemesis: vec!["kill:leader".into()],
            ..Spec::default()
        };
        let spec = spec.resolve().unwrap().spec;
        let command = spec.command();
        let cli =
            Cli::try_parse_from(command.split(' ')).unwrap_or_else(|e| panic!("{command}: {e}"));
        let Command::Run(args) = cli.command else {
            panic!("not a run")
        };
        assert_eq!(args.spec().unwrap(), spec);
    }

    #[test]
    fn bad_arguments_are_254() {
        for args in [
            &["schism", "run", "--nodes", "many"][..],
            &["schism", "frobnicate"],
            &["schism", "run", "--set", "ack"],
            &["schism", "run", "--nodes", "0"],
            &["schism", "check", "/does/not/exist"],
        ] {
            assert_eq!(
                main(args.iter().map(OsString::from)),
                exit::USAGE,
                "{args:?}"
            );
        }
    }
}
