//! What happened before what, by sessions and by who read whose write; and what contradicts it.
//!
//! Bouajjani, Enea, Guerraoui and Hamza 2017, for values that are written once: a history is causally consistent (CC) iff none of these is in it:
//! a cycle (`CyclicCO`), a value that nobody wrote (`ThinAirRead`), the initial value although a write of the key came before
//! (`WriteCOInitRead`), and a value although a write that came after its own came before the read (`WriteCORead`). If "what a read knew of its key came before
//! what it returned" closes no cycle either (`CyclicCF`), one order of all writes fits everybody: causal convergence (`CCv`).
//!
//! Operations get vector clocks ([`crate::clocks`]) in an order in which causes come first. A read needs only a look at those lanes of which its session
//! knew more than the write that it returned knew: O(n * lanes) at worst, and nearly linear where sessions are up to date.
//! Reads of ambiguous values order nothing here.

use crate::Budget;
use crate::accesses::{Access, Plan, Source, Space};
use crate::clocks::{Clock, Clocks};
use crate::cycles;

/// A pattern that no causally consistent history has; operations by their place in the list.
#[derive(Debug, Clone)]
pub(crate) enum Bad {
    /// Each came before the next one, and the last before the first.
    Cycle(Vec<u32>),
    /// It found what nobody wrote.
    ThinAir(u32),
    /// It found the initial value, and this write came before it.
    Initial { write: u32, read: u32 },
    /// It found what `old` had written, and `new` came after that and before the read.
    Overwritten { old: u32, new: u32, read: u32 },
}

/// The causes of a history.
pub(crate) struct Causality<'a> {
    pub(crate) plan: Plan<'a>,
    clocks: Clocks,
    /// By operation, the writes that it knows, its own included.
    after: Vec<Clock>,
    pub(crate) bad: Vec<Bad>,
    /// Refused compare-and-sets for which nobody who came before wrote another value.
    pub(crate) unexplained: Vec<u32>,
    /// Whether one order of all writes fits; nothing where that was not decided.
    pub(crate) convergent: Option<bool>,
    /// What ran out, and where.
    pub(crate) out_of: Option<(&'static str, u32)>,
    /// For a read, the write that it knew of and the later one that it returned.
    before_other: Vec<(u32, u32)>,
    /// At how many of these repetitions are thrown out.
    other_max: usize,
}

/// Operations between two looks at the budget.
const OPS_A_LOOK: usize = 1 << 12;
/// Repetitions are not looked for among fewer than these.
const OTHER_MIN: usize = 1 << 20;

impl<'a> Causality<'a> {
    pub(crate) fn new(all: &'a [Access], space: &'a Space, budget: &Budget<'_>) -> Self {
        let plan = Plan::new(all, space, budget);
        let mut causality = Self {
            clocks: Clocks::new(plan.lanes.members.len()),
            after: vec![0; all.len()],
            plan,
            bad: Vec::new(),
            unexplained: Vec::new(),
            convergent: None,
            out_of: None,
            before_other: Vec::new(),
            other_max: OTHER_MIN,
        };
        if causality.is_late(budget) {
            return causality;
        }
        causality.thin_air();
        let order = causality.in_order(&[]);
        if causality.is_late(budget) {
            return causality;
        }
        match order {
            Some(order) => causality.judge(&order, budget),
            None => causality.find_cycles(budget),
        }
        causality
    }

    /// Whether the time is up before anything was judged.
    fn is_late(&mut self, budget: &Budget<'_>) -> bool {
        if !self.plan.all.is_empty() && budget.is_exhausted() {
            self.out_of = Some(("time", 0));
        }
        self.out_of.is_some()
    }

    /// Whether any pattern was found.
    pub(crate) fn is_violated(&self) -> bool {
        !self.bad.is_empty()
    }

