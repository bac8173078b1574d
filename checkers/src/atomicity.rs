//! How far a register is from atomic: in versions (k-atomicity) and in time (delta-atomicity), where every value is written once.
//!
//! A history is *k-atomic* if there is an order, true to real time, in which each read returns one of the last k values written before it (Aiyer,
//! Alvisi and Bazzi 2005). k = 1 is decided by zones; k = 2 by the limited backtracking of Golab, Hurwitz and Li 2013 in O(n log n + c n), c the
//! writes in flight at once. For more, two bounds: from below, the acknowledged writes that lie wholly between a read's value and the read; from
//! above, what the order of the writes by their earliest finish costs. Where these meet, k is known.
//!
//! It is *delta-atomic* if it is atomic once every read may have begun delta earlier (Golab, Li and Shah 2011): two clusters that must both come first
//! are reconciled as soon as the reads of one begin by the finish of the other, so delta is the most that any such pair needs.

use crate::Budget;
use crate::budget::STEPS;
use crate::register::{ABSENT, Action, RegisterOp};
use schism_history::Time;

/// What is known of one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Distance {
    /// The least k: from, to.
    pub(crate) k: (usize, usize),
    /// The least delta, in nanoseconds.
    pub(crate) delta_ns: u64,
}

/// Moments one later than the clock says, so that zero is before everything.
type Edge = u64;

fn edge(time: Time) -> Edge {
    time.0.saturating_add(1)
}

/// A value that was there: a write that surely happened, or the initial state.
#[derive(Debug, Clone, Copy)]
struct Version {
    start: Edge,
    /// The earliest end of its write and of those who read it.
    finish: Edge,
    /// The latest start of those who read it; 0 where nobody did.
    last_read: Edge,
}

impl Version {
    /// The latest start of all, if reads may have begun so much earlier.
    fn latest_start(&self, earlier: u64) -> Edge {
        self.start.max(self.last_read.saturating_sub(earlier))
    }
}

/// A read, and the version that it returned.
#[derive(Debug, Clone, Copy)]
struct Read {
    start: Edge,
    of: u32,
}

/// The versions of a register by their starts, the initial state first, and the reads by their starts.
struct Register {
    versions: Vec<Version>,
    reads: Vec<Read>,
}

/// Measures a register that starts absent; `ops` are sorted by start. None where values are not unique, where there are compare-and-sets, or where
/// a read ended before its value was written: then no k and no delta is enough, or nobody knows; nor when the time is up.
pub(crate) fn distance(ops: &[RegisterOp], values: usize, budget: &Budget<'_>) -> Option<Distance> {
    let register = Register::new(ops, values)?;
    let delta_ns = register.delta(budget)?;
    let k = if delta_ns == 0 && !register.conflicts(0) {
        (1, 1)
    } else if TwoAtomic::new(&register).holds(budget)? {
        (2, 2)
    } else {
        (register.most_between(budget)?.max(3), register.by_finish())
    };
    Some(Distance { k, delta_ns })
}

impl Register {
    fn new(ops: &[RegisterOp], values: usize) -> Option<Self> {
        const NOBODY: u32 = u32::MAX;
        let mut seen = vec![false; values];
        for op in ops {
            match op.action {
                Action::Read(v) => seen[v as usize] = true,
                Action::Write(v) if v != ABSENT => {}
                _ => return None,
            }
        }
        let mut versions = vec![Version {
            start: 0,
            finish: 0,
            last_read: 0,
        }];
        let mut number = vec![NOBODY; values];
        number[ABSENT as usize] = 0;
        for op in ops {
            let Action::Write(v) = op.action else {
                continue;
            };
            if number[v as usize] != NOBODY {
                return None;
            }
            if op.certain() || seen[v as usize] {
                number[v as usize] = versions.len() as u32;
                versions.push(Version {
                    start: edge(op.start),
                    finish: edge(op.end),
                    last_read: 0,
                });
            }
        }
        let mut reads = Vec::new();
        for op in ops {
            let Action::Read(v) = op.action else { continue };
            let version = versions.get_mut(number[v as usize] as usize)?;
            if edge(op.end) < version.start {
                return None;
            }
            version.finish = version.finish.min(edge(op.end));
            version.last_read = version.last_read.max(edge(op.start));
            reads.push(Read {
                start: edge(op.start),
                of: number[v as usize],
            });
        }
        Some(Self { versions, reads })
    }

