//! What properties owe one another, and what a part of a history owes the whole.
//!
//! What is linearizable has no stale reads, and no session in it goes backwards. What is no history of a register does not become
//! one by a read less, unless that read belongs to the proof. And what holds for a history is no error for its beginning.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod support;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_checkers::{Budget, Model, check, check_as};
use schism_history::{History, Op, Time, jsonl};
use serde_json::Value;
use std::collections::BTreeSet;
use support::random::{Lines, Registers, Sessions, cases, history, one_in, pick};
use support::{is_answered_read, is_void, known_at, linearizable, only, result, written};

const WEAKER: [&str; 3] = ["stale-reads", "monotonic-reads", "read-your-writes"];

fn draw(registers: Registers, case: u64) -> History {
    history(&registers.draw(&mut ChaCha8Rng::seed_from_u64(case)))
}

fn is_violated(history: &History, property: &str) -> bool {
    result(history, property).verdict == Decision::Violated
}

/// The history in the words of a failed assertion.
fn shown(history: &History) -> String {
    let mut lines = Vec::new();
    jsonl::write(&mut lines, history).unwrap();
    String::from_utf8(lines).unwrap()
}

// --- Between properties ------------------------------------------------------------------------------------------------

#[test]
fn what_violates_a_weaker_property_is_not_linearizable() {
    let cases = cases(3000);
    let mut violated = [0_u64; WEAKER.len()];
    for case in 0..cases {
        let history = draw(few_writers(case), case);
        let linearizable = !is_violated(&history, "linearizable");
        for (property, count) in WEAKER.iter().zip(&mut violated) {
            let weaker = is_violated(&history, property);
            *count += u64::from(weaker);
            assert!(
                !(weaker && linearizable),
                "case {case}: {property} is violated, and linearizable is not:\n{}",
                shown(&history)
            );
        }
    }
    let common = violated.iter().all(|n| *n > cases / 20);
    assert!(common, "violated in {cases} cases: {WEAKER:?} {violated:?}");
}

/// `set` looks at more than the final reads, so what `lost-writes` finds it must find, too.
#[test]
fn a_set_that_lost_writes_is_no_set() {
    let mut violated = 0;
    let cases = cases(2000);
    for case in 0..cases {
        let history = history(&growing_set(&mut ChaCha8Rng::seed_from_u64(case)));
        let lost = is_violated(&history, "lost-writes");
        violated += u64::from(lost);
        let set = result(&history, "set").verdict;
        assert!(
            !lost || set == Decision::Violated,
            "case {case}: lost-writes is violated, and set is {set:?}:\n{}",
            shown(&history)
        );
    }
    assert!(violated > cases / 20, "violated in {violated} of {cases}");
}

/// A lock that knows its owner is a lock.
#[test]
fn what_is_no_lock_is_no_mutex() {
    let (mut violated, cases) = (0, cases(3000));
    for case in 0..cases {
        let history = history(&locks(&mut ChaCha8Rng::seed_from_u64(case)));
        let linearizable = !is_violated(&history, "linearizable");
        violated += u64::from(!linearizable);
        assert!(
            linearizable || is_violated(&history, "mutex"),
            "case {case}: no order of a lock explains it, and mutex is not violated:\n{}",
            shown(&history)
        );
    }
    assert!(violated > cases / 20, "violated in {violated} of {cases}");
}

/// Some take a lock and give it back, at any time.
fn locks(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Lines::new();
    for process in 0..rng.random_range(2..5) {
        let mut at: u64 = rng.random_range(0..20);
        for f in ["acquire", "release"] {
            let end = at + rng.random_range(1..10);
            let outcome = pick(rng, &["ok", "ok", "ok", "ok", "fail"]);
            lines.push(format!("{process}: {f} l null @{at}..{end} {outcome}"));
            at = end + rng.random_range(1..10);
        }
    }
    lines
}

