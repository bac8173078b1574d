//! A set that only grows: unique elements are added, and every replica is read at the end.
//!
//! The plainest witness of a lost write: an element that was acknowledged and is in no final read.

use crate::generator::{Generator, Unique};
use crate::{Invocation, OptionSpec, Options, Workload, claims};
use schism_targets::client::Request;
use schism_targets::registry::Guarantees;
use serde_json::Value;

/// The workload.
pub(super) struct Set;

const KEY: &str = "s0";

impl Workload for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn summary(&self) -> &'static str {
        "unique elements are added to one set; every replica is read at the end"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn generator(&self, _: &Options, _seed: u64, worker: u64, workers: u64) -> Box<dyn Generator> {
        Box::new(Adds(Unique::new(worker, workers)))
    }

    fn request(&self, _: &Options, invocation: &Invocation) -> Request {
        let key = invocation.key_name();
        match invocation.f {
            "add" => Request::Add {
                key,
                element: invocation.value.clone(),
            },
            _ => Request::ReadSet { key },
        }
    }

    fn final_reads(&self, _: &Options, _workers: u64) -> Vec<Invocation> {
        vec![Invocation::on(KEY, "read", Value::Null)]
    }

    fn claims(&self, guarantees: &Guarantees) -> Vec<&'static str> {
        // An acknowledged element that is gone is a loss whatever the target promises.
        claims::with_common(*guarantees, &["lost-writes", "convergence"])
    }
}

struct Adds(Unique);

impl Generator for Adds {
    fn next(&mut self) -> Option<Invocation> {
        Some(Invocation::on(KEY, "add", self.0.draw()))
    }
}
