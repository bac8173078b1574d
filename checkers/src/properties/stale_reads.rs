//! `stale-reads`: a read returns the newest acknowledged value, or a newer one.
//!
//! A read of A is stale when some write B was invoked after A had surely taken effect and acknowledged before the read began: then A, B
//! and the read stand in this order in every explanation. A has surely taken effect by the earliest finish of its own write and of the reads
//! that returned it (the zone of Gibbons and Korach 1997), so a fresh read is never blamed for another read's
//! staleness. Both figures are lower bounds: versions are the acknowledged writes that lie wholly between; milliseconds
//! count from the earliest such acknowledgement to the read's start. The least k and the least delta of the whole are in the details, exact or as
//! bounds ([`crate::atomicity`]). A read that overlaps its write, or returns what nobody wrote, is
//! for `linearizable` to judge.

use crate::atomicity::{Distance, distance};
use crate::findings::{Advice, Findings, anomaly};
use crate::intern::{ABSENT, Val};
use crate::register::{Action, Register, RegisterOp};
use crate::stream::{Fold, Replacements};
use crate::verdict::PropertyResult;
use crate::{Budget, Keyed, Prepared, Property, Shape, words};
use schism_history::Time;
use serde_json::json;

/// The property.
pub(super) struct StaleReads;

pub(crate) const ADVICE: Advice = Advice {
    cause: "A follower that lags behind answered, or a deposed leader that did not know yet; under quorums, a read quorum that does not overlap the write quorum.",
    mend: "Read from a leader that confirms its leadership with a majority before it answers (read=leader-quorum), or from \
                    a quorum that overlaps every write quorum.",
};

impl Property for StaleReads {
    fn name(&self) -> &'static str {
        "stale-reads"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "no read returns a value that an acknowledged write had replaced before the read began"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Register)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let mut stale = Vec::new();
        let mut whole = Whole::default();
        for (done, keyed) in history.keys_of(Shape::Register).enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let register = Register::new(history, keyed, budget);
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            if let Some(why) = &register.strange {
                findings.doubt(|| why.clone());
            }
            let found = Found::new(&register, keyed, &mut findings, budget);
            findings.checked(found.reads);
            whole.join(&register, &found, budget);
            if let Some(read) = found.unexplained {
                findings.doubt(|| {
                    format!(
                        "nobody had written what {} returned",
                        words::noun(history.op(&read))
                    )
                });
            }
            stale.extend(found.stale.into_iter().map(|s| (keyed, s)));
        }
        // The stalest first: they tell the most.
        stale.sort_by_key(|(_, s)| (std::cmp::Reverse(s.behind_ns()), s.read.place));
        distribution(&stale, &mut findings);
        whole.said(&mut findings);
        for (keyed, s) in &stale {
            findings.violate(|| said(history, keyed, s));
        }
        findings.result()
    }

    fn stream<'s>(&self, survey: &'s Prepared<'_>) -> Option<Box<dyn Fold<'s> + 's>> {
        Some(Box::new(Replacements::new(survey)))
    }
}

/// How far the registers together are from atomic: each figure is that of the worst of them.
#[derive(Default)]
struct Whole {
    k_min: usize,
    k_max: usize,
    delta_ns_min: u64,
    /// A register for which there are lower bounds only, also where the time was up.
    open: bool,
}

impl Whole {
    fn join(&mut self, register: &Register<'_>, found: &Found, budget: &Budget<'_>) {
        let of_reads = || {
            let versions = found.stale.iter().map(|s| s.versions).max();
            let behind = found.stale.iter().map(Stale::behind_ns).max();
            Distance {
                k: (1 + versions.unwrap_or(0), usize::MAX),
                delta_ns: behind.unwrap_or(0),
            }
        };
        let known = distance(&register.ops, register.values.len(), budget);
        self.open |= known.is_none();
        let Distance { k, delta_ns } = known.unwrap_or_else(of_reads);
        self.k_min = self.k_min.max(k.0);
        self.k_max = self.k_max.max(k.1);
        self.delta_ns_min = self.delta_ns_min.max(delta_ns);
    }

