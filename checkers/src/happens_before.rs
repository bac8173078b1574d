//! One register as sessions saw it: which update may have replaced which, because its client had seen that one.
//!
//! Happens-before is what clients can have seen (Lamport 1978; Ahamad et al. 1995): of one session, what had ended before the next began; and
//! from a write to the reads that return its value, and to the compare-and-set that finds it. Real time is not in it: two clients that know nothing
//! of each other write concurrently, also one after the other. On its own key an update is replaced iff a direct successor of it is an update, for
//! every way between two updates of a key goes from one to the next: O(n log n). Over other keys (a client reads `y` and writes `x`) one
//! search for each session with a missing update answers for all of them, under the budget: O(operations * sessions).
//!
//! Several values in one answer (a multi-value register's siblings): a read that returns a list, where no list was ever written. Where lists are
//! written, they are carts: see [`crate::carts`].

use crate::findings::Findings;
use crate::intern::{ABSENT, Interner, Val};
use crate::{Budget, Keyed, Prepared, Shape};
use schism_history::{Op, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An update that may have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update<'p> {
    pub(crate) op: &'p Op<'p>,
    /// What it puts there.
    pub(crate) value: Val,
    /// What a compare-and-set found.
    pub(crate) found: Option<Val>,
}

/// An answered read, and the values (siblings) in it.
#[derive(Debug, Clone)]
pub(crate) struct Seen<'p> {
    pub(crate) op: &'p Op<'p>,
    pub(crate) values: Vec<Val>,
}

/// Whether an update was replaced by one that had seen it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Replaced<'p> {
    /// No update can have seen it.
    No,
    /// This one had surely seen it, and happened.
    Surely(&'p Op<'p>),
    /// This one may have: nobody knows whether it happened, or which write of its value a client saw.
    Perhaps(&'p Op<'p>),
    /// The search was stopped.
    Undecided,
}

/// What a register holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// One value at a time.
    One,
    /// Several: some read returned a list of values.
    Siblings,
    /// Lists were written.
    Carts,
}

/// One register.
#[derive(Debug)]
pub(crate) struct Updates<'p> {
    pub(crate) keyed: &'p Keyed<'p>,
    pub(crate) holds: Holds,
    pub(crate) values: Interner<'p>,
    /// By invocation.
    pub(crate) all: Vec<Update<'p>>,
    /// Definitely refused updates, with what they would have put there.
    pub(crate) refused: Vec<(Val, &'p Op<'p>)>,
    /// Answered reads by invocation, no final ones.
    pub(crate) reads: Vec<Seen<'p>>,
    /// The final reads by invocation.
    pub(crate) finals: Vec<Seen<'p>>,
    /// Why it is no register.
    pub(crate) strange: Option<String>,
    /// By value, its updates, its reads, and the compare-and-sets that found it.
    writers: Vec<Vec<u32>>,
    readers: Vec<Vec<u32>>,
    finders: Vec<Vec<u32>>,
    /// By value, whether a read or a successful compare-and-set found it.
    observed: Vec<bool>,
    /// By value, how many final reads there are up to the last one that has it.
    finally: Vec<usize>,
    /// By session, its updates by invocation.
    sessions: BTreeMap<u64, Vec<u32>>,
}

impl<'p> Updates<'p> {
    /// Not all of it where the time is up.
    fn new(history: &'p Prepared<'_>, keyed: &'p Keyed<'p>, budget: &Budget<'_>) -> Self {
        let ops = || keyed.ops.iter().map(|&i| &history.ops[i]);
        let mut register = Self {
            keyed,
            holds: holds(history, keyed),
            values: Interner::new(),
            all: Vec::new(),
            refused: Vec::new(),
            reads: Vec::new(),
            finals: Vec::new(),
            strange: None,
            writers: Vec::new(),
            readers: Vec::new(),
            finders: Vec::new(),
            observed: Vec::new(),
            finally: Vec::new(),
            sessions: BTreeMap::new(),
        };
        for op in budget.lasting(ops()) {
            register.take(op);
        }
        register.index(budget);
        register
    }

