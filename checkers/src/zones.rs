//! Whether the operations on one register can be put into one order, where every value is written once: near-linear.
//!
//! Gibbons and Korach 1997, section 4.2. A write and the reads of its value are a *cluster*: no other write can come between them. Let
//! `f` be its earliest finish and `s` its latest start: cluster A must come before B iff `f(A) < s(B)`. So there is an order iff no two
//! clusters must both come first, and no read ends before its write begins. (A longer cycle holds one of two: of the cluster with the
//! least `f` and the one before it.)
//!
//! A successful compare-and-set puts its cluster right behind that of the value which it found: such a chain is one *block*, with the least `f`
//! and the greatest `s` of its clusters, in which the latest start of each is at most the least finish of all later ones. One of unknown
//! outcome happened iff somebody saw its value.
//!
//! A refused compare-and-set breaks the method. A violation without it is one all the same; else it is placed into the order that was found, and
//! where that fails the answer is [`Zones::Unsure`], and [`crate::search`] decides.

use crate::intern::{ABSENT, Val};
use crate::register::{Action, RegisterOp};
use schism_history::Time;
use std::collections::BTreeSet;

/// What the zones say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Zones {
    /// There is an order.
    Linearizable,
    /// There is none, and these operations (places in the list, ascending) alone show it.
    Contradiction(Vec<usize>),
    /// The method does not decide: a value has two writers, or a refused compare-and-set fits nowhere in the order that was found.
    Unsure,
}

const NONE: u32 = u32::MAX;

/// A moment, one later than the clock says, so that zero can be before everything: the finish of the initial state, the start of nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Edge(u64);

impl Edge {
    const BEFORE: Self = Self(0);
    const NEVER: Self = Self(u64::MAX);

    fn at(time: Time) -> Self {
        Self(time.0.saturating_add(1))
    }

    fn time(self) -> Time {
        Time(self.0.saturating_sub(1))
    }
}

/// Decides by zones. `ops` are sorted by start, on a register that starts absent; `values` is greater than every value.
pub(crate) fn decide(ops: &[RegisterOp], values: usize) -> Zones {
    let Some(clusters) = Clusters::new(ops, values) else {
        return Zones::Unsure;
    };
    if let Some(places) = clusters.impossible() {
        return Zones::Contradiction(clusters.with_writers(places));
    }
    let mut blocks = match clusters.blocks() {
        Ok(blocks) => blocks,
        Err(places) => return Zones::Contradiction(clusters.with_writers(places)),
    };
    if let Some((a, b)) = conflict(&mut blocks) {
        return Zones::Contradiction(clusters.conflict(&a, &b));
    }
    if clusters.refused == 0 || clusters.place_refused(blocks) {
        Zones::Linearizable
    } else {
        Zones::Unsure
    }
}

/// One value: its writer and those that saw it.
#[derive(Debug, Clone, Copy)]
struct Cluster {
    writer: u32,
    /// Earliest finish, with who finishes then; never where nobody is known to have seen the value.
    finish: Edge,
    finisher: u32,
    /// Latest start, with who starts then.
    start: Edge,
    starter: u32,
}

struct Clusters<'o> {
    ops: &'o [RegisterOp],
    of: Vec<Cluster>,
    /// Whether each surely happened: acknowledged, or seen.
    happened: Vec<bool>,
    /// Whether there is any compare-and-set that may have happened.
    chained: bool,
    refused: usize,
}

/// A chain of clusters, linked by compare-and-sets.
#[derive(Debug, Clone, Copy)]
struct Block {
    head: Val,
    finish: Edge,
    start: Edge,
}

