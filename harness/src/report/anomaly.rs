//! One anomaly as it is shown: its sentence, what mends it, the picture and the table of its operations.

use super::layout::Frame;
use super::messages::Diagram;
use super::op_picture::{self, Drawing};
use super::op_words::{self, Style};
use super::scene::Scene;
use super::{drops, escape, headline, message_picture, place, words};
use crate::capture::Captures;
use schism_checkers::verdict::Anomaly;
use schism_history::Op;
use serde_json::Value;

/// Rows of the table; a picture has fewer.
const ROWS_MAX: usize = 60;

/// Rows that are not folded away.
const ROWS_OPEN: usize = 8;

/// An anomaly, ready for the template.
#[derive(Debug)]
pub(super) struct AnomalyView {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) message: String,
    /// What follows the message, point by point, where it would be a very long sentence.
    pub(super) points: Vec<String>,
    /// Where its operations lie in the timeline of the faults; empty in a run without faults.
    pub(super) place: String,
    /// Empty where the one before says the same.
    pub(super) cause: String,
    /// The same.
    pub(super) mend: String,
    pub(super) figures: Vec<(String, String)>,
    /// SVG, for the page and for a phone; or empty.
    pub(super) picture: String,
    /// The same of the messages between the hosts.
    pub(super) messages: String,
    /// How many they are.
    pub(super) messages_words: String,
    /// Which are not drawn.
    pub(super) messages_left_out: String,
    pub(super) rows: Vec<OpRow>,
    /// Whether the table is long enough to be folded away.
    pub(super) folded: bool,
    pub(super) has_keys: bool,
    pub(super) has_terms: bool,
    pub(super) unit: &'static str,
    /// What is missing from picture and table, and why.
    pub(super) notes: Vec<String>,
}

/// One operation in the table.
#[derive(Debug)]
pub(super) struct OpRow {
    pub(super) index: u64,
    pub(super) process: String,
    pub(super) f: String,
    pub(super) is_final: bool,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) whole: String,
    pub(super) node: String,
    pub(super) term: String,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) took: String,
    pub(super) outcome: String,
    pub(super) error: String,
    /// Class of the style sheet: `ok`, `fail`, `info`.
    pub(super) class: &'static str,
}

/// Turns anomalies into words and pictures, at most `most`; `id` is unique in the page.
pub(super) fn views(
    scene: &Scene<'_>,
    captures: Option<&Captures>,
    anomalies: &[Anomaly],
    (most, id): (usize, &str),
) -> Vec<AnomalyView> {
    let mut said = ("", "");
    let mut views = Vec::new();
    for (i, anomaly) in anomalies.iter().take(most).enumerate() {
        let id = format!("{id}a{i}");
        let mut view = view(scene, anomaly, i + 1, &id);
        if let Some(captures) = captures.filter(|c| c.kept && i < MESSAGES_MAX) {
            draw_messages(scene, captures, anomaly, &mut view, &id);
        }
        if (anomaly.cause.as_str(), anomaly.mend.as_str()) == said {
            view.cause.clear();
            view.mend.clear();
        }
        said = (&anomaly.cause, &anomaly.mend);
        views.push(view);
    }
    views
}

fn view(scene: &Scene<'_>, anomaly: &Anomaly, number: usize, id: &str) -> AnomalyView {
    let ops: Vec<&Op<'_>> = anomaly
        .operations
        .iter()
        .filter_map(|&i| scene.op(i))
        .collect();
    let style = Style::of(anomaly, &ops);
    let decimals = decimals(scene, &ops);
    let rows: Vec<OpRow> = ops
        .iter()
        .take(ROWS_MAX)
        .map(|op| row(scene, op, style.focus, decimals))
        .collect();
    let (message, points) = points(&escape::sentence(&anomaly.message, 4000));
    AnomalyView {
        number,
        name: escape::shorten(&anomaly.name, 80),
        message,
        points,
        place: place::sentence(scene, &ops, style),
        cause: escape::shorten(&anomaly.cause, 1000),
        mend: escape::shorten(&anomaly.mend, 1000),
        figures: unsaid(anomaly),
        picture: pictures(scene, anomaly, &ops, style, id),
        messages: String::new(),
        messages_words: String::new(),
        messages_left_out: String::new(),
        has_keys: rows.iter().any(|r| !r.key.is_empty()),
        has_terms: rows.iter().any(|r| !r.term.is_empty()),
        unit: scene.unit().0,
        folded: rows.len() > ROWS_OPEN,
        notes: notes(scene, anomaly, &ops),
        rows,
    }
}

/// Anomalies of one property whose messages are drawn.
const MESSAGES_MAX: usize = 3;

fn draw_messages(
    scene: &Scene<'_>,
    captures: &Captures,
    anomaly: &Anomaly,
    view: &mut AnomalyView,
    id: &str,
) {
    let ops = anomaly.operations.iter().filter_map(|&i| scene.op(i));
    let ops: Vec<&Op<'_>> = ops.take(op_picture::DRAWN_MAX).collect();
    let diagram = Diagram::around(scene, captures, &ops);
    let lost = match diagram.lost() {
        0 => "none of them lost".to_owned(),
        n => format!("{} lost", words::thousands(n)),
    };
    view.messages_words = format!("{}, {lost}", words::plural(diagram.drawn(), "message"));
    view.messages = message_picture::draw(scene, &diagram, &format!("{id}m"));
    view.messages_left_out = drops::left_out(&diagram);
}

