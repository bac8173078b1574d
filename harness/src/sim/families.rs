//! The families of faults that a simulation can draw, by the names that the nemesis' have, and which of them a configuration tolerates by right.

use super::plan::Plan;
use crate::nemesis;
use anyhow::{Result, bail};
use schism_targets::registry::{Guarantees, Harm};

/// A family, and what it does here.
struct Family {
    name: &'static str,
    does: &'static str,
}

impl Family {
    /// What it does to a replica, as far as promises on reads are limited by that: the same as the nemesis' family of this name.
    fn harms(&self) -> &'static [Harm] {
        let same = nemesis::families()
            .iter()
            .find(|family| family.name() == self.name);
        same.expect("the nemesis has a family of each name").harms()
    }
}

const ALL: [Family; 7] = [
    Family {
        name: "partition",
        does: "hosts do not hear one another: groups, the leader alone, or one way only",
    },
    Family {
        name: "kill",
        does: "a process ends; of what its disk had not done, all, nothing or the first part is lost",
    },
    Family {
        name: "power",
        does: "a node, or all at once, lose their power, and what was not synced",
    },
    Family {
        name: "pause",
        does: "a process stands still",
    },
    Family {
        name: "packets",
        does: "messages are late, lost, doubled, and overtake one another",
    },
    Family {
        name: "clock",
        does: "a wall clock jumps; named, it also makes clocks run so much faster or slower that no lease holds",
    },
    Family {
        name: "membership",
        does: "a node loses its disk; no more than a minority at a time, where the target promises to survive that",
    },
];

/// A set of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Families {
    names: Vec<&'static str>,
    /// Whether clocks run at rates that no lease allows: only where that is asked for.
    wild_clocks: bool,
    /// Whether disks are emptied of a minority alone.
    spares_majority: bool,
}

impl Families {
    /// Those that a configuration with these guarantees tolerates by right: under which all that it promises holds.
    pub fn tolerated(guarantees: &Guarantees) -> Self {
        let promised = |family: &&Family| match family.name {
            "power" => guarantees.survives_power_loss,
            "clock" => guarantees.survives_clock_jumps,
            "membership" => guarantees.survives_replacement,
            _ => true,
        };
        let keeps = |family: &&Family| guarantees.under(family.harms()) == *guarantees;
        let tolerated = ALL.iter().filter(promised).filter(keeps);
        Self {
            names: tolerated.map(|family| family.name).collect(),
            wild_clocks: false,
            spares_majority: guarantees.survives_replacement,
        }
    }

    /// Those that a plan has faults of.
    pub fn of(plan: &Plan) -> Self {
        let has = |family: &&Family| match family.name {
            "packets" => !plan.messages.is_empty(),
            name => plan.faults.iter().any(|f| f.fault.family() == name),
        };
        let names = ALL.iter().filter(has).map(|family| family.name).collect();
        Self {
            names,
            ..Self::default()
        }
    }

    /// `none`, `default`, or names.
    pub fn parse(text: &[String], default: &Self) -> Result<Self> {
        let mut families = Self {
            spares_majority: default.spares_majority,
            ..Self::default()
        };
        for name in text {
            match name.as_str() {
                "none" if text.len() == 1 => {}
                "default" => families.names.extend(&default.names),
                name => families.names.push(known(name)?),
            }
            families.wild_clocks |= name == "clock";
        }
        let mut seen = Vec::new();
        families.names.retain(|name| {
            let is_new = !seen.contains(name);
            seen.push(*name);
            is_new
        });
        Ok(families)
    }

    /// Whether this one is among them.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// Those that come as faults with a beginning and an end.
    pub fn timed(&self) -> Vec<&'static str> {
        let timed = self.names.iter().copied();
        timed.filter(|name| *name != "packets").collect()
    }

    /// Their names.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Whether clocks run at rates that no lease allows.
    pub fn wild_clocks(&self) -> bool {
        self.wild_clocks
    }

    /// Whether a disk is emptied only where a majority then has its data.
    pub fn spares_majority(&self) -> bool {
        self.spares_majority
    }

    /// What all of them do to replicas.
    pub fn harms(&self) -> Vec<Harm> {
        let families = ALL.iter().filter(|family| self.has(family.name));
        families.flat_map(Family::harms).copied().collect()
    }
}

fn known(name: &str) -> Result<&'static str> {
    if let Some(known) = ALL.iter().find(|family| family.name == name) {
        return Ok(known.name);
    }
    let words: Vec<String> = ALL
        .iter()
        .map(|family| format!("{} ({})", family.name, family.does))
        .collect();
    bail!(
        "no faults {name:?} can be simulated; there are none, default, {}",
        words.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use schism_targets::registry::{Options, target};

    fn tolerated(options: &[(&str, &str)]) -> Vec<&'static str> {
        let target = target("single-leader").unwrap();
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let given: Options = options.iter().map(pair).collect();
        let resolved = target.resolve(&given, 3).unwrap();
        let families = Families::tolerated(&target.guarantees(&resolved));
        families.names().to_vec()
    }

    #[test]
    fn what_is_tolerated_follows_from_what_is_promised() {
        let all = ALL.map(|family| family.name);
        assert_eq!(tolerated(&[]), all);
        let lease = [("read", "leader-lease"), ("lease-clock", "wall")];
        assert!(!tolerated(&lease).contains(&"clock"));
        assert!(!tolerated(&[("fsync", "never")]).contains(&"power"));
        assert!(!tolerated(&[("ack", "async")]).contains(&"membership"));
        let calm = ["partition", "pause", "packets", "clock"];
        assert_eq!(tolerated(&[("read", "sticky")]), calm);
        assert_eq!(tolerated(&[("read", "window")]), ["clock"]);
    }

    #[test]
    fn clocks_run_wild_only_where_they_are_named() {
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let default = Families::parse(&words("clock,kill"), &Families::default()).unwrap();
        assert!(default.wild_clocks());
        let again = Families::parse(&words("default"), &default).unwrap();
        assert!(again.has("clock") && !again.wild_clocks());
        let named = Families::parse(&words("default,clock,kill"), &default).unwrap();
        assert_eq!(named.names(), ["clock", "kill"]);
        assert!(named.wild_clocks());
    }
}
