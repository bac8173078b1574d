//! The replicas of `single-leader` in the simulator: what each configuration promises over many seeds, and
//! what it does not promise, by fixed schedules.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod watched;

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use schism_targets::client;
use schism_targets::registry::target;
use schism_targets::replicas::single_leader::{
    Ack, Command, Config, Failover, Operation, ReadMode,
};
use schism_targets::replicas::{Millis, RequestId};
use schism_targets::route::Told;
use schism_targets::simulator::{Call, Fate, Host, Kept, Link, Micros, News, Perturbation, Setup};
use schism_targets::storage::Fsync;
use schism_targets::wire::{Said, kind};
use serde_json::{Value, json};
use watched::{Around, Sim, add, register, set, write};

fn with(ack: Ack, failover: Failover, read: ReadMode) -> impl Fn(&mut Config) {
    move |config| {
        config.ack = ack;
        config.failover = failover;
        config.read = read;
    }
}

/// What a random workload did, by element of the set `s` and position of register `x`.
#[derive(Default)]
struct Ledger {
    adds: BTreeMap<RequestId, u64>,
    reads: BTreeMap<RequestId, Option<u64>>,
    writes: BTreeSet<RequestId>,
}

impl Ledger {
    /// The newest acknowledged position of register `x`.
    fn newest(&self, sim: &Sim) -> Option<u64> {
        let versions = self.writes.iter().filter_map(|id| sim.version(*id));
        versions.max()
    }
}

/// Random operations under random faults for some simulated seconds, then everything is healed.
fn storm(sim: &mut Sim, millis: u64, wipes: bool) -> Ledger {
    let mut ledger = Ledger::default();
    let mut wipe = wipes;
    let end = sim.now() + millis;
    while sim.now() < end {
        let node = sim.rng.random_range(0..sim.size());
        match sim.rng.random_range(0..12) {
            0..=3 => {
                let element = sim.now() * 100 + ledger.adds.len() as u64 % 100;
                let id = sim.submit(node, add(element));
                ledger.adds.insert(id, element);
            }
            4..=6 => {
                let id = sim.submit(node, write(sim.now()));
                ledger.writes.insert(id);
            }
            7..=9 => {
                let newest = ledger.newest(sim);
                let id = sim.submit(node, Operation::Read(register()));
                ledger.reads.insert(id, newest);
            }
            _ if sim.rng.random_range(0..12) == 0 => fault(sim, node, &mut wipe),
            _ => {}
        }
        let pause = sim.rng.random_range(1..10);
        sim.run_for(pause);
    }
    calm(sim);
    ledger
}

fn fault(sim: &mut Sim, node: usize, wipe: &mut bool) {
    let dead = (0..sim.size()).find(|index| !sim.is_up(*index));
    match (sim.rng.random_range(0..8), dead) {
        (7, _) => {
            let kept = sim.some_kept();
            sim.power_loss(kept);
        }
        (0, _) => sim.isolate(node),
        (1, _) => {
            let other = (node + 1) % sim.size();
            sim.partition(&[node, other]);
        }
        (2, _) => sim.heal(),
        (3 | 4, Some(dead)) => sim.restart(dead),
        (3, None) => sim.crash(node),
        // One at a time: a node that has no vote yet counts as lost as well.
        (4, None) if *wipe && sim.statuses().iter().flatten().all(|status| status.voter) => {
            *wipe = false;
            sim.wipe(node);
        }
        (5, _) => sim.pause(node, true),
        _ => (0..sim.size()).for_each(|index| sim.pause(index, false)),
    }
}

fn calm(sim: &mut Sim) {
    sim.heal();
    for index in 0..sim.size() {
        sim.pause(index, false);
        sim.restart(index);
    }
    sim.run_until("recovery after everything is healed", |sim| sim.recovered());
}

/// All replicas hold the same; answers its set.
fn converged(sim: &mut Sim) -> BTreeSet<u64> {
    let first = sim.cluster.replica(0).unwrap().state();
    for index in 1..sim.size() {
        assert_eq!(sim.cluster.replica(index).unwrap().state(), first);
    }
    let elements = sim.local(0, set());
    let elements = elements.as_array().unwrap().iter();
    elements.map(|element| element.as_u64().unwrap()).collect()
}

fn refused(sim: &Sim, id: RequestId) -> bool {
    let definite = [kind::NO_LEADER, kind::JOINING, kind::OVERLOADED];
    let redirected = matches!(sim.said(id), Some(Said::Redirect(_)));
    redirected || sim.refusal(id).is_some_and(|kind| definite.contains(&kind))
}

