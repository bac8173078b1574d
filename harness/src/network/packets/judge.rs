//! Whether what was measured is what was asked for: pure, with bounds that chance does not leave.
//!
//! Shares are held against five standard deviations of their binomial distribution. Nothing holds an upper bound on delays: a busy machine
//! makes packets later than any fault.

use super::{Count, Sample};
use crate::network::Disturbance;
use std::time::Duration;

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::network) struct Verdict {
    /// What does not fit; nothing: all does.
    pub(in crate::network) misfits: Vec<String>,
    /// What was seen, in words.
    pub(in crate::network) seen: String,
}

/// The shortest delay that can be told from none.
const CLOCK_SLACK: Duration = Duration::from_millis(1);

/// Holds the measurement against the disturbance; `count` is what the engine has counted meanwhile.
pub(in crate::network) fn judge(how: &Disturbance, sample: &Sample, count: &Count) -> Verdict {
    let mut misfits = Vec::new();
    let mut seen = vec![missing(how, sample, &mut misfits)];
    if count.seen < sample.sent {
        misfits.push(format!(
            "only {} packets took the disturbed way",
            count.seen
        ));
    }
    if !how.delay.is_zero() {
        seen.push(delay(how, sample, &mut misfits));
    }
    if how.duplicate > 0.0 {
        seen.push(copies(how, sample, &mut misfits));
    }
    if how.reorder > 0.0 {
        seen.push(order(how, sample, &mut misfits));
    }
    if let Some(rate) = how.rate {
        seen.push(pace(how, rate, sample, count, &mut misfits));
    }
    Verdict {
        misfits,
        seen: seen.join(", "),
    }
}

/// Five standard deviations around so many of `n`.
fn bounds(n: u64, least: f64, most: f64) -> (f64, f64) {
    let n = n as f64;
    let off = |p: f64| 5.0 * (n * p * (1.0 - p)).sqrt() + 1.0;
    ((n * least - off(least)).max(0.0), n * most + off(most))
}

/// What is lost, and what is damaged and so thrown away by who receives it.
fn missing(how: &Disturbance, sample: &Sample, misfits: &mut Vec<String>) -> String {
    let lost = sample.sent - sample.arrived;
    let most = 1.0 - how.sound();
    // Where one is lost its copy may arrive.
    let least = most * (1.0 - how.duplicate);
    let (low, high) = bounds(sample.sent, least, most);
    // A link whose queue is full drops more.
    let too_many = lost as f64 > high && how.rate.is_none();
    if (lost as f64) < low || too_many {
        misfits.push(format!(
            "{lost} of {} probes did not arrive, and it should be {:.0} to {:.0}",
            sample.sent,
            low.ceil(),
            high.floor()
        ));
    }
    format!("{lost} of {} probes did not arrive", sample.sent)
}

fn delay(how: &Disturbance, sample: &Sample, misfits: &mut Vec<String>) -> String {
    // Of those that do not skip it, the middle one.
    let Some(middle) = sample.quantile(0.5 + how.reorder / 2.0) else {
        misfits.push("none arrived, so no delay was seen".to_owned());
        return "no delay seen".to_owned();
    };
    let floor = how.delay.saturating_sub(how.jitter.mul_f64(0.75));
    if middle + CLOCK_SLACK < floor {
        misfits.push(format!("the median delay is only {}", ms(middle)));
    }
    let spread = match (sample.delays.first(), sample.delays.last()) {
        (Some(first), Some(last)) => last.saturating_sub(*first),
        _ => Duration::ZERO,
    };
    if sample.arrived >= 20 && spread + CLOCK_SLACK < how.jitter / 2 {
        misfits.push(format!("the delay varies only by {}", ms(spread)));
    }
    format!("median delay {}", ms(middle))
}

fn copies(how: &Disturbance, sample: &Sample, misfits: &mut Vec<String>) -> String {
    let (low, _) = bounds(sample.sent, how.duplicate * how.sound() * how.sound(), 0.0);
    let (_, high) = bounds(sample.sent, 0.0, how.duplicate);
    let crowded = how.rate.is_some();
    if (sample.copies as f64) > high || ((sample.copies as f64) < low && !crowded) {
        misfits.push(format!(
            "{} arrived twice, and it should be {:.0} to {:.0}",
            sample.copies,
            low.ceil(),
            high.floor()
        ));
    }
    format!("{} arrived twice", sample.copies)
}

