//! `sequential`, `pram` and `causal` on several registers at once: some order, or some choice of who saw whose write, fits.

use crate::support::random::{Lines, Registers, Sessions, cases, history, one_in, pick};
use crate::support::{only, result};
use crate::{Draw, Oracle, agree, prove, said, violated_if};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Key, Op, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;

/// What an operation says of its register.
#[derive(Debug, Clone)]
struct Step<'h> {
    op: Op<'h>,
    found: Option<&'h Value>,
    put: Option<&'h Value>,
    /// It found something else.
    refused: Option<&'h Value>,
    /// Whether it happened.
    sure: bool,
}

impl Step<'_> {
    fn before(&self, other: &Self) -> bool {
        self.op.session() == other.op.session() && self.op.precedes(&other.op)
    }

    /// Whether it lets its register hold this.
    fn fits(&self, value: &Value) -> bool {
        self.found.is_none_or(|found| found == value) && self.refused.is_none_or(|old| old != value)
    }
}

fn steps(history: &History) -> Vec<Step<'_>> {
    history.ops().into_iter().filter_map(step).collect()
}

fn step(op: Op<'_>) -> Option<Step<'_>> {
    let refused = op.completion.and_then(|c| c.error_kind()) == Some("precondition");
    let (found, put, refused) = match (op.f(), op.outcome()) {
        ("read", Outcome::Ok) if !op.is_final() => (op.result(), None, None),
        ("write", Outcome::Ok | Outcome::Info) => (None, Some(op.argument()), None),
        ("cas", Outcome::Ok | Outcome::Info) => {
            (Some(&op.argument()[0]), Some(&op.argument()[1]), None)
        }
        ("cas", Outcome::Fail) if refused => (None, None, Some(&op.argument()[0])),
        _ => return None,
    };
    let sure = !op.end().is_infinite();
    Some(Step {
        op,
        found,
        put,
        refused,
        sure,
    })
}

type State<'h> = BTreeMap<Option<&'h Key>, &'h Value>;

/// Lamport 1979: some order of all that is certain and some of the rest. All are tried.
fn some_order<'h>(steps: &[Step<'h>], taken: &mut Vec<bool>, state: &mut State<'h>) -> bool {
    let open = |i: usize, taken: &[bool]| {
        !taken[i] && (0..steps.len()).all(|j| taken[j] || !steps[j].before(&steps[i]))
    };
    if (0..steps.len()).all(|i| taken[i] || !steps[i].sure) {
        return true;
    }
    for i in 0..steps.len() {
        let key = steps[i].op.invoke.key.as_ref();
        let value = state.get(&key).copied().unwrap_or(&Value::Null);
        if !open(i, taken) || !steps[i].fits(value) {
            continue;
        }
        taken[i] = true;
        state.insert(key, steps[i].put.unwrap_or(value));
        let found = some_order(steps, taken, state);
        state.insert(key, value);
        taken[i] = false;
        if found {
            return true;
        }
    }
    false
}

fn oracle_sequential(history: &History) -> Decision {
    let steps = steps(history);
    violated_if(!some_order(
        &steps,
        &mut vec![false; steps.len()],
        &mut State::new(),
    ))
}

/// Lipton and Sandberg 1988: for each session some order of its operations and of all writes. What happened of the unknown is the same to all.
fn oracle_pram(history: &History) -> Decision {
    let fits = |all: &[Step<'_>]| {
        let mut sessions = all.iter().map(|step| step.op.session());
        sessions.all(|session| {
            let view: Vec<Step<'_>> = all
                .iter()
                .filter_map(|step| seen_by(session, step))
                .collect();
            some_order(&view, &mut vec![false; view.len()], &mut State::new())
        })
    };
    violated_if(!subsets(steps(history)).any(|happened| fits(&happened)))
}

fn seen_by<'h>(session: Option<u64>, step: &Step<'h>) -> Option<Step<'h>> {
    if step.op.session() == session {
        return Some(step.clone());
    }
    step.put.map(|_| Step {
        found: None,
        refused: None,
        ..step.clone()
    })
}

