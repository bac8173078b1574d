//! Counters that are added to and read.
//!
//! Increments have no identity: one that is lost, or done twice, shows in the sum alone, and only if nothing else is unknown. So the
//! amounts differ.

use crate::generator::{Generator, Mix, stream};
use crate::registry::{ValueKind, number};
use crate::{Invocation, OptionSpec, Options, Workload, claims};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_targets::client::Request;
use schism_targets::registry::{Guarantees, Varied};
use serde_json::Value;

/// The workload.
pub(super) struct Counter;

const OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: "keys",
    default: "2",
    values: ValueKind::Count { min: 1, max: 1000 },
    help: "how many counters",
}];
/// The most that is added at once.
const AMOUNT_MAX: i64 = 5;

impl Workload for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn summary(&self) -> &'static str {
        "counters are added to and read; every replica is read at the end"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn generator(
        &self,
        options: &Options,
        seed: u64,
        worker: u64,
        _workers: u64,
    ) -> Box<dyn Generator> {
        Box::new(Client {
            rng: stream(seed, worker),
            mix: Mix::new(&[("add", 70), ("read", 30)]),
            keys: number(options, "keys"),
        })
    }

    fn request(&self, _: &Options, invocation: &Invocation) -> Request {
        let key = invocation.key_name();
        match (invocation.f, invocation.value.as_i64()) {
            ("add", Some(by)) => Request::Increment { key, by },
            _ => Request::ReadCounter { key },
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
            values: &["1"],
        }]
    }

    fn claims(&self, guarantees: &Guarantees) -> Vec<&'static str> {
        // A stale sum is no violation where stale reads are none; a lost increment is one everywhere.
        let sums = if claims::are_current(guarantees.reads) {
            "counter"
        } else {
            "pn-counter"
        };
        claims::with_common(*guarantees, &[sums, "convergence"])
    }
}

fn key_name(number: u64) -> String {
    format!("c{number}")
}

struct Client {
    rng: ChaCha8Rng,
    mix: Mix,
    keys: u64,
}

impl Generator for Client {
    fn next(&mut self) -> Option<Invocation> {
        let key = key_name(self.rng.random_range(0..self.keys));
        Some(match self.mix.draw(&mut self.rng) {
            "add" => Invocation::on(&key, "add", self.rng.random_range(1..=AMOUNT_MAX)),
            _ => Invocation::on(&key, "read", Value::Null),
        })
    }
}
