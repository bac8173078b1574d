//! `linearizable` by every model: all orders of all operations, and every subset of those of unknown outcome.

use crate::support::random::{Lines, cases, history, one_in, pick, smallest};
use crate::support::{is_invocation, is_void, known_at, only, result_as};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schism_checkers::Model;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome, Time};
use serde_json::Value;
use std::collections::BTreeMap;

// --- Objects as they stand in textbooks --------------------------------------------------------------------------------

/// Everything that an object may hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Object {
    locked: bool,
    list: Vec<Value>,
    sum: i64,
    cells: BTreeMap<String, Value>,
}

/// What an object may be after an operation; nothing if it does not let it happen. `answered`: its answer is known.
fn step(model: Model, before: &Object, op: &Op<'_>, answered: bool) -> Vec<Object> {
    let mut after = before.clone();
    let argument = op.argument();
    let result = op.result().unwrap_or(&Value::Null);
    let allowed = match (model, op.f()) {
        (Model::Mutex, f) => {
            after.locked = f == "acquire";
            before.locked != after.locked
        }
        (Model::Set, "read") => {
            let empty = Vec::new();
            let read = result.as_array().unwrap_or(&empty);
            let within = |a: &[Value], b: &[Value]| a.iter().all(|v| b.contains(v));
            within(read, &before.list) && within(&before.list, read)
        }
        (Model::Set, f) => {
            after.list.retain(|v| v != argument);
            after.list.extend((f == "add").then(|| argument.clone()));
            true
        }
        (Model::Counter, "read") => result.as_i64().unwrap_or(0) == before.sum,
        (Model::Counter, _) => {
            after.sum += argument.as_i64().unwrap();
            true
        }
        (_, "enqueue") => {
            after.list.push(argument.clone());
            true
        }
        (Model::FifoQueue | Model::UnorderedQueue, _) => {
            return dequeued(model, before, answered.then_some(result));
        }
        _ => transact(
            &mut after,
            if answered { result } else { argument },
            answered,
        ),
    };
    allowed.then_some(after).into_iter().collect()
}

fn dequeued(model: Model, before: &Object, result: Option<&Value>) -> Vec<Object> {
    if result.is_some_and(Value::is_null) {
        let empty = before.list.is_empty().then(|| before.clone());
        return empty.into_iter().collect();
    }
    let first = if model == Model::FifoQueue {
        1
    } else {
        usize::MAX
    };
    let places =
        (0..before.list.len().min(first)).filter(|i| result.is_none_or(|v| *v == before.list[*i]));
    let without = places.map(|i| {
        let mut after = before.clone();
        after.list.remove(i);
        after
    });
    without.collect()
}

fn transact(object: &mut Object, parts: &Value, answered: bool) -> bool {
    parts.as_array().unwrap().iter().all(|part| {
        let cell = object
            .cells
            .entry(part[1].to_string())
            .or_insert(Value::Null);
        if part[0] == "w" {
            *cell = part[2].clone();
            return true;
        }
        !answered || *cell == part[2]
    })
}

