//! `fifo-queue` and `unordered-queue`: `enqueue` of a value, `dequeue` of one (null: there was nothing); empty at first.
//!
//! Where each value goes in once, both are decided in O(n log n) ([`Once`]), after the bad patterns of Henzinger, Sezgin and Vafeiadis ("Aspect-oriented
//! linearizability proofs", CONCUR 2013):
//!
//! - A value comes out without having gone in, or twice.
//! - First in, first out: a went in before b, and b came out before a (or a never). Both orders are interval orders, so if their union
//!   has a cycle, then it has one of two values; without one, values in a topological order, each as late as the latest start so far, are an order.
//! - A dequeue found nothing, though at every moment of it some value was inside: forced stretches (from the end of its enqueue to
//!   the start of its dequeue) cover it. At a moment that none covers, whatever may have left by then has left, and the rest comes later;
//!   that contradicts no order.
//!
//! A dequeue of unknown outcome may have taken a value that nobody saw: the first of those to go in with the first such dequeue, and so on;
//! any other way leaves longer stretches. An enqueue of unknown outcome that nobody saw is left out.
//!
//! An unordered queue with repeated values and no dequeue that found nothing only has to have had each value in time. The rest is searched ([`crate::wgl`]).

use super::{Kind, Model};
use crate::Budget;
use crate::intern::{ABSENT, Interner, Val};
use crate::linearize::Linearization;
use crate::shrink;
use crate::wgl::{Specification, Timed, search, spread};
use schism_history::{Op, Outcome, Time};

/// The model.
pub(super) struct Queue<'h> {
    fifo: bool,
    values: Interner<'h>,
}

impl Queue<'_> {
    pub(super) fn new(model: Model) -> Self {
        Self {
            fifo: model == Model::FifoQueue,
            values: Interner::new(),
        }
    }
}

/// What is done to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Put(Val),
    Take(Val),
    /// A dequeue that found nothing.
    Nothing,
    /// A dequeue of unknown outcome.
    Unseen,
}

impl shrink::Call for Call {
    fn unanswered(&self) -> Option<Self> {
        match self {
            Self::Put(_) => Some(*self),
            Self::Take(_) | Self::Nothing | Self::Unseen => Some(Self::Unseen),
        }
    }

    /// A value goes with all that put it in and took it out, or not at all.
    fn gives(&self) -> Vec<u32> {
        match self {
            Self::Put(v) | Self::Take(v) => vec![*v],
            Self::Nothing | Self::Unseen => Vec::new(),
        }
    }

    fn needs(&self) -> Vec<u32> {
        self.gives()
    }

    fn stays(&self) -> bool {
        *self == Self::Unseen
    }
}

impl<'h> Kind<'h> for Queue<'h> {
    type Call = Call;

    fn call(&mut self, op: &Op<'h>) -> Result<Option<Call>, String> {
        if op.f() == "enqueue" {
            return match self.values.intern(op.argument()) {
                ABSENT => Err("an enqueue needs a value".to_owned()),
                value => Ok(Some(Call::Put(value))),
            };
        }
        Ok(Some(match (op.outcome(), op.result()) {
            (Outcome::Ok, Some(value)) => match self.values.intern(value) {
                ABSENT => Call::Nothing,
                value => Call::Take(value),
            },
            _ => Call::Unseen,
        }))
    }

    fn decide(&self, ops: &[Timed<Call>], budget: &Budget<'_>) -> Linearization {
        let contents = Contents::new(ops, self.values.len());
        if let Some(core) = contents.not_put_in() {
            return Linearization::Impossible(core);
        }
        if contents.puts.iter().all(|puts| puts.len() <= 1) {
            let once = Once::new(&contents);
            let out_of_order = if self.fifo { once.out_of_order() } else { None };
            return match out_of_order.or_else(|| once.never_empty()) {
                Some(core) => Linearization::Impossible(core),
                None => Linearization::Exists,
            };
        }
        if !self.fifo && contents.nothings.is_empty() {
            return Linearization::Exists;
        }
        if self.fifo {
            search(ops, State::<true>::new(self.values.len()), budget)
        } else {
            search(ops, State::<false>::new(self.values.len()), budget)
        }
    }
}

