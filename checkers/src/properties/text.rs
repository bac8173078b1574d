//! `text`: all replicas show the same text in the end; nothing that was inserted and not deleted is missing, and its order never changes.
//!
//! The list specification of Attiya et al. 2016, on runs: what clients insert, and how a read says which runs are there, is in [`crate::runs`]. In
//! the end, after recovery: all texts are equal; an acknowledged run is there unless a delete covered it (`lost-update`, as in `lost-updates`); and none
//! is in every final read that a delete had surely covered. In every read: nothing that nobody inserted, no run twice, each run behind the one
//! that it was put behind, and any two runs in the order that other reads show ([`crate::run_order`]).
//!
//! In one piece: not every algorithm promises that for runs that were inserted at the same place by clients that knew nothing of each other, so
//! such are counted (`interleaved_concurrently`) and no violation (Kleppmann et al. 2019). A run is `interleaved` with one that its client had
//! seen, or that was inserted by a client that had seen it: no client asks for a place inside a run, so no algorithm puts it there.
//! Linear in the texts of all reads, but for a factor log n.

use super::lost_updates::{Check, NOT_RECOVERED};
use crate::findings::{Advice, Findings, anomaly};
use crate::run_order;
use crate::runs::{Delete, Reading, RunId, Runs};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Prepared, Property, Shape, words};
use schism_history::Op;
use std::collections::{BTreeMap, BTreeSet};

/// The property.
pub(super) struct Text;

const ADVICE_DIVERGED: Advice = Advice {
    cause: "A replica lacks edits that nothing brings it later, or replicas order concurrent edits differently (positions that shift, ties).",
    mend: "Give each letter an identity that never changes (a sequence type such as RGA or Yjs), and exchange edits until all have all.",
};
const ADVICE_BACK: Advice = Advice {
    cause: "A replica that had not seen the delete brought the run back: nothing (no tombstone) said that it was gone.",
    mend: "Keep what says that a letter is gone until every replica has it.",
};
const ADVICE_FALSE: Advice = Advice {
    cause: "An edit was applied twice (a retry), or one that had been definitely refused, or replicas merge bytes instead of letters.",
    mend: "Give each edit an identity and apply it once; refuse definitely only what can no longer take effect.",
};
const ADVICE_ORDER: Advice = Advice {
    cause: "Edits name places by an index, which means another place where a concurrent edit has shifted the text; or ties are broken differently.",
    mend: "Name places by the identity of the letter before them, and break ties by one rule that all replicas apply.",
};

impl Property for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn summary(&self) -> &'static str {
        "all replicas show the same text in the end, with every run that was not deleted, in one order"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Text)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut check = Check::default();
        let mut torn = 0;
        for (done, keyed) in history.keys_of(Shape::Text).enumerate() {
            if check.findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let text = Runs::new(history, keyed, budget);
            if check.findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let key = Key { text: &text };
            if text.unreadable.is_none() {
                torn += key.always(budget, &mut check.findings);
                key.order(budget, &mut check.findings);
            }
            if history.recovered() {
                check.text(&text, budget);
                key.finally(budget, &mut check.findings);
            } else {
                check.findings.doubt(|| NOT_RECOVERED.to_owned());
            }
        }
        check.findings.detail("interleaved_concurrently", torn);
        check.result()
    }
}

/// One text under judgement.
struct Key<'t, 'p> {
    text: &'t Runs<'p>,
}