fn explained(model: Model, ops: &[Op<'_>], taken: &mut Vec<bool>, object: &Object) -> bool {
    let rest = || (0..ops.len()).filter(|i| !taken[*i]);
    if rest().all(|i| ops[i].end().is_infinite()) {
        return true;
    }
    let first_end = rest().map(|i| ops[i].end()).min().unwrap_or(Time::INFINITY);
    let next: Vec<usize> = rest().filter(|i| ops[*i].start() <= first_end).collect();
    next.into_iter().any(|i| {
        let afters = step(model, object, &ops[i], ops[i].is_ok());
        taken[i] = true;
        let found = afters
            .iter()
            .any(|after| explained(model, ops, taken, after));
        taken[i] = false;
        found
    })
}

fn linearizable(model: Model, history: &History) -> bool {
    let ops = history.ops().into_iter();
    let ops = ops.filter(|op| op.outcome() != Outcome::Fail && !op.is_final());
    // A read without an answer says nothing.
    let ops: Vec<Op<'_>> = ops.filter(|op| op.is_ok() || op.f() != "read").collect();
    let mut objects: BTreeMap<_, Vec<Op<'_>>> = BTreeMap::new();
    for op in ops {
        objects.entry(op.key()).or_default().push(op);
    }
    let right =
        |ops: &Vec<Op<'_>>| explained(model, ops, &mut vec![false; ops.len()], &Object::default());
    objects.values().all(right)
}

// --- Random histories --------------------------------------------------------------------------------------------------

/// Operations take effect on a real object at points of their intervals; then, in half of the histories, some answers become others'.
fn draw(model: Model, variant: u32, rng: &mut ChaCha8Rng) -> Lines {
    let n = rng.random_range(2..8);
    let mut points: Vec<u64> = (0..n).map(|_| rng.random_range(0..30)).collect();
    points.sort_unstable();
    let wrong = one_in(rng, 2);
    let mut object = Object::default();
    let mut lines = Lines::new();
    let mut answers: Vec<String> = Vec::new();
    for (process, point) in points.into_iter().enumerate() {
        // One that is out of its place took effect at another time than it was seen to.
        let shift = if wrong && one_in(rng, 3) {
            rng.random_range(0..20)
        } else {
            0
        };
        let start = (point + shift).saturating_sub(rng.random_range(0..10));
        let end = point + shift + rng.random_range(0..10);
        let outcome = pick(
            rng,
            &["ok", "ok", "ok", "ok", "ok", "ok", "ok", "info", "fail"],
        );
        let happens = outcome == "ok" || (outcome == "info" && one_in(rng, 2));
        let (f, argument) = asked(model, variant, &object, process, rng);
        let mut answer = argument.clone();
        if happens {
            answer = answered(model, &mut object, f, &argument, rng);
        }
        if matches!(f, "read" | "dequeue" | "txn") {
            answers.push(answer.clone());
            if wrong && !one_in(rng, 3) && outcome == "ok" && f != "txn" {
                answer = pick(rng, &answers);
                if model == Model::Set && one_in(rng, 2) {
                    let some: Vec<u32> = (1..4).filter(|_| one_in(rng, 2)).collect();
                    answer = format!("{some:?}").replace(' ', "");
                }
            }
        }
        let key = if f == "txn" { "-" } else { "o" };
        lines.push(format!(
            "{process}: {f} {key} {argument}>{answer} @{start}..{end} {outcome}"
        ));
    }
    lines
}

/// What to ask next.
fn asked(
    model: Model,
    variant: u32,
    object: &Object,
    process: usize,
    rng: &mut ChaCha8Rng,
) -> (&'static str, String) {
    let few = rng.random_range(1..4).to_string();
    let value = if variant == 0 {
        (process + 1).to_string()
    } else {
        few.clone()
    };
    match model {
        Model::Mutex => {
            let odd = one_in(rng, 8);
            let f = if object.locked == odd {
                "acquire"
            } else {
                "release"
            };
            (f, "null".to_owned())
        }
        Model::Set | Model::Counter if one_in(rng, 2) => ("read", "null".to_owned()),
        Model::Set if variant == 1 && one_in(rng, 3) => ("remove", few),
        Model::Set => ("add", few),
        Model::Counter if variant == 0 => ("add", "1".to_owned()),
        Model::Counter => ("add", (rng.random_range(-1..4)).to_string()),
        Model::MultiRegister => ("txn", transaction(rng)),
        _ if one_in(rng, 2) && (!object.list.is_empty() || one_in(rng, 2)) => {
            ("dequeue", "null".to_owned())
        }
        _ => ("enqueue", value),
    }
}

fn transaction(rng: &mut ChaCha8Rng) -> String {
    let part = |rng: &mut ChaCha8Rng| {
        let key = pick(rng, &["x", "y"]);
        if one_in(rng, 2) {
            format!("[\"w\",\"{key}\",{}]", rng.random_range(1..4))
        } else {
            format!("[\"r\",\"{key}\",null]")
        }
    };
    let parts: Vec<String> = (0..rng.random_range(1..4)).map(|_| part(rng)).collect();
    format!("[{}]", parts.join(","))
}

/// Performs it, and says what it answers.
fn answered(
    model: Model,
    object: &mut Object,
    f: &str,
    argument: &str,
    rng: &mut ChaCha8Rng,
) -> String {
    let asked: Value = serde_json::from_str(argument).unwrap();
    match (model, f) {
        (Model::Mutex, f) => object.locked = f == "acquire",
        (Model::Set, "read") => return Value::from(object.list.clone()).to_string(),
        (Model::Set, f) => {
            object.list.retain(|v| *v != asked);
            object.list.extend((f == "add").then_some(asked));
        }
        (Model::Counter, "read") => return object.sum.to_string(),
        (Model::Counter, _) => object.sum += asked.as_i64().unwrap(),
        (_, "enqueue") => object.list.push(asked),
        (_, "dequeue") if object.list.is_empty() => return "null".to_owned(),
        (Model::FifoQueue, _) => return object.list.remove(0).to_string(),
        (Model::UnorderedQueue, _) => {
            let at = rng.random_range(0..object.list.len());
            return object.list.remove(at).to_string();
        }
        _ => {
            let mut parts = asked;
            for part in parts.as_array_mut().unwrap() {
                let cell = object
                    .cells
                    .entry(part[1].to_string())
                    .or_insert(Value::Null);
                if part[0] == "w" {
                    *cell = part[2].clone();
                } else if !one_in(rng, 12) {
                    part[2] = cell.clone();
                }
            }
            return parts.to_string();
        }
    }
    argument.to_owned()
}

// --- Checker and definition --------------------------------------------------------------------------------------------

fn differs(model: Model, history: &History) -> Option<String> {
    let result = match result_as(history, model) {
        Ok(result) => result,
        Err(_) if history.events.is_empty() => return None,
        Err(error) => return Some(error.to_string()),
    };
    let expected = if is_void(&result) {
        Decision::Unknown
    } else if linearizable(model, history) {
        Decision::Holds
    } else {
        Decision::Violated
    };
    if result.verdict != expected {
        return Some(format!(
            "{:?} instead of {expected:?} ({})",
            result.verdict, result.why
        ));
    }
    let unproved = result.anomalies.iter().find(|anomaly| {
        let named = &anomaly.operations;
        !named.iter().all(|i| is_invocation(history, *i))
            || linearizable(model, &only(history, named))
            || result_as(&only(history, named), model).map(|r| r.verdict) != Ok(Decision::Violated)
    });
    unproved.map(|a| format!("{:?} are no proof: {}", a.operations, a.message))
}

/// An operation that could be left out of what an anomaly names. Of a counter's read alone: the rest is wrong in the same way. Of reads that exclude each
/// other: the rest is wrong also without one read more, so not for want of an add. Else: what began to fail fails without it and all that saw its values.
fn one_too_many(model: Model, alone: &History, reason: Option<&Value>) -> Option<u64> {
    let ops = alone.ops();
    let wrong = |gone: &[u64]| {
        let kept = ops.iter().map(Op::index).filter(|i| !gone.contains(i));
        let rest = only(alone, &kept.collect::<Vec<u64>>());
        !linearizable(model, &rest) && !rest.events.is_empty()
    };
    let reads = || ops.iter().filter(|op| op.f() == "read").map(Op::index);
    match reason.and_then(Value::as_str) {
        Some("reads-exclude-each-other") => {
            let without = |op: &&Op<'_>| {
                let index = op.index();
                wrong(&[index]) && reads().all(|read| !wrong(&[index, read]) || read == index)
            };
            ops.iter().find(without).map(Op::index)
        }
        Some(reason) => {
            let way = |history: &History| {
                let result = result_as(history, model).ok()?;
                let reason = result.anomalies.first()?.details.get("reason")?.as_str()?;
                Some(reason.to_owned())
            };
            let without = |op: &&Op<'_>| {
                let kept = ops.iter().map(Op::index).filter(|i| *i != op.index());
                let rest = only(alone, &kept.collect::<Vec<u64>>());
                way(&rest).is_some_and(|way| way == reason)
            };
            ops.iter().find(without).map(Op::index)
        }
        None => {
            let ends: Vec<Time> = alone.events.iter().map(|e| e.time).collect();
            let cuts = ends.into_iter().map(|at| known_at(alone, at));
            let cut = cuts.into_iter().find(|cut| !linearizable(model, cut))?;
            let ops = cut.ops();
            let without = |op: &&Op<'_>| {
                let gone = with_seers(op, &ops);
                let kept = ops.iter().map(Op::index).filter(|i| !gone.contains(i));
                !linearizable(model, &only(&cut, &kept.collect::<Vec<u64>>()))
            };
            ops.iter().find(without).map(Op::index)
        }
    }
}

