//! The options of a family of faults: how long a delay, how far a clock is moved.

use super::Family;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// Option name to value, as given.
pub type FaultOptions = BTreeMap<String, String>;

/// One option of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultOption {
    /// Its name.
    pub name: &'static str,
    /// Its value where none is given.
    pub default: &'static str,
    /// What it does, and what it may be.
    pub help: &'static str,
}

/// Fills in what is not given. What the family does not know, or cannot understand, is an error that says what there is.
pub(super) fn resolve(family: &dyn Family, given: &FaultOptions) -> Result<FaultOptions> {
    let known = family.options();
    for name in given.keys() {
        if !known.iter().any(|o| o.name == name) {
            let names: Vec<&str> = known.iter().map(|o| o.name).collect();
            let has = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            bail!("{} has no option {name:?}; it has: {has}", family.name());
        }
    }
    let mut all = given.clone();
    for option in known {
        all.entry(option.name.to_owned())
            .or_insert_with(|| option.default.to_owned());
    }
    family
        .understands(&all)
        .with_context(|| format!("options of {}", family.name()))?;
    Ok(all)
}

/// The text of an option; all of a family's are there.
pub(super) fn text<'o>(options: &'o FaultOptions, name: &str) -> &'o str {
    options.get(name).map_or("", String::as_str)
}

/// Reads a time such as `50ms`.
pub(super) fn duration(options: &FaultOptions, name: &str) -> Result<Duration> {
    let value = text(options, name);
    humantime::parse_duration(value)
        .with_context(|| format!("{name} = {value:?} is no time such as 50ms"))
}

/// Reads `off`, or a time that is at least so long.
pub(super) fn off_or_time(
    options: &FaultOptions,
    name: &str,
    least: Duration,
) -> Result<Option<Duration>> {
    if text(options, name) == "off" {
        return Ok(None);
    }
    let time = duration(options, name)?;
    if time < least {
        bail!("{name} must be at least {} ms", least.as_millis());
    }
    Ok(Some(time))
}

/// Reads a share such as `30%`; 0 to 1.
pub(super) fn share(options: &FaultOptions, name: &str) -> Result<f64> {
    let value = text(options, name);
    let percent: Option<f64> = value.strip_suffix('%').and_then(|n| n.trim().parse().ok());
    match percent {
        Some(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => bail!("{name} = {value:?} is no share such as 30%"),
    }
}

/// Reads a share, or `drawn`: then none.
pub(super) fn drawn_share(options: &FaultOptions, name: &str) -> Result<Option<f64>> {
    if text(options, name) == "drawn" {
        return Ok(None);
    }
    share(options, name).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_off() {
        let options = |value: &str| FaultOptions::from([("x".to_owned(), value.to_owned())]);
        let read = |value: &str| off_or_time(&options(value), "x", Duration::from_millis(50));
        assert_eq!(read("off").unwrap(), None);
        assert_eq!(read("50ms").unwrap(), Some(Duration::from_millis(50)));
        assert!(read("49ms").is_err() && read("soon").is_err());
    }

    #[test]
    fn values_are_read_or_refused() {
        let options = |value: &str| FaultOptions::from([("x".to_owned(), value.to_owned())]);
        assert!((share(&options("30%"), "x").unwrap() - 0.3).abs() < 1e-9);
        assert_eq!(
            duration(&options("1s 500ms"), "x").unwrap(),
            Duration::from_millis(1500)
        );
        for bad in ["", "30", "-1%", "101%", "%", "NaN%"] {
            assert!(share(&options(bad), "x").is_err(), "{bad}");
            assert!(duration(&options(bad), "x").is_err(), "{bad}");
        }
    }
}
