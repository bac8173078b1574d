//! `stats` and `meaningful`: counts.

use super::{Finish, Fold};
use crate::Prepared;
use crate::properties::stats::Tally;
use crate::verdict::PropertyResult;
use schism_history::Op;

/// Counts, and what they say in the end.
pub(crate) struct Counted<'p, 's> {
    survey: &'s Prepared<'p>,
    tally: Tally,
    judge: fn(&Prepared<'_>, &Tally) -> PropertyResult,
}

impl<'p, 's> Counted<'p, 's> {
    pub(crate) fn new(
        survey: &'s Prepared<'p>,
        judge: fn(&Prepared<'_>, &Tally) -> PropertyResult,
    ) -> Self {
        Self {
            survey,
            tally: Tally::default(),
            judge,
        }
    }
}

impl<'s> Fold<'s> for Counted<'_, 's> {
    fn ended(&mut self, op: &Op<'_>) {
        self.tally.add(self.survey, op);
    }

    fn finish(self: Box<Self>) -> Finish<'s> {
        Finish::decided((self.judge)(self.survey, &self.tally))
    }
}
