//! `mutex`: a lock has one holder at a time, and only its holder releases it.
//!
//! Linearizability of a lock that knows its owner, the session. It is not reentrant. Whose acquire was acknowledged holds the lock from then
//! on, until it asks to release it: to acquire as late and to release as early as its intervals allow never hurts anyone. So where the operations of
//! each session follow one another there is nothing to choose, and it holds iff no two of these times overlap: O(n log n). An acquire of unknown
//! outcome after which its session does nothing is left out; a release of unknown outcome is taken to have happened at once.
//!
//! Sessions that go on after an unknown outcome, or do several things at once, are first tried in the order of their invocations, and where
//! that does not fit, searched ([`crate::wgl`]).

use crate::findings::{Advice, Findings, anomaly};
use crate::linearize::Linearization;
use crate::shrink;
use crate::verdict::PropertyResult;
use crate::wgl::{Specification, Timed, search};
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::{Op, Outcome, Time};
use std::collections::BTreeMap;

/// The property.
pub(super) struct Mutex;

const ADVICE_HELD: Advice = Advice {
    cause: "A lease ran out while its holder still believed in it, or a new leader granted the lock again because the first grant was acknowledged \
                  before a majority had it.",
    mend: "Grant locks through consensus, and give each grant a number that grows (a fencing token), so that what the lock protects can refuse \
                          whoever comes late.",
};
const ADVICE_FREE: Advice = Advice {
    cause: "The server does not mind who releases, or acknowledges a release again when it is retried.",
    mend: "Give each grant a token, release only with the token of the present grant, and answer a retry as what it is.",
};

impl Property for Mutex {
    fn name(&self) -> &'static str {
        "mutex"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "a lock has one holder at a time, and only its holder releases it"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Mutex)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        for (done, keyed) in history.keys_of(Shape::Mutex).enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let lock = Lock::new(history, keyed, budget);
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            lock.check(&mut findings, budget);
        }
        findings.result()
    }
}

/// A time for which a session surely holds the lock.
#[derive(Clone, Copy)]
struct Hold<'p> {
    acquire: &'p Op<'p>,
    release: Option<&'p Op<'p>>,
    from: Time,
    until: Time,
}

/// A hold that may be of no length, at any one moment of these.
struct Moment {
    first: Time,
    last: Time,
}

struct Lock<'p> {
    keyed: &'p Keyed<'p>,
    /// By invocation; definite failures say nothing.
    ops: Vec<&'p Op<'p>>,
    sessions: BTreeMap<Option<u64>, Vec<&'p Op<'p>>>,
}

impl<'p> Lock<'p> {
    /// Not all of it where the time is up.
    fn new(history: &'p Prepared<'_>, keyed: &'p Keyed<'p>, budget: &Budget<'_>) -> Self {
        let ops = keyed.ops.iter().map(|&i| &history.ops[i]);
        let ops: Vec<&Op<'_>> = ops.filter(|op| op.outcome() != Outcome::Fail).collect();
        let mut sessions: BTreeMap<Option<u64>, Vec<&Op<'_>>> = BTreeMap::new();
        for op in budget.lasting(&ops) {
            sessions.entry(op.session()).or_default().push(op);
        }
        Self {
            keyed,
            ops,
            sessions,
        }
    }

