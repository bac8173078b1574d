//! What a loss of power would undo: everything since the last sync, told as how to take it back.
//!
//! The model is that of a journalling file system with ordered metadata and delayed allocation (ext4):
//!
//! - A file's bytes and its length are durable when that file is synced (fsync, fdatasync, or a write to a file that was opened with `O_SYNC`).
//! - Names (made, removed, renamed, linked) are durable in the order in which they were changed: any sync, of a file or of a folder, makes all
//!   changes before it durable. So a new name may survive with a file that is empty, and a rename never survives without the one before it.
//! - Owner, mode and times are durable at once.
//!
//! That is kinder to names than POSIX, which wants the folder synced; so no node is blamed for what real file systems keep. Everything is written through
//! to the folder below at once; what is kept here is what was there before.

use super::handle::Handle;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Bytes of files.
    pub(crate) bytes: u64,
    /// In so many files.
    pub(crate) files: u64,
    /// Names that were made, removed or changed.
    pub(crate) names: u64,
}

/// A place among the names.
pub(super) type Place = (Arc<Handle>, OsString);

/// A change of names that is not durable.
#[derive(Debug)]
enum Change {
    Made(Place),
    /// What had the name lies in a grave.
    Removed(Place, PathBuf),
    Moved {
        from: Place,
        to: Place,
    },
}

/// What was durable of a file whose content has changed since.
#[derive(Debug)]
struct Content {
    file: File,
    length: u64,
    /// Pieces that have been written over or cut off, as they were; they do not overlap.
    pieces: BTreeMap<u64, Vec<u8>>,
}

/// Everything that is not durable.
#[derive(Debug)]
pub(super) struct Journal {
    graves: PathBuf,
    dug: u64,
    names: Vec<Change>,
    files: BTreeMap<u64, Content>,
}

impl Journal {
    /// Everything that is there is durable. What loses its name is laid into `graves`, a folder of the same file system.
    pub(super) fn new(graves: PathBuf) -> Self {
        Self {
            graves,
            dug: 0,
            names: Vec::new(),
            files: BTreeMap::new(),
        }
    }

    /// A name has just been made.
    pub(super) fn made(&mut self, place: Place) {
        self.names.push(Change::Made(place));
    }

    /// Removes a name; a folder must be empty.
    pub(super) fn remove(&mut self, place: Place) -> io::Result<()> {
        let path = place.0.child(&place.1);
        must_be_empty(&path)?;
        let grave = self.dig();
        fs::rename(&path, &grave)?;
        self.names.push(Change::Removed(place, grave));
        Ok(())
    }

    /// Renames, in one step; what has the new name loses it.
    pub(super) fn rename(&mut self, from: Place, to: Place) -> io::Result<()> {
        let (source, target) = (from.0.child(&from.1), to.0.child(&to.1));
        let replaced = match fs::symlink_metadata(&target) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let grave = match &replaced {
            // Two names of one file: both stay.
            Some(there) if there.ino() == fs::symlink_metadata(&source)?.ino() => return Ok(()),
            Some(there) if there.is_dir() => {
                must_be_empty(&target)?;
                let grave = self.dig();
                fs::rename(&target, &grave)?;
                Some(grave)
            }
            // A second name, so that the first one is never missing.
            Some(_) => {
                let grave = self.dig();
                fs::hard_link(&target, &grave)?;
                Some(grave)
            }
            None => None,
        };
        if let Err(error) = fs::rename(&source, &target) {
            match (&grave, replaced.is_some_and(|there| there.is_dir())) {
                (Some(grave), true) => fs::rename(grave, &target)?,
                (Some(grave), false) => fs::remove_file(grave)?,
                (None, _) => {}
            }
            return Err(error);
        }
        if let Some(grave) = grave {
            let place = (Arc::clone(&to.0), to.1.clone());
            self.names.push(Change::Removed(place, grave));
        }
        self.names.push(Change::Moved { from, to });
        Ok(())
    }

    fn dig(&mut self) -> PathBuf {
        self.dug += 1;
        self.graves.join(self.dug.to_string())
    }

    /// Keeps what a write is about to change.
    pub(super) fn before_write(
        &mut self,
        handle: &Handle,
        offset: u64,
        length: u64,
    ) -> io::Result<()> {
        let content = self.content(handle)?;
        content.keep(offset, offset.saturating_add(length))
    }

    /// Keeps what a change of length is about to cut off.
    pub(super) fn before_resize(&mut self, handle: &Handle, length: u64) -> io::Result<()> {
        self.content(handle)?.keep(length, u64::MAX)
    }

