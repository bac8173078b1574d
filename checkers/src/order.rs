//! Whether what sessions saw of a register, one thing after another, fits any order of its versions.
//!
//! Session guarantees (Terry et al. 1994; Viotti and Vukolic 2016) speak of an order of versions that no client sees. Each operation of a
//! session that ended before another one of it began says "this version is not newer than that one"; so does the order of the writes where one
//! session alone wrote the key; and the initial state comes first. These contradict each other iff a strongly connected component of
//! them holds more than one value (values being unique): then a shortest cycle is the proof. Real time is no order here (where the
//! last write wins by a clock it is the wrong one), and neither is what the server says of its versions. Where values repeat, nobody knows which
//! version a read saw: then a register that is linearizable keeps every guarantee, and else nothing is known.
//!
//! "Everything before this" would be quadratic as edges: each session's versions run along a chain of helping nodes ([`Graph::chain`]), which
//! stand for "the newest so far".

use crate::cycles::components;
use crate::findings::{Advice, Findings, anomaly};
use crate::intern::{ABSENT, Val};
use crate::linearize::{Linearization, linearize};
use crate::register::{Action, Register, RegisterOp};
use crate::verdict::Anomaly;
use crate::{Budget, Keyed, Prepared, Shape, words};
use schism_history::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A session guarantee on registers: which of a session's later versions must not be older than which earlier ones.
pub(crate) struct Guarantee {
    /// What a violation is called.
    pub(crate) name: &'static str,
    pub(crate) advice: &'static Advice,
    /// The version that an operation binds its session's later ones to.
    pub(crate) binds: fn(&RegisterOp) -> Option<Val>,
    /// The version of an operation that is bound.
    pub(crate) bound: fn(&RegisterOp) -> Option<Val>,
}

/// The version that an answered read returned.
pub(crate) fn read(op: &RegisterOp) -> Option<Val> {
    match op.action {
        Action::Read(value) => Some(value),
        _ => None,
    }
}

/// The version that an acknowledged write put there.
pub(crate) fn acknowledged(op: &RegisterOp) -> Option<Val> {
    op.action.writes().filter(|_| op.certain())
}

/// The version that a write put there, if it took effect.
pub(crate) fn written(op: &RegisterOp) -> Option<Val> {
    op.action.writes()
}

/// What a session must not go back behind, and what of it must not.
#[derive(Default)]
struct Session {
    /// Versions with their operations, ordered by end.
    earlier: Vec<(Val, RegisterOp)>,
    later: Vec<(Val, RegisterOp)>,
}

impl Guarantee {
    /// Checks every register of the history.
    pub(crate) fn check(
        &self,
        history: &Prepared<'_>,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) {
        for (done, keyed) in history.keys_of(Shape::Register).enumerate() {
            if findings.out_of_time_at(budget, done, keyed) {
                return;
            }
            let register = Register::new(history, keyed, budget);
            if let Some(why) = &register.strange {
                findings.doubt(|| why.clone());
            }
            self.check_key(history, keyed, &register, findings, budget);
        }
    }

    fn check_key(
        &self,
        history: &Prepared<'_>,
        keyed: &Keyed<'_>,
        register: &Register<'_>,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) {
        let sessions = self.sessions(history, register, budget);
        if findings.out_of_time(budget, || before_search(keyed)) {
            return;
        }
        findings.checked(sessions.iter().map(|s| s.later.len()).sum());
        if let Some(value) = ambiguous(register, &sessions) {
            if is_linearizable(register, budget) {
                return;
            }
            if findings.out_of_time(budget, || in_search(keyed)) {
                return;
            }
            findings.doubt(|| {
                let (key, value) = (words::key(keyed.key), words::value(register.values.value(value)));
                format!("{key} was written with {value} more than once, so nobody knows which version a read saw")
            });
            return;
        }
        if findings.out_of_time(budget, || before_search(keyed)) {
            return;
        }
        if let Some(ranks) = ranks(history, register, &sessions) {
            for (earlier, later) in sessions.iter().flat_map(|s| backwards(s, &ranks)) {
                findings.violate(|| self.went_back(history, keyed, register, &earlier, &later));
            }
            return;
        }
        if findings.out_of_time(budget, || before_search(keyed)) {
            return;
        }
        let mut writes = only_writer(history, register).unwrap_or_default();
        // A value that its writer wrote twice is no one version, also where nobody read it.
        let writers = register.writers();
        writes.retain(|(v, _)| *v != ABSENT && writers[*v as usize] == 1);
        for cycle in graph(register, &sessions, &writes, budget).cycles(budget) {
            findings.violate(|| self.contradiction(history, keyed, register, &cycle));
        }
        findings.out_of_time(budget, || in_search(keyed));
    }

