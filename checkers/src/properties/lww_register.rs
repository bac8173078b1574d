//! `lww-register`: a last-write-wins register holds one written value in the end, the same everywhere, and none that was overwritten.
//!
//! Shapiro et al. 2011 (LWW-Register): which of several concurrent writes wins, a time stamp says, and the others are gone: that is for
//! `lost-updates`. But a write wins over all that its client had seen ([`crate::happens_before`]), so a value that somebody had read (or written) and
//! then overwritten is not there in the end; a clock that is ahead breaks this. Only final reads count, after recovery. Only checked when it is
//! named: it forgives what other registers must not do. O(n log n).

use super::lost_updates::{Check, NOT_RECOVERED};
use crate::final_values::{self, named};
use crate::findings::{Advice, Findings};
use crate::happens_before::{Seen, Updates, registers};
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Prepared, Property, Shape, words};

/// The property.
pub(super) struct LwwRegister;

const ADVICE_SIBLINGS: Advice = Advice {
    cause: "Two writes had the same time stamp and nothing to break the tie, or the register keeps siblings.",
    mend: "Break ties by the name of the replica; where siblings are wanted, check mv-register instead.",
};

impl Property for LwwRegister {
    fn name(&self) -> &'static str {
        "lww-register"
    }

    fn summary(&self) -> &'static str {
        "in the end all replicas hold one written value that no write which had seen it overwrote"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Register) || history.has(Shape::Siblings)
    }

    fn only_when_named(&self) -> bool {
        true
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        if !history.recovered() {
            return PropertyResult::unknown(NOT_RECOVERED);
        }
        let mut check = Check::default();
        let registers = registers(history, &mut check.findings, budget);
        final_values::judge(&registers, &mut check.findings, budget);
        for (done, register) in registers.iter().enumerate() {
            let (findings, keyed) = (&mut check.findings, register.keyed);
            if findings.out_of_time_at(budget, done, keyed) {
                break;
            }
            if let Some(why) = &register.strange {
                check.findings.doubt(|| why.clone());
            } else if register.finals.is_empty() {
                check.without_finals(register.keyed);
            } else {
                one_value(register, &mut check.findings);
            }
        }
        check.findings.result()
    }
}

fn one_value(register: &Updates<'_>, findings: &mut Findings) {
    if let Some(read) = register.finals.iter().find(|read| read.values.len() > 1) {
        findings.violate(|| siblings(register, read));
    }
}

fn siblings(register: &Updates<'_>, read: &Seen<'_>) -> Anomaly {
    let message = format!(
        "{} of {} returned {} values, and the last write should have won.",
        words::noun(read.op),
        words::key(register.keyed.key),
        read.values.len(),
    );
    let operations = vec![read.op.index()];
    named(register, "siblings", operations, message, &ADVICE_SIBLINGS)
}
