//! Between which rates `k` of `n` leaves it.

/// The interval in which the rate behind `k` of `n` lies, with a confidence of 95 %: Wilson 1927.
pub(crate) fn wilson(k: u64, n: u64) -> (f64, f64) {
    const Z: f64 = 1.96;
    if n == 0 {
        return (0.0, 1.0);
    }
    let (k, n) = (k as f64, n as f64);
    let share = k / n;
    let middle = share + Z * Z / (2.0 * n);
    let width = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    let round = |x: f64| (x.clamp(0.0, 1.0) * 1e4).round() / 1e4;
    (
        round((middle - width) / whole),
        round((middle + width) / whole),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe 1998, table I: 15 of 148 and 0 of 20, method 3.
        assert_eq!(wilson(15, 148), (0.0624, 0.1605));
        assert_eq!(wilson(0, 20), (0.0, 0.1611));
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }
}
