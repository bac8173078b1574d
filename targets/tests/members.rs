//! Nodes that come and go, and leaders that give way, in the simulator.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod watched;

use std::collections::BTreeMap;

use rand::RngExt;
use schism_targets::replicas::single_leader::{Ack, Join, MemberChange, Operation, ReadMode};
use schism_targets::replicas::{NodeName, RequestId};
use schism_targets::wire::{is_member, kind};
use serde_json::{Value, json};
use watched::{Around, Sim, add, register, set, write};

fn leave(node: usize) -> Operation {
    Operation::Reconfigure(MemberChange::Leave(name(node)))
}

fn join(node: usize) -> Operation {
    Operation::Reconfigure(MemberChange::Join(name(node)))
}

fn name(node: usize) -> NodeName {
    NodeName::from(format!("n{}", node + 1))
}

/// Asks whoever leads, as often as it takes.
fn change_members(sim: &mut Sim, operation: &Operation) {
    let mut asked: Option<(RequestId, u64)> = None;
    sim.run_until("a change of the members", |sim| {
        if asked.is_some_and(|(id, _)| sim.done(id)) {
            return true;
        }
        let refused =
            asked.is_none_or(|(id, at)| sim.replies.contains_key(&id) || sim.now() > at + 3000);
        if let Some(leader) = sim.leader().filter(|_| refused) {
            asked = Some((sim.submit(leader, operation.clone()), sim.now()));
        }
        false
    });
}

fn members(sim: &Sim, node: usize) -> Vec<String> {
    sim.statuses()[node].as_ref().unwrap().members.clone()
}

/// What clients do meanwhile, and what they were told.
#[derive(Default)]
struct Clients {
    adds: BTreeMap<RequestId, u64>,
    writes: Vec<RequestId>,
    /// Each with the newest position that had been acknowledged when it was asked.
    reads: Vec<(RequestId, Option<u64>)>,
    newest: Option<u64>,
}

impl Clients {
    /// Asks for something, of whoever leads or of anybody.
    fn ask(&mut self, sim: &mut Sim) {
        let anybody = sim.rng.random_range(0..sim.size());
        let node = sim.leader().unwrap_or(anybody);
        match sim.rng.random_range(0..3) {
            0 => {
                let element = sim.now();
                self.adds.insert(sim.submit(node, add(element)), element);
            }
            1 => self.writes.push(sim.submit(node, write(sim.now()))),
            _ => {
                let read = sim.submit(anybody, Operation::Read(register()));
                self.reads.push((read, self.newest));
            }
        }
    }

    fn listen(&mut self, sim: &Sim) {
        self.writes.retain(|id| {
            self.newest = self.newest.max(sim.version(*id));
            sim.said(*id).is_none()
        });
    }

    /// Nothing that was acknowledged is lost on any node, and no read was older than what had been acknowledged before it. Answers how
    /// many adds and reads succeeded.
    fn are_right(&self, sim: &mut Sim, seed: u64) -> (usize, usize) {
        let done = self.adds.iter().filter(|(id, _)| sim.done(**id));
        let done: Vec<Value> = done.map(|(_, element)| json!(element)).collect();
        for index in 0..sim.size() {
            let there = sim.local(index, set());
            let lost = done
                .iter()
                .find(|element| !there.as_array().unwrap().contains(element));
            assert_eq!(lost, None, "seed {seed}: lost on n{}", index + 1);
        }
        let mut answered = 0;
        for (id, newest) in &self.reads {
            if sim.done(*id) {
                let version = sim.version(*id);
                assert!(
                    version >= *newest,
                    "seed {seed}: read {version:?} after {newest:?}"
                );
                answered += 1;
            }
        }
        (done.len(), answered)
    }
}

