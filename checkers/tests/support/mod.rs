//! What several test files share: one property's result, a history cut down to some operations, and linearizability by brute force.

#![allow(dead_code, reason = "each test file takes what it needs")]

pub(crate) mod random;

use schism_checkers::stream::{self, Frame, Survey};
use schism_checkers::verdict::{Decision, PropertyResult};
use schism_checkers::{Budget, CheckError, Chosen, Model, Prepared, check, check_as};
use schism_history::{EventKind, History, Op, Outcome, Process, Time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the checker says of one property; an error where the property does not fit.
pub(crate) fn result_or_error(
    history: &History,
    property: &str,
) -> Result<PropertyResult, CheckError> {
    let named = [property.to_owned()];
    let mut verdict = check(history, Some(&named), &[], &Budget::unlimited())?;
    Ok(verdict.properties.remove(property).expect("it was named"))
}

/// What `linearizable` says of a history as this.
pub(crate) fn result_as(history: &History, model: Model) -> Result<PropertyResult, CheckError> {
    let mut verdict = check_as(history, Some(model), None, &[], &Budget::unlimited())?;
    Ok(verdict
        .properties
        .remove("linearizable")
        .expect("it is what models are for"))
}

/// What the checker says of a property that fits.
pub(crate) fn result(history: &History, property: &str) -> PropertyResult {
    result_or_error(history, property).unwrap_or_else(|e| panic!("{e}"))
}

/// Whether it found nothing wrong for want of anything to look at, which is no pass.
pub(crate) fn is_void(result: &PropertyResult) -> bool {
    let unknown = result.verdict == Decision::Unknown && result.checked == 0;
    unknown && result.why.starts_with("there was nothing to look at")
}

/// What the checker says of one property when it reads the history as a stream; nothing where it cannot, or where the property does not fit.
pub(crate) fn streamed(history: &History, property: &str) -> Option<PropertyResult> {
    streamed_as(history, None, property)
}

/// The same, with what `linearizable` checks it as.
pub(crate) fn streamed_as(
    history: &History,
    model: Option<Model>,
    property: &str,
) -> Option<PropertyResult> {
    let property = schism_checkers::property(property).unwrap();
    let events = || history.events.iter().cloned().map(Ok);
    let survey = Survey::new(events(), u64::MAX).unwrap();
    let prepared = Prepared::new(&survey.sample).with_model(model);
    if !property.fits(&prepared) || property.stream(&prepared).is_none() {
        return None;
    }
    let frame = Frame {
        survey: &survey,
        prepared: &prepared,
        memory_bytes: u64::MAX,
    };
    let chosen = Chosen {
        property,
        decides: true,
    };
    let check = |chosen: Chosen, part: &Prepared<'_>| chosen.check(part, &Budget::unlimited());
    let (_, results) = stream::run(&frame, vec![chosen], &mut || Ok(events()), &check).unwrap();
    results.into_iter().map(|(_, result)| result).next()
}

/// The history of these operations (indexes of their invocations) alone, with whatever the nemesis did.
pub(crate) fn only(history: &History, operations: &[u64]) -> History {
    let kept: BTreeSet<u64> = history
        .ops()
        .iter()
        .filter(|op| operations.contains(&op.index()))
        .flat_map(Op::indexes)
        .collect();
    let events = history.events.iter();
    let events = events.filter(|e| e.process == Process::Nemesis || kept.contains(&e.index));
    History::new(events.cloned().collect()).expect("whole operations of a history are a history")
}

/// What was known at a moment: completions after it are cut off, and operations that began after it are not there.
pub(crate) fn known_at(history: &History, moment: Time) -> History {
    let known = history.events.iter().filter(|e| e.time <= moment);
    History::new(known.cloned().collect()).expect("a beginning of a history is a history")
}

/// One operation as a register knows it; values as they stand in the history.
#[derive(Debug, Clone)]
enum Action<'h> {
    Read(&'h Value),
    Write(&'h Value),
    Cas(&'h Value, &'h Value),
    Refused(&'h Value),
}

/// An operation on a register that says something.
struct Step<'h> {
    action: Action<'h>,
    start: Time,
    end: Time,
}

/// Herlihy and Wing 1990 by the definition: whether some of the unknown operations and all of the others can be put into one
/// order that respects real time and that a register obeys, each key alone. All orders are tried.
pub(crate) fn linearizable(history: &History) -> bool {
    let mut keys: BTreeMap<_, Vec<Step<'_>>> = BTreeMap::new();
    for op in history.ops() {
        let step = step(&op);
        keys.entry(op.invoke.key.as_ref()).or_default().extend(step);
    }
    keys.values()
        .all(|steps| explained(steps, &mut vec![false; steps.len()], &Value::Null))
}

/// Nothing, where an operation says nothing of the register: definite failures, pending reads, a replica's own state.
fn step<'h>(op: &Op<'h>) -> Option<Step<'h>> {
    let argument = op.argument();
    let refused = op.completion.and_then(|c| c.error_kind()) == Some("precondition");
    let action = match (op.f(), op.outcome()) {
        _ if op.is_final() => return None,
        ("read", Outcome::Ok) => Action::Read(op.result()?),
        ("write", Outcome::Ok | Outcome::Info) => Action::Write(argument),
        ("cas", Outcome::Ok | Outcome::Info) => Action::Cas(&argument[0], &argument[1]),
        ("cas", Outcome::Fail) if refused => Action::Refused(&argument[0]),
        _ => return None,
    };
    Some(Step {
        action,
        start: op.start(),
        end: op.end(),
    })
}

fn explained(steps: &[Step<'_>], taken: &mut Vec<bool>, value: &Value) -> bool {
    let rest = || (0..steps.len()).filter(|i| !taken[*i]);
    if rest().all(|i| steps[i].end.is_infinite()) {
        return true;
    }
    let first_end = rest().map(|i| steps[i].end).min().unwrap_or(Time::INFINITY);
    let next: Vec<usize> = rest().filter(|i| steps[*i].start <= first_end).collect();
    next.into_iter().any(|i| {
        let Some(after) = obeyed(&steps[i].action, value) else {
            return false;
        };
        taken[i] = true;
        let found = explained(steps, taken, after);
        taken[i] = false;
        found
    })
}

/// What a register holds after an operation, if it lets it happen.
fn obeyed<'v>(action: &Action<'v>, value: &'v Value) -> Option<&'v Value> {
    match action {
        Action::Read(seen) => (*seen == value).then_some(value),
        Action::Write(new) => Some(new),
        Action::Cas(old, new) => (*old == value).then_some(*new),
        Action::Refused(old) => (*old != value).then_some(value),
    }
}

/// Whether the operation is a read that was answered, and no replica's own state.
pub(crate) fn is_answered_read(op: &Op<'_>) -> bool {
    op.f() == "read" && op.is_ok() && !op.is_final()
}

/// The value that an operation puts into a register, if it may have happened.
pub(crate) fn written<'h>(op: &Op<'h>) -> Option<&'h Value> {
    match op.f() {
        _ if op.outcome() == Outcome::Fail => None,
        "write" => Some(op.argument()),
        "cas" => Some(&op.argument()[1]),
        _ => None,
    }
}

/// Whether an event begins an operation.
pub(crate) fn is_invocation(history: &History, index: u64) -> bool {
    let event = history.events.get(index as usize);
    event.is_some_and(|e| e.kind == EventKind::Invoke && e.process != Process::Nemesis)
}
