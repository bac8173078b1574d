//! Files of a node that is down, changed behind its back: their last bytes torn off, a part cut off, bits flipped, or all that was not synced gone.

use super::down::Down;
use super::{Fault, World, select};
use crate::cluster::Forgets;
use crate::network::Proof;
use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A torn write lacks less than a sector.
const SECTOR: u64 = 512;

/// What is done to a node's files.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Harm {
    /// What was not synced is gone, but for this share.
    Lose {
        /// 0 to 1.
        kept: f64,
    },
    /// The file that was written last lacks the end of its last sector.
    Torn,
    /// So many bits of one file are flipped.
    Flip {
        /// At least one.
        bits: usize,
    },
    /// A share of one file is cut off its end; none: it is drawn.
    Truncate {
        /// 0 to 1.
        share: Option<f64>,
    },
    /// Everything is gone.
    Replace,
}

/// The fault.
pub(super) struct Damaged {
    pub(super) down: Down,
    pub(super) harm: Harm,
    /// What must be in the path of the file; empty: any file.
    pub(super) file: String,
    pub(super) rng: ChaCha8Rng,
}

impl Damaged {
    const fn name(&self) -> &'static str {
        match self.harm {
            Harm::Lose { .. } => "lose-unsynced",
            Harm::Torn => "torn",
            Harm::Flip { .. } => "flip",
            Harm::Truncate { .. } => "truncate",
            Harm::Replace => "replace",
        }
    }

    /// Changes a node's files, and says what reads differently.
    fn harm(&mut self, node: usize, world: &mut World) -> Result<String> {
        let (harm, name, rng) = (&self.harm, &self.file, &mut self.rng);
        if let Harm::Lose { kept } = harm {
            return world.cluster.lose_unsynced(node, *kept, Forgets::Disk);
        }
        world.cluster.change_data(node, |data| {
            let files = files(data, name)?;
            match harm {
                Harm::Torn => {
                    let last = files.iter().max_by_key(|f| (f.written, &f.path));
                    let file = last.context("there is no file to tear")?;
                    let cut = rng.random_range(1..=file.length.min(SECTOR - 1));
                    shorten(data, file, cut)
                }
                Harm::Flip { bits } => flip(data, draw(&files, rng)?, *bits, rng),
                Harm::Truncate { share } => {
                    let file = draw(&files, rng)?;
                    let share = share.unwrap_or_else(|| rng.random_range(0.0..1.0));
                    let cut = (file.length as f64 * share).ceil() as u64;
                    shorten(data, file, cut.clamp(1, file.length))
                }
                Harm::Replace => empty(data),
                Harm::Lose { .. } => bail!("nothing is lost by changing files"),
            }
        })
    }
}

impl Fault for Damaged {
    fn what(&self) -> String {
        let nodes = select::list(&self.down.nodes, &self.down.names);
        match &self.harm {
            Harm::Lose { .. } => format!("disk of {nodes} loses what was not synced"),
            Harm::Torn => format!("last write of {nodes} torn"),
            Harm::Flip { bits: 1 } => format!("a bit on the disk of {nodes} flipped"),
            Harm::Flip { bits } => format!("{bits} bits on the disk of {nodes} flipped"),
            Harm::Truncate { .. } => format!("a file of {nodes} truncated"),
            Harm::Replace if self.down.nodes.len() == 1 => {
                format!("{nodes} replaced by an empty node")
            }
            Harm::Replace => format!("{nodes} replaced by empty nodes"),
        }
    }

    fn value(&self, world: &World) -> Map<String, Value> {
        let mut value = self.down.value(world);
        value.insert("do".to_owned(), json!(self.name()));
        value
    }

    fn nodes(&self) -> &[usize] {
        self.down.nodes()
    }

    fn inject(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.down.inject(id, world)
    }

    fn prove(&mut self, world: &mut World) -> Result<Proof> {
        let mut proof = self.down.prove(world)?;
        for node in self.down.nodes.clone() {
            let name = self.down.names[node].clone();
            match self.harm(node, world) {
                Ok(done) => drop(write!(proof.evidence, "; {name}: {done}")),
                Err(error) => {
                    proof.proved = false;
                    let _ = write!(proof.evidence, "; {name}: not done: {error:#}");
                }
            }
        }
        Ok(proof)
    }

    fn heal(&mut self, id: u64, world: &mut World) -> Result<()> {
        self.down.heal(id, world)
    }

    fn prove_healed(&mut self, world: &mut World) -> Result<Proof> {
        self.down.prove_healed(world)
    }
}

/// A file that has something in it.
#[derive(Debug, Clone)]
struct Found {
    path: PathBuf,
    length: u64,
    written: SystemTime,
}

