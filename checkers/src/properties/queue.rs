//! `queue`: what was put in comes out, once, and nothing else does.
//!
//! Jepsen's `queue` and `total-queue`, in any order of elements. Twice: an element came out more often than it may have been put
//! in by then. Unexpected: it came out, and nobody had begun to put it in. Lost: acknowledged before a drain began that was
//! answered, and it never came out. A dequeue of unknown outcome may have taken an element with it (Jepsen's checker does not know that), a drain
//! all of them: what those can explain is `unknown`, and so is what was never drained. Where such a dequeue says which element it was about to take
//! (the value of its completion, and none in its invocation), it has taken that one or none, and explains no other's absence: as with an enqueue of
//! unknown outcome, either is right. Counted apart: recovered (unknown enqueue, and it
//! came out). A dequeue that returned null found nothing. Values may repeat; O(n log n).

use crate::findings::{Advice, Findings, anomaly};
use crate::intern::Interner;
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Outcome, Time};
use serde_json::Value;

/// The property.
pub(super) struct Queue;

const ADVICE_LOST: Advice = Advice {
    cause: "The enqueue was acknowledged by a leader that lost it (asynchronous replication, no fsync), or the element was handed out and forgotten before its consumer had it.",
    mend: "Acknowledge an enqueue only when a majority has it, and forget an element only when its consumer has confirmed it.",
};
const ADVICE_TWICE: Advice = Advice {
    cause: "That the element was taken was lost with a leader, or the enqueue was retried and applied twice.",
    mend: "Hand an element out through the same log as every write, so that a new leader knows it is gone, and give enqueues an id, so \
                          that a retry is no second element.",
};
const ADVICE_UNEXPECTED: Advice = Advice {
    cause: "What was refused took effect after all (a leader answered before it knew), or something from an earlier run was left in the queue.",
    mend: "Refuse definitely only what can no longer take effect, and start each queue empty.",
};

impl Property for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn summary(&self) -> &'static str {
        "everything acknowledged comes out once, and nothing else does"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Queue)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let mut counts = Counts::default();
        for (done, keyed) in history.keys_of(Shape::Queue).enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            if let Some(key) = Key::new(history, keyed, &mut findings, budget) {
                key.check(&mut findings, &mut counts, budget);
            }
        }
        for (name, n) in counts.named() {
            findings.detail(name, n);
        }
        findings.result()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    attempted: usize,
    acknowledged: usize,
    came_out: usize,
    lost: usize,
    duplicated: usize,
    unexpected: usize,
    recovered: usize,
    maybe_taken: usize,
}

impl Counts {
    fn named(self) -> [(&'static str, usize); 8] {
        [
            ("attempted", self.attempted),
            ("acknowledged", self.acknowledged),
            ("came_out", self.came_out),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("unexpected", self.unexpected),
            ("recovered", self.recovered),
            ("maybe_taken", self.maybe_taken),
        ]
    }
}

/// One value: who may have put it in, by invocation, and who got it, by completion.
#[derive(Clone, Default)]
struct Element<'p> {
    puts: Vec<&'p Op<'p>>,
    refused: Option<&'p Op<'p>>,
    outs: Vec<&'p Op<'p>>,
    /// Dequeues of unknown outcome that took this element or none.
    maybe_outs: usize,
}

impl<'p> Element<'p> {
    fn acknowledged(&self) -> impl Iterator<Item = &'p Op<'p>> {
        self.puts.iter().copied().filter(|op| op.is_ok())
    }

    /// Those acknowledged before a drain.
    fn drained(&self, drain: &Op<'_>) -> Vec<&'p Op<'p>> {
        self.acknowledged()
            .filter(|op| op.precedes(drain))
            .collect()
    }

    /// How many of these did not come out, whichever of them the dequeues got.
    fn missing(&self, puts: &[&Op<'_>]) -> usize {
        let mut starts: Vec<Time> = puts.iter().map(|op| op.start()).collect();
        starts.sort_unstable();
        let mut outs = self.outs.iter().rev().peekable();
        let (mut free, mut missing) = (0, 0);
        // The latest first: what could have got it could have got any earlier one as well.
        for start in starts.iter().rev() {
            while outs.next_if(|out| out.end() >= *start).is_some() {
                free += 1;
            }
            if free == 0 {
                missing += 1;
            } else {
                free -= 1;
            }
        }
        missing
    }
}

/// What a dequeue of unknown outcome says that it has taken, if anything.
fn about_to_take<'p>(op: &Op<'p>) -> Option<&'p Value> {
    let value = op.completion.map(|completion| &completion.value)?;
    let names_it = op.f() == "dequeue" && op.argument().is_null() && !value.is_null();
    names_it.then_some(value)
}

struct Key<'p> {
    keyed: &'p Keyed<'p>,
    values: Interner<'p>,
    elements: Vec<Element<'p>>,
    /// The answered drain that began last.
    drain: Option<&'p Op<'p>>,
    /// Dequeues and drains that may have taken something that nobody saw.
    takers: Vec<&'p Op<'p>>,
}

