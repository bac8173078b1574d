//! What clients do, and which properties must then hold.
//!
//! A workload is one small file: what its clients invoke ([`Workload::generator`]), how that becomes requests to the target and answers
//! become a completion ([`Workload::converse`]), what opens and closes a run, and which properties it promises under the target's options
//! ([`Workload::claims`]). It knows nothing of faults, processes or sockets: everything random comes from a seeded stream.

mod catalog;
mod claims;
pub mod generator;
mod operation;
pub mod registry;
#[cfg(test)]
mod told;

pub use generator::Generator;
pub use operation::{Completion, Invocation, Step};
pub use registry::{OptionError, OptionSpec, Options, workload, workloads};

use schism_targets::client::{Answer, CallError, Request};
use schism_targets::registry::{Guarantees, Varied};
use serde_json::Value;
use std::ops::RangeInclusive;

/// What clients do, and which properties must hold.
pub trait Workload: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What it does, in one line.
    fn summary(&self) -> &'static str;

    /// Its options, with defaults.
    fn options(&self) -> &'static [OptionSpec];

    /// What one of `workers` clients invokes, in order. All randomness comes from `seed`.
    fn generator(
        &self,
        options: &Options,
        seed: u64,
        worker: u64,
        workers: u64,
    ) -> Box<dyn Generator>;

    /// The request that an invocation stands for.
    fn request(&self, options: &Options, invocation: &Invocation) -> Request;

    /// What is to be asked next for an invocation, or what came of it, after these answers to what was asked for it so far. Pure: where
    /// an operation takes several requests, what it remembers is in the answers.
    fn converse(
        &self,
        options: &Options,
        invocation: &Invocation,
        so_far: &[Result<Answer, CallError>],
    ) -> Step {
        match so_far.last() {
            None => Step::Ask(self.request(options, invocation)),
            Some(answer) => Step::Done(Completion::of(invocation, answer.clone())),
        }
    }

    /// What is done once, one after another, before the clients begin. All of it must succeed.
    fn opening(&self, _options: &Options) -> Vec<Invocation> {
        Vec::new()
    }

    /// What a checker is to know of the run beside its operations: the name and the value of an event of the driver.
    fn declares(&self, _options: &Options) -> Option<(&'static str, Value)> {
        None
    }

    /// What is done once after the load, when the target has recovered, the way that clients go.
    fn closing(&self, _options: &Options) -> Vec<Invocation> {
        Vec::new()
    }

    /// The reads that close a run, taken from every replica after the last heal.
    fn final_reads(&self, options: &Options, workers: u64) -> Vec<Invocation>;

    /// Whether its clients go to one node after another where the spec does not say how they are bound: what it looks for shows only to
    /// who is answered by several replicas.
    fn goes_round(&self) -> bool {
        false
    }

    /// What of its options a simulation may vary: as few keys as a short schedule can fill.
    fn varied(&self) -> &'static [Varied] {
        &[]
    }

    /// How many operations each of its clients does in a simulated schedule, at least and at most: as few as can show what it looks for, since
    /// most mistakes show in short schedules and those cost little.
    fn simulated_operations(&self) -> RangeInclusive<u32> {
        2..=8
    }

    /// The properties that must hold for a target that guarantees this much.
    fn claims(&self, guarantees: &Guarantees) -> Vec<&'static str>;
}