    /// Doubts where an order fits what sessions read in turn (`reads`), and none fits that and this guarantee. One of both is violated, and
    /// nobody can tell which: a session that went back may have asked a replica that lags.
    pub(crate) fn beside(
        &self,
        reads: &Self,
        history: &Prepared<'_>,
        findings: &mut Findings,
        budget: &Budget<'_>,
    ) {
        for keyed in history.keys_of(Shape::Register) {
            if findings.out_of_time(budget, || in_search(keyed)) {
                return;
            }
            let register = Register::new(history, keyed, budget);
            let mut sessions = reads.sessions(history, &register, budget);
            if findings.out_of_time(budget, || in_search(keyed)) {
                return;
            }
            if ambiguous(&register, &sessions).is_some()
                || !graph(&register, &sessions, &[], budget)
                    .cycles(budget)
                    .is_empty()
            {
                continue;
            }
            sessions.extend(self.sessions(history, &register, budget));
            if ambiguous(&register, &sessions).is_some() {
                continue;
            }
            // The first search may have been cut off, and then its answer is none.
            if findings.out_of_time(budget, || in_search(keyed)) {
                return;
            }
            for cycle in graph(&register, &sessions, &[], budget).cycles(budget) {
                let why = || no_order(history, keyed, &register, &cycle);
                findings.doubt(|| format!("{}: either writes took effect in another order than this, or a session read an older version than before", why()));
            }
            if findings.out_of_time(budget, || in_search(keyed)) {
                return;
            }
        }
    }

    /// Not all of them where the time is up.
    fn sessions(
        &self,
        history: &Prepared<'_>,
        register: &Register<'_>,
        budget: &Budget<'_>,
    ) -> Vec<Session> {
        let mut sessions: BTreeMap<u64, Session> = BTreeMap::new();
        for op in budget.lasting(&register.ops) {
            let Some(session) = history.op(op).session() else {
                continue;
            };
            let session = sessions.entry(session).or_default();
            session.earlier.extend((self.binds)(op).map(|v| (v, *op)));
            session.later.extend((self.bound)(op).map(|v| (v, *op)));
        }
        let mut sessions: Vec<Session> = sessions.into_values().collect();
        for session in &mut sessions {
            session.earlier.sort_by_key(|(_, op)| (op.end, op.place));
        }
        sessions
    }

    fn went_back(
        &self,
        history: &Prepared<'_>,
        keyed: &Keyed<'_>,
        register: &Register<'_>,
        earlier: &(Val, RegisterOp),
        later: &(Val, RegisterOp),
    ) -> Anomaly {
        let value = |v: Val| words::value(register.values.value(v));
        let message = format!(
            "{} of {} came after {}, and yet {} was written before {} by the only session that writes it.",
            words::noun(history.op(&later.1)),
            words::key(keyed.key),
            words::noun(history.op(&earlier.1)),
            value(later.0),
            value(earlier.0),
        );
        let places = [earlier.1.place, later.1.place];
        self.anomaly(
            history,
            keyed,
            register,
            &places,
            &[earlier.0, later.0],
            message,
        )
    }

