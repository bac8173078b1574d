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

mod accesses;
mod across;
mod add_wins;
mod atomicity;
mod budget;
mod carts;
mod causality;
mod chain;
mod clocks;
mod closure;
mod counts;
mod cycles;
mod elements;
mod fault;
mod final_values;
mod finals;
mod findings;
mod fixed;
mod happens_before;
mod implied;
mod intern;
mod late;
pub mod linearize;
mod merging_counter;
mod models;
mod needs;
mod order;
mod pipelines;
mod prefix;
mod prepared;
mod properties;
mod questions;
pub mod register;
mod run_order;
mod runs;
mod search;
mod shrink;
pub mod stream;
mod sums;
mod total_order;
mod transactions;
pub mod verdict;
mod wgl;
mod words;
mod zones;

pub use budget::Budget;
pub use fault::{Driver, Fault, Phase};
pub use models::Model;
pub use prepared::{Keyed, Prepared, Shape};
pub use properties::stats::Tally;
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

    /// Whether it is only checked when it is named: what it asks, only some systems promise, or no fast algorithm decides it.
    fn only_when_named(&self) -> bool {
        false
    }

    /// Whether it holds of every beginning of a history of which it holds: then a violation that is found while a run goes on is one for good.
    fn holds_of_beginnings(&self) -> bool {
        false
    }

    /// Whether the history has the operations that it is about.
    fn fits(&self, history: &Prepared<'_>) -> bool;

    /// Decides it. When the budget is used up it is `unknown`, and what was found by then stays a violation; only `meaningful` and `stats`
    /// do not ask, being one pass over the operations: see [`Chosen::check`].
    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult;

    /// Whether it is checked though nobody named it, where it fits only a part of what it may be asked about.
    fn fits_unasked(&self, history: &Prepared<'_>) -> bool {
        self.fits(history)
    }

    /// The same for a history that does not fit into memory, where that can be done: see [`stream`].
    fn stream<'s>(&self, _survey: &'s Prepared<'_>) -> Option<Box<dyn stream::Fold<'s> + 's>> {
        None
    }
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
    /// The history has an operation that the model does not know.
    #[error("{0}")]
    NotOfTheModel(String),
    /// A model was given, and nothing is checked that minds it.
    #[error(
        "a model says as what a history is checked by linearizable, which is not among the properties; add --property linearizable"
    )]
    ModelForNothing,
}

/// The properties that every verdict has in fields of their own; they stand among the others only when named.
const SAID_APART: [&str; 2] = ["meaningful", "stats"];
/// The one property that a [`Model`] is for.
const LINEARIZABLE: &str = "linearizable";

/// Checks the `named` properties, or all that fit, one after another: see [`choose`].
pub fn check(
    history: &History,
    named: Option<&[String]>,
    deciding: &[String],
    budget: &Budget<'_>,
) -> Result<Verdict, CheckError> {
    check_as(history, None, named, deciding, budget)
}

/// The same, with what `linearizable` checks the history as.
///
/// ```
/// use schism_checkers::{Budget, Model, check_as, verdict::Outcome};
/// use schism_history::History;
///
/// // 1 had gone in before 2 did, and 2 came out before 1.
/// let history = History::dsl(
///     "0: enqueue q 1 @0..1; 0: enqueue q 2 @2..3; 1: dequeue q 2 @4..5; 1: dequeue q 1 @6..7",
/// )
/// .unwrap();
/// let verdict = |model| check_as(&history, Some(model), None, &[], &Budget::unlimited()).unwrap();
/// assert_eq!(verdict(Model::FifoQueue).verdict, Outcome::Violation);
/// let unordered = &verdict(Model::UnorderedQueue).properties["linearizable"];
/// assert_eq!(unordered.count, 0);
/// ```
pub fn check_as(
    history: &History,
    model: Option<Model>,
    named: Option<&[String]>,
    deciding: &[String],
    budget: &Budget<'_>,
) -> Result<Verdict, CheckError> {
    let prepared = Prepared::new(history).with_model(model);
    let chosen = choose(&prepared, named, deciding)?;
    let results = chosen
        .iter()
        .map(|chosen| (*chosen, chosen.check(&prepared, budget)));
    Ok(merge(&prepared, &Tally::of(&prepared), results.collect()))
}

