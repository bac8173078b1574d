//! The report as its readers meet it: through `html`, `plots` and `markdown`.

mod limits;
mod messages;
mod outside;
mod page;
mod tape;

use super::{Input, NodeLog, RunInfo, html, markdown, plots, theme};
use page::Page;
use schism_checkers::verdict::{Anomaly, Decision, Outcome, PropertyResult, Verdict};
use schism_checkers::{Budget, Prepared, check, property};
use schism_history::{History, jsonl};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tape::{Tape, Told};

fn judged(history: &History) -> Verdict {
    // The report is what is tested: a few properties are enough, and stay the same when more are written.
    let prepared = Prepared::new(history);
    let few = [
        "lost-writes",
        "stale-reads",
        "monotonic-reads",
        "read-your-writes",
        "unique-ids",
        "convergence",
        "split-brain",
        "linearizable",
        "recovery",
    ];
    let fits = |name: &&str| property(name).is_some_and(|p| p.fits(&prepared));
    let named: Vec<String> = few
        .into_iter()
        .filter(|name| fits(name))
        .map(str::to_owned)
        .collect();
    check(history, Some(&named), &[], &Budget::unlimited()).unwrap()
}

fn input<'a>(history: &'a History, verdict: &'a Verdict) -> Input<'a> {
    Input {
        history,
        verdict,
        run: RunInfo::default(),
        logs: Vec::new(),
        captures: None,
    }
}

/// The page of a history with its own verdict.
fn drawn(history: &History) -> Page {
    let verdict = judged(history);
    Page::read(&html(&input(history, &verdict)).unwrap())
}

fn drawn_with(history: &History, verdict: &Verdict) -> Page {
    Page::read(&html(&input(history, verdict)).unwrap())
}

/// A verdict with one property, violated as it is told.
fn violated(name: &str, anomalies: Vec<Anomaly>) -> Verdict {
    let result = PropertyResult {
        verdict: Decision::Violated,
        count: anomalies.len() as u64,
        checked: 7,
        anomalies,
        why: String::new(),
        details: serde_json::Map::new(),
        decides: true,
    };
    Verdict {
        verdict: Outcome::Violation,
        properties: BTreeMap::from([(name.to_owned(), result)]),
        stats: Value::Null,
        meaningful: Value::Null,
    }
}

fn anomaly(operations: Vec<u64>, message: &str) -> Anomaly {
    Anomaly {
        name: "lost".into(),
        operations,
        message: message.into(),
        cause: "An early answer.".into(),
        mend: "Wait for a majority.".into(),
        details: serde_json::Map::new(),
    }
}

/// A run in which element 2, acknowledged during the partition, is in neither of the two final reads.
fn lossy_run() -> Tape {
    let mut tape = Tape::default()
        .nemesis(0, "arena", &json!({"up_ms": 14.2}))
        .phase(100_000, "main")
        .fault(
            1,
            "partition: n1 alone",
            &[200_000, 204_000, 400_000, 402_000],
            true,
        )
        .op(Told::add(0, 1, (150_000, 151_000)))
        .op(Told::add(1, 2, (250_000, 252_500)))
        .op(Told::add(2, 3, (260_000, 262_000)).outcome("info", json!({"kind": "timeout"})))
        .op(Told::add(3, 4, (270_000, 271_000)).outcome("fail", json!({"kind": "no-leader"})))
        .phase(600_000, "heal")
        .nemesis(
            650_000,
            "recovery",
            &json!({"recovered": true, "after_ms": 50.0}),
        )
        .phase(651_000, "final-reads");
    for i in 0..20 {
        tape = tape
            .op(Told::add(
                4,
                100 + i,
                (110_000 + i * 1000, 110_500 + i * 1000),
            ))
            .op(Told::add(
                4,
                200 + i,
                (300_000 + i * 1000, 300_500 + i * 1000),
            ))
            .op(Told::add(
                4,
                300 + i,
                (500_000 + i * 1000, 500_500 + i * 1000),
            ));
    }
    let kept: Vec<u64> = (0..20)
        .flat_map(|i| [100 + i, 200 + i, 300 + i])
        .chain([1])
        .collect();
    tape.op(Told::last_read(5, "n1", json!(kept), (652_000, 653_000)))
        .op(Told::last_read(6, "n2", json!(kept), (652_000, 654_000)))
        .phase(660_000, "end")
}