/// Operations by what they are about, as places.
struct Contents<'o> {
    ops: &'o [Timed<Call>],
    /// By value, by start.
    puts: Vec<Vec<usize>>,
    /// By value, by end.
    takes: Vec<Vec<usize>>,
    nothings: Vec<usize>,
    /// By start.
    unseen: Vec<usize>,
}

impl<'o> Contents<'o> {
    fn new(ops: &'o [Timed<Call>], values: usize) -> Self {
        let mut contents = Self {
            ops,
            puts: vec![Vec::new(); values],
            takes: vec![Vec::new(); values],
            nothings: Vec::new(),
            unseen: Vec::new(),
        };
        for (i, op) in ops.iter().enumerate() {
            let list = match op.call {
                Call::Put(v) => &mut contents.puts[v as usize],
                Call::Take(v) => &mut contents.takes[v as usize],
                Call::Nothing => &mut contents.nothings,
                Call::Unseen => &mut contents.unseen,
            };
            list.push(i);
        }
        for takes in &mut contents.takes {
            takes.sort_by_key(|i| (ops[*i].end, *i));
        }
        contents
    }

    /// A value that came out more often than it may have gone in by then.
    fn not_put_in(&self) -> Option<Vec<usize>> {
        self.puts.iter().zip(&self.takes).find_map(|(puts, takes)| {
            let late = |(n, take): &(usize, &usize)| {
                let put = puts.get(*n).map(|put| self.ops[*put].start);
                put.is_none_or(|start| start > self.ops[**take].end)
            };
            let (n, _) = takes.iter().enumerate().find(late)?;
            Some(
                puts.iter()
                    .take(n + 1)
                    .chain(&takes[..=n])
                    .copied()
                    .collect(),
            )
        })
    }
}

/// One value that went in once: within which times, each made as narrow as its own operations allow.
#[derive(Debug, Clone, Copy)]
struct Stay {
    put: usize,
    take: Option<usize>,
    /// Its place among those that nobody saw come out.
    rank: Option<usize>,
    in_start: Time,
    in_end: Time,
    /// Infinity: it never comes out.
    out_start: Time,
    out_end: Time,
}

/// All values go in once.
struct Once<'c> {
    contents: &'c Contents<'c>,
    stays: Vec<Stay>,
    /// The values that nobody saw come out, by the end of their enqueue; places in `stays`.
    left: Vec<usize>,
}

impl<'c> Once<'c> {
    fn new(contents: &'c Contents<'c>) -> Self {
        let mut stays = Vec::new();
        for (puts, takes) in contents.puts.iter().zip(&contents.takes) {
            let Some(&put) = puts.first() else {
                continue;
            };
            let (put_op, take) = (&contents.ops[put], takes.first().copied());
            if take.is_none() && !put_op.certain() {
                continue;
            }
            let take_op = take.map(|take| &contents.ops[take]);
            let out_end = take_op.map_or(Time::INFINITY, |op| op.end);
            stays.push(Stay {
                put,
                take,
                rank: None,
                in_start: put_op.start,
                in_end: put_op.end.min(out_end),
                out_start: take_op.map_or(Time::INFINITY, |op| op.start.max(put_op.start)),
                out_end,
            });
        }
        let mut left: Vec<usize> = (0..stays.len())
            .filter(|i| stays[*i].take.is_none())
            .collect();
        left.sort_by_key(|i| (stays[*i].in_end, *i));
        for (rank, i) in left.iter().enumerate() {
            let unseen = contents.unseen.get(rank).map(|u| contents.ops[*u].start);
            let stay = &mut stays[*i];
            stay.rank = Some(rank);
            stay.out_start = unseen.map_or(Time::INFINITY, |u| u.max(stay.in_start));
        }
        Self {
            contents,
            stays,
            left,
        }
    }