/// A transaction, those that read what it wrote, and so on.
fn with_seers(dropped: &Op<'_>, ops: &[Op<'_>]) -> Vec<u64> {
    let of = |op: &Op<'_>, f: &str| -> Vec<Value> {
        let value = op.result().unwrap_or(op.argument());
        let parts = value.as_array().unwrap().iter().filter(|part| part[0] == f);
        parts
            .map(|part| Value::from(vec![part[1].clone(), part[2].clone()]))
            .collect()
    };
    let mut gone = vec![dropped.index()];
    loop {
        let left_out = |op: &&Op<'_>| gone.contains(&op.index());
        let values: Vec<Value> = ops
            .iter()
            .filter(left_out)
            .flat_map(|op| of(op, "w"))
            .collect();
        let sees = |op: &&Op<'_>| {
            op.is_ok()
                && !gone.contains(&op.index())
                && of(op, "r").iter().any(|v| values.contains(v))
        };
        let more: Vec<u64> = ops.iter().filter(sees).map(Op::index).collect();
        if more.is_empty() {
            return gone;
        }
        gone.extend(more);
    }
}

/// Of counters and of registers that are read together: none of the operations that an anomaly names can be left out.
fn minimal(model: Model, variant: u32) {
    let (mut seen, mut together) = (0, 0);
    let cases = cases(3000);
    for case in 0..cases {
        let lines = draw(model, variant, &mut ChaCha8Rng::seed_from_u64(case));
        let too_much = |history: &History| {
            let anomalies = result_as(history, model).map_or(Vec::new(), |r| r.anomalies);
            anomalies.into_iter().find(|anomaly| {
                let alone = only(history, &anomaly.operations);
                one_too_many(model, &alone, anomaly.details.get("reason")).is_some()
            })
        };
        let drawn = history(&lines);
        if too_much(&drawn).is_some() {
            let smallest = smallest(&lines, |history| too_much(history).is_some());
            let anomaly = too_much(&history(&smallest)).unwrap();
            let (named, message) = (anomaly.operations, anomaly.message);
            panic!(
                "case {case}: {named:?} are more than is needed ({message}):\n{}",
                smallest.join("\n")
            );
        }
        for anomaly in result_as(&drawn, model).map_or(Vec::new(), |r| r.anomalies) {
            seen += 1;
            together += u64::from(anomaly.operations.len() > 2);
        }
    }
    assert!(
        seen > cases / 20 && together > 0,
        "{seen} anomalies in {cases}, {together} of more than two"
    );
}