    fn check(&self, findings: &mut Findings, budget: &Budget<'_>) {
        findings.checked(self.ops.len());
        let (one_by_one, others): (Vec<_>, Vec<_>) = self
            .sessions
            .values()
            .partition(|ops| follow_one_another(ops));
        let before = findings.anomalies();
        let mut holds = Vec::new();
        for ops in one_by_one {
            if findings.out_of_time(budget, || format!("in the sessions of {}", self.lock())) {
                return;
            }
            self.walk(ops, &mut holds, findings);
        }
        holds.sort_by_cached_key(|hold: &Hold<'_>| (hold.from, hold.acquire.index()));
        if findings.out_of_time(budget, || {
            format!("before the holders of {} were compared", self.lock())
        }) {
            return;
        }
        self.overlaps(&holds, findings);
        if others.is_empty() || findings.anomalies() > before {
            return;
        }
        // What an order leaves out of some sessions is right for the others, so what is wrong with those alone stands, and else all are needed.
        if !fits_as_invoked(&others, holds) {
            self.search(findings, budget);
        }
    }

    /// One session whose operations follow one another: when it holds the lock.
    fn walk(&self, ops: &[&'p Op<'p>], holds: &mut Vec<Hold<'p>>, findings: &mut Findings) {
        let mut held: Option<&Op<'_>> = None;
        let mut last: Option<Hold<'_>> = None;
        for &op in ops {
            match (op.f(), op.is_ok(), held) {
                ("acquire", true, before) => {
                    if let Some(before) = before {
                        self.twice(before, op, findings);
                    }
                    held = Some(op);
                }
                // Nothing follows it.
                ("acquire", false, _) | (_, false, None) => {}
                (_, _, Some(acquire)) => {
                    let hold = hold(acquire, Some(op));
                    holds.push(hold);
                    (held, last) = (None, Some(hold));
                }
                (_, true, None) => self.free(last.as_ref(), op, findings),
            }
        }
        holds.extend(held.map(|acquire| hold(acquire, None)));
    }

    fn overlaps(&self, holds: &[Hold<'p>], findings: &mut Findings) {
        let mut holder: Option<Hold<'_>> = None;
        for hold in holds {
            if let Some(first) = holder.filter(|first| hold.from < first.until) {
                self.two(&first, hold, findings);
            }
            if holder.is_none_or(|first| first.until < hold.until) {
                holder = Some(*hold);
            }
        }
    }

    /// Its name in a sentence.
    fn lock(&self) -> String {
        let key = self.keyed.key;
        key.map_or_else(|| "the lock".to_owned(), |key| format!("the lock {key}"))
    }

    fn two(&self, first: &Hold<'_>, second: &Hold<'_>, findings: &mut Findings) {
        let (key, lock) = (words::key(self.keyed.key), self.lock());
        findings.violate(|| {
            let until = match first.release {
                Some(release) => format!("until it asked to release it at {}", release.start()),
                None => "and never asked to release it".to_owned(),
            };
            let message = format!(
                "{} held {lock} from {}, when its acquire was acknowledged, {until}; yet {} was acknowledged between.",
                first.acquire.process(),
                first.from,
                words::noun(second.acquire),
            );
            let ops = [Some(first.acquire), first.release, Some(second.acquire)];
            let operations = ops.into_iter().flatten().map(Op::index).collect();
            anomaly("two-holders", operations, message, &ADVICE_HELD)
                .with("key", key)
                .with("holders", vec![
                    first.acquire.process().to_string(),
                    second.acquire.process().to_string(),
                ])
        });
    }

    fn twice(&self, first: &Op<'_>, second: &Op<'_>, findings: &mut Findings) {
        let (key, lock) = (words::key(self.keyed.key), self.lock());
        findings.violate(|| {
            let message = format!(
                "{} was acknowledged on {lock}, and then {}, with no release by it between: a lock is not given to who holds it already.",
                words::noun(first),
                words::noun(second)
            );
            let operations = vec![first.index(), second.index()];
            anomaly("acquired-twice", operations, message, &ADVICE_HELD).with("key", key)
        });
    }

    fn free(&self, last: Option<&Hold<'_>>, release: &Op<'_>, findings: &mut Findings) {
        let (key, lock) = (words::key(self.keyed.key), self.lock());
        findings.violate(|| {
            let before = last.and_then(|hold| hold.release);
            let why = before.map_or_else(
                || "it had never acquired it".to_owned(),
                |before| format!("{} had given it back", words::noun(before)),
            );
            let message = format!(
                "{} of {lock} was acknowledged, but it did not hold it: {why}.",
                words::noun(release)
            );
            let earlier = last.map(|hold| hold.acquire).into_iter().chain(before);
            let operations = earlier.chain([release]).map(Op::index).collect();
            anomaly("released-unheld", operations, message, &ADVICE_FREE).with("key", key)
        });
    }

    fn search(&self, findings: &mut Findings, budget: &Budget<'_>) {
        let timed = |(place, op): (usize, &&Op<'_>)| Timed {
            call: call(op),
            start: op.start(),
            end: op.end(),
            place: place as u32,
        };
        let ops: Vec<Timed<Call>> = self.ops.iter().enumerate().map(timed).collect();
        let (key, lock) = (words::key(self.keyed.key), self.lock());
        match search(&ops, Holder(None), budget) {
            Linearization::Exists => {}
            Linearization::Impossible(_) => findings.violate(|| {
                let fails = |ops: &[Timed<Call>]| {
                    let found = search(ops, Holder(None), budget);
                    matches!(found, Linearization::Impossible(_))
                };
                let core = shrink::minimal(&ops, &fails);
                let core = core.iter().map(|op| self.ops[op.place as usize]);
                let said: Vec<String> = core.clone().map(words::noun).take(SAID).collect();
                let message = format!(
                    "No order of these operations on {lock} gives it to one session at a time, and lets only that one release it: {}.",
                    words::list(&said)
                );
                let operations = core.map(Op::index).collect();
                anomaly("two-holders", operations, message, &ADVICE_HELD).with("key", key)
            }),
            Linearization::OutOf(what, at) => findings.doubt(|| {
                let at = self.ops.get(at).map_or_else(String::new, |op| words::noun(op));
                format!("{key}: the search ran out of {what}, at {at}")
            }),
        }
    }
}

/// How many operations a sentence names.
const SAID: usize = 8;

fn follow_one_another(ops: &[&Op<'_>]) -> bool {
    ops.windows(2).all(|pair| pair[0].precedes(pair[1]))
}

fn hold<'p>(acquire: &'p Op<'p>, release: Option<&'p Op<'p>>) -> Hold<'p> {
    Hold {
        acquire,
        release,
        from: acquire.end(),
        until: release.map_or(Time::INFINITY, Op::start),
    }
}

/// Whether the other sessions' operations fit beside these holds if each session does them in the order of their invocations. If so, that is an order.
fn fits_as_invoked<'p>(others: &[&Vec<&'p Op<'p>>], mut holds: Vec<Hold<'p>>) -> bool {
    let mut moments = Vec::new();
    for ops in others {
        if plan(ops, &mut holds, &mut moments).is_none() {
            return false;
        }
    }
    holds.sort_by_key(|hold| hold.from);
    let apart = holds.windows(2).all(|pair| pair[0].until <= pair[1].from);
    apart
        && moments.iter().all(|moment| {
            let at = holds.partition_point(|hold| hold.from < moment.first);
            let inside = at.checked_sub(1).map(|at| &holds[at]);
            inside.is_none_or(|hold| hold.until <= moment.last)
        })
}

/// The holds of one session in the order of invocations; nothing where that is no order of a lock.
fn plan<'p>(
    ops: &[&'p Op<'p>],
    holds: &mut Vec<Hold<'p>>,
    moments: &mut Vec<Moment>,
) -> Option<()> {
    let mut held: Option<&Op<'_>> = None;
    for (i, &op) in ops.iter().enumerate() {
        let next = ops[i + 1..].iter().find(|op| op.is_ok());
        let next_releases = next.is_some_and(|op| op.f() == "release");
        match (op.f(), op.is_ok(), held) {
            ("acquire", true, None) => held = Some(op),
            // One of unknown outcome happened if its session released next.
            ("acquire", false, None) if next_releases => held = Some(op),
            ("acquire", false, _) | (_, false, None) => {}
            (_, false, Some(_)) if next_releases => {}
            ("acquire", true, Some(_)) | (_, true, None) => return None,
            (_, _, Some(acquire)) => {
                let hold = hold(acquire, Some(op));
                if hold.from < hold.until {
                    holds.push(hold);
                } else {
                    let (first, last) = (op.start(), acquire.end().min(op.end()));
                    moments.push(Moment { first, last });
                }
                held = None;
            }
        }
    }
    holds.extend(
        held.filter(|op| op.is_ok())
            .map(|acquire| hold(acquire, None)),
    );
    Some(())
}

/// What a session does to the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Acquire(u64),
    Release(u64),
}

