//! Several registers under reads, writes and compare-and-sets.
//!
//! Every written value is unique in the run, so that a read names the write that it saw. A compare-and-set expects what its client has
//! last seen of the key; until it has seen something, it writes instead.

use crate::generator::{Generator, Mix, Unique, stream};
use crate::registry::{ValueKind, number};
use crate::{Completion, Invocation, OptionSpec, Options, Workload, claims};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_history::EventKind;
use schism_targets::client::Request;
use schism_targets::registry::{Guarantees, Varied};
use serde_json::{Value, json};

/// The workload.
pub(super) struct Register;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "keys",
        default: "5",
        values: ValueKind::Count {
            min: 1,
            max: 10_000,
        },
        help: "how many registers",
    },
    OptionSpec {
        name: "reads",
        default: "50",
        values: ValueKind::Count { min: 0, max: 1000 },
        help: "weight of reads in the mix",
    },
    OptionSpec {
        name: "writes",
        default: "35",
        values: ValueKind::Count { min: 1, max: 1000 },
        help: "weight of writes in the mix",
    },
    OptionSpec {
        name: "cas",
        default: "15",
        values: ValueKind::Count { min: 0, max: 1000 },
        help: "weight of compare-and-sets in the mix",
    },
];

impl Workload for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    fn summary(&self) -> &'static str {
        "reads, writes and compare-and-sets of unique values on several registers"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn generator(
        &self,
        options: &Options,
        seed: u64,
        worker: u64,
        workers: u64,
    ) -> Box<dyn Generator> {
        let weight = |name| u32::try_from(number(options, name)).expect("weights are at most 1000");
        let keys = number(options, "keys");
        Box::new(Client {
            rng: stream(seed, worker),
            mix: Mix::new(&[
                ("read", weight("reads")),
                ("write", weight("writes")),
                ("cas", weight("cas")),
            ]),
            values: Unique::new(worker, workers),
            seen: vec![None; usize::try_from(keys).expect("keys are at most 10,000")],
        })
    }

    fn request(&self, _: &Options, invocation: &Invocation) -> Request {
        let key = invocation.key_name();
        match invocation.f {
            "write" => Request::Write {
                key,
                value: invocation.value.clone(),
            },
            "cas" => Request::Cas {
                key,
                old: invocation.value[0].clone(),
                new: invocation.value[1].clone(),
            },
            _ => Request::Read { key },
        }
    }

    fn final_reads(&self, options: &Options, _workers: u64) -> Vec<Invocation> {
        (0..number(options, "keys"))
            .map(|k| Invocation::on(&key_name(k), "read", Value::Null))
            .collect()
    }

    fn varied(&self) -> &'static [Varied] {
        &[Varied {
            option: "keys",
            values: &["1", "2", "3"],
        }]
    }

    fn claims(&self, guarantees: &Guarantees) -> Vec<&'static str> {
        let reads = claims::of_reads(guarantees.reads);
        claims::with_common(*guarantees, &[&["convergence"], reads].concat())
    }
}

fn key_name(number: u64) -> String {
    format!("r{number}")
}

struct Client {
    rng: ChaCha8Rng,
    mix: Mix,
    values: Unique,
    /// What this client last saw of each key.
    seen: Vec<Option<Value>>,
}

impl Generator for Client {
    fn next(&mut self) -> Option<Invocation> {
        let key = self.rng.random_range(0..self.seen.len());
        let f = self.mix.draw(&mut self.rng);
        let name = key_name(key as u64);
        Some(match (f, &self.seen[key]) {
            ("read", _) => Invocation::on(&name, "read", Value::Null),
            ("cas", Some(old)) => Invocation::on(&name, "cas", json!([old, self.values.draw()])),
            _ => Invocation::on(&name, "write", self.values.draw()),
        })
    }

    fn observe(&mut self, invocation: &Invocation, completion: &Completion) {
        if completion.kind != EventKind::Ok {
            return;
        }
        let key: Option<usize> = invocation
            .key_name()
            .strip_prefix('r')
            .and_then(|k| k.parse().ok());
        if let Some(seen) = key.and_then(|k| self.seen.get_mut(k)) {
            *seen = match invocation.f {
                "cas" => Some(invocation.value[1].clone()),
                _ => Some(completion.value.clone()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::resolve;

    #[test]
    fn a_cas_expects_what_its_client_has_seen_and_no_value_is_written_twice() {
        let options = resolve(&Register, &Options::new()).unwrap();
        let mut written = std::collections::BTreeSet::new();
        for worker in 0..3 {
            let mut client = Register.generator(&options, 42, worker, 3);
            let mut state = std::collections::BTreeMap::new();
            for _ in 0..500 {
                let op = client.next().unwrap();
                let key = op.key_name();
                let result = match op.f {
                    "read" => state.get(&key).cloned().unwrap_or(Value::Null),
                    "write" => op.value.clone(),
                    _ => {
                        assert_eq!(state.get(&key).unwrap_or(&Value::Null), &op.value[0]);
                        op.value[1].clone()
                    }
                };
                if op.f != "read" {
                    assert!(
                        written.insert(result.to_string()),
                        "{result} was written before"
                    );
                    state.insert(key, result.clone());
                }
                let value = if op.f == "cas" {
                    op.value.clone()
                } else {
                    result
                };
                client.observe(&op, &Completion::ok(value));
            }
        }
    }
}
