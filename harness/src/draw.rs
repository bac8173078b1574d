//! From a run's folder to its report: collects what the report needs, and writes it. Reads only what is on disk.

use crate::capture::Captures;
use crate::report::{self, Input, NodeLog, RunInfo};
use crate::spec::Spec;
use crate::store::Run;
use anyhow::{Context, Result};
use schism_checkers::verdict::Verdict;
use schism_history::History;

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One self-contained page
    Html,
    /// A summary in Markdown
    Md,
    /// The verdict as JSON
    Json,
}

/// Writes `report.html` and the plots into the run's folder.
pub fn write(run: &Run, verdict: &Verdict) -> Result<()> {
    let history = run.history()?;
    let input = of_folder(run, &history, verdict);
    run.write(
        "report.html",
        &report::html(&input).context("cannot draw the report")?,
    )?;
    for (name, svg) in report::plots(&input).context("cannot draw the plots")? {
        run.write(&format!("plots/{name}"), &svg)?;
    }
    Ok(())
}

/// The report of a saved run.
pub fn of_run(run: &Run, verdict: &Verdict, format: Format) -> Result<String> {
    let history = run.history()?;
    text(&of_folder(run, &history, verdict), format)
}

/// The report of a bare history.
pub fn of_history(history: &History, verdict: &Verdict, format: Format) -> Result<String> {
    text(
        &Input {
            history,
            verdict,
            run: RunInfo::default(),
            logs: Vec::new(),
            captures: None,
        },
        format,
    )
}

fn text(input: &Input<'_>, format: Format) -> Result<String> {
    Ok(match format {
        Format::Html => report::html(input).context("cannot draw the report")?,
        Format::Md => report::markdown(input),
        Format::Json => {
            serde_json::to_string_pretty(input.verdict).context("cannot write JSON")? + "\n"
        }
    })
}

fn of_folder<'a>(run: &Run, history: &'a History, verdict: &'a Verdict) -> Input<'a> {
    // A run whose spec cannot be read any more still has its history.
    let spec = Spec::read(&run.folder().join("spec.toml")).ok();
    let logs = run
        .log_tails()
        .into_iter()
        .map(|log| NodeLog {
            node: log.node,
            file: log.file,
            tail: log.tail,
            truncated: log.truncated,
        })
        .collect();
    let info = spec.map(|spec| info(run, &spec)).unwrap_or_default();
    Input {
        history,
        verdict,
        run: info,
        logs,
        captures: Captures::read(&run.nodes_folder(), history),
    }
}

fn info(run: &Run, spec: &Spec) -> RunInfo {
    let name = run
        .folder()
        .file_name()
        .map(|n| n.to_string_lossy().into_owned());
    let planned = spec.faults.iter().map(|f| f.fault.clone());
    let workload_options = spec
        .workload_options
        .iter()
        .map(|(k, v)| (format!("workload.{k}"), v.clone()));
    RunInfo {
        target: Some(spec.target.clone()),
        options: spec
            .options
            .clone()
            .into_iter()
            .chain(workload_options)
            .filter(|(_, value)| !value.is_empty())
            .collect(),
        workload: Some(spec.workload.clone()),
        nemesis: spec.drawn().into_iter().cloned().chain(planned).collect(),
        nodes: Some(spec.nodes),
        seed: Some(spec.seed),
        date: name.as_deref().and_then(date),
        command: Some(if spec.faults.is_empty() {
            spec.command()
        } else {
            // A written schedule has no flags.
            format!("schism run {}", run.folder().join("spec.toml").display())
        }),
        spec_toml: spec.to_toml().ok(),
    }
}

/// `20261124T121750Z-...` as `2026-11-24 12:17:50 UTC`.
fn date(folder: &str) -> Option<String> {
    let stamp = folder
        .split('-')
        .next()
        .filter(|s| s.len() == 16 && s.is_ascii())?;
    let part = |from: usize, to: usize| &stamp[from..to];
    Some(format!(
        "{}-{}-{} {}:{}:{} UTC",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13),
        part(13, 15)
    ))
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn the_date_is_read_from_the_folder() {
        let read = date("20261124T121750Z-single-leader-set-1");
        assert_eq!(read.as_deref(), Some("2026-11-24 12:17:50 UTC"));
        assert_eq!(date("renamed"), None);
    }
}
