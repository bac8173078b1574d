//! `pram`: each session sees the writes of every other one in the order in which that made them.
//!
//! Lipton and Sandberg 1988 ("pipelined RAM", FIFO consistency): for each session there is an order of its own operations and of all writes that keeps every
//! session's order, and in which its reads return the last write of their key. Keys are judged together. Weaker than `sequential` (which has one order for
//! all); neither weaker nor stronger than `causal`, which lets a session see two unordered writes now in this order and now in that,
//! and wants causes over other sessions as well. A compare-and-set is a read and a write at once to its own session, and a write to others.
//!
//! Decided by closure for values that are written once ([`crate::pipelines`]), some O(n * sessions): a million operations of fifty sessions take
//! some 350 MB, and ten times as long as `causal`. Where a session has several
//! operations in flight, where values repeat and where a compare-and-set was refused, by a search of that session's view under the budget
//! ([`crate::total_order`]).

use super::causal::{closed, thin_air};
use crate::accesses::{Access, Accesses, Plan, Space, happened, minimal, sources};
use crate::findings::{Advice, Findings, anomaly};
use crate::pipelines::{Pipelines, View, seen_by};
use crate::total_order::{self, Found};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Prepared, Property, Shape, words};

/// The property.
pub(super) struct Pram;

const ADVICE: Advice = Advice {
    cause: "Writes of one session travel by different ways (partitions, leaders, connections) and arrive in another order, or a session moved to a \
                    replica that lags.",
    mend: "Number each session's writes and let every replica apply them in turn, and keep a session's reads at replicas that are not behind what it saw.",
};

impl Property for Pram {
    fn name(&self) -> &'static str {
        "pram"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "each session sees the writes of every other one in the order in which that made them"
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
        let views = Views::new(&accesses.all, &accesses.space, budget);
        violations(&accesses, &views, budget, &mut findings);
        if views.contradictions.is_empty() && !views.open.is_empty() {
            search(&accesses, &views, budget, &mut findings);
        }
        if let Some((what, at)) = views.out_of {
            let at = accesses.noun(&accesses.all[at as usize]);
            findings.doubt(|| format!("the check ran out of {what} at {at}"));
        }
        findings.detail("sessions", views.sessions);
        findings.result()
    }
}

/// What closure says of all sessions.
pub(super) struct Views<'a> {
    plan: Plan<'a>,
    sessions: usize,
    /// Operations that no order of a session's view explains.
    pub(super) contradictions: Vec<(u32, Vec<u32>)>,
    /// Sessions that it does not decide.
    open: Vec<u32>,
    out_of: Option<(&'static str, u32)>,
}

impl<'a> Views<'a> {
    pub(super) fn new(all: &'a [Access], space: &'a Space, budget: &Budget<'_>) -> Self {
        let mut pipelines = Pipelines::new(Plan::new(all, space, budget), budget);
        let (mut contradictions, mut open, mut out_of) = (Vec::new(), Vec::new(), None);
        if !all.is_empty() && budget.is_exhausted() {
            out_of = Some(("time", 0));
        }
        for number in 0..pipelines.sessions() {
            if out_of.is_some() {
                break;
            }
            match pipelines.view(number, budget) {
                View::Fits => {}
                View::Open => open.push(number as u32),
                View::Contradiction(suspects) => contradictions.push((number as u32, suspects)),
                View::OutOf(what, at) => out_of = Some((what, at)),
            }
        }
        Self {
            sessions: pipelines.sessions(),
            plan: pipelines.plan,
            contradictions,
            open,
            out_of,
        }
    }
}

/// One for each session whose view has no order.
pub(super) fn violations(
    accesses: &Accesses<'_>,
    views: &Views<'_>,
    budget: &Budget<'_>,
    findings: &mut Findings,
) {
    for (session, suspects) in &views.contradictions {
        findings.violate(|| {
            let places = closed(&views.plan, suspects.clone()).into_iter();
            let suspects: Vec<Access> = places.map(|at| accesses.all[at as usize]).collect();
            let contradicts = |part: &[Access]| {
                let unlimited = Budget::unlimited();
                let plan = Plan::new(part, &accesses.space, &unlimited);
                let mut pipelines = Pipelines::new(plan, &unlimited);
                let there = (*session as usize) < pipelines.sessions();
                there
                    && matches!(
                        pipelines.view(*session as usize, &unlimited),
                        View::Contradiction(_)
                    )
            };
            let core = minimal(&suspects, budget, &contradicts);
            explain(accesses, *session, &core)
        });
    }
}