/// Adds, and reads that have some of them, in the end and before.
fn growing_set(rng: &mut ChaCha8Rng) -> Lines {
    let add = |element: u32, rng: &mut ChaCha8Rng| {
        let (start, outcome) = (
            rng.random_range(0..9),
            pick(rng, &["ok", "ok", "info", "fail"]),
        );
        format!("{element}: add s {element} @{start}..9 {outcome}")
    };
    let mut lines: Lines = (0..3).map(|element| add(element, rng)).collect();
    for process in 10..rng.random_range(11..15) {
        let there = (0..3).filter(|_| !one_in(rng, 3)).collect::<Vec<u32>>();
        let there = format!("{there:?}").replace(", ", ",");
        let (start, kind) = (
            rng.random_range(5..20),
            pick(rng, &["final", "final", "ok"]),
        );
        lines.push(format!("{process}: read s {there} @{start}..21 {kind}"));
    }
    lines
}

/// Lost updates of a set are elements that `set` misses, too; of replicas' registers, values that a multi-value register does not keep.
#[test]
fn what_lost_updates_finds_others_find() {
    let cases = cases(2000);
    let mut violated = [0, 0];
    for case in 0..cases {
        let rng = &mut ChaCha8Rng::seed_from_u64(case);
        for (at, lines, stronger) in [
            (0, growing_set(rng), "set"),
            (1, final_registers(rng), "mv-register"),
        ] {
            let history = history(&lines);
            let lost = is_violated(&history, "lost-updates");
            violated[at] += u64::from(lost);
            assert!(
                !lost || is_violated(&history, stronger),
                "case {case}: lost-updates is violated, and {stronger} is not:\n{}",
                shown(&history)
            );
        }
    }
    let common = violated.iter().all(|n| *n > cases / 20);
    assert!(common, "violated in {cases} cases: {violated:?}");
}

/// What a multi-value register must not hold in the end, a last-write-wins register must not hold either; and what both forgive is no loss.
#[test]
fn a_register_of_one_value_that_is_lww_or_mv() {
    let mut violated = 0;
    let cases = cases(2000);
    for case in 0..cases {
        let history = history(&final_registers(&mut ChaCha8Rng::seed_from_u64(case)));
        let lww = result(&history, "lww-register").verdict;
        let mv = result(&history, "mv-register").verdict;
        violated += u64::from(lww == Decision::Violated);
        assert!(
            lww != Decision::Violated || mv == Decision::Violated,
            "case {case}: lww-register is violated, and mv-register is {mv:?}:\n{}",
            shown(&history)
        );
    }
    assert!(violated > cases / 20, "violated in {violated} of {cases}");
}

/// Writes and reads of one value at a time, and two final reads.
fn final_registers(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Registers {
        cas: false,
        ..Registers::PLAIN
    }
    .draw(rng);
    let writes: Vec<String> = lines
        .iter()
        .filter(|l| l.contains("write") && !l.contains("fail"))
        .cloned()
        .collect();
    let values = writes
        .iter()
        .map(|l| l.split(' ').nth(3).unwrap().to_owned());
    let mut values: Vec<String> = values.collect();
    values.push("null".to_owned());
    for process in [90, 91] {
        let value = if one_in(rng, 3) {
            pick(rng, &values)
        } else {
            values[values.len().saturating_sub(2)].clone()
        };
        lines.push(format!("{process}: read x {value} @900..901 final"));
    }
    lines
}

