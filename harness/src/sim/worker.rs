//! The clients of one simulation, and what each is there for.

use super::client::Client;
use super::plan::{Plan, PlannedOperation, What};
use super::setting::{CLIENTS, Setting};
use anyhow::Result;
use schism_workloads::{Generator, Invocation};
use std::collections::VecDeque;

/// What a client is there for.
pub(super) enum Task {
    /// The load: what it is still to do, and where it gets that from.
    Load {
        generator: Option<Box<dyn Generator>>,
        ahead: VecDeque<PlannedOperation>,
    },
    /// A few operations, each until it is not refused any more.
    Errand(VecDeque<Invocation>),
    /// Final reads of this node.
    Reads(usize, VecDeque<Invocation>),
}

/// A client with its task.
pub(super) struct Worker {
    pub(super) client: Client,
    pub(super) task: Task,
    /// Which of its operations is under way.
    pub(super) number: u64,
}

impl Worker {
    pub(super) fn new(client: Client, task: Task) -> Self {
        let number = 0;
        Self {
            client,
            task,
            number,
        }
    }

    /// Whether it has something under way, or ahead.
    pub(super) fn works(&self) -> bool {
        let ahead = match &self.task {
            Task::Load { ahead, .. } => ahead.len(),
            Task::Errand(ahead) | Task::Reads(_, ahead) => ahead.len(),
        };
        self.client.is_busy() || ahead > 0
    }

    /// The node of which it takes final reads.
    pub(super) fn reads(&self) -> Option<usize> {
        match self.task {
            Task::Reads(node, _) => Some(node),
            _ => None,
        }
    }
}

/// The clients of a plan, for its load.
pub(super) fn workers(setting: &Setting, plan: &Plan) -> Result<Vec<Worker>> {
    for operation in &plan.operations {
        operation.what.as_ref().map(What::invocation).transpose()?;
    }
    let worker = |host: usize| {
        let mine = plan.operations.iter().filter(|o| o.client == host);
        let ahead: VecDeque<PlannedOperation> = mine.cloned().collect();
        let drawn = ahead.iter().any(|operation| operation.what.is_none());
        let (number, of) = (host as u64, CLIENTS as u64);
        let options = &setting.workload_options;
        let generator = || setting.workload.generator(options, plan.seed, number, of);
        let generator = drawn.then(generator);
        let client = Client::new(setting, host, CLIENTS);
        Worker::new(client, Task::Load { generator, ahead })
    };
    Ok((0..CLIENTS).map(worker).collect())
}
