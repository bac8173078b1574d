//! Whether what sessions saw of a register, one thing after another, fits any order of its versions.
//!
//! Session guarantees (Terry et al. 1994; Viotti and Vukolic 2016) speak of an order of versions that no client sees. Where one
//! session alone wrote the key, its own order is it. Else, with unique values, each pair that a session saw in turn says "this one is not
//! newer than that one", and the pairs contradict each other iff a strongly connected component of them holds more than one value: then a
//! shortest cycle is the proof. Real time is no order here (where the last write wins by a clock it is the wrong one), and
//! neither is what the server says of its versions.

use crate::findings::{Findings, anomaly};
use crate::intern::{ABSENT, Val};
use crate::register::{Register, RegisterOp};
use crate::verdict::Anomaly;
use crate::{Keyed, Prepared, Shape, words};
use std::collections::{BTreeMap, VecDeque};

/// Two operations of one session: the value of the first must not be newer than that of the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) from: Val,
    pub(crate) to: Val,
    pub(crate) first: RegisterOp,
    pub(crate) second: RegisterOp,
}

/// A session guarantee on registers.
pub(crate) struct Guarantee {
    /// What a violation is called.
    pub(crate) name: &'static str,
    pub(crate) mend: &'static str,
    /// The pairs of one session's operations on one key, given in order.
    pub(crate) pairs: fn(&[RegisterOp]) -> Vec<Pair>,
}

impl Guarantee {
    /// Checks every register of the history.
    pub(crate) fn check(&self, history: &Prepared<'_>, findings: &mut Findings) {
        for keyed in history.keys_of(Shape::Register) {
            let register = Register::new(history, keyed);
            if let Some(why) = &register.strange {
                findings.doubt(|| why.clone());
            }
            let pairs = self.all_pairs(history, &register);
            findings.checked(pairs.len());
            let writers = register.writers();
            let touched = pairs.iter().flat_map(|p| [p.from, p.to]);
            if let Some(value) = touched
                .clone()
                .find(|v| writers[*v as usize] > u32::from(*v != ABSENT))
            {
                findings.doubt(|| {
                    let value = words::value(register.values.value(value));
                    format!("{} was written with {value} more than once, so nobody knows which version a read saw", words::key(keyed.key))
                });
            } else if let Some(ranks) = ranks(history, &register) {
                pairs
                    .iter()
                    .filter(|p| ranks[p.to as usize] < ranks[p.from as usize])
                    .for_each(|pair| {
                        findings.violate(|| self.backwards(history, keyed, &register, pair));
                    });
            } else {
                for cycle in cycles(&pairs) {
                    findings.violate(|| self.contradiction(history, keyed, &register, &cycle));
                }
            }
        }
    }

    fn all_pairs(&self, history: &Prepared<'_>, register: &Register<'_>) -> Vec<Pair> {
        let mut sessions: BTreeMap<u64, Vec<RegisterOp>> = BTreeMap::new();
        for op in &register.ops {
            if let Some(session) = history.op(op).session() {
                sessions.entry(session).or_default().push(*op);
            }
        }
        let in_turn = |p: &Pair| p.first.end < p.second.start && p.from != p.to;
        sessions
            .values()
            .flat_map(|ops| (self.pairs)(ops))
            .filter(in_turn)
            .collect()
    }

    fn backwards(
        &self,
        history: &Prepared<'_>,
        keyed: &Keyed<'_>,
        register: &Register<'_>,
        pair: &Pair,
    ) -> Anomaly {
        let noun = |op: &RegisterOp| words::noun(history.op(op));
        let value = |v: Val| words::value(register.values.value(v));
        let message = format!(
            "{} of {} came after {}, and yet {} was written before {} by the only session that writes it.",
            noun(&pair.second),
            words::key(keyed.key),
            noun(&pair.first),
            value(pair.to),
            value(pair.from),
        );
        let mut places = vec![pair.first.place, pair.second.place];
        places.extend(writes_of(register, &[pair.from, pair.to]));
        self.anomaly(history, keyed, places, message)
    }

    fn contradiction(
        &self,
        history: &Prepared<'_>,
        keyed: &Keyed<'_>,
        register: &Register<'_>,
        cycle: &[Step],
    ) -> Anomaly {
        let noun = |op: &RegisterOp| words::noun(history.op(op));
        let value = |v: Val| words::value(register.values.value(v));
        let why: Vec<String> = cycle
            .iter()
            .map(|step| match step {
                Step::Seen(p) => format!(
                    "{} is not newer than {}, because {} came before {}",
                    value(p.from),
                    value(p.to),
                    noun(&p.first),
                    noun(&p.second)
                ),
                Step::Initial(v) => {
                    format!("{} is newer than nothing, the initial state", value(*v))
                }
            })
            .collect();
        let key = words::key(keyed.key);
        let message = format!(
            "No order of the versions of {key} fits what sessions saw: {}: a contradiction.",
            why.join("; ")
        );
        let pairs = cycle.iter().filter_map(|step| match step {
            Step::Seen(pair) => Some(pair),
            Step::Initial(_) => None,
        });
        let mut places: Vec<u32> = pairs
            .clone()
            .flat_map(|p| [p.first.place, p.second.place])
            .collect();
        let values: Vec<Val> = pairs.flat_map(|p| [p.from, p.to]).collect();
        places.extend(writes_of(register, &values));
        self.anomaly(history, keyed, places, message)
    }

    fn anomaly(
        &self,
        history: &Prepared<'_>,
        keyed: &Keyed<'_>,
        mut places: Vec<u32>,
        message: String,
    ) -> Anomaly {
        places.sort_unstable();
        places.dedup();
        let operations = places
            .into_iter()
            .map(|place| history.ops[place as usize].index())
            .collect();
        anomaly(self.name, operations, message, self.mend).with("key", words::key(keyed.key))
    }
}

