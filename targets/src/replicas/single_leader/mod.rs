//! `single-leader`: one leader orders all writes in a log, followers copy it.
//!
//! [`Replica::step`] is the whole interface: the time and an [`Input`] in, [`Effect`]s out. With
//! `failover=consensus ack=majority` it is Raft (Ongaro and Ousterhout 2014; pre-vote, check-quorum and
//! read index as in Ongaro's thesis, sections 9.6, 6.2 and 6.4). The other options are what real systems
//! do instead, with the anomalies that follow: acknowledging early (`ack`), taking over without a vote
//! (`failover=naive`), reading from anyone (`read`).
//!
//! | file | idea |
//! |---|---|
//! | `config` | the options |
//! | `message` | requests, messages, effects |
//! | `log`, `state` | the log in memory, the key space it builds |
//! | `election`, `naive` | who leads: by vote, or by looking around |
//! | `leader` | replication, commit rules, client writes |
//! | `follower` | accepting the leader's log, truncation, snapshots |
//! | `reads`, `lease` | who may answer a read, and when |
//! | `concern` | how many nodes a client wants to have its write |
//! | `service` | a client's request as an operation, a reply as an answer |
//! | `fetch` | how the one leader of `failover=off` gets back what it has lost |
//! | `join` | how a node without (trustworthy) data becomes a voter |
//! | `bugs` | mistakes that real systems have made, to be found |
//! | `members`, `handover` | nodes that come and go, leaders that give way |

mod bugs;
mod concern;
mod config;
mod election;
mod fetch;
mod follower;
mod handover;
mod join;
mod leader;
mod lease;
mod log;
mod members;
mod message;
mod naive;
mod reads;
mod service;
mod state;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use bugs::{BUGS, Bug};
pub use config::{Ack, Config, Failover, Join, LeaseClock, ReadMode, UnknownValue};
pub use message::{
    Append, AppendAnswer, Command, Copy, Effect, Entry, HardState, Input, MemberChange, Message,
    Operation, Persisted, PositionReport, Query, Refusal, Rejection, Reply, Request, Session,
    Snapshot, WriteConcern,
};
pub use reads::sticky_replica;
pub use service::{Partition, operation, said};
pub use state::{Conflict, ConflictKind, KeySpace, Outcome};

use self::leader::Leadership;
use self::log::Log;
use self::members::Members;
use self::reads::Behind;
use super::{LogPosition, Millis, NodeName, Now, RequestId, Term};
use crate::wire;

/// What a node finds on its disk when it starts.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Term, vote, voter.
    pub hard: HardState,
    /// The last snapshot.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The term and position before the first entry.
    pub base: (Term, LogPosition),
    /// The log after it.
    pub entries: Vec<Arc<Entry>>,
    /// Something that had been durable is missing: the node must not vote until it has caught up.
    pub damaged: bool,
}

impl Restored {
    fn entries_after(&self, position: LogPosition) -> impl Iterator<Item = &Arc<Entry>> {
        let entries = self.entries.iter();
        entries.filter(move |entry| entry.position > position)
    }
}

#[derive(Debug)]
enum Role {
    Follower,
    Candidate(election::Candidacy),
    Leader(Box<Leadership>),
}

/// One replica.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    rng: ChaCha8Rng,
    now: Millis,
    wall: Millis,
    started: Millis,

    hard: HardState,
    hard_sequence: u64,
    disk: Persisted,

    log: Log,
    epoch: u64,
    snapshot: Arc<Snapshot>,
    members: Members,
    state: KeySpace,
    committed: LogPosition,
    applied: LogPosition,
    /// Committed positions and since when this follower knows, for `follower_lag`.
    held_back: VecDeque<(Millis, LogPosition)>,

    role: Role,
    leader: Option<NodeName>,
    /// When the leader was last heard.
    heard: Option<Millis>,
    /// When a leader, whoever it was, was last answered, which may have given it a lease.
    promised: Option<Millis>,
    election_due: Millis,
    /// Since a leader was last heard, somebody has asked for a vote who lacks what is here.
    hinders: bool,
    /// The log equals the current leader's up to here.
    verified: LogPosition,
    last_round: u64,
    answered: LogPosition,
    /// The own snapshot has diverged from the leader's log.
    wants_snapshot: bool,

    /// Caught up since the start: may serve reads.
    serving: bool,
    serve_from: Option<LogPosition>,
    /// Reads that wait here until this replica has what their sessions have seen.
    behind: Vec<Behind>,
    blank_seen: BTreeSet<NodeName>,
    hello_due: Millis,

    counters: wire::Counters,
    effects: Vec<Effect>,
}