fn order(how: &Disturbance, sample: &Sample, misfits: &mut Vec<String>) -> String {
    // Chance leaves out all of them once in 10^8.
    let sure = sample.arrived as f64 * how.reorder > 20.0 && how.reorder < 0.8;
    if sure && sample.overtaken == 0 && how.delay > Duration::from_millis(5) && how.rate.is_none() {
        misfits.push("none was overtaken".to_owned());
    }
    format!("{} were overtaken", sample.overtaken)
}

fn pace(
    how: &Disturbance,
    rate: u64,
    sample: &Sample,
    count: &Count,
    misfits: &mut Vec<String>,
) -> String {
    // Packets come closer together, or farther apart, by as much as their delays differ.
    let blur = how.delay_max().saturating_sub(how.delay) * 2;
    let time = |bytes: u64| Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
    let spans = sample.spans.iter().filter(|(bytes, _)| *bytes > 0);
    let skip = how.reorder > 0.0;
    let fast = spans
        .clone()
        .filter(|(bytes, span)| !skip && *span + blur + CLOCK_SLACK < time(*bytes).mul_f64(0.85));
    let fast = fast.count();
    if fast > 0 {
        misfits.push(format!("{fast} links are faster than they should be"));
    }
    if spans.clone().count() == 0 && count.overflowed == 0 {
        misfits.push("too few arrived to see how fast the links are".to_owned());
    }
    let (bytes, span) = spans.fold((0, Duration::ZERO), |(b, s), (bytes, span)| {
        (b + bytes, s + *span)
    });
    let measured = bytes as f64 * 8.0 / span.as_secs_f64().max(1e-9) / 1000.0;
    format!("{measured:.0} kbit/s a link")
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Count = Count {
        seen: 1000,
        lost: 0,
        overflowed: 0,
        duplicated: 0,
        corrupted: 0,
        skipped: 0,
    };

    fn sample(arrived: u64, delay_ms: u64) -> Sample {
        Sample {
            sent: 200,
            arrived,
            delays: vec![Duration::from_millis(delay_ms); arrived as usize],
            ..Sample::default()
        }
    }

    fn misfits(how: Disturbance, sample: &Sample, count: &Count) -> usize {
        judge(&how, sample, count).misfits.len()
    }

    #[test]
    fn a_loss_must_be_within_what_chance_allows() {
        let how = Disturbance {
            loss: 0.3,
            ..Disturbance::default()
        };
        for (arrived, fits) in [(200, false), (140, true), (110, true), (20, false)] {
            let misfits = misfits(how, &sample(arrived, 0), &SEEN);
            assert_eq!(misfits == 0, fits, "{arrived}");
        }
    }

    #[test]
    fn a_delay_must_be_there_and_may_be_longer() {
        let how = Disturbance {
            delay: Duration::from_millis(60),
            ..Disturbance::default()
        };
        for (delay, fits) in [(0, false), (50, false), (60, true), (400, true)] {
            assert_eq!(
                misfits(how, &sample(200, delay), &SEEN) == 0,
                fits,
                "{delay}"
            );
        }
        let jitter = Disturbance {
            jitter: Duration::from_millis(20),
            ..how
        };
        assert_eq!(
            misfits(jitter, &sample(200, 60), &SEEN),
            1,
            "it does not vary"
        );
    }

    #[test]
    fn copies_and_order_are_looked_at() {
        let twice = Disturbance {
            duplicate: 0.3,
            ..Disturbance::default()
        };
        let of = |copies| Sample {
            copies,
            ..sample(200, 0)
        };
        assert_eq!(misfits(twice, &of(60), &SEEN), 0);
        assert_eq!(misfits(twice, &of(0), &SEEN), 1);
        assert_eq!(misfits(twice, &of(190), &SEEN), 1);
        let reorder = Disturbance {
            reorder: 0.25,
            delay: Duration::from_millis(50),
            ..Disturbance::default()
        };
        assert_eq!(misfits(reorder, &sample(200, 50), &SEEN), 1);
    }

    #[test]
    fn a_link_must_not_be_faster_than_its_rate() {
        let how = Disturbance {
            rate: Some(1_000_000),
            ..Disturbance::default()
        };
        let of = |ms| Sample {
            spans: vec![(12_500, Duration::from_millis(ms))],
            ..sample(200, 0)
        };
        assert_eq!(misfits(how, &of(100), &SEEN), 0);
        assert_eq!(misfits(how, &of(150), &SEEN), 0);
        assert_eq!(misfits(how, &of(20), &SEEN), 1);
    }

    #[test]
    fn packets_that_went_another_way_prove_nothing() {
        let how = Disturbance {
            loss: 0.01,
            ..Disturbance::default()
        };
        let count = Count { seen: 3, ..SEEN };
        assert_eq!(misfits(how, &sample(200, 0), &count), 1);
    }
}
