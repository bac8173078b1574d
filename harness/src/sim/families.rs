//! The families of faults that a simulation can draw, by the names that the nemesis' have.

use anyhow::{Result, bail};
use schism_targets::registry::Guarantees;

/// What a family is called, and what it does here.
const ALL: [(&str, &str); 7] = [
    (
        "partition",
        "hosts do not hear one another: groups, the leader alone, or one way only",
    ),
    (
        "kill",
        "a process ends; of what its disk had not done, all, nothing or the first part is lost",
    ),
    (
        "power",
        "all nodes lose their power at once, and what was not synced",
    ),
    ("pause", "a process stands still"),
    (
        "packets",
        "messages are late, lost, doubled, and overtake one another",
    ),
    ("clock", "a wall clock jumps"),
    ("membership", "a node loses its disk"),
];

/// A set of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Families(Vec<&'static str>);

impl Families {
    /// Those that a configuration with these guarantees tolerates by right. A jump of a wall clock breaks a lease on one, and an empty disk
    /// is forgiven to no more than a minority: these two come when they are asked for.
    pub fn tolerated(guarantees: &Guarantees) -> Self {
        let mut names = vec!["partition", "kill", "pause", "packets"];
        if guarantees.survives_power_loss {
            names.push("power");
        }
        Self(names)
    }

    /// `none`, `default`, or names.
    pub fn parse(text: &[String], default: &Self) -> Result<Self> {
        let mut names = Vec::new();
        for name in text {
            match name.as_str() {
                "none" if text.len() == 1 => {}
                "default" => names.extend(&default.0),
                name => names.push(known(name)?),
            }
        }
        names.dedup();
        Ok(Self(names))
    }

    /// Whether this one is among them.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Those that come as faults with a beginning and an end.
    pub fn timed(&self) -> Vec<&'static str> {
        let timed = self.0.iter().copied().filter(|name| *name != "packets");
        timed.collect()
    }

    /// Their names.
    pub fn names(&self) -> &[&'static str] {
        &self.0
    }
}

fn known(name: &str) -> Result<&'static str> {
    if let Some((known, _)) = ALL.iter().find(|(known, _)| *known == name) {
        return Ok(known);
    }
    let words: Vec<String> = ALL
        .iter()
        .map(|(n, what)| format!("{n} ({what})"))
        .collect();
    bail!(
        "no faults {name:?} can be simulated; there are none, default, {}",
        words.join(", ")
    )
}
