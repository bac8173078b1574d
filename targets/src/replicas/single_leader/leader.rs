//! What a leader does: append, replicate, decide what is committed, answer writes.
//!
//! Raft, section 5.3 and 5.4.2, with pipelining: entries go out at once and `next` moves on without
//! waiting; a rejected message moves it back. The commit rule is the `ack` option's; in every one only an
//! entry of the leader's own term is counted, the earlier ones follow it (figure 8 of the paper).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bugs::Bug;
use super::concern::Concerned;
use super::config::{Ack, Failover, Join};
use super::lease::Lease;
use super::members::Joining;
use super::message::{
    Append, AppendAnswer, Command, Effect, Entry, Message, Operation, Refusal, Reply, Request,
    Snapshot, WriteConcern,
};
use super::reads::Reads;
use super::state::Outcome;
use super::{Replica, Role};
use crate::replicas::{LogPosition, Millis, NodeName, Now, RequestId, Term};

/// Entries in one message, and about how many bytes.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Entries under way to one follower without an answer.
const WINDOW_ENTRIES: u64 = 8192;
/// Heartbeats without an answer after which a follower gets no entries until it answers again.
const SILENT_HEARTBEATS: u64 = 5;

/// A write in the log whose client waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: RequestId,
    pub(super) since: Millis,
    pub(super) concern: Option<WriteConcern>,
}

/// What a leader knows about a follower.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What is sent next.
    next: LogPosition,
    /// It has this, durably.
    pub(super) matched: LogPosition,
    /// When it last answered.
    pub(super) heard: Option<Millis>,
    /// The last message number that it answered.
    pub(super) acked_round: u64,
    pub(super) voter: bool,
    /// Its life, as it last said.
    incarnation: Option<u64>,
    /// Without a vote: the first message number after it was met.
    pub(super) joining_since: Option<u64>,
    /// The first message number since it was last met without a vote: what it acknowledged as a voter before, it may have forgotten.
    met: u64,
    /// Rejections of messages up to this number are answered already.
    rewound_at: u64,
    needs_snapshot: bool,
    /// A snapshot under way: when it was sent, in which message, and where it ends.
    snapshot_sent: Option<(Millis, u64, LogPosition)>,
}

/// The volatile state of a leader.
#[derive(Debug)]
pub(super) struct Leadership {
    pub(super) progress: BTreeMap<NodeName, Progress>,
    pub(super) since: Millis,
    /// The term's first entry.
    pub(super) term_start: LogPosition,
    /// The number of the last message sent.
    pub(super) round: u64,
    heartbeat_due: Millis,
    in_sync: Option<NodeName>,
    pub(super) pending: BTreeMap<LogPosition, Waiting>,
    pub(super) concerned: Concerned,
    pub(super) reads: Reads,
    pub(super) lease: Lease,
    /// A node that is on its way to become a member.
    pub(super) joining: Option<Joining>,
    /// When it last began to give way to one that is wanted more.
    pub(super) gave_way: Option<Millis>,
    /// Whether that one has been asked to lead.
    pub(super) handed_over: bool,
}

impl Leadership {
    pub(super) fn new(
        peers: impl Iterator<Item = NodeName>,
        since: Millis,
        term_start: LogPosition,
    ) -> Self {
        let progress = |name| (name, Progress::from(term_start));
        Self {
            progress: peers.map(progress).collect(),
            since,
            term_start,
            round: 0,
            heartbeat_due: since,
            in_sync: None,
            pending: BTreeMap::new(),
            concerned: Concerned::default(),
            reads: Reads::default(),
            lease: Lease::default(),
            joining: None,
            gave_way: None,
            handed_over: false,
        }
    }

    /// How many writes wait for other nodes.
    pub(super) fn waiting(&self) -> usize {
        self.pending.len() + self.concerned.len()
    }
}

impl Replica {
    pub(super) fn begin_term(&mut self) {
        self.append(vec![Command::Noop]);
        self.replicate_to_all(true);
    }

    pub(super) fn on_clients(&mut self, requests: Vec<Request>) {
        let mut commands = Vec::new();
        for request in requests {
            match request.operation.clone() {
                Operation::Read(query) => self.on_read(&request, query),
                Operation::ReadLocal(query) => self.read_local(request.id, &query),
                Operation::Change(command) => self.on_change(&request, command, &mut commands),
                Operation::Reconfigure(change) => {
                    // Requests are taken in order, so what came before stands before the new list.
                    self.append_and_send(std::mem::take(&mut commands));
                    self.on_reconfigure(request.id, change);
                }
            }
        }
        self.append_and_send(commands);
    }

    fn append_and_send(&mut self, commands: Vec<Command>) {
        if !commands.is_empty() {
            self.append(commands);
            self.replicate_to_all(false);
        }
    }

