//! `linearizable`: every operation takes effect at one moment between its invocation and its completion.
//!
//! Herlihy and Wing 1990. Without a model, registers with reads, writes and compare-and-sets ([`crate::linearize`]) and locks; with one,
//! what [`crate::models`] has. The property is local, so each key is decided alone. A violation is cut down to its shortest failing prefix, then to a
//! set of operations that is a violation by itself ([`crate::shrink`]): a write is only left out together with those who saw its value, so
//! that what is left still needs no other operation.

use crate::findings::{Advice, Findings, anomaly};
use crate::linearize::{Linearization, linearize};
use crate::models::{Object, counter};
use crate::register::{Register, RegisterOp};
use crate::search::{Found, search};
use crate::stream::{Fold, Windows};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Model, Prepared, Property, Shape, shrink, words};
use schism_history::{Op, Outcome};

/// The property.
pub(super) struct Linearizable;

pub(crate) const ADVICE: Advice = Advice {
    cause: "Reads from a replica that lags or from a deposed leader, writes that were acknowledged and then lost, or two leaders at once.",
    mend: "Let all reads and writes of a key go through one order that a majority agrees on: ack=majority with \
                    failover=consensus, and reads that confirm the leader (read=leader-quorum).",
};

impl Property for Linearizable {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "every operation takes effect at one moment between its invocation and its completion"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        match history.model {
            Some(_) => !history.ops.is_empty(),
            None => history.has(Shape::Register) || history.has(Shape::Mutex),
        }
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        match history.model {
            None => {
                for (done, keyed) in history.keys_of(Shape::Register).enumerate() {
                    if findings.out_of_time_at(budget, done, keyed) {
                        break;
                    }
                    check_register(history, keyed, &mut findings, budget);
                }
                for (done, keyed) in history.keys_of(Shape::Mutex).enumerate() {
                    if findings.out_of_time_at(budget, done, keyed) {
                        break;
                    }
                    let object = Object::of(keyed);
                    check_object(history, Model::Mutex, &object, &mut findings, budget);
                }
            }
            Some(Model::Register | Model::CasRegister) => {
                for (done, keyed) in history.keys.iter().enumerate() {
                    if findings.out_of_time_at(budget, done, keyed) {
                        break;
                    }
                    check_register(history, keyed, &mut findings, budget);
                }
            }
            Some(model) => match model.objects(history) {
                Ok(objects) => {
                    for (done, object) in objects.iter().enumerate() {
                        if findings.out_of_time(budget, || {
                            format!("after {done} of {} objects", objects.len())
                        }) {
                            break;
                        }
                        check_object(history, model, object, &mut findings, budget);
                    }
                }
                Err(why) => findings.doubt(|| why),
            },
        }
        findings.result()
    }

    fn stream<'s>(&self, survey: &'s Prepared<'_>) -> Option<Box<dyn Fold<'s> + 's>> {
        let registers = matches!(
            survey.model,
            None | Some(Model::Register | Model::CasRegister)
        );
        (registers && !survey.has(Shape::Mutex))
            .then(|| Box::new(Windows::new(survey)) as Box<dyn Fold<'s> + 's>)
    }
}

fn check_register(
    history: &Prepared<'_>,
    keyed: &Keyed<'_>,
    findings: &mut Findings,
    budget: &Budget<'_>,
) {
    let register = Register::new(history, keyed, budget);
    let late = || format!("before {} was searched", words::key(keyed.key));
    if findings.out_of_time(budget, late) {
        return;
    }
    if let Some(why) = &register.strange {
        findings.doubt(|| why.clone());
    }
    findings.checked(register.ops.len());
    match linearize(&register.ops, register.values.len(), budget) {
        Linearization::Exists => {}
        Linearization::Impossible(places) => {
            findings.violate(|| explain(history, keyed, &register, &places, budget));
        }
        Linearization::OutOf(what, place) => {
            let at = register.ops.get(place).map(|op| history.op(op));
            findings.doubt(|| ran_out(&words::key(keyed.key), what, at));
        }
    }
}

fn ran_out(object: &str, what: &str, at: Option<&Op<'_>>) -> String {
    let at = at.map_or_else(String::new, |op| format!(", at {}", words::noun(op)));
    format!("{object}: the search ran out of {what}{at}")
}

const ADVICE_OBJECT: Advice = Advice {
    cause: "Answers from a replica that lags or from a deposed leader, operations that were acknowledged and then lost, applied twice by a \
                    retry, or ordered by two leaders at once.",
    mend: "Let all operations on an object go through one order that a majority agrees on, give each an id so that a retry is not a second one, \
                    and let reads confirm the leader.",
};