    fn take(&mut self, op: &'p Op<'p>) {
        if op.f() == "read" {
            let Some(result) = op.result() else {
                return;
            };
            let values = self.siblings(result);
            let seen = Seen { op, values };
            if op.is_final() {
                self.finals.push(seen);
            } else {
                self.reads.push(seen);
            }
            return;
        }
        let (found, value) = match (op.f(), op.argument()) {
            ("cas", Value::Array(pair)) if pair.len() == 2 => (Some(&pair[0]), &pair[1]),
            ("cas", other) => {
                let why = || format!("event {}: a cas takes [old, new], not {other}", op.index());
                self.strange.get_or_insert_with(why);
                return;
            }
            (_, value) => (None, value),
        };
        if self.holds == Holds::Carts && !(value.is_array() || value.is_null()) {
            let why = || {
                format!(
                    "event {}: a list was written and {value} as well, which is no cart",
                    op.index()
                )
            };
            self.strange.get_or_insert_with(why);
        }
        let value = self.values.intern(value);
        if op.outcome() == Outcome::Fail {
            self.refused.push((value, op));
            return;
        }
        let found = found.map(|old| self.values.intern(old));
        self.all.push(Update { op, value, found });
    }

    /// The values in an answer; none for null.
    fn siblings(&mut self, result: &'p Value) -> Vec<Val> {
        let one = std::slice::from_ref(result);
        let all = match result {
            Value::Null => &[],
            Value::Array(list) if self.holds == Holds::Siblings => list.as_slice(),
            Value::Array(list) if self.holds == Holds::Carts && is_list_of_lists(list) => list,
            _ => one,
        };
        all.iter().map(|v| self.values.intern(v)).collect()
    }

    fn index(&mut self, budget: &Budget<'_>) {
        let n = self.values.len();
        self.writers = vec![Vec::new(); n];
        self.readers = vec![Vec::new(); n];
        self.finders = vec![Vec::new(); n];
        self.observed = vec![false; n];
        self.finally = vec![0; n];
        for (read, place) in self.finals.iter().zip(1..) {
            for value in &read.values {
                self.finally[*value as usize] = place;
            }
        }
        for (i, update) in budget.lasting((0..).zip(&self.all)) {
            self.writers[update.value as usize].push(i);
            if let Some(found) = update.found {
                self.finders[found as usize].push(i);
                self.observed[found as usize] |= update.op.is_ok();
            }
            if let Some(session) = update.op.session() {
                self.sessions.entry(session).or_default().push(i);
            }
        }
        for (i, read) in budget.lasting((0..).zip(&self.reads)) {
            for value in &read.values {
                self.readers[*value as usize].push(i);
            }
        }
        for value in self
            .reads
            .iter()
            .chain(&self.finals)
            .flat_map(|r| &r.values)
        {
            self.observed[*value as usize] = true;
        }
    }

