//! Wall clocks that are wrong: ahead or behind, too fast or too slow, or jumping to and fro. Jepsen's bump, skew, strobe and reset.

use crate::cluster::Cluster;
use crate::nemesis::faketime::{self, Clock, Reading};
use crate::nemesis::options::{off_or_time, text};
use crate::nemesis::select;
use crate::nemesis::{Family, Fault, FaultOption, FaultOptions, Planned, View, World};
use crate::network::Proof;
use anyhow::{Context, Result, bail};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::{Harm, Target};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The family.
pub(super) struct Clocks;

/// Not slower than the rules of a proof can tell.
const STROBE_MIN: Duration = Duration::from_millis(10);
/// What the write of a clock and its first use may differ by.
const SLACK_MS: f64 = 25.0;
/// Over how long a rate is measured.
const RATE_OVER: Duration = Duration::from_millis(250);
/// How far a measured rate may be off, as a share of it.
const RATE_ERROR: f64 = 0.03;
/// How long it is measured at most, in milliseconds.
const RATE_LIMIT_MS: f64 = 1500.0;

impl Family for Clocks {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn harms(&self) -> &'static [Harm] {
        &[]
    }

    fn summary(&self) -> &'static str {
        "wall clocks that are wrong (libfaketime); monotonic clocks stay true"
    }

    fn options(&self) -> &'static [FaultOption] {
        &[
            FaultOption {
                name: "by",
                default: "drawn",
                help: "how far it jumps: a time with its sign such as +60s or -5m, or drawn: 128 ms to 4 min, ahead or behind",
            },
            FaultOption {
                name: "rate",
                default: "1",
                help: "how many seconds it counts in one, from 0.01 to 100",
            },
            FaultOption {
                name: "strobe",
                default: "off",
                help: "off, or a time such as 50ms: wrong for so long, right for so long, in turn",
            },
        ]
    }

    fn understands(&self, options: &FaultOptions) -> Result<()> {
        by(options)?;
        rate(options)?;
        strobe(options).map(drop)
    }

    fn possible(&self, _: &[&Planned], _: &dyn Target) -> Result<()> {
        faketime::library().map(drop)
    }

    fn before_start(&self, _: &FaultOptions, _: &Cluster) -> bool {
        true
    }

    fn prepare(&self, _: &[&Planned], cluster: &mut Cluster) -> Result<()> {
        faketime::prepare(cluster)
    }

    fn aim(
        &self,
        shape: &str,
        options: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        // Before the nodes are: a replay names them, and is to draw the same.
        let far = f64::exp2(rng.random_range(7.0..18.0));
        let drawn = if rng.random_bool(0.5) { far } else { -far };
        // Who does not run cannot say what its clock shows.
        let nodes = select::free_nodes(shape, view, rng)?;
        Ok(Box::new(Wrong {
            nodes,
            names: view.names.clone(),
            clock: Clock {
                ahead_ms: match by(options)? {
                    Some(by) => by,
                    // A rate alone is a fault as well.
                    None if (rate(options)? - 1.0).abs() > 1e-9 => 0.0,
                    None => drawn,
                },
                rate: rate(options)?,
            },
            strobe: strobe(options)?,
            right: false,
        }))
    }
}

/// In milliseconds; none: it is drawn.
fn by(options: &FaultOptions) -> Result<Option<f64>> {
    let value = text(options, "by");
    if value == "drawn" {
        return Ok(None);
    }
    let (sign, time) = match value.split_at_checked(1) {
        Some(("+", time)) => (1.0, time),
        Some(("-", time)) => (-1.0, time),
        _ => bail!("by = {value:?} has no sign: give +60s or -60s"),
    };
    let time = humantime::parse_duration(time)
        .with_context(|| format!("by = {value:?} is no time such as +60s"))?;
    if time > Duration::from_secs(10 * 365 * 24 * 3600) {
        bail!("by = {value:?} is more than ten years");
    }
    Ok(Some(sign * time.as_secs_f64() * 1e3))
}

fn rate(options: &FaultOptions) -> Result<f64> {
    let value = text(options, "rate");
    match value.parse() {
        Ok(rate) if (0.01..=100.0).contains(&rate) => Ok(rate),
        _ => bail!("rate = {value:?} is no number from 0.01 to 100"),
    }
}

fn strobe(options: &FaultOptions) -> Result<Option<Duration>> {
    off_or_time(options, "strobe", STROBE_MIN)
}

struct Wrong {
    nodes: Vec<usize>,
    names: Vec<String>,
    clock: Clock,
    strobe: Option<Duration>,
    /// Whether the strobe shows the true time now.
    right: bool,
}

impl Wrong {
    fn set(&self, id: u64, world: &mut World) -> Result<()> {
        let mut nodes = self.nodes.iter();
        nodes.try_for_each(|node| world.set_clock(id, *node, self.clock))
    }

    fn reset(&self, id: u64, world: &mut World) -> Result<()> {
        let mut nodes = self.nodes.iter();
        nodes.try_for_each(|node| world.reset_clock(id, *node))
    }

    /// How far a clock may be from what it is to be: never so far that a right one would pass for a wrong one.
    fn slack_ms(&self, error_ms: f64, rate: f64) -> f64 {
        let slack = SLACK_MS + error_ms + (rate - 1.0).abs() * SLACK_MS;
        let far = self.clock.ahead_ms.abs();
        if far > 0.0 {
            slack.min(far / 2.0)
        } else {
            slack
        }
    }