#[test]
fn majority_and_consensus_lose_nothing_and_read_linearizably() {
    let mut acknowledged = 0;
    let mut answered = 0;
    for seed in 0..300 {
        let size = if seed % 3 == 0 { 5 } else { 3 };
        let around = Around {
            loss: seed % 60,
            delay_max_ms: 1 + seed % 30,
            disk_ms: 1 + seed % 70,
            ..Around::default()
        };
        let change = |config: &mut Config| config.snapshot_every = 3 + seed % 40;
        let mut sim = Sim::under(around, size, seed, change);
        let ledger = storm(&mut sim, 4000, seed % 2 == 0);
        let elements = converged(&mut sim);
        for (id, element) in &ledger.adds {
            let there = elements.contains(element);
            assert!(
                there || !sim.done(*id),
                "seed {seed}: {element} was acknowledged and is lost"
            );
            assert!(
                !there || !refused(&sim, *id),
                "seed {seed}: {element} was refused and is there"
            );
            acknowledged += u64::from(sim.done(*id));
        }
        for (id, newest) in &ledger.reads {
            if let Some(Said::Answer(body)) = sim.said(*id) {
                assert!(
                    body.version >= *newest,
                    "seed {seed}: read {:?} after {newest:?}",
                    body.version
                );
                answered += 1;
            }
        }
    }
    assert!(
        acknowledged > 3000 && answered > 3000,
        "too quiet: {acknowledged}, {answered}"
    );
}

#[test]
fn every_combination_converges_and_never_applies_what_it_refused() {
    for ack in [Ack::Async, Ack::SemiSync, Ack::Majority, Ack::Sync] {
        for failover in [Failover::Off, Failover::Naive, Failover::Consensus] {
            for seed in 0..12 {
                let change = with(ack, failover, ReadMode::Any);
                let size = if seed % 2 == 0 { 3 } else { 5 };
                let loss = seed * 5;
                let around = Around {
                    loss,
                    ..Around::default()
                };
                let mut sim = Sim::under(around, size, seed, |config| {
                    change(config);
                    config.snapshot_every = 4 + seed * 10;
                    config.follower_lag = Millis(seed % 3 * 40);
                });
                let ledger = storm(&mut sim, 4000, failover == Failover::Consensus);
                let elements = converged(&mut sim);
                for (id, element) in &ledger.adds {
                    assert!(
                        !elements.contains(element) || !refused(&sim, *id),
                        "{ack:?} {failover:?} seed {seed}: {element} was refused and is there"
                    );
                    let keeps = failover == Failover::Off
                        || failover == Failover::Consensus
                            && matches!(ack, Ack::Majority | Ack::Sync);
                    assert!(
                        !keeps || elements.contains(element) || !sim.done(*id),
                        "{ack:?} {failover:?} seed {seed}: {element} is lost"
                    );
                }
            }
        }
    }
}

#[test]
fn async_and_naive_lose_acknowledged_writes_and_hand_out_ids_twice() {
    let mut sim = Sim::new(3, 1, with(Ack::Async, Failover::Naive, ReadMode::Leader));
    let old = sim.wait_for_leader();
    sim.isolate(old);
    let lost = sim.submit(old, add(1));
    let id = sim.submit(old, Operation::Change(Command::GenerateId));
    sim.run_until("a second leader", |sim| {
        sim.leader().is_some_and(|index| index != old)
    });
    assert!(sim.done(lost), "the isolated leader goes on acknowledging");
    let new = sim.leader().unwrap();
    let again = sim.submit(new, Operation::Change(Command::GenerateId));
    sim.run_until("an id", |sim| sim.done(again));
    assert_eq!(sim.value(id), sim.value(again));
    let late = sim.submit(old, add(2));
    sim.run_until("another acknowledged write", |sim| sim.done(late));
    calm(&mut sim);
    assert_eq!(converged(&mut sim), BTreeSet::new());
    let old = sim.cluster.replica(old).unwrap().status();
    assert!(old.counters.rolled_back_entries >= 2, "{old:?}");
}

#[test]
fn a_rollback_behind_the_own_snapshot_takes_the_leaders() {
    let mut sim = Sim::new(3, 2, |config| {
        with(Ack::Async, Failover::Naive, ReadMode::Leader)(config);
        config.snapshot_every = 5;
    });
    let old = sim.wait_for_leader();
    sim.isolate(old);
    for element in 0..40 {
        sim.submit(old, add(element));
        sim.run_for(3);
    }
    sim.run_until("a second leader", |sim| {
        sim.leader().is_some_and(|index| index != old)
    });
    let new = sim.leader().unwrap();
    sim.submit(new, add(100));
    calm(&mut sim);
    assert_eq!(converged(&mut sim), BTreeSet::from([100]));
    let old = sim.cluster.replica(old).unwrap().status();
    assert!(old.counters.snapshots_installed > 0, "{old:?}");
}

