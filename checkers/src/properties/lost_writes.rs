//! `lost-writes`: an element that was acknowledged is there in the end.
//!
//! A register cannot tell a lost write from an overwritten one; these can: a set that only grows (Jepsen's `set` workload), questions and answers
//! ([`crate::questions`], where they are read as they were put, with a key or without), lists that transactions append to ([`crate::transactions`]), and a register that nothing but compare-and-sets change (a chain: [`crate::chain`]). Lost:
//! acknowledged, and absent from *every* final read that began after the acknowledgement. Absent from some is `convergence`, and counted here
//! as stale; where no read is marked as final and the last one lacks it, that is `unknown`, and so is what is absent where the target had not recovered
//! (it may be in a log, and be applied yet). Counted apart: recovered (unknown outcome, and there). Also violations: an element that a read returns twice (in a list: more
//! often than it was appended), and one that was never added or was definitely refused. Linear in the elements of all final reads.

use crate::finals::{Finals, final_reads};
use crate::findings::{Advice, Findings, anomaly};
use crate::happens_before::registers;
use crate::intern::{Interner, Val};
use crate::transactions::Transactions;
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Prepared, Property, Shape, chain, words};
use schism_history::{Op, Outcome, Time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
            || questions(history).next().is_some()
            || history.ops.iter().any(appends)
            || history
                .keys_of(Shape::Register)
                .any(|k| chain::is_chain(history, k))
    }

    /// Lists and chains are also for other properties; they are only asked what was lost where final reads say so.
    fn fits_unasked(&self, history: &Prepared<'_>) -> bool {
        let lists = || {
            history
                .ops
                .iter()
                .any(|op| op.f() == "txn" && op.is_final())
        };
        let mut registers = history.keys_of(Shape::Register);
        let final_read = |&i: &usize| history.ops[i].f() == "read" && history.ops[i].is_final();
        history.has(Shape::Set)
            || questions(history).any(|k| k.ops.iter().any(final_read))
            || lists()
            || registers.any(|k| chain::is_chain(history, k) && k.ops.iter().any(final_read))
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let mut counts = Counts::default();
        sets(history, &mut findings, &mut counts, budget);
        lists(history, &mut findings, &mut counts, budget);
        for register in registers(history, &mut findings, budget)
            .iter()
            .filter(|r| chain::is_chain(history, r.keyed))
        {
            let recovered = history.recovered();
            let (acknowledged, lost) = chain::check(register, recovered, &mut findings, budget);
            counts.acknowledged += acknowledged;
            counts.lost += lost;
        }
        for (name, n) in counts.named() {
            findings.detail(name, n);
        }
        findings.result()
    }
}

const STAND_IN: &str = "no read is marked as final; those after the last acknowledgement stand in";

fn sets(history: &Prepared<'_>, findings: &mut Findings, counts: &mut Counts, budget: &Budget<'_>) {
    let sets = history.keys_of(Shape::Set).chain(questions(history));
    for (done, keyed) in sets.enumerate() {
        if findings.out_of_time_at(budget, done, keyed) {
            return;
        }
        let name = words::key(keyed.key);
        let finals = final_reads(history, keyed);
        let marked = matches!(finals, Finals::Marked(_));
        let reads = match finals {
            Finals::None(why) => {
                findings.doubt(|| format!("{name}: {why}"));
                continue;
            }
            Finals::Marked(reads) => reads,
            Finals::Last(reads) => {
                findings.note(STAND_IN);
                reads
            }
        };
        let mut key = Key::new(name, false);
        key.marked = marked;
        key.recovered = history.recovered();
        let ops = keyed.ops.iter().map(|&i| &history.ops[i]);
        for op in budget.lasting(ops.filter(|op| op.f() != "read")) {
            key.add(op, op.argument());
        }
        for (done, op) in reads.into_iter().enumerate() {
            let how_far = || format!("after {done} final reads of {}", key.name);
            if findings.out_of_time(budget, how_far) {
                return;
            }
            let list = op.result().and_then(Value::as_array);
            key.scan(op, list.map(Vec::as_slice).unwrap_or_default(), budget);
        }
        let late = || format!("after the final reads of {}", key.name);
        if findings.out_of_time(budget, late) {
            return;
        }
        key.check(findings, counts, budget);
    }
}