impl<'p> Key<'p> {
    /// Nothing where the time is up.
    fn new(
        history: &'p Prepared<'_>,
        keyed: &'p Keyed<'p>,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) -> Option<Self> {
        let mut key = Self {
            keyed,
            values: Interner::new(),
            elements: Vec::new(),
            drain: None,
            takers: Vec::new(),
        };
        let all = keyed.ops.len();
        for (done, op) in keyed.ops.iter().map(|&i| &history.ops[i]).enumerate() {
            let what = || format!("operations on {}", words::key(keyed.key));
            if findings.out_of_time_after(budget, (done, all), what) {
                return None;
            }
            match (op.f(), op.outcome()) {
                ("enqueue", Outcome::Fail) => key.element(op.argument()).refused = Some(op),
                ("enqueue", _) => key.element(op.argument()).puts.push(op),
                (_, Outcome::Info) => match about_to_take(op) {
                    Some(value) => key.element(value).maybe_outs += 1,
                    None => key.takers.push(op),
                },
                (_, Outcome::Fail) => {}
                (_, Outcome::Ok) => key.came_out(op, findings),
            }
        }
        for element in &mut key.elements {
            element.outs.sort_by_key(|op| (op.end(), op.index()));
        }
        Some(key)
    }

    fn element(&mut self, value: &'p Value) -> &mut Element<'p> {
        let number = self.values.intern(value) as usize;
        if self.elements.len() < self.values.len() {
            self.elements.resize(self.values.len(), Element::default());
        }
        &mut self.elements[number]
    }

    fn came_out(&mut self, op: &'p Op<'p>, findings: &mut Findings) {
        match (op.f(), op.result()) {
            ("dequeue", Some(Value::Null)) | (_, None) => {}
            ("dequeue", Some(value)) => self.element(value).outs.push(op),
            (_, Some(Value::Array(values))) => {
                self.drain = Some(op);
                for value in values {
                    self.element(value).outs.push(op);
                }
            }
            (_, Some(other)) => {
                self.takers.push(op);
                findings
                    .doubt(|| format!("event {}: a drain returns a list, not {other}", op.index()));
            }
        }
    }

    fn check(&self, findings: &mut Findings, counts: &mut Counts, budget: &Budget<'_>) {
        let all = self.elements.len();
        for (number, element) in self.elements.iter().enumerate() {
            let what = || format!("elements of {}", words::key(self.keyed.key));
            if findings.out_of_time_after(budget, (number, all), what) {
                return;
            }
            if element.puts.is_empty() && element.outs.is_empty() {
                continue;
            }
            let value = self.values.value(number as u32);
            findings.checked(1);
            let acknowledged = element.acknowledged().count();
            counts.attempted += element.puts.len();
            counts.acknowledged += acknowledged;
            counts.came_out += element.outs.len();
            let explained = self.check_outs(value, element, findings, counts);
            counts.recovered += explained.saturating_sub(acknowledged);
        }
        self.check_lost(findings, counts, budget);
    }

    /// Each that came out must have been put in by then. Returns how many had been.
    fn check_outs(
        &self,
        value: &Value,
        element: &Element<'_>,
        findings: &mut Findings,
        counts: &mut Counts,
    ) -> usize {
        let mut explained = 0;
        for (place, out) in element.outs.iter().enumerate() {
            let begun = element.puts.partition_point(|put| put.start() <= out.end());
            if explained < begun {
                explained += 1;
            } else if begun == 0 {
                counts.unexpected += 1;
                findings.violate(|| self.unexpected(value, element, out));
            } else {
                counts.duplicated += 1;
                let (puts, outs) = (&element.puts[..begun], &element.outs[..=place]);
                findings.violate(|| self.twice(value, puts, outs));
            }
        }
        explained
    }

    fn check_lost(&self, findings: &mut Findings, counts: &mut Counts, budget: &Budget<'_>) {
        let late = || format!("in the search for what {} lost", words::key(self.keyed.key));
        let Some(drain) = self.drain else {
            let missing = |e: &Element<'_>| {
                let all = e.missing(&e.acknowledged().collect::<Vec<_>>());
                all.saturating_sub(e.maybe_outs)
            };
            let open = budget.lasting(&self.elements).map(missing).sum();
            if findings.out_of_time(budget, late) {
                return;
            }
            self.not_drained(open, findings);
            return;
        };
        let (mut lost, mut open) = (Vec::new(), 0);
        for (number, element) in budget.lasting(self.elements.iter().enumerate()) {
            let all = element.missing(&element.acknowledged().collect::<Vec<_>>());
            let (missing, maybe) = (element.missing(&element.drained(drain)), element.maybe_outs);
            counts.maybe_taken += all.min(maybe);
            let (all, missing) = (all.saturating_sub(maybe), missing.saturating_sub(maybe));
            open += all - missing;
            lost.extend((missing > 0).then_some((number, missing)));
        }
        if findings.out_of_time(budget, late) {
            return;
        }
        self.not_drained(open, findings);
        let count: usize = lost.iter().map(|(_, missing)| missing).sum();
        let drains = self.takers.iter().any(|op| op.f() == "drain");
        if count == 0 {
            return;
        }
        if self.takers.is_empty() {
            counts.lost += count;
            for (number, _) in lost {
                findings.violate(|| self.lost(number, drain));
            }
        } else if drains || count <= self.takers.len() {
            let takers = self.takers.len();
            findings.doubt(|| {
                format!(
                    "{} of {} that never came out may have left with {} of unknown outcome",
                    words::plural(count, "acknowledged element"),
                    words::key(self.keyed.key),
                    words::plural(takers, "dequeue"),
                )
            });
        } else {
            counts.lost += count - self.takers.len();
            findings.violate(|| self.some_lost(&lost, count, drain));
        }
    }

