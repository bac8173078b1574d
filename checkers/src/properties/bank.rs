//! `bank`: transfers move money and neither make nor destroy any.
//!
//! As Jepsen defines it: every read of all accounts has the same accounts and the same total, whatever transfers are in flight. Which total
//! is right, the driver may declare (an event `bank` of the nemesis with `total`, `accounts`, `negative`, each of them optional);
//! else the first read says it, and two reads that differ are a proof in any case. A negative balance is wrong if the driver declared
//! `"negative": false`, or if the bank refused a transfer with the error kind `insufficient-funds`, which says that it keeps to that; it is
//! right if `true` was declared; else it is `unknown`. O(n log n) in the balances that were read.

use crate::findings::{Advice, Findings, anomaly};
use crate::stream::{Balances as Watch, Fold};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Outcome};
use serde_json::Value;
use std::collections::BTreeSet;

/// The property.
pub(super) struct Bank;

pub(crate) const ADVICE: Advice = Advice {
    cause: "A transfer's two changes were not atomic, or a read saw one account before a transfer and the other after it.",
    mend: "Make a transfer one transaction that is isolated from others and from reads (snapshot isolation with a check of what it had \
                    read, or one leader that orders all), and read all accounts from one snapshot.",
};
const ADVICE_NEGATIVE: Advice = Advice {
    cause: "Two transfers read the same balance, and both withdrew from it.",
    mend: "Check the balance inside the transaction that changes it, under serializable isolation or a lock: two transfers that \
                             read the same balance must not both succeed (write skew, lost update).",
};

impl Property for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "every read of all accounts has the same accounts and the same total"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Bank)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        for (done, keyed) in history.keys_of(Shape::Bank).enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            check_key(history, keyed, &mut findings, budget);
        }
        findings.result()
    }

    fn stream<'s>(&self, survey: &'s Prepared<'_>) -> Option<Box<dyn Fold<'s> + 's>> {
        Some(Box::new(Watch::new(survey)))
    }
}

/// One read of all accounts.
pub(crate) struct Balances<'p> {
    op: &'p Op<'p>,
    pub(crate) accounts: BTreeSet<&'p str>,
    pub(crate) total: i128,
    pub(crate) negative: Option<(&'p str, i128)>,
}

impl<'p> Balances<'p> {
    /// An account without a balance is not there.
    pub(crate) fn new(op: &'p Op<'p>) -> Result<Self, String> {
        let mut balances = Self {
            op,
            accounts: BTreeSet::new(),
            total: 0,
            negative: None,
        };
        let strange = || format!("{} is of no accounts with whole numbers", words::noun(op));
        let accounts = match op.result() {
            Some(Value::Object(accounts)) => accounts,
            Some(Value::Null) => return Ok(balances),
            _ => return Err(strange()),
        };
        for (account, balance) in accounts.iter().filter(|(_, balance)| !balance.is_null()) {
            let balance = words::whole(balance).ok_or_else(strange)?;
            balances.accounts.insert(account);
            balances.total += balance;
            if balance < 0 {
                balances.negative = balances.negative.or(Some((account, balance)));
            }
        }
        Ok(balances)
    }
}

/// What every read must say. Where it was not declared, the first read says it.
struct Expected<'p> {
    accounts: BTreeSet<&'p str>,
    accounts_by: Option<&'p Op<'p>>,
    total: i128,
    total_by: Option<&'p Op<'p>>,
}

/// Whether balances may be negative.
#[derive(Clone, Copy)]
pub(crate) enum Negative<'p> {
    Allowed,
    /// By declaration, or because this transfer was refused.
    Forbidden(Option<&'p Op<'p>>),
    Unknown,
}

fn check_key<'p>(
    history: &'p Prepared<'_>,
    keyed: &Keyed<'_>,
    findings: &mut Findings,
    budget: &Budget<'_>,
) {
    let mut reads: Vec<Balances<'p>> = Vec::new();
    let all = keyed.ops.len();
    for (done, op) in keyed.ops.iter().map(|&i| &history.ops[i]).enumerate() {
        let what = || format!("operations of {}", words::key(keyed.key));
        if findings.out_of_time_after(budget, (done, all), what) {
            return;
        }
        if op.f() == "read" && op.is_ok() {
            match Balances::new(op) {
                Ok(balances) => reads.push(balances),
                Err(why) => findings.doubt(|| why),
            }
        }
    }
    findings.checked(reads.len());
    let Some(first) = reads.first() else {
        findings.doubt(|| "no read was answered".to_owned());
        return;
    };
    let names = declared_accounts(history);
    let expected = expected(history, names.as_deref(), first);
    if reads.len() == 1 && expected.total_by.is_some() {
        findings.doubt(|| "there is one read, and nothing to compare its total with".to_owned());
    }
    let negative = negative(history, keyed);
    for (done, read) in reads.iter().enumerate() {
        let what = || format!("reads of {}", words::key(keyed.key));
        if findings.out_of_time_after(budget, (done, reads.len()), what) {
            return;
        }
        if let Some(anomaly) = wrong(&expected, read).or_else(|| overdrawn(negative, read)) {
            findings.violate(|| anomaly);
        } else if let (Some((account, _)), Negative::Unknown) = (read.negative, negative) {
            let noun = words::noun_short(read.op);
            findings.doubt(|| {
                format!("{account} is negative in {noun}, and nothing says whether it may be")
            });
        }
    }
    figures(&reads, findings);
}

