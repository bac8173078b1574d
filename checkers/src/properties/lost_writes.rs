//! `lost-writes`: an element that was acknowledged is there in the end.
//!
//! A register cannot tell a lost write from an overwritten one; a set that only grows can (Jepsen's `set` workload). Lost: acknowledged,
//! and absent from *every* final read that began after the acknowledgement. Absent from some is `convergence`, and counted here
//! as stale. Counted apart: recovered (unknown outcome, and there). Also violations: an element that a read returns twice, and one
//! that was never added or was definitely refused.

use crate::finals::{Finals, final_reads};
use crate::findings::{Advice, Findings, anomaly};
use crate::intern::Interner;
use crate::verdict::PropertyResult;
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Outcome};
use serde_json::Value;
use std::collections::BTreeSet;

/// The property.
pub(super) struct LostWrites;

const ADVICE: Advice = Advice {
    cause: "The leader acknowledged before the write was on other nodes (or on disk), failed, and one without the write took over; or writes of two leaders overwrote one another.",
    mend: "Acknowledge a write only when a majority has it (ack=majority), and elect only a leader that has every \
                    acknowledged write (failover=consensus).",
};
const ADVICE_FALSE: Advice = Advice {
    cause: "A retry that was applied twice, or a refusal by somebody who did not know whether the write had taken effect.",
    mend: "Make retries idempotent, and refuse definitely only what can no longer take effect.",
};

