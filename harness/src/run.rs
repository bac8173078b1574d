//! One experiment, from the spec to the report: the whole story on one screen.

use crate::drive::{Failed, Way};
use crate::nemesis::Impossible;
use crate::spec::{Pcap, Resolved};
use crate::stderr::say;
use crate::store::Run;
use crate::{check, draw, drive, summary};
use anyhow::Result;
use schism_checkers::verdict::{Outcome, Verdict};
use std::path::Path;

/// Records, checks and draws; faults of the families that are left out do not come. The exit code is the verdict's: what fails after a verdict is said, and never masks it.
pub fn run(
    spec: &Resolved,
    left_out: &[Impossible],
    out: &Path,
    way: Way,
    json: bool,
) -> Result<i32> {
    let run = Run::create(spec, out)?;
    if let Err(error) = drive::record(spec, left_out, &run, way) {
        if let Some(Failed::AtOnce(_)) = error.downcast_ref() {
            return Err(error);
        }
        return violated_all_the_same(spec.spec.pcap, &run, json).ok_or(error);
    }
    let verdict = check::run(&run)?;
    finish(spec.spec.pcap, &run, &verdict, json);
    Ok(check::exit_code(&verdict))
}

/// What was recorded before the harness failed may already be a violation: then that is what is said.
fn violated_all_the_same(pcap: Pcap, run: &Run, json: bool) -> Option<i32> {
    let verdict = check::run(run)
        .ok()
        .filter(|v| v.verdict == Outcome::Violation)?;
    say(
        "schism: the run was not carried out to its end; what was recorded is a violation all the same",
    );
    finish(pcap, run, &verdict, json);
    Some(check::exit_code(&verdict))
}

fn finish(pcap: Pcap, run: &Run, verdict: &Verdict, json: bool) {
    let tidied = match verdict.verdict {
        Outcome::Pass => run.drop_node_data(pcap),
        Outcome::Violation | Outcome::Inconclusive => Ok(()),
    };
    let results = [
        run.write_verdict(verdict),
        draw::write(run, verdict),
        tidied,
        summary::print(run, verdict, json),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        say(&format!("schism: the verdict stands, but: {error:#}"));
    }
}