fn pictures(
    scene: &Scene<'_>,
    anomaly: &Anomaly,
    ops: &[&Op<'_>],
    style: Style<'_>,
    id: &str,
) -> String {
    let title = format!(
        "Operations of the anomaly {}",
        escape::shorten(&anomaly.name, 80)
    );
    let draw = |frame, id: &str| {
        let how = Drawing {
            id,
            title: &title,
            style,
            frame,
        };
        op_picture::draw(scene, ops, how)
    };
    draw(Frame::Wide, id) + &draw(Frame::Narrow, &format!("{id}n"))
}

/// Parts of a message that are a list of their own from this many on.
const POINTS_MIN: usize = 3;

/// A chain of reasons, `No order fits: a, because b; c, because d; e, because f`, as a sentence and its points.
fn points(message: &str) -> (String, Vec<String>) {
    let Some((head, tail)) = message.split_once(": ") else {
        return (message.to_owned(), Vec::new());
    };
    let points: Vec<String> = tail.split("; ").map(str::to_owned).collect();
    if points.len() < POINTS_MIN || head.contains(';') {
        return (message.to_owned(), Vec::new());
    }
    (format!("{head}:"), points)
}

/// The figures that the message does not have in it.
fn unsaid(anomaly: &Anomaly) -> Vec<(String, String)> {
    let said = |text: &str| {
        let message = &anomaly.message;
        message.match_indices(text).any(|(at, _)| {
            let before = message[..at].chars().next_back();
            let after = message[at + text.len()..].chars().next();
            let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
            apart(before) && apart(after)
        })
    };
    let mut figures = headline::figures(&Value::Object(anomaly.details.clone()));
    figures.retain(|(_, text)| !text.is_empty() && !said(text));
    figures
}

fn notes(scene: &Scene<'_>, anomaly: &Anomaly, ops: &[&Op<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    let missing: Vec<String> = anomaly
        .operations
        .iter()
        .filter(|&&i| scene.op(i).is_none())
        .map(u64::to_string)
        .collect();
    if !missing.is_empty() {
        let few = missing
            .iter()
            .take(10)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let more = if missing.len() > 10 { ", …" } else { "" };
        notes.push(format!(
            "{} named here and not in this history, left out: index {few}{more}.",
            words::plural(missing.len() as u64, "operation")
        ));
    }
    if ops.len() > op_picture::DRAWN_MAX {
        notes.push(format!(
            "The picture shows the first {} of {} operations.",
            op_picture::DRAWN_MAX,
            ops.len()
        ));
    }
    if ops.len() > ROWS_MAX {
        notes.push(format!(
            "The table lists the first {ROWS_MAX} of {} operations.",
            ops.len()
        ));
    }
    notes
}

/// Decimals of a time that keep the shortest operation's start and end apart.
fn decimals(scene: &Scene<'_>, ops: &[&Op<'_>]) -> usize {
    let ends = ops.iter().filter(|op| !op.end().is_infinite());
    let shortest = ends
        .map(|op| op.end().since(op.start()))
        .filter(|&ns| ns > 0)
        .min();
    let (_, unit_ns) = scene.unit();
    let needed = shortest.map_or(3.0, |ns| (unit_ns / ns as f64).log10().ceil() + 1.0);
    let most = unit_ns.log10();
    needed.clamp(3.0f64.min(most), most.min(6.0)) as usize
}

fn row(scene: &Scene<'_>, op: &Op<'_>, focus: Option<&Value>, decimals: usize) -> OpRow {
    let (_, ns) = scene.unit();
    let time = |t: schism_history::Time| format!("{:.decimals$}", t.0 as f64 / ns);
    let value = op_words::cell(op, focus);
    let (outcome, error) = op_words::outcome(op);
    let infinite = op.end().is_infinite();
    let waited = op
        .completion
        .map(|c| words::duration(c.time.since(op.start()) as f64));
    let process = op.process().to_string();
    OpRow {
        index: op.index(),
        process: process.trim_start_matches("process ").to_owned(),
        f: escape::shorten(op.f(), 40),
        is_final: op.is_final(),
        key: op_words::key(op),
        value: value.text,
        whole: value.whole,
        node: op_words::node(op)
            .map(|n| escape::shorten(&n.0, 40))
            .unwrap_or_default(),
        term: op_words::term(op)
            .map(|t| t.to_string())
            .unwrap_or_default(),
        start: time(op.start()),
        end: if infinite {
            "?".to_owned()
        } else {
            time(op.end())
        },
        took: match waited {
            Some(waited) if infinite => format!(">{waited}"),
            Some(waited) => waited,
            None => "–".to_owned(),
        },
        outcome,
        error,
        class: match op.outcome() {
            schism_history::Outcome::Ok => "ok",
            schism_history::Outcome::Fail => "fail",
            schism_history::Outcome::Info => "info",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_reasons_becomes_points() {
        let (message, rest) =
            points("No order fits: a, because b; c, because d; e: a contradiction.");
        assert_eq!(message, "No order fits:");
        assert_eq!(
            rest,
            ["a, because b", "c, because d", "e: a contradiction."]
        );
        for whole in ["Lost: n1 has it; n2 not.", "a; b: c; d; e", "plain"] {
            assert_eq!(points(whole), (whole.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn what_the_message_says_is_not_said_again() {
        let details =
            serde_json::json!({"key": "r1", "behind_ms": 5707.1, "term": 6, "versions": 1});
        let anomaly = Anomaly {
            name: "stale".into(),
            operations: Vec::new(),
            message: "A read of r1 was stale, by 12 versions, in term 6.".into(),
            cause: String::new(),
            mend: String::new(),
            details: details.as_object().cloned().unwrap_or_default(),
        };
        assert_eq!(
            unsaid(&anomaly),
            [
                ("behind".to_owned(), "5.71 s".to_owned()),
                ("versions".to_owned(), "1".to_owned())
            ]
        );
    }
}