    /// Two values of which the first went in before the second, and did not come out before it.
    fn out_of_order(&self) -> Option<Vec<usize>> {
        let mut by_end: Vec<&Stay> = self.stays.iter().collect();
        let mut by_start = by_end.clone();
        by_end.sort_by_key(|stay| (stay.in_end, stay.put));
        by_start.sort_by_key(|stay| (stay.in_start, stay.put));
        let mut earlier = by_end.iter().peekable();
        let mut last_out = Time::ZERO;
        for second in by_start {
            while let Some(first) = earlier.next_if(|first| first.in_end < second.in_start) {
                last_out = last_out.max(first.out_start);
            }
            if second.out_end < last_out {
                let overtaken = |first: &&&Stay| {
                    first.in_end < second.in_start && second.out_end < first.out_start
                };
                let first = by_end.iter().filter(overtaken).min_by_key(|f| f.rank)?;
                return Some(self.proof([*first, second], &[], second.out_end));
            }
        }
        None
    }

    /// A dequeue that found nothing, though something was inside all the time.
    fn never_empty(&self) -> Option<Vec<usize>> {
        let ops = self.contents.ops;
        let mut inside: Vec<&Stay> = self.stays.iter().collect();
        inside.retain(|stay| stay.in_end < stay.out_start);
        inside.sort_by_key(|stay| (stay.in_end, stay.put));
        let stretches = stretches(&inside);
        self.contents.nothings.iter().find_map(|&nothing| {
            let (start, end) = (ops[nothing].start, ops[nothing].end);
            let at = stretches.partition_point(|stretch| stretch.from < start);
            let stretch = stretches.get(at.checked_sub(1)?)?;
            let covers = stretch.until > end;
            let chain = || chain(&inside[stretch.stays.clone()], start, end);
            covers.then(|| self.proof(chain(), &[nothing], end))
        })
    }

    /// The operations of some values, and why those that nobody saw come out did not: all such dequeues that had begun by then were
    /// needed for values that went in earlier.
    fn proof<'s>(
        &self,
        stays: impl IntoIterator<Item = &'s Stay>,
        more: &[usize],
        by: Time,
    ) -> Vec<usize> {
        let mut core = more.to_vec();
        let mut rank = None;
        for stay in stays {
            core.push(stay.put);
            core.extend(stay.take);
            rank = rank.max(stay.rank);
        }
        if let Some(rank) = rank {
            core.extend(self.left[..=rank].iter().map(|i| self.stays[*i].put));
            let unseen = self.contents.unseen.iter().take(rank + 1);
            core.extend(unseen.filter(|u| self.contents.ops[**u].start <= by));
        }
        core.sort_unstable();
        core.dedup();
        core
    }
}

/// A time in which something is inside all the while, open at both ends, and whose stays make it.
struct Stretch {
    from: Time,
    until: Time,
    stays: std::ops::Range<usize>,
}

/// The union of stays that are sorted by their beginning. Where one ends and another begins the queue may be empty between them.
fn stretches(inside: &[&Stay]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (i, stay) in inside.iter().enumerate() {
        match stretches.last_mut() {
            Some(last) if stay.in_end < last.until => {
                last.until = last.until.max(stay.out_start);
                last.stays.end = i + 1;
            }
            _ => stretches.push(Stretch {
                from: stay.in_end,
                until: stay.out_start,
                stays: i..i + 1,
            }),
        }
    }
    stretches
}

/// Few of these stays, which cover it, that cover a time.
fn chain<'s>(stays: &[&'s Stay], start: Time, end: Time) -> Vec<&'s Stay> {
    let mut chain: Vec<&Stay> = Vec::new();
    let mut covered = start;
    while covered <= end {
        let holds_on = stays.iter().filter(|stay| stay.in_end < covered);
        match holds_on.max_by_key(|stay| stay.out_start) {
            Some(stay) if stay.out_start > covered => {
                covered = stay.out_start;
                chain.push(stay);
            }
            _ => break,
        }
    }
    chain
}

