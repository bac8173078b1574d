//! What a leader does: append, replicate, decide what is committed, answer writes.
//!
//! Raft, section 5.3 and 5.4.2, with pipelining: entries go out at once and `next` moves on without
//! waiting; a rejected message moves it back. The commit rule is the `ack` option's; in every one only an
//! entry of the leader's own term is counted, the earlier ones follow it (figure 8 of the paper).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::{Ack, Failover};
use super::message::{
    Append, AppendAnswer, Command, Effect, Entry, Message, Operation, Refusal, Reply, Request,
};
use super::reads::Reads;
use super::state::Outcome;
use super::{Replica, Role};
use crate::replicas::{LogPosition, Millis, NodeName, RequestId, Term};

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
    since: Millis,
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
    /// Without a vote: the first message number after it was met.
    pub(super) joining_since: Option<u64>,
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
    pub(super) reads: Reads,
}

impl Leadership {
    pub(super) fn new(
        peers: impl Iterator<Item = NodeName>,
        since: Millis,
        term_start: LogPosition,
    ) -> Self {
        let progress = |name| {
            (
                name,
                Progress {
                    next: term_start,
                    ..Progress::default()
                },
            )
        };
        Self {
            progress: peers.map(progress).collect(),
            since,
            term_start,
            round: 0,
            heartbeat_due: since,
            in_sync: None,
            pending: BTreeMap::new(),
            reads: Reads::default(),
        }
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
                Operation::Change(command) => self.on_change(request.id, command, &mut commands),
            }
        }
        if !commands.is_empty() {
            self.append(commands);
            self.replicate_to_all(false);
        }
    }

    fn on_change(&mut self, id: RequestId, command: Command, commands: &mut Vec<Command>) {
        let position = LogPosition(self.log.last().0 + commands.len() as u64 + 1);
        let (max, since) = (self.config.pending_max, self.now);
        match &mut self.role {
            Role::Leader(lead) if lead.pending.len() < max => {
                lead.pending.insert(position, Waiting { id, since });
                commands.push(command);
            }
            Role::Leader(_) => self.refuse_overload(id),
            _ => self.refuse_or_redirect(id),
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

    fn append(&mut self, commands: Vec<Command>) {
        let term = self.hard.term;
        let mut entries = Vec::with_capacity(commands.len());
        for command in commands {
            let entry = Arc::new(Entry {
                term,
                position: self.log.last().next(),
                command,
            });
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
        self.check_quorum();
    }

    /// Sends each follower what it lacks; with `beat` also where it lacks nothing.
    pub(super) fn replicate_to_all(&mut self, beat: bool) {
        let peers: Vec<_> = self.config.peers().cloned().collect();
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
        let append = Append {
            term,
            round,
            previous,
            entries,
            committed,
            admit,
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
            let snapshot = Arc::new(self.snapshot_now());
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

    fn next_round(&mut self) -> u64 {
        match &mut self.role {
            Role::Leader(lead) => {
                lead.round += 1;
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
        progress.heard = Some(now);
        progress.acked_round = progress.acked_round.max(answer.round);
        progress.voter = answer.voter;
        progress.joining_since = if answer.voter {
            None
        } else {
            progress.joining_since.or(Some(round + 1))
        };
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
        self.replicate(from, false);
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
        let reached = self.acknowledged(lead).min(self.log.last());
        if reached > self.committed && self.log.term_at(reached) == Some(self.hard.term) {
            self.committed = reached;
        }
    }

    /// How far the `ack` option's rule is met.
    fn acknowledged(&self, lead: &Leadership) -> LogPosition {
        let own = self.disk.position;
        let mut matched: Vec<LogPosition> = vec![own];
        matched.extend(lead.progress.values().map(|progress| {
            if self.counts(progress) {
                progress.matched
            } else {
                LogPosition::START
            }
        }));
        matched.sort_unstable_by(|a, b| b.cmp(a));
        let nodes = matched.len();
        match self.config.ack {
            _ if nodes == 1 => own,
            Ack::Async => own,
            Ack::SemiSync => {
                let in_sync = lead
                    .in_sync
                    .as_ref()
                    .and_then(|name| lead.progress.get(name));
                in_sync.map_or(LogPosition::START, |progress| progress.matched.min(own))
            }
            Ack::Majority => matched[self.config.majority() - 1],
            Ack::Sync => matched[nodes - 1],
        }
    }

    /// Under consensus a node without a vote is in no quorum.
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
            lead.in_sync = Some(best);
        }
    }

    fn is_in_sync(&self, lead: &Leadership, name: &NodeName) -> bool {
        let recent = |heard| self.now.since(heard) <= self.config.election_timeout;
        lead.progress.get(name).is_some_and(|p| {
            self.counts(p) && p.heard.is_some_and(recent) && p.matched >= self.committed
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
            self.reply(waiting.id, reply);
        }
    }

    /// Tells those who have waited too long that nobody knows; their entries stay in the log.
    fn give_up_waiting(&mut self) {
        let (now, patience) = (self.now, self.config.commit_timeout);
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let mut expired = Vec::new();
        while let Some(first) = lead.pending.first_entry() {
            if now.since(first.get().since) <= patience {
                break;
            }
            expired.push(first.remove().id);
        }
        for id in expired {
            let message = "not committed in time; it may still be".to_owned();
            self.reply(id, Reply::Unknown { message });
        }
    }
}

impl Progress {
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
