//! `set`: `add` and `remove` of one element, and `read` of all of them; empty at first.
//!
//! Without removes the reads decide the order: each must be contained in the next larger one, an element comes with the first read that has it,
//! and one that no read has comes after all of them. Such an order exists iff nothing ended before something began that comes earlier in it; so
//! prefix maxima decide, in O(n log n + the elements read). An element that is added again counts as added by the first of its adds: its window
//! is from the first start to the first end of them. A violation is one of at most two elements, for a set that is right is right for any two
//! elements alone. With removes it is searched ([`crate::wgl`]); where that finds no order, a single element that has none says why, if there is one.

use super::Kind;
use crate::Budget;
use crate::intern::{ABSENT, Interner, Val};
use crate::linearize::{Linearization, linearize};
use crate::register::{Action, RegisterOp};
use crate::shrink;
use crate::wgl::{Specification, Timed, search, spread};
use schism_history::{Op, Time};
use serde_json::Value;

/// The model.
pub(super) struct Set<'h> {
    values: Interner<'h>,
}

impl Set<'_> {
    pub(super) fn new() -> Self {
        Self {
            values: Interner::new(),
        }
    }
}

/// What is done to the set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Add(Val),
    Remove(Val),
    /// Sorted, each once.
    Read(Vec<Val>),
}

impl shrink::Call for Call {
    fn unanswered(&self) -> Option<Self> {
        (!matches!(self, Self::Read(_))).then(|| self.clone())
    }

    fn gives(&self) -> Vec<u32> {
        match self {
            Self::Add(v) | Self::Remove(v) => vec![*v],
            Self::Read(_) => Vec::new(),
        }
    }

    fn needs(&self) -> Vec<u32> {
        match self {
            Self::Add(v) | Self::Remove(v) => vec![*v],
            Self::Read(all) => all.clone(),
        }
    }

    fn stays(&self) -> bool {
        false
    }
}

impl<'h> Kind<'h> for Set<'h> {
    type Call = Call;

    fn call(&mut self, op: &Op<'h>) -> Result<Option<Call>, String> {
        match op.f() {
            "add" => Ok(Some(Call::Add(self.values.intern(op.argument())))),
            "remove" => Ok(Some(Call::Remove(self.values.intern(op.argument())))),
            _ => match op.result() {
                None => Ok(None),
                Some(Value::Null) => Ok(Some(Call::Read(Vec::new()))),
                Some(Value::Array(all)) => {
                    let mut all: Vec<Val> = all.iter().map(|v| self.values.intern(v)).collect();
                    all.sort_unstable();
                    all.dedup();
                    Ok(Some(Call::Read(all)))
                }
                Some(other) => Err(format!("a set is read as a list, not as {other}")),
            },
        }
    }

    fn decide(&self, ops: &[Timed<Call>], budget: &Budget<'_>) -> Linearization {
        let elements = Elements::new(ops, self.values.len());
        let proof = elements.seen_from_nowhere();
        let removes = ops.iter().any(|op| matches!(op.call, Call::Remove(_)));
        match proof {
            Some(core) => Linearization::Impossible(core),
            None if removes => match search(ops, State::new(self.values.len()), budget) {
                Linearization::Exists => Linearization::Exists,
                open => one_alone(ops, self.values.len(), budget)
                    .map_or(open, Linearization::Impossible),
            },
            None => elements
                .ordered()
                .map_or_else(Linearization::Impossible, |()| Linearization::Exists),
        }
    }
}

/// One element of a set is a register that holds whether it is there. Operations that show of one element alone that no order exists.
fn one_alone(ops: &[Timed<Call>], values: usize, budget: &Budget<'_>) -> Option<Proof> {
    (0..values as Val)
        .take_while(|_| !budget.is_exhausted())
        .find_map(|v| {
            let ops: Vec<RegisterOp> = (0..)
                .zip(ops)
                .filter_map(|(i, op)| about(v, i, op))
                .collect();
            let written = ops.iter().any(|op| op.action.writes().is_some());
            let answer = written.then(|| linearize(&ops, THERE as usize + 1, budget))?;
            let fails = |ops: &[RegisterOp]| {
                let answer = linearize(ops, THERE as usize + 1, budget);
                matches!(answer, Linearization::Impossible(_))
            };
            let core = || shrink::minimal(&ops, &fails);
            let wrong = matches!(answer, Linearization::Impossible(_));
            wrong.then(|| core().iter().map(|op| op.place as usize).collect())
        })
}

/// The value of a register that stands for an element that is there.
const THERE: Val = ABSENT + 1;