    fn said(&self, findings: &mut Findings) {
        if self.k_min == self.k_max {
            findings.detail("k", self.k_min);
        } else {
            findings.detail("k_min", self.k_min);
            if !self.open {
                findings.detail("k_max", self.k_max);
            }
        }
        let delta = if self.open {
            "delta_ms_min"
        } else {
            "delta_ms"
        };
        findings.detail(delta, ms(self.delta_ns_min));
    }
}

/// Milliseconds, to the microsecond.
fn ms(ns: u64) -> f64 {
    (ns as f64 / 1e3).round() / 1e3
}

/// A stale read, the write whose value it returned (none for the initial value), and the earliest acknowledged one that had replaced it.
struct Stale {
    read: RegisterOp,
    of: Option<Written>,
    newer: RegisterOp,
    versions: usize,
}

impl Stale {
    fn behind_ns(&self) -> u64 {
        self.read.start.since(self.newer.end)
    }
}

struct Found {
    reads: usize,
    stale: Vec<Stale>,
    unexplained: Option<RegisterOp>,
}

impl Found {
    /// Of the reads up to the moment at which the time is up.
    fn new(
        register: &Register<'_>,
        keyed: &Keyed<'_>,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) -> Self {
        let replaced = Replaced::new(&register.ops);
        let sources = Sources::new(register);
        let mut found = Self {
            reads: 0,
            stale: Vec::new(),
            unexplained: None,
        };
        let all = register.ops.len();
        for (done, read) in register.ops.iter().enumerate() {
            let what = || format!("operations on {}", words::key(keyed.key));
            if findings.out_of_time_after(budget, (done, all), what) {
                break;
            }
            let Action::Read(value) = read.action else {
                continue;
            };
            found.reads += 1;
            match sources.of(value, read) {
                Source::Nobody => found.unexplained = found.unexplained.or(Some(*read)),
                Source::Write(of) => {
                    let surely_by = of.map(|of| of.witness.end);
                    if let Some((newer, versions)) = replaced.between(surely_by, read.start) {
                        found.stale.push(Stale {
                            read: *read,
                            of,
                            newer,
                            versions,
                        });
                    }
                }
            }
        }
        found
    }
}

enum Source {
    /// No write that had begun by the end of the read.
    Nobody,
    /// This write; `None`: the initial value.
    Write(Option<Written>),
}

/// A write, and who proves that it had taken effect by the end of that one: itself, or an operation that saw its value.
#[derive(Debug, Clone, Copy)]
struct Written {
    write: RegisterOp,
    witness: RegisterOp,
}

/// Who wrote what.
struct Sources {
    /// For each value its writers by invocation, each replaced by an earlier one that is sure only later.
    writers: Vec<Vec<(Time, Written)>>,
}

impl Sources {
    fn new(register: &Register<'_>) -> Self {
        let mut writers: Vec<Vec<(Time, Written)>> = vec![Vec::new(); register.values.len()];
        for op in &register.ops {
            if let Some(value) = op.action.writes() {
                writers[value as usize].push((
                    op.start,
                    Written {
                        write: *op,
                        witness: *op,
                    },
                ));
            }
        }
        for seer in &register.ops {
            let Some(value) = seer.action.needs().filter(|_| seer.certain()) else {
                continue;
            };
            // One writer: whoever saw its value proves that it had taken effect. With several nobody knows which one.
            if let [(_, written)] = writers[value as usize].as_mut_slice()
                && value != ABSENT
                && seer.end >= written.write.start
                && seer.end < written.witness.end
            {
                written.witness = *seer;
            }
        }
        for of_value in &mut writers {
            for i in 1..of_value.len() {
                if of_value[i - 1].1.witness.end > of_value[i].1.witness.end {
                    of_value[i].1 = of_value[i - 1].1;
                }
            }
        }
        Self { writers }
    }

    /// The writer that makes the read look freshest, of those that had begun when the read ended.
    fn of(&self, value: Val, read: &RegisterOp) -> Source {
        let writers = &self.writers[value as usize];
        let begun = writers.partition_point(|(start, _)| *start <= read.end);
        match writers[..begun].last() {
            Some((_, written)) => Source::Write(Some(*written)),
            None if value == ABSENT => Source::Write(None),
            None => Source::Nobody,
        }
    }
}

