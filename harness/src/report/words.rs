//! The report's sentences: what a property promises, what its figures count, and figures in units that people read.

/// What is said of a property, wherever it is named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// What it promises, one sentence.
    pub(super) definition: &'static str,
    /// What its anomalies are, after a number: `acknowledged writes lost`.
    pub(super) anomalies: Noun,
    /// What was looked at, after a number.
    pub(super) checked: Noun,
}

/// A noun after `1`, and after any other number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noun(&'static str, &'static str);

impl Noun {
    /// `1 read`, `1 234 reads`.
    pub(super) fn count(self, n: u64) -> String {
        let noun = if n == 1 { self.0 } else { self.1 };
        format!("{} {noun}", thousands(n))
    }
}

/// The words of a property; properties that have none of their own get plain ones.
#[expect(clippy::too_many_lines, reason = "it is one table")]
pub(super) fn of(property: &str) -> Words {
    let (definition, anomalies, checked) = match property {
        "lost-writes" => (
            "Every acknowledged write is still there in the end: in at least one final read that began after its acknowledgement.",
            Noun("acknowledged write lost", "acknowledged writes lost"),
            Noun("acknowledged write", "acknowledged writes"),
        ),
        "stale-reads" => (
            "No read returns a value that an acknowledged write had replaced before the read began.",
            Noun("stale read", "stale reads"),
            Noun("read", "reads"),
        ),
        "linearizable" => (
            "Every operation takes effect at one moment between its invocation and its completion, and all agree on the order.",
            Noun("key that no order explains", "keys that no order explains"),
            Noun("operation", "operations"),
        ),
        "sequential" => (
            "All agree on one order of the operations, which keeps the order of each client.",
            Noun("key that no order explains", "keys that no order explains"),
            Noun("operation", "operations"),
        ),
        "causal" => (
            "What could have caused an operation is seen before it, by everyone.",
            Noun("causality violation", "causality violations"),
            Noun("operation", "operations"),
        ),
        "convergence" => (
            "After recovery every live replica has the same final state.",
            Noun(
                "difference between replicas",
                "differences between replicas",
            ),
            Noun("final read", "final reads"),
        ),
        "split-brain" => (
            "In each term one node alone acknowledges writes, and none does so in a lower term after another has in a higher one.",
            Noun(
                "write acknowledged by a rival leader",
                "writes acknowledged by rival leaders",
            ),
            Noun("acknowledged write", "acknowledged writes"),
        ),
        "lost-updates" => (
            "Every acknowledged update has its effect in the final state, unless a later one replaced it.",
            Noun("update lost", "updates lost"),
            Noun("update", "updates"),
        ),
        "monotonic-reads" => (
            "A client never reads something older than it has read.",
            Noun("read went back", "reads went back"),
            Noun("read", "reads"),
        ),
        "read-your-writes" => (
            "A client reads its own acknowledged writes, or newer ones.",
            Noun(
                "read missed the client's own write",
                "reads missed the client's own write",
            ),
            Noun("read", "reads"),
        ),
        "monotonic-writes" => (
            "The writes of one client take effect in its order.",
            Noun(
                "contradictions to the order of a client's writes",
                "observations",
            ),
            Noun("write", "writes"),
        ),
        "writes-follow-reads" => (
            "What a client writes comes after what it has read.",
            Noun(
                "contradictions to what a client had read before it wrote",
                "observations",
            ),
            Noun("write", "writes"),
        ),
        "consistent-prefix" => (
            "Reads see a prefix of the writes, never a later one without the earlier ones.",
            Noun("read with a gap", "reads with gaps"),
            Noun("read", "reads"),
        ),
        "unique-ids" => (
            "No id is handed out twice.",
            Noun("id handed out twice", "ids handed out twice"),
            Noun("id", "ids"),
        ),
        "availability" => (
            "Under faults, the declared share of attempts succeeds, without a longer pause than declared.",
            Noun("limit missed", "limits missed"),
            Noun("attempt", "attempts"),
        ),
        "recovery" => (
            "After the last heal the target is healthy and serves again within the declared time.",
            Noun("limit missed", "findings"),
            Noun("check", "checks"),
        ),
        "set" => (
            "An element is there if it was added and never removed.",
            Noun("wrong element", "wrong elements"),
            Noun("element", "elements"),
        ),
        "counter" => (
            "Every read lies between what was surely added and what may have been.",
            Noun("read out of bounds", "reads out of bounds"),
            Noun("read", "reads"),
        ),
        "queue" => (
            "Everything acknowledged comes out, once, and nothing else does.",
            Noun(
                "element lost, duplicated or invented",
                "elements lost, duplicated or invented",
            ),
            Noun("element", "elements"),
        ),
        "bank" => (
            "Every read of all accounts has the same total.",
            Noun("wrong total", "wrong totals"),
            Noun("read", "reads"),
        ),
        "long-fork" => (
            "No two reads see two writes in opposite orders.",
            Noun("fork", "forks"),
            Noun("read", "reads"),
        ),
        "text" => (
            "All replicas end with the same text, with everything inserted and not deleted.",
            Noun("wrong text", "wrong texts"),
            Noun("edit", "edits"),
        ),
        "g-counter" | "pn-counter" => (
            "Every read is a sum of changes that were tried, and in the end all acknowledged ones are there.",
            Noun("wrong sum", "wrong sums"),
            Noun("read", "reads"),
        ),
        "lww-register" => (
            "In the end all replicas hold one written value that no write which had seen it overwrote.",
            Noun("wrong value", "wrong values"),
            Noun("read", "reads"),
        ),
        "mv-register" => (
            "In the end all replicas hold exactly the writes that no other write had seen.",
            Noun("wrong value", "wrong values"),
            Noun("read", "reads"),
        ),
        "mutex" => (
            "A lock has one holder at a time, and only its holder releases it.",
            Noun("lock broken", "locks broken"),
            Noun("operation", "operations"),
        ),
        "pram" => (
            "Each client sees the writes of every other one in the order in which that made them.",
            Noun("contradiction", "contradictions"),
            Noun("operation", "operations"),
        ),
        "causal-reverse" => (
            "Who sees an insert sees every one that was acknowledged before that was invoked.",
            Noun("insert missed", "inserts missed"),
            Noun("read", "reads"),
        ),
        "monotonic" => (
            "Rows with later timestamps have greater values, none is lost and none is there twice.",
            Noun("wrong row", "wrong rows"),
            Noun("row", "rows"),
        ),
        "meaningful" => (
            "The run proves something: enough succeeded, and every fault took effect.",
            Noun("doubt", "doubts"),
            Noun("condition", "conditions"),
        ),
        _ => ("", Noun("anomaly", "anomalies"), Noun("case", "cases")),
    };
    Words {
        definition,
        anomalies,
        checked,
    }
}