/// All that is certain, with some of the rest, which is certain then.
fn subsets(steps: Vec<Step<'_>>) -> impl Iterator<Item = Vec<Step<'_>>> {
    let maybe: Vec<usize> = (0..steps.len()).filter(|i| !steps[*i].sure).collect();
    (0..1_u32 << maybe.len()).map(move |chosen| {
        let left_out = |i: usize| {
            maybe
                .iter()
                .position(|m| *m == i)
                .is_some_and(|bit| chosen & 1 << bit == 0)
        };
        let kept = (0..steps.len()).filter(|i| !left_out(*i));
        kept.map(|i| Step {
            sure: true,
            ..steps[i].clone()
        })
        .collect()
    })
}

/// Bouajjani et al. 2017, definition of CC: a causal order, in which each session's order stands, such that what came before each operation can be put
/// into an order of which its own result follows. Who saw whose write is guessed.
fn oracle_causal(history: &History) -> Decision {
    let mut some = subsets(steps(history));
    violated_if(!some.any(|happened| some_sources(&happened, &mut Vec::new())))
}

/// Every way in which the first of them may have seen the writes of others; `None`: nobody's.
fn some_sources(steps: &[Step<'_>], sources: &mut Vec<Option<usize>>) -> bool {
    let Some(step) = steps.get(sources.len()) else {
        return is_causal(steps, sources);
    };
    let mut possible: Vec<Option<usize>> = Vec::new();
    if step.found.is_none() && step.refused.is_none() || step.fits(&Value::Null) {
        possible.push(None);
    }
    if step.found.is_some() || step.refused.is_some() {
        let of_key = |other: &Step<'_>| {
            other.op.key() == step.op.key() && other.put.is_some_and(|v| step.fits(v))
        };
        possible.extend((0..steps.len()).filter(|i| of_key(&steps[*i])).map(Some));
    }
    possible.into_iter().any(|source| {
        sources.push(source);
        let found = some_sources(steps, sources);
        sources.pop();
        found
    })
}

fn is_causal(steps: &[Step<'_>], sources: &[Option<usize>]) -> bool {
    let n = steps.len();
    let mut before = vec![vec![false; n]; n];
    for i in 0..n {
        for j in 0..n {
            before[i][j] = steps[i].before(&steps[j]) || sources[j] == Some(i);
        }
    }
    for k in 0..n {
        for i in 0..n {
            for j in 0..n {
                before[i][j] |= before[i][k] && before[k][j];
            }
        }
    }
    if (0..n).any(|i| before[i][i]) {
        return false;
    }
    (0..n).all(|o| {
        let past: Vec<usize> = (0..n)
            .filter(|i| {
                before[*i][o] && steps[*i].put.is_some() && steps[*i].op.key() == steps[o].op.key()
            })
            .collect();
        let last = |w: &usize| past.iter().all(|v| !before[*w][*v]);
        let nothing = past.is_empty() && steps[o].fits(&Value::Null);
        nothing
            || past
                .iter()
                .any(|w| last(w) && steps[o].fits(steps[*w].put.unwrap()))
    })
}

// --- What is drawn -----------------------------------------------------------------------------------------------------

const PLAIN: Registers = Registers {
    ops_max: 9,
    clients: 3,
    keys: 2,
    ..Registers::PLAIN
};

/// Sessions that read whatever somebody writes to the key at some time, or nothing.
#[derive(Clone, Copy)]
struct Wild {
    sessions: u32,
    keys: u32,
    /// So many values at most.
    values: u32,
    cas: bool,
    /// Operations of a session overlap.
    overlap: bool,
}

impl Wild {
    const PLAIN: Self = Self {
        sessions: 3,
        keys: 2,
        values: 100,
        cas: false,
        overlap: false,
    };

    fn draw(self, rng: &mut ChaCha8Rng) -> Lines {
        let n = rng.random_range(3..9);
        let ops: Vec<(u32, u32, u32)> = (0..n)
            .map(|i| {
                let value = if self.values < 100 {
                    rng.random_range(1..=self.values)
                } else {
                    i + 1
                };
                (
                    rng.random_range(0..self.keys),
                    rng.random_range(0..if self.cas { 6 } else { 4 }),
                    value,
                )
            })
            .collect();
        let line = |i: usize, rng: &mut ChaCha8Rng| {
            let (key, kind, value) = ops[i];
            let written = ops
                .iter()
                .filter(|(k, kind, _)| *k == key && !matches!(kind, 0 | 1));
            let mut seen: Vec<String> = written.map(|(_, _, value)| value.to_string()).collect();
            seen.push("null".to_owned());
            let seen = pick(rng, &seen);
            let (f, value) = match kind {
                0 | 1 => ("read", seen),
                2 | 3 => ("write", value.to_string()),
                _ => ("cas", format!("[{seen},{value}]")),
            };
            let outcome = match (f, rng.random_range(0..12)) {
                ("write" | "cas", 0) => "info",
                ("cas", 1..4) => "fail error=precondition",
                _ => "ok",
            };
            let long = if self.overlap {
                rng.random_range(5..30)
            } else {
                5
            };
            let (start, session) = (i * 10, rng.random_range(0..self.sessions));
            let key = char::from(b'x' + key as u8);
            format!(
                "{i}: {f} {key} {value} @{start}..{} {outcome} session={session}",
                start + long
            )
        };
        (0..ops.len()).map(|i| line(i, rng)).collect()
    }
}

/// A history that is a little wrong, or one that is quite wild.
fn either(rng: &mut ChaCha8Rng, registers: Registers, wild: Wild) -> Lines {
    if one_in(rng, 2) {
        registers.draw(rng)
    } else {
        wild.draw(rng)
    }
}

fn plain(rng: &mut ChaCha8Rng) -> Lines {
    either(rng, PLAIN, Wild::PLAIN)
}

fn by_client(rng: &mut ChaCha8Rng) -> Lines {
    let registers = Registers {
        sessions: Sessions::Client,
        thin_air: true,
        ..PLAIN
    };
    either(
        rng,
        registers,
        Wild {
            sessions: 4,
            ..Wild::PLAIN
        },
    )
}

fn shared(rng: &mut ChaCha8Rng) -> Lines {
    let registers = Registers {
        clients: 4,
        sessions: Sessions::Shared,
        ..PLAIN
    };
    let wild = Wild {
        sessions: 2,
        overlap: true,
        ..Wild::PLAIN
    };
    either(rng, registers, wild)
}

/// One key, two sessions: more comes before what is read.
fn dense(rng: &mut ChaCha8Rng) -> Lines {
    let registers = Registers {
        ops_max: 10,
        clients: 2,
        keys: 1,
        sessions: Sessions::Client,
        ..PLAIN
    };
    let wild = Wild {
        sessions: 2,
        keys: 1,
        ..Wild::PLAIN
    };
    either(rng, registers, wild)
}

fn with_cas(rng: &mut ChaCha8Rng) -> Lines {
    let registers = Registers {
        cas: true,
        ops_max: 8,
        sessions: Sessions::Client,
        ..PLAIN
    };
    either(
        rng,
        registers,
        Wild {
            cas: true,
            ..Wild::PLAIN
        },
    )
}

fn few_values(rng: &mut ChaCha8Rng) -> Lines {
    let registers = Registers {
        cas: true,
        unique: false,
        ops_max: 8,
        sessions: Sessions::Shared,
        clients: 4,
        ..PLAIN
    };
    let wild = Wild {
        cas: true,
        values: 3,
        overlap: true,
        sessions: 2,
        ..Wild::PLAIN
    };
    either(rng, registers, wild)
}

/// The checker agrees with the definition, or says that it does not know; which is rare enough.
fn never_wrong(property: &str, cases: u64, draw: &Draw, oracle: Oracle) {
    let mut unknown = 0;
    for case in 0..cases {
        let lines = draw(&mut ChaCha8Rng::seed_from_u64(case));
        let history = history(&lines);
        let (got, expected) = (said(&history, property), oracle(&history));
        unknown += u64::from(got == Some(Decision::Unknown));
        let right = got.is_none_or(|got| got == expected || got == Decision::Unknown);
        assert!(
            right,
            "case {case}: {property} is {expected:?}, and the checker says {got:?}:\n{}",
            lines.join("\n")
        );
    }
    assert!(
        unknown < cases / 4,
        "{property} is unknown in {unknown} of {cases}"
    );
}

/// No read of a proof is one too many: without it, what is left is no violation. Where a compare-and-set was refused, anything may have a part.
fn no_read_too_many(property: &str, cases: u64, draw: &Draw, oracle: Oracle) {
    for case in 0..cases {
        let lines = draw(&mut ChaCha8Rng::seed_from_u64(case));
        let history = history(&lines);
        for anomaly in result(&history, property).anomalies {
            let core = only(&history, &anomaly.operations);
            let ops = core.ops();
            for read in ops.iter().filter(|op| op.f() == "read") {
                let rest = ops.iter().map(Op::index).filter(|i| *i != read.index());
                let rest = only(&core, &rest.collect::<Vec<u64>>());
                let message = &anomaly.message;
                assert_eq!(
                    oracle(&rest),
                    Decision::Holds,
                    "case {case}: {message} names more than is needed:\n{}",
                    lines.join("\n")
                );
            }
        }
    }
}

#[test]
fn no_proof_names_a_read_too_many() {
    for draw in [plain, by_client, dense] {
        no_read_too_many("causal", cases(600), &draw, oracle_causal);
        no_read_too_many("pram", cases(600), &draw, oracle_pram);
    }
}

#[test]
fn sequential() {
    for draw in [plain, by_client, shared, dense, with_cas, few_values] {
        agree("sequential", cases(800), &draw, oracle_sequential);
        prove("sequential", cases(400), &draw, oracle_sequential);
    }
}

#[test]
fn pram() {
    for draw in [plain, by_client, shared, dense] {
        agree("pram", cases(800), &draw, oracle_pram);
        prove("pram", cases(400), &draw, oracle_pram);
    }
    // Whether a compare-and-set of unknown outcome happened may be open.
    for draw in [with_cas, few_values] {
        never_wrong("pram", cases(800), &draw, oracle_pram);
        prove("pram", cases(400), &draw, oracle_pram);
    }
}

#[test]
fn causal_of_unique_values() {
    for draw in [plain, by_client, shared, dense] {
        agree("causal", cases(1500), &draw, oracle_causal);
        prove("causal", cases(600), &draw, oracle_causal);
    }
}

#[test]
fn causal_is_never_wrong_where_values_repeat() {
    for draw in [with_cas, few_values] {
        never_wrong("causal", cases(1500), &draw, oracle_causal);
        prove("causal", cases(600), &draw, oracle_causal);
    }
}
