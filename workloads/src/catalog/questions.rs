//! Questions and answers in several groups: nobody may see an answer whose question is not there.
//!
//! Kleppmann 2017, chapter 5 (Terry 2013): a question and its answer live under two keys, which may be in two partitions with different lag. An answer
//! is given only to a question that was acknowledged to whoever answers, or was read by them. Readers look at the answers first and then at the
//! questions, so that a question which they lack was not merely late for the first of two reads. A client comes back to the group of which it knows the
//! latest question as often as to any other, for who never meets an answer sees nothing.

use crate::generator::{Generator, Unique, stream};
use crate::registry::{ValueKind, number};
use crate::{Completion, Invocation, OptionSpec, Options, Workload, claims};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_history::EventKind;
use schism_targets::client::Request;
use schism_targets::registry::{Guarantees, Varied};
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

/// The workload.
pub(super) struct Questions;

const OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: "groups",
    default: "8",
    values: ValueKind::Count { min: 1, max: 1000 },
    help: "how many groups, each with a key for its questions and one for its answers",
}];
/// How many questions wait for a client's answer at most: the latest.
const WAITING_MAX: usize = 64;

impl Workload for Questions {
    fn name(&self) -> &'static str {
        "questions"
    }

    fn summary(&self) -> &'static str {
        "questions are asked and answered under two keys a group; readers look at the answers first"
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
        Box::new(Client {
            rng: stream(seed, worker),
            groups: number(options, "groups"),
            values: Unique::new(worker, workers),
            waiting: VecDeque::new(),
            seen: BTreeSet::new(),
            last: None,
            then: None,
        })
    }

    fn request(&self, _: &Options, invocation: &Invocation) -> Request {
        let key = invocation.key_name();
        match invocation.f {
            "ask" | "answer" => Request::Add {
                key,
                element: invocation.value.clone(),
            },
            _ => Request::ReadSet { key },
        }
    }

    fn final_reads(&self, options: &Options, _workers: u64) -> Vec<Invocation> {
        let groups = (0..number(options, "groups")).map(Group);
        groups
            .flat_map(|group| [group.questions(), group.answers()])
            .map(|key| Invocation::on(&key, "read", Value::Null))
            .collect()
    }

    fn varied(&self) -> &'static [Varied] {
        &[Varied {
            option: "groups",
            values: &["1", "2", "3"],
        }]
    }

    /// An answer comes after its question, and whoever sees both after that.
    fn simulated_operations(&self) -> RangeInclusive<u32> {
        8..=16
    }

    fn claims(&self, guarantees: &Guarantees) -> Vec<&'static str> {
        // What was acknowledged and is gone is a loss whatever the target promises.
        let mut own = vec!["lost-writes", "convergence"];
        if guarantees.consistent_prefix {
            own.push("consistent-prefix");
        }
        claims::with_common(*guarantees, &own)
    }
}

/// A group, by its number. What stands before the colon is what a target may keep together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Group(u64);

impl Group {
    fn questions(self) -> String {
        format!("g{}:questions", self.0)
    }

    fn answers(self) -> String {
        format!("g{}:answers", self.0)
    }

    /// Whose questions are under this key.
    fn of_questions(key: &str) -> Option<Self> {
        let number = key.strip_prefix('g')?.strip_suffix(":questions")?;
        number.parse().ok().map(Self)
    }
}

struct Client {
    rng: ChaCha8Rng,
    groups: u64,
    values: Unique,
    /// Questions that this client knows to be there and has not answered, the latest last.
    waiting: VecDeque<(Group, u64)>,
    /// The same, and those that it has answered or forgotten.
    seen: BTreeSet<u64>,
    /// Where something has happened that this client knows of, last.
    last: Option<Group>,
    /// The second half of what it has begun.
    then: Option<Invocation>,
}

impl Generator for Client {
    fn next(&mut self) -> Option<Invocation> {
        if let Some(next) = self.then.take() {
            return Some(next);
        }
        let group = self.group();
        let read = |key: &str| Invocation::on(key, "read", Value::Null);
        Some(match self.rng.random_range(0..3) {
            0 => Invocation::on(&group.questions(), "ask", self.values.draw()),
            1 if !self.waiting.is_empty() => self.answer()?,
            _ => {
                self.then = Some(read(&group.questions()));
                read(&group.answers())
            }
        })
    }

    fn observe(&mut self, invocation: &Invocation, completion: &Completion) {
        let group = Group::of_questions(&invocation.key_name());
        let (Some(group), EventKind::Ok) = (group, completion.kind) else {
            return;
        };
        match &completion.value {
            Value::Array(questions) => questions.iter().for_each(|q| self.see(group, q)),
            question => self.see(group, question),
        }
    }
}

impl Client {
    /// Any one, or that of the last question that it knows of: there readers meet answers.
    fn group(&mut self) -> Group {
        let any = Group(self.rng.random_range(0..self.groups));
        let last = self.last.filter(|_| self.rng.random_bool(0.5));
        last.unwrap_or(any)
    }

    /// To the question that it has known for the shortest time: if somebody lacks one, then that.
    fn answer(&mut self) -> Option<Invocation> {
        let (group, question) = self.waiting.pop_back()?;
        let answer = json!({"q": question, "a": self.values.draw()});
        Some(Invocation::on(&group.answers(), "answer", answer))
    }

    fn see(&mut self, group: Group, question: &Value) {
        let Some(question) = question.as_u64().filter(|q| self.seen.insert(*q)) else {
            return;
        };
        self.last = Some(group);
        self.waiting.push_back((group, question));
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::resolve;
    use std::collections::BTreeMap;

    #[test]
    fn only_what_is_known_is_answered_and_answers_are_read_before_their_questions() {
        let options = resolve(&Questions, &Options::new()).unwrap();
        let mut clients: Vec<_> = (0..3)
            .map(|worker| Questions.generator(&options, 42, worker, 3))
            .collect();
        let mut state: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut before: Vec<Option<Invocation>> = vec![None; 3];
        let (mut asked, mut answered, mut pairs) = (BTreeSet::new(), 0, 0);
        for step in 0..3000 {
            let client = &mut clients[step % 3];
            let op = client.next().unwrap();
            let there = state.entry(op.key_name()).or_default();
            match op.f {
                "ask" => assert!(asked.insert(op.value.as_u64().unwrap()), "asked twice"),
                "answer" => {
                    answered += 1;
                    assert!(asked.contains(&op.value["q"].as_u64().unwrap()));
                }
                _ => {}
            }
            let last = before[step % 3].replace(op.clone());
            if op.f == "read" && op.key_name().ends_with(":questions") {
                pairs += 1;
                let first = op.key_name().replace("questions", "answers");
                assert_eq!(last.unwrap().key_name(), first);
            }
            let value = if op.f == "read" {
                json!(there)
            } else {
                there.push(op.value.clone());
                op.value.clone()
            };
            client.observe(&op, &Completion::ok(value));
        }
        assert!(answered > 300 && pairs > 300, "{answered} {pairs}");
    }

    #[test]
    fn a_question_that_was_not_acknowledged_is_not_answered() {
        let options = resolve(&Questions, &Options::new()).unwrap();
        let mut client = Questions.generator(&options, 1, 0, 1);
        for _ in 0..300 {
            let op = client.next().unwrap();
            assert_ne!(op.f, "answer");
            let kind = EventKind::Info;
            let value = op.value.clone();
            client.observe(
                &op,
                &Completion {
                    kind,
                    ..Completion::ok(value)
                },
            );
        }
    }
}
