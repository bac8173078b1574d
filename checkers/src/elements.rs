//! A set, element by element: who may have added and removed it, and which reads have it.

use crate::finals::{Finals, final_reads};
use crate::findings::Findings;
use crate::intern::{Interner, Val};
use crate::{Budget, Keyed, Prepared, words};
use schism_history::{Op, Outcome, Time};
use serde_json::Value;

/// What is known of one element.
#[derive(Clone, Default)]
pub(crate) struct Element<'p> {
    /// The adds that may have happened, by invocation.
    pub(crate) adds: Vec<&'p Op<'p>>,
    /// A definitely refused add.
    pub(crate) refused: Option<&'p Op<'p>>,
    /// The removes that may have happened, by invocation.
    pub(crate) removes: Vec<&'p Op<'p>>,
    /// The places of the reads that have it, ascending.
    pub(crate) seen: Vec<u32>,
    /// The same of the final reads.
    pub(crate) seen_finally: Vec<u32>,
    /// A read that has it twice.
    pub(crate) twice: Option<&'p Op<'p>>,
}

impl<'p> Element<'p> {
    /// The add that was acknowledged first.
    pub(crate) fn acknowledged(&self) -> Option<&'p Op<'p>> {
        let acknowledged = self.adds.iter().copied().filter(|op| op.is_ok());
        acknowledged.min_by_key(|op| (op.end(), op.index()))
    }
}

/// One set.
pub(crate) struct Elements<'p> {
    pub(crate) values: Interner<'p>,
    /// By the number of the value.
    pub(crate) all: Vec<Element<'p>>,
    /// The answered reads that are no replica's own state, by invocation.
    pub(crate) reads: Vec<&'p Op<'p>>,
    /// The final reads by invocation; or why there are none.
    pub(crate) finals: Result<Vec<&'p Op<'p>>, &'static str>,
    /// Whether the history marks its final reads.
    pub(crate) marked: bool,
}

impl<'p> Elements<'p> {
    /// Not all of it where the time is up, which the findings say: then nothing can be concluded from it.
    pub(crate) fn new(
        history: &'p Prepared<'_>,
        keyed: &Keyed<'_>,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) -> Self {
        let finals = final_reads(history, keyed);
        let marked = !matches!(finals, Finals::Last(_));
        let ops = || keyed.ops.iter().map(|&i| &history.ops[i]);
        let answered = |op: &&Op<'_>| op.f() == "read" && op.is_ok();
        let mut set = Self {
            reads: ops().filter(answered).filter(|op| !op.is_final()).collect(),
            finals: match finals {
                Finals::Marked(reads) | Finals::Last(reads) => Ok(reads),
                Finals::None(why) => Err(why),
            },
            marked,
            ..Self::empty()
        };
        for op in budget.lasting(ops().filter(|op| op.f() != "read")) {
            set.change(op);
        }
        let finals = set.finals.clone().unwrap_or_default();
        let all = set.reads.len() + finals.len();
        let mut late = |done: usize| {
            findings.out_of_time(budget, || {
                format!("after {done} of {all} reads of {}", words::key(keyed.key))
            })
        };
        for (place, read) in set.reads.clone().into_iter().enumerate() {
            if late(place) {
                return set;
            }
            set.scan(read, place as u32, false, budget);
        }
        for (place, read) in finals.into_iter().enumerate() {
            if late(set.reads.len() + place) {
                return set;
            }
            set.scan(read, place as u32, true, budget);
        }
        set
    }

    /// A set that nobody has touched.
    pub(crate) fn empty() -> Self {
        Self {
            values: Interner::new(),
            all: vec![Element::default()],
            reads: Vec::new(),
            finals: Ok(Vec::new()),
            marked: true,
        }
    }

    /// The number of an element.
    pub(crate) fn number(&mut self, value: &'p Value) -> Val {
        let number = self.values.intern(value);
        if self.all.len() < self.values.len() {
            self.all.resize(self.values.len(), Element::default());
        }
        number
    }

    fn element(&mut self, value: &'p Value) -> &mut Element<'p> {
        let number = self.number(value) as usize;
        &mut self.all[number]
    }

    fn change(&mut self, op: &'p Op<'p>) {
        let element = self.element(op.argument());
        match (op.f(), op.outcome()) {
            ("add", Outcome::Fail) => element.refused = Some(op),
            ("add", _) => element.adds.push(op),
            (_, Outcome::Fail) => {}
            _ => element.removes.push(op),
        }
    }

    fn scan(&mut self, read: &'p Op<'p>, place: u32, finally: bool, budget: &Budget<'_>) {
        let list = read.result().and_then(Value::as_array);
        for value in budget.lasting(list.into_iter().flatten()) {
            let element = self.element(value);
            let seen = if finally {
                &mut element.seen_finally
            } else {
                &mut element.seen
            };
            if seen.last() == Some(&place) {
                element.twice = element.twice.or(Some(read));
            } else {
                seen.push(place);
            }
        }
    }

    /// The final reads that began after a moment, and how many of them have the element.
    pub(crate) fn finally(&self, element: &Element<'_>, after: Time) -> (&[&'p Op<'p>], usize) {
        let finals = self.finals.as_deref().unwrap_or_default();
        let first = finals.partition_point(|read| read.start() <= after);
        let before = element
            .seen_finally
            .partition_point(|place| (*place as usize) < first);
        (&finals[first..], element.seen_finally.len() - before)
    }

    /// The last of the reads that stand in for final ones, if it began after the element was known and lacks it.
    pub(crate) fn gone_at_last(&self, element: &Element<'p>) -> Option<&'p Op<'p>> {
        let finals = self.finals.as_deref().unwrap_or_default();
        let last = finals.last().filter(|_| !self.marked)?;
        let has_it = element.seen_finally.last() == Some(&(finals.len() as u32 - 1));
        let mut known = self.seen_by(element).chain(element.acknowledged());
        (!has_it && known.any(|op| op.precedes(last))).then_some(*last)
    }

    /// The reads that have the element, final ones included.
    pub(crate) fn seen_by<'s>(
        &'s self,
        element: &'s Element<'p>,
    ) -> impl Iterator<Item = &'p Op<'p>> + 's {
        let finals = self.finals.as_deref().unwrap_or_default();
        let ordinary = element.seen.iter().map(|place| self.reads[*place as usize]);
        ordinary.chain(
            element
                .seen_finally
                .iter()
                .map(|place| finals[*place as usize]),
        )
    }

    /// The first to end of the reads that have the element, and are no final ones.
    pub(crate) fn seen_before_the_end(&self, element: &Element<'p>) -> Option<&'p Op<'p>> {
        let first = self.finals.as_ref().ok().and_then(|finals| finals.first());
        let stand_in =
            |read: &&Op<'_>| !self.marked && first.is_some_and(|f| f.index() <= read.index());
        let reads = element.seen.iter().map(|place| self.reads[*place as usize]);
        reads
            .filter(|read| !stand_in(read))
            .min_by_key(|read| (read.end(), read.index()))
    }

    /// The last read that began after a moment and lacks the element: as many steps as reads have it, at most.
    pub(crate) fn last_without(&self, element: &Element<'_>, after: Time) -> Option<&'p Op<'p>> {
        let mut absent = self.reads.len();
        for place in element.seen.iter().rev() {
            if *place as usize + 1 < absent {
                break;
            }
            absent = *place as usize;
        }
        let read = self.reads[absent.checked_sub(1)?];
        (read.start() > after).then_some(read)
    }
}