impl<'o> Clusters<'o> {
    /// None where a value has two writers, or the initial one has any.
    fn new(ops: &'o [RegisterOp], values: usize) -> Option<Self> {
        let nobody = Cluster {
            writer: NONE,
            finish: Edge::NEVER,
            finisher: NONE,
            start: Edge::BEFORE,
            starter: NONE,
        };
        let values = values.max(1);
        let mut clusters = Self {
            ops,
            of: vec![nobody; values],
            happened: vec![false; values],
            chained: false,
            refused: 0,
        };
        clusters.happened[ABSENT as usize] = true;
        for (place, op) in (0..).zip(ops) {
            if let Some(v) = op.action.writes() {
                let cluster = &mut clusters.of[v as usize];
                if v == ABSENT || cluster.writer != NONE {
                    return None;
                }
                cluster.writer = place;
                cluster.join(op, place);
                clusters.happened[v as usize] |= op.certain();
            }
            match op.action {
                Action::Read(v) => {
                    clusters.of[v as usize].join(op, place);
                    clusters.happened[v as usize] = true;
                }
                Action::Cas(v, _) => {
                    clusters.chained = true;
                    clusters.happened[v as usize] |= op.certain();
                }
                Action::Refused(_) => clusters.refused += 1,
                Action::Write(_) => {}
            }
        }
        if clusters.chained {
            clusters.spread_happened();
        }
        Some(clusters)
    }

    /// What a compare-and-set that happened has found, happened too.
    fn spread_happened(&mut self) {
        let mut work: Vec<Val> = (0..self.of.len() as Val)
            .filter(|v| self.happened[*v as usize])
            .collect();
        while let Some(v) = work.pop() {
            if let Some(old) = self.found(v)
                && !std::mem::replace(&mut self.happened[old as usize], true)
            {
                work.push(old);
            }
        }
    }

    /// The value that the writer of `v` found, where it is a compare-and-set.
    fn found(&self, v: Val) -> Option<Val> {
        match self.ops.get(self.of[v as usize].writer as usize)?.action {
            Action::Cas(old, _) => Some(old),
            _ => None,
        }
    }

    /// A value that was seen and that nobody wrote, or a read that ended before its write began.
    fn impossible(&self) -> Option<Vec<u32>> {
        let written = (1..).zip(self.of.iter().zip(&self.happened).skip(1));
        for (v, (cluster, happened)) in written {
            if cluster.writer == NONE {
                if *happened {
                    let seer = (0..)
                        .zip(self.ops)
                        .find(|(_, op)| op.action.needs() == Some(v) && self.counts(op));
                    return Some(vec![seer.map_or(cluster.finisher, |(place, _)| place)]);
                }
            } else if cluster.finish < Edge::at(self.ops[cluster.writer as usize].start) {
                return Some(vec![cluster.writer, cluster.finisher]);
            }
        }
        None
    }

    /// Whether an operation surely happened.
    fn counts(&self, op: &RegisterOp) -> bool {
        op.certain()
            || op
                .action
                .writes()
                .is_some_and(|v| self.happened[v as usize])
    }

    /// The chains; an error is what contradicts itself inside one.
    fn blocks(&self) -> Result<Vec<Block>, Vec<u32>> {
        let happened = (0..self.of.len() as Val).filter(|v| self.happened[*v as usize]);
        if !self.chained {
            let mut blocks = Vec::with_capacity(happened.clone().count());
            blocks.extend(happened.map(|v| self.block(v)));
            return Ok(blocks);
        }
        let next = self.successors()?;
        let mut blocks = Vec::new();
        let (mut reached, mut all) = (0, 0);
        for head in happened {
            all += 1;
            if self.found(head).is_none() {
                let (block, length) = self.chain(head, &next)?;
                reached += length;
                blocks.push(block);
            }
        }
        if reached < all {
            Err(self.cycle(&next))
        } else {
            Ok(blocks)
        }
    }

