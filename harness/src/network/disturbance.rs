//! What becomes of the packets of a link that is neither cut nor sound: they come late, twice, in another order, damaged, or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Link;

/// Links that are disturbed, each in its way.
pub type Disturbed = BTreeMap<Link, Disturbance>;

/// How a link is disturbed. Zero is "not at all", for each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Disturbance {
    /// How much later each packet arrives.
    pub delay: Duration,
    /// How far that varies: at most (uniform), or as the standard deviation (normal).
    pub jitter: Duration,
    /// How it varies.
    pub distribution: Distribution,
    /// The share of packets that are lost.
    pub loss: f64,
    /// The share that arrives twice.
    pub duplicate: f64,
    /// The share that skips the delay, and so overtakes others.
    pub reorder: f64,
    /// The share of which one bit is flipped.
    pub corrupt: f64,
    /// Bits a second, at most.
    pub rate: Option<u64>,
}

/// How a delay varies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Distribution {
    /// Every value up to the jitter is as likely as any other.
    #[default]
    Uniform,
    /// The bell curve.
    Normal,
}

impl Disturbance {
    /// Whether it does anything.
    pub fn is_any(&self) -> bool {
        *self
            != Self {
                distribution: self.distribution,
                ..Self::default()
            }
    }

    /// Both on one link: delays and jitters add up, each share hits what the other one has spared, the lower rate counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let either = |a: f64, b: f64| 1.0 - (1.0 - a) * (1.0 - b);
        let normal = [self, other]
            .iter()
            .any(|d| !d.jitter.is_zero() && d.distribution == Distribution::Normal);
        Self {
            delay: self.delay + other.delay,
            jitter: self.jitter + other.jitter,
            distribution: if normal {
                Distribution::Normal
            } else {
                Distribution::Uniform
            },
            loss: either(self.loss, other.loss),
            duplicate: either(self.duplicate, other.duplicate),
            reorder: either(self.reorder, other.reorder),
            corrupt: either(self.corrupt, other.corrupt),
            rate: self.rate.into_iter().chain(other.rate).min(),
        }
    }

    /// The longest delay that is worth waiting for.
    pub fn delay_max(&self) -> Duration {
        match self.distribution {
            Distribution::Uniform => self.delay + self.jitter,
            Distribution::Normal => self.delay + self.jitter * 5,
        }
    }

    /// The share of packets that arrive as they were sent.
    pub fn sound(&self) -> f64 {
        (1.0 - self.loss) * (1.0 - self.corrupt)
    }
}

impl std::fmt::Display for Disturbance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if !self.delay.is_zero() {
            let jitter = match (self.jitter.is_zero(), self.distribution) {
                (true, _) => String::new(),
                (false, Distribution::Uniform) => format!(" ± {} (uniform)", time(self.jitter)),
                (false, Distribution::Normal) => format!(" ± {} (normal)", time(self.jitter)),
            };
            parts.push(format!("delay {}{jitter}", time(self.delay)));
        }
        let shares = [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ];
        for (name, share) in shares.into_iter().filter(|(_, share)| *share > 0.0) {
            parts.push(format!("{name} {} %", percent(share)));
        }
        if let Some(rate) = self.rate {
            parts.push(format!("rate {} kbit/s", rate / 1000));
        }
        f.write_str(&parts.join(", "))
    }
}

fn time(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    format!("{} ms", (ms * 1e2).round() / 1e2)
}

/// A share for people: as many digits as it needs, up to two.
fn percent(share: f64) -> f64 {
    (share * 1e4).round() / 1e2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_on_one_link_add_up() {
        let ms = Duration::from_millis;
        let one = Disturbance {
            delay: ms(20),
            loss: 0.1,
            rate: Some(2_000_000),
            ..Disturbance::default()
        };
        let other = Disturbance {
            delay: ms(30),
            jitter: ms(5),
            distribution: Distribution::Normal,
            loss: 0.2,
            rate: Some(1_000_000),
            ..Disturbance::default()
        };
        let both = one.and(other);
        assert_eq!(both, other.and(one));
        assert!((both.loss - 0.28).abs() < 1e-9);
        assert_eq!(
            both.to_string(),
            "delay 50 ms ± 5 ms (normal), loss 28 %, rate 1000 kbit/s"
        );
        assert!(both.is_any() && !Disturbance::default().is_any());
    }
}
