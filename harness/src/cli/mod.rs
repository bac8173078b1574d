//! The command line: raw arguments become meaningful ones here, once.

mod bisect;
mod campaign;
mod check;
mod fault;
mod replay;
mod run;
mod shared;
mod shrink;
mod sim;

use crate::stderr::say;
use crate::{convert, doctor, exit, list};
use anyhow::Result;
use bisect::BisectArgs;
use campaign::CampaignArgs;
use check::{CheckArgs, ReportArgs, check_path, report_path};
use clap::{Parser, Subcommand};
use fault::{ExecArgs, FaultArgs};
use replay::ReplayArgs;
use run::RunArgs;
use shrink::ShrinkArgs;
use sim::SimArgs;
use std::ffi::OsString;
use std::path::PathBuf;

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
    /// A saved run again, as often as wanted: how often does the same come of it?
    Replay(ReplayArgs),
    /// The fewest and shortest faults, clients and operations with which a saved run still fails
    Shrink(ShrinkArgs),
    /// The target's own replicas in a simulator: many schedules a second, each of which can be had again
    Sim(SimArgs),
    /// A fault by hand into a run that goes on or is held, its heal, how things are, or the end
    Fault(FaultArgs),
    /// A command inside a run, in a node's network
    Exec(ExecArgs),
    /// Which commit of a target made it fail
    Bisect(BisectArgs),
    /// What there is: targets, workloads, nemeses, properties, planted bugs, with options and defaults
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
    /// One call at a node's disk; started by the controller
    #[command(hide = true, disable_help_flag = true)]
    ProbeDisk {
        /// Where it is mounted
        folder: PathBuf,
        /// The kind of call
        call: String,
    },
    /// A bundled server; started by the controller
    #[command(hide = true, disable_help_flag = true)]
    Node {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
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
        Command::Run(args) => args.carry_out(),
        Command::Check(args) => usage(check_path(&args)),
        Command::Report(args) => usage(report_path(&args)).map(|()| exit::PASS),
        Command::Campaign(args) => args.carry_out(),
        Command::Replay(args) => args.carry_out(),
        Command::Shrink(args) => args.carry_out(),
        Command::Sim(args) => args.carry_out(),
        Command::Fault(args) => args.carry_out(),
        Command::Exec(args) => args.carry_out(),
        Command::Bisect(args) => args.carry_out(),
        Command::List { what, json } => harness(list::print(what, json)).map(|()| exit::PASS),
        Command::Convert { from, to } => usage(convert::convert(&from, &to)).map(|()| exit::PASS),
        Command::Doctor { json } => harness(doctor::print(json)),
        Command::ProbeDisk { folder, call } => {
            harness(crate::disk::probe::answer(&folder, &call)).map(|()| exit::PASS)
        }
        Command::Node { args } => {
            let ended = schism_targets::server::main(&args);
            harness(ended.map_err(anyhow::Error::from)).map(|()| exit::PASS)
        }
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
    use crate::spec::Spec;
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
