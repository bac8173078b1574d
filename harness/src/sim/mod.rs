//! `schism sim`: the target's own replicas in a simulator, thousands of schedules a second, and every one of them again at will.
//!
//! ```text
//! seed -> plan -> simulation with clients -> history -> checkers
//! ```
//!
//! The scheduler is `schism_targets::simulator`; here are what is drawn, the clients, and what is made of it: a seed that fails, or that
//! leaves something undecided, is shrunk to a plan that a person can read. What the simulator cannot show (the storage's own mistakes, the kernel, real clocks) is for `schism run`.

mod client;
mod draw;
mod drive;
mod families;
mod judge;
mod members;
mod output;
mod plan;
mod recording;
mod search;
mod setting;
mod shrink;
mod stages;
mod title;
mod trace;
mod variety;
mod worker;

pub use drive::{Driven, drive};
pub use families::Families;
pub use judge::{Judgement, judge, unpromised, verdict};
pub use output::{Saved, Show, read_plan};
pub use plan::{Drawn, Plan, PlannedFault, PlannedOperation, What};
pub use search::{Counts, Found, Seeds, search};
pub use setting::{CLIENTS, Setting, Wanted};
pub use shrink::{Shrunk, shrink};
pub use trace::{Extent, Told, text};
pub use variety::Variety;

use anyhow::Result;

/// The plan of a seed.
pub fn plan_of(setting: &Setting, seed: u64, families: &Families) -> Plan {
    draw::plan(seed, setting, families)
}

/// Carries many seeds out, and shows what comes of it. The exit code.
pub fn carry_out(setting: &Setting, seeds: &Seeds, show: &Show) -> Result<i32> {
    let found = search(setting, seeds, &mut |found| {
        show.progress(found, seeds.count);
    })?;
    show.done();
    let saved = match found.worth_a_look() {
        Some((seed, judgement)) => Some(explain(setting, seeds, seed, judgement, show)?),
        None => None,
    };
    let why = match found.undecided.first_key_value() {
        Some((seed, property)) => Some(why_undecided(setting, seeds, *seed, property)?),
        None => None,
    };
    show.found(setting, seeds, &found, saved.as_ref(), why.as_deref())?;
    Ok(found.exit_code())
}

/// A seed: shrunk as long as it is judged so, carried out once more, and written down.
fn explain(
    setting: &Setting,
    seeds: &Seeds,
    seed: u64,
    judgement: Judgement,
    show: &Show,
) -> Result<Saved> {
    show.say(&format!("seed {seed} {judgement}; shrinking its plan"));
    let whole = drive(setting, &plan_of(setting, seed, &seeds.families), false)?.plan;
    let shrunk = shrink(setting, whole.clone(), judgement)?;
    let driven = drive(setting, &shrunk.plan, true)?;
    output::save(setting, &whole, &shrunk, &driven, show)
}

/// Why a checker could not decide something of a seed.
fn why_undecided(setting: &Setting, seeds: &Seeds, seed: u64, property: &str) -> Result<String> {
    let driven = drive(setting, &plan_of(setting, seed, &seeds.families), false)?;
    let verdict = verdict(setting, &driven.history);
    let result = verdict.properties.get(property);
    Ok(result.map(|result| result.why.clone()).unwrap_or_default())
}

/// The trace of a plan that was carried out and written down.
pub fn trace_of(setting: &Setting, driven: &Driven, extent: Extent) -> String {
    let own = setting.of(&driven.plan);
    let own = own.expect("a plan that was carried out fits its setting");
    let told = Told {
        title: &title::title(&own, driven.plan.seed),
        history: &driven.history,
        trace: &driven.trace,
        verdict: &verdict(setting, &driven.history),
        clients: CLIENTS as u64,
    };
    text(&told, extent)
}

/// Carries one plan out, and shows it, as far as wanted. The exit code.
pub fn replay(setting: &Setting, plan: &Plan, extent: Extent, show: &Show) -> Result<i32> {
    let driven = drive(setting, plan, true)?;
    show.replayed(setting, &driven, extent)?;
    Ok(match judge(setting, &driven.history) {
        Judgement::Violated(_) => crate::exit::VIOLATION,
        Judgement::Clean => crate::exit::PASS,
        Judgement::Void(_) | Judgement::Undecided(_) => crate::exit::INCONCLUSIVE,
    })
}
