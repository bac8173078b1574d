//! The clients: each draws what to do, waits until it is due, does it, and records both ends.
//!
//! A client is a sequence of processes: after an outcome that nobody knows its process is retired, and it goes on under a new number
//! with a new session.

use super::Recorder;
use schism_history::{EventKind, Process, Time};
use schism_targets::client::Client;
use schism_workloads::generator::Arrivals;
use schism_workloads::{Completion, Generator, Invocation, Workload};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What stands between a client and the system under test.
pub trait Connection: Send + 'static {
    /// Does one operation.
    fn call(&mut self, invocation: &Invocation) -> impl Future<Output = Completion> + Send;
    /// Goes on under a new process number, which is a new session.
    fn renew(&mut self, process: u64);
}

/// How long a client without a rate waits after a refusal.
const BACK_OFF: Duration = Duration::from_millis(5);

/// One client.
pub struct Worker<C> {
    /// Which of the clients, from 0.
    pub number: u64,
    /// How many there are: process numbers rise by this much.
    pub of: u64,
    /// To the system under test.
    pub connection: C,
    /// What to do.
    pub generator: Box<dyn Generator>,
    /// When.
    pub arrivals: Arrivals,
    /// Where it is written down.
    pub recorder: Arc<Recorder>,
}

impl<C: Connection> Worker<C> {
    /// Works until `stop` turns true, or there is nothing left to do. The last operation is always completed.
    pub async fn work(mut self, begun: Instant, mut stop: watch::Receiver<bool>) {
        let mut process = self.number;
        while let Some(invocation) = self.generator.next() {
            let due = self.arrivals.next_due();
            if !wait_until(begun + due, &mut stop).await {
                return;
            }
            self.arrivals.skip_to(begun.elapsed());
            self.recorder.scheduled(self.number, due, &invocation);
            let completion = self.perform(process, &invocation).await;
            self.generator.observe(&invocation, &completion);
            if self.arrivals.is_closed_loop() && completion.is_unavailable() {
                // As fast as answers come is no reason to hammer a node that refuses at once.
                tokio::time::sleep(BACK_OFF).await;
            }
            if completion.kind == EventKind::Info {
                process += self.of;
                self.connection.renew(process);
            }
        }
    }

    async fn perform(&mut self, process: u64, invocation: &Invocation) -> Completion {
        self.recorder
            .record(invocation.event(Time::ZERO, Process::Client(process)));
        let completion = self.connection.call(invocation).await;
        let event = completion
            .clone()
            .event(invocation, Time::ZERO, Process::Client(process));
        self.recorder.record(event);
        completion
    }
}

/// Waits until it is time; says whether to go on.
async fn wait_until(due: Instant, stop: &mut watch::Receiver<bool>) -> bool {
    if *stop.borrow() {
        return false;
    }
    if due <= Instant::now() {
        // A closed loop over a connection that is always ready must let others run, too.
        tokio::task::consume_budget().await;
        return true;
    }
    tokio::select! {
        () = tokio::time::sleep_until(due.into()) => true,
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

/// A connection to a target's nodes, speaking the target's own protocol.
pub struct TargetConnection {
    workload: &'static dyn Workload,
    client: Client,
}

impl TargetConnection {
    /// For one client.
    pub fn new(workload: &'static dyn Workload, client: Client) -> Self {
        Self { workload, client }
    }

    /// Reads a replica's own state.
    pub async fn read_local(&self, node: usize, invocation: &Invocation) -> Completion {
        let request = self.workload.request(invocation);
        let answer = self.client.read_local(node, &request).await;
        self.workload.complete(invocation, answer)
    }
}

impl Connection for TargetConnection {
    async fn call(&mut self, invocation: &Invocation) -> Completion {
        let request = self.workload.request(invocation);
        let answer = self.client.call(&request).await;
        self.workload.complete(invocation, answer)
    }

    fn renew(&mut self, process: u64) {
        self.client = self.client.renewed(process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schism_history::jsonl;
    use schism_workloads::generator::stream;

    /// Answers `ok`, `fail`, `info` in turn.
    struct InTurn(u64);

    impl Connection for InTurn {
        async fn call(&mut self, invocation: &Invocation) -> Completion {
            self.0 += 1;
            let kind = [EventKind::Ok, EventKind::Fail, EventKind::Info][self.0 as usize % 3];
            Completion {
                kind,
                ..Completion::ok(invocation.value.clone())
            }
        }

        fn renew(&mut self, _: u64) {}
    }

    struct Some30(u64);

    impl Generator for Some30 {
        fn next(&mut self) -> Option<Invocation> {
            self.0 += 1;
            (self.0 <= 30).then(|| Invocation::on("x", "write", self.0))
        }
    }

    #[tokio::test]
    async fn a_process_is_retired_after_an_unknown_outcome() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, writer) = Recorder::create(folder.path(), Instant::now()).unwrap();
        let worker = Worker {
            number: 2,
            of: 5,
            connection: InTurn(0),
            generator: Box::new(Some30(0)),
            arrivals: Arrivals::new(stream(1, 0), None),
            recorder: Arc::clone(&recorder),
        };
        worker.work(Instant::now(), watch::channel(false).1).await;
        writer.finish().unwrap();
        // Reading checks that no process goes on after an info.
        let history =
            jsonl::read(&*std::fs::read(folder.path().join("history.jsonl")).unwrap()).unwrap();
        let last = history.events.last().unwrap().process;
        assert_eq!(history.ops().len(), 30);
        assert_eq!(last, Process::Client(2 + 5 * 10));
    }
}
