//! Smaller specs: what is tried. Pure; whether they still fail is found out elsewhere.

use crate::replay::Recorded;
use crate::spec::{Pcap, PlannedFault, Spec};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// No fault is made shorter than this: a target's time-outs would not notice it.
const FAULT_MIN: Duration = Duration::from_millis(100);
/// No run is made shorter than this.
const RUN_MIN: Duration = Duration::from_secs(1);
/// How long clients work before the first fault, and after the last one.
const QUIET: Duration = Duration::from_millis(500);
/// Operations a second of a run that had none prescribed.
const RATE_FIRST: f64 = 400.0;
/// Below this many a second a run proves nothing.
const RATE_MIN: f64 = 5.0;

/// The run as a spec with a written schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Whole {
    /// The spec but for its faults.
    pub(super) spec: Spec,
    /// The faults, in order.
    pub(super) faults: Vec<Written>,
    /// How long the clients worked.
    pub(super) worked: Duration,
    /// How many were planned and never came.
    pub(super) never_came: usize,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Written {
    /// As a spec has it.
    pub(super) fault: PlannedFault,
    /// When it came.
    pub(super) came: Duration,
    /// For how long.
    pub(super) lasted: Option<Duration>,
    /// What it did, in words.
    pub(super) what: String,
}

impl Whole {
    /// Of a saved run, the faults that came.
    pub(super) fn of(recorded: &Recorded) -> Self {
        let planned = &recorded.schedule.faults;
        let all = planned.iter().map(|fault| {
            let came = recorded.came.get(&fault.id);
            let written = PlannedFault {
                at: fault.at,
                lasts: fault.until.saturating_sub(fault.at),
                fault: format!("{}:{}", fault.family, fault.shape),
                options: fault.options.clone(),
                when: fault.when.clone(),
                until: fault.enough.clone(),
                recovers_within: fault.recovers_within,
                stream: Some(fault.stream),
            };
            Written {
                fault: written,
                came: came.map_or(fault.at, |c| milliseconds(c.at)),
                lasted: came.and_then(|c| c.lasted).map(milliseconds),
                what: came.map(|c| c.what.clone()).unwrap_or_default(),
            }
        });
        let came = |i: &usize| recorded.came.contains_key(&planned[*i].id);
        let keep: Vec<usize> = (0..planned.len()).filter(came).collect();
        let whole = Self {
            spec: Spec {
                nemesis: Vec::new(),
                nemesis_options: std::collections::BTreeMap::new(),
                phases: Vec::new(),
                prepare: Vec::new(),
                schedule: None,
                faults: Vec::new(),
                // Hundreds of runs, of which nobody reads the packets.
                pcap: Pcap::Off,
                ..recorded.spec.clone()
            },
            faults: all.collect(),
            worked: milliseconds(recorded.worked).max(RUN_MIN),
            never_came: planned.len() - keep.len(),
        };
        let faults = whole.chosen(&keep);
        Self { faults, ..whole }
    }

    /// These faults, each with what it waits for. One that waits for the fault before it, which is left out, comes when it came.
    fn chosen(&self, keep: &[usize]) -> Vec<Written> {
        let mut chosen: Vec<Written> = Vec::with_capacity(keep.len());
        for i in keep {
            let mut one = self.faults[*i].clone();
            if !one.fault.when.is_empty() {
                let before = chosen.last().filter(|_| keep.contains(&i.wrapping_sub(1)));
                if let Some(before) = before {
                    one.fault.at = one.fault.at.max(before.fault.at);
                } else {
                    one.fault.when.clear();
                    let last = self
                        .spec
                        .time_limit
                        .saturating_sub(Duration::from_millis(1));
                    one.fault.at = one.came.min(last);
                }
            }
            chosen.push(one);
        }
        // Stable: one that waits stays behind the one that it waits for.
        chosen.sort_by_key(|w| w.fault.at);
        chosen
    }

