//! `g-counter`: replicas that count for themselves and merge have every increment in the end, and never go back.
//!
//! Shapiro et al. 2011 (G-Counter). Weaker than `counter`: a read may lack what others have acknowledged. What is asked of reads and of the end
//! is in [`crate::merging_counter`]. Only checked when it is named: a counter in one place promises more.

use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, Shape, merging_counter};

/// The property.
pub(super) struct GCounter;

impl Property for GCounter {
    fn name(&self) -> &'static str {
        "g-counter"
    }

    fn summary(&self) -> &'static str {
        "every read is a sum of increments that were tried, no replica goes back, and in the end all acknowledged ones are there"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Counter)
    }

    fn only_when_named(&self) -> bool {
        true
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        merging_counter::check(history, true, budget)
    }
}
