//! From a run that fails to the least that still does: fewer faults, then shorter ones, then less time, fewer clients, fewer operations.
//!
//! A run fails only sometimes, so a candidate is run several times and kept when it fails in the share that was asked. What it comes to is a spec of its
//! own, `shrunk.toml`, and how often that fails.

mod candidate;
pub(crate) mod ddmin;
mod search;

pub use search::{State, Way};

use crate::exit;
use crate::replay::tries::{Tally, percent};
use crate::replay::{Recorded, folder, looked_for, state, write_state};
use crate::spec::Spec;
use crate::stderr::say;
use crate::summary::to_stdout;
use anyhow::{Context, Result, bail};
use candidate::Whole;
use search::{Halt, SHRUNK, STATE, Search};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum End {
    /// Nothing smaller was left to try.
    Complete,
    /// Its time was over.
    Budget,
    /// A signal.
    Interrupted,
    /// Not even the whole fails often enough.
    TooSeldom,
}

/// Prepares to shrink a saved run: reads it, and makes the folder.
pub fn create(
    run: &Path,
    properties: &[String],
    runs: u64,
    share: f64,
    out: &Path,
) -> Result<(State, PathBuf)> {
    let recorded = Recorded::read(run)?;
    if recorded.violated.is_empty() {
        bail!(
            "{} violated nothing that decides: there is nothing to shrink",
            run.display()
        );
    }
    let state = State {
        run: run
            .canonicalize()
            .with_context(|| format!("cannot find {}", run.display()))?,
        properties: recorded.wanted(properties)?,
        runs,
        share,
        whole: Whole::of(&recorded),
        tried: Vec::new(),
    };
    let folder = folder("shrink", &recorded.spec, out)?;
    write_state(&state, &folder, STATE)?;
    Ok((state, folder))
}

/// One that was stopped goes on.
pub fn resume(folder: &Path) -> Result<State> {
    state(folder, STATE)
}

/// Shrinks, and tells what is left. The exit code.
pub fn carry_out(state: &mut State, way: &Way) -> Result<i32> {
    let mut search = Search::new(state, way);
    search.say(&opening(search.state, way));
    let went = search.go();
    let best = search.best;
    let end = match went {
        Ok(true) => End::Complete,
        Ok(false) => End::TooSeldom,
        Err(Halt::Budget) => End::Budget,
        Err(Halt::Interrupted) => End::Interrupted,
        Err(Halt::Failed(error)) => return Err(error),
    };
    write_best(state, best.as_ref(), &way.folder)?;
    tell(state, best.as_ref(), end, way)?;
    let go_on = |why: &str| {
        let folder = way.folder.display();
        say(&format!(
            "{why}; go on with: schism shrink --resume {folder}"
        ));
    };
    match end {
        End::Complete => {}
        End::TooSeldom => say(&too_seldom(state)),
        End::Budget => go_on("the budget was over"),
        End::Interrupted => go_on("stopped"),
    }
    Ok(match (end, &best) {
        (End::Interrupted, _) => exit::HARNESS,
        (End::Budget | End::TooSeldom, None) => exit::INCONCLUSIVE,
        _ => exit::PASS,
    })
}

fn opening(state: &State, way: &Way) -> String {
    let never = match state.whole.never_came {
        0 => String::new(),
        n => format!(" ({n} more were planned and never came)"),
    };
    format!(
        "{} faults{never}, looking for {} in {:.0} % of {} runs; {}",
        state.whole.faults.len(),
        looked_for(&state.properties),
        state.share * 100.0,
        state.runs,
        way.folder.display()
    )
}

fn too_seldom(state: &State) -> String {
    let first = state.tried.first();
    let tally = first.map(|t| t.tally).unwrap_or_default();
    let open = match first.and_then(|t| t.open.as_ref()) {
        None => String::new(),
        Some(why) => format!(" and {} did not decide ({why})", tally.undecided),
    };
    format!(
        "as it was, it fails in {} of {} runs{open}: that is too seldom to shrink by. See how often it does with\n  schism replay {} --times 20\nand ask for a smaller --share of more --runs",
        tally.same,
        tally.decided(),
        state.run.display()
    )
}

