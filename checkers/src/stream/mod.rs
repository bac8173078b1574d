//! Histories that are larger than memory: properties as folds over what goes by.
//!
//! The file is read three times at most. The first pass ([`Survey`]) finds what only the whole tells: which keys there are and what lives there, the faults,
//! who never answered. The second one ([`run`]) folds every property that allows it, in memory for the operations in flight and for what the property
//! must remember. What it suspects, the third pass collects, a few operations or a key, and the ordinary checker judges that:
//! so a verdict and its proof come from one place, whichever way a history was read. What cannot be folded, or remembers too much, is `unknown`.

mod bank;
mod counter;
mod counts;
mod digest;
mod ids;
mod judge;
mod keys;
mod moments;
mod registers;
mod stale;
mod survey;

pub(crate) use bank::Balances;
pub(crate) use counter::Sums;
pub(crate) use counts::Counted;
pub(crate) use ids::Ids;
pub(crate) use registers::Windows;
pub(crate) use stale::Replacements;
pub use survey::Survey;

use crate::properties::stats::Tally;
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Chosen, Prepared};
use judge::Collected;
use moments::Moments;
use schism_history::{Event, Op, Step, Steps, Time, jsonl};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A property as a fold. Of each moment it is told first what begins and then what ends: operations that touch are not ordered.
pub trait Fold<'s> {
    /// An operation begins.
    fn begins(&mut self, _invoke: &Event) {}

    /// It ended, or it never will: then it has no completion.
    fn ended(&mut self, op: &Op<'_>);

    /// All of this moment was told.
    fn moment(&mut self, _now: Time) {}

    /// About how much it remembers.
    fn bytes(&self) -> u64 {
        0
    }

    /// What it says in the end.
    fn finish(self: Box<Self>) -> Finish<'s>;
}

/// What a fold says.
pub struct Finish<'s> {
    /// What is decided already.
    pub(crate) result: PropertyResult,
    /// How many anomalies there are, where the fold counts them and the ordinary checker sees a part.
    pub(crate) count: Option<u64>,
    /// What must be looked at again.
    pub(crate) again: Option<Again<'s>>,
}

impl Finish<'_> {
    pub(crate) fn decided(result: PropertyResult) -> Self {
        Self {
            result,
            count: None,
            again: None,
        }
    }
}

/// Which operations to collect, in parts that are judged one by one.
pub struct Again<'s> {
    /// The part that an operation belongs to.
    pub(crate) select: Select<'s>,
    pub(crate) parts: Vec<Part>,
}

/// Says of an operation which part it belongs to.
type Select<'s> = Box<dyn FnMut(&Op<'_>) -> Option<usize> + 's>;

/// Operations that are judged together.
#[derive(Debug, Default)]
pub struct Part {
    /// In words.
    pub(crate) what: String,
    /// Where the fold is sure of a violation: what it says of it when the operations are too many to collect.
    pub(crate) sure: Option<Anomaly>,
}

/// What a pass needs of the one before it.
pub struct Frame<'p, 's> {
    /// What the first pass found.
    pub survey: &'s Survey,
    /// The same, made ready.
    pub prepared: &'s Prepared<'p>,
    /// How much each property may remember.
    pub memory_bytes: u64,
}

/// How often memory is asked for, in moments.
const ASK_EVERY: u64 = 1 << 12;

