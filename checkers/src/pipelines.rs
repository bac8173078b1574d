//! What one session must take for the order of all writes: PRAM, session by session.
//!
//! Lipton and Sandberg 1988: for each session there is an order of its own operations and of all writes that keeps every session's order. For values
//! that are written once (Wei et al. 2016; the rule is that of happens-before in Bouajjani et al. 2017, with session order alone below it): whatever write
//! of a key comes before a read comes before the write that the read returned. If adding this until nothing changes closes no cycle, an order
//! exists: operation by operation, first the writes that it needs, in the order found. That is complete where the session's own operations come
//! one after another; where several are in flight, only a contradiction is sure.
//!
//! Each write that the session reads gets a clock of the writes that must come before it. A value that is new to the session changes nothing
//! that was looked at before, so one pass is enough, O(operations * sessions) in all; only where the session returns to a version that it knew is another
//! pass needed, at most one for each time it does.

use crate::Budget;
use crate::accesses::{Access, Plan, Source};
use crate::clocks::{Clock, Clocks};
use crate::fixed::FixedMap;

/// What one session's reads say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum View {
    /// There is an order.
    Fits,
    /// None contradicts what is sure; whether there is one is open.
    Open,
    /// There is none: these operations show it, and more than these may not be needed.
    Contradiction(Vec<u32>),
    /// The budget ran out: of what, at which operation.
    OutOf(&'static str, u32),
}

/// The views of a history's sessions.
pub(crate) struct Pipelines<'a> {
    pub(crate) plan: Plan<'a>,
    /// By operation, the writes that its session had made before, itself included.
    program: Vec<Clock>,
    clocks: Clocks,
}

/// One session's view.
struct Session {
    number: usize,
    /// By lane, in turn: from which write on this must come before as well.
    entries: Vec<Vec<(u32, Clock)>>,
    /// The first write comes before the second one.
    edges: Vec<(u32, u32)>,
    /// Whether what was looked at before has to be looked at again.
    dirty: bool,
    /// Whether this is not the first pass.
    again: bool,
    /// By own operation, what came before it and itself.
    after: Vec<Clock>,
    /// By key, the write that was returned last.
    last: FixedMap<u32, u32>,
}

impl<'a> Pipelines<'a> {
    pub(crate) fn new(plan: Plan<'a>, budget: &Budget<'_>) -> Self {
        let mut clocks = Clocks::new(plan.lanes.members.len());
        let mut program = vec![0; plan.all.len()];
        let all = (0..plan.all.len()).filter(|at| plan.happened[*at]);
        for at in budget.lasting(all) {
            let before = plan.lanes.before(plan.all, at);
            let known = before.fold(0, |known, b| clocks.merge(known, program[b as usize]));
            program[at] = match plan.all[at].writes {
                Some(_) => clocks.set(known, plan.lanes.of[at], plan.lanes.number[at]),
                None => known,
            };
        }
        Self {
            plan,
            program,
            clocks,
        }
    }

    pub(crate) fn sessions(&self) -> usize {
        self.plan.lanes.sessions.len()
    }

    /// The view of a session.
    pub(crate) fn view(&mut self, number: usize, budget: &Budget<'_>) -> View {
        let mark = self.clocks.mark();
        let view = self.decide(number, budget);
        self.clocks.forget_since(mark);
        view
    }

    fn decide(&mut self, number: usize, budget: &Budget<'_>) -> View {
        let lanes = self.plan.lanes.sessions[number].clone();
        let members = lanes
            .iter()
            .flat_map(|lane| &self.plan.lanes.members[*lane as usize]);
        let mut own: Vec<u32> = members.copied().collect();
        own.sort_unstable();
        let sure = lanes.len() == 1
            && own.iter().all(|at| {
                let (source, access) = (
                    self.plan.sources[*at as usize],
                    &self.plan.all[*at as usize],
                );
                source != Source::Several && access.refuses.is_none()
            });
        let mut session = Session {
            number,
            entries: vec![Vec::new(); self.plan.lanes.members.len()],
            edges: Vec::new(),
            dirty: false,
            again: false,
            after: vec![0; own.len()],
            last: FixedMap::new(),
        };
        loop {
            session.dirty = false;
            if let Some(view) = self.pass(&mut session, &own, budget) {
                return view;
            }
            if !session.dirty {
                return if sure { View::Fits } else { View::Open };
            }
            if let Some(view) = self.settle(&mut session, &own) {
                return view;
            }
            session.again = true;
        }
    }