    /// The updates that put a value there, if they happened.
    pub(crate) fn writers(&self, value: Val) -> impl Iterator<Item = &Update<'p>> {
        let writers = self.writers[value as usize].iter();
        writers.map(|i| &self.all[*i as usize])
    }

    /// The compare-and-sets that found a value, if they happened.
    pub(crate) fn finders(&self, value: Val) -> impl Iterator<Item = &Update<'p>> {
        let finders = self.finders[value as usize].iter();
        finders.map(|i| &self.all[*i as usize])
    }

    /// Whether only one update can have put a value there.
    pub(crate) fn is_unique(&self, value: Val) -> bool {
        value != ABSENT && self.writers[value as usize].len() == 1
    }

    /// Whether an update surely happened: acknowledged, or seen.
    pub(crate) fn happened(&self, update: &Update<'_>) -> bool {
        update.op.is_ok() || (self.is_unique(update.value) && self.observed[update.value as usize])
    }

    /// Whether an update of this key had seen that one.
    pub(crate) fn replaced(&self, update: &Update<'p>, budget: &Budget<'_>) -> Replaced<'p> {
        let mut answer = Replaced::No;
        let sure = self.is_unique(update.value);
        let own = self.after(update.op, update).map(|u| (u, true));
        let readers = self.readers[update.value as usize].iter();
        let readers = readers.map(|r| self.reads[*r as usize].op);
        let readers = readers.filter(|read| may_see(read, update.op));
        let others = readers.flat_map(|read| self.after(read, update));
        let finders = self.finders[update.value as usize].iter();
        let finders = finders.map(|u| &self.all[*u as usize]);
        let finders = finders.filter(|u| may_see(u.op, update.op));
        let all = own.chain(others.chain(finders).map(|u| (u, sure)));
        for (done, (by, edge)) in all.enumerate() {
            if done % ASKED_EVERY == ASKED_EVERY - 1 && budget.is_exhausted() {
                return Replaced::Undecided;
            }
            if edge && self.happened(by) {
                return Replaced::Surely(by.op);
            }
            answer = Replaced::Perhaps(by.op);
        }
        answer
    }

    /// The updates that the session of an operation began after it had ended, but for one.
    fn after(&self, op: &Op<'_>, but: &Update<'_>) -> impl Iterator<Item = &Update<'p>> {
        let (end, but) = (op.end(), but.op.index());
        let session = op.session().and_then(|s| self.sessions.get(&s));
        let own = session.map(Vec::as_slice).unwrap_or_default();
        let later = own.partition_point(|u| self.all[*u as usize].op.start() <= end);
        let later = own[later..].iter().map(|u| &self.all[*u as usize]);
        later.filter(move |u| u.op.index() != but)
    }

    /// Whether a final read that began after an update had ended has its value.
    pub(crate) fn is_there(&self, update: &Update<'_>) -> bool {
        let after = self.finals.len() - self.finals_after(update.op).len();
        self.finally[update.value as usize] > after
    }

    /// The final reads that began after an operation had ended.
    pub(crate) fn finals_after(&self, op: &Op<'_>) -> &[Seen<'p>] {
        let first = self.finals.partition_point(|r| r.op.start() <= op.end());
        &self.finals[first..]
    }
}

/// Whether an operation can have seen what another one put there: what had ended before that one began has not, whatever it returned.
fn may_see(op: &Op<'_>, write: &Op<'_>) -> bool {
    op.index() != write.index() && !op.precedes(write)
}

/// What a register holds, by what was read and written.
pub(crate) fn holds(history: &Prepared<'_>, keyed: &Keyed<'_>) -> Holds {
    let (mut lists, mut carts) = (false, false);
    for op in keyed.ops.iter().map(|&i| &history.ops[i]) {
        match op.f() {
            "read" => lists |= op.result().is_some_and(Value::is_array),
            "write" => carts |= op.argument().is_array(),
            _ => {
                carts |= op
                    .argument()
                    .as_array()
                    .is_some_and(|pair| is_any_list(pair));
            }
        }
    }
    match (carts, lists) {
        (true, _) => Holds::Carts,
        (false, true) => Holds::Siblings,
        (false, false) => Holds::One,
    }
}

fn is_any_list(values: &[Value]) -> bool {
    values.iter().any(Value::is_array)
}

/// Whether a read of carts returned several of them.
pub(crate) fn is_list_of_lists(values: &[Value]) -> bool {
    !values.is_empty() && values.iter().all(Value::is_array)
}

/// What follows what over several registers, or one.
pub(crate) struct Causality<'p, 'r> {
    registers: &'r [Updates<'p>],
    /// All operations that are no final reads.
    nodes: Vec<Node<'p>>,
    /// By register, the node of its first update; the others come after it.
    first: Vec<u32>,
    /// By register and value, the operations that saw it.
    readers: Vec<Vec<Vec<u32>>>,
    /// By session, its operations by invocation.
    sessions: BTreeMap<u64, Vec<u32>>,
}

/// One operation on a register.
struct Node<'p> {
    op: &'p Op<'p>,
    register: usize,
    /// Its place in [`Updates::all`], where it is one.
    update: Option<usize>,
}

/// How often the budget is asked.
const ASKED_EVERY: usize = 4096;

