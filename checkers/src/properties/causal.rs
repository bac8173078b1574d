//! `causal`: whoever saw an effect also saw its causes.
//!
//! Ahamad et al. 1995; here what Bouajjani et al. (POPL 2017) call causal consistency (CC), by their bad patterns ([`crate::causality`]): there is an order
//! in which each session's operations and each write before its reads stand, and every read returns a write of its key that no other one
//! before the read replaced. Two sessions may see writes that nobody ordered in different orders, and so may one session, now this and now that;
//! whether one order of all writes fits everybody as well (causal convergence, `CCv`) is said in `details`, and decides nothing here. Keys are judged together: the
//! property is not local. Session order is that of operations of which one ended before the other began. A compare-and-set is a read and a
//! write at once; one that was refused must have found something else. Where a value was written more than once nobody knows whom a reader
//! saw: what is sure is judged, and the rest holds only if each key by itself is linearizable, or one order of everything is found.
//!
//! O(n * sessions), see there; a million operations of fifty sessions take some 350 MB.

use crate::accesses::{Access, Accesses, Plan, Source, minimal};
use crate::causality::{Bad, Causality};
use crate::findings::{Advice, Findings, anomaly};
use crate::total_order::{self, Found};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Prepared, Property, Shape, words};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The property.
pub(super) struct Causal;

const ADVICE: Advice = Advice {
    cause: "Replicas apply writes as they arrive, without those that their writers had seen before, or a session moved to a replica that lags.",
    mend: "Send each write with what its session had seen (versions, a vector clock), hold it back at every replica until that is there, and let \
                    a session only read where all that it saw is.",
};

impl Property for Causal {
    fn name(&self) -> &'static str {
        "causal"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "whoever saw an effect also saw its causes: what its session did before, and what it had read"
    }

    fn only_when_named(&self) -> bool {
        true
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Register)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let late = || "before the operations were put in order".to_owned();
        if findings.out_of_time(budget, late) {
            return findings.result();
        }
        let accesses = Accesses::new(history, budget);
        if findings.out_of_time(budget, late) {
            return findings.result();
        }
        for why in &accesses.strange {
            findings.doubt(|| why.clone());
        }
        findings.checked(accesses.all.len());
        let causality = Causality::new(&accesses.all, &accesses.space, budget);
        violations(&accesses, &causality, budget, &mut findings);
        if let Some((what, at)) = causality.out_of {
            let at = accesses.noun(&accesses.all[at as usize]);
            findings.doubt(|| format!("the check ran out of {what} at {at}"));
        } else if !causality.is_violated() {
            doubts(&accesses, &causality, budget, &mut findings);
        }
        if let Some(convergent) = causality.convergent {
            findings.detail("one_order_of_writes", convergent);
        }
        findings.detail("sessions", causality.plan.lanes.sessions.len());
        findings.detail("clock_bytes", causality.bytes());
        findings.result()
    }
}

/// All that was found; also of what implies this property.
pub(super) fn violations(
    accesses: &Accesses<'_>,
    causality: &Causality<'_>,
    budget: &Budget<'_>,
    findings: &mut Findings,
) {
    for bad in &causality.bad {
        findings.violate(|| explain(accesses, causality, bad, budget));
    }
}

/// What unique values do not decide: an order of everything does, if one is found.
fn doubts(
    accesses: &Accesses<'_>,
    causality: &Causality<'_>,
    budget: &Budget<'_>,
    findings: &mut Findings,
) {
    let plan = &causality.plan;
    let ambiguous =
        (0..plan.all.len()).find(|at| plan.happened[*at] && plan.sources[*at] == Source::Several);
    if ambiguous.is_none() && causality.unexplained.is_empty() {
        return;
    }
    if accesses.linearizable(budget) == Some(true)
        || matches!(
            total_order::search(&accesses.all, &accesses.space, budget),
            Found::Order
        )
    {
        return;
    }
    if let Some(at) = ambiguous {
        findings.doubt(|| several(accesses, &accesses.all[at]));
    }
    for at in &causality.unexplained {
        findings.doubt(|| {
            let noun = accesses.noun(&accesses.all[*at as usize]);
            format!("nothing that came before {noun} says which other value it found")
        });
    }
}

/// Why a reader of this value says nothing.
pub(super) fn several(accesses: &Accesses<'_>, access: &Access) -> String {
    let version = access.reads.unwrap_or_default();
    format!(
        "{} was written with {} more than once, so nobody knows whose write {} found",
        accesses.key(access.key),
        accesses.version(access.key, version),
        accesses.noun(access)
    )
}

