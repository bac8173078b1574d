//! What a history can be checked as by `linearizable`: the sequential objects, by Knossos' names where it has them.
//!
//! Each model reads operations as calls, decides whether an order of them exists (by a structure of its own where there is one, else by
//! [`crate::wgl`]), and what it does not know is an error, never left out in silence. Reading null means that nothing was there; Knossos lets a nil
//! read match anything, because its histories cannot tell the two apart.

pub(crate) mod counter;
mod multi_register;
mod mutex;
mod queue;
mod set;

use crate::linearize::Linearization;
use crate::shrink::{self, Call};
use crate::wgl::Timed;
use crate::{Budget, Keyed, Prepared, words};
use schism_history::Op;
use serde_json::Value;
use std::fmt;

/// A sequential object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// `read`, `write`.
    Register,
    /// The same with `cas` `[old, new]`.
    CasRegister,
    /// Several registers, read and written together: `txn` of `["r", key, value]` and `["w", key, value]`, or `read` and `write` whose value is a
    /// list of such, a list of `[key, value]`, or an object; or plain ones of the operation's key.
    MultiRegister,
    /// `acquire`, `release`, by whomever, as in Knossos: the property `mutex` minds who.
    Mutex,
    /// `add`, `remove`, and `read` of the whole set.
    Set,
    /// `enqueue`, and `dequeue` of what went in first; null: there was nothing.
    FifoQueue,
    /// `enqueue`, and `dequeue` of anything that is there; null: there was nothing.
    UnorderedQueue,
    /// `add` of a whole number, and `read` of the sum.
    Counter,
}

impl Model {
    /// Every model there is.
    pub const ALL: [Self; 8] = [
        Self::Register,
        Self::CasRegister,
        Self::MultiRegister,
        Self::Mutex,
        Self::Set,
        Self::FifoQueue,
        Self::UnorderedQueue,
        Self::Counter,
    ];

