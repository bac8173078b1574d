//! `mv-register`: a multi-value register keeps exactly the writes that no other write had seen.
//!
//! Shapiro et al. 2011 (MV-Register), with what clients had seen as the causality ([`crate::happens_before`]): a client writes with what it read.
//! In the end all replicas hold the same values; each was written; none that somebody had seen and overwritten is left; and no acknowledged one
//! is missing that nobody had seen. Version vectors are kept key by key: one that is missing, and that somebody had seen over other keys only before
//! writing this one, is `unknown` (`replaced_over_other_keys`), for a store whose causality spans keys may drop it by right. A read returns a list of values, one value, or null. Only final reads say what is there in the end, after
//! recovery. Only checked when it is named: other registers may drop concurrent writes. O(n log n), and see `lost-updates` for several keys.

use super::lost_updates::Check;
use crate::final_values;
use crate::happens_before::registers;
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, Shape};

/// The property.
pub(super) struct MvRegister;

impl Property for MvRegister {
    fn name(&self) -> &'static str {
        "mv-register"
    }

    fn summary(&self) -> &'static str {
        "in the end all replicas hold exactly the writes that no other write had seen"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Register) || history.has(Shape::Siblings)
    }

    fn only_when_named(&self) -> bool {
        true
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        if !history.recovered() {
            return PropertyResult::unknown(super::lost_updates::NOT_RECOVERED);
        }
        let mut check = Check::key_by_key();
        let registers = registers(history, &mut check.findings, budget);
        final_values::judge(&registers, &mut check.findings, budget);
        check.registers(&registers, |_| true, budget);
        check.result()
    }
}
