//! The folder below: its files by their numbers, and every change of it noted before it is made.
//!
//! Knows nothing of FUSE or of faults, so that what it forgets can be held against a model.

use super::handle::Handle;
use super::journal::{Journal, Lost, place};
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// The number under which the kernel knows the folder itself.
pub(super) const ROOT: u64 = 1;
/// A file of ours, by which it is seen what the disk does: it is not part of what a node has written.
pub(crate) const PROBE: &str = ".schism-probe";

/// Who makes a file, and with which rights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Volume {
    root: Arc<Handle>,
    /// What the kernel knows, and how often it has been told of it.
    known: HashMap<u64, (Arc<Handle>, u64)>,
    journal: Journal,
    probe: Option<u64>,
}

impl Volume {
    /// Over a folder, whose removed files lie in `graves` until it is durable that they are gone.
    pub(super) fn open(folder: &Path, graves: &Path) -> io::Result<Self> {
        Ok(Self {
            root: Arc::new(Handle::take(folder)?),
            known: HashMap::new(),
            journal: Journal::new(graves.to_owned()),
            probe: None,
        })
    }

    /// The folder itself.
    pub(super) fn root(&self) -> &Arc<Handle> {
        &self.root
    }

    /// What the kernel knows under this number.
    pub(super) fn get(&self, number: u64) -> io::Result<Arc<Handle>> {
        if number == ROOT {
            return Ok(Arc::clone(&self.root));
        }
        let known = self.known.get(&number).ok_or(Errno::ESTALE)?;
        Ok(Arc::clone(&known.0))
    }

    /// Looks a name up, which the kernel knows from then on.
    pub(super) fn look_up(&mut self, folder: u64, name: &OsStr) -> io::Result<Arc<Handle>> {
        let found = Handle::take(&self.get(folder)?.child(name))?;
        let entry = self.known.entry(found.number);
        let known = entry.or_insert_with(|| (Arc::new(found), 0));
        known.1 += 1;
        Ok(Arc::clone(&known.0))
    }

    /// The kernel has forgotten so many of the times that it was told.
    pub(super) fn forget(&mut self, number: u64, times: u64) {
        if let Some(known) = self.known.get_mut(&number) {
            known.1 = known.1.saturating_sub(times);
            if known.1 == 0 {
                self.known.remove(&number);
            }
        }
    }

    /// Whether it is the file of ours.
    pub(super) fn is_probe(&self, number: u64) -> bool {
        self.probe == Some(number)
    }

    /// Makes a file, a pipe or a socket.
    pub(super) fn make(
        &mut self,
        folder: u64,
        name: &OsStr,
        kind: SFlag,
        maker: Maker,
    ) -> io::Result<Arc<Handle>> {
        let path = self.get(folder)?.child(name);
        nix::sys::stat::mknod(&path, kind, Mode::S_IRUSR | Mode::S_IWUSR, 0)?;
        self.made(folder, name, &path, Some(maker))
    }

