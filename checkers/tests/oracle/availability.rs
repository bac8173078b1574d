//! `availability` by its figures, each counted anew: the share of attempts under a fault, the time from an attempt to the next success of
//! anybody, and the terms in which operations were acknowledged.

use crate::support::random::cases;
use crate::support::result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{Event, EventKind, History, OpError, Process, Time};
use serde_json::{Value, json};

const END: u64 = 60;

/// An attempt: its invocation and, where it ended, when and how; with the term of an answer.
struct Attempt {
    start: u64,
    end: Option<u64>,
    kind: EventKind,
    refused: bool,
    term: u64,
}

impl Attempt {
    fn success(&self) -> Option<u64> {
        let answered = self.kind == EventKind::Ok || (self.kind == EventKind::Fail && self.refused);
        self.end.filter(|_| answered)
    }
}

fn draw(rng: &mut ChaCha8Rng) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = (0..rng.random_range(1..10))
        .map(|_| {
            let start = rng.random_range(0..END);
            let kind = [
                EventKind::Ok,
                EventKind::Ok,
                EventKind::Fail,
                EventKind::Info,
            ][rng.random_range(0..4)];
            Attempt {
                start,
                end: (kind != EventKind::Info).then(|| start + rng.random_range(0..30)),
                kind,
                refused: rng.random_range(0..2) == 0,
                term: rng.random_range(1..4),
            }
        })
        .collect();
    attempts.sort_by_key(|a| a.start);
    attempts
}

fn history(attempts: &[Attempt], declared: &Value, fault: Option<(u64, u64)>) -> History {
    let nemesis = |at, f: &'static str, value| {
        Event::new(Time(at), Process::Nemesis, EventKind::Info, f, value)
    };
    let mut events = vec![
        nemesis(0, "declared", json!({"availability": declared})),
        nemesis(0, "phase", json!({"phase": "main"})),
        nemesis(END, "phase", json!({"phase": "heal"})),
    ];
    if let Some((from, to)) = fault {
        events.push(nemesis(
            from,
            "kill",
            json!({"fault": 1, "stage": "inject"}),
        ));
        events.push(nemesis(to, "kill", json!({"fault": 1, "stage": "healed"})));
    }
    for (process, attempt) in (0..).zip(attempts) {
        let event = |at, kind| {
            Event::new(
                Time(at),
                Process::Client(process),
                kind,
                "cas",
                json!([1, 2]),
            )
        };
        events.push(event(attempt.start, EventKind::Invoke));
        if let Some(end) = attempt.end {
            let mut event = event(end, attempt.kind);
            event.term = Some(attempt.term);
            let kind = if attempt.refused {
                "precondition"
            } else {
                "no-leader"
            };
            event.error = (attempt.kind == EventKind::Fail).then(|| {
                Box::new(OpError {
                    kind: kind.into(),
                    message: String::new(),
                })
            });
            events.push(event);
        }
    }
    events.sort_by_key(|e| (e.time, e.kind != EventKind::Invoke));
    History::new(events).unwrap()
}

/// None: there is nothing to judge by.
fn shares(attempts: &[Attempt], least: f64, fault: Option<(u64, u64)>) -> Option<bool> {
    let counted = |a: &&Attempt| fault.is_none_or(|(from, to)| (from..to).contains(&a.start));
    let all = attempts.iter().filter(counted).count();
    let good = attempts
        .iter()
        .filter(counted)
        .filter(|a| a.success().is_some())
        .count();
    (all > 0).then(|| (good as f64 / all as f64) < least)
}

fn is_out(attempts: &[Attempt], most: u64) -> bool {
    let successes = || attempts.iter().filter_map(Attempt::success);
    attempts.iter().any(|a| {
        let next = successes()
            .filter(|end| *end > a.start)
            .min()
            .unwrap_or(END)
            .min(END);
        next - a.start > most
    })
}

fn changes(attempts: &[Attempt], most: usize) -> Option<bool> {
    let answered = attempts.iter().filter(|a| a.kind == EventKind::Ok);
    let terms: std::collections::BTreeSet<u64> = answered.map(|a| a.term).collect();
    (!terms.is_empty()).then(|| terms.len() - 1 > most)
}

#[test]
fn availability() {
    let mut counts = [0_u64; 3];
    let cases = cases(3000);
    for case in 0..cases {
        let rng = &mut ChaCha8Rng::seed_from_u64(case);
        let attempts = draw(rng);
        let fault = (rng.random_range(0..2) == 0)
            .then(|| (rng.random_range(0..20), rng.random_range(30..50)));
        let (share, outage, leaders) = (
            rng.random_range(0..5),
            rng.random_range(5..40),
            rng.random_range(0..3),
        );
        let declared = json!({"share": f64::from(share) / 4.0, "outage_ms": outage as f64 / 1e6, "leader_changes": leaders});
        let found = [
            shares(&attempts, f64::from(share) / 4.0, fault),
            Some(is_out(&attempts, outage)),
            changes(&attempts, leaders),
        ];
        let expected = if found.contains(&Some(true)) {
            Decision::Violated
        } else if found.contains(&None) {
            Decision::Unknown
        } else {
            Decision::Holds
        };
        let history = history(&attempts, &declared, fault);
        let got = result(&history, "availability");
        assert_eq!(
            got.verdict, expected,
            "case {case}: {found:?}, {got:?}: {declared}"
        );
        counts[expected as usize] += 1;
    }
    assert!(counts.iter().all(|n| *n > cases / 50), "{counts:?}");
}
