//! `lost-updates`: an acknowledged update is there in the end, or an update whose client had seen it has replaced it.
//!
//! What clients had seen is happens-before ([`crate::happens_before`]): not real time. So where the last write wins, the loser of two writes
//! that knew nothing of each other is lost, and so is one that a blind write has put out of the way: who needs both must keep both (siblings, a
//! merge) or write with what was read. A single register promises no such thing, so one whose reads never returned a list is
//! only judged when the property is named.
//!
//! Registers and multi-value registers: no final read that began after the acknowledgement has the value, and no update that may have happened
//! had seen it. One that may have seen it and whose outcome nobody knows: `unknown`. Carts (registers of lists, [`crate::carts`]) and
//! sets: line by line and element by element, add wins. Counters: every final read is less than what was
//! acknowledged, of a counter that only grows (or only falls). Texts: no final read has all of the run, and no delete can
//! have covered it ([`crate::runs`]). Only final reads marked as such say what became of an update:
//! without them, or where the target had not recovered, `unknown`. O(n log n), and see [`crate::happens_before`] for several keys.

use crate::counts::{Add, Counts, Exact, enough};
use crate::elements::{Element, Elements};
use crate::findings::{Advice, Findings, anomaly};
use crate::happens_before::{Causality, Holds, Replaced, Seen, Update, Updates, holds, registers};
use crate::intern::ABSENT;
use crate::runs::{Fate, RunId, Runs};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Prepared, Property, Shape, add_wins, carts, words};
use schism_history::Op;
use serde_json::Value;

/// The property.
pub(super) struct LostUpdates;

const ADVICE: Advice = Advice {
    cause: "Replicas took updates that knew nothing of each other, and where they met one was dropped: the last write won, by a clock or by arrival.",
    mend: "Keep concurrent updates until somebody who has seen them merges them (version vectors and siblings), or use types that merge \
           (OR-set, counters by replica, a sequence for text); a clock only chooses which one is lost.",
};

impl Property for LostUpdates {
    fn name(&self) -> &'static str {
        "lost-updates"
    }

    fn summary(&self) -> &'static str {
        "every acknowledged update is there in the end, or was replaced by one whose client had seen it"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        JUDGED.iter().any(|shape| history.has(*shape))
    }

    /// A register that holds one value at a time promises nothing to concurrent writes; and without final reads there is nothing to say.
    fn fits_unasked(&self, history: &Prepared<'_>) -> bool {
        let keys = history.keys.iter();
        let has_finals = |k: &Keyed<'_>| k.ops.iter().any(|&i| is_final_read(&history.ops[i]));
        let mut registers = history.keys_of(Shape::Register);
        keys.filter(|k| JUDGED.contains(&k.shape)).any(has_finals)
            && registers.all(|keyed| holds(history, keyed) != Holds::One)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut check = Check::default();
        if !history.recovered() {
            return PropertyResult::unknown(NOT_RECOVERED);
        }
        let registers = registers(history, &mut check.findings, budget);
        check.registers(&registers, |r| r.holds != Holds::Carts, budget);
        for register in registers.iter().filter(|r| r.holds == Holds::Carts) {
            check.cart(register, budget);
        }
        for shape in [Shape::Set, Shape::RemovableSet] {
            for (done, keyed) in history.keys_of(shape).enumerate() {
                if check.findings.out_of_time_at(budget, done, keyed) {
                    break;
                }
                let set = Elements::new(history, keyed, &mut check.findings, budget);
                check.set(keyed, &set, "element", budget);
            }
        }
        for (done, keyed) in history.keys_of(Shape::Counter).enumerate() {
            if check.findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let counts = Counts::new(history, keyed, &mut check.findings, budget);
            if check.findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            if !counts.strange {
                check.counter(&counts, budget);
            }
        }
        for (done, keyed) in history.keys_of(Shape::Text).enumerate() {
            if check.findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let text = Runs::new(history, keyed, budget);
            if check.findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            check.text(&text, budget);
        }
        check.result()
    }
}