/// Writes the smallest spec so far, with what it is.
fn write_best(state: &State, best: Option<&(Spec, Tally)>, folder: &Path) -> Result<()> {
    let Some((spec, tally)) = best else {
        return Ok(());
    };
    let mut text = format!(
        "# Shrunk from {}, which violated {}.\n# {}.\n",
        state.run.display(),
        looked_for(&state.properties),
        smaller(&state.whole, spec)
    );
    let _ = writeln!(
        text,
        "# It fails in {} of {} runs.",
        tally.same,
        tally.decided()
    );
    for (n, fault) in (1..).zip(&spec.faults) {
        let _ = writeln!(
            text,
            "# Fault {n} in that run: {}",
            state.whole.what(fault).replace('\n', " ")
        );
    }
    text.push('\n');
    text.push_str(&spec.to_toml()?);
    let (path, next) = (folder.join(SHRUNK), folder.join(format!(".{SHRUNK}")));
    fs::write(&next, text)
        .and_then(|()| fs::rename(&next, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// `12 faults -> 1, 30s -> 4s, 10 clients -> 2, 500 operations a second -> 60`.
fn smaller(whole: &Whole, spec: &Spec) -> String {
    let arrow = |from: String, to: String, unit: &str| {
        if from == to {
            format!("{from}{unit} as before")
        } else {
            format!("{from}{unit} -> {to}")
        }
    };
    let time = |t| humantime::format_duration(t).to_string();
    let rate = |rate: f64| {
        if rate > 0.0 {
            rate.to_string()
        } else {
            "all".to_owned()
        }
    };
    let (before, after) = (&whole.spec, spec);
    [
        arrow(
            whole.faults.len().to_string(),
            after.faults.len().to_string(),
            " faults",
        ),
        arrow(time(before.time_limit), time(after.time_limit), ""),
        arrow(
            before.concurrency.to_string(),
            after.concurrency.to_string(),
            " clients",
        ),
        arrow(rate(before.rate), rate(after.rate), " operations a second"),
    ]
    .join(", ")
}

fn tell(state: &State, best: Option<&(Spec, Tally)>, end: End, way: &Way) -> Result<()> {
    let path = way.folder.join(SHRUNK);
    if way.json {
        let from_to = |from: serde_json::Value, to: Option<serde_json::Value>| json!([from, to]);
        let (spec, tally) = (best.map(|b| &b.0), best.map(|b| b.1));
        let whole = &state.whole;
        let answer = json!({
            "run": state.run,
            "properties": state.properties,
            "faults": from_to(json!(whole.faults.len()), spec.map(|s| json!(s.faults.len()))),
            "time_limit_s": from_to(json!(whole.spec.time_limit.as_secs_f64()), spec.map(|s| json!(s.time_limit.as_secs_f64()))),
            "clients": from_to(json!(whole.spec.concurrency), spec.map(|s| json!(s.concurrency))),
            "rate": from_to(json!(whole.spec.rate), spec.map(|s| json!(s.rate))),
            "violated": tally.map(|t| t.same),
            "decided": tally.map(Tally::decided),
            "interval": tally.map(Tally::interval),
            "tried": state.tried.len(),
            "end": end,
            "spec": spec.map(|_| &path),
            "left": spec.map(|s| s.faults.iter().map(|f| json!({"fault": f.fault, "what": whole.what(f)})).collect::<Vec<_>>()),
        });
        let text = serde_json::to_string_pretty(&answer).context("cannot write JSON")?;
        return to_stdout(&format!("{text}\n"));
    }
    let Some((spec, tally)) = best else {
        return to_stdout("nothing was found that fails\n");
    };
    let mut out = format!("{}\n", smaller(&state.whole, spec));
    for fault in &spec.faults {
        let _ = writeln!(
            out,
            "  at {} for {}  {}  ({} in the saved run)",
            humantime::format_duration(fault.at),
            humantime::format_duration(fault.lasts),
            fault.fault,
            state.whole.what(fault)
        );
    }
    let _ = writeln!(
        out,
        "it fails in {} of {} runs: the rate is {} (95 %)\nrun it with: schism run {}",
        tally.same,
        tally.decided(),
        percent(tally.interval()),
        path.display()
    );
    to_stdout(&out)
}
