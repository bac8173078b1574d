//! `stats`: how many operations ended ok, fail and info, by function and by phase of the run.
//!
//! As in Jepsen, a function that never succeeded is worth a doubt: nothing can be said of it.

use crate::findings::Findings;
use crate::verdict::PropertyResult;
use crate::{Budget, Phase, Prepared, Property};
use schism_history::{Op, Outcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The property.
pub(super) struct Stats;

impl Property for Stats {
    fn name(&self) -> &'static str {
        "stats"
    }

    fn summary(&self) -> &'static str {
        "every function succeeded at least once; counts of ok, fail and info by function and phase"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        !history.ops.is_empty()
    }

    fn check(&self, history: &Prepared<'_>, _: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        findings.checked(history.ops.len());
        for (f, counts) in by(history, Op::f) {
            if counts.ok == 0 {
                findings.doubt(|| format!("no {f} succeeded, out of {}", counts.all()));
            }
        }
        if let Value::Object(table) = table(history) {
            table
                .into_iter()
                .for_each(|(name, value)| findings.detail(&name, value));
        }
        findings.result()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    ok: u64,
    fail: u64,
    info: u64,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Fail => &mut self.fail,
            Outcome::Info => &mut self.info,
        } += 1;
    }

    fn all(self) -> u64 {
        self.ok + self.fail + self.info
    }

    fn to_json(self) -> Value {
        json!({"ok": self.ok, "fail": self.fail, "info": self.info})
    }
}

fn by<'h, K: Ord>(history: &Prepared<'h>, key: impl Fn(&Op<'h>) -> K) -> BTreeMap<K, Counts> {
    let mut groups: BTreeMap<K, Counts> = BTreeMap::new();
    for op in &history.ops {
        groups.entry(key(op)).or_default().add(op.outcome());
    }
    groups
}

/// The counts, as `stats` of `results.json`.
pub(crate) fn table(history: &Prepared<'_>) -> Value {
    let mut all = Counts::default();
    history.ops.iter().for_each(|op| all.add(op.outcome()));
    let functions = by(history, Op::f);
    let functions: BTreeMap<&str, Value> = functions
        .into_iter()
        .map(|(f, c)| (f, c.to_json()))
        .collect();
    let phases = by(history, |op| history.phase(op));
    let phases: BTreeMap<&str, Value> = phases
        .into_iter()
        .map(|(p, c): (Phase, _)| (p.name(), c.to_json()))
        .collect();
    json!({
        "operations": history.ops.len(),
        "ok": all.ok,
        "fail": all.fail,
        "info": all.info,
        "by_function": functions,
        "by_phase": phases,
        "faults": history.faults.len(),
    })
}