    fn not_drained(&self, open: usize, findings: &mut Findings) {
        if open > 0 {
            findings.doubt(|| {
                let name = words::key(self.keyed.key);
                let elements = words::plural(open, "acknowledged element");
                format!("{elements} of {name} did not come out, and no drain began after that was answered")
            });
        }
    }

    fn lost(&self, number: usize, drain: &Op<'_>) -> Anomaly {
        let (value, element) = (self.values.value(number as u32), &self.elements[number]);
        let puts = element.drained(drain);
        let before = match element.outs.len() {
            0 => String::new(),
            n => format!(" more than {}", words::plural(n, "time")),
        };
        let message = format!(
            "Element {value} of {} was lost: {} acknowledged {}, and it never came out{before}, nor was it there for {}.",
            words::key(self.keyed.key),
            words::answerer(puts[0]),
            words::noun(puts[0]),
            words::noun_short(drain),
        );
        let ops = element
            .puts
            .iter()
            .chain(&element.outs)
            .map(|op| op.index());
        let operations = ops.chain([drain.index()]).collect();
        self.anomaly("lost", operations, message, &ADVICE_LOST)
            .with("element", value.clone())
    }

    fn some_lost(&self, lost: &[(usize, usize)], count: usize, drain: &Op<'_>) -> Anomaly {
        let values = lost.iter().take(5);
        let mut values: Vec<String> = values
            .map(|(number, _)| self.values.value(*number as u32).to_string())
            .collect();
        if lost.len() > values.len() {
            values.push(format!("{} more", lost.len() - values.len()));
        }
        let message = format!(
            "At least {} of {} were lost: {} were acknowledged and never came out, nor were they there for {}; each of the {} of unknown \
             outcome can have taken one.",
            words::plural(count - self.takers.len(), "element"),
            words::key(self.keyed.key),
            words::list(&values),
            words::noun_short(drain),
            words::plural(self.takers.len(), "dequeue"),
        );
        let of = |number: usize| {
            let element = &self.elements[number];
            let puts = element.drained(drain).into_iter();
            puts.chain(element.outs.iter().copied())
        };
        let gone = lost.iter().flat_map(|(number, _)| of(*number));
        let ops = gone.chain(self.takers.iter().copied());
        let operations = ops.map(Op::index).chain([drain.index()]).collect();
        self.anomaly("lost", operations, message, &ADVICE_LOST)
    }

    fn twice(&self, value: &Value, puts: &[&Op<'_>], outs: &[&Op<'_>]) -> Anomaly {
        let got: Vec<String> = outs
            .iter()
            .take(5)
            .map(|op| words::noun_short(op))
            .collect();
        let message = format!(
            "Element {value} of {} came out {}, and was put in at most {}: {}.",
            words::key(self.keyed.key),
            words::plural(outs.len(), "time"),
            words::plural(puts.len(), "time"),
            words::list(&got),
        );
        let operations = puts.iter().chain(outs).map(|op| op.index()).collect();
        self.anomaly("duplicated", operations, message, &ADVICE_TWICE)
            .with("element", value.clone())
    }

    fn unexpected(&self, value: &Value, element: &Element<'_>, out: &Op<'_>) -> Anomaly {
        let (put, why) = match (element.puts.first(), element.refused) {
            (Some(put), _) => (Some(*put), format!("{} began only later", words::noun(put))),
            (None, Some(put)) => (
                Some(put),
                format!("{} was definitely refused", words::noun(put)),
            ),
            (None, None) => (None, "nobody ever put it in".to_owned()),
        };
        let message = format!(
            "Element {value} of {} came out by {}, and yet {why}.",
            words::key(self.keyed.key),
            words::noun_short(out),
        );
        let operations = put
            .iter()
            .map(|op| op.index())
            .chain([out.index()])
            .collect();
        self.anomaly("unexpected", operations, message, &ADVICE_UNEXPECTED)
            .with("element", value.clone())
    }

    fn anomaly(
        &self,
        name: &str,
        operations: Vec<u64>,
        message: String,
        advice: &Advice,
    ) -> Anomaly {
        anomaly(name, operations, message, advice).with("key", words::key(self.keyed.key))
    }
}
