//! How the replicas of `single-leader` are simulated.
//!
//! Only words are translated here: the replica is the one that runs behind sockets, made from the same options.

mod words;

use super::{
    Call, Clock, Cluster, Common, Effect, Force, Input, Micros, Setup, Simulated, Simulation,
};
use crate::catalog::single_leader::configure;
use crate::registry::Options;
use crate::replicas::single_leader::{
    self as replica, Config, MemberChange, Message, Operation, Partition, Persisted, Replica,
    Request, Restored, Session, Snapshot, WriteConcern, operation, said,
};
use crate::replicas::{LogPosition, Millis, NodeName, Now};
use crate::wire::Status;
use std::sync::Arc;
use words::{
    answer_words, append_words, command_words, copy_words, hello_words, query_words, report_words,
    span, vote, vote_words,
};

/// Of several partitions each has a leader of its own: that is not simulated.
const ONLY: Partition = Partition { number: 0, of: 1 };

/// A cluster under these (resolved) options, of one partition.
pub fn cluster(options: &Options, nodes: usize, setup: &Setup) -> Cluster<Replica> {
    let members: Vec<NodeName> = (1..=nodes)
        .map(|n| NodeName::from(format!("n{n}")))
        .collect();
    let fsync = configure(options, "n1", members.clone()).fsync;
    let config = |name: &NodeName| {
        let mut config = configure(options, name.as_str(), members.clone()).replica(ONLY.number);
        config.seed ^= setup.seed;
        (name.clone(), config)
    };
    let configs: Vec<_> = members.iter().map(config).collect();
    // Seldomer than the server ticks: most of what happens would be ticks otherwise. A timer is late by so much at most.
    let heartbeat = configs.first().map_or(0, |(_, config)| config.heartbeat.0);
    let tick = Micros::from_millis((heartbeat / 2).max(1));
    Cluster::new(configs, Common { fsync, tick }, setup)
}

/// The same, as something that any driver can drive.
pub(crate) fn simulation(options: &Options, nodes: usize, setup: &Setup) -> Box<dyn Simulation> {
    Box::new(cluster(options, nodes, setup))
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// What it tells of its session.
    pub session: Session,
    /// What it wants.
    pub operation: Operation,
    /// How many nodes must have it.
    pub concern: Option<WriteConcern>,
}

/// A node's disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    stored: Restored,
    done: Persisted,
}

impl Disk {
    fn last(&self) -> LogPosition {
        LogPosition(self.stored.base.1.0 + self.stored.entries.len() as u64)
    }

    fn truncate(&mut self, after: LogPosition) {
        let kept = after.0.saturating_sub(self.stored.base.1.0);
        self.stored.entries.truncate(kept as usize);
    }

    fn drop_through(&mut self, position: LogPosition) {
        let dropped = position.0.saturating_sub(self.stored.base.1.0) as usize;
        let dropped = dropped.min(self.stored.entries.len());
        if let Some(last) = self.stored.entries.drain(..dropped).next_back() {
            self.stored.base = (last.term, last.position);
        }
    }

    fn install(&mut self, snapshot: &Arc<Snapshot>) {
        self.stored.base = (snapshot.term, snapshot.position);
        self.stored.entries.clear();
        self.stored.snapshot = Some(Arc::clone(snapshot));
    }
}

impl Simulated for Replica {
    type Config = Config;
    type Message = Message;
    type Request = Asked;
    type Job = replica::Effect;
    type Disk = Disk;
    type Done = Persisted;

    fn start(config: &Config, disk: &mut Disk, clock: Clock, life: u64) -> Self {
        disk.done = Persisted {
            position: disk.last(),
            ..Persisted::default()
        };
        let mut config = config.clone();
        config.seed = config.seed.wrapping_add(life << 32);
        Self::new(config, disk.stored.clone(), now(clock))
    }

    fn step(&mut self, clock: Clock, input: Input<Self>, out: &mut Vec<Effect<Self>>) {
        let input = match input {
            Input::Client { id, request } => replica::Input::Clients(vec![Request {
                id,
                session: request.session,
                operation: request.operation,
                concern: request.concern,
            }]),
            Input::Peer { from, message } => replica::Input::Peer { from, message },
            Input::Tick => replica::Input::Tick,
            Input::Persisted(done) => replica::Input::Persisted(done),
        };
        self.step_out(now(clock), input, |replica, effect| {
            out.push(translate(replica, effect));
        });
    }

    fn status(&self) -> Status {
        Self::status(self)
    }

    fn request(call: Call) -> Asked {
        let told = call.told;
        let millis = |since: std::time::Duration| Millis(since.as_millis() as u64);
        let session = Session {
            number: told.number,
            avoid: told.avoid.into_iter().map(NodeName::from).collect(),
            seen: LogPosition(told.seen.get(&ONLY.number).copied().unwrap_or(0)),
            since_write: told.since_write.map(millis),
        };
        Asked {
            session,
            operation: operation(call.request, call.local),
            concern: None,
        }
    }

