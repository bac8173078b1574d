//! What a verdict says on a terminal: the worst first, each anomaly in its sentence, and where to read on.

use crate::store::Run;
use anyhow::{Context, Result};
use schism_checkers::verdict::{Decision, Outcome, PropertyResult, Verdict};
use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, Write};

/// How many anomalies of a deciding property are said, and one of any other; the report has more.
const ANOMALIES_SAID: usize = 3;

/// Says the verdict of a run and where its report is.
pub fn print(run: &Run, verdict: &Verdict, json: bool) -> Result<()> {
    print_verdict(verdict, json)?;
    if !json {
        let folder = run.folder();
        let shown = std::env::current_dir()
            .ok()
            .and_then(|here| folder.strip_prefix(here).ok())
            .unwrap_or(folder);
        to_stdout(&format!(
            "report: {}\n",
            shown.join("report.html").display()
        ))?;
    }
    Ok(())
}

/// Says a verdict.
pub fn print_verdict(verdict: &Verdict, json: bool) -> Result<()> {
    if json {
        let text =
            serde_json::to_string_pretty(verdict).context("cannot write the verdict as JSON")?;
        return to_stdout(&format!("{text}\n"));
    }
    let colour = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    to_stdout(&text(verdict, colour))
}

/// Writes to stdout; a reader that has gone away (`| head`) is no error.
pub fn to_stdout(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}

fn text(verdict: &Verdict, colour: bool) -> String {
    let paint = |text: &str, code: &str| {
        if colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let mut out = String::new();
    if verdict.properties.is_empty() {
        out.push_str("no property fits the operations of this history unasked: name one with --property (see `schism list properties`)\n");
    }
    let mut properties: Vec<_> = verdict.properties.iter().collect();
    properties.sort_by_key(|(_, p)| (!p.decides, std::cmp::Reverse(p.verdict)));
    for (name, property) in properties {
        let (word, code) = match property.verdict {
            Decision::Holds => ("holds   ", "32"),
            Decision::Unknown => ("unknown ", "33"),
            Decision::Violated => ("VIOLATED", "31;1"),
        };
        let shown = if property.decides {
            ""
        } else {
            "  (shown, does not decide)"
        };
        let _ = writeln!(
            out,
            "{} {name}{}{shown}",
            paint(word, code),
            figures(property)
        );
        let said = if property.decides { ANOMALIES_SAID } else { 1 };
        for anomaly in property.anomalies.iter().take(said) {
            let _ = writeln!(out, "         - {}", plain(&anomaly.message));
        }
    }
    for reason in verdict.meaningful["reasons"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let _ = writeln!(
            out,
            "{} {}",
            paint("not meaningful:", "33"),
            plain(reason.as_str().unwrap_or_default())
        );
    }
    for fault in verdict.stats["skipped"].as_array().into_iter().flatten() {
        let text = |field: &str| plain(fault[field].as_str().unwrap_or_default());
        let _ = writeln!(
            out,
            "{} {}: {}",
            paint("skipped:", "33"),
            text("what"),
            text("why")
        );
    }
    let (word, code) = match verdict.verdict {
        Outcome::Pass => ("pass", "32;1"),
        Outcome::Violation => ("violation", "31;1"),
        Outcome::Inconclusive => ("inconclusive", "33;1"),
    };
    let _ = writeln!(out, "verdict: {}", paint(word, code));
    out
}

fn figures(property: &PropertyResult) -> String {
    let count = match property.count {
        0 => String::new(),
        1 => ", 1 anomaly".to_owned(),
        n => format!(", {n} anomalies"),
    };
    let why = if property.why.is_empty() {
        String::new()
    } else {
        format!("; {}", plain(&property.why))
    };
    format!(" ({} checked{count}{why})", property.checked)
}

/// Text that came from servers and clients must not steer the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