/// `1 234 567`, with narrow no-break spaces.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A length of time, in ns, in the unit that suits it: `840 µs`, `2.4 ms`, `1.20 s`.
pub(super) fn duration(ns: f64) -> String {
    match ns.abs() {
        t if t < 1e3 => format!("{ns:.0} ns"),
        t if t < 1e6 => format!("{} µs", digits(ns / 1e3)),
        t if t < 1e9 => format!("{} ms", digits(ns / 1e6)),
        t if t < 120e9 => format!("{} s", digits(ns / 1e9)),
        _ => format!("{:.0} min {:.0} s", (ns / 60e9).floor(), (ns % 60e9) / 1e9),
    }
}

/// Two or three digits that tell something.
fn digits(value: f64) -> String {
    match value.abs() {
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// `1 fault`, `2 faults`.
pub(super) fn plural(n: u64, one: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{} {one}s", thousands(n))
    }
}

/// A share in percent that is 100 only when nothing is missing, and 0 only when there is nothing.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let share = part as f64 / whole as f64 * 100.0;
    match share {
        _ if part == whole => "100 %".to_owned(),
        _ if part == 0 => "0 %".to_owned(),
        s if s >= 99.95 => ">99.9 %".to_owned(),
        s if s < 0.05 => "<0.1 %".to_owned(),
        s => format!("{s:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `stats` stands apart: it has a table of its own.
    #[test]
    fn every_property_has_words() {
        let named = |name: &str| name == "stats" || !of(name).definition.is_empty();
        let all = schism_checkers::properties().iter().map(|p| p.name());
        let plain: Vec<&str> = all.filter(|name| !named(name)).collect();
        assert!(plain.is_empty(), "{plain:?}");
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(thousands(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(thousands(12), "12");
        assert_eq!(duration(840_000.0), "840 µs");
        assert_eq!(duration(2_437_000.0), "2.44 ms");
        assert_eq!(duration(22.4e9), "22.4 s");
        assert_eq!(duration(3661e9), "61 min 1 s");
        assert_eq!(percent(999_999, 1_000_000), ">99.9 %");
        assert_eq!(percent(0, 0), "–");
        assert_eq!(plural(1, "fault"), "1 fault");
        let words = of("lost-writes");
        assert_eq!(words.anomalies.count(1), "1 acknowledged write lost");
        assert_eq!(words.checked.count(0), "0 acknowledged writes");
    }
}
