//! From a seed to a plan: swarm testing (Groce et al. 2012), for each seed has a character of its own.
//!
//! Some seeds are calm and some are stormy, in some everything happens within a fifth of a second and in some over seconds: what one
//! mixture never shows, another one does. Every draw comes from the seed alone.

use super::families::Families;
use super::plan::{Plan, PlannedFault, PlannedOperation};
use super::setting::{CLIENTS, Setting};
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use schism_targets::simulator::fates::{self, Weather};
use schism_targets::simulator::{
    DRIFT_PPM_ALLOWED, DRIFT_PPM_BROKEN, DRIFT_PPM_MAX, Fault, Host, Kept, Link, Machine, Micros,
    Perturbation, Whom,
};
use schism_workloads::generator::stream;
use std::ops::RangeInclusive;

/// The most faults of one plan, packets apart.
const FAULTS_MAX: u32 = 3;
/// In how long all operations are begun, at least and at most, in milliseconds.
const WINDOW_MS: (f64, f64) = (100.0, 2000.0);
/// How long a fault is in force.
const FAULT_MS: (f64, f64) = (20.0, 2000.0);
/// So many messages on a link between nodes, and between a client and a node, meet the weather.
const MESSAGES: (u64, u64) = (300, 30);
/// The stream of plans; the generators' begin at 0.
const STREAM: u64 = 1 << 40;

/// The plan of a seed.
pub(super) fn plan(seed: u64, setting: &Setting, families: &Families) -> Plan {
    let mut draw = Draw {
        rng: stream(seed, STREAM),
        nodes: setting.wanted.nodes,
        lengths: setting.workload.simulated_operations(),
        families,
        leaves: false,
    };
    draw.leaves = families.spares_majority() && draw.rng.random_bool(0.5);
    let window = draw.between(WINDOW_MS);
    let machines = draw.machines();
    let operations = draw.operations(window);
    let faults = draw.faults(window);
    let messages = if families.has("packets") {
        draw.messages()
    } else {
        Vec::new()
    };
    Plan {
        seed,
        drawn: setting.variety.draw(seed),
        machines,
        faults,
        operations,
        messages,
    }
}

struct Draw<'a> {
    rng: ChaCha8Rng,
    nodes: usize,
    /// How many operations each client does.
    lengths: RangeInclusive<u32>,
    families: &'a Families,
    /// Whether nodes leave and join, or lose their disks: who has both is not one of a known number.
    leaves: bool,
}