/// Why nothing is known of the end.
pub(super) const NOT_RECOVERED: &str =
    "the target had not recovered when its replicas were read: what they lack may still come";

/// How often the budget is asked, in runs.
const ASKED_EVERY: RunId = 64;

/// What has updates that can be lost.
const JUDGED: [Shape; 6] = [
    Shape::Register,
    Shape::Siblings,
    Shape::Set,
    Shape::RemovableSet,
    Shape::Counter,
    Shape::Text,
];

fn is_final_read(op: &Op<'_>) -> bool {
    op.f() == "read" && op.is_final()
}

/// What is known so far; other properties of registers ask for lost updates as well.
#[derive(Default)]
pub(super) struct Check {
    pub(super) findings: Findings,
    acknowledged: u64,
    replaced: u64,
    lost: u64,
    /// Of registers whose causality is told key by key: how many only a session that had seen them over other keys replaced.
    over_other_keys: Option<u64>,
}

impl Check {
    /// For registers whose causality is told key by key: who saw an update over other keys only may have replaced it, or not.
    pub(super) fn key_by_key() -> Self {
        Self {
            over_other_keys: Some(0),
            ..Self::default()
        }
    }

    pub(super) fn result(mut self) -> PropertyResult {
        self.findings.detail("acknowledged", self.acknowledged);
        self.findings.detail("replaced", self.replaced);
        self.findings.detail("lost", self.lost);
        if let Some(n) = self.over_other_keys {
            self.findings.detail("replaced_over_other_keys", n);
        }
        self.findings.result()
    }

    pub(super) fn without_finals(&mut self, keyed: &Keyed<'_>) {
        let key = words::key(keyed.key);
        self.findings.doubt(|| {
            format!("{key}: no final read was answered, so nobody knows what is there in the end")
        });
    }