/// A counter that answers from one place promises more than one that merges later.
#[test]
fn what_is_a_counter_is_a_pn_counter_in_the_end() {
    let (mut violated, cases) = (0, cases(2000));
    for case in 0..cases {
        let rng = &mut ChaCha8Rng::seed_from_u64(case);
        let add = |process: u32, rng: &mut ChaCha8Rng| {
            let (by, start, outcome) = (
                rng.random_range(1..4),
                rng.random_range(0..9),
                pick(rng, &["ok", "ok", "info", "fail"]),
            );
            format!("{process}: add c {by} @{start}..9 {outcome}")
        };
        let mut lines: Lines = (0..4).map(|process| add(process, rng)).collect();
        for process in 10..rng.random_range(11..14) {
            let (n, start, kind) = (
                rng.random_range(0..9),
                rng.random_range(5..20),
                pick(rng, &["final", "ok"]),
            );
            lines.push(format!("{process}: read c {n} @{start}..21 {kind}"));
        }
        let history = history(&lines);
        let pn = is_violated(&history, "pn-counter");
        // Jepsen's bounds let a read between two sums pass, so only the final reads are compared.
        let all_final = lines
            .iter()
            .all(|l| !l.contains("read") || l.ends_with("final"));
        violated += u64::from(pn && all_final);
        assert!(
            !(pn && all_final) || is_violated(&history, "counter"),
            "case {case}: pn-counter is violated, and counter is not:\n{}",
            shown(&history)
        );
        assert!(
            !pn || is_violated(&history, "g-counter"),
            "case {case}:\n{}",
            shown(&history)
        );
    }
    assert!(violated > cases / 20, "violated in {violated} of {cases}");
}

/// What fits one order of transactions in real time has a prefix for every read; and a fork is no prefix of anything.
#[test]
fn what_has_no_prefix_is_not_linearizable_and_a_long_fork_has_none() {
    let cases = cases(1500);
    let (mut broken, mut forked, mut stronger_alone) = (0, 0, 0);
    for case in 0..cases {
        let lines = transactions(&mut ChaCha8Rng::seed_from_u64(case));
        let history = history(&lines);
        let no_prefix = is_violated(&history, "consistent-prefix");
        let fork = is_violated(&history, "long-fork");
        let named = ["linearizable".to_owned()];
        let model = Some(Model::MultiRegister);
        let verdict = check_as(&history, model, Some(&named), &[], &Budget::unlimited()).unwrap();
        let linearizable = verdict.properties["linearizable"].verdict == Decision::Holds;
        broken += u64::from(no_prefix);
        forked += u64::from(fork);
        stronger_alone += u64::from(!linearizable && !no_prefix);
        let shown = || lines.join("\n");
        assert!(!(no_prefix && linearizable), "case {case}:\n{}", shown());
        assert!(!fork || no_prefix, "case {case}:\n{}", shown());
    }
    let common = broken > cases / 20 && forked > cases / 50 && stronger_alone > 0;
    assert!(common, "{broken} {forked} {stronger_alone} of {cases}");
}