    /// Its stable name, kebab-case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::CasRegister => "cas-register",
            Self::MultiRegister => "multi-register",
            Self::Mutex => "mutex",
            Self::Set => "set",
            Self::FifoQueue => "fifo-queue",
            Self::UnorderedQueue => "unordered-queue",
            Self::Counter => "counter",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    /// The functions that it knows.
    fn functions(self) -> &'static [&'static str] {
        match self {
            Self::Register => &["read", "write"],
            Self::CasRegister => &["read", "write", "cas"],
            Self::MultiRegister => &["txn", "read", "write"],
            Self::Mutex => &["acquire", "release"],
            Self::Set => &["add", "remove", "read"],
            Self::FifoQueue | Self::UnorderedQueue => &["enqueue", "dequeue"],
            Self::Counter => &["add", "read"],
        }
    }

    /// What must fit beside the times.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Self::Register | Self::CasRegister => "values",
            Self::MultiRegister => {
                "what registers hold that are read and written together, at one moment"
            }
            Self::Mutex => "a lock that is held once at a time",
            Self::Set => "what a set holds",
            Self::FifoQueue => "a queue out of which comes what went in first",
            Self::UnorderedQueue => "a queue that gives out once what went in",
            Self::Counter => "what a counter sums up to",
        }
    }

    /// Whether all operations of the history are ones that it knows.
    pub(crate) fn knows(self, history: &Prepared<'_>) -> Result<(), String> {
        for op in &history.ops {
            self.knows_function(op)?;
        }
        match self {
            Self::Register => Ok(()),
            Self::CasRegister => {
                let mut cas = history.ops.iter().filter(|op| op.f() == "cas");
                cas.try_for_each(|op| pair(op).map(drop))
            }
            Self::MultiRegister => multi_register::objects(history).map(drop),
            _ => {
                let indexes: Vec<usize> = (0..history.ops.len()).collect();
                self.read_only(history, &indexes)
            }
        }
    }

    fn knows_function(self, op: &Op<'_>) -> Result<(), String> {
        if self.functions().contains(&op.f()) {
            return Ok(());
        }
        let (index, f, known) = (op.index(), op.f(), self.functions().join(", "));
        let hint = if self == Self::Register && f == "cas" {
            "; use cas-register"
        } else {
            ""
        };
        Err(format!(
            "event {index}: the model {self} knows {known}, and not {f:?}{hint}"
        ))
    }

    fn read_only(self, history: &Prepared<'_>, indexes: &[usize]) -> Result<(), String> {
        match self {
            Self::Set => read(&mut set::Set::new(), history, indexes).map(drop),
            Self::Counter => read(&mut counter::Counter, history, indexes).map(drop),
            Self::FifoQueue | Self::UnorderedQueue => {
                read(&mut queue::Queue::new(self), history, indexes).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The objects of the history: what is said of each, and its operations. Most models are local, so each key is an object.
    pub(crate) fn objects(self, history: &Prepared<'_>) -> Result<Vec<Object>, String> {
        if self == Self::MultiRegister {
            return multi_register::objects(history);
        }
        Ok(history.keys.iter().map(Object::of).collect())
    }

    /// Decides one object. Registers are decided elsewhere ([`crate::linearize`]).
    pub(crate) fn decide(
        self,
        history: &Prepared<'_>,
        indexes: &[usize],
        budget: &Budget<'_>,
    ) -> Result<Judged, String> {
        match self {
            Self::Register | Self::CasRegister => {
                Err("registers are decided by their own search".to_owned())
            }
            Self::MultiRegister => {
                let kind = multi_register::MultiRegister::new();
                judge(kind, history, indexes, budget)
            }
            Self::Mutex => judge(mutex::Mutex::default(), history, indexes, budget),
            Self::Set => judge(set::Set::new(), history, indexes, budget),
            Self::FifoQueue | Self::UnorderedQueue => {
                judge(queue::Queue::new(self), history, indexes, budget)
            }
            Self::Counter => judge(counter::Counter, history, indexes, budget),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One object of a history.
pub(crate) struct Object {
    /// In a sentence.
    pub(crate) name: String,
    /// Indexes into [`Prepared::ops`], ordered by invocation.
    pub(crate) indexes: Vec<usize>,
}

impl Object {
    /// What lives under a key.
    pub(crate) fn of(keyed: &Keyed<'_>) -> Self {
        Self {
            name: words::key(keyed.key),
            indexes: keyed.ops.clone(),
        }
    }
}

/// What is known of one object.
pub(crate) struct Judged {
    /// How many operations said something.
    pub(crate) checked: usize,
    /// An order exists; or not, as these places in [`Prepared::ops`] show; or the budget ran out, at this place.
    pub(crate) answer: Linearization,
}

/// A model that reads operations as calls and decides over them.
pub(crate) trait Kind<'h> {
    /// What an operation asks and answers.
    type Call: Call + Ord;

    /// The call of an operation that may have happened; nothing where it says nothing.
    fn call(&mut self, op: &Op<'h>) -> Result<Option<Self::Call>, String>;

    /// Whether an order of them exists, sorted by start. What it names as impossible proves it as it stands; nothing named: it has to be found.
    fn decide(&self, ops: &[Timed<Self::Call>], budget: &Budget<'_>) -> Linearization;

    /// Fewer of the operations of a core that was found by leaving out all that may go; `ops` are the whole.
    fn fewer(
        &self,
        _ops: &[Timed<Self::Call>],
        core: Vec<Timed<Self::Call>>,
        _fails: Fails<'_, Self::Call>,
    ) -> Vec<Timed<Self::Call>> {
        core
    }
}

/// Whether no order of these operations exists.
type Fails<'f, C> = &'f dyn Fn(&[Timed<C>]) -> bool;

/// The calls of an object, sorted by start. Definite failures and a replica's own state say nothing.
fn read<'h, K: Kind<'h>>(
    kind: &mut K,
    history: &Prepared<'h>,
    indexes: &[usize],
) -> Result<Vec<Timed<K::Call>>, String> {
    let mut calls = Vec::with_capacity(indexes.len());
    for &place in indexes {
        let op = &history.ops[place];
        if op.outcome() == schism_history::Outcome::Fail || op.is_final() {
            continue;
        }
        let call = kind.call(op);
        if let Some(call) = call.map_err(|why| format!("event {}: {why}", op.index()))? {
            calls.push(Timed {
                call,
                start: op.start(),
                end: op.end(),
                place: place as u32,
            });
        }
    }
    Ok(calls)
}

fn judge<'h, K: Kind<'h>>(
    mut kind: K,
    history: &Prepared<'h>,
    indexes: &[usize],
    budget: &Budget<'_>,
) -> Result<Judged, String> {
    let ops = read(&mut kind, history, indexes)?;
    let place = |op: &Timed<K::Call>| op.place as usize;
    let answer = match kind.decide(&ops, budget) {
        Linearization::Exists => Linearization::Exists,
        Linearization::Impossible(core) if core.is_empty() => {
            let fails = |ops: &[Timed<K::Call>]| {
                !budget.is_exhausted()
                    && matches!(kind.decide(ops, budget), Linearization::Impossible(_))
            };
            let core = kind.fewer(&ops, shrink::minimal(&ops, &fails), &fails);
            Linearization::Impossible(core.iter().map(place).collect())
        }
        Linearization::Impossible(core) => {
            Linearization::Impossible(core.iter().map(|i| place(&ops[*i])).collect())
        }
        Linearization::OutOf(what, at) => {
            Linearization::OutOf(what, ops.get(at).map_or(usize::MAX, place))
        }
    };
    let checked = ops.len();
    Ok(Judged { checked, answer })
}

/// The two values of a compare-and-set.
pub(crate) fn pair<'h>(op: &Op<'h>) -> Result<(&'h Value, &'h Value), String> {
    match op.argument() {
        Value::Array(pair) if pair.len() == 2 => Ok((&pair[0], &pair[1])),
        other => Err(format!(
            "event {}: a cas takes [old, new], not {other}",
            op.index()
        )),
    }
}
