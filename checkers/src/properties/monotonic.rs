//! `monotonic`: the timestamps of a database agree with the order in which rising values were inserted.
//!
//! After Jepsen's monotonic.clj (cockroachdb/src/jepsen/cockroach). Each `add` inserts a row with the next value and the transaction's timestamp and returns a row that is
//! there by then: `{"val": 3, "sts": 17, "node": 1, "proc": 4, "tb": 0}`, of which `val` and `sts` must be there (a timestamp is a number or its digits; also
//! `process` for `proc`). A `read` returns all rows, in the order of their timestamps. In any read: rows come in the order of timestamps
//! (`order-by-error`), a row with a later timestamp has a greater value (`value-reorder`), and no value comes twice (`duplicate`). A row that an acknowledged
//! `add` returned is in some read at the end (`lost`); where adds ask for rows themselves (`{"val": 3}`), nothing else is in any (`unexpected`), and
//! none that was definitely refused (`revived`).
//!
//! As in Jepsen, where rows say which process added them (its test of several tables, whose values are handed out before the transaction), values only have to rise for
//! each process; how often they do not altogether, for each node and for each table is said in `details`. Better than there: rows of equal timestamps are
//! not ordered, every read is looked at and not just the last, values are compared with values (there `revived` and `lost` of several
//! tables compare rows with numbers), and unknown adds are no error either way. O(n log n) in what was read.

use crate::finals::{Finals, final_reads};
use crate::findings::{Advice, Findings, anomaly};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The property.
pub(super) struct Monotonic;

const ADVICE: Advice = Advice {
    cause: "Nodes take transaction timestamps from clocks that differ by more than the database allows for, or a transaction was retried or applied twice.",
    mend: "Keep clocks within the bound that the database is told, let it wait that bound out before it acknowledges (commit wait), and let retries find out \
                    whether the first attempt was applied.",
};

impl Property for Monotonic {
    fn name(&self) -> &'static str {
        "monotonic"
    }

    fn summary(&self) -> &'static str {
        "rows with later timestamps have greater values, none is lost and none is there twice"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Rows)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        for (done, keyed) in history.keys_of(Shape::Rows).enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let table = Table::new(history, keyed, budget);
            if findings.out_of_time(budget, || {
                format!("before all reads of {} were parsed", words::key(keyed.key))
            }) {
                break;
            }
            table.check_reads(&mut findings, budget);
            table.check_finals(&final_reads(history, keyed), &mut findings, budget);
            if findings.out_of_time(budget, || {
                format!("in the rows of {}", words::key(keyed.key))
            }) {
                break;
            }
            table.reorders(&mut findings, budget);
        }
        findings.result()
    }
}

/// A timestamp of any length: the digits before the point without leading zeros, and those behind without trailing ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    length: usize,
    whole: String,
    rest: String,
}

impl Stamp {
    fn new(value: &Value) -> Option<Self> {
        let text = match value {
            Value::Number(n) => n.to_string(),
            Value::String(text) => text.trim_end_matches(['N', 'M']).to_owned(),
            _ => return None,
        };
        let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
        let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        let whole = whole.trim_start_matches('0');
        (digits(whole) && digits(rest) && !text.is_empty()).then(|| Self {
            length: whole.len(),
            whole: whole.to_owned(),
            rest: rest.trim_end_matches('0').to_owned(),
        })
    }
}

/// A row that was read.
#[derive(Debug, Clone)]
struct Row<'p> {
    val: i64,
    sts: Stamp,
    value: &'p Value,
}

impl<'p> Row<'p> {
    fn new(row: &'p Value) -> Option<Self> {
        Some(Self {
            val: row["val"].as_i64()?,
            sts: Stamp::new(&row["sts"])?,
            value: row,
        })
    }

    fn process(&self) -> Option<&'p Value> {
        self.value.get("proc").or_else(|| self.value.get("process"))
    }
}

struct Table<'p> {
    adds: Vec<&'p Op<'p>>,
    /// The answered reads with their rows; nothing for one that is no row.
    reads: Vec<(&'p Op<'p>, Vec<Option<Row<'p>>>)>,
    /// Whether adds ask for rows, so that what was read can be compared with what was asked.
    asked: bool,
}

