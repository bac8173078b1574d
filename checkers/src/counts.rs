//! A counter: what was added to it, what reads of it returned, and whether what it holds in the end is what was added.
//!
//! A final read must be what was acknowledged before it, and some of what may have taken effect besides, each add once or not at all; whether some
//! subset adds up is decided exactly ([`crate::sums`]). Null is 0. O(n log n), and O(n) for each final read.

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
    /// The least and the most.
    pub(crate) fn of(&self, read: &Op<'_>) -> (i128, i128) {
        let (sure_up, sure_down) = self.sure.before(read.start());
        let (tried_up, tried_down) = self.tried.by(read.end());
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
            strange: false,
            reads: Vec::new(),
        };
        for op in budget.lasting(keyed.ops.iter().map(|&i| &history.ops[i])) {
            let is_add = op.f() == "add";
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
        Bounds {
            sure: Running::new(acknowledged.map(|add| (add.op.end(), add.by)).collect()),
            tried: Running::new(tried.collect()),
        }
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
        let counts = |add: &&Add<'_>| {
            if (add.by > 0) == low {
                add.surely_before(read)
            } else {
                add.maybe_by(read)
            }
        };
        let name = format!("{}-{side}", if read.is_final() { "final" } else { "read" });
        self.anomaly(
            &name,
            self.adds.iter().filter(counts),
            read,
            message,
            advice,
        )
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
        let adds = sure.into_iter().chain(maybe);
        self.anomaly("no-such-sum", adds, read, message, &ADVICE_HIGH)
    }

    /// An anomaly of a read and these adds.
    pub(crate) fn anomaly<'a>(
        &self,
        name: &str,
        adds: impl Iterator<Item = &'a Add<'a>>,
        read: &Op<'_>,
        message: String,
        advice: &Advice,
    ) -> Anomaly {
        let adds = adds.filter(|add| add.by != 0);
        let operations = adds.map(|add| add.op.index()).chain([read.index()]);
        anomaly(name, operations.collect(), message, advice)
            .shortened()
            .with("key", words::key(self.keyed.key))
    }
}