    fn contradiction(
        &self,
        history: &Prepared<'_>,
        keyed: &Keyed<'_>,
        register: &Register<'_>,
        cycle: &[Step],
    ) -> Anomaly {
        let (mut places, mut values) = (Vec::new(), Vec::new());
        for step in cycle {
            values.extend([step.from, step.to]);
            if let Why::Session(first, second) | Why::Writer(first, second) = &step.why {
                places.extend([first.place, second.place]);
            }
        }
        let message = format!(
            "{}: a contradiction.",
            no_order(history, keyed, register, cycle)
        );
        self.anomaly(history, keyed, register, &places, &values, message)
    }

    /// Names the operations, and those that wrote the values.
    fn anomaly(
        &self,
        history: &Prepared<'_>,
        keyed: &Keyed<'_>,
        register: &Register<'_>,
        places: &[u32],
        values: &[Val],
        message: String,
    ) -> Anomaly {
        let writes = register
            .ops
            .iter()
            .filter(|op| op.action.writes().is_some_and(|v| values.contains(&v)));
        let all: BTreeSet<u32> = writes
            .map(|op| op.place)
            .chain(places.iter().copied())
            .collect();
        let operations = all
            .into_iter()
            .map(|place| history.ops[place as usize].index())
            .collect();
        anomaly(self.name, operations, message, self.advice).with("key", words::key(keyed.key))
    }
}

fn before_search(keyed: &Keyed<'_>) -> String {
    let key = words::key(keyed.key);
    format!("before what sessions saw of {key} was compared")
}

fn in_search(keyed: &Keyed<'_>) -> String {
    let key = words::key(keyed.key);
    format!("in the search for contradictions between what sessions saw of {key}")
}

/// Why no order of the versions fits, reason by reason.
fn no_order(
    history: &Prepared<'_>,
    keyed: &Keyed<'_>,
    register: &Register<'_>,
    cycle: &[Step],
) -> String {
    let noun = |op: &RegisterOp| words::noun(history.op(op));
    let value = |v: Val| words::value(register.values.value(v));
    let reason = |step: &Step| {
        let (from, to) = (value(step.from), value(step.to));
        match &step.why {
            Why::Initial => format!("{to} is newer than nothing, the initial state"),
            Why::Session(first, second) => format!(
                "{from} is not newer than {to}, because {} came before {}",
                noun(first),
                noun(second)
            ),
            Why::Writer(first, second) => format!(
                "{from} is older than {to}, because one session alone writes: {} before {}",
                noun(first),
                noun(second)
            ),
        }
    };
    let why: Vec<String> = cycle.iter().map(reason).collect();
    let key = words::key(keyed.key);
    format!(
        "No order of the versions of {key} fits what sessions saw: {}",
        why.join("; ")
    )
}

/// A value that sessions saw or wrote and that more than one write may have put there.
fn ambiguous(register: &Register<'_>, sessions: &[Session]) -> Option<Val> {
    let writers = register.writers();
    let touched = sessions
        .iter()
        .flat_map(|s| s.earlier.iter().chain(&s.later))
        .map(|(v, _)| *v);
    touched
        .into_iter()
        .find(|v| writers[*v as usize] > u32::from(*v != ABSENT))
}

/// Whether an order of all operations in real time exists: then no session goes back in it, whichever write a read saw. That is for
/// `linearizable` to search as far as it may; here a share of its time and memory must do.
fn is_linearizable(register: &Register<'_>, budget: &Budget<'_>) -> bool {
    const LOOKS: usize = 64;
    const SHARE: u64 = 8;
    let looks = AtomicUsize::new(LOOKS + register.ops.len() / LOOKS);
    let one_less = |looks: usize| looks.checked_sub(1);
    let exhausted = || {
        let left = looks.fetch_update(Relaxed, Relaxed, one_less);
        left.is_err() || budget.is_exhausted()
    };
    let share = Budget {
        exhausted: &exhausted,
        memory_bytes: budget.memory_bytes / SHARE,
    };
    linearize(&register.ops, register.values.len(), &share) == Linearization::Exists
}