    fn on_change(&mut self, request: &Request, command: Command, commands: &mut Vec<Command>) {
        let Request { id, concern, .. } = *request;
        let position = LogPosition(self.log.last().0 + commands.len() as u64 + 1);
        match &self.role {
            Role::Leader(_) if self.gives_way() => self.refuse_while_handing_over(id),
            Role::Leader(lead) if lead.waiting() < self.config.pending_max => {
                if !self.refuses_concern(id, concern) {
                    self.wait_for_commit(id, position, concern);
                    commands.push(command);
                }
            }
            Role::Leader(_) => self.refuse_overload(id),
            _ => self.refuse_or_redirect(id),
        }
    }

    /// A client waits until the entry at a position is applied.
    pub(super) fn wait_for_commit(
        &mut self,
        id: RequestId,
        position: LogPosition,
        concern: Option<WriteConcern>,
    ) {
        let since = self.now;
        if let Role::Leader(lead) = &mut self.role {
            let waiting = Waiting { id, since, concern };
            lead.pending.insert(position, waiting);
        }
    }

    pub(super) fn refuse_overload(&mut self, id: RequestId) {
        let message = "too many requests wait already".to_owned();
        self.reply(
            id,
            Reply::Refused {
                refusal: Refusal::Overloaded,
                message,
            },
        );
    }

    fn refuse_while_handing_over(&mut self, id: RequestId) {
        let message = "another is about to lead".to_owned();
        let refusal = Refusal::NoLeader;
        self.reply(id, Reply::Refused { refusal, message });
    }

    pub(super) fn refuse_or_redirect(&mut self, id: RequestId) {
        let reply = match &self.leader {
            Some(leader) => Reply::Redirect(leader.clone()),
            None => Reply::Refused {
                refusal: Refusal::NoLeader,
                message: "no leader is known here".to_owned(),
            },
        };
        self.reply(id, reply);
    }

    pub(super) fn append(&mut self, commands: Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        let term = self.hard.term;
        let mut entries = Vec::with_capacity(commands.len());
        for command in commands {
            let entry = Arc::new(Entry {
                term,
                position: self.log.last().next(),
                command,
            });
            self.members.learn(&entry);
            self.log.push(Arc::clone(&entry));
            entries.push(entry);
        }
        self.effects.push(Effect::Append {
            epoch: self.epoch,
            entries,
        });
    }

    /// A leader's tick.
    pub(super) fn lead_on(&mut self) {
        let (now, heartbeat) = (self.now, self.config.heartbeat);
        if let Role::Leader(lead) = &mut self.role
            && now >= lead.heartbeat_due
        {
            lead.heartbeat_due = now.plus(heartbeat);
            self.replicate_to_all(true);
        }
        self.choose_in_sync();
        self.give_up_waiting();
        self.yield_to_wanted();
        self.check_quorum();
    }

    /// Sends each follower what it lacks; with `beat` also where it lacks nothing.
    pub(super) fn replicate_to_all(&mut self, beat: bool) {
        let Role::Leader(lead) = &self.role else {
            return;
        };
        let peers: Vec<_> = lead.progress.keys().cloned().collect();
        for peer in peers {
            self.replicate(&peer, beat);
        }
    }

    fn replicate(&mut self, to: &NodeName, beat: bool) {
        let Role::Leader(lead) = &self.role else {
            return;
        };
        let admit = self.may_admit(lead, to);
        let Some(progress) = lead.progress.get(to) else {
            return;
        };
        if progress.needs_snapshot || progress.next <= self.log.base() {
            return self.replicate_snapshot(to, beat);
        }
        let patience = Millis(self.config.heartbeat.0 * SILENT_HEARTBEATS);
        let silent = progress
            .heard
            .is_none_or(|heard| self.now.since(heard) > patience);
        let full = progress.next.0 > progress.matched.0 + WINDOW_ENTRIES;
        let entries = if silent || full {
            Vec::new()
        } else {
            self.log.slice(progress.next, BATCH_ENTRIES, BATCH_BYTES)
        };
        if beat || !entries.is_empty() {
            let previous = progress.next.previous();
            let sent = LogPosition(progress.next.0 + entries.len() as u64);
            self.send_append(to, previous, entries, admit);
            if let Some(progress) = self.progress_mut(to) {
                progress.next = sent;
            }
        }
    }

    fn send_append(
        &mut self,
        to: &NodeName,
        previous: LogPosition,
        entries: Vec<Arc<Entry>>,
        admit: bool,
    ) {
        let round = self.next_round();
        let previous = (self.log.term_at(previous).unwrap_or_default(), previous);
        let (term, committed) = (self.hard.term, self.committed);
        let progress = self.leadership().and_then(|lead| lead.progress.get(to));
        let incarnation = progress.and_then(|progress| progress.incarnation);
        let append = Append {
            term,
            round,
            previous,
            entries,
            committed,
            admit,
            incarnation,
        };
        self.send(to, Message::Append(append));
    }