    /// The least delta, by bisection over those versions alone that conflict at all: fewer than all of them, as a rule.
    fn delta(&self, budget: &Budget<'_>) -> Option<u64> {
        let conflicting = Self {
            versions: self.conflicting(),
            reads: Vec::new(),
        };
        let latest = conflicting.versions.iter().map(|v| v.last_read).max();
        let (mut too_little, mut enough) = (0, latest.unwrap_or(0));
        if !conflicting.conflicts(0) {
            return Some(0);
        }
        while enough - too_little > 1 {
            if budget.is_exhausted() {
                return None;
            }
            let middle = u64::midpoint(too_little, enough);
            if conflicting.conflicts(middle) {
                too_little = middle;
            } else {
                enough = middle;
            }
        }
        Some(enough)
    }

    /// Whether two versions must each come before the other, if reads may have begun so much earlier.
    fn conflicts(&self, earlier: u64) -> bool {
        !self.in_conflict(earlier).is_empty()
    }

    fn conflicting(&self) -> Vec<Version> {
        let places = self.in_conflict(0);
        places.into_iter().map(|i| self.versions[i]).collect()
    }

    /// The versions that some other one must both follow and precede. A precedes B iff `finish(A) < latest_start(B)`.
    fn in_conflict(&self, earlier: u64) -> Vec<usize> {
        let mut by_finish: Vec<(Edge, Edge, usize)> = (0..)
            .zip(&self.versions)
            .map(|(i, v)| (v.finish, v.latest_start(earlier), i))
            .collect();
        by_finish.sort_unstable();
        // Of each beginning, the two latest starts with their owners: so that one's own can be left out.
        let mut greatest = [(0, usize::MAX); 2];
        let latest: Vec<_> = by_finish
            .iter()
            .map(|(_, start, i)| {
                if *start > greatest[0].0 {
                    greatest = [(*start, *i), greatest[0]];
                } else if *start > greatest[1].0 {
                    greatest[1] = (*start, *i);
                }
                greatest
            })
            .collect();
        let conflicts = |(finish, start, i): &(Edge, Edge, usize)| {
            let before = by_finish.partition_point(|(f, _, _)| f < start);
            let others = before.checked_sub(1).map(|last| latest[last]);
            others
                .and_then(|greatest| greatest.into_iter().find(|(_, owner)| owner != i))
                .is_some_and(|(start, owner)| owner != usize::MAX && *finish < start)
        };
        let found = by_finish.iter().filter(|v| conflicts(v));
        found.map(|(_, _, i)| *i).collect()
    }

    /// One more than the most versions that lie wholly between the finish of a read's version and the read's start: no order has fewer.
    fn most_between(&self, budget: &Budget<'_>) -> Option<usize> {
        // Versions that finish before a moment, less those that had begun by an earlier one.
        let mut finishes: Vec<Edge> = self.versions.iter().map(|v| v.finish).collect();
        finishes.sort_unstable();
        let latest_finish: Vec<Edge> = running_max(self.versions.iter().map(|v| v.finish));
        let between = |read: &Read| {
            let begun_by = self.versions[read.of as usize].finish;
            let begun = self.versions.partition_point(|v| v.start <= begun_by);
            let finished = finishes.partition_point(|f| *f < read.start);
            let open = (0..begun)
                .rev()
                .take_while(|&i| latest_finish[i] >= read.start)
                .filter(|&i| self.versions[i].finish >= read.start)
                .count();
            finished.saturating_sub(begun - open)
        };
        let mut most = 0;
        for (done, read) in self.reads.iter().enumerate() {
            if done.is_multiple_of(STEPS) && budget.is_exhausted() {
                return None;
            }
            most = most.max(between(read));
        }
        Some(1 + most)
    }