impl Draw<'_> {
    /// Small ones as likely as large ones.
    fn log_uniform(&mut self, (least, most): (f64, f64)) -> f64 {
        self.rng.random_range(least.ln()..most.ln()).exp()
    }

    /// A time.
    fn between(&mut self, limits: (f64, f64)) -> Micros {
        Micros((self.log_uniform(limits) * 1e3) as u64)
    }

    fn within(&mut self, window: Micros) -> Micros {
        Micros(self.rng.random_range(0..=window.0))
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        *choices.choose(&mut self.rng).expect("there is a choice")
    }

    fn machines(&mut self) -> Vec<Machine> {
        if self.rng.random_bool(0.5) {
            return vec![Machine::default(); self.nodes];
        }
        let drift = if self.families.wild_clocks() {
            DRIFT_PPM_BROKEN
        } else {
            self.one_of(&[DRIFT_PPM_MAX, DRIFT_PPM_ALLOWED])
        };
        let utmost = self.rng.random_bool(0.5);
        (0..self.nodes)
            .map(|_| self.machine(drift as i64, utmost))
            .collect()
    }

    /// With a clock that is faster or slower by so many millionths: just as many, or fewer.
    fn machine(&mut self, drift: i64, utmost: bool) -> Machine {
        let drift_ppm = if utmost {
            self.one_of(&[-drift, drift])
        } else {
            self.rng.random_range(-drift..=drift)
        };
        Machine {
            drift_ppm,
            offset_ms: self.rng.random_range(0..1000),
            sync_us: self.between((0.2, 30.0)),
        }
    }

    fn operations(&mut self, window: Micros) -> Vec<PlannedOperation> {
        let (least, most) = (*self.lengths.start(), *self.lengths.end());
        // Few as likely as many.
        let each = self.log_uniform((least.into(), f64::from(most) + 1.0)) as usize;
        let mut operations = Vec::with_capacity(CLIENTS * each);
        for client in 0..CLIENTS {
            let mut times: Vec<Micros> = (0..each).map(|_| self.within(window)).collect();
            times.sort_unstable();
            operations.extend(times.into_iter().map(|at_us| PlannedOperation {
                at_us,
                client,
                what: None,
            }));
        }
        operations
    }

    fn faults(&mut self, window: Micros) -> Vec<PlannedFault> {
        let families = &self.families.timed()[..];
        if families.is_empty() {
            return Vec::new();
        }
        let count = self.rng.random_range(0..=FAULTS_MAX);
        let mut faults: Vec<PlannedFault> =
            (0..count).map(|_| self.fault(window, families)).collect();
        faults.sort_by_key(|fault| fault.at_us);
        for (fault, id) in faults.iter_mut().zip(1..) {
            fault.id = id;
        }
        faults
    }

    fn fault(&mut self, window: Micros, families: &[&str]) -> PlannedFault {
        let at_us = self.within(window);
        let until_us = at_us.plus(self.between(FAULT_MS));
        let fault = match self.one_of(families) {
            "kill" => Fault::Kill {
                who: self.whom(),
                kept: self.kept(),
            },
            "power" => Fault::Power {
                who: self.whom_or_all(),
                kept: self.kept(),
            },
            "pause" => Fault::Pause { who: self.whom() },
            "clock" => Fault::Clock {
                who: self.whom(),
                by_ms: self.one_of(&[-1, 1]) * (self.between((0.1, 60.0)).0 as i64),
            },
            "membership" if self.leaves => Fault::Leave { who: self.whom() },
            "membership" => Fault::Wipe {
                who: self.whom(),
                minority: self.families.spares_majority(),
            },
            _ => self.partition(),
        };
        PlannedFault {
            id: 0,
            at_us,
            until_us,
            fault,
        }
    }

    fn whom(&mut self) -> Whom {
        let node = Host::Node(self.rng.random_range(0..self.nodes));
        self.one_of(&[Whom::Leader, Whom::Host(node)])
    }

    fn whom_or_all(&mut self) -> Whom {
        let some = self.whom();
        self.one_of(&[Whom::All, some])
    }

    fn kept(&mut self) -> Kept {
        let part = self.rng.random_range(1..100);
        Kept(self.one_of(&[0, part, 100]))
    }

    fn partition(&mut self) -> Fault {
        match self.rng.random_range(0..4) {
            0 => Fault::Partition {
                groups: self.groups(),
            },
            1 => {
                let [from, to] = [self.side(), self.side()];
                Fault::OneWay { from, to }
            }
            _ => Fault::Isolate {
                who: self.whom(),
                with: self.some_clients(),
            },
        }
    }

    /// Nodes in two groups, seldom in three; clients with them, or none.
    fn groups(&mut self) -> Vec<Vec<Host>> {
        let mut hosts: Vec<Host> = (0..self.nodes).map(Host::Node).collect();
        hosts.extend(self.some_clients());
        hosts.shuffle(&mut self.rng);
        let count = self.one_of(&[2, 2, 2, 3]);
        let mut groups = vec![Vec::new(); count];
        for (place, host) in hosts.into_iter().enumerate() {
            let group = if place < count {
                place
            } else {
                self.rng.random_range(0..count)
            };
            groups[group].push(host);
        }
        groups
    }

    /// One node or several.
    fn side(&mut self) -> Vec<Host> {
        let nodes: Vec<usize> = (0..self.nodes).collect();
        let count = self.rng.random_range(1..=self.nodes.div_ceil(2));
        let mut side: Vec<Host> = nodes
            .sample(&mut self.rng, count)
            .copied()
            .map(Host::Node)
            .collect();
        side.sort_unstable();
        side
    }

    fn some_clients(&mut self) -> Vec<Host> {
        if self.rng.random_bool(0.5) {
            return Vec::new();
        }
        let half = (0..CLIENTS).filter(|_| self.rng.random_bool(0.5));
        half.map(Host::Client).collect()
    }

    fn messages(&mut self) -> Vec<Perturbation> {
        let mut list = Vec::new();
        if self.rng.random_bool(0.4) {
            return list;
        }
        let weather = Weather {
            lost: self.one_of(&[0.0, 0.01, 0.05, 0.2]),
            twice: self.one_of(&[0.0, 0.01, 0.05]),
            late: self.one_of(&[0.0, 0.05, 0.3]),
            delay_max: self.between((1.0, 1000.0)),
        };
        let connection = Weather {
            lost: weather.lost / 2.0,
            twice: 0.0,
            ..weather
        };
        for link in self.links() {
            let (messages, weather) = match link {
                Link {
                    from: Host::Node(_),
                    to: Host::Node(_),
                } => (MESSAGES.0, weather),
                _ => (MESSAGES.1, connection),
            };
            fates::draw(&mut self.rng, link, messages, weather, &mut list);
        }
        list
    }

    /// Every link between two nodes, and between clients and nodes.
    fn links(&self) -> Vec<Link> {
        let nodes = || (0..self.nodes).map(Host::Node);
        let clients = || (0..CLIENTS).map(Host::Client);
        let pair = |(a, b): (Host, Host)| [Link { from: a, to: b }, Link { from: b, to: a }];
        let between = nodes().flat_map(|a| nodes().filter(move |b| a < *b).map(move |b| (a, b)));
        let outside = nodes().flat_map(|a| clients().map(move |b| (a, b)));
        between.chain(outside).flat_map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Wanted;
    use std::collections::BTreeMap;

    #[test]
    fn a_seed_is_one_plan_and_plans_differ() {
        let all = [
            "partition",
            "kill",
            "power",
            "pause",
            "packets",
            "clock",
            "membership",
        ];
        let names: Vec<String> = all.map(str::to_owned).to_vec();
        let families = Families::parse(&names, &Families::default()).unwrap();
        let wanted = Wanted {
            target: "single-leader".to_owned(),
            options: BTreeMap::new(),
            workload: "register".to_owned(),
            workload_options: BTreeMap::new(),
            nodes: 3,
            properties: Vec::new(),
        };
        let setting = wanted.resolve().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let drawn = plan(seed, &setting, &families);
            assert_eq!(drawn, plan(seed, &setting, &families));
            drawn.check(3, CLIENTS).unwrap();
            let text = serde_json::to_string(&drawn).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), drawn);
            seen.extend(drawn.faults.iter().map(|f| f.fault.family()));
        }
        assert_eq!(seen.len(), all.len() - 1, "{seen:?}");
        assert_ne!(plan(1, &setting, &families), plan(2, &setting, &families));
    }
}
