//! The log file: segments of records, appended, synced, truncated at the tail and dropped at the head.
//!
//! A segment is named after its first position and begins with a header that holds the term and position
//! before it. Beside the segments lies `synced`: the last position known to be durable, written (not
//! synced itself) after each sync. A log that ends before it has not been torn by a crash: durable records
//! are gone, and the caller must not trust this node's word as a voter.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::record::{Decoded, Record, checksum, decode, encode, u32_at, u64_at};
use super::whole::sync_dir;
use super::{LogCheck, StorageError, failed};

const MAGIC: &[u8; 8] = b"schismL1";
const SEGMENT_HEADER: usize = 8 + 8 + 8 + 4;
const MARKER: &str = "synced";

/// What opening a log found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The term and position before the first record.
    pub base: (u64, u64),
    /// Every whole record, contiguous.
    pub records: Vec<Record>,
    /// What was cut off the end.
    pub cut: Option<Cut>,
    /// Records that had been durable are missing. Said at every opening until the next sync or
    /// truncation: by then the caller must have noted it durably.
    pub lost_durable: bool,
}

/// A tail that was thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// After this position.
    pub after: u64,
    /// So many bytes.
    pub bytes: u64,
    /// What was wrong.
    pub reason: &'static str,
}

/// The log, open for appending.
#[derive(Debug)]
pub struct LogFile {
    dir: PathBuf,
    /// Oldest first, never empty; the last one takes the appends.
    segments: Vec<Segment>,
    file: File,
    marker: File,
    last_term: u64,
    dirty: bool,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    /// The position before its first record.
    base: u64,
    base_term: u64,
    /// Where each record ends, and its term.
    records: Vec<(u64, u64)>,
}

impl Segment {
    fn last(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    fn end(&self) -> u64 {
        self.records
            .last()
            .map_or(SEGMENT_HEADER as u64, |(end, _)| *end)
    }

    fn last_term(&self) -> u64 {
        self.records
            .last()
            .map_or(self.base_term, |(_, term)| *term)
    }
}

impl LogFile {
    /// Opens the log in `dir`, believing nothing that is not whole, or all that it should hold.
    pub fn open_with(dir: &Path, check: LogCheck) -> Result<(Self, Recovery), StorageError> {
        let (mut log, mut recovery) = Self::open(dir)?;
        if check == LogCheck::None {
            // A part of a record is taken for all of it.
            let begun = recovery.cut.as_ref().map_or(0, |cut| cut.after + 1);
            let through = log.noted()?.max(begun);
            log.pretend(through, &mut recovery)?;
        }
        Ok((log, recovery))
    }

    /// Opens the log in `dir`, creating an empty one where there is none, and cuts what is not whole.
    pub fn open(dir: &Path) -> Result<(Self, Recovery), StorageError> {
        fs::create_dir_all(dir).map_err(failed("create", dir))?;
        let marker_path = dir.join(MARKER);
        let marker = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&marker_path)
            .map_err(failed("open", &marker_path))?;
        let synced = read_marker(&marker).map_err(failed("read", &marker_path))?;
        let (mut segments, mut recovery) = read_segments(dir)?;
        if segments.is_empty() {
            segments.push(create_segment(dir, 0, 0)?);
        }
        let active = &segments[segments.len() - 1];
        let file = open_for_append(active)?;
        let (last, last_term) = (active.last(), active.last_term());
        recovery.lost_durable = last < synced;
        let dir = dir.to_owned();
        let log = Self {
            dir,
            segments,
            file,
            marker,
            last_term,
            dirty: true,
        };
        Ok((log, recovery))
    }

    /// The last position in the log, or before it when it is empty.
    pub fn last(&self) -> u64 {
        self.active().last()
    }

    /// Whether something was appended since the last sync.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What is missing up to a position is taken to be there, with nothing in it.
    fn pretend(&mut self, through: u64, recovery: &mut Recovery) -> Result<(), StorageError> {
        let term = self.last_term;
        let missing = (self.last() + 1..=through).map(|position| Record {
            term,
            position,
            payload: Vec::new(),
        });
        let missing: Vec<Record> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.append(&missing)?;
        recovery.records.extend(missing);
        recovery.lost_durable = false;
        Ok(())
    }