/// The writes, if one session alone made them.
fn only_writer<'r>(
    history: &Prepared<'_>,
    register: &'r Register<'_>,
) -> Option<Vec<(Val, &'r RegisterOp)>> {
    let writes: Vec<_> = register
        .ops
        .iter()
        .filter_map(|op| Some((op.action.writes()?, op)))
        .collect();
    let session = |(_, op): &(Val, &RegisterOp)| history.op(op).session();
    let first = session(writes.first()?)?;
    writes
        .iter()
        .all(|w| session(w) == Some(first))
        .then_some(writes)
}

/// The place of each value in the order of its only writer, the initial state first. None where that is no total order, or where sessions saw
/// values that it does not have.
fn ranks(
    history: &Prepared<'_>,
    register: &Register<'_>,
    sessions: &[Session],
) -> Option<Vec<u64>> {
    let writes = only_writer(history, register)?;
    if writes.windows(2).any(|w| w[0].1.end >= w[1].1.start) {
        return None;
    }
    let mut ranks = vec![0; register.values.len()];
    for (rank, (value, _)) in (1..).zip(&writes) {
        ranks[*value as usize] = rank;
    }
    let known = |(v, _): &(Val, RegisterOp)| *v == ABSENT || ranks[*v as usize] > 0;
    let all = sessions
        .iter()
        .all(|s| s.earlier.iter().chain(&s.later).all(known));
    all.then_some(ranks)
}

/// What is older than the newest version that bound it, with that one.
fn backwards(session: &Session, ranks: &[u64]) -> Vec<((Val, RegisterOp), (Val, RegisterOp))> {
    let mut newest: Vec<(Val, RegisterOp)> = Vec::with_capacity(session.earlier.len());
    for earlier in &session.earlier {
        let best = newest
            .last()
            .filter(|best| ranks[best.0 as usize] >= ranks[earlier.0 as usize]);
        newest.push(*best.unwrap_or(earlier));
    }
    let mut found = Vec::new();
    for later in &session.later {
        let before = ended_before(&session.earlier, later.1.start);
        let earlier = before.checked_sub(1).map(|last| newest[last]);
        found.extend(
            earlier
                .filter(|e| ranks[later.0 as usize] < ranks[e.0 as usize])
                .map(|e| (e, *later)),
        );
    }
    found
}

/// How many of these, ordered by end, ended before.
fn ended_before(earlier: &[(Val, RegisterOp)], start: Time) -> usize {
    earlier.partition_point(|(_, op)| op.end < start)
}

/// Why a version is not newer than another.
#[derive(Debug, Clone, Copy)]
enum Why {
    /// The initial state is older than everything.
    Initial,
    /// A session saw or wrote the one before it saw or wrote the other.
    Session(RegisterOp, RegisterOp),
    /// The only writer wrote the one before the other.
    Writer(RegisterOp, RegisterOp),
}

/// One reason in a contradiction.
#[derive(Debug, Clone, Copy)]
struct Step {
    from: Val,
    to: Val,
    why: Why,
}

/// What an edge of the graph stands for.
#[derive(Debug, Clone, Copy)]
enum Edge {
    Initial,
    /// A version onto its chain.
    On(RegisterOp),
    /// Along a chain.
    Along,
    /// From a chain to a version that must not be older; whether the chain is the only writer's.
    Off(RegisterOp, bool),
}

/// A node on a way, and whether another version than the first was met before it.
type State = (usize, bool);

/// Versions (below `values`) and the helping nodes of chains.
struct Graph {
    values: usize,
    edges: Vec<Vec<(usize, Edge)>>,
}