impl<'p, 'r> Causality<'p, 'r> {
    /// Not with all operations where the time is up.
    pub(crate) fn new(registers: &'r [Updates<'p>], budget: &Budget<'_>) -> Self {
        let mut all = Self {
            registers,
            nodes: Vec::new(),
            first: Vec::new(),
            readers: Vec::new(),
            sessions: BTreeMap::new(),
        };
        for (r, register) in registers.iter().enumerate() {
            all.first.push(all.nodes.len() as u32);
            all.readers.push(vec![Vec::new(); register.values.len()]);
            for (i, update) in budget.lasting(register.all.iter().enumerate()) {
                let saw: Vec<Val> = update.found.into_iter().collect();
                all.node(r, update.op, Some(i), &saw);
            }
            for read in budget.lasting(&register.reads) {
                all.node(r, read.op, None, &read.values);
            }
        }
        let mut sessions = all.sessions.values_mut();
        while let Some(session) = sessions.next().filter(|_| !budget.is_exhausted()) {
            session.sort_by_cached_key(|n| all.nodes[*n as usize].op.index());
        }
        all
    }

    fn node(&mut self, register: usize, op: &'p Op<'p>, update: Option<usize>, saw: &[Val]) {
        let node = self.nodes.len() as u32;
        self.nodes.push(Node {
            op,
            register,
            update,
        });
        for value in saw {
            self.readers[register][*value as usize].push(node);
        }
        if let Some(session) = op.session() {
            self.sessions.entry(session).or_default().push(node);
        }
    }

    /// Of each of these updates (register and place), whether an update of the same key had seen it, directly or over other keys.
    pub(crate) fn replaced(
        &self,
        asked: &[(usize, usize)],
        budget: &Budget<'_>,
    ) -> Vec<Replaced<'p>> {
        let own = |(r, u): &(usize, usize)| {
            let register = &self.registers[*r];
            register.replaced(&register.all[*u], budget)
        };
        let mut answers: Vec<Replaced<'p>> = budget.lasting(asked).map(own).collect();
        answers.resize(asked.len(), Replaced::Undecided);
        if self.registers.len() < 2 {
            return answers;
        }
        // Then not all operations are here, and somebody over other keys may have seen what nobody had of its own.
        if budget.is_exhausted() {
            let open = answers.iter_mut().filter(|a| **a == Replaced::No);
            open.for_each(|answer| *answer = Replaced::Undecided);
            return answers;
        }
        // Where all is sure, the other edges are the same ones.
        let sure = |r: &Updates<'_>| r.all.iter().all(|u| r.happened(u) && r.is_unique(u.value));
        let passes = if self.registers.iter().all(sure) {
            1
        } else {
            2
        };
        for edges in [Edges::Sure, Edges::All].into_iter().take(passes) {
            let open = |answer: &Replaced<'_>| match edges {
                Edges::Sure => !matches!(answer, Replaced::Surely(_)),
                Edges::All => *answer == Replaced::No,
            };
            let open: Vec<usize> = (0..asked.len()).filter(|i| open(&answers[*i])).collect();
            let nodes: Vec<u32> = open
                .iter()
                .map(|i| self.first[asked[*i].0] + asked[*i].1 as u32)
                .collect();
            for (i, found) in open.into_iter().zip(self.followers(&nodes, edges, budget)) {
                answers[i] = match (found, edges) {
                    (Ok(Some(by)), Edges::Sure) => Replaced::Surely(by),
                    (Ok(Some(by)), Edges::All) => Replaced::Perhaps(by),
                    (Ok(None), _) => answers[i],
                    (Err(OutOfTime), _) => Replaced::Undecided,
                };
            }
        }
        answers
    }

    /// Of each of these updates, another one of its key that follows it. What follows an operation follows those of its session before it, too:
    /// so one search for each session, from its last operation to its first, answers for all.
    fn followers(&self, nodes: &[u32], edges: Edges, budget: &Budget<'_>) -> Vec<Found<'p>> {
        let mut found: Vec<Found<'p>> = vec![Ok(None); nodes.len()];
        let mut asked: BTreeMap<u64, BTreeMap<u32, usize>> = BTreeMap::new();
        for (i, n) in nodes.iter().enumerate() {
            if let Some(session) = self.nodes[*n as usize].op.session() {
                asked.entry(session).or_default().insert(*n, i);
            }
        }
        let mut alone = Search::new(self);
        let mut search = Search::new(self);
        for (session, mut asked) in asked {
            search.restart(edges);
            let own = &self.sessions[&session];
            for (at, n) in own.iter().enumerate().rev() {
                if asked.is_empty() {
                    break;
                }
                search.stopped |= at.is_multiple_of(ASKED_EVERY) && budget.is_exhausted();
                search.step(*n);
                let drained = search.drain(budget);
                if let Some(i) = asked.remove(n) {
                    let end = self.nodes[*n as usize].op.end();
                    let next = own.get(at + 1).map(|n| self.nodes[*n as usize].op.start());
                    found[i] = if next.is_some_and(|start| start <= end) {
                        // Not all that come later in the session follow it.
                        alone.restart(edges);
                        alone.step(*n);
                        alone.drain(budget).map(|()| alone.met(*n))
                    } else {
                        drained.map(|()| search.met(*n))
                    };
                }
                search.reach(*n, None);
            }
        }
        found
    }

    /// Whether one of these updates of a register may have seen a value of it, over whatever keys; where the steps are used up, it may.
    pub(crate) fn may_have_seen(
        &self,
        register: usize,
        value: Val,
        updates: &BTreeSet<u64>,
        steps: &mut usize,
    ) -> bool {
        let mut search = Search::new(self);
        search.restart(Edges::All);
        for update in self.registers[register].writers(value) {
            search.follow(update.op, register, Some(value), None);
        }
        while let Some(n) = search.open.pop_front() {
            let node = &self.nodes[n as usize];
            if *steps == 0 || (node.register == register && updates.contains(&node.op.index())) {
                return true;
            }
            *steps -= 1;
            search.step(n);
        }
        false
    }

    /// The way from an update to the acknowledged one of its key that surely had seen it and ended first, without that update itself.
    /// Nothing where the time is up.
    pub(crate) fn overwritten(
        &self,
        register: usize,
        update: &Update<'p>,
        budget: &Budget<'_>,
    ) -> Vec<&'p Op<'p>> {
        let mut search = Search::new(self);
        search.restart(Edges::Sure);
        search.follow(update.op, register, Some(update.value), None);
        let mut first: Option<u32> = None;
        while let Some(n) = search.open.pop_front() {
            search.steps += 1;
            if search.steps.is_multiple_of(ASKED_EVERY) && budget.is_exhausted() {
                return Vec::new();
            }
            let node = &self.nodes[n as usize];
            let other = node.register == register && node.op.index() != update.op.index();
            let end = |n: u32| self.nodes[n as usize].op.end();
            if node.update.is_some() && node.op.is_ok() && other {
                let earlier = first.filter(|f| end(*f) <= end(n));
                first = earlier.or(Some(n));
            }
            search.step(n);
        }
        let mut way = Vec::new();
        let mut at = first;
        while let Some(n) = at {
            way.push(self.nodes[n as usize].op);
            at = search.before[n as usize];
        }
        way
    }
}

