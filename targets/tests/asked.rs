//! What sessions and single requests may ask for, in the simulator: write concern, tokens of what was seen, windows, leases.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod watched;

use rand::RngExt;
use schism_targets::replicas::single_leader::{
    Ack, Config, Failover, LeaseClock, Operation, ReadMode, Session, WriteConcern,
};
use schism_targets::replicas::{LogPosition, Millis, NodeName, RequestId};
use schism_targets::wire::{Said, kind};
use serde_json::{Value, json};
use watched::{Around, Sim, add, register, set, write};

fn concern(nodes: usize, timeout: u64) -> WriteConcern {
    let timeout = Millis(timeout);
    WriteConcern { nodes, timeout }
}

#[test]
fn a_write_waits_for_as_many_nodes_as_its_client_asks_for() {
    let mut sim = Sim::new(3, 5, |config| {
        config.ack = Ack::Async;
        config.failover = Failover::Off;
        config.read = ReadMode::Leader;
    });
    let leader = sim.wait_for_leader();
    sim.pause((leader + 1) % 3, true);
    let ask = |sim: &mut Sim, w| {
        sim.submit_with(
            leader,
            add(w as u64),
            Session::default(),
            Some(concern(w, 400)),
        )
    };
    let ids: Vec<RequestId> = (1..=4).map(|w| ask(&mut sim, w)).collect();
    sim.run_for(200);
    assert!(sim.done(ids[0]) && sim.done(ids[1]));
    assert_eq!(sim.refusal(ids[3]), Some(kind::PRECONDITION), "w=4 of 3");
    assert!(
        !sim.replies.contains_key(&ids[2]),
        "the third node is paused"
    );
    sim.run_for(300);
    assert_eq!(sim.refusal(ids[2]), Some(kind::UNKNOWN));
    // The write itself stands.
    assert_eq!(sim.local(leader, set()), json!([1, 2, 3]));
}

/// The client's own time-out counts while the commit is waited for, too.
#[test]
fn a_write_that_is_not_committed_is_given_up_when_its_client_wants() {
    let mut sim = Sim::new(3, 6, |config| config.commit_timeout = Millis(60_000));
    let leader = sim.wait_for_leader();
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    let ask = |sim: &mut Sim, concern| sim.submit_with(leader, add(1), Session::default(), concern);
    // Less than the silence after which the leader steps down.
    for other in others {
        sim.pause(other, true);
    }
    let impatient = ask(&mut sim, Some(concern(2, 50)));
    let patient = ask(&mut sim, None);
    sim.run_for(120);
    assert_eq!(sim.refusal(impatient), Some(kind::UNKNOWN));
    assert!(!sim.replies.contains_key(&patient));
    for other in others {
        sim.pause(other, false);
    }
    sim.run_until("the other write", |sim| sim.done(patient));
}

/// What waits for a write concern takes a place like what waits for its commit.
#[test]
fn writes_that_wait_for_more_nodes_are_not_without_end() {
    let mut sim = Sim::new(3, 12, |config| config.pending_max = 4);
    let leader = sim.wait_for_leader();
    sim.pause((leader + 1) % 3, true);
    let ids: Vec<RequestId> = (0..6)
        .map(|element| {
            let all = Some(concern(3, 5000));
            let id = sim.submit_with(leader, add(element), Session::default(), all);
            sim.run_for(50);
            id
        })
        .collect();
    let refused = |id: &&RequestId| sim.refusal(**id) == Some(kind::OVERLOADED);
    assert_eq!(ids.iter().filter(refused).count(), 2);
}

#[test]
fn a_session_reads_what_it_has_seen_or_nothing() {
    let mut sim = Sim::new(3, 6, |config| {
        config.read = ReadMode::CaughtUp;
        config.follower_lag = Millis(300);
    });
    let leader = sim.wait_for_leader();
    let written = sim.submit(leader, write(7));
    sim.run_until("the write", |sim| sim.done(written));
    let Some(Said::Answer(body)) = sim.said(written) else {
        panic!("it is done");
    };
    let seen = LogPosition(body.seen);
    let follower = (leader + 1) % 3;
    let read = |sim: &mut Sim, seen| {
        let session = Session {
            seen,
            ..Session::default()
        };
        sim.submit_with(follower, Operation::Read(register()), session, None)
    };
    let blind = read(&mut sim, LogPosition(0));
    let own = read(&mut sim, seen);
    let never = read(&mut sim, LogPosition(seen.0 + 100));
    sim.run_for(100);
    assert_eq!(
        sim.value(blind),
        Some(Value::Null),
        "who has seen nothing may see little"
    );
    assert_eq!(sim.value(own), None, "it waits");
    sim.run_until("the own write", |sim| sim.value(own) == Some(json!(7)));
    sim.run_for(3000);
    assert_eq!(sim.refusal(never), Some(kind::BEHIND));
}