impl Replica {
    /// A replica with what its disk holds. Nothing happens before the first [`Replica::step`].
    pub fn new(mut config: Config, restored: Restored, now: impl Into<Now>) -> Self {
        let Now { monotonic, wall } = now.into();
        let now = monotonic;
        config.members.sort();
        let rng = ChaCha8Rng::seed_from_u64(config.seed);
        let snapshot = restored
            .snapshot
            .clone()
            .unwrap_or_else(|| Arc::new(empty_snapshot()));
        let first = members_or(&snapshot.members, &config);
        let after = restored.entries_after(snapshot.position);
        let members = Members::new(first, snapshot.position, after);
        let log = Log::new(restored.base, restored.entries);
        let mut replica = Self {
            rng,
            now,
            wall,
            started: now,
            hard: restored.hard,
            hard_sequence: 0,
            disk: Persisted {
                epoch: 0,
                position: log.last(),
                hard_sequence: 0,
            },
            log,
            epoch: 0,
            state: snapshot.state.clone(),
            committed: snapshot.position,
            applied: snapshot.position,
            snapshot,
            members,
            held_back: VecDeque::new(),
            role: Role::Follower,
            leader: None,
            heard: None,
            promised: None,
            election_due: now,
            hinders: false,
            verified: LogPosition::START,
            last_round: 0,
            answered: LogPosition::START,
            wants_snapshot: false,
            serving: false,
            serve_from: None,
            behind: Vec::new(),
            blank_seen: BTreeSet::new(),
            hello_due: now,
            counters: wire::Counters::default(),
            effects: Vec::new(),
            config,
        };
        replica.distrust(restored.damaged);
        if !replica.config.is_fixed_leader() {
            replica.reset_election_timer();
        }
        replica
    }

    /// Takes one input at a time that never runs backwards, and answers what is to be done, in order.
    pub fn step(&mut self, now: impl Into<Now>, input: Input) -> Vec<Effect> {
        self.take(now, input);
        std::mem::take(&mut self.effects)
    }