impl<'p> Table<'p> {
    /// Not with all reads where the time is up.
    fn new(history: &'p Prepared<'_>, keyed: &Keyed<'_>, budget: &Budget<'_>) -> Self {
        let ops = || keyed.ops.iter().map(|&i| &history.ops[i]);
        let adds: Vec<&Op<'_>> = ops().filter(|op| op.f() == "add").collect();
        let reads = ops().filter(|op| op.f() == "read");
        let rows = |list: &'p Vec<Value>| budget.lasting(list).map(Row::new).collect();
        Self {
            asked: !adds.is_empty() && adds.iter().all(|op| op.argument()["val"].is_i64()),
            adds,
            reads: reads
                .take_while(|_| !budget.is_exhausted())
                .filter_map(|op| Some((op, rows(op.result()?.as_array()?))))
                .collect(),
        }
    }

    /// What each read shows by itself.
    fn check_reads(&self, findings: &mut Findings, budget: &Budget<'_>) {
        for (done, (read, rows)) in self.reads.iter().enumerate() {
            if findings.out_of_time(budget, || {
                format!("after {done} of {} reads", self.reads.len())
            }) {
                return;
            }
            findings.checked(rows.len());
            if rows.iter().any(Option::is_none) {
                findings.doubt(|| {
                    format!(
                        "{} returned something that is no row with val and sts",
                        words::noun_short(read)
                    )
                });
            }
            let rows: Vec<&Row<'_>> = rows.iter().flatten().collect();
            for pair in rows.windows(2).filter(|pair| pair[0].sts > pair[1].sts) {
                findings.violate(|| {
                    Self::anomaly(
                        "order-by-error",
                        read,
                        &[],
                        &format!(
                            "{} before {}: the later timestamp first",
                            pair[0].value, pair[1].value
                        ),
                    )
                });
            }
            if findings.out_of_time(budget, || in_rows(read)) {
                return;
            }
            for pair in out_of_order(&rows) {
                findings.violate(|| {
                    let what = format!(
                        "{} has an earlier timestamp than {} and no smaller value",
                        pair[0].value, pair[1].value
                    );
                    Self::anomaly("value-reorder", read, &[], &what)
                });
            }
            if findings.out_of_time(budget, || in_rows(read)) {
                return;
            }
            let mut values: Vec<&Row<'_>> = rows.clone();
            values.sort_by_key(|row| row.val);
            for pair in values.windows(2).filter(|pair| pair[0].val == pair[1].val) {
                findings.violate(|| {
                    Self::anomaly(
                        "duplicate",
                        read,
                        &[],
                        &format!("{} and {}: one value twice", pair[0].value, pair[1].value),
                    )
                });
            }
        }
    }

