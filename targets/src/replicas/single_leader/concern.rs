//! Write concern: how many nodes a client wants to have its write, and for how long it waits for them.
//!
//! As `MongoDB` has it (`w`, `wtimeout`): on top of what `ack` asks of every write. A time-out takes nothing back: the write stands on
//! the nodes that have it, and the client is told that nobody knows what becomes of it.

use super::leader::{Leadership, Waiting};
use super::message::{Reply, WriteConcern};
use super::state::Conflict;
use super::{Replica, Role};
use crate::replicas::{LogPosition, Millis, RequestId};

/// A write that is done as far as `ack` goes, and not yet on as many nodes as its client wants.
#[derive(Debug)]
struct Wanted {
    id: RequestId,
    position: LogPosition,
    nodes: usize,
    due: Millis,
    reply: Reply,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Concerned(Vec<Wanted>);

impl Concerned {
    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whose writes they are.
    pub(super) fn into_ids(self) -> impl Iterator<Item = RequestId> {
        self.0.into_iter().map(|wanted| wanted.id)
    }
}

impl Replica {
    /// Whether so many nodes can be asked for.
    pub(super) fn refuses_concern(&mut self, id: RequestId, concern: Option<WriteConcern>) -> bool {
        let members = self.members().len();
        let Some(concern) = concern.filter(|concern| concern.nodes > members) else {
            return false;
        };
        let message = format!("w={} of {members} members", concern.nodes);
        let conflict = Conflict::unexpected(message, members.into());
        self.reply(id, Reply::Precondition(conflict));
        true
    }

    /// Answers a write that was applied, at once or when enough nodes have it.
    pub(super) fn answer_with_concern(
        &mut self,
        waiting: &Waiting,
        position: LogPosition,
        reply: Reply,
    ) {
        let Some(WriteConcern { nodes, timeout }) = waiting.concern else {
            return self.reply(waiting.id, reply);
        };
        if let Role::Leader(lead) = &mut self.role {
            lead.concerned.0.push(Wanted {
                id: waiting.id,
                position,
                nodes,
                due: waiting.since.plus(timeout),
                reply,
            });
        }
    }

    /// Answers those whose writes are on enough nodes, and those that have waited long enough.
    pub(super) fn tend_concerned(&mut self) {
        let now = self.now;
        let Role::Leader(lead) = &self.role else {
            return;
        };
        if lead.concerned.0.is_empty() {
            return;
        }
        let have: Vec<usize> = lead
            .concerned
            .0
            .iter()
            .map(|w| self.having(lead, w))
            .collect();
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let mut answers = Vec::new();
        let mut have = have.into_iter();
        lead.concerned.0.retain(|wanted| {
            let have = have.next().unwrap_or_default();
            let done = have >= wanted.nodes;
            if done {
                answers.push((wanted.id, wanted.reply.clone()));
            } else if now >= wanted.due {
                let message = format!("{have} of {} nodes have it in time", wanted.nodes);
                answers.push((wanted.id, Reply::Unknown { message }));
            }
            !done && now < wanted.due
        });
        for (id, reply) in answers {
            self.reply(id, reply);
        }
    }

    /// How many members have an entry durably.
    fn having(&self, lead: &Leadership, wanted: &Wanted) -> usize {
        let own = self.is_member() && self.disk.position >= wanted.position;
        let others = self.other_members().filter(|name| {
            let progress = lead.progress.get(*name);
            progress.is_some_and(|progress| progress.matched >= wanted.position)
        });
        usize::from(own) + others.count()
    }
}
