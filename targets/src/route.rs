//! Which node a session asks: where a call begins, what it does after a redirect or a refused connection.
//!
//! Pure, so that the client over HTTP and the clients of simulations go the same ways.

use crate::client::{Answer, CallError, Request};
use crate::wire::kind;

/// Redirects followed in one call.
pub const HOPS_MAX: usize = 4;

/// The way of one session.
#[derive(Debug, Clone)]
pub struct Route {
    nodes: Vec<String>,
    home: Option<usize>,
    /// Where the next call begins when there is no home.
    next: usize,
    /// Replicas that refused a connection (`read=sticky` moves on to another).
    avoid: Vec<String>,
}

impl Route {
    /// A session that begins every call at node `home`, or, without one, at the node that answered last.
    pub fn new(nodes: Vec<String>, session: u64, home: Option<usize>) -> Self {
        let next = home.unwrap_or_else(|| session as usize % nodes.len().max(1));
        Self {
            nodes,
            home,
            next,
            avoid: Vec::new(),
        }
    }

    /// The node at which the next call begins.
    pub fn start(&self) -> usize {
        self.home.unwrap_or(self.next)
    }

    /// The replicas that are found dead.
    pub fn avoided(&self) -> &[String] {
        &self.avoid
    }

    /// A node's place by its name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node == name)
    }

    /// A call that began at `start` has come to this.
    pub fn ended(&mut self, start: usize, result: &Result<Answer, CallError>) {
        self.next = match result {
            Ok(answer) => self.index_of(&answer.node).unwrap_or(start),
            // A refusal that is the request's own fault says nothing against the node.
            Err(error) if error.kind == kind::PRECONDITION => start,
            Err(_) => (start + 1) % self.nodes.len(),
        };
    }

    /// A read whose replica is dead is asked again where the call began, which names another replica if
    /// reads are sticky: then true. (Only reads: a write goes to the leader or nowhere.)
    pub fn moves_on(&mut self, dead: usize, request: &Request) -> bool {
        let Some(name) = self.nodes.get(dead) else {
            return false;
        };
        let moves = request.is_read() && !self.avoid.contains(name);
        if moves {
            self.avoid.push(name.clone());
            // Not all of them: then none would be left to ask.
            if self.avoid.len() == self.nodes.len() {
                self.avoid.remove(0);
            }
        }
        moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route::new(vec!["n1".into(), "n2".into()], 5, None)
    }

    #[test]
    fn a_session_goes_to_who_answered_and_away_from_who_did_not() {
        let mut route = route();
        assert_eq!(route.start(), 1);
        route.ended(1, &Err(CallError::definite(kind::NO_LEADER, "none")));
        assert_eq!(route.start(), 0);
        route.ended(0, &Err(CallError::definite(kind::PRECONDITION, "no")));
        assert_eq!(route.start(), 0);
        let (value, node) = (serde_json::Value::Null, "n2".to_owned());
        let (term, version) = (None, None);
        route.ended(
            0,
            &Ok(Answer {
                value,
                node,
                term,
                version,
            }),
        );
        assert_eq!(route.start(), 1);
    }

    #[test]
    fn reads_move_on_from_the_dead_and_some_replica_is_always_left() {
        let mut route = route();
        let (key, value) = ("x".to_owned(), serde_json::Value::Null);
        let read = Request::Read { key: key.clone() };
        assert!(!route.moves_on(0, &Request::Write { key, value }));
        assert!(route.moves_on(0, &read) && !route.moves_on(0, &read));
        assert!(route.moves_on(1, &read));
        assert_eq!(route.avoided(), ["n2"]);
    }
}