fn call(op: &Op<'_>) -> Call {
    // Every client has one.
    let session = op.session().unwrap_or_default();
    match op.f() {
        "acquire" => Call::Acquire(session),
        _ => Call::Release(session),
    }
}

impl shrink::Call for Call {
    fn unanswered(&self) -> Option<Self> {
        Some(*self)
    }

    /// A session's operations are left out together, or not at all. Two sessions of one number here only stay or go together.
    fn gives(&self) -> Vec<u32> {
        let (Self::Acquire(session) | Self::Release(session)) = self;
        vec![*session as u32]
    }

    fn needs(&self) -> Vec<u32> {
        self.gives()
    }

    fn stays(&self) -> bool {
        false
    }
}

/// Who holds the lock: it follows from what was taken.
struct Holder(Option<u64>);

impl Specification for Holder {
    type Call = Call;

    fn observes(_: &Call) -> bool {
        false
    }

    fn ways(&self, call: &Call, ways: &mut Vec<u32>) {
        let allowed = match call {
            Call::Acquire(_) => self.0.is_none(),
            Call::Release(session) => self.0 == Some(*session),
        };
        ways.extend(allowed.then_some(0));
    }

    fn apply(&mut self, call: &Call, _: u32) {
        self.0 = match call {
            Call::Acquire(session) => Some(*session),
            Call::Release(_) => None,
        };
    }

    fn undo(&mut self, call: &Call, _: u32) {
        self.0 = match call {
            Call::Acquire(_) => None,
            Call::Release(session) => Some(*session),
        };
    }

    fn fingerprint(&self) -> u128 {
        0
    }
}
