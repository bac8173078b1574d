//! What a client's request is to a replica, and what a replica's reply is to a client, whatever carries them: HTTP, or a simulation.
//!
//! Here it is decided which replies are definite: the status and the kind say it (`wire::is_definite`).

use super::message::{Command, Operation, Query, Refusal, Reply};
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
    match request {
        Request::Read { key } => read(Query::Register(key)),
        Request::ReadSet { key } => read(Query::Set(key)),
        Request::Write { key, value } => Operation::Change(Command::Write { key, value }),
        Request::Cas { key, old, new } => Operation::Change(Command::Cas { key, old, new }),
        Request::Add { key, element } => Operation::Change(Command::Add { key, element }),
        Request::GenerateId => Operation::Change(Command::GenerateId),
    }
}

/// What this node says to a client whose request got this reply.
pub fn said(node: &NodeName, reply: Reply) -> Said {
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
        } => Said::Answer(AnswerBody {
            value,
            node: node.0.clone(),
            term: Some(term.0),
            version: version.map(|position| position.0),
        }),
        Reply::Precondition { message, current } => {
            refused(409, kind::PRECONDITION, message, Some(current))
        }
        Reply::Refused { refusal, message } => refused(503, word(refusal), message, None),
        Reply::Unknown { message } => refused(503, kind::UNKNOWN, message, None),
        Reply::Redirect(to) => Said::Redirect(to),
    }
}

fn word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoLeader => kind::NO_LEADER,
        Refusal::Joining => kind::JOINING,
        Refusal::Overloaded => kind::OVERLOADED,
    }
}