/// Sessions that closure does not decide. Whether a compare-and-set of unknown outcome happened must be the same to all: first none did that nobody is
/// known to have seen.
fn search(
    accesses: &Accesses<'_>,
    views: &Views<'_>,
    budget: &Budget<'_>,
    findings: &mut Findings,
) {
    if accesses.linearizable(budget) == Some(true) {
        return;
    }
    let known = known(accesses, &accesses.all);
    let is_open = |a: &Access| !a.certain() && a.reads.is_some();
    let without: Vec<Access> = known.iter().filter(|a| !is_open(a)).copied().collect();
    let fits = |all: &[Access], session: u32| {
        total_order::search(&view(session, all), &accesses.space, budget)
    };
    if without.len() < known.len()
        && (0..views.sessions as u32).all(|session| fits(&without, session) == Found::Order)
    {
        return;
    }
    for &session in &views.open {
        match fits(&known, session) {
            Found::Order if without.len() < known.len() => findings.doubt(|| {
                let unknown = known.iter().find(|a| is_open(a)).map_or_else(String::new, |a| accesses.noun(a));
                format!("nobody knows whether {unknown} took effect")
            }),
            Found::Order => {}
            Found::Nothing => findings.violate(|| {
                let none = |part: &[Access]| fits(&self::known(accesses, part), session) == Found::Nothing;
                explain(accesses, session, &minimal(&accesses.all, budget, &none))
            }),
            Found::OutOf(what, at, taken) => findings.doubt(|| {
                let blocks = view(session, &known).get(at as usize).map_or_else(String::new, |a| accesses.noun(a));
                format!("the search of one session's view ran out of {what} after {taken} operations, at {blocks}")
            }),
        }
    }
}

/// With what is known to have happened marked as such.
fn known(accesses: &Accesses<'_>, all: &[Access]) -> Vec<Access> {
    let happened = happened(all, &sources(all, &accesses.space));
    let known = all.iter().zip(&happened);
    known
        .map(|(access, happened)| Access {
            forced: *happened,
            ..*access
        })
        .collect()
}

fn view(session: u32, all: &[Access]) -> Vec<Access> {
    all.iter().filter_map(|a| seen_by(session, a)).collect()
}

/// How many operations a sentence names.
pub(super) const SAID: usize = 8;

fn explain(accesses: &Accesses<'_>, session: u32, core: &[Access]) -> Anomaly {
    let indexes = accesses.indexes(core);
    if let [read] = core
        && read.reads.is_some()
    {
        return anomaly("thin-air-read", indexes, thin_air(accesses, read), &ADVICE);
    }
    let mine = core
        .iter()
        .filter(|a| a.session == session)
        .map(|a| accesses.noun(a));
    let others = core
        .iter()
        .filter(|a| a.session != session)
        .map(|a| accesses.noun(a));
    let (mine, others) = (said(mine), said(others));
    let others = if others.is_empty() {
        "nothing".to_owned()
    } else {
        words::list(&others)
    };
    let message = format!(
        "No order of all writes fits what one session saw, each session's writes in its own order: {}; others wrote: {others}.",
        words::list(&mine)
    );
    anomaly("not-pram", indexes, message, &ADVICE)
}

/// The first of some operations in words, and how many more there are.
pub(super) fn said(nouns: impl Iterator<Item = String>) -> Vec<String> {
    let mut nouns: Vec<String> = nouns.collect();
    if nouns.len() > SAID {
        let more = nouns.len() - SAID;
        nouns.truncate(SAID);
        nouns.push(format!("{more} more"));
    }
    nouns
}