    /// Value by value, also those that are lists.
    pub(super) fn registers(
        &mut self,
        registers: &[Updates<'_>],
        judged: fn(&Updates<'_>) -> bool,
        budget: &Budget<'_>,
    ) {
        // What replaced an update may be in a register that is not there.
        let late = || "before all registers were read".to_owned();
        if self.findings.out_of_time(budget, late) {
            return;
        }
        let mut missing: Vec<(usize, usize)> = Vec::new();
        for (number, register) in registers.iter().enumerate().filter(|(_, r)| judged(r)) {
            if let Some(why) = &register.strange {
                self.findings.doubt(|| why.clone());
            } else if register.finals.is_empty() {
                self.without_finals(register.keyed);
            } else {
                let updates = budget.lasting(register.all.iter().enumerate());
                let acknowledged = updates.filter(|(_, u)| u.op.is_ok() && u.value != ABSENT);
                let gone = acknowledged.filter(|(_, update)| self.is_missing(register, update));
                missing.extend(gone.map(|(place, _)| (number, place)));
            }
        }
        let answers = Causality::new(registers, budget).replaced(&missing, budget);
        for ((number, place), replaced) in budget.lasting(missing.into_iter().zip(answers)) {
            let register = &registers[number];
            self.missing(register, &register.all[place], replaced, budget);
        }
        let late = || "in the search for who replaced what".to_owned();
        self.findings.out_of_time(budget, late);
    }

    /// Whether an acknowledged update is in no final read.
    fn is_missing(&mut self, register: &Updates<'_>, update: &Update<'_>) -> bool {
        if register.finals_after(update.op).is_empty() {
            let noun = words::noun(update.op);
            let why = || format!("no final read began after {noun} was acknowledged");
            self.findings.doubt(why);
            return false;
        }
        self.acknowledged += 1;
        self.findings.checked(1);
        !register.is_there(update)
    }

    fn missing(
        &mut self,
        register: &Updates<'_>,
        update: &Update<'_>,
        replaced: Replaced<'_>,
        budget: &Budget<'_>,
    ) {
        let noun = || words::noun(update.op);
        let own_key = || matches!(register.replaced(update, budget), Replaced::Surely(_));
        match (replaced, &mut self.over_other_keys) {
            (Replaced::Surely(by), Some(n)) if !own_key() => {
                *n += 1;
                self.findings.doubt(|| {
                    format!(
                        "{} is not there in the end, and the session of {} had seen it over other keys only: replaced, where causality spans keys, or lost",
                        noun(),
                        words::noun(by)
                    )
                });
                return;
            }
            _ => {}
        }
        match replaced {
            Replaced::Surely(_) => self.replaced += 1,
            Replaced::Perhaps(by) => self.findings.doubt(|| {
                format!(
                    "{} is not there in the end, and nobody knows whether {} had seen it and took effect: replaced, or lost",
                    noun(),
                    words::noun(by)
                )
            }),
            Replaced::Undecided => self.findings.doubt(|| {
                format!(
                    "the time was up at the search for who may have replaced {}",
                    noun()
                )
            }),
            Replaced::No => {
                self.lost += 1;
                let finals = register.finals_after(update.op);
                self.findings.violate(|| lost(register, update, finals));
            }
        }
    }

    fn cart(&mut self, register: &Updates<'_>, budget: &Budget<'_>) {
        if let Some(why) = &register.strange {
            self.findings.doubt(|| why.clone());
        } else {
            self.set(
                register.keyed,
                &carts::lines(register, budget),
                "line",
                budget,
            );
        }
    }

    fn set(&mut self, keyed: &Keyed<'_>, set: &Elements<'_>, what: &str, budget: &Budget<'_>) {
        if set.finals.as_ref().map_or(0, Vec::len) == 0 || !set.marked {
            self.without_finals(keyed);
            return;
        }
        let all = set.all.len();
        for (number, element) in set.all.iter().enumerate() {
            let late = || format!("{what}s of {}", words::key(keyed.key));
            if self.findings.out_of_time_after(budget, (number, all), late) {
                return;
            }
            let value = set.values.value(number as u32);
            self.element(keyed, set, value, element, what);
        }
    }

    fn element(
        &mut self,
        keyed: &Keyed<'_>,
        set: &Elements<'_>,
        value: &Value,
        element: &Element<'_>,
        what: &str,
    ) {
        let acknowledged = element.acknowledged().is_some();
        self.acknowledged += u64::from(acknowledged);
        self.findings.checked(usize::from(acknowledged));
        let Some(add) = add_wins::sure(element) else {
            self.replaced += u64::from(acknowledged);
            return;
        };
        match set.finally(element, add.end()) {
            ([], _) => self.findings.doubt(|| {
                format!(
                    "no final read began after {} was acknowledged",
                    words::noun(add)
                )
            }),
            (finals, 0) => {
                self.lost += 1;
                self.findings
                    .violate(|| lost_element(keyed, value, add, finals, what));
            }
            _ => {}
        }
    }

    fn counter(&mut self, counts: &Counts<'_>, budget: &Budget<'_>) {
        let finals: Vec<(i128, &Op<'_>)> = counts.finals().collect();
        if finals.is_empty() {
            self.without_finals(counts.keyed);
            return;
        }
        let acknowledged = counts.adds.iter().filter(|add| add.op.is_ok());
        let acknowledged = acknowledged.filter(|add| add.by != 0).count();
        self.acknowledged += acknowledged as u64;
        self.findings.checked(acknowledged);
        let exact = finals
            .iter()
            .map(|(n, read)| counts.exact(*n, read, budget));
        let exact: Vec<Exact> = exact.collect();
        if exact.iter().any(|e| matches!(e, Exact::Yes)) {
            return;
        }
        let key = words::key(counts.keyed.key);
        if exact.iter().all(|e| matches!(e, Exact::No)) {
            if falls_short(counts, &finals) {
                self.lost += 1;
                self.findings.violate(|| lost_adds(counts, &finals));
                return;
            }
            let why = "and it is not sure that an add is missing everywhere: see counter";
            self.findings
                .doubt(|| format!("{key} does not add up in any final read, {why}"));
        } else {
            self.findings
                .doubt(|| format!("whether {key} adds up in the end is too large a question"));
        }
    }

    /// Also what `text` says of runs.
    pub(super) fn text(&mut self, text: &Runs<'_>, budget: &Budget<'_>) {
        for why in text.unreadable.iter().chain(&text.strange) {
            self.findings.doubt(|| why.clone());
        }
        if text.unreadable.is_some() {
            return;
        }
        if text.finals().is_empty() {
            self.without_finals(text.keyed);
            return;
        }
        for (run, insert) in (0..).zip(&text.all).filter(|(_, run)| run.op.is_ok()) {
            let noun = || words::noun(insert.op);
            if run % ASKED_EVERY == 0 && budget.is_exhausted() {
                self.findings.doubt(|| {
                    format!(
                        "the time was up at {}: what became of the runs from there on is not known",
                        noun()
                    )
                });
                return;
            }
            self.acknowledged += 1;
            self.findings.checked(1);
            match text.fate(run) {
                Fate::There => {}
                Fate::Deleted => self.replaced += 1,
                Fate::NotRead => self
                    .findings
                    .doubt(|| format!("no final read began after {} was acknowledged", noun())),
                Fate::Perhaps(delete) => self.findings.doubt(|| {
                    let delete = words::noun(delete);
                    format!(
                        "{} is not there in the end, and nobody knows whether {delete} covered it",
                        noun()
                    )
                }),
                Fate::Lost(finals) => {
                    self.lost += 1;
                    self.findings.violate(|| lost_run(text, run, &finals));
                }
            }
        }
        let opaque = text.finals().iter().find(|r| text.reads[**r].opaque);
        if let Some(reading) = opaque {
            let noun = words::noun_short(text.reads[*reading].op);
            self.findings.doubt(|| {
                format!("{noun} is not made of whole runs, so nobody knows which of them are there")
            });
        }
    }
}

/// Whether an acknowledged add is surely missing from every final read. Where some count up and others down, what is missing and what was counted
/// twice look the same. Where replicas differ, each may lack another one, unless all of them together hold less than was acknowledged.
fn falls_short(counts: &Counts<'_>, finals: &[(i128, &Op<'_>)]) -> bool {
    let sign = |up: i128| counts.adds.iter().any(|add| add.by.signum() == up);
    let sign = match (sign(1), sign(-1)) {
        (true, false) => 1,
        (false, true) => -1,
        _ => return false,
    };
    let sure = |read: &Op<'_>| -> i128 {
        let before = counts.adds.iter().filter(|add| add.surely_before(read));
        before.map(|add| add.by * sign).sum()
    };
    let short = finals.iter().all(|(n, read)| n * sign < sure(read));
    let (first, at) = finals[0];
    let together: i128 = finals.iter().map(|(n, _)| n * sign).sum();
    let same = finals.iter().all(|(n, _)| *n == first);
    short && sure(at) > 0 && (same || together < sure(at))
}