fn writes_of<'a>(register: &'a Register<'_>, values: &'a [Val]) -> impl Iterator<Item = u32> + 'a {
    let writes = register
        .ops
        .iter()
        .filter(|op| op.action.writes().is_some_and(|v| values.contains(&v)));
    writes.map(|op| op.place)
}

/// The place of each value in the order of its only writer; the initial state comes first. None where several sessions write.
fn ranks(history: &Prepared<'_>, register: &Register<'_>) -> Option<Vec<u64>> {
    let mut ranks = vec![0; register.values.len()];
    let mut writer = None;
    let mut last_end = None;
    for (rank, op) in (1..).zip(
        register
            .ops
            .iter()
            .filter(|op| op.action.writes().is_some()),
    ) {
        let session = history.op(op).session();
        if session.is_none()
            || *writer.get_or_insert(session) != session
            || last_end.is_some_and(|end| end >= op.start)
        {
            return None;
        }
        last_end = Some(op.end);
        ranks[op.action.writes()? as usize] = rank;
    }
    // A value that nobody wrote has no place in the order.
    let read = register.ops.iter().filter_map(|op| op.action.needs());
    read.into_iter()
        .all(|v| v == ABSENT || ranks[v as usize] > 0)
        .then_some(ranks)
}

/// One reason in a contradiction.
enum Step {
    Seen(Pair),
    /// The initial state is older than this value.
    Initial(Val),
}

/// A shortest cycle of each strongly connected component that holds more than one value.
fn cycles(pairs: &[Pair]) -> Vec<Vec<Step>> {
    let mut edges: BTreeMap<Val, BTreeMap<Val, Option<Pair>>> = BTreeMap::new();
    for pair in pairs {
        edges
            .entry(pair.from)
            .or_default()
            .entry(pair.to)
            .or_insert(Some(*pair));
        for value in [pair.from, pair.to].into_iter().filter(|v| *v != ABSENT) {
            edges
                .entry(ABSENT)
                .or_default()
                .entry(value)
                .or_insert(None);
        }
    }
    components(&edges)
        .iter()
        .filter(|c| c.len() > 1)
        .map(|c| shortest(&edges, c))
        .collect()
}

type Edges = BTreeMap<Val, BTreeMap<Val, Option<Pair>>>;

/// Tarjan 1972, without recursion: a history can be one long path.
fn components(edges: &Edges) -> Vec<Vec<Val>> {
    let size = edges
        .iter()
        .flat_map(|(from, to)| to.keys().chain([from]))
        .max()
        .map_or(0, |v| *v as usize + 1);
    let (mut index, mut low) = (vec![u32::MAX; size], vec![u32::MAX; size]);
    let mut on_stack = vec![false; size];
    let (mut stack, mut found, mut next) = (Vec::new(), Vec::new(), 0);
    let successors = |v: Val| {
        edges
            .get(&v)
            .map(|to| to.keys().copied().collect())
            .unwrap_or_default()
    };
    for &root in edges.keys() {
        if index[root as usize] != u32::MAX {
            continue;
        }
        let mut work: Vec<(Val, Vec<Val>, usize)> = vec![(root, successors(root), 0)];
        while let Some((v, out, at)) = work.last_mut() {
            let v = *v;
            if *at == 0 {
                (index[v as usize], low[v as usize]) = (next, next);
                next += 1;
                stack.push(v);
                on_stack[v as usize] = true;
            }
            if let Some(&w) = out.get(*at) {
                *at += 1;
                if index[w as usize] == u32::MAX {
                    work.push((w, successors(w), 0));
                } else if on_stack[w as usize] {
                    low[v as usize] = low[v as usize].min(index[w as usize]);
                }
                continue;
            }
            work.pop();
            if let Some((parent, ..)) = work.last() {
                low[*parent as usize] = low[*parent as usize].min(low[v as usize]);
            }
            if low[v as usize] == index[v as usize] {
                let from = stack
                    .iter()
                    .rposition(|w| *w == v)
                    .expect("a root is on the stack");
                let component = stack.split_off(from);
                for w in &component {
                    on_stack[*w as usize] = false;
                }
                found.push(component);
            }
        }
    }
    found
}

/// The shortest cycle through the component's smallest value that has one of the fewest steps.
fn shortest(edges: &Edges, component: &[Val]) -> Vec<Step> {
    let mut best: Option<Vec<(Val, Val)>> = None;
    // Each start costs a search of the whole component: a few are enough to find a short one.
    for &start in component.iter().take(64) {
        let cycle = breadth_first(edges, component, start);
        if cycle
            .as_ref()
            .is_some_and(|c| best.as_ref().is_none_or(|b| c.len() < b.len()))
        {
            best = cycle;
        }
    }
    let steps = best.unwrap_or_default().into_iter();
    steps
        .map(|(from, to)| edges[&from][&to].map_or(Step::Initial(to), Step::Seen))
        .collect()
}

fn breadth_first(edges: &Edges, component: &[Val], start: Val) -> Option<Vec<(Val, Val)>> {
    let inside: std::collections::BTreeSet<Val> = component.iter().copied().collect();
    let mut before: BTreeMap<Val, Val> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(v) = queue.pop_front() {
        for &w in edges
            .get(&v)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .filter(|w| inside.contains(w))
        {
            if w == start {
                let mut path = vec![(v, w)];
                let mut at = v;
                while at != start {
                    path.push((before[&at], at));
                    at = before[&at];
                }
                path.reverse();
                return Some(path);
            }
            if let std::collections::btree_map::Entry::Vacant(slot) = before.entry(w) {
                slot.insert(v);
                queue.push_back(w);
            }
        }
    }
    None
}