#[test]
fn semi_sync_survives_the_leader_alone() {
    for seed in 0..40 {
        let around = Around {
            delay_max_ms: 20,
            ..Around::default()
        };
        let change = with(Ack::SemiSync, Failover::Naive, ReadMode::Leader);
        let mut sim = Sim::under(around, 5, seed, change);
        let leader = sim.wait_for_leader();
        sim.run_until("an in-sync follower", |sim| {
            sim.statuses()[leader]
                .as_ref()
                .is_some_and(|status| status.in_sync.len() == 1)
        });
        let ids: Vec<_> = (0..30)
            .map(|element| (sim.submit(leader, add(element)), element))
            .collect();
        sim.run_for(seed);
        let acknowledged: Vec<_> = ids.iter().filter(|(id, _)| sim.done(*id)).collect();
        let elements: BTreeSet<u64> = acknowledged.iter().map(|(_, element)| *element).collect();
        sim.crash(leader);
        sim.run_until("a new leader", |sim| sim.leader().is_some());
        calm(&mut sim);
        assert!(converged(&mut sim).is_superset(&elements), "seed {seed}");
    }
}

#[test]
fn sync_waits_for_a_paused_follower_and_the_others_do_not() {
    for (ack, blocks) in [
        (Ack::Sync, true),
        (Ack::SemiSync, false),
        (Ack::Majority, false),
    ] {
        let mut sim = Sim::new(3, 5, with(ack, Failover::Consensus, ReadMode::Leader));
        let leader = sim.wait_for_leader();
        sim.run_for(50);
        let in_sync = sim.statuses()[leader].as_ref().unwrap().in_sync.clone();
        let paused = in_sync.first().map_or((leader + 1) % 3, |name| {
            name.trim_start_matches('n').parse::<usize>().unwrap() - 1
        });
        sim.pause(paused, true);
        let id = sim.submit(leader, add(1));
        sim.run_for(1000);
        assert_eq!(sim.done(id), !blocks, "{ack:?}: {:?}", sim.notes);
        let status = sim.statuses()[leader].as_ref().unwrap().clone();
        let replaced = status.counters.in_sync_replaced;
        assert_eq!(replaced, u64::from(ack == Ack::SemiSync), "{ack:?}");
        sim.pause(paused, false);
        sim.run_until("the write", |sim| sim.done(id));
    }
}

/// D07: the old leader, cut off, answers from its state; with a read index it does not.
#[test]
fn an_isolated_leader_reads_stale_unless_a_quorum_confirms() {
    for (read, stale) in [(ReadMode::Leader, true), (ReadMode::LeaderQuorum, false)] {
        let mut sim = Sim::new(3, 7, with(Ack::Majority, Failover::Consensus, read));
        let old = sim.wait_for_leader();
        let first = sim.submit(old, write(1));
        sim.run_until("the first write", |sim| sim.done(first));
        sim.isolate(old);
        let waiting = sim.submit(old, write(9));
        let early = sim.submit(old, Operation::Read(register()));
        let late = sim.read_after_another_has_written(old);
        sim.run_for(1000);
        assert_eq!(sim.value(late), stale.then(|| json!(1)), "{read:?}");
        assert_eq!(sim.value(early).is_some(), stale);
        if !stale {
            assert_eq!(sim.refusal(late), Some(kind::NO_LEADER));
            assert_eq!(sim.refusal(waiting), Some(kind::UNKNOWN));
        }
        calm(&mut sim);
        for index in 0..3 {
            assert_eq!(sim.local(index, register()), json!(2));
        }
    }
}

#[test]
fn an_async_leader_under_consensus_acknowledges_alone_and_is_rolled_back() {
    let mut sim = Sim::new(
        3,
        3,
        with(Ack::Async, Failover::Consensus, ReadMode::LeaderQuorum),
    );
    let old = sim.wait_for_leader();
    sim.isolate(old);
    sim.run_for(2000);
    let alone = sim.submit(old, add(1));
    sim.run_until("an acknowledged write", |sim| sim.done(alone));
    calm(&mut sim);
    assert_eq!(converged(&mut sim), BTreeSet::new());
}

