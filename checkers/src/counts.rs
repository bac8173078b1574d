//! A counter: what was added to it, what reads of it returned, and whether what it holds in the end is what was added.
//!
//! A final read must be what was acknowledged before it, and some of what may have taken effect besides, each add once or not at all; whether some
//! subset adds up is decided exactly ([`crate::sums`]). Null is 0. O(n log n), and O(n) for each final read.
//!
//! What an anomaly names is minimal. A read that is too low names just enough acknowledged increments, the greatest first, to exceed it; one that is too high
//! is a violation alone (with some add, to tell a counter), for fewer increments make it no better, unless only decrements keep it down. So is one
//! that no choice of adds makes: the message has the figures, and the details the adds to choose from.

use crate::findings::{Advice, Findings, anomaly};
use crate::sums::subset_has_sum;
use crate::verdict::Anomaly;
use crate::{Budget, Keyed, Prepared, words};
use schism_history::{Op, Outcome, Time};

pub(crate) const ADVICE_LOW: Advice = Advice {
    cause: "Increments were lost with a leader, overwritten by a sum that another replica wrote back, or not yet replicated to who answered.",
    mend: "Acknowledge an increment only when a majority has it (ack=majority), read from where every acknowledged one is, and merge \
           counters by replica instead of writing back a sum.",
};
pub(crate) const ADVICE_HIGH: Advice = Advice {
    cause: "An increment that was retried was applied twice, or one that had been refused took effect after all.",
    mend: "Give each increment an id and apply it once, also when it is retried; refuse definitely only what can no longer take \
           effect.",
};

/// A change that may have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Add<'p> {
    pub(crate) by: i128,
    pub(crate) op: &'p Op<'p>,
}

impl Add<'_> {
    /// Whether it had surely taken effect when the read began.
    pub(crate) fn surely_before(&self, read: &Op<'_>) -> bool {
        self.op.precedes(read)
    }

    /// Which adds explain least of a read that is too low (or too high): the greatest first, or the least.
    pub(crate) fn of_side(low: bool) -> impl Fn(&Add<'_>) -> i128 {
        move |add| if low { add.by } else { -add.by }
    }

    /// Whether it may have taken effect by the end of the read.
    pub(crate) fn maybe_by(&self, read: &Op<'_>) -> bool {
        self.op.start() <= read.end()
    }
}

/// The operations on one counter.
pub(crate) struct Counts<'p> {
    pub(crate) keyed: &'p Keyed<'p>,
    /// In order of invocation.
    pub(crate) adds: Vec<Add<'p>>,
    /// A definitely refused add.
    refused: Option<&'p Op<'p>>,
    /// An add of what is no whole number.
    pub(crate) strange: bool,
    /// Answered reads with what they returned, in order of invocation.
    pub(crate) reads: Vec<(i128, &'p Op<'p>)>,
}

/// Sums of the increments and of the decrements among the first so many adds of an order.
struct Running {
    times: Vec<Time>,
    up: Vec<i128>,
    down: Vec<i128>,
}

impl Running {
    fn new(mut adds: Vec<(Time, i128)>) -> Self {
        adds.sort_unstable();
        let (mut up, mut down) = (vec![0], vec![0]);
        for (i, (_, by)) in adds.iter().enumerate() {
            up.push(up[i] + by.max(&0));
            down.push(down[i] + by.min(&0));
        }
        let times = adds.into_iter().map(|(time, _)| time).collect();
        Self { times, up, down }
    }

    fn before(&self, time: Time) -> (i128, i128) {
        let n = self.times.partition_point(|t| *t < time);
        (self.up[n], self.down[n])
    }

    fn by(&self, time: Time) -> (i128, i128) {
        let n = self.times.partition_point(|t| *t <= time);
        (self.up[n], self.down[n])
    }
}

/// What a read may return at least and at most, where one counter in one place answers.
pub(crate) struct Bounds {
    sure: Running,
    tried: Running,
}

impl Bounds {
    /// Of adds that surely happened, by their ends, and of all that were tried, by their starts.
    pub(crate) fn new(sure: Vec<(Time, i128)>, tried: Vec<(Time, i128)>) -> Self {
        let (sure, tried) = (Running::new(sure), Running::new(tried));
        Self { sure, tried }
    }

    /// The least and the most.
    pub(crate) fn of(&self, read: &Op<'_>) -> (i128, i128) {
        self.between(read.start(), read.end())
    }

    /// The same for a read in this interval.
    pub(crate) fn between(&self, start: Time, end: Time) -> (i128, i128) {
        let (sure_up, sure_down) = self.sure.before(start);
        let (tried_up, tried_down) = self.tried.by(end);
        (sure_up + tried_down, tried_up + sure_down)
    }

