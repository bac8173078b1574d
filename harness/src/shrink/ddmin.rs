//! Delta debugging: from many that fail together to few of which each is needed (Zeller and Hildebrandt 2002, `ddmin`).
//!
//! Pure: whether a subset fails is the caller's business, and may be an error, which ends the search.

/// A subset of `0..count` that fails, and that does not without any one of its members. `fails` is asked of subsets in ascending order; that the whole
/// fails is taken for granted, and an empty one is asked for first, for nothing is easier to explain.
pub(crate) fn ddmin<E>(
    count: usize,
    mut fails: impl FnMut(&[usize]) -> Result<bool, E>,
) -> Result<Vec<usize>, E> {
    let mut current: Vec<usize> = (0..count).collect();
    if current.is_empty() || fails(&[])? {
        return Ok(Vec::new());
    }
    let mut parts = 2;
    while current.len() > 1 {
        if let Some(part) = first(chunks(&current, parts), &mut fails)? {
            (current, parts) = (part, 2);
            continue;
        }
        // Of two parts, what is left without one is the other one.
        let without = if parts > 2 {
            let all = chunks(&current, parts).into_iter();
            let without = all.map(|part| {
                let stays = |i: &usize| !part.contains(i);
                current.iter().copied().filter(stays).collect()
            });
            first(without.collect(), &mut fails)?
        } else {
            None
        };
        if let Some(rest) = without {
            (current, parts) = (rest, (parts - 1).max(2));
        } else if parts < current.len() {
            parts = (parts * 2).min(current.len());
        } else {
            break;
        }
    }
    Ok(current)
}

fn first<E>(
    subsets: Vec<Vec<usize>>,
    fails: &mut impl FnMut(&[usize]) -> Result<bool, E>,
) -> Result<Option<Vec<usize>>, E> {
    for subset in subsets {
        if fails(&subset)? {
            return Ok(Some(subset));
        }
    }
    Ok(None)
}

/// So many parts, as equal as can be.
fn chunks(items: &[usize], parts: usize) -> Vec<Vec<usize>> {
    let mut rest = items;
    let mut all = Vec::with_capacity(parts);
    for left in (1..=parts).rev() {
        let (part, more) = rest.split_at(rest.len().div_ceil(left));
        all.push(part.to_vec());
        rest = more;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    /// What is left where all of `needed` together fail, and how often it was asked.
    fn left(count: usize, needed: &[usize]) -> (Vec<usize>, usize) {
        let mut asked = 0;
        let left = ddmin(count, |subset| {
            asked += 1;
            assert!(subset.is_sorted(), "{subset:?}");
            Ok::<_, Infallible>(needed.iter().all(|n| subset.contains(n)))
        });
        (left.unwrap(), asked)
    }

    #[test]
    fn the_one_that_matters_is_left_of_twelve() {
        for one in 0..12 {
            let (left, asked) = left(12, &[one]);
            assert_eq!(left, [one]);
            assert!(asked <= 9, "{asked} for {one}");
        }
    }

    #[test]
    fn what_only_fails_together_stays_together() {
        for a in 0..8 {
            for b in a + 1..8 {
                assert_eq!(left(8, &[a, b]).0, [a, b]);
            }
        }
        assert_eq!(left(7, &[0, 3, 6]).0, [0, 3, 6]);
        assert_eq!(left(5, &[0, 1, 2, 3, 4]).0, [0, 1, 2, 3, 4]);
        assert_eq!(left(3, &[]).0, [] as [usize; 0]);
        assert_eq!(left(0, &[]), (Vec::new(), 0));
    }

    #[test]
    fn each_of_what_is_left_is_needed() {
        // Any two of the first four, or the last one and its neighbour.
        let fails = |subset: &[usize]| {
            let four = subset.iter().filter(|i| **i < 4).count();
            four >= 2 || (subset.contains(&8) && subset.contains(&9))
        };
        let left = ddmin(10, |s| Ok::<_, Infallible>(fails(s))).unwrap();
        assert!(fails(&left));
        for leave in &left {
            let rest: Vec<usize> = left.iter().copied().filter(|i| i != leave).collect();
            assert!(!fails(&rest), "{leave} is not needed in {left:?}");
        }
    }

    #[test]
    fn parts_are_the_whole() {
        let items: Vec<usize> = (0..11).collect();
        for parts in 2..=11 {
            let all = chunks(&items, parts);
            assert_eq!(all.concat(), items);
            let sizes: BTreeSet<usize> = all.iter().map(Vec::len).collect();
            assert!(sizes.len() <= 2 && !sizes.contains(&0), "{sizes:?}");
        }
    }

    #[test]
    fn an_error_ends_it() {
        let mut asked = 0;
        let ended = ddmin(12, |_| {
            asked += 1;
            if asked == 3 { Err("enough") } else { Ok(false) }
        });
        assert_eq!((ended, asked), (Err("enough"), 3));
    }
}
