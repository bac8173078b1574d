//! What the deciding properties say of one simulated history: quickly, for there are many.
//!
//! One history alone proves little, and need not: whether enough was done shows in the figures of all schedules together. So a schedule in which
//! there was nothing to look at is counted, and only what a checker could not decide is inconclusive.

use super::setting::Setting;
use crate::check::Limits;
use schism_checkers::verdict::{Decision, PropertyResult, Verdict};
use schism_checkers::{Chosen, Prepared, Tally, merge};
use schism_history::History;
use std::fmt;

/// What one schedule shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Judgement {
    /// All holds.
    Clean,
    /// Of some property nothing was there to look at; the rest holds.
    Void(&'static str),
    /// This property could not be decided.
    Undecided(&'static str),
    /// This property is violated: the first of those that decide.
    Violated(&'static str),
}

impl Judgement {
    /// The property of which it is said.
    pub fn property(self) -> Option<&'static str> {
        match self {
            Self::Clean => None,
            Self::Void(name) | Self::Undecided(name) | Self::Violated(name) => Some(name),
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("is clean"),
            Self::Void(name) => write!(f, "shows nothing of {name}"),
            Self::Undecided(name) => write!(f, "leaves {name} undecided"),
            Self::Violated(name) => write!(f, "violates {name}"),
        }
    }
}

/// Judges a history.
pub fn judge(setting: &Setting, history: &History) -> Judgement {
    let prepared = Prepared::new(history);
    let results = results(setting, &prepared);
    if results.iter().all(|(_, r)| r.verdict == Decision::Holds) {
        return Judgement::Clean;
    }
    // One may hold because another one that implies it does.
    let verdict = merge(&prepared, &Tally::of(&prepared), results);
    worst(setting, &verdict)
}

/// The whole verdict on a history, for people.
pub fn verdict(setting: &Setting, history: &History) -> Verdict {
    let prepared = Prepared::new(history);
    let mut results = results(setting, &prepared);
    results.extend(checked(&setting.unpromised, false, &prepared));
    merge(&prepared, &Tally::of(&prepared), results)
}

/// What is violated of that which is not promised under the faults that are drawn.
pub fn unpromised(setting: &Setting, history: &History) -> Vec<&'static str> {
    if setting.unpromised.is_empty() {
        return Vec::new();
    }
    let results = checked(&setting.unpromised, false, &Prepared::new(history));
    let violated = results.into_iter();
    violated
        .filter(|(_, result)| result.verdict == Decision::Violated)
        .map(|(chosen, _)| chosen.property.name())
        .collect()
}

fn results(setting: &Setting, prepared: &Prepared<'_>) -> Vec<(Chosen, PropertyResult)> {
    checked(&setting.deciding, true, prepared)
}

fn checked(
    properties: &[&'static dyn schism_checkers::Property],
    decides: bool,
    prepared: &Prepared<'_>,
) -> Vec<(Chosen, PropertyResult)> {
    let check = |property: &&'static dyn schism_checkers::Property| {
        let chosen = Chosen {
            property: *property,
            decides,
        };
        let result = crate::check::check_one(prepared, chosen, Limits::default());
        (chosen, result)
    };
    properties.iter().map(check).collect()
}

fn worst(setting: &Setting, verdict: &Verdict) -> Judgement {
    let of = |property: &&'static dyn schism_checkers::Property| {
        let name = property.name();
        match verdict.properties.get(name) {
            Some(result) => match result.verdict {
                Decision::Holds => Judgement::Clean,
                Decision::Violated => Judgement::Violated(name),
                Decision::Unknown if result.checked == 0 => Judgement::Void(name),
                Decision::Unknown => Judgement::Undecided(name),
            },
            None => Judgement::Clean,
        }
    };
    let all = setting.deciding.iter().map(of);
    // Of two violations the first counts, in the order in which they were named.
    let rank = |judgement: &Judgement| match judgement {
        Judgement::Clean => 0,
        Judgement::Void(_) => 1,
        Judgement::Undecided(_) => 2,
        Judgement::Violated(_) => 3,
    };
    all.rev().max_by_key(rank).unwrap_or(Judgement::Clean)
}