/// What an operation says of one element.
fn about(v: Val, place: u32, op: &Timed<Call>) -> Option<RegisterOp> {
    let action = match &op.call {
        Call::Add(other) if *other == v => Action::Write(THERE),
        Call::Remove(other) if *other == v => Action::Write(ABSENT),
        Call::Add(_) | Call::Remove(_) => return None,
        Call::Read(all) if all.binary_search(&v).is_ok() => Action::Read(THERE),
        Call::Read(_) => Action::Read(ABSENT),
    };
    let (start, end) = (op.start, op.end);
    Some(RegisterOp {
        action,
        start,
        end,
        place,
    })
}

/// The adds of one element that count: the first to begin, and the first to end for sure.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    begun: Option<usize>,
    ended: Option<usize>,
}

struct Elements<'o> {
    ops: &'o [Timed<Call>],
    windows: Vec<Window>,
    /// The reads with what they read, the smallest first, equal ones side by side.
    reads: Vec<(usize, &'o [Val])>,
}

/// The places of operations that cannot be, by themselves.
type Proof = Vec<usize>;

impl<'o> Elements<'o> {
    fn new(ops: &'o [Timed<Call>], values: usize) -> Self {
        let mut windows = vec![Window::default(); values];
        let mut reads = Vec::new();
        for (i, op) in ops.iter().enumerate() {
            match &op.call {
                Call::Add(v) => {
                    let window = &mut windows[*v as usize];
                    window.begun = window.begun.or(Some(i));
                    let sooner = window.ended.is_none_or(|e| op.end < ops[e].end);
                    if op.certain() && sooner {
                        window.ended = Some(i);
                    }
                }
                Call::Remove(_) => {}
                Call::Read(all) => reads.push((i, all.as_slice())),
            }
        }
        reads.sort_by_key(|(_, all)| (all.len(), *all));
        Self {
            ops,
            windows,
            reads,
        }
    }

    /// A read that has what nobody had begun to add.
    fn seen_from_nowhere(&self) -> Option<Proof> {
        self.reads.iter().find_map(|(read, all)| {
            let end = self.ops[*read].end;
            let begun = |v: &&Val| self.windows[**v as usize].begun;
            let none_by_then = |v: &&Val| begun(v).is_none_or(|add| self.ops[add].start > end);
            let element = all.iter().find(none_by_then)?;
            Some(begun(&element).into_iter().chain([*read]).collect())
        })
    }

    /// Whether reads and adds can follow one another as the reads say.
    fn ordered(&self) -> Result<(), Proof> {
        let mut levels = Levels {
            set: self,
            level: vec![usize::MAX; self.windows.len()],
            latest: None,
        };
        let mut before: &[Val] = &[];
        let mut at = 0;
        while at < self.reads.len() {
            let all = self.reads[at].1;
            let fresh = levels.grow(before, all, at)?;
            let group = self.reads[at..]
                .iter()
                .take_while(|(_, other)| *other == all);
            let group: Vec<usize> = group.map(|(read, _)| *read).collect();
            let adds: Vec<Item> = fresh.into_iter().map(Item::Element).collect();
            levels.follow(&adds)?;
            at += group.len();
            levels.follow(&group.into_iter().map(Item::Read).collect::<Vec<_>>())?;
            before = all;
        }
        let unread = (0..self.windows.len()).filter(|v| levels.level[*v] == usize::MAX);
        let unread: Vec<Item> = unread.map(|v| Item::Element(v as Val)).collect();
        levels.follow(&unread)
    }
}

/// What has a place in the order.
#[derive(Debug, Clone, Copy)]
enum Item {
    Element(Val),
    Read(usize),
}

struct Levels<'e, 'o> {
    set: &'e Elements<'o>,
    /// The place among the reads of the first one that has the element.
    level: Vec<usize>,
    /// The latest start of what came so far, and whose.
    latest: Option<(Time, Item)>,
}

impl Levels<'_, '_> {
    /// The elements that come with a read; it must have all that came before.
    fn grow(&mut self, before: &[Val], all: &[Val], at: usize) -> Result<Vec<Val>, Proof> {
        let fresh: Vec<Val> = all
            .iter()
            .filter(|v| self.level[**v as usize] == usize::MAX)
            .copied()
            .collect();
        if before.len() + fresh.len() > all.len() {
            return Err(self.apart(before, all, at));
        }
        for v in &fresh {
            self.level[*v as usize] = at;
        }
        Ok(fresh)
    }

    /// Two reads of which each has an element that the other lacks.
    fn apart(&self, before: &[Val], all: &[Val], at: usize) -> Proof {
        let lacks = |set: &[Val], v: &Val| set.binary_search(v).is_err();
        let only_before = before.iter().find(|v| lacks(all, v));
        let only_here = all.iter().find(|v| lacks(before, v));
        let adds = only_before.into_iter().chain(only_here);
        let adds = adds.filter_map(|v| self.set.windows[*v as usize].begun);
        adds.chain([self.set.reads[at - 1].0, self.set.reads[at].0])
            .collect()
    }

