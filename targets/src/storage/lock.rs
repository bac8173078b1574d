//! One process to a folder: an advisory lock on a file in it.
//!
//! The operating system drops the lock with its holder, however that ends, so nothing is left to clean up;
//! the file itself stays and means nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;

use super::{StorageError, failed};

const LOCK: &str = "lock";

/// Takes `dir`, creating it where it is missing, until the answer is dropped.
pub fn lock(dir: &Path) -> Result<File, StorageError> {
    fs::create_dir_all(dir).map_err(failed("create", dir))?;
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::InUse {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}
