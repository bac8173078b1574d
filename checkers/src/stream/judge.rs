//! The third pass: the operations that a fold suspects, judged by the ordinary checker.

use super::{Again, Finish, Frame, Part, collect, survey};
use crate::findings::{Advice, anomaly};
use crate::verdict::{ANOMALIES_LISTED, Anomaly, Decision, PropertyResult};
use crate::{Chosen, Prepared};
use schism_history::{Event, History, Op, Process, jsonl};

/// What is being collected for one property.
pub(super) struct Collected<'s> {
    again: Again<'s>,
    parts: Vec<Gathered>,
    bytes: u64,
}

/// The operations of one part.
#[derive(Default)]
struct Gathered {
    events: Vec<Event>,
    bytes: u64,
    /// There are more than fit.
    over: bool,
}

impl<'s> Collected<'s> {
    fn new(again: Again<'s>) -> Self {
        let parts = again.parts.iter().map(|_| Gathered::default()).collect();
        Self {
            again,
            parts,
            bytes: 0,
        }
    }

    pub(super) fn offer(&mut self, op: &Op<'_>, memory_bytes: u64) {
        let Some(part) = (self.again.select)(op).map(|i| &mut self.parts[i]) else {
            return;
        };
        if part.over {
            return;
        }
        let events = || [Some(op.invoke), op.completion].into_iter().flatten();
        let bytes: u64 = events().map(survey::bytes).sum();
        part.events.extend(events().cloned());
        part.bytes += bytes;
        self.bytes += bytes;
        if self.bytes > memory_bytes {
            self.bytes -= part.bytes;
            *part = Gathered {
                over: true,
                ..Gathered::default()
            };
        }
    }

    /// What the ordinary checker says of each part.
    fn results(
        self,
        frame: &Frame<'_, '_>,
        check: impl Fn(&Prepared<'_>) -> PropertyResult,
    ) -> Vec<PropertyResult> {
        let parts = self.again.parts.into_iter().zip(self.parts);
        let parts = parts.filter(|(_, gathered)| gathered.over || !gathered.events.is_empty());
        let judge = |(part, gathered): (Part, Gathered)| {
            if gathered.over {
                return too_many(part);
            }
            let history = with_nemesis(gathered.events, &frame.survey.sample);
            let result = check(&Prepared::new(&history).with_shapes_of(frame.prepared));
            match part.sure {
                Some(_) if result.verdict != Decision::Violated => {
                    PropertyResult::unknown(format!(
                        "{} look like a violation, and the second look did not confirm it",
                        part.what
                    ))
                }
                _ => result,
            }
        };
        parts.map(judge).collect()
    }
}

/// A violation of which the fold is sure stays one.
fn too_many(part: Part) -> PropertyResult {
    match part.sure {
        Some(anomaly) => PropertyResult {
            verdict: Decision::Violated,
            count: 1,
            anomalies: vec![anomaly],
            why: format!("{} are too many to name them all", part.what),
            ..PropertyResult::unknown("")
        },
        None => PropertyResult::unknown(format!("{} take more than the memory limit", part.what)),
    }
}

/// What is no client's belongs to every history.
fn with_nemesis(mut events: Vec<Event>, sample: &History) -> History {
    let nemesis = sample
        .events
        .iter()
        .filter(|e| e.process == Process::Nemesis);
    events.extend(nemesis.cloned());
    events.sort_by_key(|event| event.index);
    History { events, torn: None }
}

/// One more pass, if any fold asks for it, and all verdicts.
pub(super) fn judge<I: Iterator<Item = Result<Event, jsonl::Error>>>(
    frame: &Frame<'_, '_>,
    finished: Vec<(Chosen, Finish<'_>)>,
    open: &mut dyn FnMut() -> Result<I, jsonl::Error>,
    check: &dyn Fn(Chosen, &Prepared<'_>) -> PropertyResult,
) -> Result<Vec<(Chosen, PropertyResult)>, jsonl::Error> {
    let (mut decided, mut collected) = (Vec::new(), Vec::new());
    for (chosen, finish) in finished {
        let place = finish.again.is_some().then_some(collected.len());
        collected.extend(finish.again.map(Collected::new));
        decided.push((chosen, finish.result, finish.count, place));
    }
    if !collected.is_empty() {
        collect(frame, open()?, &mut collected)?;
    }
    let mut collected: Vec<_> = collected.into_iter().map(Some).collect();
    let all = decided
        .into_iter()
        .map(|(chosen, mut result, count, place)| {
            let again = place.and_then(|place| collected[place].take());
            let parts = again.map(|again| again.results(frame, |history| check(chosen, history)));
            for part in parts.into_iter().flatten() {
                add(&mut result, part);
            }
            if let Some(count) = count.filter(|_| result.verdict == Decision::Violated) {
                result.count = count;
            }
            (chosen, result.unless_void())
        });
    Ok(all.collect())
}

/// One part's result more: the worse verdict, and what the fold has counted itself.
fn add(result: &mut PropertyResult, part: PropertyResult) {
    if part.is_void() {
        return;
    }
    result.verdict = result.verdict.max(part.verdict);
    result.count += part.count;
    let room = ANOMALIES_LISTED.saturating_sub(result.anomalies.len());
    result
        .anomalies
        .extend(part.anomalies.into_iter().take(room));
    if !result.why.contains(&part.why) {
        let separator = if result.why.is_empty() { "" } else { "; " };
        result.why = format!("{}{separator}{}", result.why, part.why);
    }
    for (name, value) in part.details {
        if let Some(name) = of_a_part(name) {
            result.details.entry(name).or_insert(value);
        }
    }
}

/// What a part of a history says of how far it is from atomic, bounds the whole from below.
fn of_a_part(name: String) -> Option<String> {
    match name.as_str() {
        "k" | "delta_ms" | "versions_behind" | "behind_ms" => Some(format!("{name}_min")),
        "k_max" => None,
        _ => Some(name),
    }
}

/// A violation whose operations are too many to be collected.
pub(super) fn unexplained(name: &str, key: &str, advice: &Advice) -> Anomaly {
    let message = format!("{key} is violated; what proves it does not fit into the memory limit.");
    anomaly(name, Vec::new(), message, advice).with("key", key)
}
