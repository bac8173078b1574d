//! The disk thread: does what the replica asks in order, many appends a sync, and says how far it is.
//!
//! The replica's task never waits for it, so heartbeats go on while an fsync runs. A message that must not
//! leave before the disk has caught up (a vote, say) travels through here as a job of its own. Any error
//! ends the thread and with it the node: after a failed fsync nobody knows what is durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::ServerError;
use super::peers::Outbox;
use crate::replicas::single_leader::{
    Command, Entry, HardState, Message, Persisted, Restored, Snapshot,
};
use crate::replicas::{LogPosition, NodeName, Term};
use crate::storage::{self, Fsync, LogFile, Record, Recovery, StorageError};

const HARD_STATE: &str = "hard-state";
const SNAPSHOT: &str = "snapshot";
/// Jobs done between two syncs at most.
const BATCH: usize = 1024;

/// Where jobs for the disk go.
pub(super) type Jobs = Sender<Job>;

/// One thing for the disk to do; see the replica's effects of the same names.
pub(super) enum Job {
    Append {
        epoch: u64,
        entries: Vec<Arc<Entry>>,
    },
    Truncate {
        epoch: u64,
        after: LogPosition,
    },
    SaveHardState {
        sequence: u64,
        state: HardState,
    },
    SaveSnapshot {
        snapshot: Arc<Snapshot>,
        drop_through: LogPosition,
    },
    InstallSnapshot {
        epoch: u64,
        snapshot: Arc<Snapshot>,
    },
    Release {
        to: NodeName,
        message: Message,
    },
    Stop(oneshot::Sender<()>),
}

/// The node's data, open.
pub(super) struct Disk {
    dir: PathBuf,
    log: LogFile,
    done: Persisted,
}

/// Opens a node's data directory and reads what it holds.
pub(super) fn open(dir: &Path) -> Result<(Disk, Restored), ServerError> {
    let (mut log, recovery) = LogFile::open(dir)?;
    if let Some(cut) = &recovery.cut {
        let (after, bytes, reason) = (cut.after, cut.bytes, cut.reason);
        tracing::warn!("the log is cut after {after}, {bytes} bytes thrown away: {reason}");
    }
    let (hard, hard_damaged) = load_or_distrust::<HardState>(dir, HARD_STATE)?;
    let (snapshot, snapshot_damaged) = load_or_distrust::<Snapshot>(dir, SNAPSHOT)?;
    let has_data = snapshot.is_some() || !recovery.records.is_empty();
    // A log that begins after the snapshot ends has a gap, and is useless.
    let gap = recovery.base.1 > snapshot.as_ref().map_or(0, |snapshot| snapshot.position.0);
    let damaged = recovery.lost_durable
        || hard_damaged
        || snapshot_damaged
        || gap
        || (hard.is_none() && has_data);
    let mut hard = hard.unwrap_or_default();
    if damaged {
        tracing::warn!("durable data are missing or damaged: this node joins again");
        // Before the log forgets that it was longer.
        hard.voter = false;
        storage::save(dir, HARD_STATE, &hard)?;
    }
    let snapshot = snapshot.map(Arc::new);
    let (base, entries) = fit(&mut log, recovery, snapshot.as_deref())?;
    tracing::info!("restored {} entries after {}", entries.len(), base.1);
    let done = Persisted {
        epoch: 0,
        position: LogPosition(log.last()),
        hard_sequence: 0,
    };
    let disk = Disk {
        dir: dir.to_owned(),
        log,
        done,
    };
    Ok((
        disk,
        Restored {
            hard,
            snapshot,
            base,
            entries,
            damaged,
        },
    ))
}

/// A damaged file is as good as none, but for the trust in this node.
fn load_or_distrust<T: serde::de::DeserializeOwned>(
    dir: &Path,
    name: &str,
) -> Result<(Option<T>, bool), StorageError> {
    match storage::load(dir, name) {
        Ok(value) => Ok((value, false)),
        Err(error @ StorageError::Damaged { .. }) => {
            tracing::warn!("{error}");
            Ok((None, true))
        }
        Err(error) => Err(error),
    }
}

type Fitted = ((Term, LogPosition), Vec<Arc<Entry>>);

