//! History to verdict: the properties that schism looks for, as pure functions.
//!
//! A [`Property`] is one file under `properties/` and one entry in its registry. [`check`] runs those that were named, or those that
//! fit the operations of the history, and merges their decisions worst first. No I/O, no clocks, no threads: the caller lends a
//! [`Budget`] that says when to stop, and whatever runs out answers `unknown`.
//!
//! Two rules hold everywhere: an anomaly is real and names the operations that prove it; what cannot be decided is `unknown`
//! with the reason, never a silent pass.
//!
//! ```
//! use schism_checkers::{Budget, check, verdict::Outcome};
//! use schism_history::History;
//!
//! // The read began after 2 was acknowledged, and returned 1, which 2 had replaced.
//! let history = History::dsl("0: write x 1 @0..1; 0: write x 2 @2..3; 1: read x 1 @4..5").unwrap();
//! let verdict = check(&history, None, &[], &Budget::unlimited()).unwrap();
//! assert_eq!(verdict.verdict, Outcome::Violation);
//! assert_eq!(verdict.properties["stale-reads"].anomalies[0].operations, [0, 2, 4]);
//! ```

mod add_wins;
mod budget;
mod closure;
mod cycles;
mod elements;
mod fault;
mod finals;
mod findings;
mod fixed;
mod intern;
pub mod linearize;
mod order;
mod prepared;
mod properties;
pub mod register;
mod search;
mod sums;
mod transactions;
pub mod verdict;
mod words;
mod zones;

pub use budget::Budget;
pub use fault::{Driver, Fault, Phase};
pub use prepared::{Keyed, Prepared, Shape};
pub use properties::{properties, property};

use schism_history::History;
use std::collections::BTreeMap;
use verdict::{Decision, Outcome, PropertyResult, Verdict};

/// Something that a history satisfies or violates.
pub trait Property: Sync {
    /// Its stable name, kebab-case.
    fn name(&self) -> &'static str;

    /// What it promises, in one line.
    fn summary(&self) -> &'static str;

    /// Whether the history has the operations that it is about.
    fn fits(&self, history: &Prepared<'_>) -> bool;

    /// Decides it.
    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult;
}

/// Why a history cannot be checked as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// No property has this name.
    #[error("there is no property {name:?}; there are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The history has no operations that the property is about.
    #[error(
        "{name} does not fit this history: it has no operations that {name} is about ({summary})"
    )]
    DoesNotFit {
        /// The property.
        name: &'static str,
        /// What it promises.
        summary: &'static str,
    },
}

/// The properties that every verdict has in fields of their own; they stand among the others only when named.
const SAID_APART: [&str; 2] = ["meaningful", "stats"];

/// Checks the `named` properties, or all that fit. `deciding` are those that make the verdict; when it is empty, all that are
/// checked do. A named one that does not fit is an error; a deciding one that was not named and does not fit is `unknown`.
pub fn check(
    history: &History,
    named: Option<&[String]>,
    deciding: &[String],
    budget: &Budget<'_>,
) -> Result<Verdict, CheckError> {
    let prepared = Prepared::new(history);
    let deciding = deciding
        .iter()
        .map(|name| find(name))
        .collect::<Result<Vec<_>, _>>()?;
    let wanted = match named {
        Some(names) => {
            let named = names
                .iter()
                .map(|name| find(name))
                .collect::<Result<Vec<_>, _>>()?;
            if let Some(stranger) = named.iter().find(|p| !p.fits(&prepared)) {
                return Err(CheckError::DoesNotFit {
                    name: stranger.name(),
                    summary: stranger.summary(),
                });
            }
            named
        }
        None => properties()
            .iter()
            .copied()
            .filter(|p| !SAID_APART.contains(&p.name()) && p.fits(&prepared))
            .collect(),
    };
    let mut results = BTreeMap::new();
    for property in wanted.iter().chain(&deciding) {
        results
            .entry(property.name().to_owned())
            .or_insert_with(|| decide(*property, &prepared, budget));
    }
    let decides = |name: &str| deciding.is_empty() || deciding.iter().any(|p| p.name() == name);
    for (name, result) in &mut results {
        result.decides = decides(name);
    }
    Ok(merge(&prepared, results))
}

fn find(name: &str) -> Result<&'static dyn Property, CheckError> {
    property(name).ok_or_else(|| CheckError::Unknown {
        name: name.to_owned(),
        known: properties()
            .iter()
            .map(|p| p.name())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

fn decide(property: &dyn Property, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
    if property.fits(history) {
        return property.check(history, budget);
    }
    let mut findings = findings::Findings::new();
    findings.doubt(|| "the history has no operations that it is about".to_owned());
    findings.result()
}

/// Worst first: a violation stays one, whatever else is open.
fn merge(history: &Prepared<'_>, properties: BTreeMap<String, PropertyResult>) -> Verdict {
    let worst = properties
        .values()
        .filter(|p| p.decides)
        .map(|p| p.verdict)
        .max();
    let meaningful = properties::meaningful::judge(history);
    let verdict = match worst {
        Some(Decision::Violated) => Outcome::Violation,
        Some(Decision::Holds) if meaningful.reasons.is_empty() => Outcome::Pass,
        _ => Outcome::Inconclusive,
    };
    let stats = properties::stats::table(history);
    Verdict {
        verdict,
        properties,
        stats,
        meaningful: meaningful.to_json(),
    }
}