pub(crate) fn declared<'p>(history: &'p Prepared<'_>, field: &str) -> Option<&'p Value> {
    let value = history.driver.bank.map(|event| &event.value[field]);
    value.filter(|value| !value.is_null())
}

pub(crate) fn declared_accounts(history: &Prepared<'_>) -> Option<Vec<String>> {
    let name = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let list = declared(history, "accounts").and_then(Value::as_array)?;
    Some(list.iter().map(name).collect())
}

fn expected<'p>(
    history: &Prepared<'_>,
    names: Option<&'p [String]>,
    first: &Balances<'p>,
) -> Expected<'p> {
    let total = declared(history, "total").and_then(words::whole);
    let declared = names.map(|names| names.iter().map(String::as_str));
    Expected {
        accounts_by: declared.is_none().then_some(first.op),
        accounts: declared.map_or_else(|| first.accounts.clone(), Iterator::collect),
        total_by: total.is_none().then_some(first.op),
        total: total.unwrap_or(first.total),
    }
}

pub(crate) fn negative<'p>(history: &'p Prepared<'_>, keyed: &Keyed<'_>) -> Negative<'p> {
    match declared(history, "negative").and_then(Value::as_bool) {
        Some(true) => return Negative::Allowed,
        Some(false) => return Negative::Forbidden(None),
        None => {}
    }
    let refused = |op: &&Op<'_>| {
        let kind = op.completion.and_then(|c| c.error_kind());
        op.outcome() == Outcome::Fail && kind == Some("insufficient-funds")
    };
    let refusal = keyed.ops.iter().map(|&i| &history.ops[i]).find(refused);
    refusal.map_or(Negative::Unknown, |op| Negative::Forbidden(Some(op)))
}

/// Other accounts than expected, or another total.
fn wrong(expected: &Expected<'_>, read: &Balances<'_>) -> Option<Anomaly> {
    let noun = words::noun_short(read.op);
    let said = |by: Option<&Op<'_>>| by.map_or_else(|| "as declared".to_owned(), words::noun_short);
    let missing = expected.accounts.difference(&read.accounts).next();
    let strange = read.accounts.difference(&expected.accounts).next();
    let (name, by, message) = if let Some(account) = missing {
        let by = expected.accounts_by;
        let message = format!(
            "Account {account} is missing in {noun}; it was there before: {}.",
            said(by)
        );
        ("account-missing", by, message)
    } else if let Some(account) = strange {
        let by = expected.accounts_by;
        let message = format!(
            "Account {account} is in {noun}, and was not there before: {}.",
            said(by)
        );
        ("account-unexpected", by, message)
    } else if read.total != expected.total {
        let by = expected.total_by;
        let (total, right) = (read.total, expected.total);
        let message = format!(
            "The accounts add up to {total} in {noun}, and to {right} before: {}.",
            said(by)
        );
        ("wrong-total", by, message)
    } else {
        return None;
    };
    let operations = by.iter().map(|op| op.index()).chain([read.op.index()]);
    let anomaly = anomaly(name, operations.collect(), message, &ADVICE);
    Some(anomaly.with("total", words::figure(read.total)))
}

fn overdrawn(negative: Negative<'_>, read: &Balances<'_>) -> Option<Anomaly> {
    let (Negative::Forbidden(refusal), Some((account, balance))) = (negative, read.negative) else {
        return None;
    };
    let rule = refusal.map_or_else(
        || "no balance may be negative, as declared".to_owned(),
        |op| format!("the bank refused {} for want of funds", words::noun(op)),
    );
    let noun = words::noun_short(read.op);
    let message = format!("Account {account} holds {balance} in {noun}, and {rule}.");
    let operations = refusal.iter().map(|op| op.index()).chain([read.op.index()]);
    Some(anomaly(
        "negative-balance",
        operations.collect(),
        message,
        &ADVICE_NEGATIVE,
    ))
}

fn figures(reads: &[Balances<'_>], findings: &mut Findings) {
    let totals = || reads.iter().map(|read| read.total);
    for (name, total) in [
        ("lowest_total", totals().min()),
        ("highest_total", totals().max()),
    ] {
        if let Some(total) = total {
            findings.detail(name, words::figure(total));
        }
    }
    let negative = reads.iter().filter(|read| read.negative.is_some()).count();
    findings.detail("negative_reads", negative);
}