#[test]
fn a_follower_lags_as_long_as_it_is_told() {
    let mut sim = Sim::new(3, 4, |config| {
        config.follower_lag = Millis(300);
        config.read = ReadMode::Any;
    });
    let leader = sim.wait_for_leader();
    let id = sim.submit(leader, write(5));
    sim.run_until("the write", |sim| sim.done(id));
    let follower = (leader + 1) % 3;
    sim.run_for(200);
    assert_eq!(sim.local(follower, register()), Value::Null);
    sim.run_until("the lag to end", |sim| {
        sim.local(follower, register()) == json!(5)
    });
}

/// Two of three lose their disks: what the third alone has must not be voted away by the empty ones.
#[test]
fn wiped_nodes_do_not_outvote_the_one_that_remembers() {
    let mut sim = Sim::new(3, 9, |_| {});
    let leader = sim.wait_for_leader();
    let id = sim.submit(leader, add(1));
    sim.run_until("the write", |sim| sim.done(id) && sim.recovered());
    sim.isolate(leader);
    for other in (0..3).filter(|index| *index != leader) {
        sim.wipe(other);
        sim.restart(other);
    }
    sim.run_for(5000);
    let led_by_empty = sim.statuses().iter().enumerate().any(|(index, status)| {
        index != leader
            && status
                .as_ref()
                .is_some_and(|status| status.counters.terms_led > 0)
    });
    assert!(!led_by_empty, "{:?}", sim.notes);
}

/// `failover=off`: who alone may lead must not lead with less than the others have, lest they throw theirs away.
#[test]
fn a_fixed_leader_that_lost_its_data_takes_them_back_from_the_others() {
    for snapshot_every in [2, 1000] {
        let mut sim = Sim::new(3, 4, |config| {
            with(Ack::Sync, Failover::Off, ReadMode::Leader)(config);
            config.snapshot_every = snapshot_every;
        });
        let leader = sim.wait_for_leader();
        for element in 0..5 {
            let id = sim.submit(leader, add(element));
            sim.run_until("the write", |sim| sim.done(id));
        }
        sim.wipe(leader);
        sim.isolate((leader + 1) % 3);
        sim.restart(leader);
        sim.run_for(3000);
        assert_eq!(sim.leader(), None, "one of them has not been heard");
        calm(&mut sim);
        assert_eq!(converged(&mut sim), BTreeSet::from([0, 1, 2, 3, 4]));
        assert_eq!(sim.leader(), Some(leader));
        let last = sim.submit(leader, add(5));
        sim.run_until("a write", |sim| sim.done(last));
    }
}

/// D15: what was acknowledged before it was synced is gone with the power; synced, it is not.
#[test]
fn a_loss_of_power_costs_what_was_not_synced() {
    for (fsync, lost) in [(Fsync::Always, false), (Fsync::Never, true)] {
        let around = Around {
            fsync,
            ..Around::default()
        };
        let mut sim = Sim::under(around, 3, 6, |_| {});
        let leader = sim.wait_for_leader();
        let id = sim.submit(leader, add(1));
        sim.run_until("the write", |sim| sim.done(id));
        sim.power_loss(Kept(0));
        calm(&mut sim);
        assert_eq!(converged(&mut sim).is_empty(), lost, "{fsync:?}");
    }
}

/// Else a write of unknown outcome could land in the midst of the final reads.
#[test]
fn what_is_late_arrives_once_the_network_is_calm() {
    let target = target("single-leader").unwrap();
    let options = target.resolve(&BTreeMap::new(), 3).unwrap();
    let link = Link {
        from: Host::Client(0),
        to: Host::Node(0),
    };
    let late = Perturbation {
        link,
        number: 1,
        fate: Fate::Late(Micros::from_millis(60_000)),
    };
    let setup = Setup {
        clients: 1,
        perturbations: vec![late],
        ..Setup::default()
    };
    let mut simulation = target.simulation(&options, 3, &setup).unwrap();
    let asked = simulation.call(Call {
        client: 0,
        node: 0,
        told: Told::default(),
        local: false,
        request: client::Request::Read { key: "x".into() },
    });
    let second = Micros::from_millis(1000);
    simulation.wake(second, 1);
    assert!(matches!(simulation.next(), Some(News::Woken(1))));
    simulation.calm();
    assert!(matches!(simulation.next(), Some(News::Heard(id, _)) if id == asked));
    assert_eq!(simulation.now(), second.plus(Micros(1000)));
}

#[test]
fn one_seed_is_one_history() {
    let run = || {
        let around = Around {
            loss: 30,
            traced: true,
            ..Around::default()
        };
        let mut sim = Sim::under(around, 5, 42, |config| config.snapshot_every = 10);
        storm(&mut sim, 3000, true);
        (sim.now(), sim.notes)
    };
    assert_eq!(run(), run());
}
