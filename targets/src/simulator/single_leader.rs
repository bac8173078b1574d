//! How the replicas of `single-leader` are simulated.
//!
//! Only words are translated here: the replica is the one that runs behind sockets, made from the same options.

use super::{Clock, Cluster, Common, Effect, Force, Input, Micros, Setup, Simulated, Simulation};
use crate::catalog::single_leader::configure;
use crate::registry::Options;
use crate::replicas::NodeName;
use crate::replicas::single_leader::{
    self as replica, Append, AppendAnswer, Config, Entry, Message, Persisted, Replica, Request,
    Restored, Snapshot, operation, said,
};
use crate::replicas::{LogPosition, Term};
use crate::wire::Status;
use std::sync::Arc;

/// A cluster under these (resolved) options.
pub fn cluster(options: &Options, nodes: usize, setup: &Setup) -> Cluster<Replica> {
    let members: Vec<NodeName> = (1..=nodes).map(|n| NodeName(format!("n{n}"))).collect();
    let (_, fsync) = configure(options, "n1", members.clone());
    let config = |name: &NodeName| {
        let (mut config, _) = configure(options, &name.0, members.clone());
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
        Self::new(config, disk.stored.clone(), clock.monotonic)
    }

    fn step(&mut self, clock: Clock, input: Input<Self>, out: &mut Vec<Effect<Self>>) {
        let input = match input {
            Input::Client {
                id,
                session,
                avoid,
                local,
                request,
            } => replica::Input::Clients(vec![Request {
                id,
                session,
                avoid,
                operation: operation(request, local),
            }]),
            Input::Peer { from, message } => replica::Input::Peer { from, message },
            Input::Tick => replica::Input::Tick,
            Input::Persisted(done) => replica::Input::Persisted(done),
        };
        let effects = Self::step(self, clock.monotonic, input);
        out.extend(effects.into_iter().map(|effect| translate(self, effect)));
    }

    fn status(&self) -> Status {
        Self::status(self)
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

    fn describe(message: &Message) -> String {
        match message {
            Message::Append(append) => append_words(append),
            Message::AppendAnswer(answer) => answer_words(answer),
            Message::Install { term, snapshot, .. } => {
                format!("snapshot at {}, term {term}", snapshot.position)
            }
            Message::VoteRequest { term, pre, last } => vote_words(*term, *pre, *last),
            Message::VoteAnswer { term, pre, granted } => {
                let (vote, word) = (vote(*pre), if *granted { "yes" } else { "no" });
                format!("{vote} in term {term}: {word}")
            }
            Message::PositionQuery { .. } => "how far are you?".to_owned(),
            Message::PositionAnswer { report, .. } => report_words(report),
            Message::Hello { blank, answer } => hello_words(*blank, *answer),
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
            said: said(replica.name(), reply),
        },
        replica::Effect::Note(text) => Effect::Note(text),
        job => Effect::Disk(job),
    }
}

fn append_words(append: &Append) -> String {
    let (term, committed) = (append.term, append.committed);
    let (_, previous) = append.previous;
    let what = match span(&append.entries) {
        Some(span) => format!("append {span} after {previous}"),
        None => format!("heartbeat after {previous}"),
    };
    let admit = if append.admit { ", admitted" } else { "" };
    format!("{what}, term {term}, committed {committed}{admit}")
}

/// `5` or `5-7`.
fn span(entries: &[Arc<Entry>]) -> Option<String> {
    let (first, last) = (entries.first()?.position, entries.last()?.position);
    Some(if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    })
}

fn answer_words(answer: &AppendAnswer) -> String {
    let (term, matched) = (answer.term, answer.matched);
    match answer.rejection {
        None => format!("have {matched}, term {term}"),
        Some(rejection) if rejection.needs_snapshot => {
            format!("does not fit: need a snapshot, term {term}")
        }
        Some(rejection) => format!("does not fit: try after {}, term {term}", rejection.hint),
    }
}

fn vote(pre: bool) -> &'static str {
    if pre { "pre-vote" } else { "vote" }
}

fn vote_words(term: Term, pre: bool, (last_term, last): (Term, LogPosition)) -> String {
    let vote = vote(pre);
    format!("{vote} for me in term {term}? my log ends at {last} of term {last_term}")
}

fn report_words(report: &replica::PositionReport) -> String {
    let (term, last) = report.last;
    let sees = if report.sees_leader {
        ", and see a leader"
    } else {
        ""
    };
    format!("my log ends at {last} of term {term}{sees}")
}

fn hello_words(blank: bool, answer: bool) -> String {
    let blank = if blank { "I am new" } else { "I am not new" };
    let mark = if answer { "" } else { ", and you?" };
    format!("hello: {blank}{mark}")
}