fn explain(
    accesses: &Accesses<'_>,
    causality: &Causality<'_>,
    bad: &Bad,
    budget: &Budget<'_>,
) -> Anomaly {
    let mut places = match bad {
        Bad::Cycle(cycle) => cycle.clone(),
        Bad::ThinAir(read) => vec![*read],
        Bad::Initial { write, read } => causality.way(*write, *read),
        Bad::Overwritten { old, new, read } => {
            let mut way = causality.way(*old, *new);
            way.extend(causality.way(*new, *read));
            way
        }
    };
    places.sort_unstable();
    places.dedup();
    let places = closed(&causality.plan, places).into_iter();
    let suspects: Vec<Access> = places.map(|at| accesses.all[at as usize]).collect();
    let violated =
        |part: &[Access]| Causality::new(part, &accesses.space, &Budget::unlimited()).is_violated();
    let core = minimal(&suspects, budget, &violated);
    let small = Causality::new(&core, &accesses.space, &Budget::unlimited());
    let (name, message) = match small.bad.first() {
        Some(bad) => (bad_name(bad), sentence(accesses, &small, bad)),
        None => (
            "not-causal",
            "These operations contradict one another.".to_owned(),
        ),
    };
    anomaly(name, accesses.indexes(&core), message, &ADVICE)
}

/// With the writes whose values they found, and with who shows that what is unknown happened; and so on.
pub(super) fn closed(plan: &Plan<'_>, mut places: Vec<u32>) -> Vec<u32> {
    let mut all = BTreeSet::new();
    while let Some(at) = places.pop() {
        if !all.insert(at) {
            continue;
        }
        if let Source::Write(source) = plan.sources[at as usize] {
            places.push(source);
        }
        if !plan.all[at as usize].certain() {
            let seers = (0..plan.all.len())
                .filter(|i| plan.happened[*i] && plan.sources[*i] == Source::Write(at));
            let seers: Vec<u32> = seers.map(|i| i as u32).collect();
            let certain = seers.iter().position(|i| plan.all[*i as usize].certain());
            places.extend(certain.map_or(&seers[..], |i| &seers[i..=i]));
        }
    }
    all.into_iter().collect()
}

fn bad_name(bad: &Bad) -> &'static str {
    match bad {
        Bad::Cycle(_) => "cyclic-causality",
        Bad::ThinAir(_) => "thin-air-read",
        Bad::Initial { .. } => "lost-cause",
        Bad::Overwritten { .. } => "overwritten-read",
    }
}

fn sentence(accesses: &Accesses<'_>, causality: &Causality<'_>, bad: &Bad) -> String {
    let noun = |at: u32| accesses.noun(&causality.plan.all[at as usize]);
    match bad {
        Bad::ThinAir(read) => thin_air(accesses, &causality.plan.all[*read as usize]),
        Bad::Cycle(cycle) => {
            let round = cycle
                .iter()
                .chain(cycle.first())
                .copied()
                .collect::<Vec<u32>>();
            format!(
                "These operations came before one another in a circle: {}.",
                steps(accesses, causality, &round)
            )
        }
        Bad::Initial { write, read } => {
            let way = steps(accesses, causality, &causality.way(*write, *read));
            format!(
                "{} returned nothing, although {} came before it: {way}.",
                noun(*read),
                noun(*write)
            )
        }
        Bad::Overwritten { old, new, read } => {
            let mut way = causality.way(*old, *new);
            way.extend(causality.way(*new, *read).into_iter().skip(1));
            let way = steps(accesses, causality, &way);
            format!(
                "{} found what {} had replaced by then: {way}.",
                noun(*read),
                noun(*new)
            )
        }
    }
}

/// Why a value that nobody wrote is none.
pub(super) fn thin_air(accesses: &Accesses<'_>, read: &Access) -> String {
    let refused = accesses.refused_writer(read.key, read.reads.unwrap_or_default());
    let why = refused.map_or_else(String::new, |op| {
        format!(": {} was definitely refused", words::noun(op))
    });
    format!(
        "{} found a value that nobody had written{why}.",
        accesses.noun(read)
    )
}

/// A way in words, step by step.
fn steps(accesses: &Accesses<'_>, causality: &Causality<'_>, way: &[u32]) -> String {
    let noun = |at: u32| accesses.noun(&causality.plan.all[at as usize]);
    let mut said = way.first().map_or_else(String::new, |first| noun(*first));
    for (step, pair) in way.windows(2).enumerate() {
        let which = if step == 0 { "" } else { ", which" };
        let seen = causality.plan.sources[pair[1] as usize] == Source::Write(pair[0]);
        let how = if seen {
            "was seen by"
        } else {
            "came in its session before"
        };
        let _ = write!(said, "{which} {how} {}", noun(pair[1]));
    }
    said
}