#[test]
fn a_session_reads_at_the_leader_for_a_while_after_its_write() {
    let mut sim = Sim::new(3, 7, |config| {
        config.read = ReadMode::Window;
        config.follower_lag = Millis(300);
    });
    let leader = sim.wait_for_leader();
    let follower = (leader + 1) % 3;
    let mut read = |since: Option<u64>| {
        let session = Session {
            since_write: since.map(Millis),
            ..Session::default()
        };
        let id = sim.submit_with(follower, Operation::Read(register()), session, None);
        sim.said(id).unwrap().clone()
    };
    assert_eq!(
        read(Some(499)),
        Said::Redirect(NodeName::from(format!("n{}", leader + 1)))
    );
    for outside in [None, Some(500)] {
        assert!(matches!(read(outside), Said::Answer(_)));
    }
}

/// D08: the wall clock of an isolated leader is set back, and its lease never ends. While nobody sets it, it ends in time like the other.
#[test]
fn a_lease_ends_in_time_unless_its_clock_is_set_back() {
    for (clock, set_back, stale) in [
        (LeaseClock::Monotonic, true, false),
        (LeaseClock::Wall, true, true),
        (LeaseClock::Wall, false, false),
    ] {
        let mut sim = Sim::new(3, 8, |config| {
            config.read = ReadMode::LeaderLease;
            config.lease_clock = clock;
        });
        let old = sim.wait_for_leader();
        let first = sim.submit(old, write(1));
        sim.run_until("the first write", |sim| sim.done(first));
        let alone = sim.submit(old, Operation::Read(register()));
        assert_eq!(
            sim.value(alone),
            Some(json!(1)),
            "nobody is asked while the lease runs"
        );
        if set_back {
            sim.set_back(old);
        }
        sim.isolate(old);
        let late = sim.read_after_another_has_written(old);
        sim.run_for(1000);
        assert_eq!(
            sim.value(late),
            stale.then(|| json!(1)),
            "{clock:?} {set_back}"
        );
    }
}

/// A lease is never held beside another leader, whatever crashes and is cut off: else a read could be older than an acknowledged write.
#[test]
fn reads_under_a_lease_are_never_stale() {
    let mut answered = 0;
    for seed in 0..150 {
        let around = Around {
            delay_max_ms: 1 + seed % 40,
            loss: seed % 50,
            disk_ms: 1 + seed % 30,
            ..Around::default()
        };
        let change = |config: &mut Config| config.read = ReadMode::LeaderLease;
        let mut sim = Sim::under(around, 3, seed, change);
        sim.wait_for_leader();
        let mut newest = None;
        let mut writes: Vec<RequestId> = Vec::new();
        let mut reads: Vec<(RequestId, Option<u64>)> = Vec::new();
        while sim.now() < 6000 {
            let node = sim.rng.random_range(0..3);
            match sim.rng.random_range(0..40) {
                0..=15 => writes.push(sim.submit(node, write(sim.now()))),
                16..=35 => reads.push((sim.submit(node, Operation::Read(register())), newest)),
                36 => sim.isolate(node),
                37 => sim.heal(),
                38 if (0..3).all(|index| sim.is_up(index)) => {
                    sim.crash(node);
                    sim.restart(node);
                }
                _ => {}
            }
            let pause = sim.rng.random_range(1..12);
            sim.run_for(pause);
            for id in &writes {
                newest = newest.max(sim.version(*id));
            }
        }
        for (id, newest) in reads {
            if sim.done(id) {
                let version = sim.version(id);
                assert!(
                    version >= newest,
                    "seed {seed}: read {version:?} after {newest:?}"
                );
                answered += 1;
            }
        }
    }
    assert!(answered > 3000, "too quiet: {answered}");
}