    /// For each value, the one that a compare-and-set from it put there; an error names two that did so.
    fn successors(&self) -> Result<Vec<Val>, Vec<u32>> {
        let mut next = vec![ABSENT; self.of.len()];
        for v in (1..self.of.len() as Val).filter(|v| self.happened[*v as usize]) {
            let Some(old) = self.found(v) else { continue };
            let taken = std::mem::replace(&mut next[old as usize], v);
            if taken != ABSENT {
                return Err(vec![
                    self.of[taken as usize].writer,
                    self.of[v as usize].writer,
                ]);
            }
        }
        Ok(next)
    }

    /// Walks a chain from its end, so that each cluster is held against the least finish of all later ones.
    fn chain(&self, head: Val, next: &[Val]) -> Result<(Block, usize), Vec<u32>> {
        let mut values = vec![head];
        let mut at = next[head as usize];
        while at != ABSENT {
            values.push(at);
            at = next[at as usize];
        }
        let last = values.len() - 1;
        let mut block = self.block(values[last]);
        let mut finisher = self.of[values[last] as usize].finisher;
        for v in values[..last].iter().rev() {
            let cluster = self.block(*v);
            if cluster.start > block.finish {
                let mut between: Vec<u32> =
                    values.iter().map(|v| self.of[*v as usize].writer).collect();
                between.extend([self.of[*v as usize].starter, finisher]);
                return Err(between);
            }
            if cluster.finish < block.finish {
                finisher = self.of[*v as usize].finisher;
            }
            block = Block {
                head: *v,
                finish: block.finish.min(cluster.finish),
                start: block.start.max(cluster.start),
            };
        }
        Ok((block, values.len()))
    }

    /// A cluster as a chain of one.
    fn block(&self, head: Val) -> Block {
        let Cluster { finish, start, .. } = self.of[head as usize];
        let finish = if head == ABSENT { Edge::BEFORE } else { finish };
        Block {
            head,
            finish,
            start,
        }
    }

    /// Compare-and-sets that found what only they themselves lead to.
    fn cycle(&self, next: &[Val]) -> Vec<u32> {
        let mut reached = vec![false; self.of.len()];
        for head in (0..self.of.len() as Val).filter(|v| self.found(*v).is_none()) {
            let mut at = head;
            while !std::mem::replace(&mut reached[at as usize], true) && next[at as usize] != ABSENT
            {
                at = next[at as usize];
            }
        }
        let first =
            (1..self.of.len() as Val).find(|v| !reached[*v as usize] && self.happened[*v as usize]);
        let mut around = Vec::new();
        let mut at = first;
        while let Some(v) = at {
            around.push(self.of[v as usize].writer);
            at = self.found(v).filter(|v| Some(*v) != first);
        }
        around
    }

    /// The operations that show that two blocks must both come first: the witnesses, and what links them to their values.
    fn conflict(&self, a: &Block, b: &Block) -> Vec<usize> {
        let next = if self.chained {
            self.successors().unwrap_or_default()
        } else {
            Vec::new()
        };
        let mut witnesses = Vec::new();
        for block in [a, b] {
            let mut at = Some(block.head);
            while let Some(v) = at {
                let cluster = &self.of[v as usize];
                if cluster.finish == block.finish && v != ABSENT {
                    witnesses.push(cluster.finisher);
                }
                if cluster.start == block.start {
                    witnesses.push(cluster.starter);
                }
                at = next.get(v as usize).copied().filter(|v| *v != ABSENT);
            }
        }
        self.with_writers(witnesses)
    }

    /// Whether every refused compare-and-set finds a moment in this order at which its value was not there.
    fn place_refused(&self, mut blocks: Vec<Block>) -> bool {
        // A zone that runs backward comes first where two begin at once; the initial state comes before everything.
        blocks.sort_by_key(|b| (b.head != ABSENT, b.finish.min(b.start), b.finish < b.start));
        let reign = self.reigns(&blocks);
        self.ops.iter().all(|op| match op.action {
            Action::Refused(v) => {
                let (from, to) = reign[v as usize];
                from.is_some_and(|from| op.start <= from) || op.end >= to
            }
            _ => true,
        })
    }

