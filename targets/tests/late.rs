//! One replica against messages that come late, or from a node that has forgotten everything since it sent them.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use schism_targets::replicas::single_leader::{
    Ack, Append, AppendAnswer, Command, Config, Effect, Entry, Failover, HardState, Input, Join,
    KeySpace, LeaseClock, MemberChange, Message, Operation, Persisted, ReadMode, Rejection,
    Replica, Request, Restored, Session, Snapshot,
};
use schism_targets::replicas::{LogPosition, Millis, NodeName, RequestId, Term};
use schism_targets::wire::Role;
use serde_json::json;

/// One of three nodes of a cluster that loses nothing and reads nothing stale.
fn config(index: usize) -> Config {
    Config {
        name: name(index + 1),
        members: (1..=3).map(name).collect(),
        priority: BTreeMap::new(),
        ack: Ack::Majority,
        failover: Failover::Consensus,
        read: ReadMode::LeaderQuorum,
        lease_clock: LeaseClock::Monotonic,
        window: Millis(500),
        join: Join::SnapshotWithPosition,
        election_timeout: Millis(200),
        heartbeat: Millis(30),
        follower_lag: Millis(0),
        snapshot_every: 1000,
        pending_max: 1000,
        commit_timeout: Millis(2000),
        bug: None,
        seed: 1,
    }
}

/// A voter of three nodes that has seen term 1.
fn voter(index: usize, change: impl Fn(&mut Config)) -> Replica {
    restored(index, change, Restored::default())
}

fn restored(index: usize, change: impl Fn(&mut Config), disk: Restored) -> Replica {
    let mut config = config(index);
    change(&mut config);
    let hard = HardState {
        term: Term(1),
        voted_for: None,
        voter: true,
    };
    Replica::new(config, Restored { hard, ..disk }, Millis(0))
}

fn name(node: usize) -> NodeName {
    NodeName::from(format!("n{node}"))
}

fn hear(replica: &mut Replica, at: u64, from: usize, message: Message) -> Vec<Effect> {
    let from = name(from);
    replica.step(Millis(at), Input::Peer { from, message })
}

fn snapshot(position: u64) -> Snapshot {
    Snapshot {
        position: LogPosition(position),
        term: Term(1),
        members: (1..=3).map(name).collect(),
        state: KeySpace::default(),
    }
}

fn install(round: u64, position: u64) -> Message {
    Message::Install {
        term: Term(1),
        round,
        snapshot: Arc::new(snapshot(position)),
    }
}

fn heartbeat(round: u64) -> Message {
    Message::Append(Append {
        term: Term(1),
        round,
        previous: (Term(0), LogPosition::START),
        entries: Vec::new(),
        committed: LogPosition::START,
        admit: false,
        incarnation: None,
    })
}

/// What it has vouched for it may not forget: the leader may have counted it.
#[test]
fn a_late_copy_of_an_older_snapshot_is_not_installed() {
    let mut replica = voter(1, |_| {});
    hear(&mut replica, 10, 1, install(2, 20));
    hear(&mut replica, 11, 1, install(1, 10));
    assert_eq!(replica.status().applied, 20);

    let disk = Restored {
        snapshot: Some(Arc::new(snapshot(20))),
        base: (Term(1), LogPosition(20)),
        ..Restored::default()
    };
    let mut replica = restored(1, |_| {}, disk);
    hear(&mut replica, 10, 1, install(1, 10));
    assert_eq!(replica.status().applied, 20, "after a restart");
}

/// A lease is a promise, whatever the node that gave it hears meanwhile.
#[test]
fn news_of_a_higher_term_does_not_end_a_lease_that_was_given() {
    let vote = Message::VoteAnswer {
        term: Term(5),
        pre: true,
        granted: false,
    };
    let answer = Message::AppendAnswer(answer(5, 1, 0, true));
    for news in [vote, answer] {
        let mut replica = voter(1, |config| config.read = ReadMode::LeaderLease);
        hear(&mut replica, 1000, 1, heartbeat(1));
        hear(&mut replica, 1010, 3, news);
        assert_eq!(replica.status().term, 5);
        assert_eq!(votes(&mut replica, 1020), 0);
        assert_eq!(votes(&mut replica, 1200), 1, "the lease is over");
    }
}

/// How many votes it gives node 3 for term 6.
fn votes(replica: &mut Replica, at: u64) -> usize {
    let request = Message::VoteRequest {
        term: Term(6),
        pre: false,
        handed_over: false,
        last: (Term(1), LogPosition(1)),
    };
    let effects = hear(replica, at, 3, request);
    let granted = |effect: &&Effect| {
        let Effect::Send { message, .. } = effect else {
            return false;
        };
        matches!(message, Message::VoteAnswer { granted: true, .. })
    };
    effects.iter().filter(granted).count()
}

fn answer(term: u64, round: u64, matched: u64, voter: bool) -> AppendAnswer {
    AppendAnswer {
        term: Term(term),
        round,
        matched: LogPosition(matched),
        voter,
        rejection: None,
        incarnation: 1,
    }
}

