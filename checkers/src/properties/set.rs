//! `set`: an element is there iff some add of it was not seen by a remove.
//!
//! Jepsen's `set` and `set-full`, with removal where add wins ([`crate::add_wins`]). An element is known from the first acknowledgement of an
//! add, or the first read before the final ones that has it. Lost: absent from *every* final read that began after its acknowledgement (or, where
//! there is none, after it was seen); absent from some is for `convergence`. Without final reads the last ordinary read may be stale, so an element that it lacks is `unknown` (set-full calls
//! it lost), also where all reads after the last acknowledgement stand in for final ones and an earlier one of them has it. Stable latency: from known to the last ordinary read that lacks it; lost latency: from known to the last one that has it.
//! Never read: known, and no read began after that. Also violations: an element twice in one read (a test of set-full that can
//! never fire), one that nobody had begun to add, and one that is in every final read although each add of it was seen
//! by a remove. O(n log n) in the operations and the elements of all reads.

use crate::add_wins::{Fate, fate};
use crate::elements::{Element, Elements};
use crate::findings::{Advice, Findings, anomaly};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Time};
use serde_json::{Value, json};

/// The property.
pub(super) struct Set;

const ADVICE_LOST: Advice = Advice {
    cause: "The add was acknowledged before it was replicated and its leader failed, or whole sets overwrite one another where replicas meet (last write wins).",
    mend: "Acknowledge an add only when a majority has it (ack=majority), and elect only a leader that has every acknowledged one \
                         (failover=consensus); where replicas merge, merge sets element by element.",
};
const ADVICE_FALSE: Advice = Advice {
    cause: "A retry that was applied twice, or a refusal by somebody who did not know whether the change had taken effect.",
    mend: "Make retries idempotent, and refuse definitely only what can no longer take effect.",
};
const ADVICE_REMOVED: Advice = Advice {
    cause: "A replica that had not seen the remove brought the element back: nothing (no tombstone) said that it was gone.",
    mend: "Remove by the tags of the adds that were seen (OR-set), and keep what says that they are gone (tombstones, a version vector) \
                            until every replica has it.",
};

impl Property for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn summary(&self) -> &'static str {
        "an element is there iff some add of it was not seen by a remove"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Set) || history.has(Shape::RemovableSet)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut check = Check::default();
        let shapes = [Shape::Set, Shape::RemovableSet];
        let keys = shapes.into_iter().flat_map(|shape| history.keys_of(shape));
        for (done, keyed) in keys.enumerate() {
            if check.findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let set = Elements::new(history, keyed, &mut check.findings, budget);
            if !set.marked {
                let note =
                    "no read is marked as final; those after the last acknowledgement stand in";
                check.findings.note(note);
            }
            for (number, element) in set.all.iter().enumerate() {
                let what = || format!("elements of {}", words::key(keyed.key));
                let done = (number, set.all.len());
                if check.findings.out_of_time_after(budget, done, what) {
                    break;
                }
                let value = set.values.value(number as u32);
                Judge {
                    keyed,
                    set: &set,
                    value,
                    element,
                }
                .judge(&mut check);
            }
        }
        check.result()
    }
}

#[derive(Default)]
struct Check {
    findings: Findings,
    counts: Counts,
    stable_ms: Vec<f64>,
    lost_ms: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    acknowledged: u64,
    recovered: u64,
    stable: u64,
    stale: u64,
    lost: u64,
    never_read: u64,
    duplicated: u64,
    unexpected: u64,
    removed: u64,
}

impl Check {
    fn result(mut self) -> PropertyResult {
        let counts = self.counts;
        for (name, n) in [
            ("acknowledged", counts.acknowledged),
            ("recovered", counts.recovered),
            ("stable", counts.stable),
            ("stale", counts.stale),
            ("lost", counts.lost),
            ("never_read", counts.never_read),
            ("duplicated", counts.duplicated),
            ("unexpected", counts.unexpected),
            ("removed", counts.removed),
        ] {
            self.findings.detail(name, n);
        }
        for (name, ms) in [("stable_ms", self.stable_ms), ("lost_ms", self.lost_ms)] {
            if !ms.is_empty() {
                self.findings.detail(name, quantiles(ms));
            }
        }
        self.findings.result()
    }
}

fn quantiles(mut ms: Vec<f64>) -> Value {
    ms.sort_by(f64::total_cmp);
    let at = |q: usize| ms[(ms.len() - 1) * q / 100];
    json!({"p50": at(50), "p95": at(95), "p99": at(99), "max": at(100)})
}

/// Milliseconds from one moment to another, to the microsecond; 0 where the other is earlier.
fn ms(from: Time, to: Time) -> f64 {
    (to.since(from) as f64 / 1e3).round() / 1e3
}