/// An update that was looked for.
type Found<'p> = Result<Option<&'p Op<'p>>, OutOfTime>;

/// The search was stopped.
#[derive(Debug, Clone, Copy)]
struct OutOfTime;

/// Which edges a search takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edges {
    /// Not those from one of several writes of a value to a read of it.
    Sure,
    All,
}

/// What was reached from some operations; kept for the next ones.
struct Search<'c, 'p, 'r> {
    all: &'c Causality<'p, 'r>,
    edges: Edges,
    /// In which search each node was reached last, and which this is.
    reached: Vec<u32>,
    number: u32,
    /// The node before it on the way, but for the first.
    before: Vec<Option<u32>>,
    /// By session, from where on its operations were reached.
    from: BTreeMap<u64, usize>,
    open: VecDeque<u32>,
    /// By register, in which search which updates of it were reached.
    met: Vec<(u32, [Option<u32>; 2])>,
    steps: usize,
    stopped: bool,
}

impl<'c, 'p, 'r> Search<'c, 'p, 'r> {
    fn new(all: &'c Causality<'p, 'r>) -> Self {
        Self {
            all,
            edges: Edges::Sure,
            reached: vec![0; all.nodes.len()],
            number: 0,
            before: vec![None; all.nodes.len()],
            from: BTreeMap::new(),
            open: VecDeque::new(),
            met: vec![(0, [None; 2]); all.registers.len()],
            steps: 0,
            stopped: false,
        }
    }

