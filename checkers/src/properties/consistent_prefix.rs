//! `consistent-prefix`: there is one order of the writes, and every transaction reads the state after some prefix of it.
//!
//! Terry 2013 (consistent prefix: the order is the one in which writes were submitted), Cerone et al. 2015 (prefix consistency), for transactions: how
//! old the prefix is does not matter, only that it has no gaps. Each transaction is two events, its reads and, later, its writes, each at one moment. A
//! write that was acknowledged before another was invoked comes first, whoever made them; reads keep no such order. Reads come after the writes that
//! they saw, and before the next ones of those keys. Versions of a list stand in the order in which reads show it (reads of a list must be prefixes of
//! one another); those of a register in the order of time. A transaction that reads its own appends says what it read before them. Writes of unknown outcome
//! count only if they were seen, and may come at any time after their invocation.
//!
//! If what is sure has a cycle, no order fits ([`crate::prefix::graph`], linear in what was read and written). Anomalies that need no more than the order of
//! sessions have a name of their own: those with `-realtime` in it a database may have that promises to be serializable, and not strictly so. Where writes of one
//! register overlap, and there is no cycle, an order is searched for ([`crate::prefix::search`], under the budget). `unknown` is what was written more
//! than once, or by nobody.
//!
//! Operations on one key at a time are not what this is about: each single read is the state after some prefix, and that reads of a session do not go back
//! is promised by others (`monotonic-reads`, `sequential`, `causal`). So plain registers do not fit. Questions and answers do, for an answer names its
//! question: [`crate::questions`].

use crate::cycles::{Step, cycles};
use crate::findings::{Findings, anomaly};
use crate::intern::Val;
use crate::prefix::graph::{Edge, Graph, Order};
use crate::prefix::search::{Found, search};
use crate::prefix::{ADVICE, Keys, core};
use crate::transactions::Transactions;
use crate::verdict::{Anomaly, PropertyResult};
use crate::{Budget, Prepared, Property, Shape, questions, words};
use schism_history::Op;
use std::collections::BTreeSet;

/// The property.
pub(super) struct ConsistentPrefix;

impl Property for ConsistentPrefix {
    fn name(&self) -> &'static str {
        "consistent-prefix"
    }

    fn holds_of_beginnings(&self) -> bool {
        true
    }

    fn summary(&self) -> &'static str {
        "every transaction reads the state after some prefix of one order of the writes; no answer is seen before its question"
    }

    fn fits(&self, history: &Prepared<'_>) -> bool {
        history.has(Shape::Questions) || history.has(Shape::Transactions)
    }

    /// Registers that were given a value more than once leave it open what a read saw.
    fn fits_unasked(&self, history: &Prepared<'_>) -> bool {
        if history.has(Shape::Questions) {
            return true;
        }
        let txns = Transactions::new(history, &Budget::unlimited());
        let keys = Keys::new(&txns);
        keys.all.iter().any(|key| key.is_list) || keys.all.iter().all(|key| !key.repeated)
    }

    fn check(&self, history: &Prepared<'_>, budget: &Budget<'_>) -> PropertyResult {
        let mut findings = Findings::new();
        if history.has(Shape::Questions) {
            questions::check(history, &mut findings, budget);
        }
        if history.has(Shape::Transactions) {
            transactions(history, &mut findings, budget);
        }
        findings.result()
    }
}

fn transactions(history: &Prepared<'_>, findings: &mut Findings, budget: &Budget<'_>) {
    let txns = Transactions::new(history, budget);
    if let Some(why) = &txns.strange {
        findings.doubt(|| why.clone());
    }
    findings.checked(txns.all.iter().filter(|txn| !txn.reads.is_empty()).count());
    let mut keys = Keys::new(&txns);
    keys.observe(&txns, budget);
    if findings.out_of_time(budget, || "before all transactions were read".to_owned()) {
        return;
    }
    // Each edge stands for itself: a cycle of some of them is one.
    let graph = Graph::new(&txns, &keys, Order::Sessions, findings, budget);
    let contradicts = |graph: &Graph, name: &str, findings: &mut Findings| {
        for cycle in cycles(&graph.edges, budget) {
            findings.violate(|| said(&txns, graph, &cycle, name));
        }
        findings.out_of_time(budget, || {
            "in the search for contradictions between what transactions saw".to_owned()
        });
        findings.anomalies() > 0
    };
    if contradicts(&graph, ANY_ORDER, findings) {
        return;
    }
    // What it doubts was doubted above.
    let in_time = Graph::new(&txns, &keys, Order::RealTime, &mut Findings::new(), budget);
    if contradicts(&in_time, REAL_TIME, findings) || !in_time.is_open {
        return;
    }
    if findings.out_of_time(budget, || "before an order was searched for".to_owned()) {
        return;
    }
    match search(&txns, &keys, &in_time, Order::RealTime, budget) {
        Found::Order => {}
        Found::Nothing => {
            let ops: Vec<&Op<'_>> = txns.all.iter().map(|txn| txn.op).collect();
            findings.violate(|| no_order(&core::minimal(&ops, budget), budget));
        }
        Found::OutOf(what, done, next) => findings.doubt(|| {
            let at = next.map(|txn| format!(", before {}", txns.noun(txn)));
            format!(
                "writes of one register overlapped, so their order had to be searched for; it ran out of {what} after {} were put in order{}",
                words::plural(done, "write and read"),
                at.unwrap_or_default()
            )
        }),
    }
}

