//! `unique-ids`: no id is handed out twice.
//!
//! As Jepsen defines it: every acknowledged `generate` returns another value. Requests whose outcome is unknown returned nothing that
//! a client could use, so they prove nothing.

use crate::findings::{Advice, Findings, anomaly};
use crate::intern::Interner;
use crate::stream::{Fold, Ids};
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, words};

/// The property.
pub(super) struct UniqueIds;

pub(crate) const ADVICE: Advice = Advice {
    cause: "A new leader went on from an id counter that lacked what the old one had given out.",
    mend: "Let the id counter go through the same quorum as every write (ack=majority with failover=consensus), or give \
                    each leader ids of its own (its term in the high bits, ULIDs, ranges handed out by consensus).",
};

impl Property for UniqueIds {
    fn name(&self) -> &'static str {
        "unique-ids"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "no server-assigned id is handed out twice"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.ops.iter().any(|op| op.f() == "generate")
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let mut ids = Interner::new();
        let mut first = Vec::new();
        for (done, op) in history.ops.iter().enumerate() {
            if findings.out_of_time_after(budget, (done, history.ops.len()), || {
                "operations".to_owned()
            }) {
                break;
            }
            if op.f() != "generate" || !op.is_ok() {
                continue;
            }
            let Some(id) = op.result().filter(|id| !id.is_null()) else {
                findings.doubt(|| format!("{} was acknowledged without an id", words::noun(op)));
                continue;
            };
            findings.checked(1);
            let number = ids.intern(id) as usize;
            first.resize(ids.len(), None);
            let Some(earlier) = first[number] else {
                first[number] = Some(op);
                continue;
            };
            findings.violate(|| {
                let message = format!(
                    "Id {id} was handed out twice: by {} to {} ({}), and by {} to {} ({}).",
                    words::answerer(earlier),
                    earlier.process(),
                    words::when(earlier),
                    words::answerer(op),
                    op.process(),
                    words::when(op),
                );
                anomaly(
                    "duplicate-id",
                    vec![earlier.index(), op.index()],
                    message,
                    &ADVICE,
                )
                .with("value", id.clone())
            });
        }
        findings.result()
    }

    fn stream<'s>(&self, _: &'s Prepared<'_>) -> Option<Box<dyn Fold<'s> + 's>> {
        Some(Box::new(Ids::new()))
    }
}
