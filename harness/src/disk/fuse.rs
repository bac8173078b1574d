//! The folder below, as FUSE asks for it: each call is refused, or carried out and perhaps answered late.
//!
//! The kernel keeps no writes back (no write-back cache), so a call of the node is a call here; what it has read it may keep, as from a real disk, until the file is opened
//! again. Locks stay with the kernel. Not there: extended attributes, holes by `fallocate`, and `renameat2` with an exchange; callers fall back, as on other file systems
//! without them. `sync` and `syncfs` do not reach a FUSE file system.

use super::handle::Handle;
use super::policy::{Call, Policy};
use super::volume::{Maker, PROBE, ROOT, Volume};
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use nix::sys::stat::{SFlag, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kernel asks again each time: what lies below may be changed while the node is down.
const TTL: Duration = Duration::ZERO;
const ONE: Generation = Generation(0);

/// What is open.
#[derive(Debug, Clone)]
enum Open {
    File {
        file: Arc<File>,
        /// Whether each write is to be durable at once.
        sync: bool,
    },
    Folder(Listed),
}

/// What a folder held when it was opened.
type Listed = Arc<Vec<(u64, FileType, OsString)>>;

/// The file system.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) volume: Arc<Mutex<Volume>>,
    pub(super) policy: Arc<Policy>,
    open: Mutex<HashMap<u64, Open>>,
    opened: AtomicU64,
}

impl Served {
    pub(super) fn new(volume: Arc<Mutex<Volume>>, policy: Arc<Policy>) -> Self {
        Self {
            volume,
            policy,
            open: Mutex::default(),
            opened: AtomicU64::new(1),
        }
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_open(&self, open: Open) -> FileHandle {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(number, open);
        FileHandle(number)
    }

    fn close(&self, handle: FileHandle) {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&handle.0);
    }

    fn opened(&self, handle: FileHandle) -> io::Result<Open> {
        let all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = all.get(&handle.0).cloned();
        open.ok_or_else(|| nix::errno::Errno::EBADF.into())
    }

    fn file(&self, handle: FileHandle) -> io::Result<(Arc<File>, bool)> {
        match self.opened(handle)? {
            Open::File { file, sync } => Ok((file, sync)),
            Open::Folder(_) => Err(nix::errno::Errno::EISDIR.into()),
        }
    }

    fn is_probe(&self, number: INodeNo) -> bool {
        self.volume().is_probe(number.0)
    }

    /// Carries a call out, unless the disk refuses it, and answers when the disk would.
    fn serve<T: Send + 'static>(
        &self,
        call: Call,
        grows: bool,
        own: bool,
        carry_out: impl FnOnce() -> io::Result<T>,
        answer: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let result = match self.policy.refuse(call, grows, own) {
            Some(refusal) => Err(Errno::from_i32(refusal as i32)),
            None => carry_out().map_err(Errno::from),
        };
        let delay = self.policy.delay(call);
        if delay.is_zero() {
            return answer(result);
        }
        // In a thread of its own: other calls are not to wait for this one.
        let policy = Arc::clone(&self.policy);
        let late = move || {
            policy.wait(delay, own);
            answer(result);
        };
        let started = std::thread::Builder::new()
            .name("late".to_owned())
            .spawn(late);
        // The caller gets an error then: a reply that is dropped says EIO.
        if let Err(error) = started {
            tracing::error!("a call on a slow disk cannot be answered: {error}");
        }
    }

    /// A name is made.
    fn make(
        &self,
        (folder, name): (INodeNo, &OsStr),
        make: impl FnOnce(&mut Volume) -> io::Result<Arc<Handle>>,
        reply: ReplyEntry,
    ) {
        let own = is_probe(folder, name);
        let carry_out = || make(&mut self.volume())?.metadata();
        self.serve(Call::Write, true, own, carry_out, |made| match made {
            Ok(metadata) => reply.entry(&TTL, &attributes(&metadata, None), ONE),
            Err(error) => reply.error(error),
        });
    }

    /// A name is removed; our own always is.
    fn remove(&self, folder: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = || self.volume().remove(folder.0, name);
        if is_probe(folder, name) {
            return done(reply)(remove().map_err(Errno::from));
        }
        self.serve(Call::Write, false, false, remove, done(reply));
    }

    fn attributes(&self, number: INodeNo) -> io::Result<FileAttr> {
        let metadata = self.volume().get(number.0)?.metadata()?;
        Ok(attributes(&metadata, Some(number)))
    }

    /// A call that makes something durable: in the model first, for the file system below takes its time.
    fn sync(&self, file: Option<u64>, handle: FileHandle) -> io::Result<()> {
        self.volume().synced(file)?;
        match self.opened(handle)? {
            Open::File { file, .. } => file.sync_data(),
            Open::Folder(_) => Ok(()),
        }
    }

    fn write_data(
        &self,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
    ) -> io::Result<u32> {
        let (file, sync) = self.file(handle)?;
        self.volume().write(number.0, &file, offset, data)?;
        if sync {
            self.sync(Some(number.0), handle)?;
        }
        u32::try_from(data.len()).map_err(io::Error::other)
    }

    fn list(&self, number: INodeNo) -> io::Result<Vec<(u64, FileType, OsString)>> {
        let folder = self.volume().get(number.0)?;
        let own = |name: &str| (number.0, FileType::Directory, OsString::from(name));
        let mut all = vec![own("."), own("..")];
        for entry in fs::read_dir(folder.path())? {
            let entry = entry?;
            let kind = FileType::from_std(entry.file_type()?).unwrap_or(FileType::RegularFile);
            all.push((entry.ino(), kind, entry.file_name()));
        }
        Ok(all)
    }

    fn length(&self, number: INodeNo) -> u64 {
        let handle = self.volume().get(number.0);
        let metadata = handle.and_then(|handle| handle.metadata());
        metadata.map_or(0, |metadata| metadata.len())
    }
}

