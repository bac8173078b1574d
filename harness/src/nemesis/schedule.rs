//! When faults come and go: drawn from the seed, or as the spec has it written.
//!
//! Each package (`partition`, `kill:leader`, ...) has a rhythm of its own, so packages overlap freely. A quiet stretch is kept at
//! the beginning and at the end: without successes before and after, a run proves nothing.

use super::{FaultOptions, Kind, Witness};
use crate::spec::Spec;
use anyhow::Result;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_workloads::generator::stream;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// One fault to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// From 1, in the order of injection.
    pub id: u64,
    /// The family.
    pub family: &'static str,
    /// The shape.
    pub shape: String,
    /// The family's options, all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: FaultOptions,
    /// The number of the stream from which it draws whom it hits.
    pub stream: u64,
    /// Whether the shape was drawn, and not asked for.
    pub drawn: bool,
    /// Whether its time stands in the spec, and was not drawn.
    pub written: bool,
    /// When, since the clients began.
    pub at: Duration,
    /// When it is healed.
    pub until: Duration,
    /// How long the target may take to recover after its heal, where that is declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovers_within: Option<Duration>,
    /// What the fault before it must have shown when it comes, if it has not waited too long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Witness>,
    /// What it must have shown to be healed earlier; nothing: it is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enough: Vec<Witness>,
}

/// The stream of the first package; workers have the streams below it.
const STREAM: u64 = 1 << 40;

/// The whole schedule, in order of injection.
pub fn plan(spec: &Spec) -> Result<Vec<Planned>> {
    let mut all = Vec::new();
    if spec.faults.is_empty() {
        for (package, text) in spec.drawn().into_iter().enumerate() {
            let kind = spec.kind(text, spec.fault_options(text))?;
            let mut rng = stream(spec.seed, STREAM + package as u64);
            let of_all = package < spec.nemesis.len();
            for chaos in chaos(spec, text, of_all) {
                let spans = rhythm(chaos, spec.fault_interval, &mut rng);
                let spans = spans.into_iter();
                all.extend(spans.map(|span| planned(&kind, spec, span, &mut rng)));
            }
        }
    } else {
        let mut rng = stream(spec.seed, STREAM);
        for fault in &spec.faults {
            let kind = spec.kind(&fault.fault, &fault.options)?;
            let span = (fault.at, fault.at + fault.lasts);
            all.push(Planned {
                when: fault.when.clone(),
                recovers_within: fault.recovers_within.or(spec.recovers_within),
                stream: fault.stream.unwrap_or(0),
                enough: fault.until.clone(),
                ..planned(&kind, spec, span, &mut rng)
            });
        }
    }
    all.sort_by_key(|p| p.at);
    for (id, fault) in (1..).zip(&mut all) {
        fault.id = id;
        if fault.stream == 0 {
            fault.stream = id;
        }
    }
    Ok(all)
}

/// A fault of each family that is to be made ready for faults by hand. None of them comes.
pub fn made_ready(spec: &Spec) -> Result<Vec<Planned>> {
    let mut rng = stream(spec.seed, STREAM);
    let each = spec.prepare.iter().map(|text| {
        let kind = spec.kind(text, spec.fault_options(text))?;
        Ok(planned(
            &kind,
            spec,
            (Duration::ZERO, Duration::ZERO),
            &mut rng,
        ))
    });
    each.collect()
}

/// The stream from which a fault draws whom it hits.
pub(super) fn aim_stream(seed: u64, number: u64) -> ChaCha8Rng {
    stream(seed, (STREAM << 1).wrapping_add(number))
}

fn planned(kind: &Kind, spec: &Spec, (at, until): Span, rng: &mut ChaCha8Rng) -> Planned {
    let shape = kind.shape.clone().unwrap_or_else(|| {
        let possible: Vec<_> = kind
            .family
            .shapes()
            .iter()
            .filter(|s| s.drawn && s.nodes_min <= spec.nodes)
            .collect();
        possible[rng.random_range(0..possible.len())]
            .name
            .to_owned()
    });
    Planned {
        id: 0,
        stream: 0,
        family: kind.family.name(),
        shape: spec.drawn_shape(shape, rng),
        options: kind.options.clone(),
        drawn: kind.shape.is_none(),
        written: !spec.faults.is_empty(),
        at,
        until,
        recovers_within: spec.recovers_within,
        when: Vec::new(),
        enough: Vec::new(),
    }
}

