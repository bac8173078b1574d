//! The final reads: each replica is asked for all that it has, so that they can be held beside one another.

use super::clients::{Entry, TargetConnection};
use super::{Driver, Recorder};
use anyhow::{Context, Result};
use schism_history::{Event, NodeId, Process, Time};
use schism_targets::wire::{self, Status};
use schism_workloads::{Completion, Invocation};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the final reads of one replica may take, together.
pub(super) const FINAL_READ_LIMIT: Duration = Duration::from_secs(10);

impl Driver<'_> {
    /// Reads every key from every replica, each replica's own state. One that has left the cluster, and that nobody has taken in again, need not have
    /// what the others have.
    pub(super) async fn final_reads(
        &self,
        statuses: &[Option<Status>],
        clients: &tokio::runtime::Runtime,
    ) -> Result<()> {
        let mut process = self.recorder.fresh_process();
        let spec = &self.spec.spec;
        let workload = self.spec.workload;
        let reads = workload.final_reads(&self.options, spec.concurrency);
        let mut tasks = Vec::new();
        let members =
            (0..self.nodes.len()).filter(|node| wire::is_member(statuses, &self.nodes[*node].name));
        for node in members {
            let connection = self.connection(process, Entry::LastAnswered, FINAL_READ_LIMIT);
            let recorder = Arc::clone(&self.recorder);
            tasks.push(clients.spawn(read_replica(
                connection,
                recorder,
                (node, self.nodes[node].name.clone()),
                process,
                reads.clone(),
            )));
            process += reads.len() as u64;
        }
        for task in tasks {
            task.await.context("a final read's task panicked")?;
        }
        Ok(())
    }
}

async fn read_replica(
    connection: TargetConnection,
    recorder: Arc<Recorder>,
    node: (usize, String),
    first_process: u64,
    reads: Vec<Invocation>,
) {
    let as_final = |mut event: Event| {
        event.is_final = true;
        // Whoever answers or not: this replica was asked.
        event
            .node
            .get_or_insert_with(|| NodeId(node.1.as_str().into()));
        event
    };
    let begun = Instant::now();
    for (process, read) in (first_process..).zip(&reads) {
        let process = Process::Client(process);
        recorder.record(as_final(read.event(Time::ZERO, process)));
        let completion = if begun.elapsed() < FINAL_READ_LIMIT {
            connection.read_local(node.0, read).await
        } else {
            Completion::refused("unread", "the replica's time for all final reads was over")
        };
        recorder.record(as_final(completion.event(read, Time::ZERO, process)));
    }
}
