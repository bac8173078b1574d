//! Pure, seeded generators, and the few combinators that workloads are made of.
//!
//! A generator belongs to one client. It draws from its own stream (`ChaCha`, stable between versions), so what a client is going to do
//! depends on the seed and on what it has observed itself, never on how clients interleave.

use crate::{Completion, Invocation};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::VecDeque;
use std::time::Duration;

/// What one client does.
pub trait Generator: Send {
    /// The next operation, or `None` when there is nothing left to do.
    fn next(&mut self) -> Option<Invocation>;

    /// Told what came of each operation.
    fn observe(&mut self, _invocation: &Invocation, _completion: &Completion) {}
}

/// The stream of one component: everything that is random in a run comes from its seed through one of these.
pub fn stream(seed: u64, component: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(component);
    rng
}

/// Chooses among operations with weights.
#[derive(Debug, Clone)]
pub struct Mix {
    choices: Vec<(&'static str, u32)>,
    total: u32,
}

impl Mix {
    /// Functions with their weights; at least one weight must be above zero.
    pub fn new(choices: &[(&'static str, u32)]) -> Self {
        let total = choices.iter().map(|(_, weight)| weight).sum();
        assert!(total > 0, "a mix needs a weight above zero");
        Self {
            choices: choices.to_vec(),
            total,
        }
    }

    /// Draws one.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> &'static str {
        let mut at = rng.random_range(0..self.total);
        for (f, weight) in &self.choices {
            if at < *weight {
                return f;
            }
            at -= weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }
}

/// Values that no other client writes: `worker + 1`, then in steps of `workers`.
#[derive(Debug, Clone)]
pub struct Unique {
    next: u64,
    step: u64,
}

impl Unique {
    /// For one of `workers` clients.
    pub fn new(worker: u64, workers: u64) -> Self {
        Self {
            next: worker + 1,
            step: workers.max(1),
        }
    }

    /// The next value.
    pub fn draw(&mut self) -> u64 {
        let value = self.next;
        self.next += self.step;
        value
    }
}

/// What was done once, again: whatever comes of it.
#[derive(Debug, Clone, Default)]
pub struct Listed(VecDeque<Invocation>);

impl Listed {
    /// These operations, in order.
    pub fn new(operations: impl IntoIterator<Item = Invocation>) -> Self {
        Self(operations.into_iter().collect())
    }
}

impl Generator for Listed {
    fn next(&mut self) -> Option<Invocation> {
        self.0.pop_front()
    }
}

/// When a client's operations are due: exponential gaps, so that arrivals are independent of one another (open loop).
#[derive(Debug)]
pub struct Arrivals {
    rng: ChaCha8Rng,
    mean: Option<Duration>,
    due: Duration,
    /// Times that are given, instead of drawn.
    listed: Option<VecDeque<Duration>>,
}

impl Arrivals {
    /// `rate` operations a second; none means as fast as answers come (closed loop).
    pub fn new(rng: ChaCha8Rng, rate: Option<f64>) -> Self {
        let mean = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        Self {
            rng,
            mean,
            due: Duration::ZERO,
            listed: None,
        }
    }

    /// These times, whatever happens meanwhile; after the last one, at once.
    pub fn listed(times: impl IntoIterator<Item = Duration>) -> Self {
        Self {
            // It draws nothing; that it has a mean says that it is no closed loop.
            listed: Some(times.into_iter().collect()),
            ..Self::new(stream(0, 0), Some(1.0))
        }
    }

    /// Whether operations are due as fast as answers come.
    pub fn is_closed_loop(&self) -> bool {
        self.mean.is_none()
    }

    /// When the next operation is due, since the clients began.
    pub fn next_due(&mut self) -> Duration {
        if let Some(listed) = &mut self.listed {
            self.due = listed.pop_front().unwrap_or(self.due);
        } else if let Some(mean) = self.mean {
            let uniform: f64 = self.rng.random_range(f64::EPSILON..1.0);
            self.due += mean.mul_f64(-uniform.ln());
        }
        self.due
    }

    /// Drops what has become due long before `now`: a client that was held up does not catch up in a burst. Being late by less than one
    /// mean gap (a timer's rounding, a slow answer) is made up for, so that the rate is kept.
    pub fn skip_to(&mut self, now: Duration) {
        let late = now.saturating_sub(self.due) > self.mean.unwrap_or_default();
        if late && self.listed.is_none() {
            self.due = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream_and_another_component_another() {
        let draw = |seed, component| -> Vec<u32> {
            let mut rng = stream(seed, component);
            (0..8).map(|_| rng.random_range(0..1000)).collect()
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn unique_values_of_two_clients_never_meet() {
        let (mut a, mut b) = (Unique::new(0, 2), Unique::new(1, 2));
        let a: Vec<_> = (0..100).map(|_| a.draw()).collect();
        assert!((0..100).map(|_| b.draw()).all(|v| !a.contains(&v)));
    }

    #[test]
    fn arrivals_keep_the_rate() {
        let mut arrivals = Arrivals::new(stream(7, 0), Some(100.0));
        let last = (0..10_000).map(|_| arrivals.next_due()).last().unwrap();
        // The sum of 10,000 exponential gaps of 10 ms: 100 s, standard deviation 1 s.
        assert!((95.0..105.0).contains(&last.as_secs_f64()), "{last:?}");
    }

    #[test]
    fn a_client_that_was_held_up_makes_up_for_a_little_and_not_for_much() {
        let mut arrivals = Arrivals::new(stream(7, 0), Some(100.0));
        let due = arrivals.next_due();
        arrivals.skip_to(due + Duration::from_millis(9));
        assert_eq!(arrivals.due, due);
        arrivals.skip_to(due + Duration::from_secs(3));
        assert!(arrivals.next_due() > due + Duration::from_secs(3));
    }

    #[test]
    fn what_is_listed_is_done_when_it_is_listed() {
        let ms = Duration::from_millis;
        let mut arrivals = Arrivals::listed([ms(5), ms(9)]);
        assert_eq!(arrivals.next_due(), ms(5));
        arrivals.skip_to(ms(10_000));
        assert_eq!(arrivals.next_due(), ms(9), "late is late");
        assert!(!arrivals.is_closed_loop());
        let read = Invocation::on("x", "read", ());
        let mut listed = Listed::new([read.clone()]);
        assert_eq!(listed.next(), Some(read));
        assert_eq!(listed.next(), None);
    }

    #[test]
    fn a_mix_draws_by_weight() {
        let mix = Mix::new(&[("read", 3), ("write", 1), ("cas", 0)]);
        let mut rng = stream(1, 1);
        let reads = (0..4000).filter(|_| mix.draw(&mut rng) == "read").count();
        assert!((2800..3200).contains(&reads), "{reads}");
    }
}