/// The graph of what sessions saw, and of the writes of a key's only writer; a part of it where the time is up.
fn graph(
    register: &Register<'_>,
    sessions: &[Session],
    only: &[(Val, &RegisterOp)],
    budget: &Budget<'_>,
) -> Graph {
    let values = register.values.len();
    let mut graph = Graph {
        values,
        edges: vec![Vec::new(); values],
    };
    for session in sessions {
        graph.chain(&session.earlier, &session.later, false, budget);
    }
    let writes: Vec<(Val, RegisterOp)> = only.iter().map(|(v, op)| (*v, **op)).collect();
    let mut certain: Vec<_> = writes
        .iter()
        .filter(|(_, op)| op.certain())
        .copied()
        .collect();
    certain.sort_by_key(|(_, op)| (op.end, op.place));
    graph.chain(&certain, &writes, true, budget);
    graph.edges[ABSENT as usize].extend((1..values).map(|v| (v, Edge::Initial)));
    graph
}

impl Graph {
    /// Each of `later` is not older than any of `earlier` (ordered by end) that ended before it began.
    fn chain(
        &mut self,
        earlier: &[(Val, RegisterOp)],
        later: &[(Val, RegisterOp)],
        writer: bool,
        budget: &Budget<'_>,
    ) {
        if budget.is_exhausted() {
            return;
        }
        let first = self.edges.len();
        for (i, (value, op)) in earlier.iter().enumerate() {
            self.edges[*value as usize].push((first + i, Edge::On(*op)));
            let along = (i + 1 < earlier.len()).then_some((first + i + 1, Edge::Along));
            self.edges.push(along.into_iter().collect());
        }
        for (value, op) in later {
            if let Some(last) = ended_before(earlier, op.start).checked_sub(1) {
                self.edges[first + last].push((*value as usize, Edge::Off(*op, writer)));
            }
        }
    }

    /// A shortest cycle of each strongly connected component that holds more than one version; when the time is up, no more of them.
    fn cycles(&self, budget: &Budget<'_>) -> Vec<Vec<Step>> {
        let versions = components(&self.edges, budget)
            .into_iter()
            .map(|mut component| {
                component.retain(|node| *node < self.values);
                component
            });
        versions
            .filter(|versions| versions.len() > 1)
            .map_while(|versions| self.shortest(&versions, budget))
            .collect()
    }

    /// The shortest cycle through one of the component's versions. Each costs a search: a few are enough to find a short one.
    fn shortest(&self, versions: &[usize], budget: &Budget<'_>) -> Option<Vec<Step>> {
        const TRIED: usize = 64;
        let cycles = versions
            .iter()
            .take(TRIED)
            .take_while(|_| !budget.is_exhausted())
            .filter_map(|start| self.around(*start));
        cycles.min_by_key(Vec::len)
    }

    /// The shortest way from a version over another one back to it: breadth first over nodes, and whether another version was met.
    fn around(&self, start: usize) -> Option<Vec<Step>> {
        let mut before: BTreeMap<State, (State, Edge)> = BTreeMap::new();
        let mut queue = VecDeque::from([(start, false)]);
        while let Some((node, met)) = queue.pop_front() {
            for (next, edge) in &self.edges[node] {
                let state = (*next, met || (*next < self.values && *next != start));
                if state == (start, false) || before.contains_key(&state) {
                    continue;
                }
                before.insert(state, ((node, met), *edge));
                if state == (start, true) {
                    return Some(steps(start, &before));
                }
                queue.push_back(state);
            }
        }
        None
    }
}

/// The way back, with chains folded into one step each.
fn steps(start: usize, before: &BTreeMap<State, (State, Edge)>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = (start, true);
    let mut off = None;
    while at != (start, false) {
        let (previous, edge) = before[&at];
        match (edge, off) {
            (Edge::Initial, _) => {
                steps.push(Step {
                    from: ABSENT,
                    to: at.0 as Val,
                    why: Why::Initial,
                });
            }
            (Edge::Off(op, writer), _) => off = Some((at.0 as Val, op, writer)),
            (Edge::On(first), Some((to, second, writer))) => {
                let why = if writer {
                    Why::Writer(first, second)
                } else {
                    Why::Session(first, second)
                };
                steps.push(Step {
                    from: previous.0 as Val,
                    to,
                    why,
                });
            }
            (Edge::On(_), None) | (Edge::Along, _) => {}
        }
        at = previous;
    }
    steps.reverse();
    steps
}
