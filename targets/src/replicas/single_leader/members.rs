//! Who the cluster is: its members are an entry of the log, and change by one node at a time.
//!
//! Raft's single-server change (Ongaro's thesis, chapter 4): a list of members holds from where it stands in the log,
//! committed or not; two lists that differ by one node have no two majorities without a common node. So a leader
//! refuses a change while another is not committed, and before it has committed an entry of its own term (the
//! correction of 2015 to section 4.1). A node that joins is sent the state with its position and the log after it
//! first (section 4.2.1), and counts only from then on; a leader that leaves hands over (4.2.2). The names that can
//! be members are those that the node was started with: an address is needed to talk to them.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::config::Failover;
use super::leader::{Leadership, Progress};
use super::message::{Command, Entry, MemberChange, Reply};
use super::state::{Conflict, Outcome};
use super::{Replica, Role};
use crate::replicas::{LogPosition, Millis, NodeName, RequestId};

/// Lists of members, each from its position on; the first is that of the snapshot.
#[derive(Debug, Clone)]
pub(super) struct Members(VecDeque<(LogPosition, Vec<NodeName>)>);

impl Members {
    /// From a position on, and what the entries after it say.
    pub(super) fn new<'a>(
        first: Vec<NodeName>,
        at: LogPosition,
        entries: impl IntoIterator<Item = &'a Arc<Entry>>,
    ) -> Self {
        let mut members = Self(VecDeque::from([(at, first)]));
        entries.into_iter().for_each(|entry| members.learn(entry));
        members
    }

    /// The list that holds now.
    pub(super) fn current(&self) -> &[NodeName] {
        self.0.back().map_or(&[], |(_, members)| members)
    }

    /// Since which position.
    pub(super) fn since(&self) -> LogPosition {
        self.0.back().map_or(LogPosition::START, |(at, _)| *at)
    }

    /// The list that held at a position; the oldest known where it lies before all.
    pub(super) fn at(&self, position: LogPosition) -> &[NodeName] {
        let held = self.0.iter().rev().find(|(at, _)| *at <= position);
        held.or(self.0.front()).map_or(&[], |(_, members)| members)
    }

    /// An entry has been appended.
    pub(super) fn learn(&mut self, entry: &Entry) {
        if let Command::Members(members) = &entry.command
            && entry.position > self.since()
        {
            self.0.push_back((entry.position, members.clone()));
        }
    }

    /// The log was cut after a position.
    pub(super) fn truncate(&mut self, after: LogPosition) {
        while self.0.len() > 1 && self.since() > after {
            self.0.pop_back();
        }
    }

    /// What held before the list of that position will not be asked for again.
    pub(super) fn forget_before(&mut self, position: LogPosition) {
        while self.0.get(1).is_some_and(|(at, _)| *at <= position) {
            self.0.pop_front();
        }
    }
}

/// A node that is on its way in.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) id: RequestId,
    pub(super) node: NodeName,
    since: Millis,
}

impl Replica {
    /// The members as the log has them, committed or not.
    pub(super) fn members(&self) -> &[NodeName] {
        self.members.current()
    }

    /// How many members are more than half.
    pub(super) fn majority(&self) -> usize {
        self.members().len() / 2 + 1
    }

    /// Whether this node is one.
    pub(super) fn is_member(&self) -> bool {
        self.members().contains(&self.config.name)
    }

    /// Whether this node has been taken out by an entry that it does not know to be committed: others may lack it, and then nobody else can win
    /// an election (Ongaro's thesis, 4.2.2).
    pub(super) fn may_be_needed(&self) -> bool {
        let before = self.members.at(self.committed);
        self.config.failover == Failover::Consensus && before.contains(&self.config.name)
    }

    /// The members but this node.
    pub(super) fn other_members(&self) -> impl Iterator<Item = &NodeName> {
        let others = self.members().iter();
        others.filter(|member| **member != self.config.name)
    }

