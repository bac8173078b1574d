//! A node's disk: jobs are done in order, in batches, and what was not done or not synced may be lost.
//!
//! Under `fsync=always` a job that is done is durable. Otherwise it is only written: a killed process loses nothing of that, a loss
//! of power all but what was synced since, and the first few of the rest. A job is done whole or not at all; torn records are the
//! business of the storage and its own tests.

use std::collections::VecDeque;

use super::{Force, Kept, Simulated};
use crate::replicas::NodeName;

/// What waits for a disk.
enum Waiting<R: Simulated> {
    Job(R::Job),
    /// A message that must not leave before.
    Release(NodeName, R::Message),
}

/// A disk and what waits for it.
pub(super) struct Disk<R: Simulated> {
    /// What a process finds that starts now.
    pub(super) written: R::Disk,
    lazy: Option<Lazy<R>>,
    queue: VecDeque<Waiting<R>>,
    /// So many of those are being done.
    batch: usize,
}

/// Without a sync of each batch: what a loss of power leaves, and what was done since.
struct Lazy<R: Simulated> {
    synced: R::Disk,
    since: Vec<R::Job>,
}

/// What a batch has come to.
pub(super) struct Batch<R: Simulated> {
    pub(super) done: R::Done,
    pub(super) released: Vec<(NodeName, R::Message)>,
    /// What was done, in words, where that is wanted.
    pub(super) words: Vec<String>,
}

impl<R: Simulated> Disk<R> {
    /// An empty one; `always`: each batch is synced.
    pub(super) fn new(always: bool) -> Self {
        let lazy = || Lazy {
            synced: R::Disk::default(),
            since: Vec::new(),
        };
        Self {
            written: R::Disk::default(),
            lazy: (!always).then(lazy),
            queue: VecDeque::new(),
            batch: 0,
        }
    }

    pub(super) fn give(&mut self, job: R::Job) {
        self.queue.push_back(Waiting::Job(job));
    }

    pub(super) fn release(&mut self, to: NodeName, message: R::Message) {
        self.queue.push_back(Waiting::Release(to, message));
    }

    /// Begins with what waits; false where it works already, or nothing does.
    pub(super) fn begin(&mut self) -> bool {
        let begins = self.batch == 0 && !self.queue.is_empty();
        if begins {
            self.batch = self.queue.len();
        }
        begins
    }

    /// Ends the batch that was begun.
    pub(super) fn end(&mut self, in_words: bool) -> Batch<R> {
        let (mut released, mut words) = (Vec::new(), Vec::new());
        for waiting in self.queue.drain(..std::mem::take(&mut self.batch)) {
            match waiting {
                Waiting::Release(to, message) => released.push((to, message)),
                Waiting::Job(job) => {
                    if in_words {
                        words.extend(R::describe_job(&job));
                    }
                    perform(&mut self.written, self.lazy.as_mut(), job);
                }
            }
        }
        let done = R::done(&self.written);
        Batch {
            done,
            released,
            words,
        }
    }

    /// Forces to the disk what was written.
    pub(super) fn sync(&mut self) {
        if let Some(lazy) = &mut self.lazy {
            lazy.sync();
        }
    }

    /// The process is killed: the first of what waits may be written all the same. Says how many jobs are lost.
    pub(super) fn kill(&mut self, kept: Kept) -> usize {
        let jobs = self.drain();
        let keep = kept.of(jobs.len());
        let lost = jobs.len() - keep;
        for job in jobs.into_iter().take(keep) {
            perform(&mut self.written, self.lazy.as_mut(), job);
        }
        lost
    }

    /// The power fails: the first of what was not synced may be there all the same. Says how many jobs are lost.
    pub(super) fn cut_power(&mut self, kept: Kept) -> usize {
        let Some(lazy) = &mut self.lazy else {
            return self.kill(kept);
        };
        let written = std::mem::take(&mut lazy.since);
        let jobs: Vec<R::Job> = written.into_iter().chain(self.drain()).collect();
        let keep = kept.of(jobs.len());
        let Some(lazy) = &mut self.lazy else { return 0 };
        for job in &jobs[..keep] {
            R::perform(&mut lazy.synced, job);
        }
        self.written = lazy.synced.clone();
        jobs.len() - keep
    }

    /// It is empty.
    pub(super) fn wipe(&mut self) {
        *self = Self::new(self.lazy.is_none());
    }

    fn drain(&mut self) -> Vec<R::Job> {
        self.batch = 0;
        let jobs = self.queue.drain(..).filter_map(|waiting| match waiting {
            Waiting::Job(job) => Some(job),
            Waiting::Release(..) => None,
        });
        jobs.collect()
    }
}

impl<R: Simulated> Lazy<R> {
    fn sync(&mut self) {
        for job in self.since.drain(..) {
            R::perform(&mut self.synced, &job);
        }
    }

    fn take(&mut self, job: R::Job) {
        match R::forces(&job) {
            Force::Nothing => self.since.push(job),
            Force::Itself => R::perform(&mut self.synced, &job),
            Force::Everything => {
                self.sync();
                R::perform(&mut self.synced, &job);
            }
        }
    }
}

fn perform<R: Simulated>(written: &mut R::Disk, lazy: Option<&mut Lazy<R>>, job: R::Job) {
    R::perform(written, &job);
    if let Some(lazy) = lazy {
        lazy.take(job);
    }
}
