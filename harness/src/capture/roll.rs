//! One host's capture on disk: packets go into the newest part; one that is full grows older, and the oldest goes.
//!
//! The format is the classic one with times in nanoseconds, which tcpdump and Wireshark read.

use super::{PART_BYTES, PARTS, part};
use anyhow::{Context, Result};
use pcap_file::pcap::PcapHeader;
use pcap_file::{DataLink, Endianness, TsResolution};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a reader may expect of the longest packet: as tcpdump says it.
const LONGEST: u32 = 262_144;
/// Bytes of a packet's own header in the file.
const RECORD: usize = 16;

/// A capture that is being written.
#[derive(Debug)]
pub(super) struct Rolling {
    folder: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    bytes_max: u64,
    parts: usize,
}

impl Rolling {
    /// Begins a capture in this folder, which is made where it is missing.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        Self::bounded(folder, PART_BYTES)
    }

    fn bounded(folder: &Path, bytes_max: u64) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            file: fresh(folder)?,
            bytes: 0,
            bytes_max,
            parts: 1,
        })
    }

    /// Adds the head of a packet which was `length` bytes long. The time is that since 1970.
    pub(super) fn write(&mut self, at: Duration, length: usize, head: &[u8]) -> Result<()> {
        if self.bytes >= self.bytes_max {
            self.turn()?;
        }
        let figures = [
            at.as_secs() as u32,
            at.subsec_nanos(),
            head.len() as u32,
            length.max(head.len()) as u32,
        ];
        let mut record = [0; RECORD];
        for (place, figure) in record.chunks_exact_mut(4).zip(figures) {
            place.copy_from_slice(&figure.to_le_bytes());
        }
        let written = self.file.write_all(&record);
        self.bytes += (RECORD + head.len()) as u64;
        written
            .and_then(|()| self.file.write_all(head))
            .with_context(|| self.full())
    }

    /// Gives what there is to the kernel: then it stays when the controller is killed.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.file.flush().with_context(|| self.full())
    }

    /// How many parts were begun.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    fn turn(&mut self) -> Result<()> {
        self.flush()?;
        for age in (0..PARTS - 1).rev() {
            let (from, to) = (self.folder.join(part(age)), self.folder.join(part(age + 1)));
            if from.exists() {
                fs::rename(&from, &to)
                    .with_context(|| format!("cannot rename {}", from.display()))?;
            }
        }
        self.file = fresh(&self.folder)?;
        self.bytes = 0;
        self.parts += 1;
        Ok(())
    }

    fn full(&self) -> String {
        format!("cannot write the capture in {}", self.folder.display())
    }
}

fn fresh(folder: &Path) -> Result<BufWriter<File>> {
    let path = folder.join(part(0));
    let header = PcapHeader {
        snaplen: LONGEST,
        datalink: DataLink::ETHERNET,
        ts_resolution: TsResolution::NanoSecond,
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    let mut file = File::create(&path)
        .map(BufWriter::new)
        .with_context(|| format!("cannot write {}", path.display()))?;
    header
        .write_to(&mut file)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::read::records;

    #[test]
    fn the_oldest_part_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        let mut rolling = Rolling::bounded(folder.path(), 100).unwrap();
        for second in 0..40 {
            let at = Duration::new(1_700_000_000 + second, 7);
            rolling.write(at, 900, &[second as u8; 20]).unwrap();
        }
        rolling.flush().unwrap();
        // Three packets of 36 bytes fill a part.
        assert_eq!(rolling.parts(), 14);
        let seconds = |age: usize| -> Vec<u64> {
            let bytes = fs::read(folder.path().join(part(age))).unwrap();
            let mut at = Vec::new();
            let torn = records(&bytes, |time, length, head| {
                assert_eq!((length, head.len(), time.subsec_nanos()), (900, 20, 7));
                at.push(time.as_secs() - 1_700_000_000);
            });
            assert_eq!(torn, None);
            at
        };
        assert_eq!(
            [seconds(2), seconds(1), seconds(0)].concat(),
            (33..40).collect::<Vec<_>>()
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), PARTS);
    }
}
