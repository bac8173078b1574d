//! What passes between a simulation and whoever drives it: requests, what is heard of them, alarms.

use crate::client::Request;
use crate::replicas::RequestId;
use crate::route::Told;
use crate::wire::Said;

/// A client's request to one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Which client, from 0.
    pub client: usize,
    /// Which node, from 0.
    pub node: usize,
    /// What the session tells.
    pub told: Told,
    /// Whether it is about the replica's own state.
    pub local: bool,
    /// What is asked.
    pub request: Request,
}

/// What a client hears of its request.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// The node has answered.
    Said(Said),
    /// No connection: the node is down, and has seen nothing of it.
    Unreachable,
    /// The node went down while the client waited.
    Reset,
}

/// What concerns whoever drives the simulation.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A client has heard of its request.
    Heard(RequestId, Heard),
    /// It is as late as it was asked for.
    Woken(u64),
}
