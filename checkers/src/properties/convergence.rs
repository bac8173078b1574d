//! `convergence`: after recovery all replicas hold the same.
//!
//! The final reads are each replica's own state, taken after every fault was healed and the target had said that it had recovered. They must
//! be equal for every key. One difference is no proof: a request whose outcome is unknown may still have been on its way and have
//! landed between two of the reads. Where that could explain all of a difference, the verdict is `unknown`: an element by an add or a remove of its
//! own, a counter by a sum of late increments, siblings by what may have seen them ([`crate::late`]); of other types, by any late request.
//!
//! Siblings are a set, and siblings that are lists (carts) a set of sets. The value of a register that is a list is a value, in its order, unless nothing
//! but lists was written: that is a cart, a multiset of lines; where two orders of it were written and both are there, nobody knows which it is.

use crate::findings::{Advice, Findings, anomaly};
use crate::happens_before::{Causality, is_list_of_lists, registers};
use crate::verdict::PropertyResult;
use crate::{Budget, Keyed, Prepared, Property, Shape, late, words};
use schism_history::{Op, Outcome, Time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The property.
pub(super) struct Convergence;

const ADVICE: Advice = Advice {
    cause: "A replica missed changes (a gap after a restart, a snapshot without its position, a lost hint) and nothing brings them later, or replicas settle the same conflict differently.",
    mend: "Make replicas exchange what they lack (log matching with truncation of what no quorum has, anti-entropy), and \
                    settle conflicts by one rule that all apply (consensus on the order, or a commutative merge).",
};

impl Property for Convergence {
    fn name(&self) -> &'static str {
        "convergence"
    }

    fn summary(&self) -> &'static str {
        "after recovery the final reads of all replicas are equal, for every key"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.ops.iter().any(|op| is_final_read(op))
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let recovered = history.recovered();
        let mut siblings: Vec<(&Keyed<'_>, Kind, Groups<'_>)> = Vec::new();
        for (done, keyed) in history.keys.iter().enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let finals: Vec<&Op<'_>> = keyed
                .ops
                .iter()
                .map(|&i| &history.ops[i])
                .filter(|op| is_final_read(op))
                .collect();
            let (read, silent): (Vec<&Op<'_>>, Vec<&Op<'_>>) =
                finals.into_iter().partition(|op| op.is_ok());
            findings.checked(read.len());
            for op in silent {
                findings.doubt(|| {
                    format!(
                        "{} was not answered: a replica is not known",
                        words::noun(op)
                    )
                });
            }
            if !recovered {
                continue;
            }
            let kind = Kind::of(history, keyed);
            let groups = by_state(kind, &read, budget);
            if findings.out_of_time(budget, || {
                format!("in the final reads of {}", words::key(keyed.key))
            }) {
                break;
            }
            if kind == Kind::Cart {
                orders(history, keyed, &groups, &mut findings);
            }
            if groups.len() < 2 {
                continue;
            }
            if keyed.shape == Shape::Siblings && !late_ops(history, keyed, &groups).is_empty() {
                siblings.push((keyed, kind, groups));
                continue;
            }
            let explained = may_be_late(history, keyed, kind, &groups);
            judge(keyed, kind, &groups, explained, &mut findings);
        }
        if !siblings.is_empty() {
            let registers = registers(history, &mut findings, budget);
            let causality = Causality::new(&registers, budget);
            for (done, (keyed, kind, groups)) in siblings.into_iter().enumerate() {
                if findings.out_of_time_at(budget, done, keyed) {
                    break;
                }
                let number = registers.iter().position(|r| r.keyed.key == keyed.key);
                let explained = number.is_none_or(|n| late::explains(&registers[n], n, &causality));
                judge(keyed, kind, &groups, explained, &mut findings);
            }
        }
        if !recovered {
            findings
                .doubt(|| "the target had not recovered when its replicas were read".to_owned());
        }
        findings.result()
    }
}

fn is_final_read(op: &Op<'_>) -> bool {
    op.f() == "read" && op.is_final()
}

/// What a replica holds: one value, or the elements of a set, sorted, each as often as it is there.
type State = Vec<String>;
/// Replicas by what they hold.
type Groups<'p> = BTreeMap<State, Vec<&'p Op<'p>>>;

/// What a list is that a replica returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A value like any other.
    Value,
    /// A set: the order says nothing.
    Set,
    /// A cart, for nothing but lists was written: the order says nothing.
    Cart,
    /// Values that stand side by side, a set of them.
    Siblings,
    /// The same, and each is a list (a cart): a set of sets.
    Carts,
}