    /// Makes a folder.
    pub(super) fn make_folder(
        &mut self,
        folder: u64,
        name: &OsStr,
        maker: Maker,
    ) -> io::Result<Arc<Handle>> {
        let path = self.get(folder)?.child(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        self.made(folder, name, &path, Some(maker))
    }

    /// Makes a symbolic link.
    pub(super) fn make_link(
        &mut self,
        folder: u64,
        name: &OsStr,
        target: &Path,
    ) -> io::Result<Arc<Handle>> {
        let path = self.get(folder)?.child(name);
        std::os::unix::fs::symlink(target, &path)?;
        self.made(folder, name, &path, None)
    }

    /// Gives a file one more name.
    pub(super) fn link(
        &mut self,
        number: u64,
        folder: u64,
        name: &OsStr,
    ) -> io::Result<Arc<Handle>> {
        let path = self.get(folder)?.child(name);
        let from = self.get(number)?.path();
        // hard_link would link the descriptor's own entry in /proc.
        nix::unistd::linkat(
            nix::fcntl::AT_FDCWD,
            &from,
            nix::fcntl::AT_FDCWD,
            &path,
            nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW,
        )?;
        self.made(folder, name, &path, None)
    }

    fn made(
        &mut self,
        folder: u64,
        name: &OsStr,
        path: &Path,
        maker: Option<Maker>,
    ) -> io::Result<Arc<Handle>> {
        if let Some(maker) = maker {
            // Not as our own umask would have it.
            fs::set_permissions(path, Permissions::from_mode(maker.mode & 0o7777))?;
            if (maker.uid, maker.gid)
                != (
                    nix::unistd::geteuid().as_raw(),
                    nix::unistd::getegid().as_raw(),
                )
            {
                // In a user namespace there is nobody but us.
                let _ = std::os::unix::fs::lchown(path, Some(maker.uid), Some(maker.gid));
            }
        }
        let made = self.look_up(folder, name)?;
        if is_probe(folder, name) {
            self.probe = Some(made.number);
        } else {
            let folder = self.get(folder)?;
            self.journal.made(place(&folder, name));
        }
        Ok(made)
    }

    /// Removes a name.
    pub(super) fn remove(&mut self, folder: u64, name: &OsStr) -> io::Result<()> {
        let parent = self.get(folder)?;
        if is_probe(folder, name) {
            return fs::remove_file(parent.child(name));
        }
        self.journal.remove(place(&parent, name))
    }

    /// Renames; `fresh`: only if nothing has the new name.
    pub(super) fn rename(
        &mut self,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        fresh: bool,
    ) -> io::Result<()> {
        let from = place(&self.get(from.0)?, from.1);
        let to = place(&self.get(to.0)?, to.1);
        if fresh && fs::symlink_metadata(to.0.child(&to.1)).is_ok() {
            return Err(Errno::EEXIST.into());
        }
        self.journal.rename(from, to)
    }

    /// Opens a file.
    pub(super) fn open_file(&self, number: u64, writes: bool) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(writes)
            .open(self.get(number)?.path())
    }

    /// Writes, and notes what was there.
    pub(super) fn write(
        &mut self,
        number: u64,
        file: &File,
        offset: u64,
        data: &[u8],
    ) -> io::Result<()> {
        if !self.is_probe(number) {
            let handle = self.get(number)?;
            self.journal
                .before_write(&handle, offset, data.len() as u64)?;
        }
        file.write_all_at(data, offset)
    }

    /// Makes a file shorter or longer.
    pub(super) fn resize(&mut self, number: u64, length: u64) -> io::Result<()> {
        let handle = self.get(number)?;
        if !self.is_probe(number) {
            self.journal.before_resize(&handle, length)?;
        }
        let file = OpenOptions::new().write(true).open(handle.path())?;
        file.set_len(length)
    }

    /// A file, or with none a folder, is durable.
    pub(super) fn synced(&mut self, file: Option<u64>) -> io::Result<()> {
        match file {
            Some(number) if self.is_probe(number) => Ok(()),
            Some(number) => self.journal.synced(number),
            None => self.journal.names_synced(),
        }
    }

    /// Forgets what is not durable, but for this share.
    pub(super) fn lose(&mut self, kept: f64) -> io::Result<Lost> {
        self.journal.lose(kept)
    }

    /// Everything is durable as it is.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.journal.settle()
    }
}

