//! What a loss of power would leave: everything after the last sync is gone, or all but a part of it.
//!
//! SIGKILL loses nothing that was written, for the kernel has it. So whoever wants to see a loss of power kills the node, and then calls this. Only the
//! active segment can hold what is not synced: a new one begins with a sync of the one before.

use std::fs::OpenOptions;
use std::path::Path;

use super::{LogFile, StorageError, failed};

/// What was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Records that are gone, or torn.
    pub records: u64,
    /// Bytes that are gone.
    pub bytes: u64,
}

/// Forgets what a node's log has not synced, but for this share of its bytes (0 to 1): a disk may have written some of it, and a record
/// may be torn. The node must not run.
pub fn lose_unsynced(dir: &Path, keep: f64) -> Result<Lost, StorageError> {
    let (log, _) = LogFile::open(dir)?;
    let (path, synced_end, ends) = log.unsynced()?;
    let Some(end) = ends.last() else {
        return Ok(Lost {
            records: 0,
            bytes: 0,
        });
    };
    let kept = ((end - synced_end) as f64 * keep.clamp(0.0, 1.0)) as u64;
    let cut = synced_end + kept;
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(failed("open", path))?;
    file.set_len(cut).map_err(failed("truncate", path))?;
    Ok(Lost {
        records: ends.iter().filter(|record_end| **record_end > cut).count() as u64,
        bytes: end - cut,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Record;
    use super::*;

    fn log(dir: &Path, synced: u64, all: u64) {
        let (mut log, _) = LogFile::open(dir).unwrap();
        for position in 1..=all {
            let record = Record {
                term: 1,
                position,
                payload: vec![7; 20],
            };
            log.append(&[record]).unwrap();
            if position == synced {
                log.sync().unwrap();
            }
        }
    }

    #[test]
    fn what_was_synced_stays_and_nothing_else() {
        for (synced, all) in [(0, 5), (3, 5), (5, 5)] {
            let dir = tempfile::tempdir().unwrap();
            log(dir.path(), synced, all);
            let lost = lose_unsynced(dir.path(), 0.0).unwrap();
            assert_eq!(lost.records, all - synced);
            let (left, recovery) = LogFile::open(dir.path()).unwrap();
            assert_eq!((left.last(), recovery.lost_durable), (synced, false));
        }
    }

    #[test]
    fn a_part_may_have_reached_the_disk_and_be_torn() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), 2, 6);
        let lost = lose_unsynced(dir.path(), 0.6).unwrap();
        // 2.4 records of four: two whole ones, and one that is torn.
        assert_eq!(lost.records, 2);
        let (left, recovery) = LogFile::open(dir.path()).unwrap();
        assert_eq!(left.last(), 4);
        assert!(recovery.cut.is_some() && !recovery.lost_durable);
    }
}
