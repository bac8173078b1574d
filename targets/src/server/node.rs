//! The task that owns the replica: feeds it inputs, carries out its effects.
//!
//! No decisions. The order of the branches is the priority: completions of the disk, status, and then what arrives, in the
//! order that `arrivals` gives it.

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::arrivals::{Arrival, Arrivals};
use super::disk::{Job, Jobs};
use super::peers::Outbox;
use crate::replicas::single_leader::{
    Effect, Input, Message, Operation, Persisted, Replica, Reply, Request, Session, WriteConcern,
};
use crate::replicas::{Millis, NodeName, Now, RequestId};
use crate::wire::Status;

/// A client request on its way to the replica.
pub(super) struct Call {
    pub(super) session: Session,
    pub(super) operation: Operation,
    pub(super) concern: Option<WriteConcern>,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// Messages of a peer that came together.
pub(super) struct Batch {
    pub(super) from: NodeName,
    pub(super) messages: Vec<Message>,
}

/// Everything that the task listens to.
pub(super) struct Inputs {
    pub(super) arrivals: Arrivals,
    pub(super) statuses: mpsc::Receiver<oneshot::Sender<Status>>,
    pub(super) completions: mpsc::UnboundedReceiver<Persisted>,
}

/// Since 1970; zero on a clock that is set before.
fn wall_clock() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Millis(since.map_or(0, |since| since.as_millis() as u64))
}

/// The replica and where its effects go.
pub(super) struct Node {
    replica: Replica,
    began: Instant,
    outbox: Outbox,
    jobs: Jobs,
    waiting: HashMap<RequestId, oneshot::Sender<Reply>>,
    requests: u64,
}

impl Node {
    pub(super) fn new(replica: Replica, began: Instant, outbox: Outbox, jobs: Jobs) -> Self {
        Self {
            replica,
            began,
            outbox,
            jobs,
            waiting: HashMap::new(),
            requests: 0,
        }
    }

    /// Runs until the disk thread has ended.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        let mut alive = true;
        while alive {
            alive = tokio::select! {
                biased;
                done = inputs.completions.recv() => match done {
                    Some(done) => self.feed(Input::Persisted(done)),
                    None => false,
                },
                Some(asker) = inputs.statuses.recv() => {
                    let _ = asker.send(self.replica.status());
                    true
                }
                arrival = inputs.arrivals.next() => {
                    let clients = matches!(arrival, Arrival::Clients(_));
                    let alive = self.serve(arrival);
                    if clients {
                        // Who else has a request puts it in now, so that one append and one message carry more.
                        tokio::task::yield_now().await;
                    }
                    alive
                }
            };
        }
    }

    fn serve(&mut self, arrival: Arrival) -> bool {
        match arrival {
            Arrival::Tick => self.feed(Input::Tick),
            Arrival::Peer(batch) => self.receive(batch),
            Arrival::Clients(calls) => {
                let requests = calls.into_iter().map(|call| self.register(call)).collect();
                self.feed(Input::Clients(requests))
            }
        }
    }

    fn receive(&mut self, batch: Batch) -> bool {
        let from = batch.from;
        batch.messages.into_iter().all(|message| {
            self.feed(Input::Peer {
                from: from.clone(),
                message,
            })
        })
    }

    fn register(&mut self, call: Call) -> Request {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.waiting.insert(id, call.reply);
        Request {
            id,
            session: call.session,
            operation: call.operation,
            concern: call.concern,
        }
    }

    /// One step of the replica; false when the disk is gone.
    fn feed(&mut self, input: Input) -> bool {
        let now = Now {
            monotonic: Millis(self.began.elapsed().as_millis() as u64),
            wall: wall_clock(),
        };
        let effects = self.replica.step(now, input);
        effects.into_iter().all(|effect| self.perform(effect))
    }

    fn perform(&mut self, effect: Effect) -> bool {
        let job = match effect {
            Effect::Send {
                to,
                message,
                after_disk: true,
            } => Job::Release { to, message },
            Effect::Send {
                to,
                message,
                after_disk: false,
            } => {
                self.outbox.send(&to, message);
                return true;
            }
            Effect::Reply { to, reply } => {
                if let Some(client) = self.waiting.remove(&to) {
                    // The client may have gone; nobody minds.
                    let _ = client.send(reply);
                }
                return true;
            }
            Effect::Note(text) => {
                tracing::info!("{text}");
                return true;
            }
            Effect::Append { epoch, entries } => Job::Append { epoch, entries },
            Effect::Truncate { epoch, after } => Job::Truncate { epoch, after },
            Effect::SaveHardState { sequence, state } => Job::SaveHardState { sequence, state },
            Effect::SaveSnapshot {
                snapshot,
                drop_through,
            } => Job::SaveSnapshot {
                snapshot,
                drop_through,
            },
            Effect::InstallSnapshot { epoch, snapshot } => Job::InstallSnapshot { epoch, snapshot },
        };
        self.jobs.send(job).is_ok()
    }
}
