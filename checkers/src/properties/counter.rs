//! `counter`: a read lies between what was surely added before it and what may have been, and nothing is lost or added twice in the end.
//!
//! As Jepsen defines it: a read is at least the increments that were acknowledged before it began, with every decrement that may have
//! taken effect by its end, and at most the reverse. That is what one counter in one place promises, so a stale read violates it
//! (`read-too-low`, `read-too-high`); replicas that merge later promise less: see `g-counter` and `pn-counter`. Each read is judged alone:
//! that two of them contradict each other is for a model of the counter to find. A final read (a replica's own state, once the target had
//! recovered) must be exact: what was acknowledged, and some of what is unknown, each once; else something was lost or counted twice for good
//! (`final-too-low`, `final-too-high`, `no-such-sum`). See [`crate::counts`]. O(n log n), and O(n) for each final read.

use crate::counts::Counts;
use crate::findings::Findings;
use crate::stream::{Fold, Sums};
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, Shape, words};

/// The property.
pub(super) struct Counter;

impl Property for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn summary(&self) -> &'static str {
        "every read lies between what was surely added and what may have been; final reads are exact"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Counter)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        for (done, keyed) in history.keys_of(Shape::Counter).enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            let counts = Counts::new(history, keyed, &mut findings, budget);
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            if !counts.strange {
                check(&counts, history, budget, &mut findings);
            }
        }
        findings.result()
    }

    fn stream<'s>(&self, survey: &'s Prepared<'_>) -> Option<Box<dyn Fold<'s> + 's>> {
        Some(Box::new(Sums::new(survey)))
    }
}

fn check(
    counts: &Counts<'_>,
    history: &Prepared<'_>,
    budget: &Budget<'_>,
    findings: &mut Findings,
) {
    counts.doubt_silence(history, findings);
    findings.checked(counts.reads.len());
    let bounds = counts.bounds();
    let reads = counts.reads.iter().enumerate();
    for (done, (n, read)) in reads.filter(|(_, (_, op))| !op.is_final()) {
        let what = || format!("reads of {}", words::key(counts.keyed.key));
        if findings.out_of_time_after(budget, (done, counts.reads.len()), what) {
            return;
        }
        let (least, most) = bounds.of(read);
        if !(least..=most).contains(n) {
            findings.violate(|| counts.out_of_bounds(*n, read, least, most));
        }
    }
    counts.check_finals(history, &bounds, budget, findings);
}