#[test]
fn anomalies_of_counters_are_minimal() {
    minimal(Model::Counter, 0);
    minimal(Model::Counter, 1);
}

#[test]
fn anomalies_of_registers_that_are_read_together_are_minimal() {
    minimal(Model::MultiRegister, 0);
}

/// It says what the definition says, and what it names is a violation by itself.
fn agree(model: Model, variant: u32) {
    let mut violated = 0;
    let cases = cases(3000);
    for case in 0..cases {
        let lines = draw(model, variant, &mut ChaCha8Rng::seed_from_u64(case));
        let drawn = history(&lines);
        if differs(model, &drawn).is_some() {
            let smallest = smallest(&lines, |history| differs(model, history).is_some());
            let why = differs(model, &history(&smallest)).unwrap();
            panic!("case {case}: {model} is {why} of:\n{}", smallest.join("\n"));
        }
        violated += u64::from(!linearizable(model, &drawn));
    }
    assert!(
        violated > cases / 20 && violated < cases - cases / 20,
        "{model}: {violated} of {cases} violated"
    );
}

#[test]
fn mutex() {
    agree(Model::Mutex, 0);
}

#[test]
fn set() {
    agree(Model::Set, 0);
    agree(Model::Set, 1);
}

#[test]
fn counter() {
    agree(Model::Counter, 0);
    agree(Model::Counter, 1);
}

#[test]
fn fifo_queue() {
    agree(Model::FifoQueue, 0);
    agree(Model::FifoQueue, 1);
}

#[test]
fn unordered_queue() {
    agree(Model::UnorderedQueue, 0);
    agree(Model::UnorderedQueue, 1);
}

#[test]
fn multi_register() {
    agree(Model::MultiRegister, 0);
}
