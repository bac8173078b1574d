//! What a client's request is to a replica, and what a replica's reply is to a client, whatever carries them: HTTP, or a simulation.
//!
//! Here it is decided which replies are definite: the status and the kind say it (`wire::is_definite`).

use super::message::{Command, Operation, Query, Refusal, Reply};
use super::state::ConflictKind;
use crate::client::Request;
use crate::replicas::NodeName;
use crate::wire::{AnswerBody, ErrorBody, Said, kind};

/// The operation that a request asks for; `local`: of the replica's own state, where it is a read.
pub fn operation(request: Request, local: bool) -> Operation {
    let read = if local {
        Operation::ReadLocal
    } else {
        Operation::Read
    };
    let change = Operation::Change;
    match request {
        Request::Read { key } => read(Query::Register(key)),
        Request::ReadSet { key } => read(Query::Set(key)),
        Request::ReadCounter { key } => read(Query::Counter(key)),
        Request::ReadHead { key } => read(Query::Head(key)),
        Request::ReadMany { keys } => read(Query::Registers(keys)),
        Request::Write { key, value } => change(Command::Write { key, value }),
        Request::Cas { key, old, new } => change(Command::Cas { key, old, new }),
        Request::Add { key, element } => change(Command::Add { key, element }),
        Request::Increment { key, by } => change(Command::Increment { key, by }),
        Request::Enqueue { key, element } => change(Command::Enqueue { key, element }),
        Request::Dequeue { key, expect } => change(Command::Dequeue { key, expect }),
        Request::Drain { key } => change(Command::Drain { key }),
        Request::Transact { expect, write } => change(Command::Transact { expect, write }),
        Request::Transfer { from, to, amount } => change(Command::Transfer { from, to, amount }),
        Request::GenerateId => change(Command::GenerateId),
    }
}

/// Which of a node's partitions answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub number: usize,
    /// How many there are: of several, each has terms of its own, and answers say none.
    pub of: usize,
}

/// What this node says to a client whose request got this reply.
pub fn said(node: &NodeName, partition: Partition, reply: Reply) -> Said {
    let refused = |status, kind: &str, message, value| {
        let (error, node) = (kind.to_owned(), Some(node.0.clone()));
        let body = ErrorBody {
            error,
            message,
            value,
            node,
        };
        Said::Refused(status, body)
    };
    match reply {
        Reply::Done {
            value,
            term,
            version,
            seen,
        } => Said::Answer(AnswerBody {
            value,
            node: node.0.clone(),
            term: Some(term.0).filter(|_| partition.of == 1),
            version: version.map(|position| position.0),
            seen: seen.0,
            partition: partition.number,
        }),
        Reply::Precondition(conflict) => {
            let word = conflict_word(conflict.kind);
            refused(409, word, conflict.message, Some(conflict.current))
        }
        Reply::Refused { refusal, message } => refused(503, word(refusal), message, None),
        Reply::Unknown { message } => refused(504, kind::UNKNOWN, message, None),
        Reply::Redirect(to) => Said::Redirect(to),
    }
}

fn conflict_word(kind: ConflictKind) -> &'static str {
    match kind {
        ConflictKind::Unexpected => kind::PRECONDITION,
        ConflictKind::Empty => kind::EMPTY,
        ConflictKind::InsufficientFunds => kind::INSUFFICIENT_FUNDS,
    }
}

fn word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoLeader => kind::NO_LEADER,
        Refusal::Joining => kind::JOINING,
        Refusal::Overloaded => kind::OVERLOADED,
        Refusal::Behind => kind::BEHIND,
    }
}
