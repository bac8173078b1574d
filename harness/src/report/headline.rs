//! The top of the report: the verdict in one word and one sentence, and whatever a reader must know before trusting it.

use super::escape;
use super::scene::Scene;
use super::words;
use schism_checkers::verdict::{Decision, Outcome, PropertyResult, Verdict};
use serde_json::Value;

/// The verdict as it is shown.
#[derive(Debug)]
pub(super) struct Headline {
    /// `PASS`, `VIOLATION`, `INCONCLUSIVE`.
    pub(super) word: &'static str,
    pub(super) sign: &'static str,
    /// Class of the style sheet: `holds`, `violated`, `unknown`.
    pub(super) class: &'static str,
    /// What was decided, in one sentence.
    pub(super) sentence: String,
    /// The same, word by word: see [`unbroken`].
    pub(super) words: Vec<(bool, String)>,
    /// The most telling anomaly, where there is one.
    pub(super) example: String,
}

/// Sign and class of a property's decision.
pub(super) fn decision(decision: Decision) -> (&'static str, &'static str, &'static str) {
    match decision {
        Decision::Holds => ("✓", "holds", "holds"),
        Decision::Unknown => ("?", "unknown", "unknown"),
        Decision::Violated => ("✗", "violated", "violated"),
    }
}

/// Verdict, sentence and example.
pub(super) fn headline(verdict: &Verdict) -> Headline {
    let (word, sign, class, sentence) = match verdict.verdict {
        Outcome::Pass => ("PASS", "✓", "holds", passed(verdict)),
        Outcome::Violation => ("VIOLATION", "✗", "violated", violated(verdict)),
        Outcome::Inconclusive => ("INCONCLUSIVE", "?", "unknown", undecided(verdict)),
    };
    let worst = deciding(verdict, Decision::Violated).next();
    let example = worst
        .and_then(|(_, p)| p.anomalies.first())
        .map(|a| escape::shorten(&a.message, 400));
    let words = unbroken(&sentence);
    Headline {
        word,
        sign,
        class,
        sentence,
        words,
        example: example.unwrap_or_default(),
    }
}

fn deciding(
    verdict: &Verdict,
    decision: Decision,
) -> impl Iterator<Item = (&String, &PropertyResult)> {
    verdict
        .properties
        .iter()
        .filter(move |(_, p)| p.decides && p.verdict == decision)
}

fn passed(verdict: &Verdict) -> String {
    let all: Vec<String> = deciding(verdict, Decision::Holds)
        .map(|(name, p)| {
            format!(
                "{name} ({} {})",
                words::thousands(p.checked),
                words::of(name).checked
            )
        })
        .collect();
    match all.len() {
        0 => "Nothing that decides was violated; no property was named to decide.".to_owned(),
        1 => format!("{} holds.", all.join("")),
        n => format!("All {n} deciding properties hold: {}.", all.join(", ")),
    }
}

fn violated(verdict: &Verdict) -> String {
    let all: Vec<String> = deciding(verdict, Decision::Violated)
        .map(|(name, p)| format!("{name} violated: {}", count(name, p)))
        .collect();
    if all.is_empty() {
        "A property is violated.".to_owned()
    } else {
        format!("{}.", all.join("; "))
    }
}

fn undecided(verdict: &Verdict) -> String {
    let open: Vec<&str> = deciding(verdict, Decision::Unknown)
        .map(|(name, _)| name.as_str())
        .collect();
    let reasons = reasons(&verdict.meaningful);
    match (open.as_slice(), reasons.first()) {
        ([], Some(reason)) => {
            format!("No violation was found, but the run does not prove much: {reason}.")
        }
        ([], None) => {
            "No violation was found, and the run does not prove that there is none.".to_owned()
        }
        (open, _) => format!("Nobody knows whether {} holds.", open.join(", ")),
    }
}

