//! Text from outside that wants out of its place, in every place that it comes to; and that the page needs nothing from outside.

use super::page::Page;
use super::tape::{Tape, Told};
use super::{anomaly, violated};
use crate::report::{Input, NodeLog, RunInfo, html, markdown, plots};
use schism_checkers::verdict::Verdict;
use schism_history::{History, jsonl};
use serde_json::json;

/// What wants out: of text, of attributes, of SVG, of CDATA, of a terminal, of a line that is read from left to right. It ends within a
/// control sequence, so that whatever comes behind it is at risk.
const HOSTILE: &str = "<script>alert(1)</script>\"'&]]>\u{202e}\u{0}|`\u{1b}[";
/// The same as a reader may see it.
const SEEN: &str = "<script>alert(1)</script>\"'&]]>\u{fffd}\u{fffd}|`\u{fffd}[";

/// A hostile text that can be told from the others.
fn hostile(place: &str) -> String {
    format!("{place}{HOSTILE}")
}

/// Every place that text from outside comes to.
const PLACES: &[&str] = &[
    "Key",
    "Value",
    "Node",
    "Kind",
    "Message",
    "Fun",
    "Phase",
    "Family",
    "What",
    "Evidence",
    "Why",
    "Interrupt",
    "Crash",
    "How",
    "Target",
    "Option",
    "Setting",
    "Workload",
    "Nemesis",
    "Date",
    "Command",
    "Spec",
    "LogNode",
    "LogFile",
    "Tail",
    "Property",
    "Anomaly",
    "Said",
    "Mend",
    "Remark",
    "Detail",
    "Figure",
    "Reason",
];

fn hostile_history() -> History {
    let told = |f: &'static str, process: u64, start: u64| Told {
        process,
        f,
        value: json!(hostile("Value")),
        at: (start, 2000),
        outcome: "fail",
        result: json!(hostile("Value")),
        more: json!({
            "key": hostile("Key"), "node": hostile("Node"),
            "error": {"kind": hostile("Kind"), "message": hostile("Message")},
        }),
    };
    let text = Tape::default()
        .phase(0, &hostile("Phase"))
        .op(told("Fun", 0, 1000))
        .op(told("read", 1, 1650))
        .nemesis(1500, "Family", &json!({"fault": 1, "stage": "inject", "what": hostile("What")}))
        .nemesis(1600, "Family", &json!({"fault": 1, "stage": "effect", "proved": false, "evidence": hostile("Evidence")}))
        .nemesis(1700, "recovery", &json!({"recovered": false, "why": hostile("Why")}))
        .nemesis(1800, "interrupted", &json!({"why": hostile("Interrupt")}))
        .nemesis(1900, "crash", &json!({"node": hostile("Crash"), "how": hostile("How")}))
        .text();
    // Names of functions that no program of ours would write.
    let name = |plain: &str| {
        (
            format!("\"f\":\"{plain}\""),
            format!("\"f\":{}", json!(hostile(plain))),
        )
    };
    let text = [name("Fun"), name("Family")]
        .iter()
        .fold(text, |text, (plain, hostile)| text.replace(plain, hostile));
    jsonl::read(text.as_bytes()).unwrap()
}

fn hostile_verdict(history: &History) -> Verdict {
    let operations = history
        .ops()
        .iter()
        .map(schism_history::Op::index)
        .collect();
    let mut found = anomaly(operations, &hostile("Said"));
    found.name = hostile("Anomaly");
    found.mend = hostile("Mend");
    found.cause = hostile("Cause");
    found
        .details
        .insert(hostile("Detail"), json!(hostile("Figure")));
    let mut verdict = violated(&hostile("Property"), vec![found]);
    for result in verdict.properties.values_mut() {
        result.why = hostile("Remark");
        result
            .details
            .insert(hostile("Detail"), json!(hostile("Figure")));
    }
    verdict.meaningful = json!({"meaningful": false, "reasons": [hostile("Reason")]});
    verdict
}

fn hostile_input<'a>(history: &'a History, verdict: &'a Verdict) -> Input<'a> {
    let some = |place: &str| Some(hostile(place));
    Input {
        history,
        verdict,
        run: RunInfo {
            target: some("Target"),
            options: vec![(hostile("Option"), hostile("Setting"))],
            workload: some("Workload"),
            nemesis: vec![hostile("Nemesis")],
            nodes: None,
            seed: None,
            date: some("Date"),
            command: some("Command"),
            spec_toml: some("Spec"),
        },
        captures: None,
        logs: vec![NodeLog {
            node: hostile("LogNode"),
            file: hostile("LogFile"),
            tail: hostile("Tail"),
            truncated: false,
        }],
    }
}