fn run_info() -> RunInfo {
    RunInfo {
        target: Some("single-leader".into()),
        options: vec![("ack".into(), "async".into())],
        workload: Some("set".into()),
        nemesis: vec!["partition:leader".into()],
        nodes: Some(5),
        seed: Some(4711),
        date: Some("2026-11-25 13:29:20 UTC".into()),
        command: Some("schism run --target single-leader --set a='b  c --d' --seed 4711".into()),
        spec_toml: Some("seed = 4711\n[options]\nack = \"async\"\n".into()),
    }
}

fn log(tail: &str) -> NodeLog {
    NodeLog {
        node: "n1".into(),
        file: "stderr".into(),
        tail: tail.into(),
        truncated: true,
    }
}

fn whole_page() -> (String, Page) {
    let history = lossy_run().history();
    let verdict = judged(&history);
    let page = html(&Input {
        history: &history,
        verdict: &verdict,
        run: run_info(),
        logs: vec![log("INFO elected in term 7\nINFO steps down\n")],
        captures: None,
    })
    .unwrap();
    let read = Page::read(&page);
    (page, read)
}

#[test]
fn every_section_is_there() {
    let (_, page) = whole_page();
    let ids: BTreeSet<&str> = page.all("id").collect();
    for id in [
        "properties",
        "faults",
        "performance",
        "stats",
        "again",
        "logs",
        "p0",
    ] {
        assert!(ids.contains(id), "no section {id}");
    }
    for link in page.all("href") {
        let id = link.strip_prefix('#').unwrap();
        assert!(ids.contains(id), "the link {link} leads nowhere");
    }
    let prose = page.prose();
    for said in [
        "✗ VIOLATION lost-writes violated: 1 acknowledged write lost.",
        "For example: Element 2 of s was lost: n1 (term 1) acknowledged process 1's add of 2",
        "ack=async",
        "recovered after 50.0 ms",
        "partition:leader; 1 of 1 took effect",
        "4 of 4 cut links dropped the probe",
        ": 6 of 6 open links carried it",
        "Latency of every operation",
        "Latency quantiles over time",
        "Rate by outcome",
        "unknown: timeout 1",
        "Seed 4711",
        "ack = \"async\"",
        "n1 stderr (2 lines, the end only)",
        "INFO elected in term 7",
        "64 operations succeeded, and the fault was seen to take effect and to heal.",
    ] {
        assert!(prose.contains(said), "{said:?} is not in {prose}");
    }
}

#[test]
fn an_anomaly_is_told_drawn_and_listed() {
    let (_, page) = whole_page();
    let prose = page.prose();
    for said in [
        "Where in the run: add 2: 50.0 ms into fault 1 partition (n1 alone); \
         2 final reads: 250 ms after the last fault was healed.",
        "What usually causes it: The leader acknowledged before",
        "What usually mends it: Acknowledge a write only when a majority has it",
        "p1 · n1 p5 · n1 p6 · n2",
        "add 2 read: no 2 read: no 2",
        "61 values, without 2",
        "whole run 1 0 660 ms",
    ] {
        assert!(prose.contains(said), "{said:?} is not in {prose}");
    }
    // The three bars, once for a page and once for a phone, and one in the key to the pictures.
    let bars = page.count("bar");
    let in_keys = 2 * page.count("key");
    assert_eq!(bars - in_keys, 2 * 3);
    // The strip of the whole run: a mark for the add, and one for both reads.
    assert_eq!((page.count("spell"), page.count("mark")), (2, 2 * 2));
    let drawings = |class| page.count(class);
    assert_eq!(drawings("wide-only"), drawings("narrow-only"));
    assert_eq!(drawings("plot"), 2 * 3);
}

