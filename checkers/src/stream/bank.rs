//! `bank`: every read against the first one, or against what was declared. The few reads that tell the verdict are collected: some that differ, some that are
//! negative or strange, and the first ones.

use super::keys::Keys;
use super::{Again, Finish, Fold, Part};
use crate::properties::bank::{self, Negative};
use crate::verdict::{ANOMALIES_LISTED, Decision, PropertyResult};
use crate::{Prepared, Shape, words};
use schism_history::Op;
use std::collections::BTreeSet;

/// What a key's reads are held against.
#[derive(Default)]
struct Key {
    first: Option<(BTreeSet<String>, i128)>,
    reads: u64,
    different: u64,
    strange: u64,
    negative: u64,
    may_be_negative: Rule,
    /// Which kinds of transfers were seen, as bits.
    transfers: u64,
    /// Those to be looked at again.
    wanted: BTreeSet<u64>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Rule {
    #[default]
    Unknown,
    Forbidden,
    Allowed,
}

/// All reads of all accounts.
pub(crate) struct Balances<'s> {
    keys: Keys<'s, Key>,
    names: Option<BTreeSet<String>>,
    total: Option<i128>,
    least_most: Option<(i128, i128)>,
}

impl<'s> Balances<'s> {
    pub(crate) fn new(survey: &'s Prepared<'_>) -> Self {
        let mut keys: Keys<'s, Key> = Keys::new(survey, Shape::Bank);
        for keyed in survey.keys_of(Shape::Bank) {
            if let Some(key) = keys.get_mut(keyed.key) {
                key.may_be_negative = match bank::negative(survey, keyed) {
                    Negative::Allowed => Rule::Allowed,
                    Negative::Forbidden(_) => Rule::Forbidden,
                    Negative::Unknown => Rule::Unknown,
                };
            }
        }
        Self {
            keys,
            names: bank::declared_accounts(survey).map(|names| names.into_iter().collect()),
            total: bank::declared(survey, "total").and_then(words::whole),
            least_most: None,
        }
    }
}

impl Key {
    fn read(
        &mut self,
        op: &Op<'_>,
        declared: (Option<&BTreeSet<String>>, Option<i128>),
    ) -> Option<i128> {
        let Ok(read) = bank::Balances::new(op) else {
            self.strange += 1;
            self.want(op, self.strange);
            return None;
        };
        self.reads += 1;
        if self.reads <= 2 {
            self.wanted.insert(op.index());
        }
        let (accounts, total) = self.first.get_or_insert_with(|| {
            let names = read.accounts.iter().map(|&name| name.to_owned());
            (names.collect(), read.total)
        });
        let accounts = declared.0.unwrap_or(accounts);
        let same = accounts.len() == read.accounts.len()
            && accounts.iter().all(|a| read.accounts.contains(a.as_str()))
            && declared.1.unwrap_or(*total) == read.total;
        let negative = read.negative.is_some();
        self.negative += u64::from(negative);
        if !same || (negative && self.may_be_negative == Rule::Forbidden) {
            self.different += 1;
            self.want(op, self.different);
        } else if negative {
            self.want(op, self.negative);
        }
        Some(read.total)
    }

    /// The first ones are enough.
    fn want(&mut self, op: &Op<'_>, so_many: u64) {
        if so_many <= ANOMALIES_LISTED as u64 {
            self.wanted.insert(op.index());
        }
    }
}

fn refused(op: &Op<'_>) -> bool {
    let kind = op.completion.and_then(|c| c.error_kind());
    kind == Some("insufficient-funds")
}

impl<'s> Fold<'s> for Balances<'s> {
    fn ended(&mut self, op: &Op<'_>) {
        let declared = (self.names.as_ref(), self.total);
        let Some(key) = self.keys.get_mut(op.key()) else {
            return;
        };
        if op.f() == "read" && op.is_ok() {
            if let Some(total) = key.read(op, declared) {
                let (least, most) = self.least_most.unwrap_or((total, total));
                self.least_most = Some((least.min(total), most.max(total)));
            }
        } else if op.f() == "transfer" {
            // One shows that it is a bank, one that it keeps to a rule.
            let bit = if refused(op) { 2 } else { 4 };
            if key.transfers & bit == 0 {
                key.transfers |= bit;
                key.wanted.insert(op.index());
            }
        }
    }

    fn finish(self: Box<Self>) -> Finish<'s> {
        let all = || self.keys.all.iter().map(|(_, key)| key);
        let mut result = PropertyResult {
            verdict: Decision::Holds,
            checked: all().map(|key| key.reads).sum(),
            ..PropertyResult::unknown("")
        };
        if let Some((least, most)) = self.least_most {
            result
                .details
                .insert("lowest_total".into(), words::figure(least));
            result
                .details
                .insert("highest_total".into(), words::figure(most));
        }
        let negative: u64 = all().map(|key| key.negative).sum();
        result
            .details
            .insert("negative_reads".into(), negative.into());
        let different = all().map(|key| key.different).sum();
        let parts = all().map(|_| Part {
            what: "the reads that tell the verdict".to_owned(),
            sure: None,
        });
        let parts = parts.collect();
        let keys = self.keys;
        let select = move |op: &Op<'_>| {
            let number = keys.number(op.key())?;
            keys.all[number]
                .1
                .wanted
                .contains(&op.index())
                .then_some(number)
        };
        Finish {
            result,
            count: (different > 0).then_some(different),
            again: Some(Again {
                select: Box::new(select),
                parts,
            }),
        }
    }
}