/// Questions and answers, where all of them are put and read without keys, or under the same: else a read may show what was put under another.
fn questions<'p>(history: &'p Prepared<'_>) -> impl Iterator<Item = &'p Keyed<'p>> {
    let keys = || history.keys_of(Shape::Questions);
    let mixed = keys().count() > 1 && keys().any(|k| k.key.is_none());
    let any = |k: &Keyed<'_>, read: bool| {
        let is_read = |&i: &usize| history.ops[i].f() == "read";
        k.ops.iter().any(|i| is_read(i) == read)
    };
    keys().filter(move |k| !mixed && any(k, true) && any(k, false))
}

fn appends(op: &Op<'_>) -> bool {
    let is_append = |micro: &Value| micro[0] == "append";
    op.f() == "txn"
        && op
            .argument()
            .as_array()
            .is_some_and(|txn| txn.iter().any(is_append))
}

fn lists(
    history: &Prepared<'_>,
    findings: &mut Findings,
    counts: &mut Counts,
    budget: &Budget<'_>,
) {
    if !history.ops.iter().any(appends) {
        return;
    }
    let txns = Transactions::new(history, budget);
    if findings.out_of_time(budget, || "before all transactions were read".to_owned()) {
        return;
    }
    if let Some(why) = &txns.strange {
        findings.doubt(|| why.clone());
    }
    let marked = history
        .ops
        .iter()
        .any(|op| op.f() == "txn" && op.is_final());
    let writers = txns
        .all
        .iter()
        .filter(|txn| txn.op.is_ok() && !txn.writes.is_empty());
    let acknowledged = writers.map(|txn| txn.op.end()).max().unwrap_or(Time::ZERO);
    let says = |op: &Op<'_>| {
        let stands_in = !marked && !history.is_run() && op.start() > acknowledged;
        op.is_ok() && (op.is_final() || stands_in)
    };
    if !marked && !history.is_run() {
        findings.note(STAND_IN);
    }
    let mut keys: BTreeMap<Val, Key<'_>> = BTreeMap::new();
    for txn in budget.lasting(&txns.all) {
        for write in txn.writes.iter().filter(|write| write.append) {
            let key = keys.entry(write.key);
            key.or_insert_with(|| Key::new(txns.key(write.key), true))
                .add(txn.op, write.value);
        }
    }
    let refused = history
        .ops
        .iter()
        .filter(|op| op.outcome() == Outcome::Fail);
    for op in budget.lasting(refused).filter(|op| appends(op)) {
        for micro in op.argument().as_array().into_iter().flatten() {
            let Some(key) = txns.keys.known(&micro[1]).filter(|_| micro[0] == "append") else {
                continue;
            };
            let list = || Key::new(txns.key(key), true);
            keys.entry(key).or_insert_with(list).add(op, &micro[2]);
        }
    }
    // What is also written as a whole is no list.
    let writes = budget.lasting(&txns.all).flat_map(|txn| &txn.writes);
    let whole: BTreeSet<Val> = writes
        .filter(|write| !write.append)
        .map(|write| write.key)
        .collect();
    for txn in txns.all.iter().filter(|txn| says(txn.op)) {
        let how_far = || format!("before {} was read", words::noun_short(txn.op));
        if findings.out_of_time(budget, how_far) {
            return;
        }
        for read in &txn.reads {
            let list = || Key::new(txns.key(read.key), true);
            if !(read.value.is_array() || keys.contains_key(&read.key)) {
                continue;
            }
            keys.entry(read.key)
                .or_insert_with(list)
                .scan(txn.op, read.list(), budget);
        }
    }
    if findings.out_of_time(budget, || "in the final reads of lists".to_owned()) {
        return;
    }
    keys.retain(|key, _| !whole.contains(key));
    for key in keys.values_mut() {
        key.marked = marked;
        key.recovered = history.recovered();
        if key.reads.is_empty() {
            findings.doubt(|| format!("{}: no final read was answered", key.name));
        } else {
            key.check(findings, counts, budget);
        }
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
    /// How many adds of it may have happened.
    adds: usize,
    /// A definitely refused add.
    refused: Option<&'p Op<'p>>,
    /// The places of the final reads that have it, ascending.
    seen: Vec<u32>,
    /// The first read that has it, and one that has it too often.
    first_seen: Option<&'p Op<'p>>,
    twice: Option<&'p Op<'p>>,
}

