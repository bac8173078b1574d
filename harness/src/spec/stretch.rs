//! The stretches of a run whose faults are drawn: quiet, chaos, quiet.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One stretch: `quiet 5s`, `chaos 20s`, or `chaos 20s partition kill:leader`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stretch {
    /// For how long.
    pub lasts: Duration,
    /// Which faults come in it; none: it is quiet.
    pub chaos: Option<Chaos>,
}

/// The faults of a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chaos {
    /// Those of the spec's `nemesis`.
    All,
    /// These: a family, or `family:shape`.
    Some(Vec<String>),
}

impl Stretch {
    /// Whether these faults, which the spec's `nemesis` has or has not, come in it.
    pub(crate) fn has(&self, fault: &str, of_all: bool) -> bool {
        match &self.chaos {
            None => false,
            Some(Chaos::All) => of_all,
            Some(Chaos::Some(faults)) => faults.iter().any(|f| f == fault),
        }
    }

    /// The faults that it names itself.
    pub(crate) fn named(&self) -> &[String] {
        match &self.chaos {
            Some(Chaos::Some(faults)) => faults,
            _ => &[],
        }
    }
}

impl FromStr for Stretch {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let time = words
            .next()
            .with_context(|| format!("phase {text:?} has no length: for example \"quiet 5s\""))?;
        let lasts = humantime::parse_duration(time)
            .with_context(|| format!("phase {text:?}: {time:?} is no time such as 5s"))?;
        ensure!(!lasts.is_zero(), "phase {text:?} has no length");
        let faults: Vec<String> = words.map(str::to_owned).collect();
        let chaos = match kind {
            "quiet" if faults.is_empty() => None,
            "quiet" => bail!("phase {text:?}: no faults come in a quiet one"),
            "chaos" if faults.is_empty() => Some(Chaos::All),
            "chaos" => Some(Chaos::Some(faults)),
            _ => bail!("phase {text:?} is neither `quiet TIME` nor `chaos TIME [FAULT]...`"),
        };
        Ok(Self { lasts, chaos })
    }
}

impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.chaos.is_some() {
            "chaos"
        } else {
            "quiet"
        };
        let lasts = humantime::format_duration(self.lasts).to_string();
        write!(f, "{kind} {}", lasts.replace(' ', ""))?;
        self.named()
            .iter()
            .try_for_each(|fault| write!(f, " {fault}"))
    }
}

impl TryFrom<String> for Stretch {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{error:#}"))
    }
}

impl From<Stretch> for String {
    fn from(stretch: Stretch) -> Self {
        stretch.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_read_and_written() {
        for text in ["quiet 5s", "chaos 1m20s", "chaos 20s partition kill:leader"] {
            let stretch: Stretch = text.parse().unwrap();
            assert_eq!(stretch.to_string(), text);
        }
        for bad in [
            "",
            "quiet",
            "calm 5s",
            "quiet 5s kill",
            "chaos soon",
            "quiet 0s",
        ] {
            assert!(bad.parse::<Stretch>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stretch_knows_its_faults() {
        let of = |text: &str| text.parse::<Stretch>().unwrap();
        assert!(!of("quiet 1s").has("kill", true));
        assert!(of("chaos 1s").has("kill", true) && !of("chaos 1s").has("kill", false));
        assert!(of("chaos 1s kill").has("kill", false) && !of("chaos 1s kill").has("stop", true));
    }
}