    /// From when to when each value stands, if every operation takes effect as early as the order allows. `None`: from the beginning; what
    /// never stands has no time at all.
    fn reigns(&self, blocks: &[Block]) -> Vec<(Option<Time>, Time)> {
        let next = self.successors().unwrap_or_default();
        let mut order = Vec::with_capacity(self.of.len());
        for block in blocks {
            order.push(block.head);
            while next[order[order.len() - 1] as usize] != ABSENT {
                order.push(next[order[order.len() - 1] as usize]);
            }
        }
        let mut reign = vec![(None, Time::ZERO); self.of.len()];
        let mut now = Time::ZERO;
        for (i, &v) in order.iter().enumerate() {
            let cluster = &self.of[v as usize];
            if let Some(writer) = self.ops.get(cluster.writer as usize) {
                now = now.max(writer.start);
            }
            if let Some(before) = i.checked_sub(1) {
                reign[order[before] as usize].1 = now;
            }
            reign[v as usize] = ((v != ABSENT).then_some(now), Time::INFINITY);
            // All that saw it come before the next write: so the next one is not before the latest of their starts.
            now = now.max(cluster.start.time());
        }
        reign
    }

    /// With the writers of all values that these saw, and with somebody who saw each write of unknown outcome.
    fn with_writers(&self, mut work: Vec<u32>) -> Vec<usize> {
        let mut places = BTreeSet::new();
        while let Some(place) = work.pop() {
            if place != NONE && places.insert(place as usize) {
                let op = &self.ops[place as usize];
                let writer = op
                    .action
                    .needs()
                    .map_or(NONE, |v| self.of[v as usize].writer);
                work.extend([writer, self.seer(op)]);
            }
        }
        places.into_iter().collect()
    }

    /// For a write of unknown outcome that happened: who saw its value.
    fn seer(&self, op: &RegisterOp) -> u32 {
        let Some(v) = op.action.writes().filter(|_| !op.certain()) else {
            return NONE;
        };
        match self.of[v as usize].finisher {
            NONE => (0..)
                .zip(self.ops)
                .find(|(_, o)| o.action.needs() == Some(v) && self.counts(o))
                .map_or(NONE, |(p, _)| p),
            finisher => finisher,
        }
    }
}

impl Cluster {
    fn join(&mut self, op: &RegisterOp, place: u32) {
        let (start, finish) = (Edge::at(op.start), Edge::at(op.end));
        if finish < self.finish {
            (self.finish, self.finisher) = (finish, place);
        }
        if start > self.start {
            (self.start, self.starter) = (start, place);
        }
    }
}

/// Two blocks each of which must come before the other. Sorts them by finish.
fn conflict(blocks: &mut [Block]) -> Option<(Block, Block)> {
    sort_by_finish(blocks);
    // By rank, whose start is the greatest so far.
    let mut greatest: Vec<u32> = Vec::with_capacity(blocks.len());
    for (rank, b) in blocks.iter().enumerate() {
        let before = if b.start > b.finish {
            rank
        } else {
            finished_before(&blocks[..rank], b.start)
        };
        if let Some(a) = before
            .checked_sub(1)
            .map(|last| blocks[greatest[last] as usize])
            && b.finish < a.start
        {
            return Some((a, *b));
        }
        let best = greatest
            .last()
            .filter(|a| blocks[**a as usize].start >= b.start);
        greatest.push(best.copied().unwrap_or(rank as u32));
    }
    None
}

/// How many of these, sorted by finish, finish before: near the end, as a rule.
fn finished_before(blocks: &[Block], start: Edge) -> usize {
    let (mut from, mut step) = (blocks.len(), 1);
    while from > 0 && blocks[from - 1].finish >= start {
        let back = from.saturating_sub(step);
        if blocks[back].finish < start {
            return back + blocks[back..from].partition_point(|a| a.finish < start);
        }
        from = back;
        step *= 2;
    }
    from
}

