//! `schism check` and `schism report`: a saved run, or a bare history.

use crate::check::{self, Limits};
use crate::stderr::say;
use crate::store::{self, Run};
use crate::{draw, streamed, summary};
use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use schism_checkers::Model;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
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
pub(super) struct ReportArgs {
    /// A run's folder, a history.jsonl, or a Jepsen history.edn
    path: PathBuf,
    /// Where to write it; without, report.html of the run's folder, or stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// In which form
    #[arg(long, value_enum, default_value = "html")]
    format: draw::Format,
}

fn models() -> PossibleValuesParser {
    PossibleValuesParser::new(Model::ALL.map(Model::name))
}

/// Checks; the exit code is the verdict's.
pub(super) fn check_path(args: &CheckArgs) -> Result<i32> {
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

/// Draws a report.
pub(super) fn report_path(args: &ReportArgs) -> Result<()> {
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
