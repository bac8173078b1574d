//! A queue: unique elements go in and come out, and at the end it is drained.
//!
//! A dequeue looks at the first element and then takes that one or none. So one whose answer was lost is known to have taken this element if any,
//! and its completion says so: without that, a loss could hide behind every dequeue that timed out.
//!
//! A drain takes, so it is no read of a replica: as in Jepsen's queue tests it goes the way of every client, once the target has
//! recovered. What was acknowledged and neither came out before nor then is lost; what came out twice was handed out again.

use crate::generator::{Generator, Mix, Unique, stream};
use crate::{Completion, Invocation, OptionSpec, Options, Step, Workload, claims};
use rand_chacha::ChaCha8Rng;
use schism_history::EventKind;
use schism_targets::client::{Answer, CallError, Request};
use schism_targets::registry::Guarantees;
use schism_targets::wire::kind;
use serde_json::Value;

/// The workload.
pub(super) struct Queue;

const KEY: &str = "q0";

impl Workload for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn summary(&self) -> &'static str {
        "unique elements are put into one queue and taken out; it is drained at the end"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn generator(&self, _: &Options, seed: u64, worker: u64, workers: u64) -> Box<dyn Generator> {
        Box::new(Client {
            rng: stream(seed, worker),
            // More goes in than comes out: something is always there to be lost.
            mix: Mix::new(&[("enqueue", 60), ("dequeue", 40)]),
            elements: Unique::new(worker, workers),
        })
    }

    fn request(&self, _: &Options, invocation: &Invocation) -> Request {
        let key = invocation.key_name();
        match invocation.f {
            "enqueue" => Request::Enqueue {
                key,
                element: invocation.value.clone(),
            },
            "drain" => Request::Drain { key },
            _ => Request::ReadHead { key },
        }
    }

    fn converse(
        &self,
        options: &Options,
        invocation: &Invocation,
        so_far: &[Result<Answer, CallError>],
    ) -> Step {
        match (invocation.f, so_far) {
            (_, []) => Step::Ask(self.request(options, invocation)),
            ("dequeue", [Ok(head)]) if head.value.is_null() => {
                let message = "it has no first element";
                Step::Done(Completion::refused(kind::EMPTY, message))
            }
            ("dequeue", [Ok(head)]) => Step::Ask(Request::Dequeue {
                key: invocation.key_name(),
                expect: Some(head.value.clone()),
            }),
            ("dequeue", [Ok(head), taken]) => {
                let mut completion = Completion::of(invocation, taken.clone());
                if completion.kind == EventKind::Info {
                    completion.value = head.value.clone();
                }
                Step::Done(completion)
            }
            (_, [.., last]) => Step::Done(Completion::of(invocation, last.clone())),
        }
    }

    fn closing(&self, _: &Options) -> Vec<Invocation> {
        vec![Invocation::on(KEY, "drain", Value::Null)]
    }

    fn final_reads(&self, _: &Options, _workers: u64) -> Vec<Invocation> {
        Vec::new()
    }

    fn claims(&self, guarantees: &Guarantees) -> Vec<&'static str> {
        claims::with_common(*guarantees, &["queue"])
    }
}

struct Client {
    rng: ChaCha8Rng,
    mix: Mix,
    elements: Unique,
}

impl Generator for Client {
    fn next(&mut self) -> Option<Invocation> {
        Some(match self.mix.draw(&mut self.rng) {
            "enqueue" => Invocation::on(KEY, "enqueue", self.elements.draw()),
            _ => Invocation::on(KEY, "dequeue", Value::Null),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::told::{answer, error};
    use serde_json::json;

    fn dequeued(answers: &[Result<Answer, CallError>]) -> Step {
        let dequeue = Invocation::on(KEY, "dequeue", Value::Null);
        Queue.converse(&Options::new(), &dequeue, answers)
    }

    #[test]
    fn a_dequeue_takes_what_it_has_seen_or_nothing() {
        let head = || Ok(answer(json!(7)));
        let expect = Some(json!(7));
        let key = KEY.to_owned();
        assert_eq!(
            dequeued(&[]),
            Step::Ask(Request::ReadHead { key: key.clone() })
        );
        assert_eq!(
            dequeued(&[head()]),
            Step::Ask(Request::Dequeue { key, expect })
        );
        let done = |answers: &[_]| match dequeued(answers) {
            Step::Done(completion) => (completion.kind, completion.value),
            Step::Ask(request) => panic!("{request:?} is asked"),
        };
        assert_eq!(done(&[head(), head()]), (EventKind::Ok, json!(7)));
        let lost = Err(error(false, kind::TIMEOUT));
        assert_eq!(done(&[head(), lost]), (EventKind::Info, json!(7)));
        let late = Err(error(true, kind::PRECONDITION));
        assert_eq!(done(&[head(), late]).0, EventKind::Fail);
        assert_eq!(done(&[Err(error(true, kind::TIMEOUT))]).0, EventKind::Fail);
        assert_eq!(done(&[Ok(answer(json!(null)))]).0, EventKind::Fail);
    }
}