impl Kind {
    fn of(history: &Prepared<'_>, keyed: &Keyed<'_>) -> Self {
        let ops = || keyed.ops.iter().map(|&i| &history.ops[i]);
        let only = |f: &str| matches!(f, "add" | "remove" | "read");
        let puts = || ops().filter(|op| op.f() != "read").map(written);
        match keyed.shape {
            Shape::Set | Shape::Questions => Self::Set,
            Shape::Siblings if puts().any(Value::is_array) => Self::Carts,
            Shape::Siblings => Self::Siblings,
            Shape::Register if puts().next().is_some() && puts().all(Value::is_array) => Self::Cart,
            _ if ops().all(|op| only(op.f())) => Self::Set,
            _ => Self::Value,
        }
    }

    fn state(self, value: &Value) -> State {
        match (self, value) {
            (_, Value::Null) => Vec::new(),
            (Self::Set | Self::Cart, Value::Array(elements)) => {
                let mut state: State = elements.iter().map(Value::to_string).collect();
                state.sort_unstable();
                state
            }
            (Self::Siblings, Value::Array(values)) => set(values),
            // No cart, and an empty one, are the same.
            (Self::Carts, Value::Array(carts))
                if carts
                    .iter()
                    .all(|cart| cart.as_array().is_some_and(Vec::is_empty)) =>
            {
                Vec::new()
            }
            (Self::Carts, Value::Array(carts)) if is_list_of_lists(carts) => set(carts),
            _ => vec![canonical(value)],
        }
    }
}

/// What a write or a compare-and-set puts there.
fn written<'o>(op: &'o Op<'_>) -> &'o Value {
    match (op.f(), op.argument()) {
        ("cas", Value::Array(pair)) if pair.len() == 2 => &pair[1],
        (_, value) => value,
    }
}

/// Each once, sorted.
fn set(values: &[Value]) -> State {
    let set: BTreeSet<String> = values.iter().map(canonical).collect();
    set.into_iter().collect()
}

/// A list as a set, in one way only; anything else as it is.
fn canonical(value: &Value) -> String {
    match value.as_array() {
        Some(list) => format!("[{}]", set(list).join(",")),
        None => value.to_string(),
    }
}

/// Not of all where the time is up.
fn by_state<'p>(kind: Kind, reads: &[&'p Op<'p>], budget: &Budget<'_>) -> Groups<'p> {
    let mut groups: Groups<'p> = BTreeMap::new();
    for op in reads.iter().take_while(|_| !budget.is_exhausted()) {
        let value = op.result().unwrap_or(&Value::Null);
        let state = match kind {
            Kind::Value => one(value),
            _ => kind.state(value),
        };
        groups.entry(state).or_default().push(op);
    }
    groups
}

/// Replicas that hold the same lines in two orders, both of which were written: one cart, or two lists.
fn orders(history: &Prepared<'_>, keyed: &Keyed<'_>, groups: &Groups<'_>, findings: &mut Findings) {
    let ops = keyed.ops.iter().map(|&i| &history.ops[i]);
    let puts = ops.filter(|op| op.f() != "read");
    let mut known: Option<BTreeSet<String>> = None;
    let mut puts = Some(puts);
    for ops in groups.values() {
        let shown: BTreeSet<String> = ops
            .iter()
            .filter_map(|op| op.result())
            .map(Value::to_string)
            .collect();
        if shown.len() < 2 {
            continue;
        }
        let known = known.get_or_insert_with(|| {
            puts.take()
                .into_iter()
                .flatten()
                .map(|op| written(op).to_string())
                .collect()
        });
        if shown.intersection(known).count() > 1 {
            findings.doubt(|| {
                let name = words::key(keyed.key);
                format!("replicas hold the same lines of {name} in different orders, and these were written so: the same cart, or different lists")
            });
        }
    }
}

/// Requests that may have landed between the reads: those of unknown outcome, and those that were still in flight when the first replica was
/// read.
fn late_ops<'p>(
    history: &'p Prepared<'_>,
    keyed: &Keyed<'_>,
    groups: &Groups<'_>,
) -> Vec<&'p Op<'p>> {
    let first = groups
        .values()
        .flatten()
        .map(|op| op.start())
        .min()
        .unwrap_or(Time::INFINITY);
    // What is put without a key is read under that of a part, and the other way round.
    let elsewhere = history
        .keys_of(Shape::Questions)
        .filter(|other| keyed.shape == Shape::Questions && other.key != keyed.key);
    let keys = std::iter::once(keyed).chain(elsewhere);
    let ops = keys.flat_map(|k| &k.ops).map(|&i| &history.ops[i]);
    let changes = |op: &&Op<'_>| op.f() != "read" && op.outcome() != Outcome::Fail;
    ops.filter(changes).filter(|op| op.end() >= first).collect()
}

