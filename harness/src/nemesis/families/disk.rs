//! Disks that fail: full, broken (EIO) or slow while the node runs; or the node is killed, its files are changed, and it is started again.
//!
//! The first three and the loss of what was not synced need FUSE: see [`crate::disk`], which says by which model something is durable. A torn end, flipped bits and a
//! cut file do not. What chance chooses (`do=drawn`) is never what silently damages what was durable: that no system survives without checksums
//! and repair, so it must be named.
//!
//! A node whose disk refuses calls may end by itself: after a failed fsync nobody knows what is durable, so to stop is right. It is no finding, and the heal starts
//! it again.

use crate::cluster::Cluster;
use crate::disk::{self, Call, Rule};
use crate::nemesis::damage::{Damaged, Harm};
use crate::nemesis::down::{Down, Way};
use crate::nemesis::options::{drawn_share, duration, share, text};
use crate::nemesis::select;
use crate::nemesis::sick::Sick;
use crate::nemesis::{Family, Fault, FaultOption, FaultOptions, Planned, View};
use anyhow::{Context, Result, bail};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_targets::registry::Target;
use std::time::Duration;

/// The family.
pub(super) struct Disks;

/// What it can do; the first ones need FUSE, and are those among which chance chooses.
const DEEDS: [&str; 7] = [
    "full",
    "eio",
    "slow",
    "lose-unsynced",
    "torn",
    "flip",
    "truncate",
];
const WITH_FUSE: usize = 4;
/// Shorter than that a call may take by itself; longer than that it would hold up the other faults.
const SLOW: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(5);

impl Family for Disks {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn summary(&self) -> &'static str {
        "disks that are full, broken, slow or forget (FUSE), and damage to the files of a stopped node"
    }

    fn options(&self) -> &'static [FaultOption] {
        &[
            FaultOption {
                name: "do",
                default: "drawn",
                help: "full, eio, slow, lose-unsynced; torn, flip, truncate (a stopped node's files); or drawn: one of the first four",
            },
            FaultOption {
                name: "by",
                default: "200ms",
                help: "slow: how much longer a call takes, 10ms to 5s",
            },
            FaultOption {
                name: "calls",
                default: "all",
                help: "eio, slow: which calls: write, sync, read, several of them as write+sync, or all",
            },
            FaultOption {
                name: "kept",
                default: "0%",
                help: "lose-unsynced: how much of it has reached the disk all the same; a share, or drawn",
            },
            FaultOption {
                name: "bits",
                default: "1",
                help: "flip: how many bits of one file",
            },
            FaultOption {
                name: "cut",
                default: "drawn",
                help: "truncate: how much of the file is cut off; a share, or drawn",
            },
            FaultOption {
                name: "file",
                default: "drawn",
                help: "torn, flip, truncate: what is in the file's path; drawn: the file that was written last (torn), or any",
            },
        ]
    }

    fn understands(&self, options: &FaultOptions) -> Result<()> {
        deed(options)?;
        by(options)?;
        calls(options)?;
        bits(options)?;
        drawn_share(options, "kept")?;
        cut(options).map(drop)
    }

    fn possible(&self, planned: &[&Planned], _: &dyn Target) -> Result<()> {
        match with_fuse(planned)? {
            Some(named) => disk::usable().with_context(|| {
                format!("do={named} (torn, flip and truncate would do without FUSE)")
            }),
            None => Ok(()),
        }
    }

    fn before_start(&self, options: &FaultOptions, _: &Cluster) -> bool {
        needs_fuse(options).is_ok_and(|deed| deed.is_some())
    }

    fn prepare(&self, planned: &[&Planned], cluster: &mut Cluster) -> Result<()> {
        if with_fuse(planned)?.is_some() {
            cluster.mount_disks()?;
        }
        Ok(())
    }

    fn aim(
        &self,
        shape: &str,
        options: &FaultOptions,
        view: &View,
        rng: &mut ChaCha8Rng,
    ) -> Result<Box<dyn Fault>> {
        // Before the nodes are: a replay names them, and is to draw the same.
        let drawn = DEEDS[rng.random_range(0..WITH_FUSE)];
        let deed = deed(options)?.unwrap_or(drawn);
        let mut own = rng.clone();
        let nodes = select::nodes(shape, view, rng)?;
        let names = view.names.clone();
        let rule = match deed {
            "full" => Rule::Full,
            "eio" => Rule::Broken(calls(options)?),
            "slow" => Rule::Late(calls(options)?, by(options)?),
            other => {
                let way = Way::Kill;
                return Ok(Box::new(Damaged {
                    down: Down { nodes, names, way },
                    harm: harm(other, options, &mut own)?,
                    file: file(options).to_owned(),
                    rng: own,
                }));
            }
        };
        Ok(Box::new(Sick::new(nodes, names, rule)))
    }
}

