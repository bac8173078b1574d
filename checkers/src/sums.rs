//! Whether some of these numbers add up to that one: subset sum, exactly, as far as a bound of its own allows.
//!
//! All sums that are reachable and from which the target still is are kept, sorted. There are never more than the window between the
//! least and the greatest of them, so increments of a counter cost little even by the thousand; what would cost too much is not decided.

use crate::Budget;

/// How many sums are kept at once, and how many are made in all.
const KEPT_MAX: usize = 1 << 20;
const MADE_MAX: usize = 1 << 26;

/// Whether a subset of `numbers` has this sum; nothing where that would take too long.
pub(crate) fn subset_has_sum(numbers: &[i128], target: i128, budget: &Budget<'_>) -> Option<bool> {
    let mut numbers: Vec<i128> = numbers.iter().copied().filter(|n| *n != 0).collect();
    // The largest first: they leave the least to choose.
    numbers.sort_unstable_by_key(|n| (std::cmp::Reverse(n.abs()), *n));
    let sum = |positive: bool| -> i128 { numbers.iter().filter(|n| (**n > 0) == positive).sum() };
    let (mut most, mut least) = (sum(true), sum(false));
    let mut sums: Vec<i128> = vec![0];
    let mut made = 0;
    for number in &numbers {
        if *number > 0 {
            most -= number;
        } else {
            least -= number;
        }
        let (from, to) = (target - most, target - least);
        sums = merged(&sums, *number, from, to);
        made += sums.len();
        if sums.len() > KEPT_MAX || made > MADE_MAX || budget.is_exhausted() {
            return None;
        }
    }
    Some(sums.binary_search(&target).is_ok())
}

/// The sums with and without one more number, those from which the target cannot be reached left out; sorted, each once.
fn merged(sums: &[i128], number: i128, from: i128, to: i128) -> Vec<i128> {
    let mut with = sums.iter().map(|s| s + number).peekable();
    let mut without = sums.iter().copied().peekable();
    let mut both = Vec::with_capacity(sums.len());
    loop {
        let next = match (with.peek(), without.peek()) {
            (Some(a), Some(b)) => *a.min(b),
            (Some(a), None) => *a,
            (None, Some(b)) => *b,
            (None, None) => return both,
        };
        with.next_if_eq(&next);
        without.next_if_eq(&next);
        if (from..=to).contains(&next) {
            both.push(next);
        }
    }
}

/// How many ranges of sums are kept at once.
const RANGES_MAX: usize = 1 << 14;

/// All sums of subsets of numbers that come one after another, as ranges of multiples of a unit: few, where the numbers are small.
pub(crate) struct Sums {
    unit: i128,
    /// Sorted, apart from each other; in units.
    ranges: Vec<(i128, i128)>,
    made: usize,
    /// Whether there were too many to be kept.
    lost: bool,
}

impl Sums {
    /// For numbers that all are multiples of this.
    pub(crate) fn of_multiples(unit: i128) -> Self {
        Self {
            unit: unit.max(1),
            ranges: vec![(0, 0)],
            made: 0,
            lost: false,
        }
    }

    /// One more number to choose from.
    pub(crate) fn add(&mut self, number: i128) {
        if number == 0 || self.lost {
            return;
        }
        let number = number / self.unit;
        let mut all: Vec<(i128, i128)> = self
            .ranges
            .iter()
            .map(|(a, b)| (a + number, b + number))
            .collect();
        all.extend(&self.ranges);
        all.sort_unstable();
        let mut ranges: Vec<(i128, i128)> = Vec::with_capacity(all.len());
        for (from, to) in all {
            match ranges.last_mut() {
                Some((_, end)) if from <= *end + 1 => *end = to.max(*end),
                _ => ranges.push((from, to)),
            }
        }
        self.made += ranges.len();
        self.lost = ranges.len() > RANGES_MAX || self.made > MADE_MAX;
        self.ranges = ranges;
    }

    /// Whether some subset has this sum; nothing where that would take too long.
    pub(crate) fn has(&self, sum: i128) -> Option<bool> {
        if sum % self.unit != 0 {
            return Some(false);
        }
        if self.lost {
            return None;
        }
        let sum = sum / self.unit;
        let after = self.ranges.partition_point(|(from, _)| *from <= sum);
        Some(after > 0 && self.ranges[after - 1].1 >= sum)
    }
}

/// The greatest number that divides all of these.
pub(crate) fn common_divisor(numbers: impl Iterator<Item = i128>) -> i128 {
    numbers.fold(0, |a, b| {
        let (mut a, mut b) = (a, b.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(numbers: &[i128], target: i128) -> Option<bool> {
        subset_has_sum(numbers, target, &Budget::unlimited())
    }

    #[test]
    fn every_small_case_is_what_trying_all_subsets_says() {
        let numbers = [3, -2, 7, 7, -11, 5, 0];
        let sum = |mask: u32| -> i128 {
            let chosen = (0..numbers.len()).filter(|i| mask >> i & 1 == 1);
            chosen.map(|i| numbers[i]).sum()
        };
        let all: Vec<i128> = (0..1 << numbers.len()).map(sum).collect();
        for target in -20..30 {
            assert_eq!(
                decided(&numbers, target),
                Some(all.contains(&target)),
                "{target}"
            );
        }
    }

    #[test]
    fn ranges_of_sums_are_what_trying_all_subsets_says() {
        for numbers in [&[3, 2, 7, 7, 11, 5, 0][..], &[3, -2, 7], &[4, -6, 10, 2]] {
            let mut sums = Sums::of_multiples(common_divisor(numbers.iter().copied()));
            for n in 0..=numbers.len() {
                let all: Vec<i128> = (0..1_u32 << n)
                    .map(|mask| {
                        (0..n)
                            .filter(|i| mask >> i & 1 == 1)
                            .map(|i| numbers[i])
                            .sum()
                    })
                    .collect();
                for target in -40..60 {
                    assert_eq!(sums.has(target), Some(all.contains(&target)), "{target}");
                }
                numbers
                    .get(n)
                    .into_iter()
                    .for_each(|number| sums.add(*number));
            }
        }
    }

    #[test]
    fn many_equal_numbers_are_decided_and_powers_of_three_are_not() {
        assert_eq!(decided(&vec![2; 5000], 4001), Some(false));
        assert_eq!(decided(&vec![2; 5000], 4002), Some(true));
        let powers: Vec<i128> = (0..60).map(|n| 3_i128.pow(n)).collect();
        assert_eq!(decided(&powers, 2 * 3_i128.pow(50)), Some(false));
        let noise: Vec<i128> = (1..200)
            .map(|n: i128| (n * n * 1_000_003 + 17 * n * n * n) % 1_000_000_007)
            .collect();
        assert_eq!(decided(&noise, 5_000_000_001), None);
    }
}