/// The acknowledged writes by invocation.
struct Replaced {
    writes: Vec<RegisterOp>,
    /// By place, the earliest acknowledgement of it and the later ones.
    earliest: Vec<usize>,
    /// By place, the latest acknowledgement of it and the earlier ones.
    latest_end: Vec<Time>,
    /// All acknowledgements, sorted.
    ends: Vec<Time>,
}

impl Replaced {
    fn new(ops: &[RegisterOp]) -> Self {
        let written = |op: &&RegisterOp| op.action.writes().is_some() && op.certain();
        let writes: Vec<_> = ops.iter().filter(written).copied().collect();
        let mut earliest: Vec<usize> = (0..writes.len()).collect();
        for i in (1..writes.len()).rev() {
            if writes[earliest[i]].end < writes[earliest[i - 1]].end {
                earliest[i - 1] = earliest[i];
            }
        }
        let mut latest_end: Vec<Time> = writes.iter().map(|w| w.end).collect();
        for i in 1..latest_end.len() {
            latest_end[i] = latest_end[i].max(latest_end[i - 1]);
        }
        let mut ends: Vec<Time> = writes.iter().map(|w| w.end).collect();
        ends.sort_unstable();
        Self {
            writes,
            earliest,
            latest_end,
            ends,
        }
    }

    /// The earliest acknowledged write that lies wholly between, and how many there are.
    fn between(&self, after: Option<Time>, before: Time) -> Option<(RegisterOp, usize)> {
        let from = after.map_or(0, |after| self.writes.partition_point(|w| w.start <= after));
        let newer = self.writes[*self.earliest.get(from)?];
        (newer.end < before).then(|| (newer, self.count(from, before)))
    }

    /// Writes from this place on that ended before: all that ended, less the earlier ones that did.
    fn count(&self, from: usize, before: Time) -> usize {
        let ended = self.ends.partition_point(|end| *end < before);
        let open = (0..from)
            .rev()
            .take_while(|&i| self.latest_end[i] >= before);
        ended - (from - open.filter(|&i| self.writes[i].end >= before).count())
    }
}

fn said(history: &Prepared<'_>, keyed: &Keyed<'_>, stale: &Stale) -> crate::verdict::Anomaly {
    let (read, newer) = (history.op(&stale.read), history.op(&stale.newer));
    let key = words::key(keyed.key);
    let seen = stale.of.filter(|of| of.witness != of.write).map(|of| {
        format!(
            " (the older value was there before that, for {} saw it)",
            words::noun_short(history.op(&of.witness))
        )
    });
    let message = format!(
        "{} of {key} returned {} although {} had been acknowledged {} before it began: at least {} behind{}.",
        words::noun_short(read),
        words::value(read.result().unwrap_or(&serde_json::Value::Null)),
        words::noun(newer),
        words::span(newer.end(), read.start()),
        words::plural(stale.versions, "version"),
        seen.unwrap_or_default(),
    );
    let mut operations = vec![newer.index(), read.index()];
    if let Some(of) = &stale.of {
        operations.extend(
            [of.write, of.witness]
                .iter()
                .map(|op| history.op(op).index()),
        );
    }
    anomaly("stale-read", operations, message, &ADVICE)
        .with("key", key)
        .with("versions_behind_min", stale.versions)
        .with("behind_ms_min", ms(stale.behind_ns()))
}

/// How stale, over all stale reads: median, 95th percentile and maximum.
fn distribution(stale: &[(&Keyed<'_>, Stale)], findings: &mut Findings) {
    if stale.is_empty() {
        return;
    }
    let mut versions: Vec<usize> = stale.iter().map(|(_, s)| s.versions).collect();
    let mut ms: Vec<f64> = stale.iter().map(|(_, s)| ms(s.behind_ns())).collect();
    versions.sort_unstable();
    ms.sort_by(f64::total_cmp);
    let at = |q: usize| (stale.len() - 1) * q / 100;
    findings.detail(
        "versions_behind",
        json!({"p50": versions[at(50)], "p95": versions[at(95)], "max": versions[at(100)]}),
    );
    findings.detail(
        "behind_ms",
        json!({"p50": ms[at(50)], "p95": ms[at(95)], "max": ms[at(100)]}),
    );
}
