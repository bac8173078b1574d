//! A node that gets only a share of its time: stopped and let go in turn, as by a neighbour that takes the CPU.

use crate::nemesis::options::{duration, share};
use crate::nemesis::select;
use crate::nemesis::states::{going, stopped};
use crate::nemesis::{Family, Fault, FaultOption, FaultOptions, View, World};
use crate::network::Proof;
use anyhow::{Result, bail};
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::Harm;
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// The family.
pub(super) struct Slow;

impl Family for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn harms(&self) -> &'static [Harm] {
        &[Harm::Behind]
    }

    fn summary(&self) -> &'static str {
        "SIGSTOP and SIGCONT in turn, so that a node has only a share of its time"
    }

    fn options(&self) -> &'static [FaultOption] {
        &[
            FaultOption {
                name: "share",
                default: "20%",
                help: "how much of its time the node keeps",
            },
            FaultOption {
                name: "period",
                default: "100ms",
                help: "how long one stop and one go take together, from 2ms",
            },
        ]
    }

    fn understands(&self, options: &FaultOptions) -> Result<()> {
        times(options).map(drop)
    }

    fn aim(
        &self,
        shape: &str,
        options: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        let nodes = select::free_nodes(shape, view, rng)?;
        let (go, stop) = times(options)?;
        Ok(Box::new(Slowed {
            nodes,
            names: view.names.clone(),
            go,
            stop,
            stopped_since: None,
            stopped: Duration::ZERO,
            goes: 0,
            begun: Instant::now(),
        }))
    }
}

/// How long it goes and how long it is stopped, in turn.
fn times(options: &FaultOptions) -> Result<(Duration, Duration)> {
    let (share, period) = (share(options, "share")?, duration(options, "period")?);
    if period < Duration::from_millis(2) {
        bail!("period must be at least 2ms");
    }
    if share <= 0.0 || share >= 1.0 {
        bail!("share must be more than 0% and less than 100%");
    }
    let go = period.mul_f64(share);
    Ok((go, period.saturating_sub(go)))
}

struct Slowed {
    nodes: Vec<usize>,
    names: Vec<String>,
    go: Duration,
    stop: Duration,
    /// When the stop that is in force began.
    stopped_since: Option<Instant>,
    /// How long all stops before it took.
    stopped: Duration,
    /// How often it was let go.
    goes: u64,
    begun: Instant,
}

impl Slowed {
    fn stop(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.stopped_since = Some(Instant::now());
        self.nodes
            .iter()
            .try_for_each(|node| world.pause(id, *node))
    }

    fn go(&mut self, id: u64, world: &mut World) -> Result<()> {
        if let Some(since) = self.stopped_since.take() {
            self.stopped += since.elapsed();
        }
        self.nodes
            .iter()
            .try_for_each(|node| world.resume(id, *node))
    }
}

impl Fault for Slowed {
    fn what(&self) -> String {
        format!(
            "slow {}: stopped {} ms of every {} ms",
            select::list(&self.nodes, &self.names),
            self.stop.as_millis(),
            (self.stop + self.go).as_millis()
        )
    }

    fn value(&self, _: &World) -> Map<String, Value> {
        select::value(&self.nodes, &self.names)
    }

    fn nodes(&self) -> &[usize] {
        &self.nodes
    }

    fn inject(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.begun = Instant::now();
        self.stop(id, world)
    }

    fn prove(&mut self, world: &mut World) -> Result<Proof> {
        Ok(stopped(&self.nodes, &self.names, world))
    }

    fn every(&self) -> Option<Duration> {
        Some(if self.stopped_since.is_some() {
            self.stop
        } else {
            self.go
        })
    }

    fn drive(&mut self, id: u64, world: &mut World) -> Result<()> {
        if self.stopped_since.is_some() {
            self.goes += 1;
            self.go(id, world)
        } else {
            self.stop(id, world)
        }
    }

    fn heal(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.go(id, world)
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        let mut proof = going(&self.nodes, &self.names, world);
        let lasted = self.begun.elapsed();
        // Stopped for good it would have been paused, and not slow.
        proof.proved &= self.goes > 0 || lasted < (self.stop + self.go) * 2;
        proof.evidence = format!(
            "{}; it was stopped for {} of {} ms, and let go {} times",
            proof.evidence,
            self.stopped.as_millis(),
            lasted.as_millis(),
            self.goes
        );
        Ok(proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_period_is_left() {
        let options = |share: &str, period: &str| {
            FaultOptions::from([
                ("share".to_owned(), share.to_owned()),
                ("period".to_owned(), period.to_owned()),
            ])
        };
        let ms = Duration::from_millis;
        assert_eq!(times(&options("20%", "100ms")).unwrap(), (ms(20), ms(80)));
        for (share, period) in [("0%", "1s"), ("100%", "1s"), ("5%", "1ms"), ("5", "1s")] {
            assert!(times(&options(share, period)).is_err(), "{share} {period}");
        }
    }
}
