//! How decisions become a verdict, and how a verdict is put: merging, what does not fit, the document `results.json`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod support;

use schism_checkers::verdict::{ANOMALIES_LISTED, Decision, Outcome, PropertyResult, Verdict};
use schism_checkers::{
    Budget, CheckError, Chosen, Model, Prepared, Tally, check, merge, properties, property,
};
use schism_history::{History, jsonl};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{result, result_or_error};

/// `x` is violated, `y` unknown (a cas that does not say what it expects), `z` holds.
const VIOLATED: &str = "0: write x 1 @0..1; 0: read x null @2..3";
const UNKNOWN: &str = "1: write y 1 @0..1; 1: cas y 5 @2..3";
const HOLDS: &str = "2: write z 1 @0..1; 2: read z 1 @2..3";

fn history(parts: &[&str]) -> History {
    History::dsl(&parts.join("\n")).unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn verdict(history: &History, named: Option<&[&str]>, deciding: &[&str]) -> Verdict {
    let named = named.map(names);
    check(
        history,
        named.as_deref(),
        &names(deciding),
        &Budget::unlimited(),
    )
    .unwrap()
}

#[test]
fn of_several_keys_the_worst_decides() {
    for (parts, expected) in [
        (&[HOLDS][..], Decision::Holds),
        (&[UNKNOWN, HOLDS], Decision::Unknown),
        (&[VIOLATED, HOLDS], Decision::Violated),
        (&[VIOLATED, UNKNOWN, HOLDS], Decision::Violated),
    ] {
        for property in [
            "linearizable",
            "stale-reads",
            "monotonic-reads",
            "read-your-writes",
        ] {
            let got = result(&history(parts), property).verdict;
            let weaker = property == "monotonic-reads" && expected == Decision::Violated;
            assert!(
                got == expected || weaker,
                "{property}: {got:?} for {parts:?}"
            );
        }
    }
}

#[test]
fn decisions_are_ordered_worst_last() {
    assert!(Decision::Holds < Decision::Unknown && Decision::Unknown < Decision::Violated);
    assert!(Outcome::Pass < Outcome::Inconclusive && Outcome::Inconclusive < Outcome::Violation);
}

#[test]
fn of_several_properties_the_worst_decides() {
    let all = history(&[VIOLATED, UNKNOWN, HOLDS]);
    assert_eq!(verdict(&all, None, &[]).verdict, Outcome::Violation);
    assert_eq!(
        verdict(&history(&[UNKNOWN, HOLDS]), None, &[]).verdict,
        Outcome::Inconclusive
    );
    assert_eq!(
        verdict(&history(&[HOLDS]), None, &[]).verdict,
        Outcome::Pass
    );
}

#[test]
fn only_deciding_properties_decide() {
    let all = history(&[VIOLATED, HOLDS]);
    let shown = verdict(&all, None, &["monotonic-reads"]);
    assert_eq!(shown.verdict, Outcome::Pass);
    assert_eq!(shown.properties["linearizable"].verdict, Decision::Violated);
    assert!(
        !shown.properties["linearizable"].decides && shown.properties["monotonic-reads"].decides
    );
    let named = verdict(&all, Some(&["monotonic-reads"]), &[]);
    assert_eq!(named.verdict, Outcome::Pass);
    assert_eq!(named.properties.len(), 1);
}

/// What the side-by-side path and the streams hand over, with one that had no time or did not fit into memory.
fn merged(history: &History, model: Option<Model>, undecided: &str) -> Verdict {
    let prepared = Prepared::new(history).with_model(model);
    let chosen = |name| Chosen {
        property: property(name).unwrap(),
        decides: true,
    };
    let result = |name| chosen(name).check(&prepared, &Budget::unlimited());
    let mut results: Vec<_> = ["linearizable", "stale-reads"]
        .into_iter()
        .map(|name| (chosen(name), result(name)))
        .collect();
    results.push((chosen(undecided), PropertyResult::unknown("it had no time")));
    merge(&prepared, &Tally::of(&prepared), results)
}

#[test]
fn what_is_undecided_holds_where_something_holds_that_implies_it() {
    let guarantees = [
        "monotonic-reads",
        "read-your-writes",
        "monotonic-writes",
        "writes-follow-reads",
    ];
    for name in guarantees {
        let settled = &merged(&history(&[HOLDS]), None, name).properties[name];
        assert_eq!(settled.verdict, Decision::Holds, "{name}");
        assert!(settled.checked > 0 && settled.why.contains("linearizable holds"));
        let model = Some(Model::Register);
        let verdict = merged(&history(&[HOLDS]), model, name);
        assert_eq!(verdict.verdict, Outcome::Pass);
        for open in [
            &[VIOLATED, HOLDS][..],
            &[UNKNOWN, HOLDS],
            // Sets are judged as well, and linearizable says nothing of them.
            &[HOLDS, "3: add s 1 @0..1; 3: read s [1] @2..3"],
            // There is nothing that could be wrong.
            &["2: write z 1 @0..1 info"],
        ] {
            let open = &merged(&history(open), None, name).properties[name];
            assert_eq!(open.verdict, Decision::Unknown, "{name}");
            assert_eq!(open.why, "it had no time");
        }
    }
}

#[test]
fn a_deciding_property_that_does_not_fit_is_unknown() {
    let verdict = verdict(&history(&[HOLDS]), None, &["unique-ids"]);
    assert_eq!(verdict.properties["unique-ids"].verdict, Decision::Unknown);
    assert!(!verdict.properties["unique-ids"].why.is_empty());
    assert_eq!(verdict.verdict, Outcome::Inconclusive);
}

#[test]
fn a_named_property_that_does_not_fit_is_an_error() {
    let strangers = [
        "lost-writes",
        "unique-ids",
        "convergence",
        "split-brain",
        "recovery",
    ];
    for property in strangers {
        let error = result_or_error(&history(&[HOLDS]), property).unwrap_err();
        assert!(matches!(error, CheckError::DoesNotFit { name, .. } if name == property));
        assert!(error.to_string().contains(property), "{error}");
    }
    let set = history(&["0: add s 1 @0..1; 0: read s [1] @2..3"]);
    for property in [
        "linearizable",
        "stale-reads",
        "monotonic-reads",
        "read-your-writes",
    ] {
        assert!(
            result_or_error(&set, property).is_err(),
            "{property} fits a set"
        );
    }
}

/// A register cannot tell lost from overwritten, and a counter is no set.
#[test]
fn what_has_other_operations_fits_neither_sets_nor_registers() {
    let counter = history(&["0: add c 1 @0..1; 0: add c 1 @2..3; 1: read c 2 @4..5"]);
    let queue = history(&["0: enqueue q 1 @0..1; 1: dequeue q 1 @2..3"]);
    let bank = history(&[r#"0: read - {"a":1} @0..1; 0: transfer - {} @2..3"#]);
    for (fitting, other) in [("counter", &counter), ("queue", &queue), ("bank", &bank)] {
        assert!(result_or_error(other, fitting).is_ok(), "{fitting}");
        for property in [
            "counter",
            "queue",
            "bank",
            "set",
            "monotonic-writes",
            "consistent-prefix",
        ] {
            let fits = result_or_error(other, property).is_ok();
            assert_eq!(fits, property == fitting, "{property} and {fitting}");
        }
    }
    for property in ["lost-writes", "linearizable", "stale-reads"] {
        assert!(
            result_or_error(&counter, property).is_err(),
            "{property} fits a counter"
        );
        assert!(
            result_or_error(&queue, property).is_err(),
            "{property} fits a queue"
        );
    }
}

/// Parts that are only read (a part may be empty to the end) look like sets or registers by themselves.
#[test]
fn questions_fit_what_is_about_them_only() {
    let questions = history(&[
        r#"0: ask - 1 @0..1; 0: answer - {"q":1,"a":2} @2..3; 1: read questions null @4..5; 1: read answers [] @6..7"#,
    ]);
    let verdict = verdict(&questions, None, &[]);
    let fitting: Vec<&String> = verdict.properties.keys().collect();
    assert_eq!(fitting, ["consistent-prefix"]);
    let one = history(&["0: ask - 1 @0..1; 1: read - [1] @4..5 final"]);
    let fitting: Vec<&str> = properties()
        .iter()
        .map(|p| p.name())
        .filter(|name| result_or_error(&one, name).is_ok())
        .collect();
    let general = ["meaningful", "stats"];
    let about = ["lost-writes", "consistent-prefix", "convergence"];
    let expected: Vec<&str> = about.into_iter().chain(general).collect();
    assert_eq!(fitting, expected);
}

#[test]
fn a_property_that_is_not_there_is_an_error_that_names_those_that_are() {
    let error = result_or_error(&history(&[HOLDS]), "linearisable").unwrap_err();
    assert!(matches!(error, CheckError::Unknown { .. }));
    for property in properties() {
        assert!(error.to_string().contains(property.name()), "{error}");
    }
    let error = check(
        &history(&[HOLDS]),
        None,
        &names(&["nope"]),
        &Budget::unlimited(),
    );
    assert!(matches!(error, Err(CheckError::Unknown { .. })));
}

#[test]
fn an_empty_history_proves_nothing() {
    let empty = History::new(Vec::new()).unwrap();
    assert_eq!(verdict(&empty, None, &[]).verdict, Outcome::Inconclusive);
}

#[test]
fn a_run_that_proves_nothing_does_not_pass() {
    for (what, expected) in [
        ("0: write x 1 @0..1 info", Decision::Holds),
        (
            "0: write x 1 @0..1 fail; 0: read x null @2..3 fail",
            Decision::Unknown,
        ),
    ] {
        let verdict = verdict(&history(&[what]), None, &[]);
        assert_eq!(verdict.properties["linearizable"].verdict, expected);
        assert_eq!(verdict.verdict, Outcome::Inconclusive);
        assert_eq!(verdict.meaningful["meaningful"], false);
    }
}

/// A fault without proof makes a pass worth nothing, and a violation none the less true.
#[test]
fn a_violation_is_one_whatever_the_run_proves() {
    let fault = r#"{"time":0,"process":"nemesis","type":"info","f":"partition","value":{"fault":1,"stage":"inject"}}
{"time":1,"process":0,"type":"invoke","f":"write","key":"x","value":1}
{"time":2,"process":0,"type":"ok","f":"write","key":"x","value":1}
{"time":3,"process":0,"type":"invoke","f":"read","key":"x","value":null}
{"time":4,"process":0,"type":"ok","f":"read","key":"x","value":null}
"#;
    let verdict = verdict(
        &jsonl::read(fault.as_bytes()).unwrap(),
        None,
        &["linearizable"],
    );
    assert_eq!(verdict.meaningful["meaningful"], false);
    assert_eq!(verdict.verdict, Outcome::Violation);
}

#[test]
fn a_property_that_ran_out_of_its_budget_does_not_hide_a_violation() {
    let busy = (0..24).map(|i| format!("{}: write y {} @0..100", i + 10, i % 3 + 1));
    let busy: Vec<String> = busy.chain(["40: read y 9 @200..300".to_owned()]).collect();
    let busy = history(&[VIOLATED, &busy.join("\n")]);
    // The first key is still read and looked at.
    let looks = AtomicUsize::new(0);
    let budget = Budget {
        exhausted: &|| looks.fetch_add(1, Ordering::Relaxed) > 3,
        memory_bytes: 1 << 16,
    };
    let named = names(&["linearizable", "stale-reads"]);
    let verdict = check(&busy, Some(&named), &[], &budget).unwrap();
    assert_eq!(verdict.verdict, Outcome::Violation);
}

/// The `operations` of an anomaly are said to be in order of time (`verdict.rs`), and each is there once.
#[test]
fn the_operations_of_an_anomaly_are_in_order() {
    for (property, text) in [
        ("linearizable", VIOLATED),
        ("stale-reads", VIOLATED),
        (
            "monotonic-reads",
            "0: write x 1 @0..1; 1: read x 1 @2..3; 1: read x null @4..5",
        ),
        ("read-your-writes", VIOLATED),
        (
            "unique-ids",
            "0: generate - 5 @0..10; 1: generate - 5 @1..9",
        ),
        (
            "lost-writes",
            "0: add s 1 @0..5; 1: read s [] @6..9 final; 2: read s [] @7..8 final",
        ),
        (
            "convergence",
            "0: read x 1 @0..9 final node=n1; 1: read x 2 @1..5 final node=n2",
        ),
        (
            "split-brain",
            "0: write x 1 @0..10 node=n1 term=1; 1: write x 2 @5..6 node=n2 term=1",
        ),
        (
            "monotonic-writes",
            "0: add s 1 @0..1; 0: add s 2 @2..3; 1: read s [2] @2..9",
        ),
        (
            "writes-follow-reads",
            "0: read x 2 @0..1; 0: write x 1 @2..3; 0: write x 2 @4..5",
        ),
        (
            "counter",
            "1: read c 7 @0..9; 0: add c 1 @1..2; 2: read c 7 @3..4",
        ),
        (
            "queue",
            "1: dequeue q 1 @0..9; 2: dequeue q 1 @1..8; 0: enqueue q 1 @2..3",
        ),
        (
            "bank",
            r#"0: read - {"a":1} @0..9; 1: read - {"a":2} @1..2; 2: transfer - {} @3..4"#,
        ),
        (
            "set",
            "1: read s [1,1] @0..9; 0: add s 1 @1..2; 2: read s [1] @10..11 final",
        ),
        (
            "consistent-prefix",
            r#"1: txn - [["r","x",1],["r","y",null]] @0..9; 0: txn - [["w","x",1],["w","y",1]] @1..2"#,
        ),
        (
            "long-fork",
            r#"2: txn - [["r","x",1],["r","y",null]] @0..9; 3: txn - [["r","x",null],["r","y",1]] @1..8; 0: txn - [["w","x",1]] @2..3;
               1: txn - [["w","y",1]] @2..3"#,
        ),
    ] {
        let anomalies = result(&history(&[text]), property).anomalies;
        assert!(!anomalies.is_empty(), "{property}");
        for anomaly in anomalies {
            let operations = anomaly.operations;
            assert!(
                operations.is_sorted_by(|a, b| a < b),
                "{property}: {operations:?}"
            );
            assert!(
                !anomaly.name.is_empty() && !anomaly.mend.is_empty(),
                "{property}"
            );
            assert!(
                anomaly.message.ends_with('.'),
                "{property}: {}",
                anomaly.message
            );
        }
    }
}

#[test]
fn many_anomalies_are_counted_and_some_are_listed() {
    let reads = (0..30).map(|i| format!("{}: read x null @{}..{}", i + 1, 10 + i, 11 + i));
    let lines: Vec<String> = ["0: write x 1 @0..1".to_owned()]
        .into_iter()
        .chain(reads)
        .collect();
    let result = result(&history(&[&lines.join("\n")]), "stale-reads");
    assert_eq!(
        (result.count, result.anomalies.len()),
        (30, ANOMALIES_LISTED)
    );
}

#[test]
fn the_same_history_gets_the_same_document() {
    let all = history(&[VIOLATED, UNKNOWN, HOLDS]);
    let document = |v: &Verdict| serde_json::to_string(v).unwrap();
    let first = verdict(&all, None, &[]);
    assert_eq!(document(&first), document(&verdict(&all, None, &[])));
    let back: Verdict = serde_json::from_str(&document(&first)).unwrap();
    assert_eq!(back, first);
}

/// The shape that scripts rely on.
#[test]
fn the_document_has_the_promised_fields() {
    let document =
        serde_json::to_value(verdict(&history(&[VIOLATED, UNKNOWN]), None, &[])).unwrap();
    assert_eq!(document["verdict"], "violation");
    assert!(document["stats"].is_object() && document["meaningful"].is_object());
    let result = &document["properties"]["linearizable"];
    assert_eq!(result["verdict"], "violated");
    assert!(result["count"].is_u64() && result["checked"].is_u64());
    let anomaly = &result["anomalies"][0];
    assert!(
        anomaly["operations"].is_array()
            && anomaly["message"].is_string()
            && anomaly["cause"].is_string()
            && anomaly["mend"].is_string()
    );
    assert!(
        result["why"]
            .as_str()
            .is_some_and(|why| why.contains("cas"))
    );
}

/// The read of 1 is two versions behind; where a value is written twice there are bounds only.
#[test]
fn stale_reads_say_how_far_the_register_is_from_atomic() {
    let writes = "0: write x 1 @0..1; 0: write x 2 @2..3; 0: write x 3 @4..5; 1: read x 1 @7..8";
    let details = |text: &str| {
        let verdict = verdict(&history(&[text]), None, &[]);
        let details = verdict.properties["stale-reads"].details.clone();
        serde_json::Value::Object(details)
    };
    let whole = details(writes);
    assert_eq!(whole["k"], 3, "{whole}");
    assert_eq!(
        whole["delta_ms"], 4.0,
        "it must begin by the end of the write of 2: {whole}"
    );
    assert_eq!(whole["versions_behind"]["max"], 2, "{whole}");
    let again = details(&format!("{writes}; 0: write x 3 @9..10"));
    assert_eq!(
        (&again["k"], &again["k_max"]),
        (&serde_json::Value::Null, &serde_json::Value::Null),
        "{again}"
    );
    assert_eq!(again["k_min"], 3, "{again}");
    assert_eq!(again["delta_ms_min"], 4.0, "{again}");
    let fresh = details("0: write x 1 @0..1; 1: read x 1 @2..3");
    assert_eq!((&fresh["k"], &fresh["delta_ms"]), (&1.into(), &0.0.into()));
}

#[test]
fn names_are_kebab_case_and_there_once() {
    let all: Vec<&str> = properties().iter().map(|p| p.name()).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    for name in all {
        assert!(
            name.chars().all(|c| c.is_ascii_lowercase() || c == '-'),
            "{name}"
        );
        assert_eq!(property(name).unwrap().name(), name);
        assert!(!property(name).unwrap().summary().is_empty(), "{name}");
    }
}