    /// What the order by finish costs. It is true to real time: reads go right behind the last version that they must follow, their own or the last
    /// one that had finished before they began.
    fn by_finish(&self) -> usize {
        let mut order: Vec<usize> = (0..self.versions.len()).collect();
        order.sort_by_key(|&i| (self.versions[i].finish, i));
        let mut rank = vec![0; order.len()];
        for (r, i) in (0..).zip(&order) {
            rank[*i] = r;
        }
        let behind = |read: &Read| {
            let finished = order.partition_point(|&i| self.versions[i].finish < read.start);
            finished.saturating_sub(rank[read.of as usize]).max(1)
        };
        self.reads.iter().map(behind).max().unwrap_or(1)
    }
}

fn running_max(values: impl Iterator<Item = Edge>) -> Vec<Edge> {
    let mut greatest = 0;
    values
        .map(|v| {
            greatest = greatest.max(v);
            greatest
        })
        .collect()
}

/// The end of a list, or nobody.
const END: u32 = u32::MAX;

/// A doubly linked list over places, from which the last is taken and to which it can be given back.
struct List {
    prev: Vec<u32>,
    next: Vec<u32>,
    last: u32,
}

impl List {
    /// These places in this order.
    fn new(order: &[u32], size: usize) -> Self {
        let mut list = Self {
            prev: vec![END; size],
            next: vec![END; size],
            last: order.last().copied().unwrap_or(END),
        };
        for pair in order.windows(2) {
            list.next[pair[0] as usize] = pair[1];
            list.prev[pair[1] as usize] = pair[0];
        }
        list
    }

    fn remove(&mut self, i: u32) {
        let (prev, next) = (self.prev[i as usize], self.next[i as usize]);
        if prev != END {
            self.next[prev as usize] = next;
        }
        if next == END {
            self.last = prev;
        } else {
            self.prev[next as usize] = prev;
        }
    }

    /// The opposite of [`Self::remove`], in the opposite order.
    fn restore(&mut self, i: u32) {
        let (prev, next) = (self.prev[i as usize], self.next[i as usize]);
        if prev != END {
            self.next[prev as usize] = i;
        }
        if next == END {
            self.last = i;
        } else {
            self.prev[next as usize] = i;
        }
    }
}

/// Golab, Hurwitz and Li 2013, section III: the order of the writes is built from its end. All reads that begin after the finish of the write just placed must
/// return that one or the one to its left: so either the next write is forced, or any that precedes no other one will do (an *epoch* ends). Epochs never need
/// to be taken back. Candidates for an epoch run in turn under a bound that doubles, so a long failure costs no more than the success beside it.
struct TwoAtomic<'r> {
    register: &'r Register,
    /// Writes not yet placed, by start and by finish.
    by_start: List,
    by_finish: List,
    /// Reads not yet placed, by start, with who reads each version.
    reads: List,
    readers: Vec<Vec<u32>>,
    placed: Vec<bool>,
    /// What was taken away, in order: writes, and reads behind them.
    taken: Vec<Taken>,
}

#[derive(Debug, Clone, Copy)]
enum Taken {
    Write(u32),
    Read(u32),
}

enum Epoch {
    Complete,
    Fails,
    /// It was longer than the bound.
    Longer,
}

impl<'r> TwoAtomic<'r> {
    fn new(register: &'r Register) -> Self {
        let (writes, reads) = (register.versions.len(), register.reads.len());
        let mut by_finish: Vec<u32> = (0..writes as u32).collect();
        by_finish.sort_by_key(|&w| (register.versions[w as usize].finish, w));
        let mut readers = vec![Vec::new(); writes];
        for (i, read) in (0..).zip(&register.reads) {
            readers[read.of as usize].push(i);
        }
        Self {
            register,
            by_start: List::new(&(0..writes as u32).collect::<Vec<_>>(), writes),
            by_finish: List::new(&by_finish, writes),
            reads: List::new(&(0..reads as u32).collect::<Vec<_>>(), reads),
            readers,
            placed: vec![false; reads],
            taken: Vec::new(),
        }
    }

