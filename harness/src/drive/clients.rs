//! The clients: each draws what to do, waits until it is due, does it, and records both ends.
//!
//! A client is a sequence of processes: after an outcome that nobody knows its process is retired, and it goes on under a new number
//! with a new session.

use super::Recorder;
use schism_history::{EventKind, Process, Time};
use schism_targets::client::{Answer, CallError, Client, Request};
use schism_targets::registry::NodeAddress;
use schism_workloads::generator::Arrivals;
use schism_workloads::{Completion, Generator, Invocation, Options, Step, Workload};
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

/// Where a client's requests go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// To this node.
    Home(usize),
    /// To whoever answered last.
    LastAnswered,
    /// To this node, and then to the next one in turn, request by request.
    InTurn(usize),
}

/// A connection to a target's nodes, speaking the target's own protocol.
pub struct TargetConnection {
    workload: &'static dyn Workload,
    options: Arc<Options>,
    nodes: Arc<[NodeAddress]>,
    entry: Entry,
    timeout: Duration,
    client: Client,
}

impl TargetConnection {
    /// For one client, which does what the workload says under its resolved options. A whole operation takes no longer than `timeout`.
    pub fn new(
        (workload, options): (&'static dyn Workload, &Arc<Options>),
        nodes: &Arc<[NodeAddress]>,
        process: u64,
        entry: Entry,
        timeout: Duration,
    ) -> Self {
        Self {
            workload,
            options: Arc::clone(options),
            nodes: Arc::clone(nodes),
            entry,
            timeout,
            client: client(nodes, process, entry, timeout),
        }
    }

    /// Reads a replica's own state.
    pub async fn read_local(&self, node: usize, invocation: &Invocation) -> Completion {
        let mut so_far = Vec::new();
        loop {
            match self.step(invocation, &so_far) {
                Step::Ask(request) => so_far.push(self.client.read_local(node, &request).await),
                Step::Done(completion) => return completion,
            }
        }
    }

    fn step(&self, invocation: &Invocation, so_far: &[Result<Answer, CallError>]) -> Step {
        self.workload.converse(&self.options, invocation, so_far)
    }

    async fn ask(&mut self, request: &Request, deadline: Instant) -> Result<Answer, CallError> {
        if let Entry::InTurn(node) = &mut self.entry {
            self.client.begin_at(*node);
            *node = (*node + 1) % self.nodes.len();
        }
        self.client.call_by(request, deadline).await
    }
}

fn client(nodes: &[NodeAddress], process: u64, entry: Entry, timeout: Duration) -> Client {
    let home = match entry {
        Entry::Home(node) => Some(node),
        Entry::LastAnswered | Entry::InTurn(_) => None,
    };
    Client::new(nodes, process, home, timeout)
}

impl Connection for TargetConnection {
    async fn call(&mut self, invocation: &Invocation) -> Completion {
        let deadline = Instant::now() + self.timeout;
        let mut so_far = Vec::new();
        loop {
            match self.step(invocation, &so_far) {
                Step::Ask(request) => so_far.push(self.ask(&request, deadline).await),
                Step::Done(completion) => return completion,
            }
        }
    }

    fn renew(&mut self, process: u64) {
        self.client = client(&self.nodes, process, self.entry, self.timeout);
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