/// Decides the chosen properties. `open` begins a pass over the events; `check` is the ordinary way, under its own limits.
pub fn run<I: Iterator<Item = Result<Event, jsonl::Error>>>(
    frame: &Frame<'_, '_>,
    chosen: Vec<Chosen>,
    open: &mut dyn FnMut() -> Result<I, jsonl::Error>,
    check: &dyn Fn(Chosen, &Prepared<'_>) -> PropertyResult,
) -> Result<(Tally, Vec<(Chosen, PropertyResult)>), jsonl::Error> {
    let mut running: Vec<Running<'_>> =
        chosen.into_iter().map(|c| Running::new(frame, c)).collect();
    let mut tally = Tally::default();
    let mut moments = Moments::new(frame.survey);
    let mut count = 0_u64;
    let mut told = |moments: &mut Moments<'_>| {
        count += 1;
        for op in moments.ended() {
            tally.add(frame.prepared, &op);
        }
        for one in &mut running {
            one.tell(
                moments,
                count
                    .is_multiple_of(ASK_EVERY)
                    .then_some(frame.memory_bytes),
            );
        }
        moments.clear();
    };
    let mut steps = Steps::new();
    for event in open()? {
        let step = steps.take(event?)?;
        if moments.is_over(&step) {
            told(&mut moments);
        }
        moments.add(step);
    }
    told(&mut moments);
    let finished: Vec<(Chosen, Finish<'_>)> = running.into_iter().map(Running::finish).collect();
    let results = judge::judge(frame, finished, open, check)?;
    Ok((tally, results))
}

/// A property on its way.
struct Running<'s> {
    chosen: Chosen,
    fold: Result<Box<dyn Fold<'s> + 's>, String>,
}

impl<'s> Running<'s> {
    fn new(frame: &Frame<'_, 's>, chosen: Chosen) -> Self {
        let property = chosen.property;
        let fold = if frame.survey.is_cut() {
            Err("there are more keys than the memory limit allows".to_owned())
        } else if property.fits(frame.prepared) {
            let why = || "it needs the whole history in memory, and this one is too large for that";
            property
                .stream(frame.prepared)
                .ok_or_else(|| why().to_owned())
        } else {
            Err("the history has no operations that it is about".to_owned())
        };
        Self { chosen, fold }
    }

    /// One moment, and where a bound is given, whether it is kept. One that crashes is unknown, never a pass.
    fn tell(&mut self, moment: &Moments<'_>, memory_bytes: Option<u64>) {
        let Ok(fold) = &mut self.fold else {
            return;
        };
        let told = catch_unwind(AssertUnwindSafe(|| {
            moment.begun().for_each(|event| fold.begins(event));
            moment.ended().for_each(|op| fold.ended(&op));
            fold.moment(moment.time());
        }));
        if told.is_err() {
            self.fold = Err(format!("the checker crashed at {}", moment.time()));
        } else if let Some(limit) = memory_bytes.filter(|limit| fold.bytes() > *limit) {
            self.fold = Err(format!(
                "ran out of memory ({} MB) at {}: what it must remember grows with this history",
                limit >> 20,
                moment.time()
            ));
        }
    }

    fn finish(self) -> (Chosen, Finish<'s>) {
        let finish = match self.fold {
            Ok(fold) => catch_unwind(AssertUnwindSafe(|| fold.finish())).unwrap_or_else(|_| {
                Finish::decided(PropertyResult::unknown("the checker crashed at the end"))
            }),
            Err(why) => Finish::decided(PropertyResult::unknown(why)),
        };
        (self.chosen, finish)
    }
}

/// The operations of a selection, as a history of their own.
fn collect<I: Iterator<Item = Result<Event, jsonl::Error>>>(
    frame: &Frame<'_, '_>,
    events: I,
    collected: &mut [Collected<'_>],
) -> Result<(), jsonl::Error> {
    let mut steps = Steps::new();
    for event in events {
        match steps.take(event?)? {
            Step::Begins(_) | Step::Nemesis(_) => {}
            Step::Ended(invoke, completion) => {
                let op = Op {
                    invoke: &invoke,
                    completion: Some(&completion),
                };
                for one in collected.iter_mut() {
                    one.offer(&op, frame.memory_bytes);
                }
            }
        }
    }
    for invoke in steps.open() {
        let op = Op {
            invoke: &invoke,
            completion: None,
        };
        for one in collected.iter_mut() {
            one.offer(&op, frame.memory_bytes);
        }
    }
    Ok(())
}
