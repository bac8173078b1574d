//! `pn-counter`: replicas that count up and down for themselves and merge have every change in the end, each once.
//!
//! Shapiro et al. 2011 (PN-Counter). Weaker than `counter`: a read may lack what others have acknowledged. What is asked of reads and of the end
//! is in [`crate::merging_counter`]; sums go up and down, so nothing is asked of two reads. Only checked when it is named.

use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, Shape, merging_counter};

/// The property.
pub(super) struct PnCounter;

impl Property for PnCounter {
    fn name(&self) -> &'static str {
        "pn-counter"
    }

    fn summary(&self) -> &'static str {
        "every read is a sum of changes that were tried, and in the end all acknowledged ones are there"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Counter)
    }

    fn only_when_named(&self) -> bool {
        true
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        merging_counter::check(history, false, budget)
    }
}
