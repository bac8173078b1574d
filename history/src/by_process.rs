//! Something for each process: a table for the small numbers that clients have, a map for any other.

use std::collections::BTreeMap;

/// Numbers below this have a place in the table.
const TABLE_MAX: u64 = 1 << 22;

/// What is known of each process.
#[derive(Debug)]
pub(crate) struct ByProcess<T> {
    table: Vec<Option<T>>,
    others: BTreeMap<u64, T>,
}

impl<T> ByProcess<T> {
    pub(crate) fn new() -> Self {
        Self {
            table: Vec::new(),
            others: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, process: u64) -> Option<&T> {
        if process < TABLE_MAX {
            self.table.get(process as usize)?.as_ref()
        } else {
            self.others.get(&process)
        }
    }

    pub(crate) fn insert(&mut self, process: u64, value: T) {
        if process >= TABLE_MAX {
            self.others.insert(process, value);
            return;
        }
        let place = process as usize;
        if self.table.len() <= place {
            self.table.resize_with(place + 1, || None);
        }
        self.table[place] = Some(value);
    }

    pub(crate) fn remove(&mut self, process: u64) -> Option<T> {
        if process < TABLE_MAX {
            self.table.get_mut(process as usize)?.take()
        } else {
            self.others.remove(&process)
        }
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.table
            .into_iter()
            .flatten()
            .chain(self.others.into_values())
    }
}
