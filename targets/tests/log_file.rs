//! The log file against crashes: cut at every byte, flipped at every byte, the right things are found.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use schism_targets::storage::{LogFile, Record, Recovery};

fn record(position: u64) -> Record {
    let payload = vec![position as u8; (position * 3 % 17) as usize];
    Record {
        term: position / 4 + 1,
        position,
        payload,
    }
}

fn records(range: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    range.map(record).collect()
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    paths.sort();
    paths
}

fn copy_to(dir: &Path, name: &str, segment: &[u8]) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(name), segment).unwrap();
}

/// After whatever was found, appending goes on and is found again.
fn goes_on(dir: &Path, mut log: LogFile, found: &Recovery) {
    let next = found.records.len() as u64 + 1;
    assert_eq!(log.last(), next - 1);
    log.append(&[record(next)]).unwrap();
    log.sync().unwrap();
    drop(log);
    let (_, again) = LogFile::open(dir).unwrap();
    assert_eq!(again.records, records(1..=next));
    assert!(again.cut.is_none() && !again.lost_durable);
}

#[test]
fn cut_at_every_byte_the_whole_records_before_survive() {
    let home = tempfile::tempdir().unwrap();
    let (mut log, _) = LogFile::open(&home.path().join("a")).unwrap();
    let mut ends = vec![
        fs::metadata(&segment_files(&home.path().join("a"))[0])
            .unwrap()
            .len(),
    ];
    for position in 1..=9 {
        log.append(&[record(position)]).unwrap();
        ends.push(
            fs::metadata(&segment_files(&home.path().join("a"))[0])
                .unwrap()
                .len(),
        );
    }
    let path = &segment_files(&home.path().join("a"))[0];
    let (name, whole) = (
        path.file_name().unwrap().to_str().unwrap(),
        fs::read(path).unwrap(),
    );
    let dir = home.path().join("b");
    for cut in 0..=whole.len() {
        copy_to(&dir, name, &whole[..cut]);
        let (log, found) = LogFile::open(&dir).unwrap();
        let expected = ends[1..].iter().filter(|end| **end <= cut as u64).count() as u64;
        assert_eq!(found.records, records(1..=expected), "cut at {cut}");
        assert_eq!(
            found.cut.is_none(),
            ends.contains(&(cut as u64)),
            "cut at {cut}"
        );
        assert!(!found.lost_durable, "nothing was promised yet");
        goes_on(&dir, log, &found);
    }
}

#[test]
fn every_flipped_bit_is_found_and_never_read() {
    let home = tempfile::tempdir().unwrap();
    let first = home.path().join("a");
    let (mut log, _) = LogFile::open(&first).unwrap();
    log.append(&records(1..=6)).unwrap();
    let path = &segment_files(&first)[0];
    let (name, whole) = (
        path.file_name().unwrap().to_str().unwrap(),
        fs::read(path).unwrap(),
    );
    let dir = home.path().join("b");
    for bit in 0..whole.len() * 8 {
        let at = bit / 8;
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (bit % 8);
        copy_to(&dir, name, &flipped);
        let (log, found) = LogFile::open(&dir).unwrap();
        assert!(found.cut.is_some(), "flip at {at}");
        assert!(found.records.len() < 6);
        goes_on(&dir, log, &found);
    }
}

#[test]
fn losing_what_was_synced_is_told_from_a_torn_tail() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (mut log, _) = LogFile::open(dir).unwrap();
    log.append(&records(1..=4)).unwrap();
    log.sync().unwrap();
    log.append(&records(5..=6)).unwrap();
    drop(log);
    let path = segment_files(dir).remove(0);
    let whole = fs::read(&path).unwrap();

    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let (_, torn) = LogFile::open(dir).unwrap();
    assert_eq!(torn.records, records(1..=5));
    assert!(!torn.lost_durable, "5 was never synced");

    fs::write(&path, &whole[..100]).unwrap();
    let (_, lost) = LogFile::open(dir).unwrap();
    assert!(lost.records.len() < 4 && lost.lost_durable);
    let (mut log, again) = LogFile::open(dir).unwrap();
    assert!(again.lost_durable, "said until something is promised anew");
    log.sync().unwrap();
    let (_, after) = LogFile::open(dir).unwrap();
    assert!(!after.lost_durable);
}

#[test]
fn segments_are_dropped_at_the_head_and_a_broken_one_ends_the_log() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (mut log, _) = LogFile::open(dir).unwrap();
    for first in [1, 11, 21] {
        log.append(&records(first..=first + 9)).unwrap();
        log.begin_segment().unwrap();
    }
    log.begin_segment().unwrap();
    log.drop_through(15).unwrap();
    drop(log);
    let (log, found) = LogFile::open(dir).unwrap();
    assert_eq!(found.base, (record(10).term, 10));
    assert_eq!(found.records, records(11..=30));
    drop(log);
    let path = &segment_files(dir)[0];
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    let (log, found) = LogFile::open(dir).unwrap();
    assert!(found.lost_durable && found.cut.is_some());
    assert_eq!(log.last(), 10 + found.records.len() as u64);
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Sync,
    Truncate(u64),
    Compact(u64),
    Reset(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6_u64).prop_map(Step::Append),
        1 => Just(Step::Sync),
        2 => (0..30_u64).prop_map(Step::Truncate),
        1 => (0..30_u64).prop_map(Step::Compact),
        1 => (0..30_u64).prop_map(Step::Reset),
        2 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    /// Whatever is done to it, the log is what a list would be.
    #[test]
    fn a_log_is_a_list(steps in prop::collection::vec(step(), 1..40)) {
        let home = tempfile::tempdir().unwrap();
        let (mut log, _) = LogFile::open(home.path()).unwrap();
        let (mut base, mut list): (u64, Vec<Record>) = (0, Vec::new());
        // Nobody truncates what has been compacted: a snapshot holds it.
        let mut floor = 0;
        for step in steps {
            let last = base + list.len() as u64;
            match step {
                Step::Append(count) => {
                    let new = records(last + 1..=last + count);
                    log.append(&new).unwrap();
                    list.extend(new);
                }
                Step::Sync => log.sync().unwrap(),
                Step::Truncate(after) => {
                    let after = after.clamp(floor, last);
                    log.truncate(after).unwrap();
                    list.truncate((after - base) as usize);
                }
                Step::Compact(through) => {
                    log.begin_segment().unwrap();
                    log.drop_through(through.min(last)).unwrap();
                    floor = floor.max(through.min(last));
                }
                Step::Reset(after) => {
                    log.reset((1, after)).unwrap();
                    (base, list, floor) = (after, Vec::new(), after);
                }
                Step::Reopen => {
                    drop(log);
                    let found;
                    (log, found) = LogFile::open(home.path()).unwrap();
                    prop_assert!(found.cut.is_none() && !found.lost_durable);
                    // Compaction drops whole segments only, so it may keep more than it must.
                    let dropped = (found.base.1 - base) as usize;
                    prop_assert_eq!(&found.records, &list[dropped..]);
                    (base, list) = (found.base.1, found.records);
                }
            }
            prop_assert_eq!(log.last(), base + list.len() as u64);
        }
    }
}