/// No order fits, whatever it is.
const ANY_ORDER: &str = "no-prefix";
/// None fits in which writes come in the order of time.
const REAL_TIME: &str = "no-prefix-realtime";

/// What to think of the second.
const NOT_STRICT: &str =
    "a database that orders writes otherwise than they were acknowledged has other orders";

/// A contradiction that is no cycle: all orders were tried.
fn no_order(ops: &[&Op<'_>], budget: &Budget<'_>) -> Anomaly {
    const SAID: usize = 8;
    let any = core::contradict(ops, Order::Sessions, budget);
    let (name, by) = if any {
        (ANY_ORDER, "No order of the writes has".to_owned())
    } else {
        (
            REAL_TIME,
            format!(
                "No order of the writes in which those that were acknowledged come before those invoked later ({NOT_STRICT}) has"
            ),
        )
    };
    let nouns = ops.iter().take(SAID).map(|op| words::noun(op));
    let more = ops.len().saturating_sub(SAID);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let message = format!(
        "{by} a prefix for every read of these: {}{more}; each order in which the writes that overlapped may have come was tried.",
        words::list(&nouns.collect::<Vec<_>>())
    );
    let operations = ops.iter().map(|op| op.index()).collect();
    anomaly(name, operations, message, &ADVICE)
}

fn said(txns: &Transactions<'_>, graph: &Graph, cycle: &[Step<Edge>], name: &str) -> Anomaly {
    let mut operations: BTreeSet<usize> = BTreeSet::new();
    let mut why = Vec::new();
    // A way over helping nodes begins with the event that leads there.
    let at = cycle
        .iter()
        .position(|(from, ..)| *from < 2 * graph.transactions);
    let turned = cycle.iter().cycle().skip(at.unwrap_or(0)).take(cycle.len());
    let mut held: Option<(usize, Val)> = None;
    let mut acknowledged = None;
    for (from, to, edge) in turned {
        let nodes = [*from, *to]
            .into_iter()
            .filter(|node| *node < 2 * graph.transactions);
        operations.extend(nodes.map(|node| node / 2));
        let txn = |node: usize| txns.noun(node / 2);
        let missed = |reader: usize, key: Val, writer: usize| {
            format!(
                "{} did not see what {} wrote to {}",
                txn(reader),
                txn(writer),
                txns.key(key)
            )
        };
        match edge {
            Edge::Saw(key) => why.push(format!(
                "{} saw what {} wrote to {}",
                txn(*to),
                txn(*from),
                txns.key(*key)
            )),
            Edge::Missed(key, witness) => {
                operations.extend(witness);
                why.push(missed(*from, *key, *to));
            }
            Edge::To(key, witness) => {
                operations.extend(witness);
                held = Some((*from, *key));
            }
            Edge::From => why.extend(held.map(|(reader, key)| missed(reader, key, *to))),
            Edge::Session => why.push(format!(
                "{} came before {} in one session",
                txn(*from),
                txn(*to)
            )),
            Edge::Listed(key, witness) => {
                operations.insert(*witness);
                why.push(format!(
                    "{} shows {} before {} in {}",
                    txns.noun(*witness),
                    txn(*from),
                    txn(*to),
                    txns.key(*key)
                ));
            }
            Edge::Acknowledged => acknowledged = Some(*from),
            Edge::Invoked => why.extend(acknowledged.map(|write| {
                format!(
                    "{} was acknowledged before {} was invoked",
                    txn(write),
                    txn(*to)
                )
            })),
            Edge::Own | Edge::Pass => {}
        }
    }
    let order = if name == REAL_TIME {
        format!("the order of time ({NOT_STRICT})")
    } else {
        "any order of the writes".to_owned()
    };
    let message = format!(
        "No prefix of {order} fits every read: {}: a contradiction.",
        why.join("; ")
    );
    let operations = operations.into_iter().map(|txn| txns.all[txn].op.index());
    anomaly(name, operations.collect(), message, &ADVICE)
}