    /// Looks at the session's operations in turn.
    fn pass(&mut self, session: &mut Session, own: &[u32], budget: &Budget<'_>) -> Option<View> {
        for (turn, &at) in own.iter().enumerate() {
            if turn.is_multiple_of(1 << 8) {
                if budget.is_exhausted() {
                    return Some(View::OutOf("time", at));
                }
                if self.clocks.bytes() > budget.memory_bytes {
                    return Some(View::OutOf("memory", at));
                }
            }
            let before = self.plan.lanes.before(self.plan.all, at as usize);
            let before: Vec<usize> = before.filter_map(|b| own.binary_search(&b).ok()).collect();
            let known = before
                .into_iter()
                .fold(0, |known, b| self.clocks.merge(known, session.after[b]));
            // What was put before a compare-and-set's write comes before its read as well.
            let known = match self.plan.all[at as usize].writes {
                Some(_) => {
                    let entered = self.entered(session, at);
                    self.clocks.merge(known, entered)
                }
                None => known,
            };
            let mut now = known;
            match self.plan.sources[at as usize] {
                Source::Nobody => return Some(View::Contradiction(vec![at])),
                Source::Initial => {
                    if let Some(write) = self.known_write(at, known) {
                        return Some(View::Contradiction(suspects(session, own, at, &[write])));
                    }
                }
                Source::Write(write) => {
                    if let Err(other) = self.returned(session, at, write, known) {
                        return Some(View::Contradiction(suspects(
                            session,
                            own,
                            at,
                            &[write, other],
                        )));
                    }
                    now = self.must_precede(session, write);
                    now = self.clocks.merge(known, now);
                }
                Source::Nothing | Source::Several => {}
            }
            if self.plan.all[at as usize].writes.is_some() {
                let (lane, write) = (
                    self.plan.lanes.of[at as usize],
                    self.plan.lanes.number[at as usize],
                );
                if self.clocks.get(now, lane) >= write {
                    return Some(View::Contradiction(suspects(session, own, at, &[])));
                }
                self.add(session, at, now);
                now = self.must_precede(session, at);
            }
            session.after[turn] = now;
        }
        None
    }

    /// Every write of the key that is known comes before the one that was returned; or the one of them that comes after it. The one that was returned
    /// the last time goes first: most others come before that.
    fn returned(
        &mut self,
        session: &mut Session,
        at: u32,
        write: u32,
        known: Clock,
    ) -> Result<(), u32> {
        let key = self.plan.all[at as usize].key;
        let last = session.last.insert(key, write);
        if let Some(last) = last.filter(|last| *last != write && self.holds(known, *last)) {
            let behind = self.must_precede(session, write);
            if !self.holds(behind, last) {
                self.put_before(session, &[last], write, known)?;
            }
        }
        let behind = self.must_precede(session, write);
        let mut others = Vec::new();
        self.clocks.ahead(known, behind, &mut |lane, has, had| {
            let other = self.plan.last_write(lane, key, has, had);
            others.extend(other.filter(|other| *other != write));
        });
        self.put_before(session, &others, write, known)
    }

    fn put_before(
        &mut self,
        session: &mut Session,
        others: &[u32],
        write: u32,
        known: Clock,
    ) -> Result<(), u32> {
        if others.is_empty() {
            return Ok(());
        }
        let mut all = 0;
        for &other in others {
            let clock = self.must_precede(session, other);
            if self.holds(clock, write) {
                return Err(other);
            }
            all = self.clocks.merge(all, clock);
            session.edges.push((other, write));
        }
        self.add(session, write, all);
        let overlap = self.plan.lanes.sessions[session.number].len() > 1;
        session.dirty |= self.holds(known, write) || session.again || overlap;
        Ok(())
    }