/// Each key is written once, by transactions that overlap; reads of all keys see some of the writes.
fn transactions(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Lines::new();
    for (process, keys) in [&[0][..], &[1], &[2, 3]].iter().enumerate() {
        let start = rng.random_range(0..6);
        let end = start + rng.random_range(1..8);
        let writes = keys.iter().map(|key| format!(r#"["w",{key},1]"#));
        let writes = writes.collect::<Vec<_>>().join(",");
        lines.push(format!("{process}: txn - [{writes}] @{start}..{end}"));
    }
    for process in 10..rng.random_range(11..14) {
        let start = rng.random_range(0..14);
        let of_both = one_in(rng, 2);
        let seen = |rng: &mut ChaCha8Rng| if one_in(rng, 3) { "null" } else { "1" };
        let read: Vec<&str> = (0..3).map(|_| seen(rng)).collect();
        let last = if of_both { read[2] } else { seen(rng) };
        let values = [read[0], read[1], read[2], last];
        let reads = values
            .iter()
            .enumerate()
            .map(|(key, value)| format!(r#"["r",{key},{value}]"#));
        let reads = reads.collect::<Vec<_>>().join(",");
        lines.push(format!(
            "{process}: txn - [{reads}] @{start}..{}",
            start + rng.random_range(1..4)
        ));
    }
    lines
}

/// Questions and answers are elements of a set: who sees an answer without its question sees a later element without an earlier one.
#[test]
fn an_answer_before_its_question_is_a_later_element_before_an_earlier_one() {
    let (mut violated, mut stronger_alone) = (0, 0);
    let cases = cases(2000);
    for case in 0..cases {
        let lines = questions(&mut ChaCha8Rng::seed_from_u64(case));
        let broken = is_violated(&history(&lines), "consistent-prefix");
        let set = lines
            .iter()
            .map(|l| l.replace("ask", "add").replace("answer", "add"));
        let reversed = is_violated(&history(&set.collect::<Lines>()), "causal-reverse");
        violated += u64::from(broken);
        stronger_alone += u64::from(reversed && !broken);
        assert!(!broken || reversed, "case {case}:\n{}", lines.join("\n"));
    }
    assert!(violated > cases / 20, "violated in {violated} of {cases}");
    assert!(stronger_alone > 0, "only questions were ever seen too late");
}

/// Three questions with their answers, and reads that have some of them.
fn questions(rng: &mut ChaCha8Rng) -> Lines {
    let mut lines = Lines::new();
    let answer = |question| format!("{{\"a\":{question}0,\"q\":{question}}}");
    for question in 1..4 {
        let start = rng.random_range(0..12);
        lines.push(format!(
            "{question}: ask - {question} @{start}..{}",
            start + rng.random_range(1..4)
        ));
        let start = start + rng.random_range(1..8);
        lines.push(format!(
            "1{question}: answer - {} @{start}..22",
            answer(question)
        ));
    }
    for process in 20..rng.random_range(21..24) {
        let elements = (1..4).flat_map(|q| [q.to_string(), answer(q)]);
        let there: Vec<String> = elements.filter(|_| !one_in(rng, 3)).collect();
        lines.push(format!("{process}: read - [{}] @23..24", there.join(",")));
    }
    lines
}

/// Unique values in one register; sessions are processes, or go on under a new one.
fn few_writers(case: u64) -> Registers {
    Registers {
        ops_max: 12,
        clients: 2 + case as usize % 2,
        writers: if case.is_multiple_of(3) { 1 } else { 3 },
        sessions: if case.is_multiple_of(2) {
            Sessions::Process
        } else {
            Sessions::Client
        },
        ..Registers::PLAIN
    }
}

/// Stronger before weaker, on registers. Linearizable, sequential, PRAM: Lipton and Sandberg 1988. Sequential, causal: Ahamad et al. 1995. What `causal` decides is
/// the weakest form (CC of Bouajjani et al. 2017), which lets a session see two unordered writes in turn: so neither PRAM nor the guarantees that speak of one
/// order of versions follow from it. They do follow from causal convergence, and all of them from sequential (Viotti and Vukolic 2016,
/// Bouajjani et al. 2017).
const STRONGER: [(&str, &str); 8] = [
    ("linearizable", "sequential"),
    ("sequential", "causal"),
    ("sequential", "pram"),
    ("sequential", "monotonic-reads"),
    ("sequential", "read-your-writes"),
    ("sequential", "monotonic-writes"),
    ("sequential", "writes-follow-reads"),
    ("linearizable", "causal"),
];

#[test]
fn what_violates_the_weaker_violates_the_stronger() {
    let cases = cases(1000);
    let mut stronger_alone = [0_u64; STRONGER.len()];
    for case in 0..cases {
        let history = draw(several_keys(case), case);
        for ((stronger, weaker), alone) in STRONGER.iter().zip(&mut stronger_alone) {
            let strong = result(&history, stronger).verdict;
            let weak = result(&history, weaker).verdict;
            assert!(
                !(weak == Decision::Violated && strong != Decision::Violated),
                "case {case}: {weaker} is violated, and {stronger} is {strong:?}:\n{}",
                shown(&history)
            );
            *alone += u64::from(strong == Decision::Violated && weak == Decision::Holds);
        }
    }
    // And the stronger ones are stronger indeed.
    let common = stronger_alone.iter().all(|n| *n > 0);
    assert!(
        common,
        "only the stronger one was violated in: {STRONGER:?} {stronger_alone:?}"
    );
}

/// One order of all writes that causes fit (`one_order_of_writes`, causal convergence) is one that no session goes back in.
#[test]
fn what_violates_a_session_guarantee_has_no_one_order_of_writes() {
    const GUARANTEES: [&str; 4] = [
        "monotonic-reads",
        "read-your-writes",
        "monotonic-writes",
        "writes-follow-reads",
    ];
    let mut violated = 0;
    let cases = cases(1500);
    for case in 0..cases {
        let history = draw(several_keys(case), case);
        let broken = GUARANTEES.iter().any(|g| is_violated(&history, g));
        violated += u64::from(broken);
        let causal = result(&history, "causal");
        let converges =
            causal.verdict == Decision::Holds && causal.details["one_order_of_writes"] == true;
        assert!(!(broken && converges), "case {case}:\n{}", shown(&history));
    }
    assert!(violated > cases / 50, "violated in {violated} of {cases}");
}

/// What `linearizable` implies on registers, also where values repeat and nobody knows which write a read saw.
const IMPLIED: [&str; 8] = [
    "stale-reads",
    "monotonic-reads",
    "read-your-writes",
    "monotonic-writes",
    "writes-follow-reads",
    "sequential",
    "causal",
    "pram",
];

/// Two registers with values that repeat or not, with and without compare-and-sets, and each kind of session.
fn repeating(case: u64) -> Registers {
    Registers {
        keys: 2,
        ops_max: 10,
        clients: 4,
        unique: case.is_multiple_of(4),
        cas: case % 4 < 2,
        sessions: [Sessions::Process, Sessions::Client, Sessions::Shared][case as usize % 3],
        ..Registers::PLAIN
    }
}

#[test]
fn what_is_linearizable_keeps_what_it_implies() {
    let cases = cases(1000);
    let (mut settled, mut open) = (0, 0);
    for case in 0..cases {
        let history = draw(repeating(case), case);
        let names: Vec<String> = IMPLIED.iter().map(|name| (*name).to_owned()).collect();
        let alone = check(&history, Some(&names), &[], &Budget::unlimited()).unwrap();
        let all: Vec<String> = names
            .into_iter()
            .chain(["linearizable".to_owned()])
            .collect();
        let together = check(&history, Some(&all), &[], &Budget::unlimited()).unwrap();
        let is_linearizable = linearizable(&history);
        for name in IMPLIED {
            let result = &together.properties[name];
            open += u64::from(result.verdict == Decision::Unknown);
            settled += u64::from(is_linearizable);
            assert!(
                !is_linearizable || result.verdict == Decision::Holds || is_void(result),
                "case {case}: {name} is {:?} ({}), and it is linearizable:\n{}",
                result.verdict,
                result.why,
                shown(&history)
            );
            let by_itself = &alone.properties[name];
            assert!(
                is_linearizable || result.why.contains("sequential holds") || by_itself == result,
                "case {case}: {name} is {result:?} beside linearizable, and {by_itself:?} alone:\n{}",
                shown(&history)
            );
        }
    }
    assert!(
        settled > cases && open > cases / 20,
        "{settled} and {open} of {cases}"
    );
}

/// An order of all operations that no session goes back in is one of the versions, whichever write a read saw.
#[test]
fn what_sequential_settles_it_implies() {
    let cases = cases(2000);
    let mut settled = 0;
    for case in 0..cases {
        let history = draw(repeating(case), case);
        let names: Vec<String> = IMPLIED.iter().map(|name| (*name).to_owned()).collect();
        let verdict = check(&history, Some(&names), &[], &Budget::unlimited()).unwrap();
        if verdict.properties["sequential"].verdict != Decision::Holds {
            continue;
        }
        for name in &IMPLIED[1..] {
            let result = &verdict.properties[*name];
            settled += u64::from(result.why.contains("sequential holds"));
            assert!(
                result.verdict == Decision::Holds || is_void(result),
                "case {case}: {name} is {:?} ({}), and it is sequential:\n{}",
                result.verdict,
                result.why,
                shown(&history)
            );
        }
    }
    assert!(settled > cases / 100, "{settled} settled in {cases}");
}

/// Unique values in two registers.
fn several_keys(case: u64) -> Registers {
    Registers {
        keys: 2,
        ..few_writers(case)
    }
}

// --- Between an anomaly and its operations -----------------------------------------------------------------------------

/// With and without compare-and-sets, unique values and few, reads of what nobody wrote.
fn all_kinds(case: u64) -> Registers {
    Registers {
        ops_max: 10,
        unique: case.is_multiple_of(2),
        cas: case % 4 < 2,
        thin_air: case.is_multiple_of(5),
        ..Registers::PLAIN
    }
}

#[test]
fn an_anomaly_of_linearizable_is_a_proof_without_a_read_too_many() {
    let mut seen = 0;
    for case in 0..cases(3000) {
        let history = draw(all_kinds(case), case);
        for anomaly in result(&history, "linearizable").anomalies {
            seen += 1;
            let core = only(&history, &anomaly.operations);
            assert!(!linearizable(&core), "case {case}: {}", anomaly.message);
            let cut = shortest_failing(&core);
            for part in smaller_parts(&cut) {
                assert!(
                    linearizable(&part),
                    "case {case}: {} is more than is needed; this is enough:\n{}",
                    anomaly.message,
                    shown(&part)
                );
            }
        }
    }
    assert!(seen > cases(3000) / 20, "{seen} anomalies");
}

/// The beginning of a history by which it had failed: later completions only say more, so they cannot mend it.
fn shortest_failing(core: &History) -> History {
    let moments: BTreeSet<Time> = core.events.iter().map(|e| e.time).collect();
    let failing = moments.iter().map(|at| known_at(core, *at));
    failing.into_iter().find(|cut| !linearizable(cut)).unwrap()
}

/// Without any one read or refusal; and, where nothing was refused, without any one write and all that depend on its value.
fn smaller_parts(history: &History) -> Vec<History> {
    let ops = history.ops();
    let refused = ops
        .iter()
        .any(|op| op.f() == "cas" && !op.is_ok() && op.completion.is_some());
    let droppable = ops.iter().filter(|op| !refused || written(op).is_none());
    droppable
        .map(|op| {
            let gone = with_dependents(op, &ops);
            let rest = ops.iter().map(Op::index).filter(|i| !gone.contains(i));
            only(history, &rest.collect::<Vec<u64>>())
        })
        .collect()
}

fn with_dependents(dropped: &Op<'_>, ops: &[Op<'_>]) -> BTreeSet<u64> {
    let mut gone = BTreeSet::from([dropped.index()]);
    loop {
        let values: Vec<&Value> = ops
            .iter()
            .filter(|op| gone.contains(&op.index()))
            .filter_map(written)
            .collect();
        let depends = |op: &&Op<'_>| needed(op).is_some_and(|value| values.contains(&value));
        let before = gone.len();
        gone.extend(ops.iter().filter(depends).map(Op::index));
        if gone.len() == before {
            return gone;
        }
    }
}

fn needed<'h>(op: &Op<'h>) -> Option<&'h Value> {
    match op.f() {
        "cas" => Some(&op.argument()[0]),
        _ => op.result().filter(|_| is_answered_read(op)),
    }
}

// --- Between a history and its beginning -------------------------------------------------------------------------------

#[test]
fn a_beginning_of_what_is_linearizable_is_linearizable() {
    for case in 0..cases(1000) {
        let history = draw(all_kinds(case), case);
        if is_violated(&history, "linearizable") {
            continue;
        }
        for event in &history.events {
            let beginning = known_at(&history, event.time);
            let said = result(&beginning, "linearizable");
            assert!(
                said.verdict == Decision::Holds || is_void(&said),
                "case {case}:\n{}",
                shown(&beginning)
            );
        }
    }
}

/// A file that was cut at any byte is checked as far as it got; what held is no error.
#[test]
fn a_torn_history_is_no_error() {
    for text in TORN {
        let whole = shown(&History::dsl(text).unwrap());
        for bytes in 0..=whole.len() {
            let torn = jsonl::read(&whole.as_bytes()[..bytes]).unwrap();
            let verdict = check(&torn, None, &[], &Budget::unlimited()).unwrap();
            let violated = verdict.properties.iter();
            let violated = violated.filter(|(_, result)| result.verdict == Decision::Violated);
            let names: Vec<&String> = violated.map(|(name, _)| name).collect();
            assert!(names.is_empty(), "{names:?} at byte {bytes} of:\n{whole}");
        }
    }
}

/// Histories in which everything holds.
const TORN: [&str; 14] = [
    "0: write x 1 @0..1; 1: read x 1 @2..3; 2: cas x [1,2] @4..9 info; 1: read x 2 @5..6; 3: write x 3 @7..?",
    "0: add s 1 @0..1 node=n1 term=1; 1: add s 2 @0..5 node=n1 term=1; 2: read s [1,2] @6..7 final node=n1; \
     3: read s [2,1] @6..7 final node=n2",
    "0: generate - 1 @0..1; 1: generate - 2 @0..2; 2: generate - null @1..3 info; 0: generate - 3 @4..5",
    "0: write x 1 @0..1 session=7; 0: read x 1 @2..3 session=7; 0: write x 2 @4..5 session=7; 1: read x 2 @6..7; \
     2: read x 2 @8..9 final node=n1; 3: read x 2 @8..9 final node=n2",
    "0: add c 5 @0..1; 1: add c -2 @2..9 info; 2: read c 3 @3..4; 0: add c 1 @5..6; 3: read c 6 @10..11 final node=n1; \
     4: read c 4 @10..11 final node=n2",
    "0: enqueue q 1 @0..9; 1: dequeue q 1 @2..3; 2: enqueue q 2 @2..4 info; 3: enqueue q 3 @5..6; 4: dequeue q null @7..8; \
     4: drain q null>[2,3] @10..11",
    r#"0: read - {"a":5,"b":5} @0..1; 1: transfer - {"from":"a","to":"b","amount":2} @2..9 info; 0: read - {"a":3,"b":7} @4..5"#,
    "0: add s 1 @0..1; 0: add s 2 @2..3; 1: read s [1,2] @4..5; 1: remove s 1 @6..7; 0: add s 3 @6..9; \
     2: read s [2,3] @10..11 final node=n1; 3: read s [2,3] @10..11 final node=n2",
    r#"0: txn - [["w","x",1]] @0..1; 1: txn - [["w","y",1]] @2..9 info; 2: txn - [["r","x",1],["r","y",1]] @4..5; 
       0: txn - [["r","x",1],["r","y",null]] @6..7"#,
    r#"0: txn - [["append","x",1]] @0..1; 1: txn - [["append","x",2],["r","x",[1,2]]] @2..9; 
       2: txn - [["r","x",[1,2]]] @4..5; 0: txn - [["r","x",[1]]] @6..7"#,
    r#"0: add - {"val":1}>{"val":1,"sts":10} @0..1; 1: add - {"val":2}>{"val":2,"sts":20} @2..9 info; 0: read - [{"val":1,"sts":10}] @4..5; 
       0: read - [{"val":1,"sts":10},{"val":2,"sts":20}] @10..11"#,
    r#"0: write - 3 @0..9; 1: read - 3>[3,[null,"3_0"]] @1..2; 1: read - 3>[3,["3_1","3_0"]] @10..11"#,
    r#"0: insert t {"after":"","text":"ab"} @0..1; 1: insert t {"after":"","text":"cd"} @0..1; 0: delete t {"from":"ab","to":"ab"} @2..3;
       2: read t "cd" @10..11 final node=n1; 3: read t "cd" @10..11 final node=n2"#,
    "0: cas x [null,1] @0..1; 1: cas x [1,2] @2..9 info; 0: read x 2 @3..4; 2: read x 2 @10..11 final",
];