/// Whether late requests could have made the difference.
fn may_be_late(history: &Prepared<'_>, keyed: &Keyed<'_>, kind: Kind, groups: &Groups<'_>) -> bool {
    let late = late_ops(history, keyed, groups);
    match keyed.shape {
        Shape::Register => {
            let state = |op: &&Op<'_>| match kind {
                Kind::Cart => kind.state(written(op)),
                _ => one(written(op)),
            };
            let late: BTreeSet<State> = late.iter().map(state).collect();
            // All but the oldest state must have come late.
            groups.keys().filter(|state| !late.contains(*state)).count() < 2
        }
        Shape::Set | Shape::RemovableSet | Shape::Questions => {
            let late: BTreeSet<String> = late.iter().map(|op| op.argument().to_string()).collect();
            let without = |state: &State| -> State {
                state
                    .iter()
                    .filter(|e| !late.contains(*e))
                    .cloned()
                    .collect()
            };
            groups.keys().map(without).collect::<BTreeSet<_>>().len() < 2
        }
        Shape::Counter => adds_up(&late, groups),
        // What such a request does, nobody here knows.
        _ => !late.is_empty(),
    }
}

/// How many sums of late increments are looked at.
const SUMS_MAX: usize = 1 << 12;

/// Whether some of the late increments on each replica make the difference; also where that is too much to look at.
fn adds_up(late: &[&Op<'_>], groups: &Groups<'_>) -> bool {
    let number = |state: &State| {
        state
            .first()
            .and_then(|n| n.parse::<i64>().ok())
            .map(i128::from)
    };
    let states: Option<Vec<i128>> = groups.keys().map(number).collect();
    let increments: Option<Vec<i128>> = late
        .iter()
        .map(|op| op.argument().as_i64().map(i128::from))
        .collect();
    let (Some(states), Some(increments)) = (states, increments) else {
        return !late.is_empty();
    };
    let mut sums = BTreeSet::from([0_i128]);
    for by in increments {
        let more: Vec<i128> = sums.iter().map(|sum| sum + by).collect();
        sums.extend(more);
        if sums.len() > SUMS_MAX {
            return true;
        }
    }
    let fits = |base: i128| states.iter().all(|n| sums.contains(&(n - base)));
    sums.iter().any(|sum| fits(states[0] - sum))
}

fn one(value: &Value) -> State {
    if value.is_null() {
        Vec::new()
    } else {
        vec![value.to_string()]
    }
}

fn judge(
    keyed: &Keyed<'_>,
    kind: Kind,
    groups: &Groups<'_>,
    explained: bool,
    findings: &mut Findings,
) {
    if explained {
        findings.doubt(|| {
            let name = words::key(keyed.key);
            format!("replicas differ in {name} by writes whose outcome is unknown: they may have landed between the reads")
        });
    } else {
        differ(keyed, kind, groups, findings);
    }
}

fn differ(keyed: &Keyed<'_>, kind: Kind, groups: &Groups<'_>, findings: &mut Findings) {
    findings.violate(|| {
        let mut largest: Vec<(&State, &Vec<&Op<'_>>)> = groups.iter().collect();
        largest.sort_by_key(|(_, ops)| (std::cmp::Reverse(ops.len()), ops[0].index()));
        let said: Vec<String> = largest
            .iter()
            .map(|(state, ops)| holds(kind, state, ops))
            .collect();
        let mut operations: Vec<u64> = largest.iter().map(|(_, ops)| ops[0].index()).collect();
        operations.sort_unstable();
        let difference = match largest.as_slice() {
            [(a, _), (b, _)] if kind == Kind::Set => example(a, b),
            _ => String::new(),
        };
        let name = words::key(keyed.key);
        let message = format!(
            "After recovery the replicas differ in {name}: {}{difference}.",
            words::list(&said)
        );
        let anomaly = anomaly("diverged", operations, message, &ADVICE);
        match keyed.key {
            Some(key) => anomaly.with("key", key.to_string()),
            None => anomaly,
        }
    });
}

/// `n1 and n3 hold 7`.
fn holds(kind: Kind, state: &State, ops: &[&Op<'_>]) -> String {
    let who: Vec<String> = ops
        .iter()
        .map(|op| words::node(op).map_or_else(|| op.process().to_string(), ToString::to_string))
        .collect();
    let what = match (kind, state.first()) {
        (Kind::Set, _) => words::plural(state.len(), "element"),
        (_, None) => "nothing".to_owned(),
        (Kind::Value, Some(value)) => value.clone(),
        (_, Some(_)) => format!("[{}]", state.join(",")),
    };
    let verb = if who.len() == 1 { "holds" } else { "hold" };
    format!("{} {verb} {what}", words::list(&who))
}

/// One element that only one side has.
fn example(a: &State, b: &State) -> String {
    let only = |x: &State, y: &State| x.iter().find(|e| y.binary_search(e).is_err()).cloned();
    match (only(a, b), only(b, a)) {
        (Some(one), None) => format!(" (only the former has {one})"),
        (None, Some(one)) => format!(" (only the latter has {one})"),
        (Some(one), Some(other)) => {
            format!(" (only the former has {one}, only the latter {other})")
        }
        (None, None) => " (the same ones, but not as often)".to_owned(),
    }
}
