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
    pub(super) detail_words: Vec<(bool, String)>,
    /// What it rests on: which properties hold, or why that is not known.
    pub(super) detail: String,
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

/// Verdict, sentence, detail and example.
pub(super) fn headline(verdict: &Verdict) -> Headline {
    let (word, sign, class, (sentence, detail)) = match verdict.verdict {
        Outcome::Pass => ("PASS", "✓", "holds", passed(verdict)),
        Outcome::Violation => (
            "VIOLATION",
            "✗",
            "violated",
            (violated(verdict), String::new()),
        ),
        Outcome::Inconclusive => ("INCONCLUSIVE", "?", "unknown", undecided(verdict)),
    };
    let worst = deciding(verdict, Decision::Violated).next();
    let example = worst
        .and_then(|(_, p)| p.anomalies.first())
        .map(|a| escape::sentence(&a.message, 400));
    let (words, detail_words) = (unbroken(&sentence), unbroken(&detail));
    Headline {
        word,
        sign,
        class,
        sentence,
        words,
        detail_words,
        detail,
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

fn passed(verdict: &Verdict) -> (String, String) {
    let all: Vec<String> = deciding(verdict, Decision::Holds)
        .map(|(name, p)| {
            let name = escape::shorten(name, 80);
            format!("{name} ({})", words::of(&name).checked.count(p.checked))
        })
        .collect();
    match all.len() {
        0 => (
            "Nothing that decides was violated; no property was named to decide.".to_owned(),
            String::new(),
        ),
        1 => (format!("{} holds.", all.join("")), String::new()),
        n => (
            format!("All {n} deciding properties hold."),
            format!("{}.", all.join(", ")),
        ),
    }
}

fn violated(verdict: &Verdict) -> String {
    let all: Vec<String> = deciding(verdict, Decision::Violated)
        .map(|(name, p)| {
            let violated = escape::shorten(name, 80);
            format!("{violated} violated: {}", count(name, p))
        })
        .collect();
    if all.is_empty() {
        "A property is violated.".to_owned()
    } else {
        format!("{}.", all.join("; "))
    }
}

fn undecided(verdict: &Verdict) -> (String, String) {
    let open: Vec<(&String, &PropertyResult)> = deciding(verdict, Decision::Unknown).collect();
    let reasons = reasons(&verdict.meaningful);
    let sentence = match (open.as_slice(), reasons.first()) {
        ([], Some(reason)) => {
            let reason = escape::sentence(reason, 400);
            format!("No violation was found, but the run does not prove much: {reason}.")
        }
        ([], None) => {
            "No violation was found, and the run does not prove that there is none.".to_owned()
        }
        (open, _) => {
            let names: Vec<String> = open.iter().map(|(n, _)| escape::shorten(n, 80)).collect();
            format!("Nobody knows whether {} holds.", names.join(", "))
        }
    };
    let why = open.iter().map(|(_, p)| &p.why).find(|why| !why.is_empty());
    let why = why.map(|why| {
        format!(
            "Because {}.",
            escape::sentence(why, 400).trim_end_matches('.')
        )
    });
    (sentence, why.unwrap_or_default())
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
    let n = property.count;
    let lost = property.details.get("lost").and_then(Value::as_u64);
    if n == 0 {
        "none".to_owned()
    } else if name == "lost-writes" && lost.is_some_and(|lost| lost < n) {
        // It looks for what is there twice or was never added, too.
        words::of("queue").anomalies.count(n)
    } else {
        words::of(name).anomalies.count(n)
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

/// Reasons and faults that one warning names.
const NAMED_MAX: usize = 8;

/// What must be said before anything else, each in a sentence.
pub(super) fn warnings(scene: &Scene<'_>, verdict: &Verdict) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    let reasons = reasons(&verdict.meaningful);
    for reason in reasons.iter().take(NAMED_MAX) {
        let reason = escape::sentence(reason, 400);
        warnings.push(format!("This run is not meaningful: {reason}."));
    }
    if reasons.len() > NAMED_MAX {
        let more = words::plural((reasons.len() - NAMED_MAX) as u64, "more reason");
        warnings.push(format!("{more} of this kind."));
    }
    if scene.ops.is_empty() {
        warnings.push("The history has no operations at all.".to_owned());
    }
    warnings.extend(cut_short(scene));
    if !reasons.iter().any(|r| r.starts_with("nothing proves that")) {
        warnings.extend(unproved(scene));
    }
    warnings.extend(crashed(scene));
    if let Some(recovery) = scene.recovery.as_ref().filter(|r| !r.recovered) {
        let why = said(&recovery.why);
        warnings.push(format!(
            "The target did not recover after the last heal{why}."
        ));
    }
    warnings
}

/// `: why`, or nothing.
fn said(why: &str) -> String {
    if why.is_empty() {
        String::new()
    } else {
        format!(": {}", escape::sentence(why, 400).trim_end_matches('.'))
    }
}

fn cut_short(scene: &Scene<'_>) -> impl Iterator<Item = String> {
    let interrupted = scene.interrupted.as_ref().map(|why| {
        let why = said(why);
        format!("The run was ended early{why}. What was recorded until then is checked.")
    });
    let torn = scene.history.torn.as_ref().map(|torn| {
        format!(
            "The history is torn: its last line ({}) is incomplete, {} of it were left out.",
            torn.line,
            words::plural(torn.bytes, "byte")
        )
    });
    interrupted.into_iter().chain(torn)
}

fn unproved(scene: &Scene<'_>) -> Option<String> {
    let unproved = scene.faults.iter().filter(|f| !f.proved());
    let names: Vec<String> = unproved.map(|f| escape::shorten(&f.name(), 60)).collect();
    let rest = names.len().saturating_sub(NAMED_MAX);
    let few = names[..names.len() - rest].join(", ");
    let more = if rest > 0 {
        format!(" and {rest} more")
    } else {
        String::new()
    };
    (!names.is_empty())
        .then(|| format!("Nothing proves that these faults took effect: {few}{more}."))
}

fn crashed(scene: &Scene<'_>) -> Option<String> {
    let all: Vec<String> = scene
        .crashes
        .iter()
        .take(NAMED_MAX)
        .map(|crash| {
            let (node, how) = (escape::shorten(&crash.node, 40), said(&crash.how));
            format!("{node} at {}{how}", crash.at)
        })
        .collect();
    let and = if scene.crashes.len() > NAMED_MAX {
        ", and so on"
    } else {
        ""
    };
    (!all.is_empty()).then(|| {
        format!(
            "Nodes ended by themselves, not by a fault: {}{and}.",
            all.join("; ")
        )
    })
}

/// Whether the run proves anything, in a sentence; empty where the checkers did not say, or where it is a warning already.
pub(super) fn proof(meaningful: &Value) -> String {
    let figure = |name: &str| meaningful[name].as_u64();
    let Some(successes) = figure("successes").filter(|_| reasons(meaningful).is_empty()) else {
        return String::new();
    };
    let succeeded = words::plural(successes, "operation");
    match (figure("faults"), figure("faults_proved")) {
        (Some(1), Some(1)) => {
            format!("{succeeded} succeeded, and the fault was seen to take effect and to heal.")
        }
        (Some(all @ 2..), Some(proved)) if proved == all => {
            format!(
                "{succeeded} succeeded, and each of the {all} faults was seen to take effect and to heal."
            )
        }
        (Some(all @ 1..), proved) => {
            let proved = proved.unwrap_or(0);
            format!("{succeeded} succeeded; of {all} faults {proved} were seen to take effect.")
        }
        _ => format!("{succeeded} succeeded; there was no fault."),
    }
}

/// The scalar figures of a JSON object, nested names joined by spaces.
pub(super) fn figures(value: &Value) -> Vec<(String, String)> {
    let mut out = Vec::new();
    collect("", false, value, &mut out);
    out
}

/// Figures shown at most: the rest is in `results.json`.
const FIGURES_MAX: usize = 40;

/// `milliseconds`: whether the name so far said that its numbers are some.
fn collect(prefix: &str, milliseconds: bool, value: &Value, out: &mut Vec<(String, String)>) {
    let Value::Object(map) = value else { return };
    let mut fields: Vec<(&String, &Value)> = map.iter().collect();
    // p50, p95, max: not by the alphabet.
    fields.sort_by_key(|(name, _)| name.as_str() == "max");
    for (name, value) in fields {
        if out.len() >= FIGURES_MAX {
            return;
        }
        let (name, milliseconds) = match name.strip_suffix("_ms") {
            Some(name) => (name, true),
            None => (name.as_str(), milliseconds),
        };
        let name = format!("{prefix}{}", escape::shorten(&name.replace('_', " "), 60));
        let text = match value {
            Value::Null => continue,
            Value::Array(list) if list.is_empty() => continue,
            Value::Object(_) => {
                collect(&format!("{name} "), milliseconds, value, out);
                continue;
            }
            Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
            Value::Number(n) if milliseconds => {
                words::duration(n.as_f64().unwrap_or_default() * 1e6)
            }
            Value::Number(n) => n.as_u64().map_or_else(|| rounded(n), words::thousands),
            Value::String(text) => escape::shorten(text, 200),
            Value::Array(_) => escape::shorten(&value.to_string(), 120),
        };
        out.push((name, text));
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_have_names_and_units() {
        let details = json!({
            "behind_ms": {"max": 5707.1, "p50": 188.4}, "lost": 1033, "share": 0.5, "why": null, "none": [],
        });
        let said: Vec<String> = figures(&details)
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            said,
            [
                "behind p50: 188 ms",
                "behind max: 5.71 s",
                "lost: 1\u{202f}033",
                "share: 0.5"
            ]
        );
    }
}