    /// The state for a follower that the log cannot serve; heartbeats that check nothing meanwhile.
    fn replicate_snapshot(&mut self, to: &NodeName, beat: bool) {
        let patience = Millis(self.config.election_timeout.0.saturating_mul(2).max(1000));
        let now = self.now;
        let Some(progress) = self.progress_mut(to) else {
            return;
        };
        let due = progress
            .snapshot_sent
            .is_none_or(|(sent, ..)| now.since(sent) > patience);
        if due && progress.heard.is_some() {
            self.counters.snapshots_sent += 1;
            let snapshot = Arc::new(self.snapshot_to_send());
            self.note(format!("sends {to} a snapshot at {}", snapshot.position));
            let (term, round) = (self.hard.term, self.next_round());
            if let Some(progress) = self.progress_mut(to) {
                progress.snapshot_sent = Some((now, round, snapshot.position));
            }
            self.send(
                to,
                Message::Install {
                    term,
                    round,
                    snapshot,
                },
            );
        } else if beat {
            self.send_append(to, LogPosition::START, Vec::new(), false);
        }
    }

    /// What a node is sent that lacks too much. Without its position, a snapshot is taken for one of now: what came after it is
    /// missed (D13).
    fn snapshot_to_send(&self) -> Snapshot {
        let now = self.as_saved(self.snapshot_now());
        match self.config.join {
            Join::SnapshotWithPosition => now,
            Join::SnapshotOnly => Snapshot {
                state: self.snapshot.state.clone(),
                ..now
            },
        }
    }

    fn next_round(&mut self) -> u64 {
        let (monotonic, wall, leases) = (self.now, self.wall, self.config.leases());
        match &mut self.role {
            Role::Leader(lead) => {
                lead.round += 1;
                if leases {
                    lead.lease.sent(lead.round, Now { monotonic, wall });
                }
                lead.round
            }
            _ => 0,
        }
    }

    fn progress_mut(&mut self, name: &NodeName) -> Option<&mut Progress> {
        match &mut self.role {
            Role::Leader(lead) => lead.progress.get_mut(name),
            _ => None,
        }
    }

    pub(super) fn on_append_answer(&mut self, from: &NodeName, answer: &AppendAnswer) {
        if answer.term > self.hard.term {
            return self.on_higher_term(answer.term);
        }
        let (now, last) = (self.now, self.log.last());
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let (round, term) = (lead.round, self.hard.term);
        let Some(progress) = lead.progress.get_mut(from).filter(|_| answer.term == term) else {
            return;
        };
        if answer.voter && answer.round < progress.met {
            return;
        }
        progress.heard = Some(now);
        let met = progress.incarnation.replace(answer.incarnation);
        let new = met != Some(answer.incarnation);
        progress.acked_round = progress.acked_round.max(answer.round);
        progress.see_vote(answer, round + 1);
        match answer.rejection {
            None => progress.accept(answer.matched.min(last), answer.round),
            Some(_) if answer.round <= progress.rewound_at => return,
            Some(rejection) => {
                progress.rewound_at = round;
                progress.matched = progress.matched.min(rejection.hint);
                progress.needs_snapshot |= rejection.needs_snapshot || rejection.hint > last;
                progress.next = rejection.hint.min(last).next();
            }
        }
        // One that has just started waits for a message to this life of it.
        self.replicate(from, new);
    }

    /// Somebody has seen a newer term. The one fixed leader just moves past it.
    fn on_higher_term(&mut self, term: Term) {
        if !self.config.is_fixed_leader() {
            return self.become_follower(term, None);
        }
        self.become_follower(term, None);
        self.lead(Term(term.0 + 1));
    }

    pub(super) fn advance_commit(&mut self) {
        let Role::Leader(lead) = &self.role else {
            return;
        };
        if self.committed == self.log.last() {
            return;
        }
        let reached = self.acknowledged(lead).min(self.log.last());
        if reached > self.committed && self.log.term_at(reached) == Some(self.hard.term) {
            self.committed = reached;
        }
    }

    /// How far the `ack` option's rule is met.
    fn acknowledged(&self, lead: &Leadership) -> LogPosition {
        let own = self.durable();
        let matched = self.matched_by_members(lead);
        let nodes = matched.len();
        match self.config.ack {
            _ if nodes == 1 => matched[0],
            _ if self.has(Bug::AckBeforeReplicate) => own,
            Ack::Async => own,
            Ack::SemiSync => {
                let in_sync = lead
                    .in_sync
                    .as_ref()
                    .and_then(|name| lead.progress.get(name));
                in_sync.map_or(LogPosition::START, |progress| progress.matched.min(own))
            }
            Ack::Majority => matched[self.majority() - 1],
            Ack::Sync => matched[nodes - 1],
        }
    }