/// A stretch of time since the clients began.
type Span = (Duration, Duration);

/// When these faults may be in force: in the phases that have them, else all the time but for a quiet stretch at both ends.
fn chaos(spec: &Spec, fault: &str, of_all: bool) -> Vec<Span> {
    if spec.phases.is_empty() {
        let total = spec.time_limit;
        let quiet = (total / 8)
            .clamp(Duration::from_millis(500), Duration::from_secs(5))
            .min(total / 4);
        return vec![(quiet, total.saturating_sub(quiet))];
    }
    let mut end = Duration::ZERO;
    let spans = spec.phases.iter().map(|phase| {
        let begin = end;
        end += phase.lasts;
        (phase, (begin, end))
    });
    let own = spans.filter(|(phase, _)| phase.has(fault, of_all));
    own.map(|(_, span)| span).collect()
}

/// Alternating spans of fault and quiet within one stretch, each half to one and a half times the interval long.
fn rhythm((begin, end): Span, interval: Duration, rng: &mut ChaCha8Rng) -> Vec<Span> {
    let interval = interval.min(end.saturating_sub(begin) * 4 / 9);
    let mut spans = Vec::new();
    let mut at = begin + interval.mul_f64(rng.random_range(0.0..0.5));
    while at < end {
        let until = (at + interval.mul_f64(rng.random_range(0.5..1.5))).min(end);
        // A fault too short to be noticed by a time-out of the target is no fault.
        if until.saturating_sub(at) >= interval / 4 {
            spans.push((at, until));
        }
        at = until + interval.mul_f64(rng.random_range(0.5..1.5));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(seed: u64, nemesis: &[&str]) -> Spec {
        let nemesis = nemesis.iter().map(ToString::to_string).collect();
        Spec {
            seed,
            nemesis,
            ..Spec::default()
        }
    }

    #[test]
    fn one_seed_gives_one_schedule() {
        let plan = |seed| plan(&spec(seed, &["partition", "kill"])).unwrap();
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn every_run_has_a_fault_and_quiet_on_both_sides() {
        for seed in 0..500 {
            for seconds in [1, 3, 10, 20, 60] {
                let time_limit = Duration::from_secs(seconds);
                let spec = Spec {
                    time_limit,
                    ..spec(seed, &["partition:leader"])
                };
                let plan = plan(&spec).unwrap();
                assert!(!plan.is_empty(), "seed {seed}, {seconds} s");
                assert!(
                    plan[0].at >= (time_limit / 8).min(Duration::from_secs(5)),
                    "{plan:?}"
                );
                assert!(
                    plan.iter()
                        .all(|p| p.until <= time_limit.mul_f64(0.93) && p.at < p.until),
                    "{plan:?}"
                );
            }
        }
    }

    #[test]
    fn faults_come_in_their_phases_only() {
        let at = |n: u64| Duration::from_secs(n);
        for seed in 0..200 {
            let phases = [
                "quiet 5s",
                "chaos 10s",
                "quiet 5s",
                "chaos 10s stop",
                "quiet 5s",
            ];
            let spec = Spec {
                phases: phases.iter().map(|p| p.parse().unwrap()).collect(),
                ..spec(seed, &["kill"])
            };
            let spec = spec.resolve().unwrap().spec;
            assert_eq!(spec.time_limit, at(35));
            let plan = plan(&spec).unwrap();
            let within = |family: &str, from: u64, to: u64| {
                let mut own = plan.iter().filter(|p| p.family == family).peekable();
                own.peek().is_some() && own.all(|p| p.at >= at(from) && p.until <= at(to))
            };
            assert!(within("kill", 5, 15) && within("stop", 20, 30), "{plan:?}");
        }
    }

    #[test]
    fn packages_overlap_and_are_numbered_in_order() {
        let plan = plan(&spec(5, &["partition", "kill", "pause"])).unwrap();
        assert!(plan.windows(2).any(|w| w[1].at < w[0].until), "{plan:?}");
        assert!(plan.iter().zip(1..).all(|(p, id)| p.id == id));
    }
}