/// Some time of clients and faults: nodes crash and start again, links break, both heal; nothing is wiped.
fn unrest(sim: &mut Sim, clients: &mut Clients, down: Option<usize>, millis: u64) {
    let end = sim.now() + millis;
    while sim.now() < end {
        clients.ask(sim);
        let node = sim.rng.random_range(0..sim.size());
        match sim.rng.random_range(0..60) {
            0 | 1 => sim.isolate(node),
            2 => sim.partition(&[node, (node + 1) % sim.size()]),
            3..=5 => sim.heal(),
            6 if sim.is_up(node) => sim.crash(node),
            7..=9 => start_all(sim, down),
            10 => sim.pause(node, true),
            11..=13 => (0..sim.size()).for_each(|node| sim.pause(node, false)),
            _ => {}
        }
        let pause = sim.rng.random_range(1..12);
        sim.run_for(pause);
        clients.listen(sim);
    }
}

fn start_all(sim: &mut Sim, down: Option<usize>) {
    let dead = |node: &usize| !sim.is_up(*node) && Some(*node) != down;
    let all: Vec<usize> = (0..sim.size()).filter(dead).collect();
    for node in all {
        sim.restart(node);
    }
}

fn calm(sim: &mut Sim, down: Option<usize>) {
    sim.heal();
    (0..sim.size()).for_each(|node| sim.pause(node, false));
    start_all(sim, down);
}

/// A change is asked for, in the middle of faults, and then for as long as it takes.
fn change_in_unrest(sim: &mut Sim, clients: &mut Clients, change: &Operation, down: Option<usize>) {
    for _ in 0..3 {
        if let Some(leader) = sim.leader() {
            sim.submit(leader, change.clone());
        }
        unrest(sim, clients, down, 250);
    }
    calm(sim, down);
    change_members(sim, change);
    clients.listen(sim);
}

/// One node after another leaves, is emptied or not, and joins again, leaders among them, while clients write and read, nodes crash and links break.
fn come_and_go(seed: u64) -> (usize, usize) {
    let size = if seed.is_multiple_of(2) { 3 } else { 5 };
    let around = Around {
        loss: seed % 40,
        delay_max_ms: 1 + seed % 25,
        disk_ms: 1 + seed % 11,
        ..Around::default()
    };
    let mut sim = Sim::under(around, size, seed, |config| {
        config.snapshot_every = 5 + seed % 60;
        config.read = match seed % 3 {
            0 => ReadMode::LeaderQuorum,
            _ => ReadMode::LeaderLease,
        };
        if seed.is_multiple_of(4) {
            config.priority = BTreeMap::from([(name(0), 3), (name(1), 0)]);
        }
    });
    sim.wait_for_leader();
    let mut clients = Clients::default();
    for _ in 0..3 {
        let any = sim.rng.random_range(0..size);
        let leads = sim.leader().filter(|_| sim.rng.random_bool(0.4));
        let node = leads.unwrap_or(any);
        change_in_unrest(&mut sim, &mut clients, &leave(node), None);
        let empty = sim.rng.random_bool(0.7);
        if empty {
            sim.wipe(node);
        } else if sim.is_up(node) {
            sim.crash(node);
        }
        unrest(&mut sim, &mut clients, Some(node), 200);
        sim.restart(node);
        change_in_unrest(&mut sim, &mut clients, &join(node), None);
        sim.run_until("recovery", |sim| {
            sim.recovered() && members(sim, sim.leader().unwrap()).len() == size
        });
        clients.listen(&sim);
    }
    clients.are_right(&mut sim, seed)
}

/// Nothing that was acknowledged is lost, no read is stale, every node ends with the same. `SCHISM_SEEDS` runs more.
#[test]
fn nodes_leave_and_join_empty_while_writers_write() {
    let seeds = std::env::var("SCHISM_SEEDS").map_or(20, |seeds| seeds.parse().unwrap());
    let all = (0..seeds).map(come_and_go);
    let (adds, reads) = all.fold((0, 0), |(a, r), (adds, reads)| (a + adds, r + reads));
    assert!(
        adds as u64 > seeds * 50 && reads as u64 > seeds * 20,
        "too quiet: {adds} adds and {reads} reads"
    );
}

