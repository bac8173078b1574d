//! A file or folder that is held by a descriptor, so that it stays the same one whatever its name becomes.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One file, folder or link, neither open for reading nor for writing.
#[derive(Debug)]
pub(super) struct Handle {
    file: File,
    /// Its number in the file system below.
    pub(super) number: u64,
}

impl Handle {
    /// Takes what is there now; a link itself, not what it points at.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_PATH | nix::libc::O_NOFOLLOW)
            .open(path)?;
        let number = file.metadata()?.ino();
        Ok(Self { file, number })
    }

    /// What the file system below says of it.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// A path to it, whatever its name is, and whatever is mounted over it.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// A path to what has this name in it.
    pub(super) fn child(&self, name: &OsStr) -> PathBuf {
        self.path().join(name)
    }

    /// Where a link points.
    pub(super) fn target(&self) -> io::Result<std::ffi::OsString> {
        Ok(nix::fcntl::readlinkat(&self.file, "")?)
    }
}
