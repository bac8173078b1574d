//! `long-fork`: no two reads of a group of keys see two writes in opposite orders.
//!
//! Sovran et al. 2011 (parallel snapshot isolation allows it, snapshot isolation does not); as Jepsen defines it: each key is written once, so
//! a read of a group of keys says of each whether it came before that key's write or after. Of two reads of one group, one must have
//! everything that the other has; else the first saw a write that the other missed, and the other way round. Sorted by how much they have,
//! each read must have what the one before it has: O(n log n) in what was read, instead of Jepsen's pairs. Transactions that read and
//! write are left out, as Jepsen does; reads of different groups are compared by `consistent-prefix`. Where a key was written more than once
//! the property does not fit.

use crate::findings::{Advice, Findings, anomaly};
use crate::fixed::FixedMap;
use crate::intern::{ABSENT, Interner, Val};
use crate::transactions::{Transactions, Txn, parts};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Prepared, Property, Shape};
use schism_history::Outcome;
use std::collections::{BTreeMap, BTreeSet};

/// The property.
pub(super) struct LongFork;

const ADVICE: Advice = Advice {
    cause: "Writes reach replicas (or sites) in different orders, and each answers reads from what it has.",
    mend: "Order all writes of a group by one log, and let every replica apply it in that order; under snapshot isolation take snapshots \
                    from one commit order, not one a site.",
};

impl Property for LongFork {
    fn name(&self) -> &'static str {
        "long-fork"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "of keys that are each written once, no two reads see two writes in opposite orders"
    }

    /// Keys that are each written once, and reads of several of them.
    fn fits(&self, history: &Prepared<'_>) -> bool {
        if !history.has(Shape::Transactions) {
            return false;
        }
        let (mut keys, mut written, mut groups) = (Interner::new(), Vec::new(), false);
        let txns = history
            .keys_of(Shape::Transactions)
            .flat_map(|keyed| &keyed.ops)
            .map(|&i| &history.ops[i]);
        for op in txns.filter(|op| op.outcome() != Outcome::Fail) {
            let parts = parts(op).unwrap_or_default();
            for write in parts.iter().filter(|part| part[0] != "r") {
                let key = keys.intern(&write[1]) as usize;
                written.resize(keys.len(), false);
                if write[0] == "append" || std::mem::replace(&mut written[key], true) {
                    return false;
                }
            }
            let only_reads = op.is_ok() && parts.iter().all(|part| part[0] == "r");
            groups |= only_reads && parts.iter().any(|part| part[1] != parts[0][1]);
        }
        groups
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let txns = Transactions::new(history, budget);
        if let Some(why) = &txns.strange {
            findings.doubt(|| why.clone());
        }
        if findings.out_of_time(budget, || "before all transactions were read".to_owned()) {
            return findings.result();
        }
        let writes = Writes::new(&txns, budget);
        let mut groups: BTreeMap<Vec<Val>, Vec<Seen>> = BTreeMap::new();
        let all = txns.all.len();
        for (number, txn) in txns.all.iter().enumerate() {
            if findings.out_of_time_after(budget, (number, all), || "transactions".to_owned()) {
                break;
            }
            let Some(group) = group(txn) else {
                continue;
            };
            findings.checked(1);
            match writes.seen_by(number, txn) {
                Some(seen) => groups.entry(group).or_default().push(seen),
                None => findings.doubt(|| {
                    format!(
                        "nobody had written what {} returned, or not once",
                        txns.noun(number)
                    )
                }),
            }
        }
        for reads in groups.values_mut() {
            reads.sort_by_key(|seen| (seen.keys.len(), seen.txn));
            for (done, pair) in reads.windows(2).enumerate() {
                if findings.out_of_time_after(budget, (done, reads.len()), || {
                    "reads of a group of keys".to_owned()
                }) {
                    break;
                }
                let missed = pair[0].keys.difference(&pair[1].keys).next();
                if let Some(missed) = missed {
                    findings.violate(|| forked(&txns, &writes, &pair[0], &pair[1], *missed));
                }
            }
        }
        findings.detail("groups", groups.len());
        findings.result()
    }
}

/// The keys of a transaction that only reads, if they are several.
fn group(txn: &Txn<'_>) -> Option<Vec<Val>> {
    let keys: BTreeSet<Val> = txn.reads.iter().map(|read| read.key).collect();
    (txn.writes.is_empty() && keys.len() > 1).then(|| keys.into_iter().collect())
}

/// The keys whose write a read saw.
struct Seen {
    txn: usize,
    keys: BTreeSet<Val>,
}

/// By key, the write and its transaction.
struct Writes<'p> {
    of: FixedMap<Val, (Val, usize)>,
    values: Interner<'p>,
}

impl<'p> Writes<'p> {
    /// Not all of them where the time is up.
    fn new(txns: &Transactions<'p>, budget: &Budget<'_>) -> Self {
        let mut writes = Self {
            of: FixedMap::new(),
            values: Interner::new(),
        };
        for (number, txn) in budget.lasting(txns.all.iter().enumerate()) {
            for write in &txn.writes {
                let value = writes.values.intern(write.value);
                writes.of.insert(write.key, (value, number));
            }
        }
        writes
    }

    /// Nothing where a read returned what nobody wrote, or two values of one key.
    fn seen_by(&self, number: usize, txn: &Txn<'p>) -> Option<Seen> {
        let (mut keys, mut absent) = (BTreeSet::new(), BTreeSet::new());
        for read in &txn.reads {
            let value = self.values.known(read.value)?;
            if value == ABSENT {
                absent.insert(read.key);
            } else if self
                .of
                .get(&read.key)
                .is_some_and(|(written, _)| *written == value)
            {
                keys.insert(read.key);
            } else {
                return None;
            }
        }
        keys.is_disjoint(&absent)
            .then_some(Seen { txn: number, keys })
    }
}

/// The first has what the second lacks, and has no more keys: then the second has something that the first lacks.
fn forked(
    txns: &Transactions<'_>,
    writes: &Writes<'_>,
    first: &Seen,
    second: &Seen,
    missed: Val,
) -> Anomaly {
    let other = second.keys.difference(&first.keys).next().copied();
    let other = other.unwrap_or(missed);
    let (a, b) = (txns.noun(first.txn), txns.noun(second.txn));
    let (x, y) = (txns.key(missed), txns.key(other));
    let message = format!(
        "{a} saw the write of {x} and not that of {y}, and {b} saw the write of {y} and not that of {x}: each says that the other's came later."
    );
    let written = [missed, other].map(|key| writes.of.get(&key).map(|(_, txn)| *txn));
    let involved = [first.txn, second.txn]
        .into_iter()
        .chain(written.into_iter().flatten());
    let operations = involved.map(|txn| txns.all[txn].op.index()).collect();
    anomaly("long-fork", operations, message, &ADVICE)
}