    /// Whether a clock knows a write.
    fn holds(&self, clock: Clock, write: u32) -> bool {
        let (lane, number) = (
            self.plan.lanes.of[write as usize],
            self.plan.lanes.number[write as usize],
        );
        self.clocks.get(clock, lane) >= number
    }

    /// What must come before a write, itself included.
    fn must_precede(&mut self, session: &Session, write: u32) -> Clock {
        let entered = self.entered(session, write);
        self.clocks.merge(self.program[write as usize], entered)
    }

    /// What was put before a write, or before an earlier one of its session; itself not included.
    fn entered(&mut self, session: &Session, write: u32) -> Clock {
        let (program, mut clock) = (self.program[write as usize], 0);
        for lane in &self.plan.lanes.sessions[self.plan.all[write as usize].session as usize] {
            let entries = &session.entries[*lane as usize];
            let until = self.clocks.get(program, *lane);
            let last = entries
                .partition_point(|(number, _)| *number <= until)
                .checked_sub(1);
            if let Some(last) = last {
                clock = self.clocks.merge(clock, entries[last].1);
            }
        }
        clock
    }

    /// This comes before the write and before all that its lane writes later; whether that is new.
    fn add(&mut self, session: &mut Session, write: u32, clock: Clock) -> bool {
        let (lane, number) = (
            self.plan.lanes.of[write as usize],
            self.plan.lanes.number[write as usize],
        );
        let entries = &mut session.entries[lane as usize];
        let mut at = entries.partition_point(|(n, _)| *n < number);
        if entries.get(at).is_none_or(|(n, _)| *n != number) {
            let base = at.checked_sub(1).map_or(0, |before| entries[before].1);
            entries.insert(at, (number, base));
        }
        let mut changed = false;
        while at < entries.len() {
            let merged = self.clocks.merge(entries[at].1, clock);
            if merged == entries[at].1 {
                break;
            }
            entries[at].1 = merged;
            changed = true;
            at += 1;
        }
        changed
    }

    /// Follows the known edges until nothing changes.
    fn settle(&mut self, session: &mut Session, own: &[u32]) -> Option<View> {
        session.edges.sort_unstable();
        session.edges.dedup();
        let edges = session.edges.clone();
        let mut changed = true;
        while changed {
            changed = false;
            for &(first, second) in &edges {
                let clock = self.must_precede(session, first);
                let (lane, number) = (
                    self.plan.lanes.of[second as usize],
                    self.plan.lanes.number[second as usize],
                );
                if self.clocks.get(clock, lane) >= number {
                    let last = own.last().copied().unwrap_or_default();
                    return Some(View::Contradiction(suspects(
                        session,
                        own,
                        last,
                        &[first, second],
                    )));
                }
                changed |= self.add(session, second, clock);
            }
        }
        None
    }

    fn known_write(&self, at: u32, known: Clock) -> Option<u32> {
        let key = self.plan.all[at as usize].key;
        let mut writes = self.plan.writers(key).iter();
        writes.find_map(|lane| {
            self.plan
                .last_write(*lane, key, self.clocks.get(known, *lane), 0)
        })
    }
}

/// All that may have a part in a contradiction: the session's operations so far and the writes that were put in order.
fn suspects(session: &Session, own: &[u32], at: u32, more: &[u32]) -> Vec<u32> {
    let edges = session
        .edges
        .iter()
        .flat_map(|(first, second)| [*first, *second]);
    // In a later pass everything may have put something before what is looked at.
    let own = own.iter().copied().filter(|o| *o <= at || session.again);
    own.chain(edges).chain(more.iter().copied()).collect()
}

/// What the session sees of an operation: of others' only what they wrote.
pub(crate) fn seen_by(session: u32, access: &Access) -> Option<Access> {
    if access.session == session {
        return Some(*access);
    }
    access.writes.map(|_| Access {
        reads: None,
        refuses: None,
        ..*access
    })
}