/// The files of a folder and of those in it, by their paths, that have this in their paths.
fn files(data: &Path, name: &str) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            let there = fs::symlink_metadata(&path)?;
            if there.is_dir() {
                folders.push(path);
            } else if there.is_file() && there.len() > 0 && short(data, &path).contains(name) {
                let (length, written) = (there.len(), there.modified()?);
                found.push(Found {
                    path,
                    length,
                    written,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// A path as it is within the data.
fn short(data: &Path, path: &Path) -> String {
    let within = path.strip_prefix(data).unwrap_or(path);
    within.display().to_string()
}

/// The file in which a byte lies that is drawn among all bytes.
fn draw<'f>(files: &'f [Found], rng: &mut ChaCha8Rng) -> Result<&'f Found> {
    let all: u64 = files.iter().map(|file| file.length).sum();
    if all == 0 {
        bail!("there is no file that has something in it");
    }
    let mut at = rng.random_range(0..all);
    let hit = files.iter().find(|file| {
        let here = at < file.length;
        at = at.saturating_sub(file.length);
        here
    });
    hit.context("a byte lies in a file")
}

/// Cuts bytes off a file's end, and reads its length back.
fn shorten(data: &Path, file: &Found, cut: u64) -> Result<String> {
    let name = short(data, &file.path);
    let opened = OpenOptions::new().write(true).open(&file.path);
    let left = file.length - cut;
    opened
        .and_then(|file| file.set_len(left))
        .with_context(|| format!("cannot shorten {name}"))?;
    let now = fs::metadata(&file.path)?.len();
    ensure!(
        now == left,
        "{name} has {now} bytes, and was to have {left}"
    );
    Ok(format!(
        "{name} had {} bytes and has {now} (read back)",
        file.length
    ))
}

/// Removes all there is in a folder, and looks whether anything is left.
pub(super) fn empty(data: &Path) -> Result<String> {
    let files = files(data, "")?;
    let bytes: u64 = files.iter().map(|file| file.length).sum();
    let list = || fs::read_dir(data).with_context(|| format!("cannot list {}", data.display()));
    for entry in list()? {
        let path = entry?.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    ensure!(list()?.next().is_none(), "{} is not empty", data.display());
    let many = if files.len() == 1 { "file" } else { "files" };
    Ok(format!(
        "{} {many} with {bytes} bytes gone, nothing is left",
        files.len()
    ))
}

/// Flips bits of a file, and reads back which differ.
fn flip(data: &Path, file: &Found, bits: usize, rng: &mut ChaCha8Rng) -> Result<String> {
    let name = short(data, &file.path);
    let before = fs::read(&file.path).with_context(|| format!("cannot read {name}"))?;
    let all = before.len() * 8;
    let mut after = before.clone();
    for bit in sample(rng, all, bits.min(all)) {
        after[bit / 8] ^= 1 << (bit % 8);
    }
    fs::write(&file.path, &after).with_context(|| format!("cannot write {name}"))?;
    let now = fs::read(&file.path).with_context(|| format!("cannot read {name}"))?;
    let bytes = before.iter().zip(&now).enumerate();
    let differ: Vec<_> = bytes.filter(|(_, (was, is))| was != is).collect();
    let flipped: u32 = differ
        .iter()
        .map(|(_, (w, i))| (*w ^ *i).count_ones())
        .sum();
    ensure!(
        now.len() == before.len() && flipped as usize == bits.min(all),
        "{name} differs in {flipped} bits, and was to differ in {bits}"
    );
    let first = differ.first().map_or_else(String::new, |(at, (was, is))| {
        format!(", the first in byte {at}: {was:#04x} is now {is:#04x}")
    });
    let many = if flipped == 1 { "bit" } else { "bits" };
    Ok(format!(
        "{flipped} {many} of {name} ({} bytes) flipped{first} (read back)",
        now.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_differs_as_it_was_to() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("wal")).unwrap();
        fs::write(data.path().join("empty"), b"").unwrap();
        fs::write(data.path().join("wal/log"), vec![7; 1000]).unwrap();
        let mut rng = schism_workloads::generator::stream(1, 1);
        let found = files(data.path(), "").unwrap();
        assert_eq!(found.len(), 1, "one has something in it");
        let said = flip(data.path(), &found[0], 3, &mut rng).unwrap();
        assert!(said.starts_with("3 bits of wal/log"), "{said}");
        let now = fs::read(data.path().join("wal/log")).unwrap();
        let flipped: u32 = now.iter().map(|byte| (byte ^ 7).count_ones()).sum();
        assert_eq!((now.len(), flipped), (1000, 3));
        let said = shorten(data.path(), &found[0], 400).unwrap();
        assert!(said.contains("had 1000 bytes and has 600"), "{said}");
        assert!(files(data.path(), "nothing").unwrap().is_empty());
        assert!(draw(&[], &mut rng).is_err());
    }
}
