//! The page as the template sees it: everything already in words, figures and drawings, in the order of the page.

use super::anomaly::{self, AnomalyView};
use super::drops::DropsView;
use super::headline::{self, Headline};
use super::phases::{self, Row};
use super::scene::{Fault, Recovered, Scene, Stage};
use super::{Input, ReportError, drops, escape, fault_picture, plots, words};
use askama::Template;
use schism_checkers::verdict::{ANOMALIES_LISTED, Decision, PropertyResult};
use schism_history::Outcome;

/// Anomalies shown at once; the rest unfolds.
const ANOMALIES_OPEN: usize = 3;
/// Bytes of one log that the page carries.
const LOG_BYTES_MAX: usize = 48 << 10;
/// Rows of the table of faults.
const FAULTS_MAX: usize = 500;

/// The whole page.
#[derive(Template)]
#[template(path = "report.html")]
pub(super) struct Page {
    title: String,
    headline: Headline,
    warnings: Vec<String>,
    facts: Vec<Fact>,
    properties: Vec<PropertyView>,
    /// Id of the first property that does not decide.
    others_start: String,
    proof: String,
    fault_picture: String,
    faults: Vec<FaultRow>,
    faults_left_out: usize,
    drops: Vec<DropsView>,
    /// What the captures lack.
    capture_notes: Vec<String>,
    unit: &'static str,
    plots: Vec<PlotView>,
    by_phase: Vec<Row>,
    by_function: Vec<Row>,
    errors: Vec<(String, String)>,
    seed: Option<String>,
    /// In parts that are not broken over lines.
    command: Vec<(bool, String)>,
    spec: Option<String>,
    logs: Vec<LogView>,
    version: &'static str,
}

/// A name and what it is.
struct Fact {
    name: &'static str,
    value: String,
    /// Smaller, beneath; words that are not broken, and such that are.
    note: Vec<(bool, String)>,
}

/// A property, as a row of the table and as a section of its own.
struct PropertyView {
    name: String,
    /// Its name as an anchor; ours even where the name is not.
    id: String,
    sign: &'static str,
    word: &'static str,
    class: &'static str,
    decides: bool,
    /// `43 acknowledged writes lost`, and `4 612 acknowledged writes`.
    count: String,
    checked: String,
    found: bool,
    definition: &'static str,
    why: String,
    figures: Vec<(String, String)>,
    first: Vec<AnomalyView>,
    rest: Vec<AnomalyView>,
    /// Anomalies that were counted and not listed.
    unlisted: String,
    has_section: bool,
}

struct FaultRow {
    name: String,
    what: String,
    inject: String,
    effect: String,
    heal: String,
    healed: String,
    proved: &'static str,
    class: &'static str,
    /// How long it took until it was seen.
    effect_after: String,
    evidence: String,
    unhealed: bool,
    heal_evidence: String,
    /// How long heal and recovery took.
    heal_after: String,
    recovered: String,
    late: bool,
    recovery: String,
    /// Where the packets that it stopped are; or empty.
    drops: String,
}

struct PlotView {
    title: &'static str,
    caption: String,
    svg: String,
}

struct LogView {
    name: String,
    lines: String,
    text: String,
    truncated: bool,
}

impl Page {
    pub(super) fn new(input: &Input<'_>, scene: &Scene<'_>) -> Result<Self, ReportError> {
        let headline = headline::headline(input.verdict);
        let names = [&input.run.target, &input.run.workload]
            .into_iter()
            .flatten();
        let names: Vec<&str> = names.map(String::as_str).collect();
        let plots = plots::all(scene)?.into_iter().map(|p| PlotView {
            title: p.title,
            caption: p.caption.clone(),
            svg: p.inline(),
        });
        let properties = properties(input, scene);
        let drops = drops::views(scene, input.captures.as_ref());
        Ok(Self {
            title: escape::shorten(&names.join(", "), 200),
            warnings: headline::warnings(scene, input.verdict),
            facts: facts(input, scene),
            others_start: others_start(&properties),
            properties,
            proof: headline::proof(&input.verdict.meaningful),
            fault_picture: fault_picture::draw(scene),
            faults: scene
                .faults
                .iter()
                .take(FAULTS_MAX)
                .map(|f| fault_row(scene, f, &drops))
                .collect(),
            faults_left_out: scene.faults.len().saturating_sub(FAULTS_MAX),
            drops,
            capture_notes: capture_notes(input),
            unit: scene.unit().0,
            plots: plots.collect(),
            by_phase: phases::by_phase(scene),
            by_function: phases::by_function(scene),
            errors: phases::errors(scene),
            seed: input.run.seed.map(|s| s.to_string()),
            command: command(input.run.command.as_deref().unwrap_or_default()),
            spec: input.run.spec_toml.clone(),
            logs: input.logs.iter().map(log).collect(),
            version: env!("CARGO_PKG_VERSION"),
            headline,
        })
    }
}