    /// The same for a replica that may lack what others have acknowledged.
    pub(crate) fn anywhere(&self, read: &Op<'_>) -> (i128, i128) {
        let (up, down) = self.tried.by(read.end());
        (down, up)
    }
}

/// Whether what a final read returned adds up.
pub(crate) enum Exact {
    /// It does.
    Yes,
    /// It is below or above what can be, or between and no subset makes it.
    No,
    /// That is too large a question: so many adds.
    TooLarge(usize),
}

impl<'p> Counts<'p> {
    /// Not all of them where the time is up.
    pub(crate) fn new(
        history: &'p Prepared<'_>,
        keyed: &'p Keyed<'p>,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) -> Self {
        let mut counts = Self {
            keyed,
            adds: Vec::new(),
            refused: None,
            strange: false,
            reads: Vec::new(),
        };
        for op in budget.lasting(keyed.ops.iter().map(|&i| &history.ops[i])) {
            let is_add = op.f() == "add";
            if is_add && op.outcome() == Outcome::Fail {
                counts.refused = counts.refused.or(Some(op));
            }
            let said = match op.outcome() {
                Outcome::Ok | Outcome::Info if is_add => Some(op.argument()),
                _ if is_add => None,
                _ => op.result(),
            };
            let Some(said) = said else {
                continue;
            };
            match words::whole(said) {
                Some(by) if is_add => counts.adds.push(Add { by, op }),
                Some(n) => counts.reads.push((n, op)),
                None => {
                    counts.strange |= is_add;
                    findings.doubt(|| format!("{} is of no whole number", words::noun(op)));
                }
            }
        }
        counts
    }

