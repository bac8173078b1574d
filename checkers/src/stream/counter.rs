//! `counter` with running sums: see [`crate::properties::counter`] for the bounds of a read.
//!
//! What was acknowledged before a read began is a sum when it begins, what was tried by its end is one when it ends. Adds in flight then may turn out to be
//! refused: a read whose bounds hang on them waits for them. For final reads the adds of unknown outcome are remembered ([`ADD_BYTES`] each), for
//! any subset of them may be in the sum. The keys of reads that are out of bounds are collected, to name what proves it.

use super::judge::unexplained;
use super::keys::Keys;
use super::{Again, Finish, Fold, Part};
use crate::counts::ADVICE_LOW;
use crate::findings::Findings;
use crate::sums::subset_has_sum;
use crate::verdict::{ANOMALIES_LISTED, Decision};
use crate::{Budget, Prepared, Shape, words};
use schism_history::{Event, Op, Outcome, Time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// About what an add takes that is remembered.
const ADD_BYTES: u64 = 16;

/// Sums of increments and of decrements.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    up: i128,
    down: i128,
}

impl Sum {
    fn add(&mut self, by: i128) {
        self.up += by.max(0);
        self.down += by.min(0);
    }

    fn take(&mut self, by: i128) {
        self.up -= by.max(0);
        self.down -= by.min(0);
    }
}

/// A read that was answered while adds were in flight.
struct Waiting {
    read: Read,
    adds: BTreeSet<u64>,
}

struct Read {
    index: u64,
    n: i128,
    sure: Sum,
    tried: Sum,
    /// Of a final read: the adds that may be in it, and how many of those of unknown outcome.
    choice: Option<(Vec<i128>, usize)>,
}

impl Read {
    fn is_out_of_bounds(&self) -> bool {
        let (least, most) = (
            self.sure.up + self.tried.down,
            self.tried.up + self.sure.down,
        );
        !(least..=most).contains(&self.n)
    }
}

#[derive(Default)]
struct Key {
    sure: Sum,
    tried: Sum,
    /// Adds by invocation; nothing where it is of no whole number.
    in_flight: BTreeMap<u64, Option<i128>>,
    /// Reads by invocation, with when they began and what was sure then.
    reading: BTreeMap<u64, (Time, Sum)>,
    /// Acknowledged since the first of these reads began.
    recent: VecDeque<(Time, i128)>,
    unknown: Vec<i128>,
    waiting: Vec<Waiting>,
    finals: Vec<Read>,
    strange: bool,
    reads: u64,
    final_reads: u64,
    wrong: u64,
    /// The first ones, by invocation.
    named: BTreeSet<u64>,
    /// A read that returned a number: without one, a set could live there as well.
    numeric: Option<u64>,
}

impl Key {
    fn begins(&mut self, invoke: &Event) {
        if invoke.f == "read" {
            self.reading.insert(invoke.index, (invoke.time, self.sure));
        } else {
            let by = words::whole(&invoke.value);
            self.in_flight.insert(invoke.index, by);
            self.tried.add(by.unwrap_or(0));
        }
    }

    fn add_ended(&mut self, op: &Op<'_>) {
        let Some(by) = self.in_flight.remove(&op.index()) else {
            return;
        };
        let outcome = op.outcome();
        self.strange |= by.is_none() && outcome != Outcome::Fail;
        let by = by.unwrap_or(0);
        match outcome {
            Outcome::Ok => {
                self.sure.add(by);
                if !self.reading.is_empty() {
                    self.recent.push_back((op.end(), by));
                }
            }
            Outcome::Info if by != 0 => self.unknown.push(by),
            Outcome::Info => {}
            Outcome::Fail => self.tried.take(by),
        }
        self.resolve(op.index(), by, outcome);
    }

    /// Tells those that wait for this add.
    fn resolve(&mut self, index: u64, by: i128, outcome: Outcome) {
        for waiting in &mut self.waiting {
            if !waiting.adds.remove(&index) {
                continue;
            }
            match (outcome, &mut waiting.read.choice) {
                (Outcome::Fail, _) => waiting.read.tried.take(by),
                (_, Some((choice, _))) => choice.push(by),
                _ => {}
            }
        }
        let ready = |w: &mut Waiting| w.adds.is_empty();
        for waiting in self.waiting.extract_if(.., ready).collect::<Vec<_>>() {
            self.decide(waiting.read);
        }
    }

    fn read_ended(&mut self, op: &Op<'_>, recovered: bool) -> Option<Result<(), ()>> {
        let (start, sure) = self.reading.remove(&op.index())?;
        let n = op.result().map(words::whole);
        let read = n.flatten().map(|n| Read {
            index: op.index(),
            n,
            sure,
            tried: self.tried,
            choice: op.is_final().then(|| {
                let since = self.recent.iter().filter(|(end, _)| *end >= start);
                (since.map(|(_, by)| *by).collect(), self.unknown.len())
            }),
        });
        let oldest = self.reading.first_key_value().map(|(_, (start, _))| *start);
        while self
            .recent
            .front()
            .is_some_and(|(end, _)| oldest.is_none_or(|o| *end < o))
        {
            self.recent.pop_front();
        }
        let Some(read) = read else {
            return n.map(|_| Err(()));
        };
        self.reads += 1;
        if op.result().is_some_and(Value::is_number) {
            self.numeric = self.numeric.or(Some(op.index()));
        }
        self.final_reads += u64::from(op.is_final());
        if op.is_final() && !recovered {
            return None;
        }
        let adds: BTreeSet<u64> = self.in_flight.keys().copied().collect();
        if adds.is_empty() || (read.choice.is_none() && read.is_out_of_bounds()) {
            self.decide(read);
        } else {
            self.waiting.push(Waiting { read, adds });
        }
        Some(Ok(()))
    }