/// Moves that one block may cost, on average, before it is no longer called nearly sorted.
const MOVES_A_BLOCK: usize = 16;

/// Blocks come in order of first sight, which is nearly that of their finish: insertion then takes a few moves each.
fn sort_by_finish(blocks: &mut [Block]) {
    let mut left = blocks.len() * MOVES_A_BLOCK;
    for i in 1..blocks.len() {
        let block = blocks[i];
        let mut at = i;
        while at > 0 && blocks[at - 1].finish > block.finish && left > 0 {
            blocks[at] = blocks[at - 1];
            at -= 1;
            left -= 1;
        }
        blocks[at] = block;
        if left == 0 {
            blocks.sort_unstable_by_key(|b| b.finish);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;
    use crate::search::{Found, search};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Operations that mostly fit together: a register that is really there, and now and then an answer that is wrong.
    fn random(rng: &mut ChaCha8Rng) -> Vec<RegisterOp> {
        let (n, spread, wrong) = (
            rng.random_range(1..14),
            rng.random_range(1..12),
            rng.random_range(0..8),
        );
        let (mut value, mut next) = (ABSENT, 1);
        let mut ops = Vec::new();
        for place in 0..n {
            let at = 20 + 4 * u64::from(place);
            let (before, after) = (
                rng.random_range(0..=spread * 2),
                rng.random_range(0..=spread * 2),
            );
            let unknown = rng.random_range(0..6) == 0;
            let seen = if rng.random_range(0..12) < wrong {
                rng.random_range(0..next + 1)
            } else {
                value
            };
            let action = match rng.random_range(0..9) {
                0..4 => Action::Read(seen),
                4..6 => Action::Write(next),
                6..8 => Action::Cas(seen, next),
                _ if seen != value => Action::Refused(seen),
                _ => Action::Refused(rng.random_range(0..next + 1)),
            };
            let happened = !unknown || rng.random_range(0..2) == 0;
            if let Some(v) = action.writes() {
                next += 1;
                value = if happened { v } else { value };
            }
            let end = if unknown && action.writes().is_some() {
                Time::INFINITY
            } else {
                Time(at + after)
            };
            ops.push(RegisterOp {
                action,
                start: Time(at.saturating_sub(before)),
                end,
                place,
            });
        }
        ops.sort_by_key(|op| (op.start, op.place));
        ops
    }

    #[test]
    fn it_agrees_with_the_search_and_its_contradictions_stand_alone() {
        let cases = std::env::var("SCHISM_ORACLE_CASES")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(40_000_u64);
        let (mut yes, mut no, mut unsure) = (0_u64, 0_u64, 0_u64);
        for case in 0..cases {
            let ops = random(&mut ChaCha8Rng::seed_from_u64(case));
            let search = |ops: &[RegisterOp]| search(ops, 32, &Budget::unlimited());
            match decide(&ops, 32) {
                Zones::Linearizable => {
                    assert!(
                        matches!(search(&ops), Found::Order(_)),
                        "case {case}: {ops:#?}"
                    );
                    yes += 1;
                }
                Zones::Contradiction(places) => {
                    assert_eq!(search(&ops), Found::Nothing, "case {case}: {ops:#?}");
                    let alone: Vec<RegisterOp> = places.iter().map(|p| ops[*p]).collect();
                    assert_eq!(
                        search(&alone),
                        Found::Nothing,
                        "case {case}: {alone:#?} of {ops:#?}"
                    );
                    no += 1;
                }
                Zones::Unsure => unsure += 1,
            }
        }
        assert!(
            yes > cases / 10 && no > cases / 10,
            "{yes} linearizable, {no} not, {unsure} unsure"
        );
        assert!(
            unsure < cases / 5,
            "{unsure} of {cases} were left to the search"
        );
    }
}
