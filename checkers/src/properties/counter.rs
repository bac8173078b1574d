//! `counter`: a read lies between what was surely added before it and what may have been, and nothing is lost or added twice in the end.
//!
//! As Jepsen defines it: a read is at least the increments that were acknowledged before it began, with every decrement that may have
//! taken effect by its end, and at most the reverse. Each read is judged alone: that two of them contradict each other is for
//! a model of the counter to find. A final read (a replica's own state, once the target had recovered) must be exact: what was
//! acknowledged, and some of what is unknown, each once. Whether some subset of those adds up is decided exactly ([`crate::sums`]), or
//! else `unknown`. Null is 0. O(n log n), and O(n) for each final read.

use crate::findings::{Advice, Findings, anomaly};
use crate::stream::{Fold, Sums};
use crate::sums::subset_has_sum;
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Outcome, Time};

/// The property.
pub(super) struct Counter;

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

impl Property for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn summary(&self) -> &'static str {
        "every read lies between what was surely added and what may have been; final reads are exact"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Counter)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        for keyed in history.keys_of(Shape::Counter) {
            Key::new(history, keyed, &mut findings).check(history, budget, &mut findings);
        }
        findings.result()
    }

    fn stream<'s>(&self, survey: &'s Prepared<'_>) -> Option<Box<dyn Fold<'s> + 's>> {
        Some(Box::new(Sums::new(survey)))
    }
}

/// A change that may have happened.
#[derive(Clone, Copy)]
struct Add<'p> {
    by: i128,
    op: &'p Op<'p>,
}

impl Add<'_> {
    /// Whether it had surely taken effect when the read began.
    fn surely_before(&self, read: &Op<'_>) -> bool {
        self.op.precedes(read)
    }

    /// Whether it may have taken effect by the end of the read.
    fn maybe_by(&self, read: &Op<'_>) -> bool {
        self.op.start() <= read.end()
    }
}

struct Key<'p> {
    keyed: &'p Keyed<'p>,
    /// In order of invocation.
    adds: Vec<Add<'p>>,
    /// An add of what is no whole number.
    strange: bool,
    /// Answered reads with what they returned.
    reads: Vec<(i128, &'p Op<'p>)>,
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

impl<'p> Key<'p> {
    fn new(history: &'p Prepared<'_>, keyed: &'p Keyed<'p>, findings: &mut Findings) -> Self {
        let mut key = Self {
            keyed,
            adds: Vec::new(),
            strange: false,
            reads: Vec::new(),
        };
        for op in keyed.ops.iter().map(|&i| &history.ops[i]) {
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
                Some(by) if is_add => key.adds.push(Add { by, op }),
                Some(n) => key.reads.push((n, op)),
                None => {
                    key.strange |= is_add;
                    findings.doubt(|| format!("{} is of no whole number", words::noun(op)));
                }
            }
        }
        key
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>, findings: &mut Findings) {
        let name = || words::key(self.keyed.key);
        if self.strange {
            return;
        }
        if self.reads.is_empty() {
            findings.doubt(|| format!("no read of {} was answered", name()));
        }
        let finals = || self.reads.iter().filter(|(_, op)| op.is_final());
        if history.is_run() && finals().next().is_none() {
            findings.doubt(|| format!("no final read of {} was answered", name()));
        }
        findings.checked(self.reads.len());
        self.check_bounds(history, findings);
        for (n, read) in finals() {
            if history.recovered() {
                self.check_exact(*n, read, budget, findings);
            } else {
                findings
                    .doubt(|| format!("the target had not recovered before {}", words::noun(read)));
            }
        }
    }

    fn check_bounds(&self, history: &Prepared<'_>, findings: &mut Findings) {
        let acknowledged = self.adds.iter().filter(|add| add.op.is_ok());
        let sure = Running::new(acknowledged.map(|add| (add.op.end(), add.by)).collect());
        let tried = self.adds.iter().map(|add| (add.op.start(), add.by));
        let tried = Running::new(tried.collect());
        for (n, read) in &self.reads {
            let (sure_up, sure_down) = sure.before(read.start());
            let (tried_up, tried_down) = tried.by(read.end());
            let (least, most) = (sure_up + tried_down, tried_up + sure_down);
            // What a replica holds before it has recovered binds nobody.
            let judged = !read.is_final() || history.recovered();
            if judged && !(least..=most).contains(n) {
                findings.violate(|| self.out_of_bounds(*n, read, least, most));
            }
        }
    }

    fn out_of_bounds(&self, n: i128, read: &Op<'_>, least: i128, most: i128) -> Anomaly {
        let low = n < least;
        let (bound, name, advice) = if low {
            (format!("at least {least}"), "read-too-low", &ADVICE_LOW)
        } else {
            (format!("at most {most}"), "read-too-high", &ADVICE_HIGH)
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
        let adds = self.adds.iter().filter(|add| add.by != 0).filter(counts);
        let mut operations: Vec<u64> = adds.map(|add| add.op.index()).collect();
        operations.push(read.index());
        anomaly(name, operations, message, advice)
            .shortened()
            .with("key", words::key(self.keyed.key))
            .with("least", words::figure(least))
            .with("most", words::figure(most))
    }

    /// A final read inside its bounds, which no subset of the unknown adds may explain.
    fn check_exact(&self, n: i128, read: &Op<'_>, budget: &Budget<'_>, findings: &mut Findings) {
        let (sure, maybe): (Vec<&Add<'_>>, Vec<&Add<'_>>) = self
            .adds
            .iter()
            .filter(|add| add.maybe_by(read))
            .partition(|add| add.surely_before(read));
        let sum: i128 = sure.iter().map(|add| add.by).sum();
        let open: Vec<i128> = maybe.iter().map(|add| add.by).collect();
        let side = |up: bool| -> i128 { open.iter().filter(|by| (**by > 0) == up).sum() };
        if !(side(false)..=side(true)).contains(&(n - sum)) {
            return;
        }
        match subset_has_sum(&open, n - sum, budget) {
            Some(true) => {}
            Some(false) => findings.violate(|| {
                let message = format!(
                    "{} of {} returned {n}: {sum} was acknowledged before, and no choice of the {} that may have taken effect besides \
                     makes up for the difference of {}.",
                    words::noun_short(read),
                    words::key(self.keyed.key),
                    words::plural(open.len(), "add"),
                    n - sum,
                );
                let adds = sure.iter().chain(&maybe).filter(|add| add.by != 0);
                let mut operations: Vec<u64> = adds.map(|add| add.op.index()).collect();
                operations.push(read.index());
                anomaly("no-such-sum", operations, message, &ADVICE_HIGH)
                    .shortened()
                    .with("key", words::key(self.keyed.key))
            }),
            None => findings.doubt(|| {
                format!(
                    "whether {} add up to what {} returned is too large a question",
                    words::plural(open.len(), "unknown add"),
                    words::noun_short(read)
                )
            }),
        }
    }
}