impl Property for LostWrites {
    fn name(&self) -> &'static str {
        "lost-writes"
    }

    fn summary(&self) -> &'static str {
        "every acknowledged element is in a final read; none is there twice or was never added"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Set)
    }

    fn check(&self, history: &Prepared<'_>, _: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let mut counts = Counts::default();
        for keyed in history.keys_of(Shape::Set) {
            match final_reads(history, keyed) {
                Finals::None(why) => findings.doubt(|| format!("{}: {why}", words::key(keyed.key))),
                Finals::Marked(reads) => {
                    Key::new(history, keyed, &reads).check(&mut findings, &mut counts);
                }
                Finals::Last(reads) => {
                    findings.note(
                        "no read is marked as final; those after the last acknowledgement stand in",
                    );
                    Key::new(history, keyed, &reads).check(&mut findings, &mut counts);
                }
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
    acknowledged: u64,
    lost: u64,
    stale: u64,
    recovered: u64,
    duplicated: u64,
    unexpected: u64,
}

impl Counts {
    fn named(self) -> [(&'static str, u64); 6] {
        [
            ("acknowledged", self.acknowledged),
            ("lost", self.lost),
            ("stale", self.stale),
            ("recovered", self.recovered),
            ("duplicated", self.duplicated),
            ("unexpected", self.unexpected),
        ]
    }
}

/// What became of one element.
#[derive(Clone, Default)]
struct Element<'p> {
    /// The first acknowledged add.
    acknowledged: Option<&'p Op<'p>>,
    /// Whether an add of it has an unknown outcome.
    open: bool,
    /// A definitely refused add.
    refused: Option<&'p Op<'p>>,
    /// The places of the final reads that have it, ascending.
    seen: Vec<u32>,
    /// The first read that has it, and one that has it twice.
    first_seen: Option<&'p Op<'p>>,
    twice: Option<&'p Op<'p>>,
}

struct Key<'p, 'r> {
    keyed: &'p Keyed<'p>,
    reads: &'r [&'p Op<'p>],
    values: Interner<'p>,
    elements: Vec<Element<'p>>,
}

impl<'p, 'r> Key<'p, 'r> {
    fn new(history: &'p Prepared<'_>, keyed: &'p Keyed<'_>, reads: &'r [&'p Op<'p>]) -> Self {
        let mut key = Self {
            keyed,
            reads,
            values: Interner::new(),
            elements: Vec::new(),
        };
        for op in keyed
            .ops
            .iter()
            .map(|&i| &history.ops[i])
            .filter(|op| op.f() == "add")
        {
            let element = key.element(op.argument());
            match op.outcome() {
                Outcome::Ok => {
                    let earlier = element.acknowledged.filter(|first| first.end() <= op.end());
                    element.acknowledged = earlier.or(Some(op));
                }
                Outcome::Info => element.open = true,
                Outcome::Fail => element.refused = Some(op),
            }
        }
        for (place, read) in reads.iter().enumerate() {
            key.scan(place, read);
        }
        key
    }

    fn element(&mut self, value: &'p Value) -> &mut Element<'p> {
        let number = self.values.intern(value) as usize;
        if self.elements.len() < self.values.len() {
            self.elements.resize(self.values.len(), Element::default());
        }
        &mut self.elements[number]
    }

    fn scan(&mut self, place: usize, read: &'p Op<'p>) {
        let values = read
            .result()
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut here = BTreeSet::new();
        for value in values {
            let number = self.values.intern(value);
            let element = self.element(value);
            element.first_seen = element.first_seen.or(Some(read));
            if here.insert(number) {
                element.seen.push(place as u32);
            } else {
                element.twice = element.twice.or(Some(read));
            }
        }
    }

    fn check(&self, findings: &mut Findings, counts: &mut Counts) {
        for (number, element) in self.elements.iter().enumerate() {
            let value = self.values.value(number as u32);
            match element.acknowledged {
                Some(add) => self.acknowledged(value, element, add, findings, counts),
                None if element.first_seen.is_none() => {}
                None if element.open => counts.recovered += 1,
                None => self.unexpected(value, element, findings, counts),
            }
            if let Some(read) = element.twice {
                counts.duplicated += 1;
                findings.violate(|| self.duplicated(value, element, read));
            }
        }
    }

    fn acknowledged(
        &self,
        value: &Value,
        element: &Element<'_>,
        add: &Op<'_>,
        findings: &mut Findings,
        counts: &mut Counts,
    ) {
        let after: Vec<usize> = (0..self.reads.len())
            .filter(|&i| self.reads[i].start() > add.end())
            .collect();
        if after.is_empty() {
            findings.doubt(|| {
                format!(
                    "no final read began after {} was acknowledged",
                    words::noun(add)
                )
            });
            return;
        }
        counts.acknowledged += 1;
        findings.checked(1);
        let missing = |i: &&usize| element.seen.binary_search(&(**i as u32)).is_err();
        let absent = after.iter().filter(missing).count();
        if absent == after.len() {
            counts.lost += 1;
            findings.violate(|| self.lost(value, add, &after));
        } else if absent > 0 {
            counts.stale += 1;
        }
    }

    fn lost(&self, value: &Value, add: &Op<'_>, after: &[usize]) -> crate::verdict::Anomaly {
        let reads: Vec<&Op<'_>> = after.iter().map(|&i| self.reads[i]).collect();
        let by = words::replicas(reads.iter().copied());
        let message = format!(
            "Element {value} of {} was lost: {} acknowledged {}, and none of {} after it has it{by}.",
            words::key(self.keyed.key),
            words::answerer(add),
            words::noun(add),
            words::plural(reads.len(), "final read"),
        );
        let mut operations = vec![add.index()];
        operations.extend(reads.iter().map(|op| op.index()));
        anomaly("lost", operations, message, &ADVICE).with("element", value.clone())
    }

    fn unexpected(
        &self,
        value: &Value,
        element: &Element<'_>,
        findings: &mut Findings,
        counts: &mut Counts,
    ) {
        counts.unexpected += 1;
        findings.violate(|| {
            let read = element
                .first_seen
                .map(|op| (op.index(), words::noun_short(op)));
            let (read, noun) = read.unwrap_or_default();
            let (mut operations, why) = match element.refused {
                Some(add) => (
                    vec![add.index()],
                    format!("{} was definitely refused", words::noun(add)),
                ),
                None => (Vec::new(), "nobody ever added it".to_owned()),
            };
            operations.push(read);
            let key = words::key(self.keyed.key);
            let message = format!("Element {value} of {key} is in {noun}, and yet {why}.");
            anomaly("unexpected", operations, message, &ADVICE_FALSE).with("element", value.clone())
        });
    }

    fn duplicated(
        &self,
        value: &Value,
        element: &Element<'_>,
        read: &Op<'_>,
    ) -> crate::verdict::Anomaly {
        let key = words::key(self.keyed.key);
        let message = format!(
            "Element {value} of {key} is in {} more than once.",
            words::noun_short(read)
        );
        let mut operations: Vec<u64> = element.acknowledged.iter().map(|op| op.index()).collect();
        operations.push(read.index());
        anomaly("duplicated", operations, message, &ADVICE_FALSE).with("element", value.clone())
    }
}
