//! How many runs without a failure make a commit good.

/// The most runs that a commit is ever given: beyond that the rate is too low to bisect by.
const MOST: u64 = 10_000;

/// A commit that fails at this rate passes so many runs in a row with a chance of at most `risk`: `(1 - rate)^n <= risk`.
pub(super) fn runs(rate: f64, risk: f64) -> u64 {
    if rate >= 1.0 {
        return 1;
    }
    if rate <= 0.0 {
        return MOST;
    }
    let runs = (risk.ln() / (-rate).ln_1p()).ceil();
    (runs as u64).clamp(1, MOST)
}

/// How many commits a search among so many tests, about; each takes its part of the risk.
pub(super) fn steps(between: u64) -> u32 {
    between.max(2).next_power_of_two().ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_commit_is_seldom_called_good() {
        for rate in [0.01, 0.1, 0.3, 0.72, 0.999] {
            for risk in [0.05, 0.01] {
                let n = i32::try_from(runs(rate, risk)).unwrap();
                assert!((1.0 - rate).powi(n) <= risk, "{rate} {risk}");
                assert!(
                    n == 1 || (1.0 - rate).powi(n - 1) > risk,
                    "{rate} {risk}: one fewer does"
                );
            }
        }
        assert_eq!(runs(1.0, 0.05), 1);
        assert_eq!(runs(0.0, 0.05), MOST);
        assert_eq!(steps(1), 1);
        assert_eq!(steps(1000), 10);
    }
}