/// The changes of attributes that need no room and are durable at once.
#[derive(Debug)]
struct Attributes {
    mode: Option<u32>,
    owner: (Option<u32>, Option<u32>),
    times: (Option<TimeOrNow>, Option<TimeOrNow>),
}

impl Attributes {
    fn set(self, handle: &Handle) -> io::Result<()> {
        // Of a link itself there is nothing worth to change.
        if handle.metadata()?.is_symlink() {
            return Ok(());
        }
        let path = handle.path();
        if let Some(mode) = self.mode {
            fs::set_permissions(&path, Permissions::from_mode(mode & 0o7777))?;
        }
        if self.owner != (None, None) {
            std::os::unix::fs::chown(&path, self.owner.0, self.owner.1)?;
        }
        if self.times.0.is_some() || self.times.1.is_some() {
            let (accessed, modified) = (time_spec(self.times.0), time_spec(self.times.1));
            let follow = UtimensatFlags::FollowSymlink;
            utimensat(nix::fcntl::AT_FDCWD, &path, &accessed, &modified, follow)?;
        }
        Ok(())
    }
}

fn time_spec(time: Option<TimeOrNow>) -> TimeSpec {
    match time {
        None => TimeSpec::UTIME_OMIT,
        Some(TimeOrNow::Now) => TimeSpec::UTIME_NOW,
        Some(TimeOrNow::SpecificTime(time)) => {
            TimeSpec::from_duration(time.duration_since(UNIX_EPOCH).unwrap_or_default())
        }
    }
}

fn is_probe(folder: INodeNo, name: &OsStr) -> bool {
    folder.0 == ROOT && name == PROBE
}

fn done(reply: ReplyEmpty) -> impl FnOnce(Result<(), Errno>) + Send + 'static {
    |result| match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

/// As the kernel wants them; `number`: under which it knows it, where that is not the one below.
fn attributes(metadata: &Metadata, number: Option<INodeNo>) -> FileAttr {
    let time = |seconds: i64, nanos: i64| {
        let since = Duration::new(seconds.max(0) as u64, nanos as u32);
        UNIX_EPOCH + since
    };
    let kind = FileType::from_std(metadata.file_type()).unwrap_or(FileType::RegularFile);
    FileAttr {
        ino: number.unwrap_or(INodeNo(metadata.ino())),
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind,
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: metadata.nlink() as u32,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: metadata.rdev() as u32,
        blksize: metadata.blksize() as u32,
        flags: 0,
    }
}

