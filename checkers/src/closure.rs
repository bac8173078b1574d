//! Whether who has an element of a growing set has what its session knew before adding it.
//!
//! Terry et al. 1994 say of a server: if it has a write, it has those that came before it in the writer's session. A set that only grows
//! shows in each read what the server has. An element that may have been added more than once proves nothing unless every
//! such add had something before it that is missing. Linear in the elements of all reads, times the sessions that wrote them.

use crate::findings::{Advice, Findings, anomaly};
use crate::intern::{Interner, Val};
use crate::verdict::Anomaly;
use crate::{Budget, Keyed, Prepared, Shape, words};
use schism_history::{Op, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a session's add drags along.
pub(crate) struct Closure {
    /// What a violation is called.
    pub(crate) name: &'static str,
    pub(crate) advice: &'static Advice,
    /// What the session did with the element that is missing: `added`.
    pub(crate) verb: &'static str,
    /// The elements that the session knows after an operation.
    pub(crate) elements: for<'h> fn(&Op<'h>) -> &'h [Value],
}

/// An element that a session knew from this operation on.
#[derive(Clone, Copy)]
struct Known<'p> {
    element: Val,
    by: &'p Op<'p>,
}

/// One set: who may have added what, and what sessions knew, each in order of time.
struct Growing<'p> {
    values: Interner<'p>,
    /// By element, the adds that may have happened.
    adds: Vec<Vec<&'p Op<'p>>>,
    known: BTreeMap<u64, Vec<Known<'p>>>,
}

/// An add that some read shows, and what it lacks that the adding session had known.
type Lack<'p> = (&'p Op<'p>, Known<'p>);

impl Closure {
    /// Checks every growing set of the history.
    pub(crate) fn check(
        &self,
        history: &Prepared<'_>,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) {
        for (done, keyed) in history.keys_of(Shape::Set).enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                return;
            }
            let mut set = Growing::new(history, keyed, budget);
            self.learn(history, keyed, &mut set, budget);
            let all = reads(history, keyed).count();
            // By element, the last read that has it.
            let mut seen: Vec<usize> = vec![usize::MAX; set.values.len()];
            for (done, (place, read)) in reads(history, keyed).enumerate() {
                let key = || words::key(keyed.key);
                if findings.out_of_time(budget, || {
                    format!("after {done} of {all} reads of {}", key())
                }) {
                    return;
                }
                findings.checked(1);
                let elements = budget.lasting(list(read));
                let elements: Vec<Val> = elements.map(|e| set.values.intern(e)).collect();
                if findings.out_of_time(budget, || format!("in a read of {}", key())) {
                    return;
                }
                seen.resize(set.values.len(), usize::MAX);
                for element in &elements {
                    seen[*element as usize] = place;
                }
                let has = |element: Val| seen[element as usize] == place;
                if let Some(lacks) = set.lacks(read, &elements, &has) {
                    findings.violate(|| self.said(keyed, &set, read, &lacks));
                }
            }
        }
    }

    fn learn<'p>(
        &self,
        history: &'p Prepared<'_>,
        keyed: &Keyed<'_>,
        set: &mut Growing<'p>,
        budget: &Budget<'_>,
    ) {
        let mut ops: Vec<&Op<'_>> = keyed.ops.iter().map(|&i| &history.ops[i]).collect();
        ops.sort_by_cached_key(|op| (op.end(), op.index()));
        let mut learnt: BTreeMap<u64, Vec<bool>> = BTreeMap::new();
        for op in budget.lasting(ops) {
            let Some(session) = op.session() else {
                continue;
            };
            let learnt = learnt.entry(session).or_default();
            for value in budget.lasting((self.elements)(op)) {
                let element = set.values.intern(value);
                set.adds.resize(set.values.len(), Vec::new());
                let begun = |add: &&Op<'_>| add.start() <= op.end();
                learnt.resize(set.values.len().max(learnt.len()), false);
                if learnt[element as usize] {
                    continue;
                }
                let real = set.adds[element as usize].iter().any(begun);
                if real {
                    learnt[element as usize] = true;
                    let known = set.known.entry(session).or_default();
                    known.push(Known { element, by: op });
                }
            }
        }
    }

    fn said(
        &self,
        keyed: &Keyed<'_>,
        set: &Growing<'_>,
        read: &Op<'_>,
        lacks: &[Lack<'_>],
    ) -> Anomaly {
        let (add, known) = lacks[0];
        let missing = set.values.value(known.element);
        let message = format!(
            "{} of {} has {} and lacks {missing}, which the session that added the former had {} before: {} came before {}.",
            words::noun_short(read),
            words::key(keyed.key),
            add.argument(),
            self.verb,
            words::noun_short(known.by),
            words::noun(add),
        );
        let mut operations = vec![read.index()];
        for (add, known) in lacks {
            operations.extend([add.index(), known.by.index()]);
            let adds = &set.adds[known.element as usize];
            operations.extend(adds.first().map(|op| op.index()));
        }
        anomaly(self.name, operations, message, self.advice)
            .with("key", words::key(keyed.key))
            .with("element", add.argument().clone())
            .with("missing", missing.clone())
    }
}

