//! Whether accesses to several registers can be put into one order that keeps the order of each session: sequential consistency.
//!
//! Lamport 1979; NP-complete (Gibbons and Korach 1997), so this is a search with memoization under a budget. A state is how far each lane of
//! each session came and what each register holds. What keeps it small, each step argued:
//!
//! - An observer (a read, a refused compare-and-set) whose turn it is and that the present value allows is taken at once.
//! - A write whose value nobody still to come needs is taken at once if nobody needs the present value either: it only replaces
//!   what nobody will see. One that need not have happened and that nobody needs is left out. Both only where no refused compare-and-set is
//!   left on the key: a value may serve to be another one than it expects.
//! - A value that somebody certain still needs and that no write still to come can put there again is not replaced.
//!
//! The write that ended first is tried first: most histories are nearly in the order of time. Memo keys are 128 bits, as in [`crate::search`].

use crate::Budget;
use crate::accesses::{Access, Lanes, Space, Version};
use crate::fixed::FixedMap;
use crate::search::spread;

/// What the search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is an order.
    Order,
    /// There is none.
    Nothing,
    /// The budget ran out: of what; the first operation that was not taken where the search came furthest, and how many were.
    OutOf(&'static str, u32, usize),
}

const BYTES_A_STATE: u64 = 32;
const STEPS_A_LOOK: u64 = 1 << 10;

/// Searches for an order of all that surely happened, and of some of the rest.
pub(crate) fn search(all: &[Access], space: &Space, budget: &Budget<'_>) -> Found {
    Search::new(all, space, budget).run(budget)
}

struct Search<'a> {
    all: &'a [Access],
    lanes: Lanes,
    /// By lane, how many of its operations were taken or left out.
    done: Vec<usize>,
    /// By key.
    value: Vec<Version>,
    /// By version, how many operations still to come look for it; and how many of these are certain.
    wants: Vec<u32>,
    needs: Vec<u32>,
    /// By version, how many writes of it are still to come.
    writes: Vec<u32>,
    /// By key, how many refused compare-and-sets are still to come.
    refused: Vec<u32>,
    /// How many that surely happened are still to come.
    due: usize,
    hash: u128,
    /// What was taken, with the value before.
    taken: Vec<(u32, Version)>,
    /// The most that were taken, and the first in time that was not, then.
    furthest: (usize, u32),
}

struct Choice {
    length: usize,
    /// What else to try, the most promising last.
    moves: Vec<u32>,
}

impl<'a> Search<'a> {
    fn new(all: &'a [Access], space: &Space, budget: &Budget<'_>) -> Self {
        let lanes = Lanes::new(all, &vec![true; all.len()], budget);
        let mut search = Self {
            all,
            done: vec![0; lanes.members.len()],
            lanes,
            value: space.initial.clone(),
            wants: vec![0; space.versions],
            needs: vec![0; space.versions],
            writes: vec![0; space.versions],
            refused: vec![0; space.initial.len()],
            due: all.iter().filter(|a| a.certain()).count(),
            hash: 0,
            taken: Vec::with_capacity(all.len()),
            furthest: (0, 0),
        };
        for access in all {
            search.count(access, true);
        }
        search
    }

    /// Counts an operation among those still to come, or no longer.
    fn count(&mut self, access: &Access, comes: bool) {
        let change = |n: &mut u32| *n = if comes { *n + 1 } else { *n - 1 };
        if let Some(version) = access.reads {
            change(&mut self.wants[version as usize]);
            if access.certain() {
                change(&mut self.needs[version as usize]);
            }
        }
        if let Some(version) = access.writes {
            change(&mut self.writes[version as usize]);
        }
        if access.refuses.is_some() {
            change(&mut self.refused[access.key as usize]);
        }
    }

    fn run(mut self, budget: &Budget<'_>) -> Found {
        let mut seen: FixedMap<u128, ()> = FixedMap::new();
        let mut choices: Vec<Choice> = Vec::new();
        let mut steps = 0_u64;
        loop {
            self.take_what_is_free();
            if self.due == 0 {
                return Found::Order;
            }
            if steps.is_multiple_of(STEPS_A_LOOK) {
                self.note_furthest();
                if budget.is_exhausted() {
                    return Found::OutOf("time", self.furthest.1, self.furthest.0);
                }
                let choices = (choices.len() * (48 + 4 * self.done.len())) as u64;
                if seen.len() as u64 * BYTES_A_STATE + choices > budget.memory_bytes {
                    return Found::OutOf("memory", self.furthest.1, self.furthest.0);
                }
            }
            steps += 1;
            if seen.insert(self.hash, ()).is_none() {
                let moves = self.moves();
                choices.push(Choice {
                    length: self.taken.len(),
                    moves,
                });
            }
            let next = loop {
                let Some(choice) = choices.last_mut() else {
                    return Found::Nothing;
                };
                if let Some(next) = choice.moves.pop() {
                    let length = choice.length;
                    self.back_to(length);
                    break next;
                }
                choices.pop();
            };
            self.take(next);
        }
    }