    /// The same, where what is to be done goes to `out`, without a list for each step.
    pub fn step_out(
        &mut self,
        now: impl Into<Now>,
        input: Input,
        mut out: impl FnMut(&Self, Effect),
    ) {
        self.take(now, input);
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            out(self, effect);
        }
        self.effects = effects;
    }

    fn take(&mut self, now: impl Into<Now>, input: Input) {
        let Now { monotonic, wall } = now.into();
        self.now = self.now.max(monotonic);
        self.wall = wall;
        match input {
            Input::Clients(requests) => self.on_clients(requests),
            Input::Peer { from, message } => {
                if self.config.peers().any(|peer| *peer == from) {
                    self.on_message(&from, message);
                }
            }
            Input::Tick => self.on_tick(),
            Input::Persisted(done) => self.on_persisted(done),
        }
        self.advance();
    }

    /// The replica's view of itself.
    pub fn status(&self) -> wire::Status {
        let lead = self.leadership();
        wire::Status {
            node: self.config.name.to_string(),
            role: self.public_role(),
            term: self.hard.term.0,
            leader: self.leader.as_ref().map(ToString::to_string),
            position: self.log.last().0,
            durable: self.disk.position.0,
            matched: lead.map_or(self.verified, |_| self.log.last()).0,
            committed: self.committed.0,
            applied: self.applied.0,
            lag: self.committed.0.saturating_sub(self.applied.0),
            in_sync: self
                .in_sync()
                .into_iter()
                .map(|name| name.to_string())
                .collect(),
            snapshot: self.snapshot.position.0,
            voter: self.hard.voter,
            members: self.members().iter().map(ToString::to_string).collect(),
            pending: lead.map_or(0, |lead| lead.pending.len() as u64),
            counters: self.counters,
            partitions: Vec::new(),
        }
    }

    /// Its own name.
    pub fn name(&self) -> &NodeName {
        &self.config.name
    }

    /// The applied state, for tests and simulators.
    pub fn state(&self) -> &KeySpace {
        &self.state
    }

    /// The term of the entry at a position that is still in the log, for tests and simulators.
    pub fn term_at(&self, position: LogPosition) -> Option<Term> {
        self.log.term_at(position)
    }

    fn public_role(&self) -> wire::Role {
        match self.role {
            Role::Leader(_) => wire::Role::Leader,
            _ if !self.hard.voter || !self.serving => wire::Role::Joining,
            Role::Follower => wire::Role::Follower,
            Role::Candidate(_) => wire::Role::Candidate,
        }
    }

    fn leadership(&self) -> Option<&Leadership> {
        match &self.role {
            Role::Leader(lead) => Some(lead),
            _ => None,
        }
    }

    fn on_message(&mut self, from: &NodeName, message: Message) {
        match message {
            Message::Append(append) => self.on_append(from, &append),
            Message::AppendAnswer(answer) => self.on_append_answer(from, &answer),
            Message::Install {
                term,
                round,
                snapshot,
            } => {
                self.on_install(from, term, round, &snapshot);
            }
            Message::VoteRequest {
                term,
                pre,
                handed_over,
                last,
            } => self.on_vote_request(from, term, pre, handed_over, last),
            Message::VoteAnswer { term, pre, granted } => {
                self.on_vote_answer(from, term, pre, granted);
            }
            Message::TimeoutNow { term } => self.on_timeout_now(from, term),
            Message::PositionQuery { round } => self.on_position_query(from, round),
            Message::PositionAnswer { round, report } => {
                self.on_position_answer(from, round, report);
            }
            Message::CopyQuery { round } => self.on_copy_query(from, round),
            Message::CopyAnswer { round, copy } => self.on_copy_answer(from, round, &copy),
            Message::Hello { blank, answer } => self.on_hello(from, blank, answer),
        }
    }

    fn on_tick(&mut self) {
        if self.leadership().is_some() {
            self.lead_on();
        } else if self.now >= self.election_due {
            self.on_election_timeout();
        }
        self.finish_asking();
        self.look_for_others();
    }

    fn on_persisted(&mut self, done: Persisted) {
        self.disk.hard_sequence = done.hard_sequence;
        if done.epoch != self.epoch {
            return;
        }
        self.disk = done;
        let matched = self.matched();
        if matched > self.answered {
            self.answer_leader(None);
        }
    }

    /// What follows from any input: commit, apply, answer, compact.
    fn advance(&mut self) {
        self.advance_commit();
        self.release_held_back();
        self.tend_concerned();
        self.answer_reads();
        self.answer_behind();
        self.tend_members();
        self.start_serving();
        self.take_snapshot();
    }

    /// Applies what is committed: at once on a leader, after `follower_lag` elsewhere.
    fn release_held_back(&mut self) {
        if self.leadership().is_some() || self.config.follower_lag == Millis(0) {
            self.held_back.clear();
            self.apply_through(self.committed);
            return;
        }
        while let Some((since, position)) = self.held_back.front().copied() {
            if self.now.since(since) < self.config.follower_lag {
                break;
            }
            self.held_back.pop_front();
            self.apply_through(position.min(self.committed));
        }
    }

    fn apply_through(&mut self, position: LogPosition) {
        if self.has(Bug::ApplyOutOfOrder) && self.leadership().is_none() {
            self.apply_reversed(position);
        }
        while self.applied < position {
            let next = self.applied.next();
            let Some(entry) = self.log.get(next).cloned() else {
                return;
            };
            let outcome = self.state.apply(next, &entry.command);
            self.applied = next;
            self.answer_write(next, outcome);
        }
    }

    fn apply_reversed(&mut self, position: LogPosition) {
        let together = (self.applied.0 + 1..=position.0).rev().map(LogPosition);
        let entries: Option<Vec<_>> = together.map(|at| self.log.get(at).cloned()).collect();
        for entry in entries.unwrap_or_default() {
            self.state.apply(entry.position, &entry.command);
            self.applied = position;
        }
    }

    /// A follower that restarted may be far behind what it has shown before; it stays silent until it has
    /// applied what the leader had committed when they first met.
    fn start_serving(&mut self) {
        if !self.is_member() {
            // One that has left is told nothing any more; should it come back, it starts anew.
            self.serving = false;
            self.serve_from = None;
            return;
        }
        if self.serving {
            return;
        }
        let from = match &self.role {
            Role::Leader(lead) => Some(lead.term_start),
            _ => self.serve_from,
        };
        self.serving = from.is_some_and(|position| self.applied >= position);
    }

    fn take_snapshot(&mut self) {
        let since = self.applied.0.saturating_sub(self.snapshot.position.0);
        if since < self.config.snapshot_every {
            return;
        }
        // The log between the last two snapshots stays, for followers that are only a little behind.
        let drop_through = self.snapshot.position;
        self.snapshot = Arc::new(self.snapshot_now());
        self.log.drop_through(drop_through);
        self.members.forget_before(self.snapshot.position);
        let snapshot = if self.has(Bug::SnapshotAheadOfState) {
            Arc::new(self.as_saved((*self.snapshot).clone()))
        } else {
            Arc::clone(&self.snapshot)
        };
        self.note(format!(
            "snapshot at {}, log kept after {drop_through}",
            snapshot.position
        ));
        self.effects.push(Effect::SaveSnapshot {
            snapshot,
            drop_through,
        });
    }

    /// The applied state with its position.
    fn snapshot_now(&self) -> Snapshot {
        let term = self.log.term_at(self.applied).unwrap_or(self.snapshot.term);
        Snapshot {
            position: self.applied,
            term,
            members: self.members.at(self.applied).to_vec(),
            state: self.state.clone(),
        }
    }

    fn members_of(&self, snapshot: &Snapshot) -> Members {
        let first = members_or(&snapshot.members, &self.config);
        Members::new(first, snapshot.position, [])
    }

    fn save_hard_state(&mut self) {
        self.hard_sequence += 1;
        let (sequence, state) = (self.hard_sequence, self.hard.clone());
        self.effects.push(Effect::SaveHardState { sequence, state });
    }

    /// A message leaves only after the term and vote that it speaks for are durable.
    fn send(&mut self, to: &NodeName, message: Message) {
        let after_disk = self.disk.hard_sequence != self.hard_sequence;
        self.effects.push(Effect::Send {
            to: to.clone(),
            message,
            after_disk,
        });
    }

    fn send_to_all(&mut self, message: &Message) {
        let peers: Vec<_> = self.config.peers().cloned().collect();
        for peer in peers {
            self.send(&peer, message.clone());
        }
    }

    fn reply(&mut self, to: RequestId, reply: Reply) {
        self.effects.push(Effect::Reply { to, reply });
    }

    fn note(&mut self, text: String) {
        self.effects.push(Effect::Note(text));
    }

    /// Between one and two election time-outs from now, so that candidates seldom collide.
    fn reset_election_timer(&mut self) {
        let timeout = self.config.election_timeout.0.max(1);
        let jitter = self.rng.random_range(0..timeout);
        self.election_due = self.now.plus(Millis(timeout + jitter));
    }
}

/// Who the cluster is as a snapshot has it: one that names nobody means those that the node was started with.
fn members_or(snapshot: &[NodeName], config: &Config) -> Vec<NodeName> {
    let known = if snapshot.is_empty() {
        &config.members
    } else {
        snapshot
    };
    known.to_vec()
}

fn empty_snapshot() -> Snapshot {
    Snapshot {
        position: LogPosition::START,
        term: Term(0),
        members: Vec::new(),
        state: KeySpace::default(),
    }
}