    /// How far a majority has the log.
    pub(super) fn on_majority(&self, lead: &Leadership) -> LogPosition {
        self.matched_by_members(lead)[self.majority() - 1]
    }

    /// How far each member has the log, the furthest first.
    fn matched_by_members(&self, lead: &Leadership) -> Vec<LogPosition> {
        let others = self.quorum(lead);
        let mut matched: Vec<_> = others
            .map(|p| p.map_or(LogPosition::START, |p| p.matched))
            .collect();
        if self.is_member() {
            matched.push(self.durable());
        }
        matched.sort_unstable_by(|a, b| b.cmp(a));
        matched
    }

    pub(super) fn counts(&self, progress: &Progress) -> bool {
        progress.voter || self.config.failover != Failover::Consensus
    }

    /// `ack=semi-sync`: replaces an in-sync follower that is silent by the best that has everything.
    fn choose_in_sync(&mut self) {
        if self.config.ack != Ack::SemiSync {
            return;
        }
        let Role::Leader(lead) = &self.role else {
            return;
        };
        if lead
            .in_sync
            .as_ref()
            .is_some_and(|name| self.is_in_sync(lead, name))
        {
            return;
        }
        let able = lead
            .progress
            .iter()
            .filter(|(name, _)| self.is_in_sync(lead, name));
        let best = able.max_by_key(|(name, p)| (p.matched, std::cmp::Reverse(*name)));
        let Some(best) = best.map(|(name, _)| name.clone()) else {
            return;
        };
        self.note(format!("{best} is the in-sync follower now"));
        if let Role::Leader(lead) = &mut self.role {
            let before = lead.in_sync.replace(best);
            self.counters.in_sync_replaced += u64::from(before.is_some());
        }
    }

    pub(super) fn is_in_sync(&self, lead: &Leadership, name: &NodeName) -> bool {
        let recent = |heard| self.now.since(heard) <= self.config.election_timeout;
        lead.progress.get(name).is_some_and(|p| {
            let counts = self.counts(p) && self.members().contains(name);
            counts && p.heard.is_some_and(recent) && p.matched >= self.committed
        })
    }

    /// For the status page.
    pub(super) fn in_sync(&self) -> Vec<NodeName> {
        let Some(lead) = self.leadership() else {
            return Vec::new();
        };
        let all = lead
            .progress
            .keys()
            .filter(|name| self.is_in_sync(lead, name));
        match self.config.ack {
            Ack::SemiSync => all
                .filter(|name| lead.in_sync.as_ref() == Some(name))
                .cloned()
                .collect(),
            _ => all.cloned().collect(),
        }
    }

    pub(super) fn answer_write(&mut self, position: LogPosition, outcome: Outcome) {
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        if let Some(waiting) = lead.pending.remove(&position) {
            let reply = self.reply_from(outcome);
            self.answer_with_concern(&waiting, position, reply);
        }
    }

    /// Tells those who have waited too long that nobody knows; their entries stay in the log.
    fn give_up_waiting(&mut self) {
        let (now, patience) = (self.now, self.config.commit_timeout);
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let mut expired = Vec::new();
        lead.pending.retain(|_, waiting| {
            let own = waiting.concern.map_or(patience, |concern| concern.timeout);
            let late = now.since(waiting.since) > patience.min(own);
            if late {
                expired.push(waiting.id);
            }
            !late
        });
        for id in expired {
            let message = "not committed in time; it may still be".to_owned();
            self.reply(id, Reply::Unknown { message });
        }
    }
}

impl From<LogPosition> for Progress {
    /// Nothing is known; what is sent next is the entry at this position.
    fn from(next: LogPosition) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }
}

impl Progress {
    /// Nothing is known, and no answer counts to a message before this number.
    pub(super) fn met(next: LogPosition, round: u64) -> Self {
        Self {
            met: round,
            ..Self::from(next)
        }
    }

    /// A node that has lost its vote has lost what it had: only what it says from now on counts.
    fn see_vote(&mut self, answer: &AppendAnswer, round: u64) {
        self.voter = answer.voter;
        if answer.voter {
            self.joining_since = None;
        } else if self.joining_since.is_none() {
            self.joining_since = Some(round);
            self.met = round;
            self.matched = answer.matched.min(self.matched);
        }
    }

    fn accept(&mut self, matched: LogPosition, round: u64) {
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        if let Some((_, sent, position)) = self.snapshot_sent
            && round >= sent
            && self.matched >= position
        {
            self.needs_snapshot = false;
            self.snapshot_sent = None;
            self.next = self.matched.next();
        }
    }
}