    fn restart(&mut self, edges: Edges) {
        self.edges = edges;
        self.number += 1;
        self.from.clear();
        self.open.clear();
    }

    /// Goes on to all that follows what was reached.
    fn drain(&mut self, budget: &Budget<'_>) -> Result<(), OutOfTime> {
        while let Some(n) = self.open.pop_front() {
            if self.steps.is_multiple_of(ASKED_EVERY) && budget.is_exhausted() {
                self.stopped = true;
            }
            self.steps += 1;
            self.meet(n);
            self.step(n);
            if self.stopped {
                return Err(OutOfTime);
            }
        }
        if self.stopped { Err(OutOfTime) } else { Ok(()) }
    }

    /// Keeps two updates of each register, so that there is another one than any.
    fn meet(&mut self, n: u32) {
        let node = &self.all.nodes[n as usize];
        let register = &self.all.registers[node.register];
        let counts = |i: usize| self.edges == Edges::All || register.happened(&register.all[i]);
        if node.update.is_some_and(counts) {
            let met = &mut self.met[node.register];
            if met.0 != self.number {
                *met = (self.number, [Some(n), None]);
            } else if met.1[0] != Some(n) {
                met.1[1] = met.1[1].or(Some(n));
            }
        }
    }

    /// An update of the same key that was reached, and is another one.
    fn met(&self, n: u32) -> Option<&'p Op<'p>> {
        let met = self.met[self.all.nodes[n as usize].register];
        let mut others = met
            .1
            .into_iter()
            .flatten()
            .filter(|other| met.0 == self.number && *other != n);
        others.next().map(|other| self.all.nodes[other as usize].op)
    }

    fn step(&mut self, n: u32) {
        let node = &self.all.nodes[n as usize];
        let update = |i: usize| self.all.registers[node.register].all[i].value;
        self.follow(node.op, node.register, node.update.map(update), Some(n));
    }

    /// The next ones after an operation.
    fn follow(&mut self, op: &Op<'_>, register: usize, value: Option<Val>, from: Option<u32>) {
        let all = self.all;
        let sure = |v: &Val| self.edges == Edges::All || all.registers[register].is_unique(*v);
        if let Some(value) = value.filter(sure) {
            for n in &all.readers[register][value as usize] {
                if !may_see(all.nodes[*n as usize].op, op) {
                    continue;
                }
                self.reach(*n, from);
            }
        }
        let Some((session, own)) = op.session().and_then(|s| all.sessions.get_key_value(&s)) else {
            return;
        };
        let first = own.partition_point(|n| all.nodes[*n as usize].op.start() <= op.end());
        let known = self.from.get(session).copied().unwrap_or(own.len());
        self.from.insert(*session, first.min(known));
        for n in own.iter().take(known).skip(first) {
            self.reach(*n, from);
        }
    }

    fn reach(&mut self, node: u32, from: Option<u32>) {
        if self.reached[node as usize] != self.number {
            self.reached[node as usize] = self.number;
            self.before[node as usize] = from;
            self.open.push_back(node);
        }
    }
}

/// All registers of a history; none of them where the time is up before they are read, which the findings say.
pub(crate) fn registers<'p>(
    history: &'p Prepared<'p>,
    findings: &mut Findings,
    budget: &Budget<'_>,
) -> Vec<Updates<'p>> {
    let keys = history.keys.iter();
    let mut registers = Vec::new();
    for keyed in keys.filter(|k| matches!(k.shape, Shape::Register | Shape::Siblings)) {
        let register = Updates::new(history, keyed, budget);
        if findings.out_of_time_at(budget, registers.len(), keyed) {
            return Vec::new();
        }
        registers.push(register);
    }
    registers
}