/// What the search knows.
struct State<const FIFO: bool> {
    /// First in, first out: everything that went in, of which `out` are out again.
    line: Vec<Val>,
    out: usize,
    /// Unordered: how many there are of each value.
    there: Vec<u32>,
    size: usize,
    sum: u128,
}

impl<const FIFO: bool> State<FIFO> {
    fn new(values: usize) -> Self {
        Self {
            line: Vec::new(),
            out: 0,
            there: vec![0; values],
            size: 0,
            sum: 0,
        }
    }

    /// The copy of a value at a place of the line, or the so-and-so-many-th of it, comes or goes.
    fn toggle(&mut self, v: Val, place: u64) {
        self.sum ^= spread(u64::from(v) << 32 ^ place ^ 1 << 62);
    }

    fn put(&mut self, v: Val) {
        let place = if FIFO {
            self.line.len() as u64
        } else {
            u64::from(self.there[v as usize])
        };
        self.toggle(v, place);
        self.size += 1;
        self.there[v as usize] += 1;
        if FIFO {
            self.line.push(v);
        }
    }

    fn unput(&mut self, v: Val) {
        self.size -= 1;
        self.there[v as usize] -= 1;
        if FIFO {
            self.line.pop();
        }
        let place = if FIFO {
            self.line.len() as u64
        } else {
            u64::from(self.there[v as usize])
        };
        self.toggle(v, place);
    }

    fn take(&mut self, v: Val) {
        self.size -= 1;
        self.there[v as usize] -= 1;
        let place = if FIFO {
            self.out as u64
        } else {
            u64::from(self.there[v as usize])
        };
        self.out += 1;
        self.toggle(v, place);
    }

    fn untake(&mut self, v: Val) {
        self.out -= 1;
        let place = if FIFO {
            self.out as u64
        } else {
            u64::from(self.there[v as usize])
        };
        self.toggle(v, place);
        self.size += 1;
        self.there[v as usize] += 1;
    }
}

impl<const FIFO: bool> Specification for State<FIFO> {
    type Call = Call;

    fn observes(call: &Call) -> bool {
        *call == Call::Nothing
    }

    /// Unordered, what is there hinders nobody but who finds nothing, so an unknown dequeue can wait for such a one, and an unknown enqueue
    /// for who gets its value.
    fn serves(call: &Call, open: &[&Call]) -> bool {
        match call {
            Call::Unseen => FIFO || open.contains(&&Call::Nothing),
            Call::Put(v) => FIFO || open.contains(&&Call::Take(*v)),
            Call::Take(_) | Call::Nothing => true,
        }
    }

    /// The way of a dequeue is what it takes.
    fn ways(&self, call: &Call, ways: &mut Vec<u32>) {
        let first = self.line.get(self.out).copied();
        match call {
            Call::Put(v) => ways.push(*v),
            Call::Take(v) if FIFO => ways.extend(first.filter(|first| first == v)),
            Call::Take(v) => ways.extend((self.there[*v as usize] > 0).then_some(*v)),
            Call::Nothing => ways.extend((self.size == 0).then_some(ABSENT)),
            Call::Unseen if FIFO => ways.extend(first),
            Call::Unseen => {
                let there = (0..self.there.len()).filter(|v| self.there[*v] > 0);
                ways.extend(there.map(|v| v as Val));
            }
        }
    }

    fn apply(&mut self, call: &Call, way: u32) {
        match call {
            Call::Put(_) => self.put(way),
            Call::Take(_) | Call::Unseen => self.take(way),
            Call::Nothing => {}
        }
    }

    fn undo(&mut self, call: &Call, way: u32) {
        match call {
            Call::Put(_) => self.unput(way),
            Call::Take(_) | Call::Unseen => self.untake(way),
            Call::Nothing => {}
        }
    }

    fn fingerprint(&self) -> u128 {
        self.sum
    }
}