/// Makes log and snapshot one history. A log that does not reach the snapshot, or that has another entry
/// at its position (the snapshot was installed, the crash came before the log was thrown away), begins
/// again after the snapshot.
fn fit(
    log: &mut LogFile,
    recovery: Recovery,
    snapshot: Option<&Snapshot>,
) -> Result<Fitted, StorageError> {
    let (term, position) = snapshot.map_or((0, 0), |s| (s.term.0, s.position.0));
    let (base_term, base) = recovery.base;
    let mut entries = Vec::with_capacity(recovery.records.len());
    for record in recovery.records {
        let Ok(command) = serde_json::from_slice::<Command>(&record.payload) else {
            tracing::warn!("the record at {} is not a command", record.position);
            log.truncate(record.position - 1)?;
            let base = (Term(base_term), LogPosition(base));
            return Ok((base, entries));
        };
        let (term, position) = (Term(record.term), LogPosition(record.position));
        entries.push(Arc::new(Entry {
            term,
            position,
            command,
        }));
    }
    let at_snapshot = match position.checked_sub(base + 1) {
        Some(offset) => entries.get(offset as usize).map(|entry| entry.term.0),
        None if position == base => Some(base_term),
        None => None,
    };
    if at_snapshot == Some(term) {
        return Ok(((Term(base_term), LogPosition(base)), entries));
    }
    tracing::warn!(
        "the log ({base} to {}) does not meet the snapshot at {position}",
        log.last()
    );
    log.reset((term, position))?;
    Ok(((Term(term), LogPosition(position)), Vec::new()))
}

impl Disk {
    /// Starts the thread.
    pub(super) fn start(
        self,
        fsync: Fsync,
        done: mpsc::UnboundedSender<Persisted>,
        outbox: Outbox,
    ) -> Result<Jobs, ServerError> {
        let (jobs, inbox) = channel();
        let mut disk = self;
        if fsync == Fsync::Always {
            disk.log.sync()?;
        }
        let work = move || {
            if let Err(error) = disk.run(fsync, &inbox, &done, &outbox) {
                tracing::error!("{error}");
            }
        };
        std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(work)
            .map_err(|error| ServerError::System("cannot start the disk thread", error))?;
        Ok(jobs)
    }

    fn run(
        &mut self,
        fsync: Fsync,
        inbox: &Receiver<Job>,
        done: &mpsc::UnboundedSender<Persisted>,
        outbox: &Outbox,
    ) -> Result<(), StorageError> {
        let mut synced = Instant::now();
        loop {
            if let Fsync::Interval(interval) = fsync
                && synced.elapsed() >= interval
            {
                self.log.sync()?;
                synced = Instant::now();
            }
            let wait = match fsync {
                Fsync::Interval(interval) => interval.saturating_sub(synced.elapsed()),
                _ => Duration::from_secs(3600),
            };
            let first = match inbox.recv_timeout(wait) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let mut released = Vec::new();
            let mut stop = None;
            for job in std::iter::once(first).chain(inbox.try_iter().take(BATCH)) {
                self.perform(job, &mut released, &mut stop)?;
            }
            if fsync == Fsync::Always || stop.is_some() {
                self.log.sync()?;
            }
            self.done.position = LogPosition(self.log.last());
            let _ = done.send(self.done);
            for (to, message) in released {
                outbox.send(&to, message);
            }
            if let Some(stop) = stop {
                let _ = stop.send(());
                return Ok(());
            }
        }
    }

    fn perform(
        &mut self,
        job: Job,
        released: &mut Vec<(NodeName, Message)>,
        stop: &mut Option<oneshot::Sender<()>>,
    ) -> Result<(), StorageError> {
        match job {
            Job::Append { epoch, entries } => {
                self.done.epoch = epoch;
                let records: Result<Vec<_>, _> = entries.iter().map(|e| self.record(e)).collect();
                self.log.append(&records?)?;
            }
            Job::Truncate { epoch, after } => {
                self.done.epoch = epoch;
                self.log.truncate(after.0)?;
            }
            Job::SaveHardState { sequence, state } => {
                storage::save(&self.dir, HARD_STATE, &state)?;
                self.done.hard_sequence = sequence;
            }
            Job::SaveSnapshot {
                snapshot,
                drop_through,
            } => {
                storage::save(&self.dir, SNAPSHOT, &*snapshot)?;
                self.log.compact(drop_through.0)?;
            }
            Job::InstallSnapshot { epoch, snapshot } => {
                self.done.epoch = epoch;
                storage::save(&self.dir, SNAPSHOT, &*snapshot)?;
                self.log.reset((snapshot.term.0, snapshot.position.0))?;
            }
            Job::Release { to, message } => released.push((to, message)),
            Job::Stop(done) => *stop = Some(done),
        }
        Ok(())
    }

    fn record(&self, entry: &Entry) -> Result<Record, StorageError> {
        let payload =
            serde_json::to_vec(&entry.command).map_err(|error| StorageError::Damaged {
                path: self.dir.clone(),
                reason: error.to_string(),
            })?;
        Ok(Record {
            term: entry.term.0,
            position: entry.position.0,
            payload,
        })
    }
}
