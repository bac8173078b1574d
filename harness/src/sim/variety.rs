//! What of the setting itself is drawn for each seed: swarm testing (Groce et al. 2012) of configurations, beside that of schedules.
//!
//! Only what the user has left open, and of that what the target and the workload say no promise depends on: how often a replica takes
//! a snapshot, how many keys there are. What was drawn stands in the plan. Which values are worth trying is said where the option is.

use super::plan::Drawn;
use rand::RngExt;
use rand::seq::IndexedRandom;
use schism_targets::registry::{Options, Target, Varied};
use schism_workloads::Workload;
use schism_workloads::generator::stream;
use std::collections::BTreeMap;

/// A stream of its own: what is set by the user changes nothing else of a seed's plan.
const STREAM: u64 = 1 << 41;

/// What may be drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variety {
    target: Vec<Varied>,
    workload: Vec<Varied>,
}

impl Variety {
    /// What the user has left open: `given` are the target's and the workload's options as they were said, `options` the target's filled in.
    pub(super) fn of(
        (target, given): (&dyn Target, &Options),
        (workload, workload_given): (&dyn Workload, &Options),
        (options, nodes): (&Options, usize),
    ) -> Self {
        let open = |varied: Vec<Varied>, given: &Options| {
            let open = varied.into_iter();
            open.filter(|v| !given.contains_key(v.option)).collect()
        };
        Self {
            target: open(target.varied(options, nodes), given),
            workload: open(workload.varied().to_vec(), workload_given),
        }
    }

    /// What a seed draws.
    pub(super) fn draw(&self, seed: u64) -> Drawn {
        let mut rng = stream(seed, STREAM);
        let mut some = |all: &[Varied]| {
            let mut drawn = BTreeMap::new();
            for varied in all {
                let value = varied.values.choose(&mut rng);
                // Half of all keep what the option is by default.
                if let Some(value) = value.filter(|_| rng.random_bool(0.5)) {
                    drawn.insert(varied.option.to_owned(), (*value).to_owned());
                }
            }
            drawn
        };
        Drawn {
            options: some(&self.target),
            workload_options: some(&self.workload),
        }
    }

    /// The options that are drawn, as they are given on the command line.
    pub fn names(&self) -> Vec<String> {
        let target = self.target.iter().map(|v| v.option.to_owned());
        let workload = self.workload.iter();
        let workload = workload.map(|v| format!("workload.{}", v.option));
        target.chain(workload).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIED: Varied = Varied {
        option: "depth",
        values: &["1", "2"],
    };

    #[test]
    fn every_value_is_drawn_and_so_is_the_default() {
        let variety = Variety {
            target: vec![VARIED],
            workload: vec![VARIED],
        };
        let drawn: Vec<Drawn> = (0..100).map(|seed| variety.draw(seed)).collect();
        for wanted in [None, Some("1"), Some("2")] {
            let has = |options: &BTreeMap<String, String>| {
                options.get("depth").map(String::as_str) == wanted
            };
            assert!(drawn.iter().any(|d| has(&d.options)), "{wanted:?}");
            assert!(drawn.iter().any(|d| has(&d.workload_options)), "{wanted:?}");
        }
        assert_eq!(variety.draw(7), drawn[7]);
    }
}
