//! Ids that the server assigns: no two clients may ever be given the same one.
//!
//! The incident behind it: GitHub, 2012, where a promoted replica handed out auto-increment ids again.

use crate::generator::Generator;
use crate::{Invocation, OptionSpec, Options, Workload, claims};
use schism_targets::client::Request;
use schism_targets::registry::Guarantees;
use serde_json::Value;

/// The workload.
pub(super) struct UniqueIds;

impl Workload for UniqueIds {
    fn name(&self) -> &'static str {
        "unique-ids"
    }

    fn summary(&self) -> &'static str {
        "clients ask for server-assigned ids; none may be given out twice"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn generator(
        &self,
        _: &Options,
        _seed: u64,
        _worker: u64,
        _workers: u64,
    ) -> Box<dyn Generator> {
        Box::new(Generate)
    }

    fn request(&self, _: &Options, _: &Invocation) -> Request {
        Request::GenerateId
    }

    fn final_reads(&self, _: &Options, _workers: u64) -> Vec<Invocation> {
        Vec::new()
    }

    fn claims(&self, guarantees: &Guarantees) -> Vec<&'static str> {
        claims::with_common(*guarantees, &["unique-ids"])
    }
}

struct Generate;

impl Generator for Generate {
    fn next(&mut self) -> Option<Invocation> {
        Some(Invocation {
            f: "generate",
            key: None,
            value: Value::Null,
        })
    }
}
