//! Workloads by name, and how their options are read: as those of targets are.

use crate::Workload;
pub use crate::catalog::workloads;
use schism_targets::registry::fill_in;
pub use schism_targets::registry::{OptionError, OptionSpec, Options, ValueKind};

/// The one of this name.
pub fn workload(name: &str) -> Option<&'static dyn Workload> {
    workloads().iter().copied().find(|w| w.name() == name)
}

/// Checks the given options and fills in the rest.
pub fn resolve(workload: &dyn Workload, given: &Options) -> Result<Options, OptionError> {
    fill_in(workload.name(), workload.options(), given)
}

/// Reads a resolved option that is a number.
pub(crate) fn number(options: &Options, name: &str) -> u64 {
    let value = word(options, name).parse();
    value.expect("options were resolved, and this one is a number")
}

/// Reads a resolved option.
pub(crate) fn word<'o>(options: &'o Options, name: &str) -> &'o str {
    options.get(name).expect("options were resolved")
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