#[test]
fn writers_go_on_while_a_node_joins() {
    let mut sim = Sim::new(3, 1, |config| config.snapshot_every = 20);
    let leader = sim.wait_for_leader();
    let follower = (leader + 1) % 3;
    change_members(&mut sim, &leave(follower));
    assert_eq!(members(&sim, leader).len(), 2);
    for element in 0..100 {
        sim.submit(leader, add(element));
        sim.run_for(5);
    }
    sim.wipe(follower);
    sim.restart(follower);
    let joining = sim.submit(leader, join(follower));
    let mut during = Vec::new();
    for element in 100..200 {
        during.push(sim.submit(leader, add(element)));
        sim.run_for(5);
        if sim.done(joining) {
            break;
        }
    }
    sim.run_until("the node is in", |sim| sim.done(joining) && sim.recovered());
    assert!(!during.is_empty() && during.iter().all(|id| sim.done(*id)));
    let all = sim.local(leader, set());
    assert_eq!(sim.local(follower, set()), all, "no gap");
    let status = sim.statuses()[follower].clone().unwrap();
    assert!(
        status.counters.snapshots_installed > 0 && status.voter,
        "{status:?}"
    );
}

#[test]
fn a_leader_that_leaves_hands_over_and_serves_nobody() {
    let mut sim = Sim::new(3, 2, |config| config.read = ReadMode::Any);
    let old = sim.wait_for_leader();
    let before = sim.now();
    let left = sim.submit(old, leave(old));
    sim.run_until("another leader", |sim| {
        sim.done(left) && sim.leader().is_some_and(|leader| leader != old)
    });
    assert!(
        sim.now() - before < 200,
        "it did not wait for a time-out: {}",
        sim.now() - before
    );
    let read = sim.submit(old, Operation::Read(register()));
    assert_eq!(sim.refusal(read), Some(kind::JOINING));
    // It does not disturb those that are left, however long it hears nobody.
    let term = sim.statuses()[old].as_ref().unwrap().term;
    sim.run_for(5000);
    assert!(sim.recovered());
    assert!(sim.statuses()[sim.leader().unwrap()].as_ref().unwrap().term <= term + 1);
}

#[test]
fn one_change_at_a_time_and_only_of_nodes_with_an_address() {
    let mut sim = Sim::new(5, 3, |_| {});
    let leader = sim.wait_for_leader();
    let others: Vec<usize> = (0..5).filter(|node| *node != leader).collect();
    let first = sim.submit(leader, leave(others[0]));
    let second = sim.submit(leader, leave(others[1]));
    let stranger = sim.submit(leader, join(17));
    let refused = |sim: &Sim, id| sim.refusal(id) == Some(kind::PRECONDITION);
    assert!(refused(&sim, second) && refused(&sim, stranger));
    sim.run_until("the first change", |sim| sim.done(first));
    let known = sim.submit(leader, join(17));
    assert!(refused(&sim, known));
    let again = sim.submit(leader, leave(others[0]));
    assert!(sim.done(again), "what is so already is done");
    assert_eq!(members(&sim, leader).len(), 4);
}

/// The only one that is left has nobody to ask: who joins it must have a vote before it counts.
#[test]
fn one_node_that_is_left_grows_to_a_cluster_of_empty_nodes() {
    let mut sim = Sim::new(3, 9, |_| {});
    let last = sim.wait_for_leader();
    let others = [(last + 1) % 3, (last + 2) % 3];
    for node in others {
        change_members(&mut sim, &leave(node));
        sim.wipe(node);
    }
    for node in others {
        sim.restart(node);
        change_members(&mut sim, &join(node));
        sim.run_until("the node is in", |sim| sim.recovered());
    }
    assert_eq!(members(&sim, sim.leader().unwrap()).len(), 3);
}

