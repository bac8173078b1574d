//! What clients do, and which properties must then hold.
//!
//! A workload is one small file: what its clients invoke ([`Workload::generator`]), how that becomes a request to the target and an answer
//! becomes a completion, which reads close a run, and which properties it promises under the target's options
//! ([`Workload::claims`]). It knows nothing of faults, processes or sockets: everything random comes from a seeded stream.

mod catalog;
pub mod generator;
mod operation;
pub mod registry;

pub use generator::Generator;
pub use operation::{Completion, Invocation};
pub use registry::{OptionError, OptionSpec, Options, workload, workloads};

use schism_targets::client::{Answer, CallError, Request};
use schism_targets::registry::Guarantees;

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
    fn request(&self, invocation: &Invocation) -> Request;

    /// What the answer, or its absence, says of the invocation.
    fn complete(&self, invocation: &Invocation, answer: Result<Answer, CallError>) -> Completion {
        Completion::of(invocation, answer)
    }

    /// The reads that close a run, taken from every replica after the last heal.
    fn final_reads(&self, options: &Options) -> Vec<Invocation>;

    /// The properties that must hold for a target that guarantees this much.
    fn claims(&self, guarantees: &Guarantees) -> Vec<&'static str>;
}