    /// A read that shows it alone, and `adds` that have a part in it.
    fn anomaly(name: &str, read: &Op<'_>, adds: &[&Op<'_>], what: &str) -> Anomaly {
        let operations = adds
            .iter()
            .map(|op| op.index())
            .chain([read.index()])
            .collect();
        let message = format!("{} returned {what}.", words::noun_short(read));
        anomaly(name, operations, message, &ADVICE)
    }

    fn check_finals(&self, finals: &Finals<'_>, findings: &mut Findings, budget: &Budget<'_>) {
        if self.asked {
            self.check_asked(findings, budget);
        }
        let finals = match finals {
            Finals::Marked(finals) | Finals::Last(finals) => finals,
            Finals::None(why) => {
                return findings.doubt(|| format!("lost rows cannot be told: {why}"));
            }
        };
        let finals: BTreeSet<u64> = finals.iter().map(|op| op.index()).collect();
        let lists = self
            .reads
            .iter()
            .filter(|(read, _)| finals.contains(&read.index()));
        let lists: Vec<(&Op<'_>, BTreeSet<i64>)> = lists
            .map(|(read, rows)| (*read, rows.iter().flatten().map(|row| row.val).collect()))
            .collect();
        for (done, add) in self.adds.iter().enumerate() {
            if findings.out_of_time_after(budget, (done, self.adds.len()), || "adds".to_owned()) {
                return;
            }
            if !add.is_ok() {
                continue;
            }
            // What an add returned is there: its own row, or one that it had read.
            let Some(row) = add.result().and_then(Row::new) else {
                continue;
            };
            let after: Vec<_> = lists
                .iter()
                .filter(|(read, _)| read.start() > add.end())
                .collect();
            if after.is_empty() {
                findings.doubt(|| {
                    format!(
                        "no final read began after {} was acknowledged",
                        words::noun_short(add)
                    )
                });
            } else if row.val >= 0 && after.iter().all(|(_, values)| !values.contains(&row.val)) {
                findings.violate(|| {
                    let message = format!(
                        "{} returned {}, and no read at the end has it.",
                        words::noun_short(add),
                        row.value
                    );
                    let reads = after.iter().map(|(read, _)| read.index());
                    anomaly(
                        "lost",
                        reads.chain([add.index()]).collect(),
                        message,
                        &ADVICE,
                    )
                });
            }
        }
    }

    /// What adds asked for, and what was read besides.
    fn check_asked(&self, findings: &mut Findings, budget: &Budget<'_>) {
        let mut asked: BTreeMap<i64, Vec<&Op<'_>>> = BTreeMap::new();
        for add in &self.adds {
            asked
                .entry(add.argument()["val"].as_i64().unwrap_or_default())
                .or_default()
                .push(add);
        }
        let mut told = BTreeSet::new();
        for (done, (read, rows)) in self.reads.iter().enumerate() {
            if findings.out_of_time(budget, || {
                format!("after {done} of {} reads", self.reads.len())
            }) {
                return;
            }
            for row in rows.iter().flatten() {
                let adds = asked.get(&row.val).map(Vec::as_slice).unwrap_or_default();
                let refused = adds.iter().all(|op| op.outcome() == Outcome::Fail);
                if row.val < 0 || !refused || !told.insert(row.val) {
                    continue;
                }
                let (name, what) = match adds.first() {
                    None => ("unexpected", format!("{}, which nobody added", row.value)),
                    Some(add) => (
                        "revived",
                        format!(
                            "{}, although {} was definitely refused",
                            row.value,
                            words::noun(add)
                        ),
                    ),
                };
                // One that asks for a row says that all do.
                let adds = if adds.is_empty() {
                    &self.adds[..1]
                } else {
                    adds
                };
                findings.violate(|| Self::anomaly(name, read, adds, &what));
            }
        }
    }

    /// How often values do not rise with timestamps, in the last read: altogether, for each node, for each table.
    fn reorders(&self, findings: &mut Findings, budget: &Budget<'_>) {
        let Some((read, rows)) = self.reads.last() else {
            return;
        };
        let rows: Vec<&Row<'_>> = rows.iter().flatten().collect();
        let of = |field: &'static str| {
            falls(&rows, move |row| row.value.get(field).map(Value::to_string)).len()
        };
        findings.detail("value_reorders", falls(&rows, |_| None).len());
        for (name, field) in [
            ("value_reorders_by_node", "node"),
            ("value_reorders_by_table", "tb"),
        ] {
            if findings.out_of_time(budget, || in_rows(read)) {
                return;
            }
            findings.detail(name, of(field));
        }
    }
}

fn in_rows(read: &Op<'_>) -> String {
    format!("in the rows of {}", words::noun_short(read))
}

/// Neighbours in the order of timestamps whose values do not rise: of each process, where rows name it, else of all.
fn out_of_order<'r, 'p>(rows: &[&'r Row<'p>]) -> Vec<[&'r Row<'p>; 2]> {
    let by_process = rows.iter().any(|row| row.process().is_some());
    if by_process {
        falls(rows, |row| row.process().map(Value::to_string))
    } else {
        falls(rows, |_| None)
    }
}

/// Neighbours in the order of timestamps, each group by itself, of which the second has a later timestamp and no greater value. Among rows of one timestamp
/// the least value speaks for what comes before, and the greatest for what comes after.
fn falls<'r, 'p>(
    rows: &[&'r Row<'p>],
    group: impl Fn(&Row<'p>) -> Option<String>,
) -> Vec<[&'r Row<'p>; 2]> {
    let mut groups: BTreeMap<Option<String>, Vec<&Row<'_>>> = BTreeMap::new();
    for row in rows {
        groups.entry(group(row)).or_default().push(row);
    }
    let mut found = Vec::new();
    for rows in groups.values_mut() {
        rows.sort_by(|a, b| (&a.sts, a.val).cmp(&(&b.sts, b.val)));
        let stamps: Vec<&[&Row<'_>]> = rows.chunk_by(|a, b| a.sts == b.sts).collect();
        for pair in stamps.windows(2) {
            let (earlier, later) = (pair[0][pair[0].len() - 1], pair[1][0]);
            if earlier.val >= later.val {
                found.push([earlier, later]);
            }
        }
    }
    found
}
