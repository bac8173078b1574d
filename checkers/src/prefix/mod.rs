//! Whether transactions read prefixes of one order of the writes: what is known of each key, what that says of the order ([`graph`]), and a search
//! where it leaves something open ([`search`]), and what of a contradiction without a cycle is enough for it ([`core`]).

pub(crate) mod core;
pub(crate) mod graph;
pub(crate) mod search;

use crate::Budget;
use crate::findings::Advice;
use crate::fixed::FixedMap;
use crate::intern::{Interner, Val};
use crate::transactions::{Read, Transactions};

/// What to say of every anomaly.
pub(crate) const ADVICE: Advice = Advice {
    cause: "Partitions or replicas with different lag answer one transaction, or changes are applied one by one.",
    mend: "Let replicas apply one log in its order, a transaction at a time, and answer all reads of a transaction from one snapshot.",
};

/// A write: its transaction and its value.
pub(crate) type Written = (usize, Val);

/// What is known of one key.
#[derive(Default)]
pub(crate) struct Key<'p> {
    pub(crate) is_list: bool,
    pub(crate) is_register: bool,
    /// Two writes that may have happened put the same value there.
    pub(crate) repeated: bool,
    /// By invocation; those that happened.
    pub(crate) writes: Vec<Written>,
    /// Reads with their transactions.
    pub(crate) reads: Vec<(usize, Read<'p>)>,
}

impl Key<'_> {
    /// Whether one session alone wrote it, one transaction after another.
    pub(crate) fn is_ordered(&self, txns: &Transactions<'_>) -> bool {
        self.writes.windows(2).all(|pair| {
            let (first, second) = (pair[0].0, pair[1].0);
            let (a, b) = (txns.all[first].op, txns.all[second].op);
            first == second || (a.session() == b.session() && a.precedes(b))
        })
    }

    /// Whether no two of its writes overlap in time.
    pub(crate) fn is_ordered_in_time(&self, txns: &Transactions<'_>) -> bool {
        self.writes.windows(2).all(|pair| {
            let (first, second) = (pair[0].0, pair[1].0);
            first == second || txns.all[first].op.precedes(txns.all[second].op)
        })
    }
}

/// What is known of all of them.
pub(crate) struct Keys<'p> {
    /// By the key's number.
    pub(crate) all: Vec<Key<'p>>,
    pub(crate) values: Interner<'p>,
    /// Who may have written a value under a key.
    writers: FixedMap<(Val, Val), usize>,
    /// By transaction, whether its writes happened.
    pub(crate) happened: Vec<bool>,
}

impl<'p> Keys<'p> {
    pub(crate) fn new(txns: &Transactions<'p>) -> Self {
        let mut keys = Self {
            all: (0..txns.keys.len()).map(|_| Key::default()).collect(),
            values: Interner::new(),
            writers: FixedMap::new(),
            happened: txns.all.iter().map(|txn| txn.op.is_ok()).collect(),
        };
        for (number, txn) in txns.all.iter().enumerate() {
            for write in &txn.writes {
                let value = keys.values.intern(write.value);
                let key = &mut keys.all[write.key as usize];
                key.is_list |= write.append;
                key.is_register |= !write.append;
                key.writes.push((number, value));
                key.repeated |= keys.writers.insert((write.key, value), number).is_some();
            }
        }
        for (number, txn) in txns.all.iter().enumerate() {
            for read in &txn.reads {
                let key = &mut keys.all[read.key as usize];
                key.is_list |= read.value.is_array() && !key.is_register;
                key.reads.push((number, *read));
            }
        }
        keys
    }

    /// Finds out which writes of unknown outcome happened, and forgets the others; not of all where the time is up.
    pub(crate) fn observe(&mut self, txns: &Transactions<'p>, budget: &Budget<'_>) {
        for read in txns.all.iter().flat_map(|txn| &txn.reads) {
            if budget.is_exhausted() {
                return;
            }
            let is_list = self.all[read.key as usize].is_list;
            let seen = if is_list {
                read.list()
            } else {
                std::slice::from_ref(read.value)
            };
            for value in seen {
                let value = self.values.intern(value);
                if let Some(writer) = self.writers.get(&(read.key, value)) {
                    self.happened[*writer] = true;
                }
            }
        }
        for key in &mut self.all {
            key.writes.retain(|(txn, _)| self.happened[*txn]);
        }
    }

    pub(crate) fn writer(&self, key: Val, value: Val) -> Option<usize> {
        self.writers.get(&(key, value)).copied()
    }
}