/// Neither control characters nor such that turn the direction of writing round.
fn harmless(text: &str) {
    for c in text.chars() {
        let bidi = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!bidi, "{c:?} came through");
        assert!(
            !c.is_control() || c == '\n' || c == '\t',
            "{c:?} came through"
        );
    }
}

#[test]
fn text_from_outside_stays_text_in_the_page() {
    let history = hostile_history();
    let verdict = hostile_verdict(&history);
    let markup = html(&hostile_input(&history, &verdict)).unwrap();
    harmless(&markup);
    // The reader allows neither tags nor attributes that are not ours.
    let page = Page::read(&markup);
    for place in PLACES {
        // A log loses its open control sequence, and short cells lose their ends.
        assert!(
            page.says(&format!("{place}<script>alert(")),
            "{place} is nowhere"
        );
    }
    let place = page.prose();
    let place = place.split_once("Where in the run: ").map(|(_, rest)| rest);
    let place = place.unwrap_or_default();
    assert!(place.starts_with("Fun<script>"), "{place}");
    let inside = format!("into fault 1 Family{SEEN} (What{SEEN})");
    assert!(place.contains(&inside), "{place}");
    for whole in [
        "Said", "Mend", "Remark", "What", "Evidence", "Reason", "Spec",
    ] {
        assert!(page.says(&format!("{whole}{SEEN}")), "{whole} is not whole");
    }
}

#[test]
fn text_from_outside_stays_text_in_the_plots() {
    let history = hostile_history();
    let verdict = hostile_verdict(&history);
    let plots = plots(&hostile_input(&history, &verdict)).unwrap();
    let names: Vec<&str> = plots.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["latency-raw.svg", "latency-quantiles.svg", "rate.svg"]
    );
    for (name, svg) in &plots {
        harmless(svg);
        assert!(Page::read(svg).says("1 Family<script>"), "{name}");
        assert!(svg.starts_with("<svg") && svg.contains("xmlns=\"http://www.w3.org/2000/svg\""));
        assert!(!svg.contains("var(--"), "{name} has no style sheet");
    }
}

#[test]
fn text_from_outside_stays_text_in_markdown() {
    let history = hostile_history();
    let verdict = hostile_verdict(&history);
    let mut input = hostile_input(&history, &verdict);
    input.run.spec_toml = Some("a = 1\n```\n<script>\n~~~\n````\n# heading".into());
    input.run.workload = Some("see https://example.org/?a=1 or www.example.org".into());
    let text = markdown(&input);
    harmless(&text);
    let (prose, code) = text.split_once("## Run it again").unwrap();
    for place in [
        "Property",
        "Said",
        "Mend",
        "Remark",
        "What",
        "Family",
        "Reason",
        "Target",
        "Interrupt",
    ] {
        assert!(prose.contains(&format!("{place}&lt;script&gt;")), "{place}");
    }
    let unlinked = prose.replace("\\:", "");
    for bare in ["<", "://", "www.example"] {
        assert!(!unlinked.contains(bare), "{bare} is in {prose}");
    }
    for row in prose.lines().filter(|l| l.starts_with('|')) {
        let bars = row.replace("\\|", "").matches('|').count();
        assert_eq!(bars, 6, "{row}");
    }
    let unescaped = prose
        .match_indices('`')
        .find(|(at, _)| !prose[..*at].ends_with('\\'));
    assert_eq!(unescaped, None);
    assert!(code.contains("`````toml\na = 1\n```\n<script>"), "{code}");
    assert_eq!(code.matches("`````").count(), 2);
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let history = hostile_history();
    let verdict = hostile_verdict(&history);
    let mut input = hostile_input(&history, &verdict);
    input.run.command = Some("curl https://example.org/ url(https://example.org/)".into());
    let markup = html(&input).unwrap();
    let page = Page::read(&markup);
    for (name, value) in page.tags.iter().flat_map(|t| &t.attributes) {
        assert_ne!(name, "src");
        assert!(name != "href" || value.starts_with('#'), "{name}={value}");
        assert!(
            !value.contains("url(") || value.starts_with("url(#"),
            "{name}={value}"
        );
    }
    for word in ["http", "url(", "@import", "expression", "</"] {
        assert!(!page.style.contains(word), "{word} in the style sheet");
    }
    assert_eq!(
        markup.matches("http").count(),
        3,
        "policy and two in plain text"
    );
    let policy = page
        .all("content")
        .find(|c| c.starts_with("default-src 'none';"));
    assert!(policy.is_some_and(|p| !p.contains("script")));
}