    fn content(&mut self, handle: &Handle) -> io::Result<&mut Content> {
        use std::collections::btree_map::Entry;
        match self.files.entry(handle.number) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(handle.path())?;
                let length = file.metadata()?.len();
                Ok(entry.insert(Content {
                    file,
                    length,
                    pieces: BTreeMap::new(),
                }))
            }
        }
    }

    /// A file is durable now, and every name.
    pub(super) fn synced(&mut self, number: u64) -> io::Result<()> {
        self.files.remove(&number);
        self.names_synced()
    }

    /// Every name is durable now.
    pub(super) fn names_synced(&mut self) -> io::Result<()> {
        let durable = std::mem::take(&mut self.names);
        durable.into_iter().try_for_each(|change| self.bury(change))
    }

    /// What lies in a grave for good is gone.
    fn bury(&mut self, change: Change) -> io::Result<()> {
        let Change::Removed(_, grave) = change else {
            return Ok(());
        };
        let buried = fs::symlink_metadata(&grave)?;
        if buried.is_dir() {
            return fs::remove_dir(&grave);
        }
        if buried.nlink() == 1 {
            self.files.remove(&buried.ino());
        }
        fs::remove_file(&grave)
    }

    /// Everything is durable as it is.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.files.clear();
        self.names_synced()
    }

    /// Forgets what is not durable, but for this share (0 to 1) that has reached the disk all the same: the first of the changed names, the first bytes of
    /// each change to a file. Reads back what it has restored.
    pub(super) fn lose(&mut self, kept: f64) -> io::Result<Lost> {
        let kept = kept.clamp(0.0, 1.0);
        let mut undone = std::mem::take(&mut self.names);
        let stay = (undone.len() as f64 * kept) as usize;
        let mut lost = Lost {
            names: (undone.len() - stay) as u64,
            ..Lost::default()
        };
        let undo = undone.split_off(stay);
        for change in undo.into_iter().rev() {
            undo_name(change)?;
        }
        for change in undone {
            self.bury(change)?;
        }
        for content in std::mem::take(&mut self.files).into_values() {
            let bytes = content.restore(kept)?;
            lost.bytes += bytes;
            lost.files += u64::from(bytes > 0);
        }
        Ok(lost)
    }
}

fn undo_name(change: Change) -> io::Result<()> {
    match change {
        Change::Made((folder, name)) => {
            let path = folder.child(&name);
            if fs::symlink_metadata(&path)?.is_dir() {
                fs::remove_dir(path)
            } else {
                fs::remove_file(path)
            }
        }
        Change::Removed((folder, name), grave) => fs::rename(grave, folder.child(&name)),
        Change::Moved { from, to } => fs::rename(to.0.child(&to.1), from.0.child(&from.1)),
    }
}

fn must_be_empty(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() && fs::read_dir(path)?.next().is_some() {
        return Err(Errno::ENOTEMPTY.into());
    }
    Ok(())
}

impl Content {
    /// Keeps the durable bytes of a span that are not kept yet.
    fn keep(&mut self, from: u64, to: u64) -> io::Result<()> {
        let to = to.min(self.length);
        let mut at = from;
        let mut gaps = Vec::new();
        // The piece that begins before the span may reach into it.
        let before = self.pieces.range(..from).next_back();
        for (start, piece) in before
            .into_iter()
            .chain(self.pieces.range(from..to.max(from)))
        {
            if *start > at {
                gaps.push((at, *start));
            }
            at = at.max(start + piece.len() as u64);
        }
        if at < to {
            gaps.push((at, to));
        }
        for (from, to) in gaps {
            let mut piece = vec![0; (to - from) as usize];
            self.file.read_exact_at(&mut piece, from)?;
            self.pieces.insert(from, piece);
        }
        Ok(())
    }

    /// Puts back what was durable; says how many bytes are gone or as they were.
    fn restore(self, kept: f64) -> io::Result<u64> {
        let now = self.file.metadata()?.len();
        let more = now.saturating_sub(self.length);
        let stay = (more as f64 * kept) as u64;
        self.file.set_len(self.length + stay)?;
        let mut bytes = more - stay;
        for (at, piece) in &self.pieces {
            // What was cut off has nothing new in its place.
            let written = now.saturating_sub(*at).min(piece.len() as u64);
            let stays = (written as f64 * kept) as u64;
            let back = &piece[stays as usize..];
            self.file.write_all_at(back, at + stays)?;
            let mut read = vec![0; back.len()];
            self.file.read_exact_at(&mut read, at + stays)?;
            if read != back {
                return Err(Error::other("what was restored reads differently"));
            }
            bytes += back.len() as u64;
        }
        Ok(bytes)
    }
}

/// A place, of its parts.
pub(super) fn place(folder: &Arc<Handle>, name: &OsStr) -> Place {
    (Arc::clone(folder), name.to_owned())
}