    fn holds(mut self, budget: &Budget<'_>) -> Option<bool> {
        while self.by_start.last != END {
            if !self.epoch(budget)? {
                return Some(false);
            }
            self.taken.clear();
        }
        Some(true)
    }

    /// The writes that precede no other one.
    fn candidates(&self) -> Vec<u32> {
        let latest_start = self.register.versions[self.by_start.last as usize].start;
        let mut candidates = Vec::new();
        let mut at = self.by_finish.last;
        while at != END && self.register.versions[at as usize].finish >= latest_start {
            candidates.push(at);
            at = self.by_finish.prev[at as usize];
        }
        candidates
    }

    fn epoch(&mut self, budget: &Budget<'_>) -> Option<bool> {
        let mut candidates = self.candidates();
        let mut bound = 16;
        while !candidates.is_empty() {
            let mut longer = Vec::new();
            for candidate in candidates {
                if budget.is_exhausted() {
                    return None;
                }
                match self.run(candidate, bound) {
                    Epoch::Complete => return Some(true),
                    Epoch::Fails => {}
                    Epoch::Longer => longer.push(candidate),
                }
                self.take_back();
            }
            candidates = longer;
            bound *= 2;
        }
        Some(false)
    }

    /// Places a write, and those that follow from it.
    fn run(&mut self, candidate: u32, bound: usize) -> Epoch {
        let mut write = candidate;
        while self.taken.len() < bound {
            match self.place(write) {
                Ok(Some(next)) if self.precedes_another(next) => return Epoch::Fails,
                Ok(Some(next)) => write = next,
                Ok(None) => return Epoch::Complete,
                Err(()) => return Epoch::Fails,
            }
        }
        Epoch::Longer
    }

    fn precedes_another(&self, write: u32) -> bool {
        let mut latest = self.by_start.last;
        if latest == write {
            latest = self.by_start.prev[latest as usize];
        }
        let finish = self.register.versions[write as usize].finish;
        latest != END && finish < self.register.versions[latest as usize].start
    }

    /// Takes the write, its reads, and all reads that begin after its finish; the write to its left, where these say which one it is.
    fn place(&mut self, write: u32) -> Result<Option<u32>, ()> {
        self.by_start.remove(write);
        self.by_finish.remove(write);
        self.taken.push(Taken::Write(write));
        for i in 0..self.readers[write as usize].len() {
            let read = self.readers[write as usize][i];
            if !self.placed[read as usize] {
                self.take_read(read);
            }
        }
        let finish = self.register.versions[write as usize].finish;
        let mut left = None;
        while let Some(read) = self.register.reads.get(self.reads.last as usize) {
            if read.start <= finish {
                break;
            }
            if left.is_some_and(|w| w != read.of) {
                return Err(());
            }
            left = Some(read.of);
            self.take_read(self.reads.last);
        }
        Ok(left)
    }

    fn take_read(&mut self, read: u32) {
        self.placed[read as usize] = true;
        self.reads.remove(read);
        self.taken.push(Taken::Read(read));
    }