    /// The spec with these of the faults.
    pub(super) fn with(&self, keep: &[usize]) -> Spec {
        if keep.is_empty() {
            // There is no fault to end after: it goes as long as it went.
            return Spec {
                time_limit: self.spec.time_limit.min(self.worked),
                end_after: None,
                ..self.spec.clone()
            };
        }
        Spec {
            faults: self.chosen(keep).into_iter().map(|w| w.fault).collect(),
            ..self.spec.clone()
        }
    }

    fn original(&self, fault: &PlannedFault) -> Option<&Written> {
        let same = |w: &&Written| w.fault.stream == fault.stream;
        self.faults.iter().find(same)
    }

    /// What a fault of a smaller spec did in the saved run.
    pub(super) fn what(&self, fault: &PlannedFault) -> &str {
        self.original(fault).map_or("", |w| w.what.as_str())
    }

    /// For how long a fault that ends at its witness may wait for it: twice as long as it did.
    fn patience(&self, fault: &PlannedFault) -> Option<Duration> {
        let lasted = self.original(fault)?.lasted?;
        Some((lasted * 2).max(FAULT_MIN))
    }
}

/// One of the faults half as long. One that ends at its witness is as long as it must be, but need not wait for it for ever.
pub(super) fn shorter(whole: &Whole, spec: &Spec, i: usize) -> Option<Spec> {
    let fault = &spec.faults[i];
    let lasts = if fault.until.is_empty() {
        milliseconds(fault.lasts / 2)
    } else {
        whole.patience(fault).filter(|t| *t < fault.lasts)?
    };
    if lasts < FAULT_MIN {
        return None;
    }
    let mut smaller = spec.clone();
    smaller.faults[i].lasts = lasts;
    Some(smaller)
}

/// All faults earlier, so that the first one comes soon; then half as much.
pub(super) fn earlier(spec: &Spec) -> Vec<Spec> {
    let first = spec.faults.iter().map(|f| f.at).min();
    let most = first.unwrap_or_default().saturating_sub(QUIET);
    let by = |by: Duration| {
        let mut smaller = spec.clone();
        for fault in &mut smaller.faults {
            fault.at -= milliseconds(by);
        }
        smaller
    };
    if most < QUIET {
        return Vec::new();
    }
    vec![by(most), by(most / 2)]
}

/// Clients that stop soon after the last fault; then half way there. Without a fault, half the time.
pub(super) fn ends_sooner(spec: &Spec) -> Vec<Spec> {
    let of = |time_limit: Duration| Spec {
        time_limit: milliseconds(time_limit),
        ..spec.clone()
    };
    let now = spec.time_limit;
    let end = |f: &PlannedFault| {
        // One that waits may come as late as it would have ended.
        let waits = if f.when.is_empty() {
            Duration::ZERO
        } else {
            f.lasts
        };
        f.at + waits + f.lasts
    };
    let Some(last) = spec.faults.iter().map(end).max() else {
        return if now / 2 >= RUN_MIN {
            vec![of(now / 2)]
        } else {
            Vec::new()
        };
    };
    let least = (last + spec.end_after.unwrap_or(QUIET)).max(RUN_MIN);
    match now.saturating_sub(least) {
        Duration::ZERO => Vec::new(),
        more => vec![of(least), of(least + more / 2)],
    }
}

/// Half the clients.
pub(super) fn fewer_clients(spec: &Spec) -> Option<Spec> {
    (spec.concurrency > 1).then(|| Spec {
        concurrency: spec.concurrency / 2,
        ..spec.clone()
    })
}

/// Half the operations.
pub(super) fn fewer_operations(spec: &Spec) -> Option<Spec> {
    let rate = if spec.rate > 0.0 {
        (spec.rate / 2.0 * 10.0).round() / 10.0
    } else {
        RATE_FIRST
    };
    (rate >= RATE_MIN).then(|| Spec {
        rate,
        ..spec.clone()
    })
}