#[test]
fn the_command_and_the_spec_can_be_copied() {
    let (page, _) = whole_page();
    let between = |from: &str, to: &str| {
        let (_, rest) = page.split_once(from).unwrap();
        Page::read(rest.split_once(to).unwrap().0)
            .text
            .replace('\n', "")
    };
    let command = between("<pre class=\"wrap\"><code>", "</code></pre>");
    assert_eq!(Some(command), run_info().command);
    let spec = between("<h3>Spec</h3>\n<pre><code>", "</code></pre>");
    assert_eq!(
        Some(spec),
        run_info().spec_toml.map(|s| s.replace('\n', ""))
    );
}

#[test]
fn figures_by_phase_are_those_of_the_history() {
    let (page, _) = whole_page();
    let row = |name: &str| {
        let from = page
            .find(&format!("<th scope=\"row\">{name}</th>"))
            .unwrap();
        let row = &page[from..from + page[from..].find("</tr>").unwrap()];
        let cells: Vec<String> = row
            .split("<td class=\"num\">")
            .skip(1)
            .map(|c| c.trim_end_matches("</td>").to_owned())
            .collect();
        cells
    };
    // Lasted, attempts, ok, fail, unknown, share, ok/s.
    assert_eq!(
        row("before the first fault")[..6],
        ["100 ms", "21", "21", "0", "0", "100 %"]
    );
    assert_eq!(
        row("during faults")[..7],
        ["202 ms", "23", "21", "1", "1", "91.3 %", "103"]
    );
    assert_eq!(row("after the last heal")[1..4], ["20", "20", "0"]);
    assert_eq!(row("final reads")[1..3], ["2", "2"]);
    assert_eq!(row("all")[1..5], ["66", "64", "1", "1"]);
    assert_eq!(row("read (final)")[..2], ["2", "2"]);
}

#[test]
fn markdown_says_the_same_as_the_page() {
    let history = lossy_run().history();
    let verdict = judged(&history);
    let mut input = input(&history, &verdict);
    input.run = run_info();
    let text = markdown(&input);
    for said in [
        "# ✗ VIOLATION\n\nlost-writes violated: 1 acknowledged write lost.",
        "- target: single-leader ack=async",
        "| lost-writes | ✗ violated | 1 acknowledged write lost | 62 acknowledged writes | yes |",
        "- **lost**: Element 2 of s was lost",
        "What usually causes it: The leader acknowledged",
        "What usually mends it: Acknowledge",
        "| 1 partition | n1 alone | 0.200 s | 0.402 s | proved |",
        "```sh\nschism run --target single-leader --set a='b  c --d' --seed 4711\n```",
    ] {
        assert!(text.contains(said), "{said:?} is not in {text}");
    }
}

#[test]
fn the_style_sheet_defines_every_colour_for_light_and_dark() {
    let (markup, page) = whole_page();
    let (light, rest) = page
        .style
        .split_once("@media screen and (prefers-color-scheme:dark)")
        .unwrap();
    let dark = rest.split_once("}}").unwrap().0;
    let plain = |css: &str| css.replace(char::is_whitespace, "");
    for definition in theme::light() {
        assert!(
            plain(light).contains(&format!("{definition};")),
            "no {definition}"
        );
    }
    let used: BTreeSet<&str> = markup
        .split("var(")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(name, _)| name)
        .collect();
    assert!(used.len() > 15, "{used:?}");
    for name in used {
        assert!(
            plain(light).contains(&format!("{name}:")),
            "{name} is not defined"
        );
        let font = ["--mono", "--sans"].contains(&name);
        assert!(
            font || plain(dark).contains(&format!("{name}:")),
            "{name} is not dark"
        );
    }
    assert!(page.style.contains("@media print") && page.style.contains("@media (max-width:40rem)"));
}