    /// The position that is noted as durable.
    fn noted(&self) -> Result<u64, StorageError> {
        let read = read_marker(&self.marker);
        read.map_err(failed("read", &self.dir.join(MARKER)))
    }

    /// Of the active segment: its path, where the last record ends that is durable, and where each one after it ends.
    pub(super) fn unsynced(&self) -> Result<(&Path, u64, Vec<u64>), StorageError> {
        let synced = self.noted()?;
        let active = self.active();
        let durable = synced.saturating_sub(active.base) as usize;
        let ends = active.records.iter().map(|(end, _)| *end);
        let mut ends: Vec<u64> = ends.collect();
        let after = ends.split_off(durable.min(ends.len()));
        let end = ends.last().copied().unwrap_or(SEGMENT_HEADER as u64);
        Ok((&active.path, end, after))
    }

    /// Appends records that continue the log, in one write.
    pub fn append(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let mut bytes = Vec::new();
        let start = self.active().end();
        let mut index = Vec::with_capacity(records.len());
        for record in records {
            encode(record, &mut bytes);
            index.push((start + bytes.len() as u64, record.term));
        }
        self.file
            .write_all(&bytes)
            .map_err(failed("append to", &self.active().path))?;
        let active = self.active_mut();
        active.records.extend(index);
        self.last_term = self.active().last_term();
        self.dirty = true;
        Ok(())
    }

    /// Forces everything to the disk.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        if !self.dirty {
            return Ok(());
        }
        self.file
            .sync_data()
            .map_err(failed("fsync", &self.active().path))?;
        self.dirty = false;
        self.write_marker(self.last())
    }

    /// Cuts everything after a position, which must not lie before what was compacted away.
    pub fn truncate(&mut self, after: u64) -> Result<(), StorageError> {
        if after >= self.last() {
            return Ok(());
        }
        self.mark(after)?;
        while self.segments.len() > 1 && self.active().base >= after {
            if let Some(segment) = self.segments.pop() {
                fs::remove_file(&segment.path).map_err(failed("remove", &segment.path))?;
            }
        }
        let active = self.active_mut();
        active
            .records
            .truncate(after.saturating_sub(active.base) as usize);
        self.file = open_for_append(self.active())?;
        self.last_term = self.active().last_term();
        self.dirty = true;
        Ok(())
    }

    /// Begins a new segment, so that what is here now can go as a whole.
    pub fn begin_segment(&mut self) -> Result<(), StorageError> {
        if self.active().records.is_empty() {
            return Ok(());
        }
        self.sync()?;
        let segment = create_segment(&self.dir, self.last(), self.last_term)?;
        self.file = open_for_append(&segment)?;
        self.segments.push(segment);
        sync_dir(&self.dir)
    }

    /// Removes the segments that hold nothing after a position.
    pub fn drop_through(&mut self, position: u64) -> Result<(), StorageError> {
        while self.segments.len() > 1 && self.segments[0].last() <= position {
            let segment = self.segments.remove(0);
            fs::remove_file(&segment.path).map_err(failed("remove", &segment.path))?;
        }
        sync_dir(&self.dir)
    }

    /// Throws the whole log away; it begins again after `base` (term, position).
    pub fn reset(&mut self, base: (u64, u64)) -> Result<(), StorageError> {
        self.mark(0)?;
        for segment in self.segments.drain(..) {
            fs::remove_file(&segment.path).map_err(failed("remove", &segment.path))?;
        }
        let segment = create_segment(&self.dir, base.1, base.0)?;
        self.file = open_for_append(&segment)?;
        self.segments.push(segment);
        self.last_term = base.0;
        self.dirty = true;
        Ok(())
    }

    fn active(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    fn active_mut(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// Lowers the marker, durably: what follows makes the log shorter.
    fn mark(&mut self, position: u64) -> Result<(), StorageError> {
        self.write_marker(position)?;
        self.marker
            .sync_data()
            .map_err(failed("fsync", &self.dir.join(MARKER)))
    }

    fn write_marker(&self, position: u64) -> Result<(), StorageError> {
        let number = position.to_le_bytes();
        let crc = checksum(&[&number]).to_le_bytes();
        let bytes = [&number[..], &crc[..]].concat();
        self.marker
            .write_all_at(&bytes, 0)
            .map_err(failed("write", &self.dir.join(MARKER)))
    }
}

/// The durable position. A torn marker promises nothing; one that the disk does not give may have promised anything.
fn read_marker(marker: &File) -> io::Result<u64> {
    let mut bytes = [0; 12];
    match marker.read_exact_at(&mut bytes, 0) {
        Ok(()) if checksum(&[&bytes[..8]]) == u32_at(&bytes, 8) => Ok(u64_at(&bytes, 0)),
        Ok(()) => Ok(0),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
        Err(error) => Err(error),
    }
}

fn create_segment(dir: &Path, base: u64, base_term: u64) -> Result<Segment, StorageError> {
    let path = dir.join(format!("log-{:020}.seg", base + 1));
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&base.to_le_bytes());
    header.extend_from_slice(&base_term.to_le_bytes());
    let crc = checksum(&[&header]);
    header.extend_from_slice(&crc.to_le_bytes());
    let mut file = File::create(&path).map_err(failed("create", &path))?;
    file.write_all(&header).map_err(failed("write", &path))?;
    file.sync_all().map_err(failed("fsync", &path))?;
    sync_dir(dir)?;
    Ok(Segment {
        path,
        base,
        base_term,
        records: Vec::new(),
    })
}