fn maker(request: &Request, mode: u32) -> Maker {
    Maker {
        mode,
        uid: request.uid(),
        gid: request.gid(),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.volume().look_up(parent.0, name);
        match found.and_then(|handle| handle.metadata()) {
            Ok(metadata) => reply.entry(&TTL, &attributes(&metadata, None), ONE),
            Err(error) => reply.error(error.into()),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.volume().forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(number) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let others = Attributes {
            mode,
            owner: (uid, gid),
            times: (accessed, modified),
        };
        let change = || {
            if let Some(size) = size {
                self.volume().resize(number.0, size)?;
            }
            let handle = self.volume().get(number.0)?;
            others.set(&handle)?;
            self.attributes(number)
        };
        let answer = |changed: Result<FileAttr, Errno>| match changed {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        };
        let Some(size) = size else {
            return answer(change().map_err(Errno::from));
        };
        let grows = size > self.length(number);
        let own = self.is_probe(number);
        self.serve(Call::Write, grows, own, change, answer);
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let read = || self.volume().get(number.0)?.target();
        self.serve(Call::Read, false, false, read, |target| match target {
            Ok(target) => reply.data(target.as_encoded_bytes()),
            Err(error) => reply.error(error),
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let maker = maker(request, mode);
        let kind = SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits());
        if ![SFlag::S_IFREG, SFlag::S_IFIFO, SFlag::S_IFSOCK].contains(&kind) {
            return reply.error(Errno::EPERM);
        }
        let make = |volume: &mut Volume| volume.make(parent.0, name, kind, maker);
        self.make((parent, name), make, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let maker = maker(request, mode);
        let make = |volume: &mut Volume| volume.make_folder(parent.0, name, maker);
        self.make((parent, name), make, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent, name, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent, name, reply);
    }

    fn symlink(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let make = |volume: &mut Volume| volume.make_link(parent.0, name, target);
        self.make((parent, name), make, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let fresh = flags == RenameFlags::RENAME_NOREPLACE;
        if !fresh && !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = ((parent.0, name), (new_parent.0, new_name));
        let rename = || self.volume().rename(from, to, fresh);
        self.serve(Call::Write, false, false, rename, done(reply));
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let make = |volume: &mut Volume| volume.link(number.0, parent.0, name);
        self.make((parent, name), make, reply);
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.open_file(number.0, flags) {
            Ok(handle) => reply.opened(handle, FopenFlags::empty()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let maker = maker(request, mode);
        let make = || {
            let regular = SFlag::S_IFREG;
            let made = self.volume().make(parent.0, name, regular, maker)?;
            let handle = self.open_file(made.number, OpenFlags(flags))?;
            Ok((made.metadata()?, handle))
        };
        let own = is_probe(parent, name);
        let answer = |made: Result<(Metadata, FileHandle), Errno>| match made {
            Ok((metadata, handle)) => {
                let attributes = attributes(&metadata, None);
                reply.created(&TTL, &attributes, ONE, handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        };
        self.serve(Call::Write, true, own, make, answer);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || read_data(&self.file(handle)?.0, offset, size);
        let own = self.is_probe(number);
        self.serve(Call::Read, false, own, read, |data| match data {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        });
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let grows = offset + data.len() as u64 > self.length(number);
        let own = self.is_probe(number);
        let write = || self.write_data(number, handle, offset, data);
        self.serve(Call::Write, grows, own, write, |written| match written {
            Ok(size) => reply.written(size),
            Err(error) => reply.error(error),
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.close(handle);
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let own = self.is_probe(number);
        let sync = || self.sync(Some(number.0), handle);
        self.serve(Call::Sync, false, own, sync, done(reply));
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.list(number) {
            Ok(listed) => {
                let handle = self.keep_open(Open::Folder(Arc::new(listed)));
                reply.opened(handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let read = || match self.opened(handle)? {
            Open::Folder(listed) => Ok(listed),
            Open::File { .. } => Err(nix::errno::Errno::ENOTDIR.into()),
        };
        let answer = move |listed: Result<Listed, Errno>| {
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) => return reply.error(error),
            };
            let from = listed.iter().enumerate().skip(offset as usize);
            for (place, (number, kind, name)) in from {
                if reply.add(INodeNo(*number), place as u64 + 1, *kind, name) {
                    break;
                }
            }
            reply.ok();
        };
        self.serve(Call::Read, false, false, read, answer);
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.close(handle);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let sync = || self.sync(None, handle);
        self.serve(Call::Sync, false, false, sync, done(reply));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let path = self.volume().root().path();
        let below = match nix::sys::statvfs::statvfs(&path) {
            Ok(below) => below,
            Err(error) => return reply.error(Errno::from_i32(error as i32)),
        };
        let full = self.policy.full();
        let free = |blocks| if full { 0 } else { blocks };
        reply.statfs(
            below.blocks(),
            free(below.blocks_free()),
            free(below.blocks_available()),
            below.files(),
            below.files_free(),
            below.block_size() as u32,
            below.name_max() as u32,
            below.fragment_size() as u32,
        );
    }

    fn fallocate(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let (end, now) = (offset.saturating_add(length), self.length(number));
        let grow = || {
            if end > now {
                self.volume().resize(number.0, end)?;
            }
            Ok(())
        };
        let own = self.is_probe(number);
        self.serve(Call::Write, end > now, own, grow, done(reply));
    }
}

impl Served {
    fn open_file(&self, number: u64, flags: OpenFlags) -> io::Result<FileHandle> {
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let file = Arc::new(self.volume().open_file(number, writes)?);
        let sync = writes && flags.0 & (nix::libc::O_DSYNC | nix::libc::O_SYNC) != 0;
        Ok(self.keep_open(Open::File { file, sync }))
    }
}

fn read_data(file: &File, offset: u64, size: u32) -> io::Result<Vec<u8>> {
    let mut data = vec![0; size as usize];
    let mut read = 0;
    while read < data.len() {
        match file.read_at(&mut data[read..], offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    data.truncate(read);
    Ok(data)
}