    /// These come after all that came so far, in any order among themselves.
    fn follow(&mut self, items: &[Item]) -> Result<(), Proof> {
        for item in items {
            if let Some((start, earlier)) = self.latest
                && self.end(*item) < start
            {
                return Err(self.proof(earlier, *item));
            }
        }
        for item in items {
            let start = self.start(*item);
            if start.is_some_and(|start| self.latest.is_none_or(|(latest, _)| start > latest)) {
                self.latest = start.map(|start| (start, *item));
            }
        }
        Ok(())
    }

    fn start(&self, item: Item) -> Option<Time> {
        let op = match item {
            Item::Element(v) => self.set.windows[v as usize].begun,
            Item::Read(read) => Some(read),
        };
        op.map(|op| self.set.ops[op].start)
    }

    fn end(&self, item: Item) -> Time {
        let op = match item {
            Item::Element(v) => self.set.windows[v as usize].ended,
            Item::Read(read) => Some(read),
        };
        op.map_or(Time::INFINITY, |op| self.set.ops[op].end)
    }

    /// Why `earlier`, which began after `later` had ended, should have come first.
    fn proof(&self, earlier: Item, later: Item) -> Proof {
        let begun = |v: Val| self.set.windows[v as usize].begun;
        let ended = |v: Val| self.set.windows[v as usize].ended;
        match (earlier, later) {
            (Item::Read(stale), Item::Read(fresh)) => {
                let (stale_has, fresh_has) = (self.elements(stale), self.elements(fresh));
                let gone = fresh_has
                    .iter()
                    .find(|v| stale_has.binary_search(v).is_err());
                let add = gone.and_then(|v| begun(*v));
                add.into_iter().chain([fresh, stale]).collect()
            }
            (Item::Read(stale), Item::Element(v)) => ended(v).into_iter().chain([stale]).collect(),
            (Item::Element(v), Item::Read(read)) => begun(v).into_iter().chain([read]).collect(),
            (Item::Element(seen), Item::Element(unseen)) => {
                let read = self.set.reads.get(self.level[seen as usize]);
                let adds = ended(unseen).into_iter().chain(begun(seen));
                adds.chain(read.map(|(read, _)| *read)).collect()
            }
        }
    }

    fn elements(&self, read: usize) -> &[Val] {
        match &self.set.ops[read].call {
            Call::Read(all) => all,
            Call::Add(_) | Call::Remove(_) => &[],
        }
    }
}

/// What the search knows: what is there, and a sum over it.
struct State {
    there: Vec<bool>,
    size: usize,
    sum: u128,
    /// Whether each change changed anything, for taking it back.
    changed: Vec<bool>,
}

impl State {
    fn new(values: usize) -> Self {
        Self {
            there: vec![false; values],
            size: 0,
            sum: 0,
            changed: Vec::new(),
        }
    }

    fn flip(&mut self, v: Val) {
        let there = &mut self.there[v as usize];
        *there = !*there;
        self.size = if *there { self.size + 1 } else { self.size - 1 };
        self.sum ^= spread(u64::from(v) | 1 << 62);
    }
}

impl Specification for State {
    type Call = Call;

    fn observes(call: &Call) -> bool {
        matches!(call, Call::Read(_))
    }

    /// What a change does that nobody reads in time, a later one undoes, or it can wait.
    fn serves(_: &Call, open: &[&Call]) -> bool {
        open.iter().any(|call| matches!(call, Call::Read(_)))
    }

    fn ways(&self, call: &Call, ways: &mut Vec<u32>) {
        let allowed = match call {
            Call::Read(all) => {
                all.len() == self.size && all.iter().all(|v| self.there[*v as usize])
            }
            Call::Add(_) | Call::Remove(_) => true,
        };
        ways.extend(allowed.then_some(0));
    }

    fn apply(&mut self, call: &Call, _: u32) {
        let (v, there) = match call {
            Call::Add(v) => (*v, true),
            Call::Remove(v) => (*v, false),
            Call::Read(_) => return,
        };
        let changes = self.there[v as usize] != there;
        if changes {
            self.flip(v);
        }
        self.changed.push(changes);
    }

    fn undo(&mut self, call: &Call, _: u32) {
        match call {
            Call::Add(v) | Call::Remove(v) => {
                if self.changed.pop() == Some(true) {
                    self.flip(*v);
                }
            }
            Call::Read(_) => {}
        }
    }

    fn fingerprint(&self) -> u128 {
        self.sum
    }
}