    /// All adds that it hangs on have ended.
    fn decide(&mut self, read: Read) {
        if read.is_out_of_bounds() {
            self.is_wrong(read.index);
        } else if read.choice.is_some() {
            self.finals.push(read);
        }
    }

    fn is_wrong(&mut self, index: u64) {
        self.wrong += 1;
        if self.named.len() < ANOMALIES_LISTED {
            self.named.insert(index);
        }
    }

    /// Final reads inside their bounds, that no choice of the unknown adds may explain. Says how many are too large a question.
    fn decide_finals(&mut self) -> usize {
        let mut open = 0;
        for read in std::mem::take(&mut self.finals) {
            let Some((mut choice, unknown)) = read.choice else {
                continue;
            };
            choice.extend(&self.unknown[..unknown]);
            let sum = read.sure.up + read.sure.down;
            match subset_has_sum(&choice, read.n - sum, &Budget::unlimited()) {
                Some(true) => {}
                Some(false) => self.is_wrong(read.index),
                None => open += 1,
            }
        }
        open
    }
}

/// All counters.
pub(crate) struct Sums<'p, 's> {
    survey: &'s Prepared<'p>,
    keys: Keys<'s, Key>,
    findings: Findings,
}

impl<'p, 's> Sums<'p, 's> {
    pub(crate) fn new(survey: &'s Prepared<'p>) -> Self {
        Self {
            survey,
            keys: Keys::new(survey, Shape::Counter),
            findings: Findings::new(),
        }
    }
}

impl<'s> Fold<'s> for Sums<'_, 's> {
    fn begins(&mut self, invoke: &Event) {
        if let Some(key) = self.keys.get_mut(invoke.key.as_ref()) {
            key.begins(invoke);
        }
    }

    fn ended(&mut self, op: &Op<'_>) {
        let recovered = self.survey.recovered();
        let Some(key) = self.keys.get_mut(op.key()) else {
            return;
        };
        if op.f() == "add" {
            key.add_ended(op);
            if op.outcome() != Outcome::Fail && words::whole(op.argument()).is_none() {
                let noun = words::noun(op);
                self.findings
                    .doubt(|| format!("{noun} is of no whole number"));
            }
            return;
        }
        let is_answered = op.result().is_some();
        match key.read_ended(op, recovered) {
            Some(Err(())) => self
                .findings
                .doubt(|| format!("{} is of no whole number", words::noun(op))),
            None if is_answered && op.is_final() => self
                .findings
                .doubt(|| format!("the target had not recovered before {}", words::noun(op))),
            _ => {}
        }
    }

    fn bytes(&self) -> u64 {
        let keys = self.keys.all.iter().map(|(_, key)| {
            ADD_BYTES * key.unknown.len() as u64
                + 64 * (key.in_flight.len() + key.recent.len() + key.waiting.len()) as u64
        });
        keys.sum()
    }

    fn finish(mut self: Box<Self>) -> Finish<'s> {
        let is_run = self.survey.is_run();
        let (mut parts, mut wrong) = (Vec::new(), 0);
        let mut part_of: Vec<Option<(usize, BTreeSet<u64>)>> = Vec::new();
        let mut named = 0;
        for (name, key) in &mut self.keys.all {
            part_of.push(None);
            if key.strange {
                continue;
            }
            let name = words::key(*name);
            let findings = &mut self.findings;
            findings.checked(key.reads as usize);
            if key.reads == 0 {
                findings.doubt(|| format!("no read of {name} was answered"));
            }
            if is_run && key.final_reads == 0 {
                findings.doubt(|| format!("no final read of {name} was answered"));
            }
            for _ in 0..key.decide_finals() {
                findings.doubt(|| {
                    format!("whether the unknown adds add up to a final read of {name} is too large a question")
                });
            }
            wrong += key.wrong;
            if key.wrong > 0 && named < ANOMALIES_LISTED {
                named += key.named.len();
                parts.push(Part {
                    what: format!("some reads of {name}, with all that was added,"),
                    sure: Some(unexplained("read-out-of-bounds", &name, &ADVICE_LOW)),
                });
                let mut reads = std::mem::take(&mut key.named);
                reads.extend(key.numeric);
                if let Some(last) = part_of.last_mut() {
                    *last = Some((parts.len() - 1, reads));
                }
            }
        }
        let result = self.findings.result();
        let keys = self.keys;
        let select = move |op: &Op<'_>| {
            let (part, reads) = part_of[keys.number(op.key())?].as_ref()?;
            let takes = op.f() == "add" || reads.contains(&op.index());
            takes.then_some(*part)
        };
        debug_assert!(result.verdict != Decision::Violated);
        Finish {
            result,
            count: (wrong > 0).then_some(wrong),
            again: (!parts.is_empty()).then(|| Again {
                select: Box::new(select),
                parts,
            }),
        }
    }
}
