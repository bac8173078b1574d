//! Where the operations of an anomaly lie in the timeline of the faults, in words.

use super::op_words::{self, Style};
use super::scene::{Fault, Scene};
use super::{escape, words};
use schism_history::{Op, Time};

/// Stretches that are told apart.
const GROUPS_MAX: usize = 6;
/// Faults that are named at once.
const NAMED_MAX: usize = 5;

/// `add 17: 2.40 ms into fault 1 partition (n1 alone); 5 final reads: 1.28 s after the last fault was healed`. Empty in a run without
/// faults.
pub(super) fn sentence(scene: &Scene<'_>, ops: &[&Op<'_>], style: Style<'_>) -> String {
    if scene.faults.is_empty() || ops.is_empty() {
        return String::new();
    }
    let mut ops = ops.to_vec();
    ops.sort_by_key(|op| (op.start(), op.index()));
    let groups: Vec<&[&Op<'_>]> = ops
        .chunk_by(|a, b| stretch(scene, a.start()) == stretch(scene, b.start()))
        .collect();
    let mut said: Vec<String> = groups
        .iter()
        .take(GROUPS_MAX)
        .map(|group| format!("{}: {}", who(group, style), when(scene, group)))
        .collect();
    if groups.len() > GROUPS_MAX {
        said.push("and so on".to_owned());
    }
    said.join("; ")
}

/// What tells one stretch of the run from the others: the faults in force, and how many there had been.
fn stretch(scene: &Scene<'_>, at: Time) -> (Vec<u64>, usize) {
    let begun = scene.faults.iter().filter(|f| f.inject <= at).count();
    (in_force(scene, at).map(|f| f.id).collect(), begun)
}

fn in_force<'s>(scene: &'s Scene<'_>, at: Time) -> impl Iterator<Item = &'s Fault> {
    scene.faults.iter().filter(move |f| f.in_force(at))
}

fn who(group: &[&Op<'_>], style: Style<'_>) -> String {
    let [first, rest @ ..] = group else {
        return String::new();
    };
    if rest.is_empty() {
        return op_words::what(first, style);
    }
    let of_one_kind = |op: &&Op<'_>| op.f() == first.f() && op.is_final() == first.is_final();
    if !rest.iter().all(of_one_kind) {
        return words::plural(group.len() as u64, "operation");
    }
    let last = if first.is_final() { "final " } else { "" };
    let f = escape::shorten(&escape::line(first.f()), 40);
    words::plural(group.len() as u64, &format!("{last}{f}"))
}

fn when(scene: &Scene<'_>, group: &[&Op<'_>]) -> String {
    let at = group.first().map_or(Time::ZERO, |op| op.start());
    let span = |from: Time| words::duration(at.since(from) as f64);
    let now: Vec<&Fault> = in_force(scene, at).collect();
    match now.as_slice() {
        [] => without(scene, at),
        [fault] if group.len() == 1 => {
            format!("{} into fault {}", span(fault.inject), phrase(fault))
        }
        [fault] => format!("during fault {}", phrase(fault)),
        [many @ .., last] => {
            let mut names: Vec<String> = many.iter().take(NAMED_MAX).map(|f| f.name()).collect();
            if many.len() > NAMED_MAX {
                names.push(format!("{} more", many.len() - NAMED_MAX));
            }
            let names = format!("{} and {}", names.join(", "), last.name());
            format!("during faults {}", escape::shorten(&names, 200))
        }
    }
}

/// A moment at which no fault is in force.
fn without(scene: &Scene<'_>, at: Time) -> String {
    let Some(before) = scene
        .faults
        .iter()
        .filter(|f| f.end() <= at)
        .max_by_key(|f| f.end())
    else {
        return "before the first fault".to_owned();
    };
    let span = words::duration(at.since(before.end()) as f64);
    if scene.faults.iter().any(|f| f.inject > at) {
        let name = escape::shorten(&before.name(), 60);
        format!("between faults, {span} after {name} was healed")
    } else {
        format!("{span} after the last fault was healed")
    }
}

fn phrase(fault: &Fault) -> String {
    escape::shorten(&escape::line(&fault.phrase()), 160)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schism_history::{History, jsonl};

    fn scene_of(ops: &str) -> String {
        let fault = |id: u64, from: u64, to: u64| {
            let event = |at: u64, stage: &str| {
                format!(
                    r#"{{"time":{},"process":"nemesis","type":"info","f":"kill","value":{{"fault":{id},"stage":"{stage}","what":"kill n1"}}}}"#,
                    at * 1_000_000
                )
            };
            [(from, event(from, "inject")), (to, event(to, "healed"))]
        };
        let mut lines: Vec<(u64, String)> =
            [fault(1, 100, 200), fault(2, 300, 500), fault(3, 400, 450)].concat();
        let mut dsl = Vec::new();
        jsonl::write(&mut dsl, &History::dsl(ops).unwrap()).unwrap();
        for line in String::from_utf8(dsl).unwrap().lines().skip(1) {
            let time = serde_json::from_str::<serde_json::Value>(line).unwrap()["time"].as_u64();
            lines.push((time.unwrap() / 1_000_000, line.to_owned()));
        }
        lines.sort_by_key(|(at, _)| *at);
        let text: String = lines.into_iter().map(|(_, line)| line + "\n").collect();
        let history = jsonl::read(text.as_bytes()).unwrap();
        let scene = Scene::new(&history);
        let ops: Vec<&Op<'_>> = scene.ops.iter().collect();
        sentence(&scene, &ops, Style::default())
    }

    #[test]
    fn every_stretch_of_the_run_has_its_words() {
        let said = scene_of(
            "0: add s 1 @50..51; 0: add s 2 @150..151; 0: add s 3 @250..251; 0: add s 4 @310..311; 1: add s 5 @320..321;
             0: add s 6 @410..411; 1: add s 7 @600..601; 0: read s [] @700..701 final; 1: read s [] @700..701 final",
        );
        assert_eq!(
            said,
            "add 1: before the first fault; add 2: 50.0 ms into fault 1 kill (n1); \
             add 3: between faults, 50.0 ms after 1 kill was healed; 2 adds: during fault 2 kill (n1); \
             add 6: during faults 2 kill and 3 kill; 3 operations: 100 ms after the last fault was healed"
        );
        let history = History::dsl("0: add s 1 @0..1").unwrap();
        let scene = Scene::new(&history);
        let ops: Vec<&Op<'_>> = scene.ops.iter().collect();
        assert_eq!(sentence(&scene, &ops, Style::default()), "");
    }
}
