//! Small files that are replaced whole: hard state, snapshots.
//!
//! Each is a line with the CRC-32 of the rest, then JSON. Replaced by writing a temp file, fsync, rename,
//! fsync of the directory: after a crash either the old or the new content is there, never half of one.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::checksum;
use super::{StorageError, failed};

/// Replaces `dir/name` durably.
pub fn save<T: Serialize>(dir: &Path, name: &str, value: &T) -> Result<(), StorageError> {
    let path = dir.join(name);
    let damaged = |error: serde_json::Error| StorageError::Damaged {
        path: path.clone(),
        reason: error.to_string(),
    };
    let json = serde_json::to_vec(value).map_err(damaged)?;
    let temp = dir.join(format!("{name}.tmp"));
    let mut file = File::create(&temp).map_err(failed("create", &temp))?;
    let head = format!("{:08x}\n", checksum(&[&json]));
    file.write_all(head.as_bytes())
        .map_err(failed("write", &temp))?;
    file.write_all(&json).map_err(failed("write", &temp))?;
    file.sync_all().map_err(failed("fsync", &temp))?;
    fs::rename(&temp, &path).map_err(failed("rename", &temp))?;
    sync_dir(dir)
}

/// Reads `dir/name`: `None` where there is none, an error where it does not match its checksum.
pub fn load<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>, StorageError> {
    let path = dir.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let damaged = |reason: &str| StorageError::Damaged {
        path: path.clone(),
        reason: reason.into(),
    };
    let (head, json) = bytes
        .split_at_checked(9)
        .ok_or_else(|| damaged("it is too short"))?;
    if head != format!("{:08x}\n", checksum(&[json])).as_bytes() {
        return Err(damaged("its checksum does not match"));
    }
    let value = serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))?;
    Ok(Some(value))
}

/// Makes created, renamed and removed names durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    let handle = File::open(dir).map_err(failed("open", dir))?;
    handle.sync_all().map_err(failed("fsync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_and_every_flip_is_found() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "f", &vec![1, 2, 3]).unwrap();
        assert_eq!(
            load::<Vec<i32>>(dir.path(), "f").unwrap(),
            Some(vec![1, 2, 3])
        );
        assert_eq!(load::<Vec<i32>>(dir.path(), "g").unwrap(), None);
        let whole = fs::read(dir.path().join("f")).unwrap();
        for at in 0..whole.len() {
            fs::write(dir.path().join("f"), &whole[..at]).unwrap();
            assert!(load::<Vec<i32>>(dir.path(), "f").is_err(), "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(dir.path().join("f"), &flipped).unwrap();
            assert!(load::<Vec<i32>>(dir.path(), "f").is_err(), "flip at {at}");
        }
    }
}