/// An element that no read that counts began after.
fn never_read(acknowledged: Option<&Op<'_>>, check: &mut Check) {
    check.counts.never_read += 1;
    if let Some(add) = acknowledged {
        let noun = || words::noun(add);
        check
            .findings
            .doubt(|| format!("no final read began after {} was acknowledged", noun()));
    }
}

/// One element under judgement.
struct Judge<'j, 'p> {
    keyed: &'j Keyed<'j>,
    set: &'j Elements<'p>,
    value: &'p Value,
    element: &'j Element<'p>,
}

impl<'p> Judge<'_, 'p> {
    fn judge(&self, check: &mut Check) {
        if let Some(read) = self.element.twice {
            check.counts.duplicated += 1;
            check.findings.violate(|| self.duplicated(read));
        }
        if let Some(read) = self.unexplained() {
            check.counts.unexpected += 1;
            check.findings.violate(|| self.unexpected(read));
        } else if self.element.removes.is_empty() {
            self.growing(check);
        } else {
            self.removable(check);
        }
    }

    /// A read that has the element before anybody had begun to add it.
    fn unexplained(&self) -> Option<&'p Op<'p>> {
        let first = self
            .element
            .adds
            .first()
            .map_or(Time::INFINITY, |add| add.start());
        self.set
            .seen_by(self.element)
            .find(|read| read.end() < first)
    }

    /// An element that nobody removes.
    fn growing(&self, check: &mut Check) {
        let acknowledged = self.element.acknowledged();
        let seen = self.set.seen_before_the_end(self.element);
        let known = acknowledged
            .into_iter()
            .chain(seen)
            .min_by_key(|op| op.end());
        let (Some(known), Some(since)) = (known, acknowledged.or(seen)) else {
            let recovered = !self.element.seen_finally.is_empty();
            check.counts.recovered += u64::from(recovered);
            check.findings.checked(usize::from(recovered));
            self.gone_at_last(check);
            return;
        };
        check.findings.checked(1);
        check.counts.acknowledged += u64::from(acknowledged.is_some());
        check.counts.recovered += u64::from(acknowledged.is_none());
        if let Err(why) = &self.set.finals {
            self.without_finals(known, acknowledged, why, check);
            return;
        }
        match self.set.finally(self.element, since.end()) {
            ([], _) => never_read(acknowledged, check),
            (_, 0) if acknowledged.is_none() && !self.set.marked => {
                let noun = words::noun_short(since);
                check.findings.doubt(|| {
                    format!("{} was never acknowledged, seen by {noun} and then no more: it is lost, or what stands in for final reads is stale", self.value)
                });
            }
            (finals, 0) if acknowledged.is_some() || self.element.seen_finally.is_empty() => {
                check.counts.lost += 1;
                let last = self
                    .element
                    .seen
                    .last()
                    .map(|place| self.set.reads[*place as usize]);
                let last = last.map_or(known.end(), Op::start);
                check.lost_ms.push(ms(known.end(), last));
                check.findings.violate(|| self.lost(since, &[], finals));
            }
            _ => {
                self.gone_at_last(check);
                self.stable(known, check);
            }
        }
    }

    /// Reads that only stand in for final ones tell time: the last one lacks what was there before.
    fn gone_at_last(&self, check: &mut Check) {
        let Some(last) = self.set.gone_at_last(self.element) else {
            return;
        };
        check.findings.doubt(|| {
            let (value, key) = (self.value, words::key(self.keyed.key));
            let read = words::noun_short(last);
            format!("no read is marked as final, and {read}, the last one, lacks {value} of {key} that others had: it is lost, or the read is stale")
        });
    }

    fn stable(&self, known: &Op<'_>, check: &mut Check) {
        let without = self.set.last_without(self.element, known.end());
        check.counts.stable += 1;
        check.counts.stale += u64::from(without.is_some());
        let until = without.map_or(known.end(), Op::start);
        check.stable_ms.push(ms(known.end(), until));
    }

    /// The last ordinary read is all there is to judge by: if it has the element, that is stable.
    fn without_finals(
        &self,
        known: &Op<'_>,
        acknowledged: Option<&Op<'_>>,
        why: &str,
        check: &mut Check,
    ) {
        let reads = &self.set.reads;
        let last = reads.last().filter(|read| read.start() > known.end());
        let Some(last) = last else {
            check.counts.never_read += 1;
            if let Some(add) = acknowledged {
                let noun = words::noun(add);
                check
                    .findings
                    .doubt(|| format!("{why}, and no read began after {noun}"));
            }
            return;
        };
        if self
            .element
            .seen
            .last()
            .is_some_and(|place| *place as usize + 1 == reads.len())
        {
            self.stable(known, check);
            return;
        }
        check.findings.doubt(|| {
            let (value, key) = (self.value, words::key(self.keyed.key));
            let read = words::noun_short(last);
            format!("{why}, and {read}, the last one, lacks {value} of {key}: it is lost, or the read is stale")
        });
    }

    /// An element that somebody may have removed.
    fn removable(&self, check: &mut Check) {
        check.findings.checked(1);
        check.counts.acknowledged += u64::from(self.element.acknowledged().is_some());
        if let Err(why) = self.set.finals {
            check
                .findings
                .doubt(|| format!("{}: {why}", words::key(self.keyed.key)));
            return;
        }
        match fate(self.set, self.element) {
            Fate::There(add) => match self.set.finally(self.element, add.end()) {
                ([], _) => never_read(Some(add), check),
                (finals, 0) => {
                    check.counts.lost += 1;
                    let removes = &self.element.removes;
                    check.findings.violate(|| self.lost(add, removes, finals));
                }
                _ => {
                    self.gone_at_last(check);
                    check.counts.stable += 1;
                }
            },
            Fate::Gone(since, ops) => {
                check.counts.removed += 1;
                let (finals, have) = self.set.finally(self.element, since);
                if have > 0 && have == finals.len() {
                    check.findings.violate(|| self.came_back(&ops, finals));
                } else if have > 0 {
                    check.counts.stale += 1;
                }
            }
            Fate::Perhaps if !self.element.seen_finally.is_empty() => check.findings.doubt(|| {
                let (value, key) = (self.value, words::key(self.keyed.key));
                format!("{value} of {key} is there in the end, and was removed: nobody knows whether that remove had seen it")
            }),
            Fate::Perhaps | Fate::Free => {}
        }
    }

    fn lost(&self, known: &Op<'_>, removes: &[&Op<'_>], finals: &[&Op<'_>]) -> Anomaly {
        let but = if removes.is_empty() {
            String::new()
        } else {
            format!(
                ", and every remove had ended before {} began",
                words::noun(known)
            )
        };
        let message = format!(
            "Element {} of {} was lost: it was there by {}, and none of {} after that has it{but}.",
            self.value,
            words::key(self.keyed.key),
            words::noun_short(known),
            words::plural(finals.len(), "final read"),
        );
        let adds = self.element.adds.first().into_iter();
        let ops = adds.chain(removes).chain(finals).copied().chain([known]);
        self.anomaly("lost", ops.map(Op::index).collect(), message, &ADVICE_LOST)
    }

    fn came_back(&self, ops: &[&Op<'_>], finals: &[&Op<'_>]) -> Anomaly {
        let removes = ops.iter().filter(|op| op.f() == "remove");
        let removes: Vec<String> = removes.map(|op| words::noun(op)).take(3).collect();
        let message = format!(
            "Element {} of {} is in each of {} although it was removed after it had been seen, by {}.",
            self.value,
            words::key(self.keyed.key),
            words::plural(finals.len(), "final read"),
            words::list(&removes),
        );
        let operations = ops.iter().chain(finals).map(|op| op.index()).collect();
        self.anomaly("removed-and-there", operations, message, &ADVICE_REMOVED)
    }

    fn unexpected(&self, read: &Op<'_>) -> Anomaly {
        let (add, why) = match (self.element.adds.first(), self.element.refused) {
            (Some(add), _) => (Some(*add), format!("{} began only later", words::noun(add))),
            (None, Some(add)) => (
                Some(add),
                format!("{} was definitely refused", words::noun(add)),
            ),
            (None, None) => (None, "nobody ever added it".to_owned()),
        };
        let (key, noun) = (words::key(self.keyed.key), words::noun_short(read));
        let message = format!(
            "Element {} of {key} is in {noun}, and yet {why}.",
            self.value
        );
        let operations = add.iter().map(|op| op.index()).chain([read.index()]);
        self.anomaly("unexpected", operations.collect(), message, &ADVICE_FALSE)
    }

    fn duplicated(&self, read: &Op<'_>) -> Anomaly {
        let (key, noun) = (words::key(self.keyed.key), words::noun_short(read));
        let message = format!(
            "Element {} of {key} is in {noun} more than once.",
            self.value
        );
        let adds = self.element.acknowledged().into_iter();
        let operations = adds.map(Op::index).chain([read.index()]);
        self.anomaly("duplicated", operations.collect(), message, &ADVICE_FALSE)
    }

    fn anomaly(
        &self,
        name: &str,
        operations: Vec<u64>,
        message: String,
        advice: &Advice,
    ) -> Anomaly {
        anomaly(name, operations, message, advice)
            .with("key", words::key(self.keyed.key))
            .with("element", self.value.clone())
    }
}
