//! Vector clocks that share what they have in common: how much of each lane (a chain of operations) somebody knows.
//!
//! A clock is a tree of eight-fold nodes in one arena, never changed after it was made: setting a lane copies one path, and merging two clocks
//! only descends where they differ. So a thousand lanes that ended long ago cost nothing, and fifty lanes two levels of 32 bytes.

/// The root of a clock; 0 knows nothing.
pub(crate) type Clock = u32;

const FAN: usize = 8;
/// Bytes of a node.
const NODE_BYTES: usize = FAN * 4;

/// The clocks of one check.
pub(crate) struct Clocks {
    levels: u32,
    nodes: Vec<[u32; FAN]>,
}

impl Clocks {
    /// For so many lanes.
    pub(crate) fn new(lanes: usize) -> Self {
        let mut levels = 1;
        while FAN.pow(levels) < lanes {
            levels += 1;
        }
        Self {
            levels,
            nodes: vec![[0; FAN]],
        }
    }

    /// How much memory they take.
    pub(crate) fn bytes(&self) -> u64 {
        (self.nodes.len() * NODE_BYTES) as u64
    }

    /// A mark to go back to.
    pub(crate) fn mark(&self) -> usize {
        self.nodes.len()
    }

    /// Forgets every clock that was made since: nobody may use one.
    pub(crate) fn forget_since(&mut self, mark: usize) {
        self.nodes.truncate(mark);
    }

    /// How much of a lane is known.
    pub(crate) fn get(&self, clock: Clock, lane: u32) -> u32 {
        (0..self.levels).rev().fold(clock, |node, level| {
            self.nodes[node as usize][slot(lane, level)]
        })
    }

    /// The same clock with so much known of a lane.
    pub(crate) fn set(&mut self, clock: Clock, lane: u32, value: u32) -> Clock {
        self.set_at(clock, lane, value, self.levels - 1)
    }

    fn set_at(&mut self, node: u32, lane: u32, value: u32, level: u32) -> u32 {
        let mut copy = self.nodes[node as usize];
        let place = slot(lane, level);
        copy[place] = match level {
            0 => value,
            _ => self.set_at(copy[place], lane, value, level - 1),
        };
        self.push(copy)
    }

    fn push(&mut self, node: [u32; FAN]) -> u32 {
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    /// What either of them knows.
    pub(crate) fn merge(&mut self, a: Clock, b: Clock) -> Clock {
        self.merge_at(a, b, self.levels - 1)
    }

    fn merge_at(&mut self, a: u32, b: u32, level: u32) -> u32 {
        if a == b || b == 0 {
            return a;
        }
        if a == 0 {
            return b;
        }
        let (left, right) = (self.nodes[a as usize], self.nodes[b as usize]);
        let mut both = left;
        for (place, value) in both.iter_mut().enumerate() {
            *value = match level {
                0 => left[place].max(right[place]),
                _ => self.merge_at(left[place], right[place], level - 1),
            };
        }
        if both == left {
            a
        } else if both == right {
            b
        } else {
            self.push(both)
        }
    }

    /// Every lane of which the first knows more than the second: the lane, and how much each knows.
    pub(crate) fn ahead(&self, a: Clock, b: Clock, found: &mut impl FnMut(u32, u32, u32)) {
        self.ahead_at(a, b, self.levels - 1, 0, found);
    }

    fn ahead_at(
        &self,
        a: u32,
        b: u32,
        level: u32,
        first: u32,
        found: &mut impl FnMut(u32, u32, u32),
    ) {
        if a == b || a == 0 {
            return;
        }
        let (left, right) = (self.nodes[a as usize], self.nodes[b as usize]);
        for place in 0..FAN {
            let lane = first + ((place as u32) << (3 * level));
            match level {
                0 if left[place] > right[place] => found(lane, left[place], right[place]),
                0 => {}
                _ => self.ahead_at(left[place], right[place], level - 1, lane, found),
            }
        }
    }
}

fn slot(lane: u32, level: u32) -> usize {
    (lane >> (3 * level)) as usize % FAN
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn they_are_vectors_with_maxima() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for lanes in [1, 8, 9, 70, 600] {
            let mut clocks = Clocks::new(lanes);
            let mut known: Vec<(Clock, Vec<u32>)> = vec![(0, vec![0; lanes])];
            for _ in 0..300 {
                let pick = |rng: &mut ChaCha8Rng| rng.random_range(0..known.len());
                let ((a, left), (b, right)) =
                    (known[pick(&mut rng)].clone(), known[pick(&mut rng)].clone());
                let merged = clocks.merge(a, b);
                let mut both: Vec<u32> = left.iter().zip(&right).map(|(l, r)| *l.max(r)).collect();
                let lane = rng.random_range(0..lanes);
                both[lane] += 1;
                let clock = clocks.set(merged, lane as u32, both[lane]);
                let got: Vec<u32> = (0..lanes).map(|l| clocks.get(clock, l as u32)).collect();
                assert_eq!(got, both);
                let mut ahead = Vec::new();
                clocks.ahead(a, b, &mut |lane, l, r| ahead.push((lane as usize, l, r)));
                let expected: Vec<_> = (0..lanes)
                    .filter(|l| left[*l] > right[*l])
                    .map(|l| (l, left[l], right[l]))
                    .collect();
                assert_eq!(ahead, expected);
                known.push((clock, both));
            }
        }
    }
}