/// A command cut before each of its flags: it breaks there, and is copied as it is.
fn command(text: &str) -> Vec<(bool, String)> {
    const UNBROKEN_MAX: usize = 40;
    let parts = text.split(" --").enumerate();
    parts
        .map(|(i, part)| match i {
            0 => part.to_owned(),
            _ => format!("--{part}"),
        })
        .filter(|part| !part.is_empty())
        .map(|part| (part.chars().count() <= UNBROKEN_MAX, part))
        .collect()
}

fn facts(input: &Input<'_>, scene: &Scene<'_>) -> Vec<Fact> {
    let run = &input.run;
    let mut facts: Vec<Fact> = Vec::new();
    let mut say = |name, value: String, note: String| {
        if !value.is_empty() {
            facts.push(Fact {
                name,
                value: escape::shorten(&value, 200),
                note: headline::unbroken(&escape::shorten(&note, 400)),
            });
        }
    };
    let options: Vec<String> = run
        .options
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    say(
        "Target",
        run.target.clone().unwrap_or_default(),
        options.join(" "),
    );
    let nodes = run
        .nodes
        .map(|n| words::plural(n as u64, "node"))
        .unwrap_or_default();
    say("Workload", run.workload.clone().unwrap_or_default(), nodes);
    let (faults, proof) = faults_fact(scene, &run.nemesis);
    say("Faults", faults, proof);
    let (operations, outcomes) = operations_fact(scene);
    say("Operations", operations, outcomes);
    let date = run.date.clone().unwrap_or_default();
    say("Duration", words::duration(scene.to - scene.from), date);
    if let Some(recovery) = &scene.recovery {
        let value = match recovery.after_ms {
            Some(ms) if recovery.recovered => format!("after {}", words::duration(ms * 1e6)),
            _ if recovery.recovered => "yes".to_owned(),
            _ => "no".to_owned(),
        };
        say("Recovered", value, recovery.why.clone());
    }
    let seed = run.seed.map(|s| s.to_string()).unwrap_or_default();
    say("Seed", seed, String::new());
    facts
}

fn faults_fact(scene: &Scene<'_>, nemesis: &[String]) -> (String, String) {
    let proved = scene.faults.iter().filter(|f| f.proved()).count();
    let families = nemesis.join(", ");
    match scene.faults.len() {
        0 => ("none".to_owned(), families),
        all => (
            words::plural(all as u64, "fault"),
            format!(
                "{families}{}{proved} of {all} took effect",
                if families.is_empty() { "" } else { "; " }
            ),
        ),
    }
}

fn operations_fact(scene: &Scene<'_>) -> (String, String) {
    let count = |outcome| {
        scene
            .ops
            .iter()
            .filter(|op| op.outcome() == outcome)
            .count() as u64
    };
    let (ok, fail, info) = (
        count(Outcome::Ok),
        count(Outcome::Fail),
        count(Outcome::Info),
    );
    let outcomes = format!(
        "{} ok, {} fail, {} unknown",
        words::thousands(ok),
        words::thousands(fail),
        words::thousands(info)
    );
    (words::thousands(scene.ops.len() as u64), outcomes)
}

/// Deciding ones first, then the worst first.
fn properties(input: &Input<'_>, scene: &Scene<'_>) -> Vec<PropertyView> {
    let verdict = input.verdict;
    let mut sorted: Vec<(&String, &PropertyResult)> = verdict.properties.iter().collect();
    sorted.sort_by_key(|(_, p)| (!p.decides, std::cmp::Reverse(p.verdict)));
    sorted
        .iter()
        .enumerate()
        .map(|(i, (name, p))| property((input, scene), name, p, i))
        .collect()
}

fn others_start(properties: &[PropertyView]) -> String {
    properties
        .iter()
        .find(|p| !p.decides)
        .map(|p| p.id.clone())
        .unwrap_or_default()
}

fn property(
    (input, scene): (&Input<'_>, &Scene<'_>),
    name: &str,
    result: &PropertyResult,
    number: usize,
) -> PropertyView {
    let (sign, word, class) = headline::decision(result.verdict);
    let id = format!("p{number}");
    let captures = input.captures.as_ref();
    let mut first = anomaly::views(scene, captures, &result.anomalies, (ANOMALIES_LISTED, &id));
    let unlisted = result.count.saturating_sub(first.len() as u64);
    let unlisted = match unlisted {
        0 => String::new(),
        n => format!(
            "{} more were counted and are not listed; of one property at most {ANOMALIES_LISTED} are.",
            words::thousands(n),
        ),
    };
    let rest = first.split_off(first.len().min(ANOMALIES_OPEN));
    PropertyView {
        name: escape::shorten(name, 80),
        id,
        sign,
        word,
        class,
        decides: result.decides,
        count: headline::count(name, result),
        checked: words::of(name).checked.count(result.checked),
        found: result.count > 0,
        definition: words::of(name).definition,
        why: escape::sentence(&result.why, 2000),
        figures: figures(result),
        has_section: result.verdict != Decision::Holds || !first.is_empty(),
        first,
        rest,
        unlisted,
    }
}