    /// Reads every clock back, and holds it against what all faults together make of it.
    fn read_back(&self, world: &mut World, some: bool) -> Proof {
        let mut proved = true;
        let mut read = 0;
        let mut evidence = Vec::new();
        for node in &self.nodes {
            let name = &self.names[*node];
            if world.held().contains(node) {
                evidence.push(format!("{name}: another fault holds it"));
                continue;
            }
            let address = world.cluster.addresses[*node].address;
            let Some(reading) = faketime::read(address) else {
                proved = false;
                evidence.push(format!("{name}: its clock cannot be read"));
                continue;
            };
            read += 1;
            let wish = world.clock(*node, reading.at);
            let slack = self.slack_ms(reading.error_ms, wish.rate);
            proved &= (reading.ahead_ms - wish.ahead_ms).abs() <= slack;
            let mut said = format!("{name}: {}", ahead(reading.ahead_ms));
            if (wish.rate - 1.0).abs() > 1e-9 {
                match measured_rate(address, reading) {
                    Some((rate, error)) => {
                        let slack = (error + 0.02 * wish.rate).min((wish.rate - 1.0).abs() / 2.0);
                        proved &= (rate - wish.rate).abs() <= slack;
                        said = format!("{said}, at {rate:.2} times the speed");
                    }
                    None => proved = false,
                }
            }
            evidence.push(said);
        }
        Proof {
            proved: proved && (read > 0 || !some),
            evidence: format!("{} (read from the node)", evidence.join("; ")),
        }
    }
}

/// The rate between a reading and another one, and how far it may be off: a busy machine makes readings vague, so the second one comes late enough for
/// the error to be small, but for a limit.
fn measured_rate(address: std::net::SocketAddr, first: Reading) -> Option<(f64, f64)> {
    loop {
        std::thread::sleep(RATE_OVER);
        let second = faketime::read(address)?;
        let between_ms = second.at.duration_since(first.at).as_secs_f64() * 1e3;
        let rate = 1.0 + (second.ahead_ms - first.ahead_ms) / between_ms;
        // What its clock has moved while a reading was under way.
        let error = rate.max(1.0) * (first.error_ms + second.error_ms) / between_ms;
        if error <= RATE_ERROR * rate || between_ms > RATE_LIMIT_MS {
            return Some((rate, error));
        }
    }
}

fn ahead(ms: f64) -> String {
    let (far, side) = (ms.abs(), if ms < 0.0 { "behind" } else { "ahead" });
    if far >= 1000.0 {
        format!("{:.2} s {side}", far / 1e3)
    } else {
        format!("{far:.0} ms {side}")
    }
}

impl Fault for Wrong {
    fn what(&self) -> String {
        let nodes = select::list(&self.nodes, &self.names);
        let mut what = format!("clock {nodes}: {}", ahead(self.clock.ahead_ms));
        if (self.clock.rate - 1.0).abs() > 1e-9 {
            what = format!("{what}, at {} times the speed", self.clock.rate);
        }
        if let Some(strobe) = self.strobe {
            what = format!(
                "{what}, wrong and right for {} ms in turn",
                strobe.as_millis()
            );
        }
        what
    }

    fn value(&self, _: &World) -> Map<String, Value> {
        let mut value = select::value(&self.nodes, &self.names);
        value.insert("ahead_ms".to_owned(), json!(self.clock.ahead_ms));
        value.insert("rate".to_owned(), json!(self.clock.rate));
        value
    }

    fn nodes(&self) -> &[usize] {
        &self.nodes
    }

    fn inject(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.set(id, world)
    }

    fn prove(&mut self, world: &mut World) -> Result<Proof> {
        Ok(self.read_back(world, true))
    }

    fn every(&self) -> Option<Duration> {
        self.strobe
    }

    fn drive(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.right = !self.right;
        if self.right {
            self.reset(id, world)
        } else {
            self.set(id, world)
        }
    }

    fn heal(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.reset(id, world)
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        Ok(self.read_back(world, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_clock_is_no_proof_of_a_small_jump() {
        let wrong = |ahead_ms| Wrong {
            nodes: vec![0],
            names: vec!["n1".to_owned()],
            clock: Clock {
                ahead_ms,
                rate: 1.0,
            },
            strobe: None,
            right: false,
        };
        for ahead_ms in [1.0, -12.0, 30.0, 60_000.0] {
            for error_ms in [0.1, 5.0, 500.0] {
                let slack = wrong(ahead_ms).slack_ms(error_ms, 1.0);
                assert!(slack < ahead_ms.abs(), "{ahead_ms} {error_ms}: {slack}");
            }
        }
    }

    #[test]
    fn jumps_have_a_sign() {
        let options = |value: &str| FaultOptions::from([("by".to_owned(), value.to_owned())]);
        assert_eq!(by(&options("+1m 30s")).unwrap(), Some(90_000.0));
        assert_eq!(by(&options("-250ms")).unwrap(), Some(-250.0));
        assert_eq!(by(&options("drawn")).unwrap(), None);
        for bad in ["", "60s", "+", "+soon", "+1000years"] {
            assert!(by(&options(bad)).is_err(), "{bad}");
        }
    }
}