    fn note_furthest(&mut self) {
        if self.taken.len() < self.furthest.0 {
            return;
        }
        let heads =
            (0..self.done.len()).filter_map(|lane| self.lanes.members[lane].get(self.done[lane]));
        let certain = heads.filter(|at| self.all[**at as usize].certain());
        self.furthest = (self.taken.len(), certain.min().copied().unwrap_or(0));
    }

    fn place(key: u32, version: Version) -> u128 {
        spread(1 << 63 | u64::from(key) << 32 | u64::from(version))
    }

    /// Those whose turn it is: all that came before them in their sessions were taken.
    fn open(&self) -> Vec<u32> {
        let heads = (0..self.done.len())
            .filter_map(|lane| self.lanes.members[lane].get(self.done[lane]).copied());
        heads.filter(|at| self.is_open(*at)).collect()
    }

    fn is_open(&self, at: u32) -> bool {
        let access = &self.all[at as usize];
        let lanes = &self.lanes.sessions[access.session as usize];
        lanes.len() == 1
            || lanes.iter().all(|lane| {
                let next = self.lanes.members[*lane as usize].get(self.done[*lane as usize]);
                next.is_none_or(|next| self.all[*next as usize].end >= access.start)
            })
    }

    fn take_what_is_free(&mut self) {
        loop {
            let before = self.taken.len();
            for at in self.open() {
                // As long as it goes on in this lane.
                let mut next = Some(at);
                while let Some(at) = next.filter(|at| self.is_open(*at) && self.is_free(*at)) {
                    self.take(at);
                    let lane = self.lanes.of[at as usize] as usize;
                    next = self.lanes.members[lane].get(self.done[lane]).copied();
                }
            }
            if self.taken.len() == before {
                return;
            }
        }
    }

    fn is_free(&self, at: u32) -> bool {
        let access = &self.all[at as usize];
        let value = self.value[access.key as usize];
        match (access.reads, access.writes) {
            (Some(version), None) => version == value,
            (None, None) => access.refuses != Some(value),
            (None, Some(version)) => {
                access.certain()
                    && self.refused[access.key as usize] == 0
                    && self.wants[version as usize] == 0
                    && self.wants[value as usize] == 0
            }
            (Some(_), Some(_)) => false,
        }
    }

    /// The writes that may come next, the most promising last.
    fn moves(&self) -> Vec<u32> {
        let mut moves: Vec<u32> = self
            .open()
            .into_iter()
            .filter(|at| self.may_come(*at))
            .collect();
        moves.sort_unstable_by_key(|at| {
            let access = &self.all[*at as usize];
            std::cmp::Reverse((access.end, access.start, *at))
        });
        moves
    }

    fn may_come(&self, at: u32) -> bool {
        let access = &self.all[at as usize];
        let (Some(version), value) = (access.writes, self.value[access.key as usize]) else {
            return false;
        };
        if access.reads.is_some_and(|old| old != value) {
            return false;
        }
        if self.refused[access.key as usize] == 0
            && !access.certain()
            && self.wants[version as usize] == 0
        {
            return false;
        }
        // Itself is one of those that need the present value.
        let own = u32::from(access.reads.is_some() && access.certain());
        let needed = self.needs[value as usize] > own && self.writes[value as usize] == 0;
        !needed || version == value
    }

    fn take(&mut self, at: u32) {
        let access = self.all[at as usize];
        self.count(&access, false);
        self.done[self.lanes.of[at as usize] as usize] += 1;
        self.due -= usize::from(access.certain());
        self.hash ^= spread(u64::from(at));
        let before = self.value[access.key as usize];
        self.taken.push((at, before));
        if let Some(version) = access.writes {
            self.put(access.key, version);
        }
    }

    fn put(&mut self, key: u32, version: Version) {
        self.hash ^= Self::place(key, self.value[key as usize]) ^ Self::place(key, version);
        self.value[key as usize] = version;
    }

    fn back_to(&mut self, length: usize) {
        while self.taken.len() > length {
            let (at, before) = self.taken.pop().expect("more than none were taken");
            let access = self.all[at as usize];
            self.put(access.key, before);
            self.hash ^= spread(u64::from(at));
            self.due += usize::from(access.certain());
            self.done[self.lanes.of[at as usize] as usize] -= 1;
            self.count(&access, true);
        }
    }
}