/// A set, or a list.
struct Key<'p> {
    name: String,
    is_list: bool,
    /// Whether the reads are marked as final, or only stand in for such.
    marked: bool,
    /// Whether the target had recovered when they were made.
    recovered: bool,
    reads: Vec<&'p Op<'p>>,
    values: Interner<'p>,
    elements: Vec<Element<'p>>,
}

impl<'p> Key<'p> {
    fn new(name: String, is_list: bool) -> Self {
        Self {
            name,
            is_list,
            marked: true,
            recovered: true,
            reads: Vec::new(),
            values: Interner::new(),
            elements: Vec::new(),
        }
    }

    fn add(&mut self, op: &'p Op<'p>, value: &'p Value) {
        let (_, element) = self.element(value);
        element.adds += usize::from(op.outcome() != Outcome::Fail);
        match op.outcome() {
            Outcome::Ok => {
                let earlier = element.acknowledged.filter(|first| first.end() <= op.end());
                element.acknowledged = earlier.or(Some(op));
            }
            Outcome::Info => element.open = true,
            Outcome::Fail => element.refused = Some(op),
        }
    }

    fn element(&mut self, value: &'p Value) -> (Val, &mut Element<'p>) {
        let number = self.values.intern(value);
        if self.elements.len() < self.values.len() {
            self.elements.resize(self.values.len(), Element::default());
        }
        (number, &mut self.elements[number as usize])
    }

    /// Takes a read, after all adds.
    fn scan(&mut self, read: &'p Op<'p>, list: &'p [Value], budget: &Budget<'_>) {
        let place = self.reads.len() as u32;
        self.reads.push(read);
        let mut times: BTreeMap<Val, usize> = BTreeMap::new();
        let is_list = self.is_list;
        for value in budget.lasting(list) {
            let (number, element) = self.element(value);
            element.first_seen = element.first_seen.or(Some(read));
            let times = times.entry(number).or_default();
            *times += 1;
            if *times == 1 {
                element.seen.push(place);
            } else if !is_list || *times > element.adds {
                element.twice = element.twice.or(Some(read));
            }
        }
    }

    fn check(&self, findings: &mut Findings, counts: &mut Counts, budget: &Budget<'_>) {
        let all = self.elements.len();
        for (number, element) in self.elements.iter().enumerate() {
            let how_far = || format!("elements of {}", self.name);
            if findings.out_of_time_after(budget, (number, all), how_far) {
                return;
            }
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
        let first = self.reads.partition_point(|read| read.start() <= add.end());
        let after = first..self.reads.len();
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
        let seen = &element.seen[element.seen.partition_point(|i| (*i as usize) < first)..];
        let absent = after.len() - seen.len();
        if absent == after.len() && !self.recovered {
            return findings.doubt(|| chain::not_recovered(add));
        }
        if absent == after.len() {
            counts.lost += 1;
            findings.violate(|| self.lost(value, add, &self.reads[first..]));
            return;
        }
        counts.stale += u64::from(absent > 0);
        let last = self.reads.len() - 1;
        if !self.marked && seen.last() != Some(&(last as u32)) {
            findings.doubt(|| {
                let (key, read) = (&self.name, words::noun_short(self.reads[last]));
                format!("no read is marked as final, and {read}, the last one, lacks {value} of {key} that others had: it is lost, or the read is stale")
            });
        }
    }

    fn lost(&self, value: &Value, add: &Op<'_>, reads: &[&Op<'_>]) -> Anomaly {
        let by = words::replicas(reads.iter().copied());
        let message = format!(
            "Element {value} of {} was lost: {} acknowledged {}, and none of {} after it has it{by}.",
            &self.name,
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
            let key = &self.name;
            let message = format!("Element {value} of {key} is in {noun}, and yet {why}.");
            anomaly("unexpected", operations, message, &ADVICE_FALSE).with("element", value.clone())
        });
    }

    fn duplicated(&self, value: &Value, element: &Element<'_>, read: &Op<'_>) -> Anomaly {
        let key = &self.name;
        let message = format!(
            "Element {value} of {key} is in {} more than once.",
            words::noun_short(read)
        );
        let mut operations: Vec<u64> = element.acknowledged.iter().map(|op| op.index()).collect();
        operations.push(read.index());
        anomaly("duplicated", operations, message, &ADVICE_FALSE).with("element", value.clone())
    }
}