    /// Bytes of the clocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.clocks.bytes() + (self.before_other.len() * 8) as u64
    }

    fn thin_air(&mut self) {
        let plan = &self.plan;
        let nobody = (0..plan.all.len())
            .filter(|at| plan.happened[*at] && plan.sources[*at] == Source::Nobody);
        self.bad = nobody.map(|at| Bad::ThinAir(at as u32)).collect();
    }

    /// The direct causes of an operation: what its session did before, and the write that it saw.
    fn causes(&self, at: usize) -> impl Iterator<Item = u32> + '_ {
        let saw = match self.plan.sources[at] {
            Source::Write(write) => Some(write),
            _ => None,
        };
        self.plan.lanes.before(self.plan.all, at).chain(saw)
    }

    /// All that happened, causes first; nothing where there is a cycle. `more` are further causes, sorted: (whose, which).
    fn in_order(&self, more: &[(u32, u32)]) -> Option<Vec<u32>> {
        const NEW: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let n = self.plan.all.len();
        let mut state = vec![NEW; n];
        let mut order = Vec::with_capacity(n);
        let mut stack: Vec<(u32, bool)> = Vec::new();
        for root in (0..n).filter(|at| self.plan.happened[*at]) {
            if state[root] == NEW {
                stack.push((root as u32, false));
            }
            while let Some((at, left)) = stack.pop() {
                if left {
                    state[at as usize] = DONE;
                    order.push(at);
                    continue;
                }
                if state[at as usize] != NEW {
                    continue;
                }
                state[at as usize] = OPEN;
                stack.push((at, true));
                let first = more.partition_point(|(whose, _)| *whose < at);
                let others = more[first..]
                    .iter()
                    .take_while(|(whose, _)| *whose == at)
                    .map(|(_, which)| *which);
                for cause in self.causes(at as usize).chain(others) {
                    match state[cause as usize] {
                        NEW => stack.push((cause, false)),
                        OPEN => return None,
                        _ => {}
                    }
                }
            }
        }
        Some(order)
    }

    /// A short cycle of each knot, as far as the time lasts.
    fn find_cycles(&mut self, budget: &Budget<'_>) {
        let mut edges: Vec<Vec<(usize, ())>> = vec![Vec::new(); self.plan.all.len()];
        for at in (0..edges.len()).filter(|at| self.plan.happened[*at]) {
            for cause in self.causes(at) {
                edges[cause as usize].push((at, ()));
            }
        }
        let cycles = cycles::cycles(&edges, budget).into_iter();
        self.bad.extend(
            cycles.map(|steps| {
                Bad::Cycle(steps.into_iter().map(|(from, _, ())| from as u32).collect())
            }),
        );
        // One that saw its own value.
        let itself = (0..edges.len()).filter(|at| {
            self.plan.sources[*at] == Source::Write(*at as u32) && self.plan.happened[*at]
        });
        self.bad
            .extend(itself.map(|at| Bad::Cycle(vec![at as u32])));
        if budget.is_exhausted() {
            self.out_of = Some(("time", 0));
        }
    }

    fn judge(&mut self, order: &[u32], budget: &Budget<'_>) {
        for (done, &at) in order.iter().enumerate() {
            if done.is_multiple_of(OPS_A_LOOK) {
                let what = match () {
                    () if budget.is_exhausted() => Some("time"),
                    () if self.bytes() > budget.memory_bytes => Some("memory"),
                    () => None,
                };
                if let Some(what) = what {
                    self.out_of = Some((what, at));
                    return;
                }
            }
            self.step(at as usize);
        }
        if self.bad.is_empty() {
            let mut other = std::mem::take(&mut self.before_other);
            other.sort_unstable();
            other.dedup();
            self.convergent = Some(self.in_order(&other).is_some());
            self.before_other = other;
        } else {
            self.convergent = Some(false);
        }
    }

    fn step(&mut self, at: usize) {
        let known = {
            let Self {
                plan,
                clocks,
                after,
                ..
            } = self;
            let before = plan.lanes.before(plan.all, at);
            before.fold(0, |known, cause| clocks.merge(known, after[cause as usize]))
        };
        let mut now = known;
        match self.plan.sources[at] {
            Source::Write(write) => {
                self.look_back(at, write as usize, known);
                now = self.clocks.merge(known, self.after[write as usize]);
            }
            Source::Initial => {
                let write = self.known_write(at, known);
                self.bad.extend(write.map(|write| Bad::Initial {
                    write,
                    read: at as u32,
                }));
            }
            Source::Nothing | Source::Nobody | Source::Several => {}
        }
        if self.plan.all[at].refuses.is_some() && !self.may_refuse(at, known) {
            self.unexplained.push(at as u32);
        }
        self.after[at] = match self.plan.all[at].writes {
            Some(_) => self
                .clocks
                .set(now, self.plan.lanes.of[at], self.plan.lanes.number[at]),
            None => now,
        };
    }

    /// A write of its key that it knows.
    fn known_write(&self, at: usize, known: Clock) -> Option<u32> {
        let key = self.plan.all[at].key;
        let mut writes = self.plan.writers(key).iter();
        writes.find_map(|lane| {
            self.plan
                .last_write(*lane, key, self.clocks.get(known, *lane), 0)
        })
    }

    /// What the session knew of this key, and the write that it returned did not know.
    fn look_back(&mut self, at: usize, write: usize, known: Clock) {
        let key = self.plan.all[at].key;
        let (lane, number) = (self.plan.lanes.of[write], self.plan.lanes.number[write]);
        let knows = |clocks: &Clocks, clock: Clock| clocks.get(clock, lane) >= number;
        let (mut overwritten, mut others) = (None, Vec::new());
        self.clocks
            .ahead(known, self.after[write], &mut |of, has, had| {
                let Some(newer) = self.plan.last_write(of, key, has, had) else {
                    return;
                };
                if knows(&self.clocks, self.after[newer as usize]) {
                    overwritten = overwritten.or(Some(newer));
                } else {
                    others.push((write as u32, newer));
                }
            });
        self.before_other.extend(others);
        if self.before_other.len() > self.other_max {
            self.before_other.sort_unstable();
            self.before_other.dedup();
            self.other_max = (2 * self.before_other.len()).max(OTHER_MIN);
        }
        self.bad.extend(overwritten.map(|new| Bad::Overwritten {
            old: write as u32,
            new,
            read: at as u32,
        }));
    }

    /// Whether a refused compare-and-set may have found another value among what came before it.
    fn may_refuse(&self, at: usize, known: Clock) -> bool {
        let access = &self.plan.all[at];
        let lasts = self.plan.writers(access.key).iter().filter_map(|lane| {
            self.plan
                .last_write(*lane, access.key, self.clocks.get(known, *lane), 0)
        });
        let lasts: Vec<u32> = lasts.collect();
        let is_old = |write: u32| self.plan.all[write as usize].writes == access.refuses;
        if lasts.is_empty() {
            return access.refuses != Some(self.plan.space.initial[access.key as usize]);
        }
        // The newest of what is known: not known to another one.
        let newest = |write: u32| {
            lasts
                .iter()
                .all(|other| *other == write || !self.knows(*other, write))
        };
        lasts.iter().any(|write| !is_old(*write) && newest(*write))
    }

    /// Whether a write came before an operation, or is it.
    fn knows(&self, at: u32, write: u32) -> bool {
        let (lane, number) = (
            self.plan.lanes.of[write as usize],
            self.plan.lanes.number[write as usize],
        );
        self.clocks.get(self.after[at as usize], lane) >= number
    }

    /// From a write to an operation that knows it, by as few sessions as can be: each came before the next one in its session, or was read by it.
    pub(crate) fn way(&self, write: u32, to: u32) -> Vec<u32> {
        let mut way = vec![to];
        let mut at = to;
        while at != write {
            let first = self.first_to_know(write, at);
            if first != at {
                way.push(first);
            }
            at = first;
            if at == write {
                break;
            }
            match self.plan.sources[at as usize] {
                Source::Write(source) => at = source,
                _ => break,
            }
            way.push(at);
        }
        way.reverse();
        way
    }

    /// The first in the session that knew the write, among those that came before, and the operation itself.
    fn first_to_know(&self, write: u32, at: u32) -> u32 {
        let all = self.plan.all;
        let (start, session) = (all[at as usize].start, all[at as usize].session as usize);
        let lanes = self.plan.lanes.sessions[session].iter();
        let firsts = lanes.filter_map(|lane| {
            let members = &self.plan.lanes.members[*lane as usize];
            let first = members.partition_point(|m| !self.knows(*m, write));
            members
                .get(first)
                .copied()
                .filter(|first| all[*first as usize].end < start)
        });
        firsts.min().unwrap_or(at)
    }
}
