//! What has happened in a simulation, for people: each message once, when it is sent, with what becomes of it.

use super::{Fate, Heard, Host, Link, Micros};
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
        /// Whether it is of those by which nodes settle who leads.
        elects: bool,
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

/// What is said of a state that went on by several entries in one step, or back; nothing where it took the next one, or none.
pub(super) fn leap(before: u64, after: u64) -> Option<String> {
    let plain = after == before || after == before + 1;
    (!plain).then(|| format!("state at {after}, was at {before}"))
}

/// What is heard of a request, in a few words.
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
