//! What is going to happen, and in which order: by time, and in one moment as it came about.

use std::cmp::Ordering;

use super::{Heard, Host, Link, Micros, Simulated};
use crate::replicas::RequestId;

/// What is on its way.
pub(super) enum Parcel<R: Simulated> {
    Message(R::Message),
    /// Of this client.
    Request(RequestId, usize, R::Request),
    Answer(RequestId, Heard),
}

impl<R: Simulated> Clone for Parcel<R> {
    fn clone(&self) -> Self {
        match self {
            Self::Message(message) => Self::Message(message.clone()),
            Self::Request(id, client, request) => Self::Request(*id, *client, request.clone()),
            Self::Answer(id, heard) => Self::Answer(*id, heard.clone()),
        }
    }
}

/// What is going to happen.
pub(super) enum Event<R: Simulated> {
    /// Boxed, for a heap moves what it holds.
    Arrives(Link, Box<Parcel<R>>),
    /// Of this life of the node.
    Tick(usize, u64),
    DiskDone(usize, u64),
    /// Every disk is synced, under `fsync=interval`.
    SyncAll(Micros),
    Wake(u64),
}

/// When it happens.
pub(super) struct Due<R: Simulated> {
    pub(super) at: Micros,
    pub(super) order: u64,
    pub(super) event: Event<R>,
}

impl<R: Simulated> PartialEq for Due<R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R: Simulated> Eq for Due<R> {}

impl<R: Simulated> PartialOrd for Due<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Simulated> Ord for Due<R> {
    /// The earliest is the greatest: a heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<R: Simulated> Event<R> {
    /// The node to which it happens: it waits while that stands still.
    pub(super) fn node(&self) -> Option<usize> {
        match self {
            Self::Arrives(link, _) => match link.to {
                Host::Node(node) => Some(node),
                Host::Client(_) => None,
            },
            Self::Tick(node, _) | Self::DiskDone(node, _) => Some(*node),
            Self::SyncAll(_) | Self::Wake(_) => None,
        }
    }
}
