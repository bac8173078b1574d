//! What becomes of one packet on a disturbed link: pure, drawn from the link's own stream of the run's seed.

use crate::network::{Distribution, Disturbance};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::time::{Duration, Instant};

/// A link's queue holds what its rate lets out in this time; what comes on top is dropped, as by a full router.
const BACKLOG_MAX: Duration = Duration::from_millis(500);

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    /// Lost by chance.
    Lost,
    /// Dropped because the link's queue was full.
    Overflowed,
    /// It goes on.
    Passes {
        /// When.
        due: Instant,
        /// Which bit of it is flipped, as a share of its length.
        flip: Option<f64>,
        /// When a copy of it follows.
        copy: Option<Instant>,
        /// Whether it skips the delay.
        skips: bool,
    },
}

/// Draws it. `free_at` is when the link has sent all that it was given before.
pub(super) fn draw(
    how: &Disturbance,
    length: usize,
    now: Instant,
    free_at: &mut Instant,
    rng: &mut ChaCha8Rng,
) -> Fate {
    // Every packet draws the same number of times, so that the stream does not depend on what is asked for.
    let [lost, twice, flipped, skips]: [bool; 4] =
        [how.loss, how.duplicate, how.corrupt, how.reorder].map(|share| rng.random_bool(share));
    let (place, first, second) = (rng.random::<f64>(), delay(how, rng), delay(how, rng));
    if lost {
        return Fate::Lost;
    }
    let mut leaves = || -> Option<Instant> {
        let Some(rate) = how.rate else {
            return Some(now);
        };
        let begin = now.max(*free_at);
        if begin.duration_since(now) > BACKLOG_MAX {
            return None;
        }
        *free_at = begin + Duration::from_secs_f64(length as f64 * 8.0 / rate as f64);
        Some(*free_at)
    };
    let Some(sent) = leaves() else {
        return Fate::Overflowed;
    };
    let copy = if twice { leaves() } else { None };
    Fate::Passes {
        due: if skips { sent } else { sent + first },
        flip: flipped.then_some(place),
        copy: copy.map(|sent| sent + second),
        skips,
    }
}

fn delay(how: &Disturbance, rng: &mut ChaCha8Rng) -> Duration {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    let off = match how.distribution {
        Distribution::Uniform => 2.0 * a - 1.0,
        // Box and Muller; 1 - a is never 0.
        Distribution::Normal => {
            let bell = (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
            bell.clamp(-5.0, 5.0)
        }
    };
    let seconds = how.delay.as_secs_f64() + off * how.jitter.as_secs_f64();
    Duration::from_secs_f64(seconds.max(0.0))
}

/// Flips one bit behind the IP header; the checksums stay as they were.
pub(super) fn flip(bytes: &mut [u8], place: f64) {
    let header = bytes.first().map_or(0, |b| (b & 15) as usize * 4);
    let Some(body) = bytes.get_mut(header..).filter(|body| !body.is_empty()) else {
        return;
    };
    let bit = (place * body.len() as f64 * 8.0) as usize;
    if let Some(byte) = body.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schism_workloads::generator::stream;

    fn fates(how: Disturbance, n: usize) -> (Instant, Vec<Fate>) {
        let now = Instant::now();
        let (mut free_at, mut rng) = (now, stream(3, 4));
        let fates = (0..n).map(|_| draw(&how, 1000, now, &mut free_at, &mut rng));
        (now, fates.collect())
    }

    fn delays(now: Instant, fates: &[Fate]) -> Vec<f64> {
        let due = fates.iter().filter_map(|fate| match fate {
            Fate::Passes { due, .. } => Some(due.duration_since(now).as_secs_f64() * 1e3),
            _ => None,
        });
        due.collect()
    }

    #[test]
    fn shares_are_what_was_asked_for() {
        let how = Disturbance {
            loss: 0.3,
            duplicate: 0.2,
            corrupt: 0.1,
            ..Disturbance::default()
        };
        let (_, fates) = fates(how, 10_000);
        let lost = fates.iter().filter(|f| **f == Fate::Lost).count();
        let passed = fates.iter().filter_map(|f| match f {
            Fate::Passes { flip, copy, .. } => Some((flip.is_some(), copy.is_some())),
            _ => None,
        });
        let (flipped, copied): (Vec<bool>, Vec<bool>) = passed.unzip();
        let count = |of: &[bool]| of.iter().filter(|is| **is).count();
        assert!((2800..3200).contains(&lost), "{lost}");
        assert!((600..800).contains(&count(&flipped)));
        assert!((1300..1500).contains(&count(&copied)));
    }

    #[test]
    fn delays_vary_as_asked() {
        let ms = Duration::from_millis;
        for (distribution, within) in [(Distribution::Uniform, 10.0), (Distribution::Normal, 50.0)]
        {
            let how = Disturbance {
                delay: ms(60),
                jitter: ms(10),
                distribution,
                ..Disturbance::default()
            };
            let (now, fates) = fates(how, 5000);
            let delays = delays(now, &fates);
            let mean = delays.iter().sum::<f64>() / delays.len() as f64;
            assert!((mean - 60.0).abs() < 1.0, "{mean}");
            assert!(delays.iter().all(|d| (d - 60.0).abs() <= within + 1e-6));
            let far = delays.iter().any(|d| (d - 60.0).abs() > 15.0);
            assert_eq!(far, distribution == Distribution::Normal);
        }
    }

    #[test]
    fn a_rate_spaces_packets_and_its_queue_overflows() {
        let how = Disturbance {
            rate: Some(1_000_000),
            ..Disturbance::default()
        };
        let (now, fates) = fates(how, 100);
        let delays = delays(now, &fates);
        // 1000 bytes take 8 ms; the queue holds half a second.
        assert!((delays[0] - 8.0).abs() < 1e-6 && (delays[1] - 16.0).abs() < 1e-6);
        assert!((60..66).contains(&delays.len()), "{}", delays.len());
        assert!(fates.contains(&Fate::Overflowed));
    }

    #[test]
    fn the_flipped_bit_is_behind_the_ip_header() {
        for place in [0.0, 0.3, 0.999] {
            let mut bytes = vec![0x45; 60];
            flip(&mut bytes, place);
            assert_eq!(bytes[..20], [0x45; 20]);
            let changed = bytes.iter().map(|b| (b ^ 0x45).count_ones()).sum::<u32>();
            assert_eq!(changed, 1);
        }
        flip(&mut [0x45; 20], 0.5);
        flip(&mut [], 0.5);
    }
}