/// Specs are read by people.
fn milliseconds(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::Witness;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn written(n: u64, at: u64, waits: bool) -> Written {
        let when = if waits {
            vec![Witness::AcknowledgedThere]
        } else {
            Vec::new()
        };
        Written {
            fault: PlannedFault {
                at: ms(at),
                lasts: ms(1000),
                fault: "kill:one".to_owned(),
                options: crate::nemesis::FaultOptions::new(),
                when,
                until: Vec::new(),
                recovers_within: None,
                stream: Some(n),
            },
            came: ms(at + 700),
            lasted: Some(ms(150)),
            what: format!("kill n{n}"),
        }
    }

    /// The second waits for the first, the third for the second; the fourth for nobody.
    fn whole() -> Whole {
        Whole {
            spec: Spec {
                end_after: Some(ms(800)),
                ..Spec::default()
            },
            faults: vec![
                written(1, 1000, false),
                written(2, 1000, true),
                written(3, 1100, true),
                written(4, 1500, false),
            ],
            worked: ms(2300),
            never_came: 0,
        }
    }

    fn shape(spec: &Spec) -> Vec<(u64, u64, bool)> {
        let of = |f: &PlannedFault| {
            let at = u64::try_from(f.at.as_millis()).unwrap();
            (f.stream.unwrap(), at, !f.when.is_empty())
        };
        spec.faults.iter().map(of).collect()
    }

    #[test]
    fn whom_a_fault_waits_for_is_before_it_or_it_does_not_wait() {
        let whole = whole();
        let with = |keep: &[usize]| {
            let spec = whole.with(keep);
            spec.clone().resolve().unwrap();
            shape(&spec)
        };
        assert_eq!(with(&[0, 1]), [(1, 1000, false), (2, 1000, true)]);
        assert_eq!(with(&[1]), [(2, 1700, false)], "when it came");
        assert_eq!(
            with(&[1, 2, 3]),
            [(4, 1500, false), (2, 1700, false), (3, 1700, true)]
        );
        assert_eq!(with(&[0, 2]), [(1, 1000, false), (3, 1800, false)]);
        assert_eq!(with(&[]), []);
        assert_eq!(whole.with(&[]).time_limit, ms(2300));
    }

    #[test]
    fn smaller_is_smaller_and_ends_somewhere() {
        let whole = whole();
        let mut spec = whole.with(&[3]);
        let mut steps = 0;
        while let Some(smaller) = shorter(&whole, &spec, 0) {
            assert!(smaller.faults[0].lasts < spec.faults[0].lasts);
            (spec, steps) = (smaller, steps + 1);
        }
        assert_eq!((steps, spec.faults[0].lasts), (3, ms(125)));
        spec = earlier(&spec)[0].clone();
        assert_eq!(spec.faults[0].at, ms(500));
        assert!(earlier(&spec).is_empty());
        spec = ends_sooner(&spec)[0].clone();
        assert_eq!(spec.time_limit, ms(500 + 125 + 800));
        assert!(ends_sooner(&spec).is_empty());
        while let Some(smaller) = fewer_clients(&spec) {
            spec = smaller;
        }
        assert_eq!(spec.concurrency, 1);
        while let Some(smaller) = fewer_operations(&spec) {
            assert!(smaller.rate < spec.rate);
            spec = smaller;
        }
        assert!((RATE_MIN..2.0 * RATE_MIN).contains(&spec.rate));
        spec.resolve().unwrap();
    }

    #[test]
    fn what_ends_at_its_witness_only_waits_for_less_time() {
        let whole = whole();
        let mut spec = whole.with(&[0]);
        spec.faults[0].until = vec![Witness::AcknowledgedThere];
        let smaller = shorter(&whole, &spec, 0).unwrap();
        assert_eq!(smaller.faults[0].lasts, ms(300));
        assert_eq!(shorter(&whole, &smaller, 0), None);
    }
}