/// A sentence as words that may not be broken (names such as `lost-writes`) and words that may.
pub(super) fn unbroken(sentence: &str) -> Vec<(bool, String)> {
    let name = |word: &str| word.contains('-') && word.len() <= 26;
    sentence
        .split(' ')
        .map(|word| (name(word), word.to_owned()))
        .collect()
}

/// `43 acknowledged writes lost`.
pub(super) fn count(name: &str, property: &PropertyResult) -> String {
    match property.count {
        0 => "none".to_owned(),
        n => format!("{} {}", words::thousands(n), words::of(name).anomalies),
    }
}

/// Why the run does not prove anything, as the checkers said.
pub(super) fn reasons(meaningful: &Value) -> Vec<String> {
    let listed = meaningful["reasons"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut reasons: Vec<String> = listed
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let no = ["meaningful", "verdict", "ok"]
        .into_iter()
        .any(|f| meaningful[f] == Value::Bool(false));
    if reasons.is_empty() && no {
        reasons.push("the checkers say that it is not meaningful".to_owned());
    }
    reasons
        .into_iter()
        .map(|r| r.trim_end_matches('.').to_owned())
        .collect()
}

/// What must be said before anything else, each in a sentence.
pub(super) fn warnings(scene: &Scene<'_>, verdict: &Verdict) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for reason in reasons(&verdict.meaningful) {
        warnings.push(format!("This run is not meaningful: {reason}."));
    }
    if scene.ops.is_empty() {
        warnings.push("The history has no operations at all.".to_owned());
    }
    if let Some(why) = &scene.interrupted {
        warnings.push(format!(
            "The run was ended early ({why}); what was recorded until then is checked."
        ));
    }
    if let Some(torn) = &scene.history.torn {
        warnings.push(format!(
            "The history is torn: its last line ({}) is incomplete, {} bytes of it were left out.",
            torn.line, torn.bytes
        ));
    }
    let unproved: Vec<String> = scene
        .faults
        .iter()
        .filter(|f| !f.proved())
        .map(super::scene::Fault::name)
        .collect();
    if !unproved.is_empty() {
        let few = unproved
            .iter()
            .take(8)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let rest = unproved.len().saturating_sub(8);
        let more = if rest > 0 {
            format!(" and {rest} more")
        } else {
            String::new()
        };
        warnings.push(format!(
            "Nothing proves that these faults took effect: {few}{more}."
        ));
    }
    if let Some(recovery) = scene.recovery.as_ref().filter(|r| !r.recovered) {
        let why = if recovery.why.is_empty() {
            String::new()
        } else {
            format!(": {}", recovery.why)
        };
        warnings.push(format!(
            "The target did not recover after the last heal{why}."
        ));
    }
    warnings
}

/// The scalar figures of a JSON object, nested names joined by spaces.
pub(super) fn figures(value: &Value, skip: &[&str]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    collect("", value, skip, &mut out);
    out
}

/// Figures shown at most: the rest is in `results.json`.
const FIGURES_MAX: usize = 40;

fn collect(prefix: &str, value: &Value, skip: &[&str], out: &mut Vec<(String, String)>) {
    let Value::Object(map) = value else { return };
    for (name, value) in map {
        if out.len() >= FIGURES_MAX || (prefix.is_empty() && skip.contains(&name.as_str())) {
            continue;
        }
        let name = format!("{prefix}{}", name.replace('_', " "));
        match value {
            Value::Object(_) => collect(&format!("{name} "), value, skip, out),
            Value::Null => {}
            Value::Bool(yes) => out.push((name, if *yes { "yes" } else { "no" }.to_owned())),
            Value::Number(n) => out.push((
                name,
                n.as_u64().map_or_else(|| rounded(n), words::thousands),
            )),
            Value::String(text) => out.push((name, escape::shorten(text, 200))),
            Value::Array(list) if list.is_empty() => {}
            Value::Array(_) => out.push((name, escape::shorten(&value.to_string(), 120))),
        }
    }
}

fn rounded(n: &serde_json::Number) -> String {
    let text = n.as_f64().map(|f| format!("{f:.3}")).unwrap_or_default();
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