    pub(crate) fn finals(&self) -> impl Iterator<Item = (i128, &'p Op<'p>)> + '_ {
        let reads = self.reads.iter().copied();
        reads.filter(|(_, op)| op.is_final())
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let acknowledged = self.adds.iter().filter(|add| add.op.is_ok());
        let tried = self.adds.iter().map(|add| (add.op.start(), add.by));
        let sure = acknowledged.map(|add| (add.op.end(), add.by));
        Bounds::new(sure.collect(), tried.collect())
    }

    /// Doubts where nothing says what the counter holds, or holds in the end.
    pub(crate) fn doubt_silence(&self, history: &Prepared<'_>, findings: &mut Findings) {
        let name = || words::key(self.keyed.key);
        if self.reads.is_empty() {
            findings.doubt(|| format!("no read of {} was answered", name()));
        }
        if history.is_run() && self.finals().next().is_none() {
            findings.doubt(|| format!("no final read of {} was answered", name()));
        }
    }

    /// Judges the final reads: they must be exact, once the target has recovered.
    pub(crate) fn check_finals(
        &self,
        history: &Prepared<'_>,
        bounds: &Bounds,
        budget: &Budget<'_>,
        findings: &mut Findings,
    ) {
        for (n, read) in self.finals() {
            let late = || format!("at the final reads of {}", words::key(self.keyed.key));
            if findings.out_of_time(budget, late) {
                return;
            }
            if !history.recovered() {
                findings
                    .doubt(|| format!("the target had not recovered before {}", words::noun(read)));
                continue;
            }
            let (least, most) = bounds.of(read);
            if !(least..=most).contains(&n) {
                findings.violate(|| self.out_of_bounds(n, read, least, most));
                continue;
            }
            match self.exact(n, read, budget) {
                Exact::Yes => {}
                Exact::No => findings.violate(|| self.no_such_sum(n, read)),
                Exact::TooLarge(adds) => findings.doubt(|| {
                    format!(
                        "whether {} add up to what {} returned is too large a question",
                        words::plural(adds, "unknown add"),
                        words::noun_short(read)
                    )
                }),
            }
        }
    }

    /// What had surely taken effect before a read, and what else may have by its end.
    fn known(&self, read: &Op<'_>) -> (Vec<&Add<'p>>, Vec<&Add<'p>>) {
        let begun = self.adds.iter().filter(|add| add.maybe_by(read));
        begun.partition(|add| add.surely_before(read))
    }

    /// Whether what was acknowledged before a read and some of what may have taken effect besides make what it returned.
    pub(crate) fn exact(&self, n: i128, read: &Op<'_>, budget: &Budget<'_>) -> Exact {
        let (sure, maybe) = self.known(read);
        let sum: i128 = sure.iter().map(|add| add.by).sum();
        let open: Vec<i128> = maybe.iter().map(|add| add.by).collect();
        let side = |up: bool| -> i128 { open.iter().filter(|by| (**by > 0) == up).sum() };
        if !(side(false)..=side(true)).contains(&(n - sum)) {
            return Exact::No;
        }
        match subset_has_sum(&open, n - sum, budget) {
            Some(true) => Exact::Yes,
            Some(false) => Exact::No,
            None => Exact::TooLarge(open.len()),
        }
    }

    pub(crate) fn out_of_bounds(&self, n: i128, read: &Op<'_>, least: i128, most: i128) -> Anomaly {
        let low = n < least;
        let (bound, side, advice) = if low {
            (format!("at least {least}"), "too-low", &ADVICE_LOW)
        } else {
            (format!("at most {most}"), "too-high", &ADVICE_HIGH)
        };
        let (up, down) = if low {
            ("acknowledged before it began", "tried by its end")
        } else {
            ("tried by its end", "acknowledged before it began")
        };
        let message = format!(
            "{} of {} returned {n}, and must be {bound}: increments {up}, and decrements {down}.",
            words::noun_short(read),
            words::key(self.keyed.key),
        );
        let name = format!("{}-{side}", if read.is_final() { "final" } else { "read" });
        let operations = self.named(&self.enough(n, read, low), Add::of_side(low), read);
        self.anomaly(&name, operations, message, advice)
            .with("least", words::figure(least))
            .with("most", words::figure(most))
    }

    fn no_such_sum(&self, n: i128, read: &Op<'_>) -> Anomaly {
        let (sure, maybe) = self.known(read);
        let sum: i128 = sure.iter().map(|add| add.by).sum();
        let message = format!(
            "{} of {} returned {n}: {sum} was acknowledged before, and no choice of the {} that may have taken effect besides \
             makes up for the difference of {}.",
            words::noun_short(read),
            words::key(self.keyed.key),
            words::plural(maybe.len(), "add"),
            n - sum,
        );
        // With one add that surely happened, nothing is another sum than that.
        let shows = sure.into_iter().find(|add| n == 0 && add.by != 0);
        let operations = self.named(shows.as_slice(), |add| add.by != n, read);
        self.anomaly("no-such-sum", operations, message, &ADVICE_HIGH)
            .with("may_be_in_it", indexes(&maybe))
    }

    /// These adds with the read; where there are none, one add all the same, of which the read is as wrong, and where the read is of null, one of a number:
    /// without these, nobody would know that this is a counter.
    pub(crate) fn named<O: Ord>(
        &self,
        adds: &[&Add<'_>],
        harmless: impl Fn(&Add<'_>) -> O,
        read: &Op<'_>,
    ) -> Vec<u64> {
        let mut operations: Vec<u64> = adds.iter().map(|add| add.op.index()).collect();
        if operations.is_empty() {
            let other = self.adds.iter().rev().max_by_key(|add| harmless(add));
            operations.extend(other.map(|add| add.op).or(self.refused).map(Op::index));
        }
        operations.push(read.index());
        let numeric = |op: &Op<'_>| op.result().is_some_and(serde_json::Value::is_number);
        if !numeric(read) {
            let other = self.reads.iter().find(|(_, op)| numeric(op));
            operations.extend(other.map(|(_, op)| op.index()));
        }
        operations
    }

    /// Acknowledged before a read, the greatest first, until they alone are more (or less, where it is too high) than it returned.
    fn enough(&self, n: i128, read: &Op<'_>, low: bool) -> Vec<&Add<'p>> {
        let sign = if low { 1 } else { -1 };
        let of_the_side = |add: &&Add<'_>| add.by * sign > 0 && add.surely_before(read);
        let mut adds: Vec<&Add<'p>> = self.adds.iter().filter(of_the_side).collect();
        adds.sort_by_key(|add| (std::cmp::Reverse(add.by.abs()), add.op.index()));
        adds.truncate(enough(adds.iter().map(|add| add.by * sign), n * sign));
        adds
    }

    /// An anomaly of this counter.
    pub(crate) fn anomaly(
        &self,
        name: &str,
        operations: Vec<u64>,
        message: String,
        advice: &Advice,
    ) -> Anomaly {
        anomaly(name, operations, message, advice).with("key", words::key(self.keyed.key))
    }
}

/// How many of these numbers, from the first on, add up to more than a bound.
pub(crate) fn enough(numbers: impl Iterator<Item = i128>, bound: i128) -> usize {
    let mut sum = 0;
    let short = |number: &i128| {
        let short = sum <= bound;
        sum += number;
        short
    };
    numbers.take_while(short).count()
}

/// The first of some adds by their names, for the details of an anomaly.
pub(crate) fn indexes(adds: &[&Add<'_>]) -> Vec<u64> {
    const LISTED: usize = 20;
    let adds = adds.iter().filter(|add| add.by != 0);
    adds.take(LISTED).map(|add| add.op.index()).collect()
}