/// Names the final reads, all of which lack something, and just enough of what was acknowledged before the first of them.
fn lost_adds(counts: &Counts<'_>, finals: &[(i128, &Op<'_>)]) -> Anomaly {
    let (n, read) = finals[0];
    let before: Vec<&Add<'_>> = counts
        .adds
        .iter()
        .filter(|add| add.surely_before(read) && add.by != 0)
        .collect();
    let sum: i128 = before.iter().map(|add| add.by).sum();
    let message = format!(
        "{} of {} returned {n}, and {} that were acknowledged before it make {sum}: some are in none of {}{}.",
        words::noun_short(read),
        words::key(counts.keyed.key),
        words::plural(before.len(), "add"),
        words::plural(finals.len(), "final read"),
        words::replicas(finals.iter().map(|(_, read)| *read)),
    );
    let reads = finals.iter().map(|(_, read)| read.index());
    let adds = enough_lost(counts, finals, before, sum.signum());
    let operations = adds.iter().map(|add| add.op.index()).chain(reads).collect();
    anomaly("lost-update", operations, message, &ADVICE).with("key", words::key(counts.keyed.key))
}

/// The greatest of these adds, so many that every final read holds less, and that all of them together do where they differ.
fn enough_lost<'c>(
    counts: &'c Counts<'_>,
    finals: &[(i128, &Op<'_>)],
    mut adds: Vec<&'c Add<'c>>,
    sign: i128,
) -> Vec<&'c Add<'c>> {
    let all = || finals.iter().map(|(n, _)| n * sign);
    let same = finals.iter().all(|(n, _)| *n == finals[0].0);
    let most = all().max().unwrap_or(0).max(0);
    let bound = if same { most } else { most.max(all().sum()) };
    adds.sort_by_key(|add| (std::cmp::Reverse(add.by.abs()), add.op.index()));
    if adds.iter().map(|add| add.by * sign).sum::<i128>() > bound {
        adds.truncate(enough(adds.iter().map(|add| add.by * sign), bound));
        return adds;
    }
    // Some read lacks what was acknowledged only after the first one had begun.
    let missing = |add: &&Add<'_>| finals.iter().any(|(_, read)| add.surely_before(read));
    let adds = counts.adds.iter().filter(missing);
    adds.filter(|add| add.by != 0).collect()
}

fn lost(register: &Updates<'_>, update: &Update<'_>, finals: &[Seen<'_>]) -> Anomaly {
    let value = register.values.value(update.value);
    let message = format!(
        "{} of {} was lost: {} acknowledged it, none of {} after it has it{}, and no client that had seen it wrote anything else.",
        words::noun(update.op),
        words::key(register.keyed.key),
        words::answerer(update.op),
        words::plural(finals.len(), "final read"),
        words::replicas(finals.iter().map(|read| read.op)),
    );
    let reads = finals.iter().map(|read| read.op.index());
    let operations = reads.chain([update.op.index()]).collect();
    anomaly("lost-update", operations, message, &ADVICE)
        .with("key", words::key(register.keyed.key))
        .with("value", value.clone())
}

fn lost_element(
    keyed: &Keyed<'_>,
    value: &Value,
    add: &Op<'_>,
    finals: &[&Op<'_>],
    what: &str,
) -> Anomaly {
    let message = format!(
        "The {what} {value} of {} was lost: {} acknowledged {}, none of {} after it has it{}, and no client that had seen it took it away.",
        words::key(keyed.key),
        words::answerer(add),
        words::noun(add),
        words::plural(finals.len(), "final read"),
        words::replicas(finals.iter().copied()),
    );
    let reads = finals.iter().map(|read| read.index());
    let operations = reads.chain([add.index()]).collect();
    anomaly("lost-update", operations, message, &ADVICE)
        .with("key", words::key(keyed.key))
        .with("element", value.clone())
}

fn lost_run(text: &Runs<'_>, run: RunId, finals: &[usize]) -> Anomaly {
    let insert = text.all[run as usize].op;
    let part = finals.iter().any(|r| text.has_some(*r, run));
    let message = format!(
        "The run {} of {} was lost: {} acknowledged {}, none of {} after it has {}{}, and no delete covered it.",
        text.shown(run),
        words::key(text.keyed.key),
        words::answerer(insert),
        words::noun(insert),
        words::plural(finals.len(), "final read"),
        if part { "all of it" } else { "it" },
        words::replicas(finals.iter().map(|r| text.reads[*r].op)),
    );
    let reads = finals.iter().map(|r| text.reads[*r].op.index());
    let operations = reads.chain([insert.index()]).collect();
    anomaly("lost-update", operations, message, &ADVICE)
        .with("key", words::key(text.keyed.key))
        .with("run", text.all[run as usize].text)
}