#[test]
fn every_class_that_is_used_has_a_style() {
    let (_, page) = whole_page();
    let classes: BTreeSet<&str> = page.all("class").flat_map(str::split_whitespace).collect();
    // Names that only tell parts of a drawing from one another, and outcomes without a look of their own.
    let bare = ["t-op", "more"];
    for class in classes.into_iter().filter(|c| !bare.contains(c)) {
        let styled = page
            .style
            .match_indices(&format!(".{class}"))
            .any(|(at, name)| {
                let next = page.style[at + name.len()..].chars().next();
                next.is_some_and(|c| !c.is_alphanumeric() && c != '-')
            });
        assert!(styled, ".{class} has no style");
    }
}

#[test]
fn an_empty_history_says_so() {
    let history = History::default();
    let page = drawn(&history);
    let prose = page.prose();
    assert!(
        prose.contains("The history has no operations at all."),
        "{prose}"
    );
    assert!(prose.contains("? INCONCLUSIVE") && prose.contains("no operation succeeded"));
    let ids: BTreeSet<&str> = page.all("id").collect();
    for absent in ["performance", "stats", "faults", "logs", "again"] {
        assert!(!ids.contains(absent), "an empty section {absent}");
    }
    let verdict = judged(&history);
    assert!(plots(&input(&history, &verdict)).unwrap().is_empty());
    assert!(markdown(&input(&history, &verdict)).contains("- operations: 0, of which 0 ok"));
}

#[test]
fn a_history_in_which_nothing_was_answered_is_drawn() {
    let history = History::dsl("0: add s 1 @0..?; 1: add s 2 @1..?; 2: read s null @2..?").unwrap();
    let verdict = violated(
        "lost-writes",
        vec![anomaly(vec![0, 1, 2], "Nobody answered.")],
    );
    let page = drawn_with(&history, &verdict);
    assert_eq!(page.count("plot"), 0);
    assert!(page.prose().contains("add 1 ?") && page.prose().contains("unknown: never answered 3"));
    assert_eq!(
        page.count("open"),
        2 * 3 + 1,
        "arrows, and the one of the key"
    );
    assert!(plots(&input(&history, &verdict)).unwrap().is_empty());
}

#[test]
fn one_operation_that_took_no_time_is_drawn() {
    let history = History::dsl("0: add s 1 @0..0").unwrap();
    let page = drawn(&history);
    assert_eq!(page.count("plot"), 6);
    assert!(
        page.prose()
            .contains("Each of 1 operation, by when it was invoked.")
    );
}

#[test]
fn what_a_reader_must_know_stands_above_everything_else() {
    let mut text = lossy_run()
        .nemesis(640_000, "interrupted", &json!({"why": "SIGINT"}))
        .nemesis(
            645_000,
            "crash",
            &json!({"node": "n3", "how": "exit status 101"}),
        )
        .fault(2, "kill n2", &[300_000, 301_000, 410_000, 411_000], false)
        .fault(3, "pause n4", &[310_000, 311_000], true)
        .text();
    text.push_str("{\"index\":9");
    let history = jsonl::read(text.as_bytes()).unwrap();
    let page = drawn(&history);
    let prose = page.prose();
    for said in [
        "Before you trust this run",
        "The run was ended early: SIGINT. What was recorded until then is checked.",
        "The history is torn: its last line (151) is incomplete, 10 bytes of it were left out.",
        "nothing proves that fault 2 (kill n2) took effect",
        "nothing proves that fault 3 (pause n4) was healed",
        "Nodes ended by themselves, not by a fault: n3 at 0.645 s: exit status 101.",
        "n3 ended by itself",
        "✗ not proved",
        "✗ not healed",
        "3 pause (from 310.00 ms, never healed)",
    ] {
        assert!(
            prose.contains(said) || page.says(said),
            "{said:?} is not in {prose}"
        );
    }
    assert_eq!(page.count("unproved"), 2, "one bar a drawing");
    let before = prose.find("Before you trust").unwrap();
    assert!(before < prose.find("Properties property").unwrap());
}

