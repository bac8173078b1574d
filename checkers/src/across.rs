//! Whether a replica that has a session's later write has what the session knew before it, where these are two registers.
//!
//! One register shows one version at a time, so the order between two versions shows only under two keys (Terry et al. 1994 say it of servers: who
//! has the later one has the earlier one). A session finds the later write at a node, then at the same node under another key something older than
//! what the writer knew, and then a write of the writer again that is not before the first: the node had the one and lacked the other. Without the third
//! read it may have lost both meanwhile, which is `lost-writes`. Replicas may differ, so other nodes prove nothing; final reads are left out. Older is
//! nothing at all, or what the same session had written and seen acknowledged before. A value that was written twice is no version.
//! Linear in the operations, times the sessions that read at a node.

use crate::findings::{Advice, Findings, anomaly};
use crate::register::{ABSENT, Action, Register};
use crate::verdict::Anomaly;
use crate::{Budget, Keyed, Prepared, Shape, words};
use schism_history::{NodeId, Op};
use std::collections::BTreeMap;

/// What a session's write drags along.
pub(crate) struct Across {
    /// What a violation is called.
    pub(crate) name: &'static str,
    pub(crate) advice: &'static Advice,
    /// What the session did with what is missing: `written`.
    pub(crate) verb: &'static str,
    /// Whether a session knows the version of such an operation once it has ended.
    pub(crate) knows: fn(&Action) -> bool,
}

/// A version of one key: the write that made it, or none for the initial state.
#[derive(Clone, Copy)]
struct Version<'p> {
    key: usize,
    write: Option<&'p Op<'p>>,
}

impl Version<'_> {
    /// Whether it is surely older than what another write of its key made.
    fn is_before(&self, newer: &Op<'_>) -> bool {
        self.write
            .is_none_or(|own| own.session() == newer.session() && own.precedes(newer))
    }
}

/// A version that a session knew from this operation on.
#[derive(Clone, Copy)]
struct Known<'p> {
    key: usize,
    write: &'p Op<'p>,
    by: &'p Op<'p>,
}

/// An answered read with what it returned.
#[derive(Clone, Copy)]
struct Shown<'p> {
    version: Version<'p>,
    read: &'p Op<'p>,
}

/// What a node must have, because it has shown a later write.
#[derive(Clone, Copy)]
struct Due<'p> {
    known: Known<'p>,
    shown: Shown<'p>,
    later: &'p Op<'p>,
}

/// A node that lacked what it must have, unless it had lost the later write, too.
struct Suspect<'p> {
    due: Due<'p>,
    lacks: Shown<'p>,
}

/// What one session has seen at one node.
#[derive(Default)]
struct View<'p> {
    /// By the session that writes: how much of what it knew is due.
    counted: BTreeMap<u64, usize>,
    /// By key, and by the session that wrote there: the newest that is due.
    due: BTreeMap<usize, BTreeMap<u64, Due<'p>>>,
    suspects: Vec<Suspect<'p>>,
}

/// All registers of a history.
#[derive(Default)]
struct Registers<'p> {
    /// By session, in order of time.
    known: BTreeMap<u64, Vec<Known<'p>>>,
    reads: Vec<Shown<'p>>,
}

impl Across {
    /// Checks all registers of the history together.
    pub(crate) fn check(
        &self,
        history: &Prepared<'_>,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) {
        let mut all = Registers::default();
        for (key, keyed) in history.keys_of(Shape::Register).enumerate() {
            if findings.out_of_time_at(budget, key, keyed) {
                return;
            }
            self.gather(history, (key, keyed), &mut all, budget);
        }
        all.sort();
        let mut views: BTreeMap<(u64, &NodeId), View<'_>> = BTreeMap::new();
        for (done, shown) in all.reads.iter().enumerate() {
            let reads = (done, all.reads.len());
            if findings.out_of_time_after(budget, reads, || "reads of all keys".to_owned()) {
                return;
            }
            if let (Some(session), Some(node)) = (shown.read.session(), words::node(shown.read)) {
                let view = views.entry((session, node)).or_default();
                for found in view.see(*shown, &all.known) {
                    findings.violate(|| self.said(&found, *shown));
                }
            }
        }
    }