fn is_probe(folder: u64, name: &OsStr) -> bool {
    folder == ROOT && name == PROBE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// A name in the folder or in its one folder.
    const NAMES: [&str; 5] = ["a", "b", "c", "d/a", "d/b"];
    const MAKER: Maker = Maker {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };

    #[derive(Debug, Clone)]
    enum Step {
        Make(usize),
        Write(usize, u64, Vec<u8>),
        Resize(usize, u64),
        Rename(usize, usize),
        Link(usize, usize),
        Remove(usize),
        Folder(bool),
        Sync(usize),
        SyncFolder,
        Lose,
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = 0..NAMES.len();
        prop_oneof![
            3 => name.clone().prop_map(Step::Make),
            5 => (name.clone(), 0..40_u64, prop::collection::vec(1..255_u8, 1..30))
                .prop_map(|(n, at, data)| Step::Write(n, at, data)),
            2 => (name.clone(), 0..40_u64).prop_map(|(n, length)| Step::Resize(n, length)),
            3 => (name.clone(), name.clone()).prop_map(|(a, b)| Step::Rename(a, b)),
            1 => (name.clone(), name.clone()).prop_map(|(a, b)| Step::Link(a, b)),
            2 => name.clone().prop_map(Step::Remove),
            2 => any::<bool>().prop_map(Step::Folder),
            2 => name.prop_map(Step::Sync),
            1 => Just(Step::SyncFolder),
            1 => Just(Step::Lose),
        ]
    }

    /// The documented model, told simply: files by a number of ours, names of them, and both as they are durable.
    #[derive(Debug, Default)]
    struct Model {
        now: BTreeMap<&'static str, usize>,
        durable: BTreeMap<&'static str, usize>,
        folder: (bool, bool),
        files: Vec<(Vec<u8>, Vec<u8>)>,
    }

    impl Model {
        fn there(&self, name: usize) -> bool {
            self.folder.0 || !NAMES[name].starts_with("d/")
        }

        fn names_synced(&mut self) {
            self.durable = self.now.clone();
            self.folder.1 = self.folder.0;
        }

        /// Whether the step succeeds.
        fn take(&mut self, step: &Step) -> bool {
            match step {
                Step::Make(n) => {
                    let free = self.there(*n) && !self.now.contains_key(NAMES[*n]);
                    if free {
                        self.now.insert(NAMES[*n], self.files.len());
                        self.files.push(Default::default());
                    }
                    free
                }
                Step::Write(n, at, data) => self.change(*n, |bytes| {
                    let end = *at as usize + data.len();
                    bytes.resize(bytes.len().max(end), 0);
                    bytes[*at as usize..end].copy_from_slice(data);
                }),
                Step::Resize(n, length) => self.change(*n, |b| b.resize(*length as usize, 0)),
                Step::Rename(a, b) => {
                    let possible = self.there(*b) && self.now.contains_key(NAMES[*a]);
                    if possible && self.now.get(NAMES[*a]) != self.now.get(NAMES[*b]) {
                        let file = self.now.remove(NAMES[*a]).unwrap();
                        self.now.insert(NAMES[*b], file);
                    }
                    possible
                }
                Step::Link(a, b) => {
                    let file = self.now.get(NAMES[*a]).copied();
                    let possible =
                        file.is_some() && self.there(*b) && !self.now.contains_key(NAMES[*b]);
                    if possible {
                        self.now.insert(NAMES[*b], file.unwrap());
                    }
                    possible
                }
                Step::Remove(n) => self.now.remove(NAMES[*n]).is_some(),
                Step::Folder(made) => {
                    let empty = !self.now.keys().any(|name| name.starts_with("d/"));
                    let possible = self.folder.0 != *made && (*made || empty);
                    if possible {
                        self.folder.0 = *made;
                    }
                    possible
                }
                Step::Sync(n) => {
                    let Some(file) = self.now.get(NAMES[*n]) else {
                        return false;
                    };
                    let (now, durable) = &mut self.files[*file];
                    durable.clone_from(now);
                    self.names_synced();
                    true
                }
                Step::SyncFolder => {
                    self.names_synced();
                    true
                }
                Step::Lose => {
                    self.now = self.durable.clone();
                    self.folder.0 = self.folder.1;
                    for (now, durable) in &mut self.files {
                        now.clone_from(durable);
                    }
                    true
                }
            }
        }

        fn change(&mut self, n: usize, how: impl FnOnce(&mut Vec<u8>)) -> bool {
            let file = self.now.get(NAMES[n]).copied();
            if let Some(file) = file {
                how(&mut self.files[file].0);
            }
            file.is_some()
        }

        fn content(&self) -> BTreeMap<String, Vec<u8>> {
            let files = self.now.iter();
            files
                .map(|(name, file)| ((*name).to_owned(), self.files[*file].0.clone()))
                .collect()
        }
    }

    /// The folder of a name, and the name in it.
    fn parts(volume: &mut Volume, name: usize) -> io::Result<(u64, &'static OsStr)> {
        Ok(match NAMES[name].strip_prefix("d/") {
            None => (ROOT, OsStr::new(NAMES[name])),
            Some(rest) => (
                volume.look_up(ROOT, OsStr::new("d"))?.number,
                OsStr::new(rest),
            ),
        })
    }

    fn number(volume: &mut Volume, name: usize) -> io::Result<u64> {
        let (folder, name) = parts(volume, name)?;
        Ok(volume.look_up(folder, name)?.number)
    }

    fn carry_out(volume: &mut Volume, step: &Step) -> io::Result<()> {
        match step {
            Step::Make(n) => {
                let (folder, name) = parts(volume, *n)?;
                volume.make(folder, name, SFlag::S_IFREG, MAKER).map(drop)
            }
            Step::Write(n, at, data) => {
                let number = number(volume, *n)?;
                let file = volume.open_file(number, true)?;
                volume.write(number, &file, *at, data)
            }
            Step::Resize(n, length) => {
                let number = number(volume, *n)?;
                volume.resize(number, *length)
            }
            Step::Rename(a, b) => {
                let (from, to) = (parts(volume, *a)?, parts(volume, *b)?);
                volume.rename(from, to, false)
            }
            Step::Link(a, b) => {
                let (number, to) = (number(volume, *a)?, parts(volume, *b)?);
                volume.link(number, to.0, to.1).map(drop)
            }
            Step::Remove(n) => {
                let (folder, name) = parts(volume, *n)?;
                volume.remove(folder, name)
            }
            Step::Folder(true) => {
                let made = volume.make_folder(ROOT, OsStr::new("d"), MAKER);
                made.map(drop)
            }
            Step::Folder(false) => volume.remove(ROOT, OsStr::new("d")),
            Step::Sync(n) => {
                let number = number(volume, *n)?;
                volume.synced(Some(number))
            }
            Step::SyncFolder => volume.synced(None),
            Step::Lose => volume.lose(0.0).map(drop),
        }
    }

    fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let all = NAMES.iter().filter_map(|name| {
            let bytes = fs::read(folder.join(name)).ok()?;
            Some(((*name).to_owned(), bytes))
        });
        all.collect()
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
            let (data, graves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let mut volume = Volume::open(data.path(), graves.path()).unwrap();
            let mut model = Model::default();
            for step in steps.iter().chain([&Step::Lose]) {
                let done = carry_out(&mut volume, step);
                prop_assert_eq!(done.is_ok(), model.take(step), "{:?}: {:?}", step, done);
                prop_assert_eq!(content(data.path()), model.content(), "after {:?}", step);
                prop_assert_eq!(data.path().join("d").is_dir(), model.folder.0);
            }
            // No name that nobody made, and no grave, is left.
            let left: BTreeSet<_> = fs::read_dir(data.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            prop_assert!(left.iter().all(|name| name == "d" || NAMES.iter().any(|n| *n == name)), "{:?}", left);
            prop_assert_eq!(fs::read_dir(graves.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_share_of_what_was_not_synced_may_have_reached_the_disk() {
        let (data, graves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut volume = Volume::open(data.path(), graves.path()).unwrap();
        let name = OsStr::new("log");
        let log = volume.make(ROOT, name, SFlag::S_IFREG, MAKER).unwrap();
        let file = volume.open_file(log.number, true).unwrap();
        volume.write(log.number, &file, 0, b"durable").unwrap();
        volume.synced(Some(log.number)).unwrap();
        volume.write(log.number, &file, 7, b"12345678").unwrap();
        let lost = volume.lose(0.5).unwrap();
        assert_eq!((lost.bytes, lost.files, lost.names), (4, 1, 0));
        assert_eq!(fs::read(data.path().join("log")).unwrap(), b"durable1234");
        assert_eq!(volume.lose(0.5).unwrap(), Lost::default());
    }

    #[test]
    fn our_own_file_changes_nothing_of_what_is_durable() {
        let (data, graves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut volume = Volume::open(data.path(), graves.path()).unwrap();
        let made = |volume: &mut Volume, name: &str| {
            let made = volume.make(ROOT, OsStr::new(name), SFlag::S_IFREG, MAKER);
            made.unwrap().number
        };
        made(&mut volume, "log");
        let probe = made(&mut volume, PROBE);
        volume.synced(Some(probe)).unwrap();
        volume.remove(ROOT, OsStr::new(PROBE)).unwrap();
        assert_eq!(volume.lose(0.0).unwrap().names, 1);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    }
}