    fn take_back(&mut self) {
        while let Some(taken) = self.taken.pop() {
            match taken {
                Taken::Write(write) => {
                    self.by_finish.restore(write);
                    self.by_start.restore(write);
                }
                Taken::Read(read) => {
                    self.reads.restore(read);
                    self.placed[read as usize] = false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::Val;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// A register with unique values whose reads are now and then old, and whose writes are now and then unknown.
    fn random(rng: &mut ChaCha8Rng) -> Vec<RegisterOp> {
        let (n, spread) = (rng.random_range(1..9), rng.random_range(1..9_u64));
        let (mut written, mut ops) = (0, Vec::new());
        for place in 0..n {
            let at = 20 + 4 * u64::from(place);
            let start = Time(at - rng.random_range(0..=spread));
            let end = Time(at + rng.random_range(0..=spread));
            let (action, end) = if rng.random_range(0..5) < 2 {
                written += 1;
                let unknown = rng.random_range(0..5) == 0;
                (
                    Action::Write(written),
                    if unknown { Time::INFINITY } else { end },
                )
            } else {
                let most = rng.random_range(0..4);
                let back = rng.random_range(0..=most);
                (Action::Read(u32::saturating_sub(written, back)), end)
            };
            ops.push(RegisterOp {
                action,
                start,
                end,
                place,
            });
        }
        ops.sort_by_key(|op| (op.start, op.place));
        ops
    }

    /// By the definition: the least k of all orders that are true to real time. None: there is none at all.
    fn least_k(ops: &[RegisterOp]) -> Option<usize> {
        fn go(
            ops: &[RegisterOp],
            taken: &mut Vec<bool>,
            written: &mut Vec<Val>,
            worst: usize,
            best: &mut usize,
        ) {
            if worst >= *best {
                return;
            }
            let due = |i: &usize| ops[*i].certain() && !taken[*i];
            let Some(least) = (0..ops.len()).filter(due).map(|i| ops[i].end).min() else {
                *best = worst;
                return;
            };
            for i in 0..ops.len() {
                if taken[i] || ops[i].start > least {
                    continue;
                }
                let before = written.len();
                let mut k = worst;
                match ops[i].action {
                    Action::Write(v) => written.push(v),
                    Action::Read(v) => match written.iter().rposition(|w| *w == v) {
                        Some(at) => k = worst.max(written.len() - at),
                        None => continue,
                    },
                    _ => unreachable!(),
                }
                taken[i] = true;
                go(ops, taken, written, k, best);
                taken[i] = false;
                written.truncate(before);
            }
        }
        let mut best = usize::MAX;
        go(
            ops,
            &mut vec![false; ops.len()],
            &mut vec![ABSENT],
            1,
            &mut best,
        );
        (best < usize::MAX).then_some(best)
    }

    /// By the definition: the least of all shifts of the starts of reads after which there is an order with k = 1.
    fn least_delta(ops: &[RegisterOp]) -> Option<u64> {
        let shifted = |delta: u64| -> Vec<RegisterOp> {
            let shift = |op: &RegisterOp| match op.action {
                Action::Read(_) => Time(op.start.0.saturating_sub(delta)),
                _ => op.start,
            };
            ops.iter()
                .map(|op| RegisterOp {
                    start: shift(op),
                    ..*op
                })
                .collect()
        };
        (0..100).find(|delta| least_k(&shifted(*delta)) == Some(1))
    }

    #[test]
    fn it_agrees_with_the_definitions() {
        let cases = std::env::var("SCHISM_ORACLE_CASES")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(10_000_u64);
        let mut counts = [0_u64; 4];
        for case in 0..cases {
            let ops = random(&mut ChaCha8Rng::seed_from_u64(case));
            let (k, delta) = (least_k(&ops), least_delta(&ops));
            let Some(got) = distance(&ops, 16, &Budget::unlimited()) else {
                assert_eq!(delta, None, "case {case}: {ops:#?}");
                continue;
            };
            assert_eq!(Some(got.delta_ns), delta, "case {case}: {ops:#?}");
            let k = k.expect("there is an order where there is a delta");
            assert!(
                got.k.0 <= k && k <= got.k.1,
                "case {case}: {k} is not in {:?}: {ops:#?}",
                got.k
            );
            assert!(k > 2 || got.k == (k, k), "case {case}: {got:?}: {ops:#?}");
            counts[k.min(3)] += 1;
        }
        assert!(
            counts[1..].iter().all(|n| *n > cases / 20),
            "{counts:?} of {cases}"
        );
    }
}