impl Key<'_, '_> {
    fn insert(&self, run: RunId) -> &Op<'_> {
        self.text.all[run as usize].op
    }

    /// What must hold in every read. Returns how many runs are in pieces by runs that nobody knew of.
    fn always(&self, budget: &Budget<'_>, findings: &mut Findings) -> u64 {
        let mut concurrently: BTreeSet<RunId> = BTreeSet::new();
        let all = self.text.reads.len();
        for (done, reading) in self.text.reads.iter().enumerate() {
            let key = || words::key(self.text.keyed.key);
            if findings.out_of_time(budget, || {
                format!("after {done} of {all} reads of {}", key())
            }) {
                break;
            }
            findings.checked(1);
            if let Some(letter) = reading.stranger {
                findings.violate(|| self.stranger(reading, letter));
            } else if reading.opaque && !reading.op.is_final() {
                let noun = words::noun_short(reading.op);
                findings.doubt(|| {
                    format!(
                        "{noun} is not made of whole runs, so nobody knows which of them are there"
                    )
                });
            }
            self.unexpected(reading, budget, findings);
            for run in &reading.twice {
                findings.violate(|| self.twice(reading, *run));
            }
            self.misplaced(reading, budget, findings);
            for (run, inside) in budget.lasting(&reading.torn) {
                let known = |other: &&RunId| {
                    **other == *run
                        || self.text.knew(*run, **other)
                        || self.text.knew(**other, *run)
                };
                match inside.iter().find(known) {
                    Some(other) => findings.violate(|| self.interleaved(reading, *run, *other)),
                    None => {
                        concurrently.insert(*run);
                    }
                }
            }
        }
        concurrently.len() as u64
    }

    fn unexpected(&self, reading: &Reading<'_>, budget: &Budget<'_>, findings: &mut Findings) {
        let torn = reading.torn.iter().map(|(run, _)| run);
        let some = reading
            .whole
            .iter()
            .chain(&reading.partial)
            .chain(&reading.twice);
        for run in budget.lasting(some.chain(torn)) {
            let insert = &self.text.all[*run as usize];
            if insert.is_refused() || insert.op.start() > reading.op.end() {
                findings.violate(|| self.thin_air(reading, *run));
            }
        }
    }

    fn misplaced(&self, reading: &Reading<'_>, budget: &Budget<'_>, findings: &mut Findings) {
        let mut there: BTreeMap<RunId, usize> = BTreeMap::new();
        for (at, run) in budget.lasting(reading.whole.iter().enumerate()) {
            there.insert(*run, at);
        }
        for (run, at) in budget.lasting(&there) {
            let after = self.text.all[*run as usize].after;
            if let Some(after) = after.filter(|after| there.get(after).is_some_and(|a| a > at)) {
                findings.violate(|| self.before_its_anchor(reading, *run, after));
            }
        }
    }

    fn order(&self, budget: &Budget<'_>, findings: &mut Findings) {
        let order = run_order::order(self.text, budget);
        for (one, other, first, second) in &order.contradictions {
            findings.violate(|| self.reordered(*one, *other, *first, *second));
        }
        if let Some(read) = order.stopped_at {
            let noun = words::noun_short(self.text.reads[read].op);
            findings.doubt(|| format!("the time was up when the reads from {noun} on were to be compared: some of them may disagree on the order"));
        }
        if order.only_together {
            let key = words::key(self.text.keyed.key);
            findings.note(format!("no one order of the runs of {key} fits all reads together, though no two of them disagree"));
        }
    }

    /// What must hold in the end.
    fn finally(&self, budget: &Budget<'_>, findings: &mut Findings) {
        let late = || format!("at the end of {}", words::key(self.text.keyed.key));
        if findings.out_of_time(budget, late) {
            return;
        }
        self.equal(budget, findings);
        if self.text.unreadable.is_some() {
            return;
        }
        let mut first: BTreeMap<RunId, &Delete<'_>> = BTreeMap::new();
        let deletes = self.text.deletes.iter().filter(|d| d.op.is_ok());
        for delete in budget.lasting(deletes) {
            for run in &delete.covers {
                let known = first.entry(*run).or_insert(delete);
                if delete.op.end() < known.op.end() {
                    *known = delete;
                }
            }
        }
        if findings.out_of_time(budget, late) {
            return;
        }
        for (run, delete) in budget.lasting(first) {
            let finals = self.text.finals_after(delete.op);
            if !finals.is_empty() && finals.iter().all(|r| self.text.has_some(*r, run)) {
                findings.violate(|| self.came_back(run, delete, finals));
            }
        }
        findings.out_of_time(budget, late);
    }

    fn equal(&self, budget: &Budget<'_>, findings: &mut Findings) {
        let reads = &self.text.reads;
        let finals = self.text.finals();
        let Some((first, rest)) = finals.split_first() else {
            return;
        };
        let Some(other) = rest.iter().find(|r| reads[**r].text != reads[*first].text) else {
            return;
        };
        let (mut one, mut other) = (&reads[*first], &reads[*other]);
        let mut changes = self.text.changes.iter();
        let key = words::key(self.text.keyed.key);
        let late = changes.find(|op| op.end() >= one.op.start());
        let stays = late.and_then(|_| self.text.unexplained(one.op.start(), budget));
        if let Some((with, without)) = stays {
            (one, other) = (&reads[with], &reads[without]);
        } else if let Some(late) = late {
            findings.doubt(|| {
                let noun = words::noun(late);
                format!("replicas differ in {key}, and {noun} may have landed between the reads")
            });
            return;
        }
        findings.violate(|| {
            let message = format!(
                "Replicas show different texts of {key} in the end: {} has {} letters, and {} has {}{}.",
                words::noun_short(one.op),
                one.text.chars().count(),
                words::noun_short(other.op),
                other.text.chars().count(),
                self.example(one, other),
            );
            let operations = vec![one.op.index(), other.op.index()];
            self.anomaly("diverged", operations, message, &ADVICE_DIVERGED)
        });
    }

    /// A run that only one of two reads has.
    fn example(&self, one: &Reading<'_>, other: &Reading<'_>) -> String {
        let only = |a: &Reading<'_>, b: &Reading<'_>| {
            let there: BTreeSet<RunId> = b.whole.iter().copied().collect();
            a.whole.iter().find(|run| !there.contains(run)).copied()
        };
        match (only(one, other), only(other, one)) {
            (Some(run), _) => format!("; only the former has {}", self.text.shown(run)),
            (None, Some(run)) => format!("; only the latter has {}", self.text.shown(run)),
            (None, None) => "; the same runs in another order".to_owned(),
        }
    }

    fn stranger(&self, reading: &Reading<'_>, letter: char) -> Anomaly {
        let message = format!(
            "{letter:?} is in the text of {} that {} returned, and nobody ever inserted it.",
            words::key(self.text.keyed.key),
            words::noun_short(reading.op),
        );
        let operations = vec![reading.op.index()];
        self.anomaly("unexpected", operations, message, &ADVICE_FALSE)
    }

    fn thin_air(&self, reading: &Reading<'_>, run: RunId) -> Anomaly {
        let insert = &self.text.all[run as usize];
        let why = if insert.is_refused() {
            "was definitely refused"
        } else {
            "began only later"
        };
        let message = format!(
            "The run {} is in the text of {} that {} returned, and yet {} {why}.",
            self.text.shown(run),
            words::key(self.text.keyed.key),
            words::noun_short(reading.op),
            words::noun(insert.op),
        );
        let operations = vec![insert.op.index(), reading.op.index()];
        self.anomaly("unexpected", operations, message, &ADVICE_FALSE)
    }

    fn twice(&self, reading: &Reading<'_>, run: RunId) -> Anomaly {
        let message = format!(
            "The run {} is in the text of {} that {} returned more than once, all of it or a part.",
            self.text.shown(run),
            words::key(self.text.keyed.key),
            words::noun_short(reading.op),
        );
        let operations = vec![self.insert(run).index(), reading.op.index()];
        self.anomaly("duplicated", operations, message, &ADVICE_FALSE)
    }

    fn before_its_anchor(&self, reading: &Reading<'_>, run: RunId, after: RunId) -> Anomaly {
        let message = format!(
            "The run {} was put behind {} by {}, and stands before it in what {} returned.",
            self.text.shown(run),
            self.text.shown(after),
            words::noun(self.insert(run)),
            words::noun_short(reading.op),
        );
        let inserts = [run, after].map(|run| self.insert(run).index());
        let operations = inserts.into_iter().chain([reading.op.index()]).collect();
        self.anomaly("misplaced", operations, message, &ADVICE_ORDER)
    }

    fn interleaved(&self, reading: &Reading<'_>, run: RunId, other: RunId) -> Anomaly {
        let message = format!(
            "The run {} is in pieces in what {} returned, with {} inside it, and the clients did not insert them in ignorance of each other.",
            self.text.shown(run),
            words::noun_short(reading.op),
            self.text.shown(other),
        );
        let inserts = [run, other].map(|run| self.insert(run).index());
        let shows = self.text.witness(run, other).map(Op::index);
        let operations = inserts.into_iter().chain([reading.op.index()]).chain(shows);
        self.anomaly("interleaved", operations.collect(), message, &ADVICE_ORDER)
    }

    fn reordered(&self, one: usize, other: usize, first: RunId, second: RunId) -> Anomaly {
        let reads = [one, other].map(|r| self.text.reads[r].op);
        let message = format!(
            "{} shows {} before {}, and {} the other way round.",
            words::noun_short(reads[0]),
            self.text.shown(first),
            self.text.shown(second),
            words::noun_short(reads[1]),
        );
        let inserts = [first, second].map(|run| self.insert(run).index());
        let operations = inserts.into_iter().chain(reads.map(Op::index)).collect();
        self.anomaly("reordered", operations, message, &ADVICE_ORDER)
    }

    fn came_back(&self, run: RunId, delete: &Delete<'_>, finals: &[usize]) -> Anomaly {
        let message = format!(
            "The run {} of {} is in each of {} although {} had taken it away.",
            self.text.shown(run),
            words::key(self.text.keyed.key),
            words::plural(finals.len(), "final read"),
            words::noun(delete.op),
        );
        let inserts = [run, delete.from, delete.to].map(|run| self.insert(run).index());
        let view = delete.view.map(|r| self.text.reads[r].op.index());
        let finals = finals.iter().map(|r| self.text.reads[*r].op.index());
        let operations = inserts
            .into_iter()
            .chain([delete.op.index()])
            .chain(view)
            .chain(finals);
        self.anomaly(
            "deleted-and-there",
            operations.collect(),
            message,
            &ADVICE_BACK,
        )
    }

    fn anomaly(
        &self,
        name: &str,
        operations: Vec<u64>,
        message: String,
        advice: &Advice,
    ) -> Anomaly {
        anomaly(name, operations, message, advice).with("key", words::key(self.text.keyed.key))
    }
}
