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
