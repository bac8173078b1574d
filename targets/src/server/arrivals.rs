//! What waits for the replica, and in which order it is served.
//!
//! `heartbeats=priority`: the clock and the peers come before any client, and clients wait in a queue of their own that has an end, so
//! that a node with too much to do refuses (503) and still leads. `heartbeats=shared-queue`: everything waits in one queue in order of arrival, as in a server
//! that hands each request to one worker; under load heartbeats come late, and leaders are deposed that are well (D05). With `service-time` a client
//! request occupies the node for so long, which makes a small machine one that can be overloaded.

use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::node::{Batch, Call};

/// Client requests taken in one step.
const CLIENT_BATCH: usize = 256;
/// Batches of peers that wait before new ones are dropped.
const PEER_QUEUE: usize = 1024;

/// How client requests share a node with everything else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sharing {
    /// All in one queue.
    pub(crate) together: bool,
    /// How many client requests may wait; with `together`, how many of anything.
    pub(crate) queue: usize,
    /// How long a client request occupies the node.
    pub(crate) service: Duration,
}

/// One thing that came.
pub(super) enum Arrival {
    /// Time has passed.
    Tick,
    /// Messages of a peer.
    Peer(Batch),
    /// Client requests.
    Clients(Vec<Call>),
}

/// Where the server's handlers put what comes.
#[derive(Clone)]
pub(super) enum Entrance {
    Apart(Sender<Call>, Sender<Batch>),
    Together(Sender<Arrival>),
}

/// Why a client request was not taken.
pub(super) enum Refused {
    /// Too many wait.
    Full,
    /// The node stops.
    Closed,
}

impl Entrance {
    pub(super) fn client(&self, call: Call) -> Result<(), Refused> {
        match self {
            Self::Apart(clients, _) => clients.try_send(call).map_err(Refused::from),
            Self::Together(all) => {
                let call = Arrival::Clients(vec![call]);
                all.try_send(call).map_err(Refused::from)
            }
        }
    }

    /// A full queue drops messages, as a network does.
    pub(super) fn peer(&self, batch: Batch) {
        let _ = match self {
            Self::Apart(_, peers) => peers.try_send(batch).is_ok(),
            Self::Together(all) => all.try_send(Arrival::Peer(batch)).is_ok(),
        };
    }
}

impl<T> From<TrySendError<T>> for Refused {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => Self::Full,
            TrySendError::Closed(_) => Self::Closed,
        }
    }
}

enum Source {
    Apart {
        ticks: Interval,
        peers: Receiver<Batch>,
        clients: Receiver<Call>,
    },
    Together(Receiver<Arrival>),
}

/// What the replica is served from.
pub(super) struct Arrivals {
    source: Source,
    service: Duration,
    busy_until: Instant,
}

/// Both ends; the replica's clock ticks so often.
pub(super) fn queues(sharing: Sharing, tick: Duration) -> (Entrance, Arrivals) {
    let (entrance, source) = if sharing.together {
        let (all, waiting) = channel(sharing.queue);
        tokio::spawn(tick_into(all.clone(), tick));
        (Entrance::Together(all), Source::Together(waiting))
    } else {
        let (to_clients, clients) = channel(sharing.queue);
        let (to_peers, peers) = channel(PEER_QUEUE);
        let ticks = ticks(tick);
        let source = Source::Apart {
            ticks,
            peers,
            clients,
        };
        (Entrance::Apart(to_clients, to_peers), source)
    };
    let arrivals = Arrivals {
        source,
        service: sharing.service,
        busy_until: Instant::now(),
    };
    (entrance, arrivals)
}

fn ticks(tick: Duration) -> Interval {
    let mut ticks = interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The clock waits in the queue like everybody else; while it has no place it does not tick.
async fn tick_into(all: Sender<Arrival>, tick: Duration) {
    let mut ticks = ticks(tick);
    loop {
        ticks.tick().await;
        if let Err(TrySendError::Closed(_)) = all.try_send(Arrival::Tick) {
            return;
        }
    }
}

impl Arrivals {
    /// The next thing to serve. May be dropped while it waits; nothing is lost.
    pub(super) async fn next(&mut self) -> Arrival {
        let arrival = match &mut self.source {
            Source::Together(all) => {
                sleep_until(self.busy_until).await;
                match all.recv().await {
                    Some(arrival) => arrival,
                    // The server holds an entrance for as long as it runs.
                    None => std::future::pending().await,
                }
            }
            Source::Apart {
                ticks,
                peers,
                clients,
            } => tokio::select! {
                biased;
                _ = ticks.tick() => Arrival::Tick,
                Some(batch) = peers.recv() => Arrival::Peer(batch),
                calls = some(clients, self.busy_until, self.service) => Arrival::Clients(calls),
            },
        };
        if let Arrival::Clients(calls) = &arrival
            && !self.service.is_zero()
        {
            let work = self.service * u32::try_from(calls.len()).unwrap_or(u32::MAX);
            self.busy_until = Instant::now() + work;
        }
        arrival
    }
}

/// Client requests, once the node is free: one where each occupies it, else as many as there are.
async fn some(clients: &mut Receiver<Call>, free: Instant, service: Duration) -> Vec<Call> {
    let most = if service.is_zero() {
        CLIENT_BATCH
    } else {
        sleep_until(free).await;
        1
    };
    let mut calls = Vec::new();
    if clients.recv_many(&mut calls, most).await == 0 {
        std::future::pending::<()>().await;
    }
    calls
}