/// Without the one that leaves, those that are left must be able to decide that it has left.
#[test]
fn nobody_leaves_a_quorum_behind_that_does_not_answer() {
    let mut sim = Sim::new(3, 10, |_| {});
    let leader = sim.wait_for_leader();
    let (dead, other) = ((leader + 1) % 3, (leader + 2) % 3);
    sim.crash(dead);
    sim.run_for(500);
    let refused = sim.submit(leader, leave(other));
    assert_eq!(sim.refusal(refused), Some(kind::PRECONDITION));
    let gone = sim.submit(leader, leave(dead));
    sim.run_until("the dead one is out", |sim| sim.done(gone));
}

/// However early writes are acknowledged: two lists that differ by more than a node could have two majorities.
#[test]
fn a_change_waits_for_a_majority_whatever_writes_wait_for() {
    let mut sim = Sim::new(5, 11, |config| config.ack = Ack::Async);
    let leader = sim.wait_for_leader();
    sim.run_for(100);
    let others: Vec<usize> = (0..5).filter(|node| *node != leader).collect();
    let pause = |sim: &mut Sim, paused| {
        for node in &others {
            sim.pause(*node, paused);
        }
    };
    pause(&mut sim, true);
    sim.submit(leader, leave(others[0]));
    sim.run_for(50);
    let second = sim.submit(leader, leave(others[1]));
    assert_eq!(sim.refusal(second), Some(kind::PRECONDITION));
    pause(&mut sim, false);
    change_members(&mut sim, &leave(others[1]));
    assert_eq!(members(&sim, sim.leader().unwrap()).len(), 3);
}

/// D13: a snapshot that is taken for a newer one lacks what came after it.
#[test]
fn a_snapshot_without_its_position_leaves_a_gap() {
    for (how, whole) in [
        (Join::SnapshotWithPosition, true),
        (Join::SnapshotOnly, false),
    ] {
        let mut sim = Sim::new(3, 4, |config| {
            config.snapshot_every = 20;
            config.join = how;
        });
        let leader = sim.wait_for_leader();
        for element in 0..75 {
            sim.submit(leader, add(element));
            sim.run_for(5);
        }
        sim.run_until("all is committed", |sim| sim.recovered());
        let follower = (leader + 1) % 3;
        sim.wipe(follower);
        sim.restart(follower);
        sim.run_until("the node is back", |sim| sim.recovered());
        assert_eq!(
            sim.local(follower, set()) == sim.local(leader, set()),
            whole,
            "{how:?}"
        );
    }
}

#[test]
fn the_wanted_node_leads_and_the_unwanted_never() {
    for seed in 0..10 {
        let mut sim = Sim::new(3, seed, |config| {
            config.priority = BTreeMap::from([(name(1), 5), (name(2), 0)]);
        });
        sim.run_until("the wanted node leads", |sim| sim.leader() == Some(1));
        sim.crash(1);
        sim.run_until("another leads", |sim| sim.leader() == Some(0));
        sim.crash(0);
        sim.run_for(5000);
        assert_eq!(sim.leader(), None, "n3 is not to lead");
        sim.restart(0);
        sim.run_until("n1 leads", |sim| sim.leader() == Some(0));
        sim.restart(1);
        sim.run_until("the wanted node leads again", |sim| sim.leader() == Some(1));
    }
}

/// However busy the leader is: it takes no writes for a moment.
#[test]
fn the_wanted_node_takes_over_while_writers_write() {
    let mut sim = Sim::new(3, 14, |config| {
        config.priority = BTreeMap::from([(name(1), 5)]);
    });
    sim.wait_for_leader();
    sim.crash(1);
    sim.run_until("another leads", |sim| {
        sim.leader().is_some_and(|leader| leader != 1)
    });
    sim.restart(1);
    let mut element = 0;
    sim.run_until("the wanted node leads", |sim| {
        element += 1;
        sim.submit(sim.leader().unwrap_or(0), add(element));
        sim.leader() == Some(1)
    });
    assert!(element < 3000, "it took {element} ms");
}