    fn change_members(node: NodeName, join: bool) -> Asked {
        let change = if join {
            MemberChange::Join(node)
        } else {
            MemberChange::Leave(node)
        };
        Asked {
            session: Session::default(),
            operation: Operation::Reconfigure(change),
            concern: None,
        }
    }

    fn perform(disk: &mut Disk, job: &replica::Effect) {
        use replica::Effect as Job;
        match job {
            Job::Append { epoch, entries } => {
                disk.done.epoch = *epoch;
                disk.stored.entries.extend(entries.iter().cloned());
            }
            Job::Truncate { epoch, after } => {
                disk.done.epoch = *epoch;
                disk.truncate(*after);
            }
            Job::SaveHardState { sequence, state } => {
                disk.done.hard_sequence = *sequence;
                disk.stored.hard.clone_from(state);
            }
            Job::SaveSnapshot {
                snapshot,
                drop_through,
            } => {
                disk.stored.snapshot = Some(Arc::clone(snapshot));
                disk.drop_through(*drop_through);
            }
            Job::InstallSnapshot { epoch, snapshot } => {
                disk.done.epoch = *epoch;
                disk.install(snapshot);
            }
            Job::Send { .. } | Job::Reply { .. } | Job::Note(_) => {}
        }
        disk.done.position = disk.last();
    }

    fn forces(job: &replica::Effect) -> Force {
        match job {
            replica::Effect::SaveHardState { .. } => Force::Itself,
            replica::Effect::SaveSnapshot { .. } | replica::Effect::InstallSnapshot { .. } => {
                Force::Everything
            }
            _ => Force::Nothing,
        }
    }

    fn done(disk: &Disk) -> Persisted {
        disk.done
    }

    fn is_whole(disk: &Disk) -> bool {
        disk.stored.hard.voter
    }

    fn describe_request(asked: &Asked) -> String {
        match &asked.operation {
            Operation::Read(query) => query_words(query),
            Operation::ReadLocal(query) => format!("{}, from its own state", query_words(query)),
            Operation::Change(command) => command_words(command),
            Operation::Reconfigure(MemberChange::Join(name)) => format!("{name} is to join"),
            Operation::Reconfigure(MemberChange::Leave(name)) => format!("{name} is to leave"),
        }
    }

    fn describe(message: &Message) -> String {
        match message {
            Message::Append(append) => append_words(append),
            Message::AppendAnswer(answer) => answer_words(answer),
            Message::Install { term, snapshot, .. } => {
                format!("snapshot at {}, term {term}", snapshot.position)
            }
            Message::VoteRequest {
                term, pre, last, ..
            } => vote_words(*term, *pre, *last),
            Message::TimeoutNow { term } => format!("lead in my place, term {term}"),
            Message::VoteAnswer { term, pre, granted } => {
                let (vote, word) = (vote(*pre), if *granted { "yes" } else { "no" });
                format!("{vote} in term {term}: {word}")
            }
            Message::PositionQuery { .. } => "how far are you?".to_owned(),
            Message::PositionAnswer { report, .. } => report_words(report),
            Message::CopyQuery { .. } => "send me all that you have".to_owned(),
            Message::CopyAnswer { copy, .. } => copy_words(copy),
            Message::Hello { blank, answer } => hello_words(*blank, *answer),
        }
    }

    fn elects(message: &Message) -> bool {
        match message {
            Message::VoteRequest { pre, .. } | Message::VoteAnswer { pre, .. } => !pre,
            Message::TimeoutNow { .. }
            | Message::PositionQuery { .. }
            | Message::PositionAnswer { .. }
            | Message::CopyQuery { .. }
            | Message::CopyAnswer { .. } => true,
            _ => false,
        }
    }

    fn describe_job(job: &replica::Effect) -> Option<String> {
        use replica::Effect as Job;
        match job {
            Job::Append { entries, .. } => Some(format!("log {}", span(entries)?)),
            Job::Truncate { after, .. } => Some(format!("log cut after {after}")),
            Job::SaveHardState { state, .. } => Some(match &state.voted_for {
                Some(name) => format!("term {}, vote for {name}", state.term),
                None => format!("term {}", state.term),
            }),
            Job::SaveSnapshot { snapshot, .. } | Job::InstallSnapshot { snapshot, .. } => {
                Some(format!("snapshot at {}", snapshot.position))
            }
            Job::Send { .. } | Job::Reply { .. } | Job::Note(_) => None,
        }
    }
}

fn translate(replica: &Replica, effect: replica::Effect) -> Effect<Replica> {
    match effect {
        replica::Effect::Send {
            to,
            message,
            after_disk,
        } => Effect::Send {
            to,
            message,
            after_disk,
        },
        replica::Effect::Reply { to, reply } => Effect::Reply {
            to,
            said: said(replica.name(), ONLY, reply),
        },
        replica::Effect::Note(text) => Effect::Note(text),
        job => Effect::Disk(job),
    }
}

fn now(clock: Clock) -> Now {
    let Clock { monotonic, wall } = clock;
    Now { monotonic, wall }
}
