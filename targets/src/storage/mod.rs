//! The disk: a log of checksummed records in segments, and small files that are replaced whole.
//!
//! Knows bytes, terms and positions, nothing of replicas or commands, and starts no threads. What it
//! promises: after SIGKILL at any byte, opening finds a prefix of what was appended, at least up to the
//! last completed [`LogFile::sync`]; where that is not so the disk has lost data, and
//! [`Recovery::lost_durable`] says it. The layout follows Bitcask and etcd's WAL (length, checksum, payload;
//! segments cut at snapshots); Pillai et al. 2014 ("All File Systems Are Not Created Equal") is why files
//! are replaced by temp file, fsync, rename, fsync of the directory.

mod lock;
mod log;
mod power;
mod record;
mod whole;

use std::path::PathBuf;
use std::time::Duration;

pub use lock::lock;
pub use log::{Cut, LogFile, Recovery};
pub use power::{Lost, lose_unsynced};
pub use record::{Decoded, HEADER_BYTES, Record, decode, encode};
pub use whole::{load, save};

/// When appended records are forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before anything is acknowledged, many appends at a time (group commit).
    Always,
    /// Before anything is acknowledged, each record by itself: what group commit is measured against.
    Each,
    /// This often; a power loss costs what came after.
    Interval(Duration),
    /// When the operating system likes.
    Never,
}

impl Fsync {
    /// Whether what is acknowledged is durable.
    pub fn comes_first(self) -> bool {
        matches!(self, Self::Always | Self::Each)
    }
}

/// What is done to find out, at the start, whether a log is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogCheck {
    /// Each record is held against its checksum, and the end against what is known to have been durable.
    Checksum,
    /// Nothing: the log is believed to reach as far as it is noted to have been durable, or as a record begins, whatever is there. What is
    /// missing is taken for entries without a content (D14); so `MySQL`'s replicas skip events where `relay-log.info` is ahead of a torn relay log.
    None,
}

/// The disk failed. After a failed fsync nothing is known about the file (Rebello et al. 2020), so a
/// server stops.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system said no.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Somebody else has taken the folder, see [`lock`].
    #[error("{dir} is in use by another node")]
    InUse {
        /// Which.
        dir: PathBuf,
    },
    /// A file that is replaced whole does not match its checksum.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        reason: String,
    },
}

/// Wraps an I/O error with what was tried on which file.
fn failed<'a>(
    action: &'static str,
    path: &'a std::path::Path,
) -> impl FnOnce(std::io::Error) -> StorageError + 'a {
    move |source| StorageError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