/// Opens a segment at its end, cutting what lies behind its last whole record.
fn open_for_append(segment: &Segment) -> Result<File, StorageError> {
    let path = &segment.path;
    let mut file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(failed("open", path))?;
    file.set_len(segment.end())
        .map_err(failed("truncate", path))?;
    file.seek(SeekFrom::End(0)).map_err(failed("seek", path))?;
    Ok(file)
}

/// Reads all segments in order. At the first that is not whole, or does not continue the one before, the
/// log ends; what follows is removed.
fn read_segments(dir: &Path) -> Result<(Vec<Segment>, Recovery), StorageError> {
    let mut recovery = Recovery::default();
    let mut segments: Vec<Segment> = Vec::new();
    for path in segment_paths(dir)? {
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let expected = segments
            .last()
            .map(|segment| (segment.last_term(), segment.last()));
        let header = read_header(&bytes).filter(|header| expected.is_none_or(|e| e == *header));
        let (Some(base), None) = (header, &recovery.cut) else {
            let after = segments.last().map_or(0, Segment::last);
            let cut = Cut {
                after,
                bytes: 0,
                reason: "a segment does not continue the log",
            };
            recovery.cut.get_or_insert(cut).bytes += bytes.len() as u64;
            fs::remove_file(&path).map_err(failed("remove", &path))?;
            continue;
        };
        if segments.is_empty() {
            recovery.base = base;
        }
        segments.push(read_records(path, base, &bytes, &mut recovery));
    }
    Ok((segments, recovery))
}

fn segment_paths(dir: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The term and position before a segment's first record.
fn read_header(bytes: &[u8]) -> Option<(u64, u64)> {
    let header = bytes.get(..SEGMENT_HEADER)?;
    let whole = &header[..8] == MAGIC && checksum(&[&header[..24]]) == u32_at(header, 24);
    whole.then(|| (u64_at(header, 16), u64_at(header, 8)))
}

fn read_records(path: PathBuf, base: (u64, u64), bytes: &[u8], recovery: &mut Recovery) -> Segment {
    let mut segment = Segment {
        path,
        base: base.1,
        base_term: base.0,
        records: Vec::new(),
    };
    let mut at = SEGMENT_HEADER;
    let reason = loop {
        match decode(&bytes[at..]) {
            Decoded::Whole(record, size) if record.position == segment.last() + 1 => {
                at += size;
                segment.records.push((at as u64, record.term));
                recovery.records.push(record);
            }
            Decoded::Whole(..) => break Some("a record is out of place"),
            Decoded::End => break None,
            Decoded::Torn => break Some("the last record is torn"),
            Decoded::Damaged => break Some("a record does not match its checksum"),
        }
    };
    recovery.cut = reason.map(|reason| {
        let bytes = (bytes.len() - at) as u64;
        Cut {
            after: segment.last(),
            bytes,
            reason,
        }
    });
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        // Reading a folder fails as a broken disk does.
        assert!(read_marker(&File::open(dir.path()).unwrap()).is_err());
        let torn = dir.path().join(MARKER);
        fs::write(&torn, [7; 5]).unwrap();
        assert_eq!(read_marker(&File::open(torn).unwrap()).unwrap(), 0);
    }
}
