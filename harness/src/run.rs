//! One experiment, from the spec to the report: the whole story on one screen.

use crate::spec::Resolved;
use crate::store::Run;
use crate::{check, draw, drive, summary};
use anyhow::Result;
use schism_checkers::verdict::{Outcome, Verdict};
use std::path::Path;

/// Records, checks and draws. The exit code is the verdict's: what fails after a verdict is said, and never masks it.
pub fn run(spec: &Resolved, out: &Path, quiet: bool, json: bool) -> Result<i32> {
    let run = Run::create(spec, out)?;
    drive::record(spec, &run, quiet)?;
    let verdict = check::run(&run)?;
    finish(&run, &verdict);
    summary::print(&run, &verdict, json)?;
    Ok(check::exit_code(&verdict))
}

fn finish(run: &Run, verdict: &Verdict) {
    let tidied = match verdict.verdict {
        Outcome::Pass => run.drop_node_data(),
        Outcome::Violation | Outcome::Inconclusive => Ok(()),
    };
    for result in [draw::write(run, verdict), tidied] {
        if let Err(error) = result {
            eprintln!("schism: the verdict stands, but: {error:#}");
        }
    }
}
