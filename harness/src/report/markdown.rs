//! The report as a page of Markdown, for a pull request or a job's summary: the verdict, its anomalies, how to run it again.
//!
//! Everything from outside is escaped; code goes into fences longer than any run of backticks in it.

use super::scene::Scene;
use super::{Input, escape, headline, words};
use schism_checkers::verdict::{Decision, PropertyResult, Verdict};
use std::fmt::Write as _;

/// Anomalies of a property that are written out.
const ANOMALIES_MAX: usize = 3;
/// Faults that are listed.
const FAULTS_MAX: usize = 20;

/// The whole page.
pub(super) fn page(input: &Input<'_>, scene: &Scene<'_>) -> String {
    let mut out = String::new();
    let top = headline::headline(input.verdict);
    let _ = writeln!(
        out,
        "# {} {}\n\n{}\n",
        top.sign,
        top.word,
        escape::markdown(&top.sentence)
    );
    if !top.detail.is_empty() {
        let _ = writeln!(out, "{}\n", escape::markdown(&top.detail));
    }
    for warning in headline::warnings(scene, input.verdict) {
        let _ = writeln!(out, "> **Warning:** {}\n", escape::markdown(&warning));
    }
    facts(&mut out, input, scene);
    properties(&mut out, input.verdict);
    for (name, property) in sorted(input.verdict) {
        if property.verdict != Decision::Holds {
            section(&mut out, name, property);
        }
    }
    faults(&mut out, scene);
    reproduce(&mut out, input);
    out
}

fn facts(out: &mut String, input: &Input<'_>, scene: &Scene<'_>) {
    let run = &input.run;
    let ok = scene.ops.iter().filter(|op| op.is_ok()).count() as u64;
    let mut options = String::new();
    for (name, value) in &run.options {
        let _ = write!(options, " {name}={value}");
    }
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            let value = escape::markdown(&escape::shorten(&value, 400));
            let _ = writeln!(out, "- {name}: {value}");
        }
    };
    say(
        "target",
        run.target
            .as_ref()
            .map(|t| format!("{t}{options}"))
            .unwrap_or_default(),
    );
    say("workload", run.workload.clone().unwrap_or_default());
    say(
        "nodes",
        run.nodes.map(|n| n.to_string()).unwrap_or_default(),
    );
    say("faults", run.nemesis.join(", "));
    say("seed", run.seed.map(|s| s.to_string()).unwrap_or_default());
    say("date", run.date.clone().unwrap_or_default());
    say("duration", words::duration(scene.to - scene.from));
    let all = scene.ops.len() as u64;
    say(
        "operations",
        format!(
            "{}, of which {} ok",
            words::thousands(all),
            words::thousands(ok)
        ),
    );
}

fn sorted(verdict: &Verdict) -> Vec<(&String, &PropertyResult)> {
    let mut sorted: Vec<_> = verdict.properties.iter().collect();
    sorted.sort_by_key(|(_, p)| (!p.decides, std::cmp::Reverse(p.verdict)));
    sorted
}

fn properties(out: &mut String, verdict: &Verdict) {
    if verdict.properties.is_empty() {
        return;
    }
    out.push_str(
        "\n| property | verdict | anomalies | checked | decides |\n|---|---|---|---|---|\n",
    );
    for (name, p) in sorted(verdict) {
        let (sign, word, _) = headline::decision(p.verdict);
        let decides = if p.decides { "yes" } else { "no, only shown" };
        let checked = words::of(name).checked.count(p.checked);
        let _ = writeln!(
            out,
            "| {} | {sign} {word} | {} | {checked} | {decides} |",
            escape::markdown(&escape::shorten(name, 80)),
            headline::count(name, p)
        );
    }
}

fn section(out: &mut String, name: &str, property: &PropertyResult) {
    let (_, word, _) = headline::decision(property.verdict);
    let _ = writeln!(
        out,
        "\n## {} {word}\n\n{}\n",
        escape::markdown(&escape::shorten(name, 80)),
        words::of(name).definition
    );
    if !property.why.is_empty() {
        let _ = writeln!(
            out,
            "Remark: {}\n",
            escape::markdown(&escape::sentence(&property.why, 1000))
        );
    }
    for anomaly in property.anomalies.iter().take(ANOMALIES_MAX) {
        let message = escape::markdown(&escape::sentence(&anomaly.message, 1000));
        let name = escape::markdown(&escape::shorten(&anomaly.name, 80));
        let _ = writeln!(out, "- **{name}**: {message}");
    }
    let shown = property.anomalies.len().min(ANOMALIES_MAX) as u64;
    if property.count > shown {
        let more = words::thousands(property.count - shown);
        let _ = writeln!(out, "- and {more} more");
    }
    let Some(first) = property.anomalies.first() else {
        return;
    };
    for (what, advice) in [("causes", &first.cause), ("mends", &first.mend)] {
        if !advice.is_empty() {
            let advice = escape::markdown(&escape::shorten(advice, 1000));
            let _ = writeln!(out, "\nWhat usually {what} it: {advice}");
        }
    }
}

fn faults(out: &mut String, scene: &Scene<'_>) {
    if scene.faults.is_empty() {
        return;
    }
    out.push_str("\n## Faults\n\n| fault | what | from | to | effect |\n|---|---|---|---|---|\n");
    for fault in scene.faults.iter().take(FAULTS_MAX) {
        let proved = if fault.proved() {
            "proved"
        } else {
            "not proved"
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {proved} |",
            escape::markdown(&escape::shorten(&fault.name(), 60)),
            escape::markdown(&escape::shorten(&fault.what, 200)),
            fault.inject,
            fault.end()
        );
    }
    if scene.faults.len() > FAULTS_MAX {
        let _ = writeln!(out, "\nand {} more", scene.faults.len() - FAULTS_MAX);
    }
}

fn reproduce(out: &mut String, input: &Input<'_>) {
    let run = &input.run;
    if run.command.is_none() && run.spec_toml.is_none() {
        return;
    }
    out.push_str("\n## Run it again\n");
    for (language, code) in [("sh", &run.command), ("toml", &run.spec_toml)] {
        let Some(code) = code else { continue };
        let code = escape::block(code.trim_end());
        let fence = fence(&code);
        let _ = writeln!(out, "\n{fence}{language}\n{code}\n{fence}");
    }
}

/// Backticks, one more than the text has in a row, at least three.
fn fence(code: &str) -> String {
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}
