//! `split-brain`: two leaders acknowledge at once.
//!
//! Read off the acknowledgements alone: each says who gave it and in which term. Two nodes in one term contradict each other at once. Across
//! terms, an overlap in time is normal (in Raft the old leader may answer what it had committed before); what is not is an
//! acknowledgement in a lower term of a write that was *invoked after* another node had acknowledged in a higher one: by then the lower
//! term was over, and its leader did not know it (Ongaro and Ousterhout 2014, section 5.4.3, forbids it by the quorum).

use crate::findings::{Advice, Findings, anomaly};
use crate::verdict::PropertyResult;
use crate::{Budget, Prepared, Property, words};
use schism_history::{NodeId, Op, Time};
use std::collections::BTreeMap;

/// The property.
pub(super) struct SplitBrain;

const ADVICE: Advice = Advice {
    cause: "A second leader was elected while the first was cut off, and neither voted by majority nor was the old one fenced.",
    mend: "Let a leader acknowledge only what a majority has taken in its own term (ack=majority with failover=consensus): \
                    a deposed leader cannot reach a majority, and steps down when it meets the higher term.",
};

impl Property for SplitBrain {
    fn name(&self) -> &'static str {
        "split-brain"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "no two nodes acknowledge writes in one term, and none in a lower term after another in a higher one"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        acknowledgements(history).next().is_some()
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        let mut acks: Vec<Ack<'_>> = budget.lasting(acknowledgements(history)).collect();
        if findings.out_of_time(budget, || {
            "before the acknowledgements were sorted".to_owned()
        }) {
            return findings.result();
        }
        findings.checked(acks.len());
        acks.sort_by_cached_key(|ack| (ack.op.end(), ack.op.index()));
        one_node_a_term(&acks, &mut findings, budget);
        no_way_back(&acks, &mut findings, budget);
        findings.result()
    }
}

/// What only a leader acknowledges. Not `txn`, which may have been but a read.
const CHANGES: [&str; 10] = [
    "write", "cas", "add", "generate", "enqueue", "dequeue", "drain", "transfer", "ask", "answer",
];

#[derive(Clone, Copy)]
struct Ack<'p> {
    op: &'p Op<'p>,
    node: &'p NodeId,
    term: u64,
}

/// Acknowledged changes that say who acknowledged them, and in which term.
fn acknowledgements<'p>(history: &'p Prepared<'_>) -> impl Iterator<Item = Ack<'p>> {
    let changes = |f: &str| CHANGES.contains(&f);
    let writes = history
        .ops
        .iter()
        .filter(move |op| op.is_ok() && changes(op.f()));
    writes.filter_map(|op| {
        Some(Ack {
            op,
            node: words::node(op)?,
            term: words::term(op)?,
        })
    })
}

/// One anomaly a term and rival: the first acknowledgement of each.
fn one_node_a_term(acks: &[Ack<'_>], findings: &mut Findings, budget: &Budget<'_>) {
    let mut firsts: BTreeMap<u64, BTreeMap<&NodeId, Ack<'_>>> = BTreeMap::new();
    for (done, ack) in acks.iter().enumerate() {
        if findings.out_of_time_after(budget, (done, acks.len()), || "acknowledgements".to_owned())
        {
            break;
        }
        firsts
            .entry(ack.term)
            .or_default()
            .entry(ack.node)
            .or_insert(*ack);
    }
    for (term, nodes) in firsts {
        let mut nodes: Vec<Ack<'_>> = nodes.into_values().collect();
        nodes.sort_by_key(|ack| ack.op.end());
        let Some((first, rivals)) = nodes.split_first() else {
            continue;
        };
        for rival in rivals {
            findings.violate(|| {
                let message = format!(
                    "Two nodes acknowledged writes in term {term}: {} acknowledged {}, and {} acknowledged {}.",
                    first.node,
                    words::noun(first.op),
                    rival.node,
                    words::noun(rival.op),
                );
                anomaly("two-leaders-in-a-term", vec![first.op.index(), rival.op.index()], message, &ADVICE)
                    .with("term", term)
            });
        }
    }
}

/// The highest term that was acknowledged so far, and the highest by any other node than that one.
#[derive(Default)]
struct Highest<'p> {
    first: Option<Ack<'p>>,
    other: Option<Ack<'p>>,
}

impl<'p> Highest<'p> {
    fn add(&mut self, ack: Ack<'p>) {
        match self.first {
            Some(first) if first.node == ack.node && ack.term <= first.term => {}
            Some(first) if ack.term > first.term => {
                if first.node != ack.node {
                    self.other = Some(first);
                }
                self.first = Some(ack);
            }
            Some(_) if self.other.is_none_or(|other| ack.term > other.term) => {
                self.other = Some(ack);
            }
            Some(_) => {}
            None => self.first = Some(ack),
        }
    }

    fn by_another(&self, node: &NodeId) -> Option<Ack<'p>> {
        self.first
            .filter(|first| first.node != node)
            .or(self.other.filter(|other| other.node != node))
    }
}

/// A sweep over invocations and acknowledgements in order of time.
fn no_way_back(acks: &[Ack<'_>], findings: &mut Findings, budget: &Budget<'_>) {
    let mut by_start: Vec<&Ack<'_>> = acks.iter().collect();
    by_start.sort_by_key(|ack| (ack.op.start(), ack.op.index()));
    let mut ended = acks.iter().peekable();
    let mut highest = Highest::default();
    for (done, ack) in by_start.into_iter().enumerate() {
        if findings.out_of_time_after(budget, (done, acks.len()), || "acknowledgements".to_owned())
        {
            break;
        }
        let before = |time: Time| time < ack.op.start();
        while let Some(earlier) = ended.next_if(|earlier| before(earlier.op.end())) {
            highest.add(*earlier);
        }
        let Some(newer) = highest
            .by_another(ack.node)
            .filter(|newer| newer.term > ack.term)
        else {
            continue;
        };
        findings.violate(|| {
            let message = format!(
                "{} went on acknowledging in term {}: {} began after {} had acknowledged {} in the higher term {}.",
                ack.node,
                ack.term,
                words::noun(ack.op),
                newer.node,
                words::noun(newer.op),
                newer.term,
            );
            anomaly("deposed-leader-acknowledges", vec![newer.op.index(), ack.op.index()], message, &ADVICE)
                .with("term", ack.term)
                .with("higher_term", newer.term)
        });
    }
}
