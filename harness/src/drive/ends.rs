//! What a workload has done once before the clients begin, and once after the target has recovered.
//!
//! Both go the way that clients go, and stand in the history as what they do.

use super::clients::{Connection, Entry, TargetConnection};
use super::final_reads::FINAL_READ_LIMIT;
use super::{Driver, Recorder, START_LIMIT};
use anyhow::{Context, Result, bail};
use schism_history::{EventKind, Process, Time};
use schism_workloads::{Completion, Invocation};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The process that opens a run: the first client's, which has not begun.
const FIRST: u64 = 0;
/// How long to wait after a refusal.
const BACK_OFF: Duration = Duration::from_millis(50);

/// One that does a few operations, each until it is not refused any more, and no longer than it may take.
struct Errand {
    connection: TargetConnection,
    recorder: Arc<Recorder>,
    process: u64,
    patience: Duration,
}

impl Errand {
    async fn run(mut self, operations: Vec<Invocation>) -> Vec<(Invocation, Completion)> {
        let mut done = Vec::new();
        for invocation in operations {
            let completion = self.until_accepted(&invocation).await;
            let is_open = completion.kind == EventKind::Info;
            done.push((invocation, completion));
            if is_open {
                // Its process is retired, and nobody knows what the next would come upon.
                break;
            }
        }
        done
    }

    async fn until_accepted(&mut self, invocation: &Invocation) -> Completion {
        let begun = Instant::now();
        loop {
            let completion = self.once(invocation).await;
            if completion.kind != EventKind::Fail || begun.elapsed() > self.patience {
                return completion;
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    }

    async fn once(&mut self, invocation: &Invocation) -> Completion {
        let process = Process::Client(self.process);
        self.recorder.record(invocation.event(Time::ZERO, process));
        let completion = self.connection.call(invocation).await;
        let event = completion.clone().event(invocation, Time::ZERO, process);
        self.recorder.record(event);
        completion
    }
}

impl Driver<'_> {
    /// What comes before the clients: all of it must succeed, and be on every replica.
    pub(super) async fn open(&self, clients: &tokio::runtime::Runtime) -> Result<()> {
        let workload = self.spec.workload;
        if let Some((name, value)) = workload.declares(&self.options) {
            self.recorder.nemesis(name, value);
        }
        let operations = workload.opening(&self.options);
        if operations.is_empty() {
            return Ok(());
        }
        for (invocation, completion) in self.errand(clients, FIRST, operations).await? {
            if completion.kind != EventKind::Ok {
                let error = completion
                    .error
                    .map(|e| format!("{}: {}", e.kind, e.message));
                bail!(
                    "the workload's first operation ({}) did not succeed: {}",
                    invocation.f,
                    error.unwrap_or_default()
                );
            }
        }
        let up = self.watcher.recovered(START_LIMIT).await;
        up.map_err(|why| {
            anyhow::anyhow!("not all nodes have the workload's first operations: {why}")
        })
    }

    /// What comes after the recovery. That it does not succeed is for the checkers to judge.
    pub(super) async fn finish(&self, clients: &tokio::runtime::Runtime) -> Result<()> {
        let operations = self.spec.workload.closing(&self.options);
        let process = self.recorder.fresh_process();
        self.errand(clients, process, operations).await.map(drop)
    }

    async fn errand(
        &self,
        clients: &tokio::runtime::Runtime,
        process: u64,
        operations: Vec<Invocation>,
    ) -> Result<Vec<(Invocation, Completion)>> {
        let errand = Errand {
            connection: self.connection(process, Entry::LastAnswered, FINAL_READ_LIMIT),
            recorder: Arc::clone(&self.recorder),
            process,
            patience: FINAL_READ_LIMIT,
        };
        let task = clients.spawn(errand.run(operations));
        task.await.context("a task of the workload panicked")
    }
}
