//! What has happened in a simulation, for people: each message once, when it is sent, with what becomes of it.

use super::{Fate, Heard, Host, Link, Micros};
use crate::client::Request;
use crate::wire::{AnswerBody, ErrorBody, Said};

/// One thing that happened, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// When.
    pub at: Micros,
    /// What.
    pub what: Happened,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// A message was sent.
    Sent {
        /// By whom, to whom.
        link: Link,
        /// What it says.
        text: String,
        /// Whether a fault cuts the link.
        cut: bool,
        /// What becomes of it, where that is listed.
        fate: Option<Fate>,
    },
    /// A message came to a node that is down.
    Unheard {
        /// By whom, to whom.
        link: Link,
    },
    /// A node says something of itself, or something was done to it.
    Node {
        /// Which.
        node: Host,
        /// What.
        text: String,
    },
    /// A disk has done its jobs: these.
    Synced {
        /// Whose.
        node: Host,
        /// What.
        text: String,
    },
}

/// A request in a few words.
pub(super) fn request_words(request: &Request, local: bool) -> String {
    let here = if local { ", from its own state" } else { "" };
    match request {
        Request::Read { key } => format!("read {key}{here}"),
        Request::ReadSet { key } => format!("read the set {key}{here}"),
        Request::Write { key, value } => format!("write {key} = {value}"),
        Request::Cas { key, old, new } => format!("cas {key} {old} -> {new}"),
        Request::Add { key, element } => format!("add {element} to {key}"),
        Request::GenerateId => "generate an id".to_owned(),
    }
}

/// What is heard of it, likewise.
pub(super) fn answer_words(heard: &Heard) -> String {
    match heard {
        Heard::Said(Said::Answer(AnswerBody { value, .. })) => format!("ok: {value}"),
        Heard::Said(Said::Refused(_, ErrorBody { error, message, .. })) => {
            format!("{error}: {message}")
        }
        Heard::Said(Said::Redirect(to)) => format!("ask {to}"),
        Heard::Unreachable => "no connection".to_owned(),
        Heard::Reset => "the connection breaks".to_owned(),
    }
}
