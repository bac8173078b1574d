//! Nodes that leave the cluster and join it again: asked of who leads, from the undisturbed host, and again until it is so.
//!
//! As in `nemesis::members` the target itself carries it out; other than there the process of a node that has left goes on.

use super::drive::{Drive, Wake};
use super::setting::CLIENTS;
use schism_targets::simulator::{Heard, Host, Micros};
use schism_targets::wire::Said;

/// How long it is waited before it is asked again, whatever has become of the last request.
const AGAIN: Micros = Micros::from_millis(100);
/// A node that is not in again so long after the heal will not be.
const JOIN_LIMIT: Micros = Micros::from_millis(15_000);

/// A change of the members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    node: usize,
    join: bool,
    /// Then it is given up.
    until: Micros,
    ended: bool,
}

impl Drive<'_> {
    /// The fault at this place takes a node out.
    pub(super) fn begin_leaving(&mut self, place: usize, node: usize) {
        self.begin_change(place, node, false, Micros(u64::MAX));
    }

    /// It is healed: the node is taken in again. False where the fault takes nobody out.
    pub(super) fn begin_joining(&mut self, place: usize) -> bool {
        let left = self.changes.get(&place).map(|change| change.node);
        if let Some(node) = left {
            let until = self.simulation.now().plus(JOIN_LIMIT);
            self.begin_change(place, node, true, until);
        }
        left.is_some()
    }

    fn begin_change(&mut self, place: usize, node: usize, join: bool, until: Micros) {
        let ended = false;
        let change = Change {
            node,
            join,
            until,
            ended,
        };
        self.changes.insert(place, change);
        self.ask_for_change(place, join);
    }

    /// Asks, unless it is so already, or the other is wanted by now.
    pub(super) fn ask_for_change(&mut self, place: usize, join: bool) {
        let wanted = self.changes.get(&place).copied();
        let Some(change) = wanted.filter(|change| change.join == join && !change.ended) else {
            return;
        };
        let now = self.simulation.now();
        if now >= change.until {
            return self.end_change(place);
        }
        let id = self.simulation.change_members(CLIENTS, change.node, join);
        self.asked.insert(id, place);
        self.wake(now.plus(AGAIN), Wake::Change(place, join));
    }

    /// Who leads says who the members are: perhaps it is so.
    pub(super) fn hear_of_change(&mut self, place: usize, heard: &Heard) {
        let (Heard::Said(Said::Answer(answer)), Some(change)) = (heard, self.changes.get(&place))
        else {
            return;
        };
        let name = Host::Node(change.node).to_string();
        let members = answer.value.as_array();
        let is_in = members.map(|all| all.iter().any(|member| *member == *name));
        if is_in == Some(change.join) && !change.ended {
            self.end_change(place);
        }
    }

    fn end_change(&mut self, place: usize) {
        let Some(change) = self.changes.get_mut(&place) else {
            return;
        };
        change.ended = true;
        if change.join {
            self.end_heal(place);
        }
    }
}