/// Figures of the whole that tell something beside the two that are said anyway.
fn figures(result: &PropertyResult) -> Vec<(String, String)> {
    let mut details = result.details.clone();
    let told = [0, result.count, result.checked];
    details.retain(|_, value| value.as_u64().is_none_or(|n| !told.contains(&n)));
    headline::figures(&serde_json::Value::Object(details))
}

fn fault_row(scene: &Scene<'_>, fault: &Fault, drops: &[DropsView]) -> FaultRow {
    let (_, ns) = scene.unit();
    let time = |t: Option<schism_history::Time>| {
        t.map_or_else(|| "–".to_owned(), |t| format!("{:.3}", t.0 as f64 / ns))
    };
    let (proved, class) = match fault.effect.as_ref().and_then(|s| s.proved) {
        Some(true) => ("✓ took effect", "holds"),
        Some(false) => ("✗ not proved", "violated"),
        None => ("? nobody looked", "unknown"),
    };
    let healed = fault.healed.as_ref();
    let told = fault.recovered.as_ref();
    let evidence = |stage: Option<&Stage>| {
        stage
            .map(|s| escape::sentence(&s.evidence, 400))
            .unwrap_or_default()
    };
    let never = if fault.end().is_infinite() {
        "never"
    } else {
        "–"
    };
    FaultRow {
        name: escape::shorten(&fault.name(), 60),
        what: escape::shorten(&fault.what, 400),
        inject: time(Some(fault.inject)),
        effect: time(fault.effect.as_ref().map(|s| s.at)),
        heal: fault.heal.map_or(never.to_owned(), |at| time(Some(at))),
        healed: healed.map_or(never.to_owned(), |s| time(Some(s.at))),
        proved,
        class,
        effect_after: after(fault.effect.as_ref().and_then(|s| s.after_ms)),
        evidence: evidence(fault.effect.as_ref()),
        heal_after: after(healed.and_then(|s| s.after_ms)),
        recovered: time(told.filter(|r| r.word == Some(true)).map(|r| r.at)),
        late: told.is_some_and(Recovered::is_late),
        recovery: told.map(recovery_words).unwrap_or_default(),
        unhealed: fault.end().is_infinite() || healed.is_some_and(|s| s.proved == Some(false)),
        heal_evidence: evidence(healed),
        drops: drops
            .iter()
            .find(|d| d.name == fault.name())
            .map(|d| d.id.clone())
            .unwrap_or_default(),
    }
}

/// `3.10 ms`.
fn span(ms: f64) -> String {
    words::duration(ms * 1e6)
}

/// ` after 3.10 ms`.
fn after(ms: Option<f64>) -> String {
    ms.map(|ms| format!(" after {}", span(ms)))
        .unwrap_or_default()
}

/// `recovered after 812 ms (10.00 s were declared)`.
fn recovery_words(told: &Recovered) -> String {
    let declared = told
        .within_ms
        .map(|ms| format!(" ({} were declared)", span(ms)))
        .unwrap_or_default();
    let after = after(told.after_ms);
    match told.word {
        Some(true) => format!("recovered{after}{declared}"),
        Some(false) => format!("not recovered{after}{declared}: {}", told.why),
        None => format!("recovery not told{declared}: {}", told.why),
    }
}

/// Notes on the captures that a page carries.
const NOTES_MAX: usize = 20;

fn capture_notes(input: &Input<'_>) -> Vec<String> {
    let notes = input.captures.iter().flat_map(|c| &c.traffic.notes);
    notes
        .take(NOTES_MAX)
        .map(|note| escape::sentence(note, 300))
        .collect()
}

fn log(log: &super::NodeLog) -> LogView {
    let text = escape::block(&log.tail);
    let (text, cut) = escape::tail(text.trim_end(), LOG_BYTES_MAX);
    LogView {
        name: escape::shorten(&format!("{} {}", log.node, log.file), 80),
        lines: if text.is_empty() {
            "empty".to_owned()
        } else {
            words::plural(text.lines().count() as u64, "line")
        },
        text: text.to_owned(),
        truncated: log.truncated || cut,
    }
}