    /// What each other member has shown that counts in a quorum; none of one that counts for nothing. Under consensus
    /// a node without a vote is in no quorum.
    pub(super) fn quorum<'a>(
        &'a self,
        lead: &'a Leadership,
    ) -> impl Iterator<Item = Option<&'a Progress>> {
        self.other_members().map(|name| {
            let progress = lead.progress.get(name);
            progress.filter(|progress| self.counts(progress))
        })
    }

    pub(super) fn on_reconfigure(&mut self, id: RequestId, change: MemberChange) {
        let Role::Leader(lead) = &self.role else {
            return self.refuse_or_redirect(id);
        };
        if !self.is_settled(lead) || lead.joining.is_some() {
            return self.refuse_change(id, "another change of the members is under way");
        }
        let (MemberChange::Join(name) | MemberChange::Leave(name)) = &change;
        if !self.config.members.contains(name) {
            return self.refuse_change(id, &format!("no address is known of {name}"));
        }
        let is_member = self.members().contains(name);
        match change {
            MemberChange::Join(node) if !is_member => self.begin_joining(id, node),
            MemberChange::Leave(node) if is_member => self.begin_leaving(id, &node),
            _ => self.answer_members(id),
        }
    }

    /// Whether the list of members and the term's first entry are committed: by a majority, whatever writes wait for, for two lists
    /// that differ by more than one node may have majorities without a common node.
    fn is_settled(&self, lead: &Leadership) -> bool {
        let committed = if self.config.failover == Failover::Consensus {
            self.committed.min(self.on_majority(lead))
        } else {
            self.committed
        };
        committed >= self.members.since().max(lead.term_start)
    }

    fn begin_joining(&mut self, id: RequestId, node: NodeName) {
        self.note(format!("{node} joins: it is sent what it lacks"));
        let since = self.now;
        let next = self.log.last().next();
        if let Role::Leader(lead) = &mut self.role {
            let progress = Progress::met(next, lead.round + 1);
            lead.progress.insert(node.clone(), progress);
            lead.joining = Some(Joining { id, node, since });
        }
        self.replicate_to_all(true);
    }

    fn begin_leaving(&mut self, id: RequestId, node: &NodeName) {
        let members: Vec<_> = self.members().to_vec();
        let left: Vec<_> = members.into_iter().filter(|name| name != node).collect();
        let fixed = self.config.is_fixed_leader() && *node == self.config.name;
        if fixed || !left.iter().any(|name| self.config.may_lead(name)) {
            return self.refuse_change(id, "nobody would lead without it");
        }
        if !self.can_decide(&left) {
            return self.refuse_change(id, "too few of the others answer and have a vote");
        }
        self.change_members(id, left);
    }

    /// Whether enough of these are there to commit that they are the members (etcd's strict-reconfig-check).
    fn can_decide(&self, members: &[NodeName]) -> bool {
        let Role::Leader(lead) = &self.role else {
            return false;
        };
        let recent = |heard| self.now.since(heard) <= self.config.election_timeout;
        let votes = |name: &&NodeName| {
            let progress = lead.progress.get(*name);
            **name == self.config.name
                || progress.is_some_and(|p| p.voter && p.heard.is_some_and(recent))
        };
        let able = members.iter().filter(votes).count();
        self.config.failover != Failover::Consensus || able > members.len() / 2
    }

    /// Appends the new list; its client waits as one that writes does.
    fn change_members(&mut self, id: RequestId, members: Vec<NodeName>) {
        let names: Vec<_> = members.iter().map(ToString::to_string).collect();
        let position = self.log.last().next();
        self.note(format!("members from {position} on: {}", names.join(", ")));
        self.wait_for_commit(id, position, None);
        self.append(vec![Command::Members(members)]);
        self.replicate_to_all(true);
    }

    /// Makes the node that joins a member once it has all that is committed; a node that has left is sent its leave, and nothing
    /// more.
    pub(super) fn tend_members(&mut self) {
        self.admit_joining();
        self.forget_left();
        self.leave_when_removed();
    }

    fn admit_joining(&mut self) {
        let Some(joining) = self.leadership().and_then(|lead| lead.joining.as_ref()) else {
            return;
        };
        let ready = self.is_ready(&joining.node);
        let late = self.now.since(joining.since) > self.config.commit_timeout;
        if !ready && !late {
            return;
        }
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let Some(Joining { id, node, .. }) = lead.joining.take() else {
            return;
        };
        if !ready {
            lead.progress.remove(&node);
            return self.refuse_change(id, &format!("{node} has not caught up in time"));
        }
        let mut members = self.members().to_vec();
        members.push(node);
        members.sort();
        self.change_members(id, members);
    }

    /// Whether a node has all that is committed, and counts.
    fn is_ready(&self, name: &NodeName) -> bool {
        self.leadership().is_some_and(|lead| {
            let known = self.committed.max(lead.term_start);
            let progress = lead.progress.get(name).filter(|p| self.counts(p));
            progress.is_some_and(|p| p.heard.is_some() && p.matched >= known)
        })
    }

    fn forget_left(&mut self) {
        let (since, committed) = (self.members.since(), self.committed);
        let others = self.other_members().count();
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        if lead.progress.len() <= others {
            return;
        }
        let members = self.members.current();
        let joining = lead.joining.as_ref().map(|joining| &joining.node);
        lead.progress.retain(|name, progress| {
            let told = progress.matched >= since && committed >= since;
            members.contains(name) || joining == Some(name) || !told
        });
    }

    fn leave_when_removed(&mut self) {
        let settled = |lead| self.is_settled(lead);
        if self.is_member() || !self.leadership().is_some_and(settled) {
            return;
        }
        let next = self.successor();
        if next.as_ref().is_some_and(|name| !self.has_all(name)) {
            return;
        }
        self.note("has left the cluster".to_owned());
        if let Some(next) = next {
            self.hand_over(&next);
        }
        self.become_follower(self.hard.term, None);
    }

    fn answer_members(&mut self, id: RequestId) {
        let version = Some(self.members.since());
        let value = self.member_names();
        let reply = self.reply_from(Outcome::Done { value, version });
        self.reply(id, reply);
    }

    fn member_names(&self) -> Value {
        let names = self.members().iter();
        names.map(|name| Value::from(name.as_str())).collect()
    }

    fn refuse_change(&mut self, id: RequestId, why: &str) {
        let current = self.member_names();
        self.reply(
            id,
            Reply::Precondition(Conflict::unexpected(why.to_owned(), current)),
        );
    }
}
