//! A node's disk that can fail: a pass-through FUSE file system over the node's data folder, served by threads of the controller.
//!
//! It is mounted in the arena's own mount namespace, over the folder itself, so nodes need no other path and nothing of it is seen on the host; what the nodes write lies
//! in the folder below all the same. [`policy`] says which calls fail, [`journal`] what a loss of power would undo, and by which model.
//!
//! The controller itself never goes through the mount: a process that waits for its own answer cannot be killed. Whatever must be asked through it is asked by a process of its own
//! ([`probe`]), and whatever must be changed is changed in the folder below ([`Disk::below`]). When the controller dies, the kernel ends the
//! connection, and every call that waits on it fails.

mod fuse;
mod handle;
mod journal;
pub(crate) mod policy;
pub(crate) mod probe;
mod volume;

pub(crate) use journal::Lost;
pub(crate) use policy::{Call, Policy, Rule};
pub(crate) use volume::PROBE;

use anyhow::{Context, Result};
use fuse::Served;
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use volume::Volume;

/// Where the kernel hands out connections.
const DEVICE: &str = "/dev/fuse";
/// What makes it usable.
pub(crate) const MEND: &str =
    "modprobe fuse && chmod 0666 /dev/fuse (as root), or run schism as root";
/// Calls that are served at one time: one that waits for the file system below is not to hold up the others.
const THREADS: usize = 3;

/// The mounted disk of one node. It is there for as long as this is.
#[derive(Debug)]
pub(crate) struct Disk {
    policy: Arc<Policy>,
    volume: Arc<Mutex<Volume>>,
    below: PathBuf,
    graves: PathBuf,
    _session: BackgroundSession,
}

impl Disk {
    /// Mounts it over `folder`; what loses its name there lies in `graves`, beside it, until that is durable.
    pub(crate) fn mount(folder: &Path, graves: &Path) -> Result<Self> {
        fs::create_dir_all(graves).with_context(|| format!("cannot make {}", graves.display()))?;
        let volume = Volume::open(folder, graves)
            .with_context(|| format!("cannot open {}", folder.display()))?;
        let below = volume.root().path();
        let (volume, policy) = (Arc::new(Mutex::new(volume)), Arc::default());
        let served = Served::new(Arc::clone(&volume), Arc::clone(&policy));
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("schism".to_owned()),
            MountOption::DefaultPermissions,
            MountOption::Exec,
        ];
        config.acl = SessionACL::All;
        config.n_threads = Some(THREADS);
        let session = Session::new(served, folder, &config)
            .and_then(Session::spawn)
            .with_context(|| {
                format!("cannot mount a FUSE file system over {}", folder.display())
            })?;
        Ok(Self {
            policy,
            volume,
            below,
            graves: graves.to_owned(),
            _session: session,
        })
    }

    /// How it fails.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A path to the folder that bypasses the mount. What is changed there while the node is down must be settled.
    pub(crate) fn below(&self) -> &Path {
        &self.below
    }

    /// Forgets what the node, which is down, had not synced, but for this share.
    pub(crate) fn lose_unsynced(&self, kept: f64) -> Result<Lost> {
        let lost = self.volume().lose(kept);
        lost.context("cannot put back what was synced")
    }

    /// Everything is durable as it is now.
    pub(crate) fn settle(&self) -> Result<()> {
        let settled = self.volume().settle();
        settled.context("cannot remove what has lost its name")
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Disk {
    /// The nodes are gone, and what they wrote stays as it is.
    fn drop(&mut self) {
        let emptied = self.settle();
        if let Err(error) = emptied.and_then(|()| Ok(fs::remove_dir(&self.graves)?)) {
            tracing::warn!("{}: {error:#}", self.graves.display());
        }
    }
}

/// Whether it can be mounted here; an error says what mends it.
pub(crate) fn usable() -> Result<()> {
    device().with_context(|| format!("it needs FUSE: {MEND}"))
}

/// Whether the device can be opened.
pub(crate) fn device() -> Result<()> {
    let opened = OpenOptions::new().read(true).write(true).open(DEVICE);
    opened.map(drop).context(DEVICE)
}

impl std::fmt::Display for Lost {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::default() {
            return write!(out, "nothing was unsynced");
        }
        let Self {
            bytes,
            files,
            names,
        } = self;
        write!(
            out,
            "{bytes} bytes (in {files} of its files) and {names} changes of names are gone"
        )
    }
}