fn harm(deed: &str, options: &FaultOptions, rng: &mut ChaCha8Rng) -> Result<Harm> {
    Ok(match deed {
        "lose-unsynced" => Harm::Lose {
            kept: drawn_share(options, "kept")?.unwrap_or_else(|| rng.random_range(0.0..1.0)),
        },
        "torn" => Harm::Torn,
        "flip" => Harm::Flip {
            bits: bits(options)?,
        },
        _ => Harm::Truncate {
            share: cut(options)?,
        },
    })
}

/// The first deed among those that are planned that needs FUSE.
fn with_fuse(planned: &[&Planned]) -> Result<Option<&'static str>> {
    for fault in planned {
        if let Some(named) = needs_fuse(&fault.options)? {
            return Ok(Some(named));
        }
    }
    Ok(None)
}

/// What these options ask for, if it needs FUSE.
fn needs_fuse(options: &FaultOptions) -> Result<Option<&'static str>> {
    let deed = deed(options)?;
    let needs = deed.is_none_or(|deed| DEEDS[..WITH_FUSE].contains(&deed));
    Ok(needs.then_some(deed.unwrap_or("drawn")))
}

/// What is to be done; none: it is drawn.
fn deed(options: &FaultOptions) -> Result<Option<&'static str>> {
    let asked = text(options, "do");
    if asked == "drawn" {
        return Ok(None);
    }
    match DEEDS.into_iter().find(|deed| *deed == asked) {
        Some(deed) => Ok(Some(deed)),
        None => bail!("do = {asked:?} is none of {}, drawn", DEEDS.join(", ")),
    }
}

fn by(options: &FaultOptions) -> Result<Duration> {
    let by = duration(options, "by")?;
    if !SLOW.contains(&by) {
        bail!("by must be from 10ms to 5s");
    }
    Ok(by)
}

/// In the order of their kinds, each once.
fn calls(options: &FaultOptions) -> Result<Vec<Call>> {
    let asked = text(options, "calls");
    if asked == "all" {
        return Ok(Call::ALL.to_vec());
    }
    let kind = |word: &str| {
        let found = Call::ALL.into_iter().find(|call| call.name() == word);
        found.with_context(|| format!("calls = {asked:?}: {word:?} is none of write, sync, read"))
    };
    let mut calls: Vec<Call> = asked.split('+').map(kind).collect::<Result<_>>()?;
    calls.sort_unstable();
    calls.dedup();
    Ok(calls)
}

fn bits(options: &FaultOptions) -> Result<usize> {
    let value = text(options, "bits");
    match value.parse() {
        Ok(bits @ 1..) => Ok(bits),
        _ => bail!("bits = {value:?} is no number from 1"),
    }
}

fn cut(options: &FaultOptions) -> Result<Option<f64>> {
    if text(options, "cut") == "drawn" {
        return Ok(None);
    }
    let cut = share(options, "cut")?;
    if cut <= 0.0 {
        bail!("cut must be more than 0%");
    }
    Ok(Some(cut))
}

fn file(options: &FaultOptions) -> &str {
    match text(options, "file") {
        "drawn" => "",
        part => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused() {
        let options =
            |name: &str, value: &str| FaultOptions::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(deed(&options("do", "drawn")).unwrap(), None);
        assert_eq!(deed(&options("do", "flip")).unwrap(), Some("flip"));
        assert_eq!(calls(&options("calls", "all")).unwrap(), Call::ALL);
        assert_eq!(
            calls(&options("calls", "sync+write+sync")).unwrap(),
            [Call::Write, Call::Sync]
        );
        assert!(deed(&options("do", "melt")).is_err());
        assert!(calls(&options("calls", "write+melt")).is_err());
        assert!(by(&options("by", "1ms")).is_err() && by(&options("by", "6s")).is_err());
        assert!(bits(&options("bits", "0")).is_err());
        assert!(cut(&options("cut", "0%")).is_err());
    }

    #[test]
    fn chance_never_damages_what_was_durable() {
        let options = crate::nemesis::options::resolve(&Disks, &FaultOptions::new()).unwrap();
        let view = View {
            names: vec!["n1".to_owned()],
            ..View::default()
        };
        let mut rng = schism_workloads::generator::stream(1, 1);
        for _ in 0..200 {
            let fault = Disks.aim("one", &options, &view, &mut rng).unwrap();
            let what = fault.what();
            assert!(what.starts_with("disk "), "{what}");
        }
    }
}