/// Node 1, elected by node 3; its first entry is durable.
fn leader() -> Replica {
    let mut replica = voter(0, |_| {});
    replica.step(Millis(500), Input::Tick);
    for pre in [true, false] {
        let (term, granted) = (Term(2), true);
        let yes = Message::VoteAnswer { term, pre, granted };
        hear(&mut replica, 501, 3, yes);
    }
    assert_eq!(replica.status().role, Role::Leader);
    persisted(&mut replica, 1);
    replica
}

fn persisted(replica: &mut Replica, position: u64) {
    let done = Persisted {
        epoch: 0,
        position: LogPosition(position),
        hard_sequence: 1,
    };
    replica.step(Millis(502), Input::Persisted(done));
}

fn request(id: u64, operation: Operation) -> Request {
    Request {
        id: RequestId(id),
        session: Session::default(),
        operation,
        concern: None,
    }
}

fn write() -> Operation {
    Operation::Change(Command::Write {
        key: "x".into(),
        value: json!(1),
    })
}

/// The number of the last message that was sent.
fn round(effects: &[Effect]) -> u64 {
    let rounds = effects.iter().filter_map(|effect| match effect {
        Effect::Send {
            message: Message::Append(append),
            ..
        } => Some(append.round),
        _ => None,
    });
    rounds.max().unwrap()
}

#[test]
fn what_a_node_acknowledged_before_it_was_wiped_does_not_count_once_it_votes_again() {
    let mut leader = leader();
    hear(
        &mut leader,
        503,
        3,
        Message::AppendAnswer(answer(2, 2, 1, true)),
    );
    assert_eq!(leader.status().committed, 1);
    let written = leader.step(Millis(504), Input::Clients(vec![request(1, write())]));
    persisted(&mut leader, 2);
    let late = answer(2, round(&written), 2, true);

    // Empty, it asks for everything, and has what is committed.
    let empty = AppendAnswer {
        rejection: Some(Rejection {
            hint: LogPosition::START,
            needs_snapshot: false,
        }),
        ..answer(2, round(&written), 0, false)
    };
    hear(&mut leader, 505, 3, Message::AppendAnswer(empty));
    let beat = round(&leader.step(Millis(600), Input::Tick));
    hear(
        &mut leader,
        601,
        3,
        Message::AppendAnswer(answer(2, beat, 1, false)),
    );
    hear(
        &mut leader,
        602,
        2,
        Message::AppendAnswer(answer(2, beat, 0, true)),
    );
    let beat = round(&leader.step(Millis(640), Input::Tick));
    hear(
        &mut leader,
        641,
        3,
        Message::AppendAnswer(answer(2, beat, 1, true)),
    );

    hear(&mut leader, 642, 3, Message::AppendAnswer(late));
    assert_eq!(leader.status().committed, 1, "only node 1 has the write");
    hear(
        &mut leader,
        643,
        3,
        Message::AppendAnswer(answer(2, beat, 2, true)),
    );
    assert_eq!(leader.status().committed, 2);
}

/// What came together with a change of the members goes out at once, whatever becomes of the change.
#[test]
fn a_write_is_sent_on_before_a_change_that_is_refused() {
    let mut leader = leader();
    hear(
        &mut leader,
        503,
        3,
        Message::AppendAnswer(answer(2, 2, 1, true)),
    );
    let stranger = Operation::Reconfigure(MemberChange::Join(name(9)));
    let requests = vec![request(1, write()), request(2, stranger)];
    let effects = leader.step(Millis(504), Input::Clients(requests));
    let sent = effects.iter().any(|effect| match effect {
        Effect::Send {
            message: Message::Append(append),
            ..
        } => append.entries.iter().any(is_write),
        _ => false,
    });
    assert!(sent, "{effects:?}");
}

fn is_write(entry: &Arc<Entry>) -> bool {
    matches!(entry.command, Command::Write { .. })
}

/// What it showed before it was restarted it must show again: a message that was sent to it then knows of less.
#[test]
fn a_message_to_an_earlier_life_does_not_open_reads() {
    let entry = |position| {
        let (term, command) = (Term(1), Command::Noop);
        let position = LogPosition(position);
        Arc::new(Entry {
            term,
            position,
            command,
        })
    };
    let disk = Restored {
        entries: (1..=3).map(entry).collect(),
        ..Restored::default()
    };
    let mut replica = restored(1, |config| config.seed = 7, disk);
    let mut serves = |round, committed, incarnation| {
        let append = Append {
            term: Term(1),
            round,
            previous: (Term(1), LogPosition(3)),
            entries: Vec::new(),
            committed: LogPosition(committed),
            admit: false,
            incarnation,
        };
        hear(&mut replica, 10 + round, 1, Message::Append(append));
        replica.status().role == Role::Follower
    };
    assert!(!serves(1, 1, Some(6)), "sent to the life before");
    assert!(!serves(2, 1, None), "sent when nothing was known of it");
    assert!(serves(3, 3, Some(7)));
}
