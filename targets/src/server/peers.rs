//! Sending to peers: a bounded queue and a task for each peer and partition, batches of messages by HTTP POST.
//!
//! Fire and forget: a message that cannot be delivered now is dropped, the replica copes. After a failure
//! everything queued meanwhile is dropped as well (it is stale), and a hanging connection is given up after
//! a short time-out, so that a healed partition is noticed at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::replicas::NodeName;
use crate::replicas::single_leader::Message;

/// Messages that may wait for one peer.
const QUEUE: usize = 256;
/// Messages in one request.
const BATCH: usize = 64;
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(30);

/// The body of `POST /peer`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerBody {
    pub(crate) from: NodeName,
    pub(crate) messages: Vec<Message>,
}

/// Where messages for peers go.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    queues: BTreeMap<NodeName, mpsc::Sender<Message>>,
}

impl Outbox {
    /// Starts a task for each peer, which sends to this path of it; they end with the last clone of the outbox.
    pub(super) fn start(
        own: &NodeName,
        peers: &[(NodeName, SocketAddr)],
        path: &str,
        timeout: Duration,
    ) -> Result<Self, reqwest::Error> {
        let mut queues = BTreeMap::new();
        for (name, address) in peers {
            let (sender, queue) = mpsc::channel(QUEUE);
            let client = reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true)
                .pool_max_idle_per_host(1)
                .connect_timeout(timeout)
                .build()?;
            let url = format!("http://{address}{path}");
            let link = Link {
                own: own.clone(),
                peer: name.clone(),
                client,
                url,
                timeout,
            };
            tokio::spawn(link.run(queue));
            queues.insert(name.clone(), sender);
        }
        Ok(Self { queues })
    }

    /// Sends, or drops where the queue is full.
    pub(super) fn send(&self, to: &NodeName, message: Message) {
        if let Some(queue) = self.queues.get(to) {
            let _ = queue.try_send(message);
        }
    }
}

struct Link {
    own: NodeName,
    peer: NodeName,
    client: reqwest::Client,
    url: String,
    timeout: Duration,
}

impl Link {
    async fn run(self, mut queue: mpsc::Receiver<Message>) {
        let mut up = true;
        let mut messages = Vec::new();
        while queue.recv_many(&mut messages, BATCH).await > 0 {
            let result = self.post(std::mem::take(&mut messages)).await;
            match &result {
                Ok(()) if !up => tracing::info!("{} is reachable again", self.peer),
                Err(error) if up => tracing::info!("{} is unreachable: {error}", self.peer),
                _ => {}
            }
            up = result.is_ok();
            if !up {
                tokio::time::sleep(PAUSE).await;
                while queue.try_recv().is_ok() {}
            }
        }
    }

    async fn post(&self, messages: Vec<Message>) -> Result<(), String> {
        let body = PeerBody {
            from: self.own.clone(),
            messages,
        };
        let body = serde_json::to_vec(&body).map_err(|error| error.to_string())?;
        // A big snapshot takes its time: a second a mebibyte.
        let timeout = self.timeout + Duration::from_millis(body.len() as u64 >> 10);
        let request = self.client.post(&self.url).timeout(timeout).body(body);
        let answer = request
            .send()
            .await
            .map_err(|error| error.without_url().to_string())?;
        let status = answer.status();
        // Reading the (empty) body gives the connection back.
        let _ = answer.bytes().await;
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("it answered {status}"))
        }
    }
}