/// The wanted node has every write long before the leader's own disk has, and before a majority has.
#[test]
fn who_gives_way_answers_the_writes_that_it_took() {
    let around = Around {
        slow_disk: Some(0),
        ..Around::default()
    };
    let mut sim = Sim::under(around, 3, 17, |config| {
        config.priority = BTreeMap::from([(name(1), 5), (name(2), 0)]);
    });
    sim.wait_for_leader();
    sim.crash(1);
    sim.run_until("n1 leads", |sim| sim.leader() == Some(0));
    sim.isolate(2);
    sim.restart(1);
    let mut writes = Vec::new();
    sim.run_until("the wanted node leads", |sim| {
        if sim.leader() == Some(0) {
            writes.push(sim.submit(0, add(sim.now())));
        }
        sim.leader() == Some(1)
    });
    sim.run_for(10);
    let acknowledged = writes.iter().filter(|id| sim.done(**id)).count();
    let refused = writes
        .iter()
        .filter(|id| sim.refusal(**id) == Some(kind::NO_LEADER));
    assert!(acknowledged > 10, "{acknowledged} of {}", writes.len());
    assert_eq!(
        acknowledged + refused.count(),
        writes.len(),
        "none is unknown"
    );
}

/// Else a committed write that only it and the dead leader have would keep all others from leading.
#[test]
fn an_unwanted_node_hands_on_what_nobody_else_has() {
    let mut sim = Sim::new(3, 13, |config| {
        config.priority = BTreeMap::from([(name(0), 3), (name(1), 0)]);
    });
    sim.run_until("the wanted node leads", |sim| sim.leader() == Some(0));
    sim.isolate(2);
    let written = sim.submit(0, write(1));
    sim.run_until("the write", |sim| sim.done(written));
    sim.crash(0);
    sim.heal();
    sim.run_until("n3 leads", |sim| sim.leader() == Some(2));
    sim.run_until("n3 has it", |sim| sim.local(2, register()) == json!(1));
    let led = sim.statuses()[1].as_ref().unwrap().counters.terms_led;
    assert_eq!(led, 1, "n2 has led for a moment");
    sim.run_for(5000);
    assert_eq!(sim.leader(), Some(2));
}

/// Who is left must be able to lead: nobody else could take the one that left back.
#[test]
fn the_last_one_that_may_lead_does_not_leave() {
    let mut sim = Sim::new(3, 15, |config| {
        config.priority = [(name(1), 0), (name(2), 0)].into();
    });
    let leader = sim.wait_for_leader();
    sim.run_until("it has led for a while", |sim| sim.recovered());
    let refused = sim.submit(leader, leave(leader));
    assert_eq!(sim.refusal(refused), Some(kind::PRECONDITION));
    let gone = sim.submit(leader, leave((leader + 1) % 3));
    sim.run_until("one that may not lead is out", |sim| sim.done(gone));
}

/// Who is out need not have what the others have, so it is not read in the end; where nobody leads, nobody knows who is out.
#[test]
fn who_leads_says_who_is_a_member() {
    let mut sim = Sim::new(3, 16, |_| {});
    let leader = sim.wait_for_leader();
    let left = (leader + 1) % 3;
    let is_in = |sim: &Sim, node: usize| is_member(&sim.statuses(), name(node).as_str());
    assert!((0..3).all(|node| is_in(&sim, node)));
    change_members(&mut sim, &leave(left));
    assert!((0..3).all(|node| is_in(&sim, node) == (node != left)));
    sim.crash(leader);
    assert!(is_in(&sim, left));
}

/// The only one that has the entry by which it leaves must lead once more: nobody who lacks it gets its vote.
#[test]
fn a_leader_that_alone_knows_that_it_leaves_is_elected_again() {
    let mut sim = Sim::new(3, 17, |_| {});
    let leader = sim.wait_for_leader();
    change_members(&mut sim, &leave((leader + 1) % 3));
    sim.run_for(200);
    sim.isolate(leader);
    sim.submit(leader, leave(leader));
    sim.run_until("it steps down", |sim| sim.leader().is_none());
    sim.heal();
    let left = (leader + 2) % 3;
    sim.run_until("the one that is left leads", |sim| {
        sim.leader() == Some(left) && sim.recovered()
    });
    assert_eq!(members(&sim, left).len(), 1);
}
