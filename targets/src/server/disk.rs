//! The disk thread: does what the replica asks in order, many appends a sync, and says how far it is.
//!
//! The replica's task never waits for it, so heartbeats go on while an fsync runs. A message that must not
//! leave before the disk has caught up (a vote, say) travels through here as a job of its own. Any error
//! ends the thread and with it the node: after a failed fsync nobody knows what is durable.

use std::fs::File;
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
use crate::storage::{self, Fsync, LogCheck, LogFile, Record, StorageError};

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
    /// Held for as long as the thread may write.
    _lock: File,
}

/// Opens a node's data directory and reads what it holds.
pub(super) fn open(dir: &Path, check: LogCheck) -> Result<(Disk, Restored), ServerError> {
    let lock = storage::lock(dir)?;
    let (mut log, recovery) = LogFile::open_with(dir, check)?;
    if let Some(cut) = &recovery.cut {
        let (after, bytes, reason) = (cut.after, cut.bytes, cut.reason);
        tracing::warn!("the log is cut after {after}, {bytes} bytes thrown away: {reason}");
    }
    let (hard, hard_damaged) = load_or_distrust::<HardState>(dir, HARD_STATE)?;
    let (snapshot, snapshot_damaged) = load_or_distrust::<Snapshot>(dir, SNAPSHOT)?;
    let has_data = snapshot.is_some() || !recovery.records.is_empty();
    let (entries, unreadable) = read_commands(recovery.records, check);
    // A log that begins after the snapshot ends has a gap, and is useless.
    let base = recovery.base;
    let gap = base.1 > snapshot.as_ref().map_or(0, |snapshot| snapshot.position.0);
    let damaged = recovery.lost_durable
        || unreadable.is_some()
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
    if let Some(position) = unreadable {
        log.truncate(position - 1)?;
    }
    let (base, entries) = fit(&mut log, base, entries, snapshot.as_deref())?;
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
        _lock: lock,
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

/// The entries up to the first record that is whole but no command, and that record's position. A crash
/// does not write such a record: it was acknowledged, perhaps, and cannot be read.
fn read_commands(records: Vec<Record>, check: LogCheck) -> (Vec<Arc<Entry>>, Option<u64>) {
    let mut entries = Vec::with_capacity(records.len());
    for record in records {
        let command = match serde_json::from_slice::<Command>(&record.payload) {
            Ok(command) => command,
            Err(_) if check == LogCheck::None => Command::Noop,
            Err(error) => {
                let position = record.position;
                tracing::warn!("the record at {position} is not a command: {error}");
                return (entries, Some(position));
            }
        };
        let (term, position) = (Term(record.term), LogPosition(record.position));
        entries.push(Arc::new(Entry {
            term,
            position,
            command,
        }));
    }
    (entries, None)
}

type Fitted = ((Term, LogPosition), Vec<Arc<Entry>>);

/// Makes log and snapshot one history. A log that does not reach the snapshot, or that has another entry
/// at its position (the snapshot was installed, the crash came before the log was thrown away), begins
/// again after the snapshot.
fn fit(
    log: &mut LogFile,
    (base_term, base): (u64, u64),
    entries: Vec<Arc<Entry>>,
    snapshot: Option<&Snapshot>,
) -> Result<Fitted, StorageError> {
    let (term, position) = snapshot.map_or((0, 0), |s| (s.term.0, s.position.0));
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
        if fsync.comes_first() {
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
            let more = if fsync == Fsync::Each { 0 } else { BATCH };
            for job in std::iter::once(first).chain(inbox.try_iter().take(more)) {
                self.perform(job, fsync, &mut released, &mut stop)?;
            }
            if fsync.comes_first() || stop.is_some() {
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
        fsync: Fsync,
        released: &mut Vec<(NodeName, Message)>,
        stop: &mut Option<oneshot::Sender<()>>,
    ) -> Result<(), StorageError> {
        match job {
            Job::Append { epoch, entries } => {
                self.done.epoch = epoch;
                let records: Result<Vec<_>, _> = entries.iter().map(|e| self.record(e)).collect();
                self.append(&records?, fsync)?;
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

    fn append(&mut self, records: &[Record], fsync: Fsync) -> Result<(), StorageError> {
        if fsync != Fsync::Each {
            return self.log.append(records);
        }
        for record in records {
            self.log.append(std::slice::from_ref(record))?;
            self.log.sync()?;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::*;

    fn write(depth: usize) -> Command {
        let value = (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let key = "x".to_owned();
        Command::Write { key, value }
    }

    /// A voter's data: a durable log of these payloads.
    fn data(payloads: &[Vec<u8>]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let hard = HardState {
            term: Term(1),
            voted_for: None,
            voter: true,
        };
        storage::save(dir.path(), HARD_STATE, &hard).unwrap();
        let (mut log, _) = LogFile::open(dir.path()).unwrap();
        let records: Vec<_> = payloads
            .iter()
            .zip(1..)
            .map(|(payload, position)| Record {
                term: 1,
                position,
                payload: payload.clone(),
            })
            .collect();
        log.append(&records).unwrap();
        log.sync().unwrap();
        dir
    }

    #[test]
    fn a_record_that_cannot_be_read_takes_the_vote_away() {
        let good = serde_json::to_vec(&write(1)).unwrap();
        let deep = serde_json::to_vec(&write(126)).unwrap();
        for bad in [deep, b"{}".to_vec()] {
            let dir = data(&[good.clone(), bad, good.clone()]);
            let (disk, restored) = open(dir.path(), LogCheck::Checksum).unwrap();
            assert!(restored.damaged && !restored.hard.voter);
            assert_eq!(restored.entries.len(), 1);
            assert_eq!(disk.log.last(), 1);
            drop(disk);
            // The log has forgotten it, the hard state has not.
            let (_, again) = open(dir.path(), LogCheck::Checksum).unwrap();
            assert!(!again.hard.voter);
        }
        let (_, whole) = open(data(&[good.clone(), good]).path(), LogCheck::Checksum).unwrap();
        assert!(!whole.damaged && whole.hard.voter && whole.entries.len() == 2);
    }

    #[test]
    fn a_log_that_cannot_be_read_up_to_the_snapshot_begins_after_it() {
        let good = serde_json::to_vec(&write(1)).unwrap();
        let dir = data(&[good.clone(), b"{}".to_vec(), good]);
        let snapshot = Snapshot {
            position: LogPosition(2),
            term: Term(1),
            members: Vec::new(),
            state: crate::replicas::single_leader::KeySpace::default(),
        };
        storage::save(dir.path(), SNAPSHOT, &snapshot).unwrap();
        let (disk, restored) = open(dir.path(), LogCheck::Checksum).unwrap();
        assert!(restored.damaged && restored.entries.is_empty());
        assert_eq!(restored.base, (Term(1), LogPosition(2)));
        assert_eq!(disk.log.last(), 2);
    }

    #[test]
    fn without_a_check_what_is_torn_off_is_taken_for_read() {
        let good = serde_json::to_vec(&write(1)).unwrap();
        for (check, torn_before, entries, trusted) in [
            (LogCheck::Checksum, false, 2, false),
            (LogCheck::Checksum, true, 2, true),
            (LogCheck::None, false, 3, true),
            (LogCheck::None, true, 3, true),
        ] {
            let dir = data(&[good.clone(), good.clone(), good.clone()]);
            let path = fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| path.extension().is_some_and(|extension| extension == "seg"))
                .unwrap();
            let length = fs::metadata(&path).unwrap().len();
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(length - 1).unwrap();
            // It was torn before it was noted as durable, or after.
            if torn_before {
                fs::remove_file(dir.path().join("synced")).unwrap();
            }
            let (_, restored) = open(dir.path(), check).unwrap();
            assert_eq!(restored.entries.len(), entries);
            assert_eq!(restored.hard.voter, trusted);
            let last = &restored.entries.last().unwrap().command;
            assert_eq!(*last == Command::Noop, check == LogCheck::None);
        }
    }

    #[test]
    fn a_folder_has_one_node() {
        let dir = data(&[]);
        let (first, _) = open(dir.path(), LogCheck::Checksum).unwrap();
        let Err(error) = open(dir.path(), LogCheck::Checksum) else {
            panic!("two nodes have one folder");
        };
        let line = error.to_string();
        assert!(
            line.contains("another node") && !line.contains('\n'),
            "{line}"
        );
        drop(first);
        open(dir.path(), LogCheck::Checksum).unwrap();
    }
}
