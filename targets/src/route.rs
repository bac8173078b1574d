//! A session's way: at which node a call begins, what it does after a refused connection, and what the session tells of what it has seen.
//!
//! Pure, so that the client over HTTP and the clients of simulations go the same ways.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::{Answer, CallError, Request};
use crate::wire;

/// Redirects followed in one call.
pub const HOPS_MAX: usize = 4;

/// The way of one session.
#[derive(Debug, Clone)]
pub struct Route {
    nodes: Vec<String>,
    number: u64,
    home: Option<usize>,
    /// Where the next call begins when there is no home.
    next: usize,
    /// Replicas that refused a connection (`read=sticky` moves on to another).
    avoid: Vec<String>,
    /// The newest position that any answer has shown of each partition.
    seen: BTreeMap<usize, u64>,
    /// When the last write was acknowledged.
    wrote: Option<Duration>,
}

/// What a session tells with each request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Its number.
    pub number: u64,
    /// The replicas that it has found dead.
    pub avoid: Vec<String>,
    /// The newest position that it has been shown of each partition.
    pub seen: BTreeMap<usize, u64>,
    /// How long ago its last write was acknowledged.
    pub since_write: Option<Duration>,
}

impl Route {
    /// A session that begins every call at node `home`, or, without one, at the node that answered last.
    pub fn new(nodes: Vec<String>, session: u64, home: Option<usize>) -> Self {
        let next = home.unwrap_or_else(|| session as usize % nodes.len().max(1));
        Self {
            nodes,
            number: session,
            home,
            next,
            avoid: Vec::new(),
            seen: BTreeMap::new(),
            wrote: None,
        }
    }

    /// Another session with the same cluster, in the same way.
    #[must_use]
    pub fn renewed(&self, session: u64) -> Self {
        Self::new(self.nodes.clone(), session, self.home)
    }

    /// The node at which the next call begins.
    pub fn start(&self) -> usize {
        self.home.unwrap_or(self.next)
    }

    /// Begins the next call at this node, unless there is a home.
    pub fn begin_at(&mut self, node: usize) {
        self.next = node;
    }

    /// What it tells; `now` is on the same clock as in [`Self::ended`].
    pub fn told(&self, now: Duration) -> Told {
        Told {
            number: self.number,
            avoid: self.avoid.clone(),
            seen: self.seen.clone(),
            since_write: self.wrote.map(|wrote| now.saturating_sub(wrote)),
        }
    }

    /// A node's place by its name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node == name)
    }

    /// A call of this request that began at `start` has come to this.
    pub fn ended(
        &mut self,
        start: usize,
        request: &Request,
        result: &Result<Answer, CallError>,
        now: Duration,
    ) {
        if let Ok(answer) = result {
            let seen = self.seen.entry(answer.partition).or_default();
            *seen = answer.seen.max(*seen);
            self.wrote = (!request.is_read()).then_some(now).or(self.wrote);
        }
        self.next = match result {
            Ok(answer) => self.index_of(&answer.node).unwrap_or(start),
            // A refusal that is the request's own fault says nothing against the node.
            Err(error) if wire::is_refused_by_state(&error.kind) => start,
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
    use crate::wire::kind;
    use serde_json::Value;

    fn route() -> Route {
        Route::new(vec!["n1".into(), "n2".into()], 5, None)
    }

    fn read() -> Request {
        let key = "x".to_owned();
        Request::Read { key }
    }

    fn write() -> Request {
        let (key, value) = ("x".to_owned(), Value::Null);
        Request::Write { key, value }
    }

    fn answer(node: &str, seen: u64) -> Answer {
        Answer {
            value: Value::Null,
            node: node.to_owned(),
            term: None,
            version: None,
            seen,
            partition: 0,
        }
    }

    const NOW: Duration = Duration::from_secs(7);

    #[test]
    fn a_session_goes_to_who_answered_and_away_from_who_did_not() {
        let mut route = route();
        assert_eq!(route.start(), 1);
        let refused = |kind| Err(CallError::definite(kind, ""));
        route.ended(1, &read(), &refused(kind::NO_LEADER), NOW);
        assert_eq!(route.start(), 0);
        route.ended(0, &read(), &refused(kind::PRECONDITION), NOW);
        assert_eq!(route.start(), 0);
        route.ended(0, &read(), &Ok(answer("n2", 3)), NOW);
        assert_eq!(route.start(), 1);
    }

    #[test]
    fn reads_move_on_from_the_dead_and_some_replica_is_always_left() {
        let mut route = route();
        assert!(!route.moves_on(0, &write()));
        assert!(route.moves_on(0, &read()) && !route.moves_on(0, &read()));
        assert!(route.moves_on(1, &read()));
        assert_eq!(route.told(NOW).avoid, ["n2"]);
    }

    #[test]
    fn a_session_tells_the_newest_that_it_has_seen_and_when_it_wrote() {
        let mut route = route();
        route.ended(0, &write(), &Ok(answer("n1", 9)), NOW);
        route.ended(0, &read(), &Ok(answer("n2", 4)), NOW);
        let told = route.told(NOW + Duration::from_millis(30));
        assert_eq!(told.seen, BTreeMap::from([(0, 9)]));
        assert_eq!(told.since_write, Some(Duration::from_millis(30)));
        assert_eq!(route.renewed(8).told(NOW).seen, BTreeMap::new());
    }
}
