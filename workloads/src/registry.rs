//! Workloads by name, and how their options are read.

use crate::Workload;
pub use crate::catalog::workloads;
use std::collections::BTreeMap;

/// Options by name.
pub type Options = BTreeMap<String, String>;

/// An option of a workload: a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its name.
    pub name: &'static str,
    /// What it is when nobody says.
    pub default: u64,
    /// The smallest value that makes sense.
    pub min: u64,
    /// The greatest.
    pub max: u64,
    /// What it means.
    pub help: &'static str,
}

/// Why an option cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No such option.
    #[error("workload {workload} has no option {name:?}; it has {known}")]
    Unknown {
        /// The workload.
        workload: &'static str,
        /// What was given.
        name: String,
        /// What there is.
        known: String,
    },
    /// Not a number, or out of range.
    #[error("workload option {name}={value:?} must be a whole number from {min} to {max}")]
    Value {
        /// The option.
        name: &'static str,
        /// What was given.
        value: String,
        /// The smallest.
        min: u64,
        /// The greatest.
        max: u64,
    },
}

/// The one of this name.
pub fn workload(name: &str) -> Option<&'static dyn Workload> {
    workloads().iter().copied().find(|w| w.name() == name)
}

/// Checks the given options and fills in the rest.
pub fn resolve(workload: &dyn Workload, given: &Options) -> Result<Options, OptionError> {
    let specs = workload.options();
    if let Some(name) = given
        .keys()
        .find(|name| specs.iter().all(|s| s.name != **name))
    {
        let known = specs.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known
        };
        return Err(OptionError::Unknown {
            workload: workload.name(),
            name: name.clone(),
            known,
        });
    }
    specs
        .iter()
        .map(|spec| {
            let value = match given.get(spec.name) {
                None => spec.default,
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|n| (spec.min..=spec.max).contains(n))
                    .ok_or_else(|| OptionError::Value {
                        name: spec.name,
                        value: text.clone(),
                        min: spec.min,
                        max: spec.max,
                    })?,
            };
            Ok((spec.name.to_owned(), value.to_string()))
        })
        .collect()
}

/// Reads a resolved option.
pub(crate) fn number(options: &Options, name: &str) -> u64 {
    options
        .get(name)
        .and_then(|v| v.parse().ok())
        .expect("options were resolved")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_resolve() {
        for workload in workloads() {
            assert_eq!(
                workloads()
                    .iter()
                    .filter(|w| w.name() == workload.name())
                    .count(),
                1
            );
            let options = resolve(*workload, &Options::new()).unwrap();
            assert_eq!(options.len(), workload.options().len());
        }
    }

    #[test]
    fn mistakes_name_what_there_is() {
        let register = workload("register").unwrap();
        let given = |name: &str, value: &str| Options::from([(name.to_owned(), value.to_owned())]);
        let error = resolve(register, &given("kees", "3"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("keys"), "{error}");
        let error = resolve(register, &given("keys", "0"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("from 1"), "{error}");
    }
}