fn check_object(
    history: &Prepared<'_>,
    model: Model,
    object: &Object,
    findings: &mut Findings,
    budget: &Budget<'_>,
) {
    let judged = match model.decide(history, &object.indexes, budget) {
        Ok(judged) => judged,
        Err(why) => return findings.doubt(|| why),
    };
    findings.checked(judged.checked);
    match judged.answer {
        Linearization::Exists => {}
        Linearization::Impossible(places) => {
            findings.violate(|| explain_object(history, model, object, places));
        }
        Linearization::OutOf(what, place) => {
            findings.doubt(|| ran_out(&object.name, what, history.ops.get(place)));
        }
    }
}

/// `places` are a violation by themselves.
fn explain_object(
    history: &Prepared<'_>,
    model: Model,
    object: &Object,
    mut places: Vec<usize>,
) -> Anomaly {
    places.sort_unstable();
    let ops: Vec<&Op<'_>> = places.iter().map(|place| &history.ops[*place]).collect();
    let (name, rule) = (&object.name, model.rule());
    let message = match ops.as_slice() {
        [op] => format!(
            "{} of {name} does not fit {rule}: nobody had done by then what it answers to.",
            words::noun(op)
        ),
        _ => format!(
            "No order of these operations on {name} fits their times and {rule}: {}.",
            said(&ops)
        ),
    };
    let sum = (model == Model::Counter).then(|| counter::reason(history, object, &ops));
    let (reason, message) = sum
        .flatten()
        .map_or((None, message), |(reason, why)| (Some(reason), why));
    let operations = ops.iter().map(|op| op.index()).collect();
    let anomaly = anomaly("not-linearizable", operations, message, &ADVICE_OBJECT)
        .with("key", name.clone())
        .with("model", model.name());
    match reason {
        Some(reason) => anomaly.with("reason", reason),
        None => anomaly,
    }
}

fn said(ops: &[&Op<'_>]) -> String {
    let mut said: Vec<String> = ops.iter().take(SAID).map(|op| words::noun(op)).collect();
    if ops.len() > SAID {
        said.push(format!("{} more", ops.len() - SAID));
    }
    words::list(&said)
}

/// How many operations a sentence names.
const SAID: usize = 8;

/// `places` are known to be a violation by themselves; none: all of them together are.
fn explain(
    history: &Prepared<'_>,
    keyed: &Keyed<'_>,
    register: &Register<'_>,
    places: &[usize],
    budget: &Budget<'_>,
) -> Anomaly {
    let alone: Vec<RegisterOp> = places.iter().map(|place| register.ops[*place]).collect();
    let suspects = if alone.is_empty() {
        &register.ops
    } else {
        &alone
    };
    let fails = |ops: &[RegisterOp]| {
        !budget.is_exhausted() && search(ops, register.values.len(), budget) == Found::Nothing
    };
    let core = shrink::minimal(suspects, &fails);
    let ops: Vec<&Op<'_>> = core.iter().map(|op| history.op(op)).collect();
    let key = words::key(keyed.key);
    let message = match core.as_slice() {
        [seer] if seer.action.needs().is_some() => {
            let refused = refused_writer(history, keyed, register, seer);
            let why = refused.map_or_else(String::new, |op| {
                format!(": {} was definitely refused", words::noun(op))
            });
            format!(
                "{} of {key} saw a value that nobody had written by then{why}.",
                words::noun(ops[0])
            )
        }
        _ => format!(
            "No order of these operations on {key} fits their times and values: {}.",
            said(&ops)
        ),
    };
    let operations = ops.iter().map(|op| op.index()).collect();
    anomaly("not-linearizable", operations, message, &ADVICE).with("key", key)
}

/// A write of the value that this operation saw, which was definitely refused.
fn refused_writer<'p>(
    history: &'p Prepared<'_>,
    keyed: &Keyed<'_>,
    register: &Register<'_>,
    seer: &RegisterOp,
) -> Option<&'p Op<'p>> {
    let value = register.values.value(seer.action.needs()?);
    let ops = keyed.ops.iter().map(|&i| &history.ops[i]);
    let mut refused = ops.filter(|op| op.outcome() == Outcome::Fail);
    refused.find(|op| match op.f() {
        "write" => op.argument() == value,
        "cas" => op.argument().get(1) == Some(value),
        _ => false,
    })
}