/// A property that is to be checked.
#[derive(Clone, Copy)]
pub struct Chosen {
    /// The property.
    pub property: &'static dyn Property,
    /// Whether it decides the verdict, or is only shown.
    pub decides: bool,
}

impl Chosen {
    /// Checks it; one that does not fit is `unknown`, and so is one that would take more memory than there is, or that holds when the time is up.
    pub fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let rest = match needs::rest(self.property.name(), history, budget) {
            Ok(rest) => rest,
            Err(why) => return PropertyResult::unknown(why),
        };
        if !self.property.fits(history) {
            return PropertyResult::unknown("the history has no operations that it is about");
        }
        let mut result = self.property.check(history, &rest);
        if result.verdict == Decision::Holds && budget.is_exhausted() {
            result.verdict = Decision::Unknown;
            let notes = Some(result.why).filter(|why| !why.is_empty());
            let late = "ran out of time before all was said and done".to_owned();
            result.why = [late]
                .into_iter()
                .chain(notes)
                .collect::<Vec<_>>()
                .join("; ");
        }
        result
    }

    /// About how many bytes it takes besides the history, as far as the history's size tells that before it is begun.
    pub fn needs_bytes(&self, history: &Prepared<'_>) -> u64 {
        needs::bytes(self.property.name(), history)
    }
}

/// The properties to check: the `named` ones, or all that fit (but for those that are only checked when named). `deciding` are those that make the verdict, and are checked as well; when
/// there are none, all do. A named one that does not fit is an error; a deciding one that was not named and does not fit is `unknown`.
/// With a model, and nothing named, it is `linearizable`.
pub fn choose(
    history: &Prepared<'_>,
    named: Option<&[String]>,
    deciding: &[String],
) -> Result<Vec<Chosen>, CheckError> {
    let find_all = |names: &[String]| {
        names
            .iter()
            .map(|name| find(name))
            .collect::<Result<Vec<_>, _>>()
    };
    let deciding = find_all(deciding)?;
    let of_the_model = [LINEARIZABLE.to_owned()];
    let named = named.or(history.model.map(|_| of_the_model.as_slice()));
    if let Some(model) = history.model {
        if !named.is_some_and(|names| names.iter().any(|name| name == LINEARIZABLE)) {
            return Err(CheckError::ModelForNothing);
        }
        model.knows(history).map_err(CheckError::NotOfTheModel)?;
    }
    let wanted = match named {
        Some(names) => {
            let named = find_all(names)?;
            if let Some(stranger) = named.iter().find(|p| !p.fits(history)) {
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
            .filter(|p| !SAID_APART.contains(&p.name()) && !p.only_when_named())
            .filter(|p| p.fits(history) && p.fits_unasked(history))
            .collect(),
    };
    let mut chosen: Vec<Chosen> = Vec::new();
    for property in wanted.iter().chain(&deciding) {
        let name = property.name();
        if chosen.iter().all(|c| c.property.name() != name) {
            let decides = deciding.is_empty() || deciding.iter().any(|p| p.name() == name);
            chosen.push(Chosen {
                property: *property,
                decides,
            });
        }
    }
    Ok(chosen)
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

/// Merges what was found, worst first: a violation stays one, whatever else is open. What is undecided by itself holds where one holds
/// that implies it.
pub fn merge(
    history: &Prepared<'_>,
    tally: &Tally,
    results: Vec<(Chosen, PropertyResult)>,
) -> Verdict {
    let mut properties = BTreeMap::new();
    for (chosen, mut result) in results {
        result.decides = chosen.decides;
        properties.insert(chosen.property.name().to_owned(), result);
    }
    implied::settle(history, tally, &mut properties);
    let worst = properties
        .values()
        .filter(|p| p.decides)
        .map(|p| p.verdict)
        .max();
    let meaningful = properties::meaningful::judge(history, tally);
    let verdict = match worst {
        Some(Decision::Violated) => Outcome::Violation,
        Some(Decision::Holds) if meaningful.reasons.is_empty() => Outcome::Pass,
        _ => Outcome::Inconclusive,
    };
    Verdict {
        verdict,
        properties,
        stats: properties::stats::table(history, tally),
        meaningful: meaningful.to_json(),
    }
}