#[test]
fn faults_without_proof_are_named_even_where_the_checkers_say_nothing() {
    let history = Tape::default()
        .op(Told::add(0, 1, (0, 1000)))
        .fault(1, "partition: n1 alone", &[100], true)
        .history();
    let verdict = violated("lost-writes", vec![anomaly(vec![0], "Lost.")]);
    let page = drawn_with(&history, &verdict);
    assert!(page.says("Nothing proves that these faults took effect: 1 partition."));
    assert!(page.says("? nobody looked") && page.prose().contains("never never"));
}

#[test]
fn a_target_that_did_not_recover_is_a_warning() {
    let history = Tape::default()
        .op(Told::add(0, 1, (0, 1000)))
        .nemesis(
            2000,
            "recovery",
            &json!({"recovered": false, "why": "no leader", "within_ms": 15000.0}),
        )
        .history();
    let page = drawn(&history);
    assert!(page.says("The target did not recover after the last heal: no leader."));
    assert!(page.says("NOT recovered"));
}

#[test]
fn an_anomaly_without_operations_is_told_without_a_picture() {
    let history = History::dsl("0: add s 1 @0..1").unwrap();
    let found = vec![
        anomaly(Vec::new(), "Nothing to see."),
        anomaly(vec![0, 77], "One is missing."),
    ];
    let page = drawn_with(&history, &violated("recovery", found));
    assert!(page.says("Nothing to see."));
    assert!(page.says("1 operation named here and not in this history, left out: index 77."));
    assert_eq!(page.count("pic"), 2, "only the second one has a picture");
    assert_eq!(page.count("ops"), 1);
    let mends = page.prose().matches("What usually mends it").count();
    assert_eq!(mends, 1, "once for all that are mended alike");
}

#[test]
fn a_pass_says_what_it_rests_on() {
    let mut tape = Tape::default().phase(0, "main");
    for i in 0..12 {
        tape = tape.op(Told::add(0, i, (i * 1000, i * 1000 + 500)));
    }
    let all = json!((0..12).collect::<Vec<u64>>());
    let history = tape
        .nemesis(
            20_000,
            "recovery",
            &json!({"recovered": true, "after_ms": 1.5}),
        )
        .op(Told::last_read(1, "n1", all.clone(), (21_000, 22_000)))
        .op(Told::last_read(2, "n2", all, (21_000, 22_000)))
        .history();
    let page = drawn(&history);
    let prose = page.prose();
    for said in [
        "✓ PASS",
        "deciding properties hold.",
        "lost-writes (12 acknowledged writes)",
        "recovery (1 check)",
        "14 operations succeeded; there was no fault.",
        "No fault was injected.",
    ] {
        assert!(prose.contains(said), "{said:?} is not in {prose}");
    }
    assert!(!prose.contains("Before you trust") && !prose.contains("Where in the run"));
}

#[test]
fn an_open_question_says_why() {
    let history = Tape::default()
        .phase(0, "main")
        .op(Told::add(0, 1, (0, 1000)))
        .history();
    let page = drawn(&history);
    let prose = page.prose();
    assert!(
        prose.contains("? INCONCLUSIVE Nobody knows whether lost-writes, recovery holds."),
        "{prose}"
    );
    assert!(
        prose.contains("Because s: no final read was answered."),
        "{prose}"
    );
}

#[test]
fn elements_that_are_there_twice_are_not_called_lost() {
    let history = History::dsl("0: add s 1 @0..1; 1: read s [1,1] @2..3 final").unwrap();
    let prose = drawn(&history).prose();
    assert!(
        prose.contains("lost-writes violated: 1 element lost, duplicated or invented."),
        "{prose}"
    );
}
