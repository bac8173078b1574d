//! Asks the nodes how they are, from the router: whatever links are cut between hosts, the controller reaches every node.

use schism_targets::client;
use schism_targets::registry::{NodeAddress, Target};
use schism_targets::wire::Status;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Asks all nodes at once.
#[derive(Clone)]
pub struct Watcher {
    target: &'static dyn Target,
    nodes: Arc<[NodeAddress]>,
    http: reqwest::Client,
}

/// What the target said of its recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its last word; an error is why all is not well.
    pub word: Result<(), String>,
    /// When it was asked last before it said no.
    pub last_no: Option<Instant>,
}

/// How soon it is asked again.
const AGAIN: Duration = Duration::from_millis(25);
/// How long a node may take to say how it is.
const LIMIT: Duration = Duration::from_millis(300);

impl Watcher {
    /// For the nodes of one cluster. Connections are opened in the caller's network namespace.
    pub fn new(target: &'static dyn Target, nodes: &[NodeAddress]) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self {
            target,
            nodes: nodes.into(),
            http,
        })
    }

    /// The nodes' names.
    pub fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|n| n.name.clone()).collect()
    }

    /// What each node says; none where it does not answer.
    pub async fn statuses(&self) -> Vec<Option<Status>> {
        let asked: Vec<_> = (0..self.nodes.len())
            .map(|i| {
                let (http, nodes) = (self.http.clone(), Arc::clone(&self.nodes));
                tokio::spawn(async move { client::status(&http, &nodes[i], LIMIT).await })
            })
            .collect();
        let mut all = Vec::with_capacity(asked.len());
        for one in asked {
            all.push(one.await.unwrap_or(None));
        }
        all
    }

    /// Who leads, and which followers are in sync with it, as the nodes say.
    pub async fn leadership(&self) -> (Option<usize>, Vec<usize>) {
        let statuses = self.statuses().await;
        let leader = self.target.leader(&statuses);
        let status = leader.and_then(|leader| statuses[leader].as_ref());
        let in_sync = status.map_or(&[][..], |s| &s.in_sync);
        let place = |name: &String| self.nodes.iter().position(|n| n.name == *name);
        (leader, in_sync.iter().filter_map(place).collect())
    }

    /// Waits for the target's own word that all is well. An error is why it was not, when time ran out.
    pub async fn recovered(&self, limit: Duration) -> Result<(), String> {
        self.word(Instant::now() + limit).await.word
    }

    /// Asks until the target says that all is well, and at least once after the deadline.
    pub async fn word(&self, deadline: Instant) -> Word {
        let mut last_no = None;
        loop {
            let asked = Instant::now();
            let word = self.target.recovered(&self.statuses().await);
            if word.is_err() {
                last_no = Some(asked);
            }
            if word.is_ok() || asked >= deadline {
                return Word { word, last_no };
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