impl<'p> Growing<'p> {
    /// Not all of it where the time is up.
    fn new(history: &'p Prepared<'_>, keyed: &Keyed<'_>, budget: &Budget<'_>) -> Self {
        let mut set = Self {
            values: Interner::new(),
            adds: Vec::new(),
            known: BTreeMap::new(),
        };
        let ops = keyed.ops.iter().map(|&i| &history.ops[i]);
        let adds = ops.filter(|op| op.f() == "add" && op.outcome() != Outcome::Fail);
        for op in budget.lasting(adds) {
            let element = set.values.intern(op.argument()) as usize;
            set.adds.resize(set.values.len(), Vec::new());
            set.adds[element].push(op);
        }
        set
    }

    /// Why a read cannot be what a server has: for each add that may have put one of its elements there, something that came before it.
    fn lacks(
        &self,
        read: &Op<'_>,
        elements: &[Val],
        has: &impl Fn(Val) -> bool,
    ) -> Option<Vec<Lack<'p>>> {
        let mut gaps: BTreeMap<u64, Option<Known<'p>>> = BTreeMap::new();
        elements.iter().find_map(|element| {
            let adds = self.adds.get(*element as usize)?;
            let begun = adds.iter().filter(|add| add.start() <= read.end());
            let lacks = begun.map(|add| {
                let session = add.session()?;
                let gap = gaps
                    .entry(session)
                    .or_insert_with(|| self.gap(session, has));
                gap.filter(|known| known.by.end() < add.start())
                    .map(|known| (*add, known))
            });
            let lacks: Vec<Lack<'_>> = lacks.collect::<Option<_>>()?;
            (!lacks.is_empty()).then_some(lacks)
        })
    }

    /// The first thing that a session knew and that is not there: as many steps as there are elements, at most.
    fn gap(&self, session: u64, has: &impl Fn(Val) -> bool) -> Option<Known<'p>> {
        let known = self.known.get(&session)?;
        known.iter().find(|known| !has(known.element)).copied()
    }
}

/// The answered reads, those of replicas' own states included, with a number each.
fn reads<'p>(
    history: &'p Prepared<'_>,
    keyed: &'p Keyed<'_>,
) -> impl Iterator<Item = (usize, &'p Op<'p>)> {
    let ops = keyed.ops.iter().map(|&i| (i, &history.ops[i]));
    ops.filter(|(_, op)| op.f() == "read" && op.is_ok())
}

fn list<'p>(read: &'p Op<'_>) -> impl Iterator<Item = &'p Value> {
    let list = read.result().and_then(Value::as_array);
    list.into_iter().flatten()
}