    fn gather<'p>(
        &self,
        history: &'p Prepared<'_>,
        (key, keyed): (usize, &Keyed<'_>),
        all: &mut Registers<'p>,
        budget: &Budget<'_>,
    ) {
        let register = Register::new(history, keyed, budget);
        let writers = register.writers();
        let mut writes: Vec<Option<&Op<'_>>> = vec![None; writers.len()];
        for op in budget.lasting(&register.ops) {
            if let Some(value) = op.action.writes() {
                writes[value as usize] = Some(history.op(op));
            }
        }
        for reg in budget.lasting(&register.ops) {
            let (Action::Read(value) | Action::Write(value) | Action::Cas(_, value)) = reg.action
            else {
                continue;
            };
            let write = writes[value as usize];
            // Nobody may have written nothing, and one must have written anything else.
            if writers[value as usize] != u32::from(value != ABSENT) || !reg.certain() {
                continue;
            }
            let op = history.op(reg);
            if let Action::Read(_) = reg.action {
                let version = Version { key, write };
                all.reads.push(Shown { version, read: op });
            }
            if let (Some(write), Some(session)) = (write, op.session())
                && (self.knows)(&reg.action)
            {
                let known = Known { key, write, by: op };
                all.known.entry(session).or_default().push(known);
            }
        }
    }

    fn said(&self, suspect: &Suspect<'_>, again: Shown<'_>) -> Anomaly {
        let Suspect { due, lacks } = suspect;
        let missing = due.known.write;
        let key = words::key(missing.key());
        let noun = |op: &Op<'_>| words::noun_on(op, &words::key(op.key()));
        let message = format!(
            "{} shows what {} wrote after it had {} {} on {key}, and then {} lacks that, with the former still there in {}.",
            noun(due.shown.read),
            session_of(due.later),
            self.verb,
            words::value(missing.argument()),
            noun(lacks.read),
            noun(again.read),
        );
        let reads = [due.shown.read, lacks.read, again.read, due.known.by];
        let writes = [
            Some(due.later),
            Some(missing),
            lacks.version.write,
            again.version.write,
        ];
        let all = reads.into_iter().chain(writes.into_iter().flatten());
        anomaly(
            self.name,
            all.map(Op::index).collect(),
            message,
            self.advice,
        )
        .with("key", key)
        .with("missing", missing.argument().clone())
    }
}

/// The session of a write, in words.
fn session_of(write: &Op<'_>) -> String {
    write
        .session()
        .map_or_else(|| "its writer".to_owned(), |n| format!("session {n}"))
}

impl Registers<'_> {
    /// In order of time.
    fn sort(&mut self) {
        let ended = |op: &Op<'_>| (op.end(), op.index());
        for known in self.known.values_mut() {
            known.sort_by_key(|known| ended(known.by));
        }
        self.reads.sort_by_key(|shown| ended(shown.read));
    }
}

impl<'p> View<'p> {
    /// Takes the next read; answers what it makes sure.
    fn see(&mut self, shown: Shown<'p>, known: &BTreeMap<u64, Vec<Known<'p>>>) -> Vec<Suspect<'p>> {
        self.suspect(shown);
        let Some(later) = shown.version.write else {
            return Vec::new();
        };
        let sure = |suspect: &mut Suspect<'p>| {
            let before = suspect.due.later;
            let still = later.session() == before.session() && later.start() >= before.start();
            still && suspect.lacks.read.precedes(shown.read)
        };
        let sure = self.suspects.extract_if(.., sure).collect();
        self.demand_all(shown, later, known);
        sure
    }

    /// What the session of a write had known before is due from now on.
    fn demand_all(
        &mut self,
        shown: Shown<'p>,
        later: &'p Op<'p>,
        known: &BTreeMap<u64, Vec<Known<'p>>>,
    ) {
        let of = later.session().and_then(|n| Some((n, known.get(&n)?)));
        let Some((session, of)) = of else {
            return;
        };
        let end = of.partition_point(|known| known.by.end() < later.start());
        let counted = self.counted.entry(session).or_default();
        let begin = std::mem::replace(counted, end.max(*counted));
        for known in of.get(begin..end).into_iter().flatten() {
            if known.key != shown.version.key {
                self.demand(Due {
                    known: *known,
                    shown,
                    later,
                });
            }
        }
    }

    /// Keeps the newest of each writer.
    fn demand(&mut self, due: Due<'p>) {
        let Some(by) = due.known.write.session() else {
            return;
        };
        let of = self.due.entry(due.known.key).or_default();
        let newest = of.entry(by).or_insert(due);
        if due.known.write.start() > newest.known.write.start() {
            *newest = due;
        }
    }

    fn suspect(&mut self, lacks: Shown<'p>) {
        let of = self.due.get(&lacks.version.key).into_iter();
        let missed = of.flat_map(BTreeMap::values).find(|due| {
            let late = due.shown.read.precedes(lacks.read);
            late && lacks.version.is_before(due.known.write)
        });
        // The first of each key is the one that is made sure the soonest.
        let key = |suspect: &Suspect<'_>| suspect.lacks.version.key;
        let suspected = self.suspects.iter().any(|s| key(s) == lacks.version.key);
        if let Some(due) = missed.copied().filter(|_| !suspected) {
            self.suspects.push(Suspect { due, lacks });
        }
    }
}
