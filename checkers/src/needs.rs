//! What a check takes of memory besides the history, as far as the history's size tells that before anything is done.
//!
//! Whoever builds something as large as the history says so here, and is not begun where it does not fit. What grows by what is found (searches, clocks) asks
//! for itself, of what is left. The figures are measured: `tests/limits.rs` holds them against what is allocated, `cargo bench --bench limits` prints that.

use crate::{Budget, Keyed, Model, Prepared, Shape, words};
use schism_history::Op;
use serde_json::Value;

/// What a property keeps of the keys of some shapes.
struct Need {
    shapes: &'static [Shape],
    /// Whether all keys are kept at once; else one after another.
    at_once: bool,
    /// Bytes for each operation.
    operation: u64,
    /// Bytes for each element of a list, or letter of a text, that was read.
    part: u64,
}

/// What every check takes.
const LEAST: u64 = 16 << 10;

const REGISTERS: &[Shape] = &[Shape::Register];
const UPDATES: &[Shape] = &[Shape::Register, Shape::Siblings];
const SETS: &[Shape] = &[Shape::Set, Shape::RemovableSet];
const COUNTERS: &[Shape] = &[Shape::Counter];
const TEXTS: &[Shape] = &[Shape::Text];
const TRANSACTIONS: &[Shape] = &[Shape::Transactions];
/// Whatever lives there.
const ANY: &[Shape] = &[];

const fn each(shapes: &'static [Shape], operation: u64, part: u64) -> Need {
    Need {
        shapes,
        at_once: false,
        operation,
        part,
    }
}

const fn all(shapes: &'static [Shape], operation: u64, part: u64) -> Need {
    Need {
        at_once: true,
        ..each(shapes, operation, part)
    }
}

/// What each property keeps.
fn needs(property: &str) -> Option<&'static [Need]> {
    Some(match property {
        "linearizable" => const { &[each(&[Shape::Register, Shape::Mutex], 120, 0)] },
        "stale-reads" => const { &[each(REGISTERS, 300, 0)] },
        "monotonic-reads" | "read-your-writes" => const { &[each(REGISTERS, 450, 0)] },
        "monotonic-writes" | "writes-follow-reads" => {
            const { &[all(REGISTERS, 900, 0), each(&[Shape::Set], 250, 20)] }
        }
        "sequential" => const { &[all(REGISTERS, 450, 0), each(&[Shape::Subkeys], 100, 0)] },
        "causal" | "pram" => const { &[all(REGISTERS, 450, 0)] },
        "lww-register" | "mv-register" => const { &[all(UPDATES, 350, 0)] },
        "lost-updates" => {
            const {
                &[
                    all(UPDATES, 350, 0),
                    each(SETS, 350, 16),
                    each(COUNTERS, 100, 0),
                    each(TEXTS, 300, 12),
                ]
            }
        }
        "lost-writes" => {
            const {
                &[
                    all(REGISTERS, 250, 0),
                    each(&[Shape::Set], 250, 60),
                    all(&[Shape::Questions], 250, 60),
                    all(TRANSACTIONS, 600, 10),
                ]
            }
        }
        "set" => const { &[each(SETS, 350, 16), all(SETS, 40, 0)] },
        "causal-reverse" => const { &[each(&[Shape::Set, Shape::Siblings], 180, 0)] },
        "consistent-prefix" => {
            const {
                &[
                    all(TRANSACTIONS, 1500, 10),
                    all(&[Shape::Questions], 400, 60),
                ]
            }
        }
        "long-fork" => const { &[all(TRANSACTIONS, 400, 0)] },
        "monotonic" => const { &[each(&[Shape::Rows], 100, 150)] },
        "counter" | "g-counter" | "pn-counter" => const { &[each(COUNTERS, 200, 0)] },
        "text" => const { &[each(TEXTS, 320, 12)] },
        "queue" => const { &[each(&[Shape::Queue], 180, 8)] },
        "mutex" => const { &[each(&[Shape::Mutex], 120, 0)] },
        "bank" => const { &[each(&[Shape::Bank], 60, 0)] },
        "unique-ids" => const { &[all(ANY, 100, 0)] },
        "split-brain" => const { &[all(ANY, 80, 0)] },
        "availability" => const { &[all(ANY, 50, 0)] },
        "convergence" => {
            const {
                &[
                    each(SETS, 0, 32),
                    each(TEXTS, 0, 2),
                    all(&[Shape::Questions], 0, 60),
                ]
            }
        }
        "recovery" | "meaningful" | "stats" => &[],
        _ => return None,
    })
}

/// With a model, calls with their times and a structure that decides.
const MODEL: &[Need] = &[all(ANY, 500, 0)];

impl Need {
    fn bytes(&self, history: &Prepared<'_>) -> u64 {
        let keys = history.keys.iter();
        let keys = keys.filter(|k| self.shapes.is_empty() || self.shapes.contains(&k.shape));
        let bytes = keys.map(|keyed| {
            let operations = self.operation * keyed.ops.len() as u64;
            operations + self.part_bytes(history, keyed)
        });
        if self.at_once {
            bytes.sum()
        } else {
            bytes.max().unwrap_or(0)
        }
    }

    fn part_bytes(&self, history: &Prepared<'_>, keyed: &Keyed<'_>) -> u64 {
        if self.part == 0 {
            return 0;
        }
        let ops = keyed.ops.iter().map(|&i| &history.ops[i]);
        self.part * ops.map(parts).sum::<u64>()
    }
}

/// How much an operation returned.
fn parts(op: &Op<'_>) -> u64 {
    let result = op.result();
    if op.f() == "txn" {
        let micros = result.and_then(Value::as_array).into_iter().flatten();
        return micros.map(|micro| 1 + size(&micro[2])).sum();
    }
    result.map_or(0, size)
}

fn size(value: &Value) -> u64 {
    match value {
        Value::Array(list) => list.len() as u64,
        Value::String(text) => text.len() as u64,
        _ => 0,
    }
}

/// How many bytes a property takes for this history.
pub(crate) fn bytes(property: &str, history: &Prepared<'_>) -> u64 {
    let registers = matches!(
        history.model,
        None | Some(Model::Register | Model::CasRegister)
    );
    let needs = if property == "linearizable" && !registers {
        MODEL
    } else {
        needs(property).unwrap_or_default()
    };
    let needs = needs.iter().map(|need| need.bytes(history));
    LEAST + needs.max().unwrap_or(0)
}

/// What is left for what grows; or why there is too little to begin with.
pub(crate) fn rest<'b>(
    property: &str,
    history: &Prepared<'_>,
    budget: &Budget<'b>,
) -> Result<Budget<'b>, String> {
    if budget.memory_bytes == u64::MAX {
        return Ok(*budget);
    }
    let bytes = bytes(property, history);
    let rest = budget.memory_bytes.checked_sub(bytes);
    let rest = rest.map(|memory_bytes| Budget {
        memory_bytes,
        ..*budget
    });
    rest.ok_or_else(|| {
        format!(
            "ran out of memory before it began: it needs about {} for {}, and the limit is {}",
            words::size(bytes),
            words::plural(history.ops.len(), "operation"),
            words::size(budget.memory_bytes)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_says_what_it_needs() {
        for property in crate::properties() {
            let name = property.name();
            assert!(needs(name).is_some(), "{name} has no line in needs.rs");
        }
    }
}
