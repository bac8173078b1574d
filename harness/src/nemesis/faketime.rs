//! libfaketime: a node whose wall clock is what a file says. Its monotonic clock stays true, so that its timers go on.

use crate::cluster::Cluster;
use crate::node_http::Question;
use anyhow::{Context, Result};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How a node's wall clock differs from the true one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clock {
    /// So many milliseconds ahead; negative: behind.
    pub(crate) ahead_ms: f64,
    /// How fast it goes from then on.
    pub(crate) rate: f64,
}

impl Clock {
    /// The true one.
    pub(crate) const TRUE: Self = Self {
        ahead_ms: 0.0,
        rate: 1.0,
    };

    /// Both at once.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            ahead_ms: self.ahead_ms + other.ahead_ms,
            rate: self.rate * other.rate,
        }
    }

    /// As the library reads it, of a process that has run for so long: it counts the rate from the process' start.
    fn line(self, running: Duration) -> String {
        let ahead_s = self.ahead_ms / 1e3 - running.as_secs_f64() * (self.rate - 1.0);
        format!("{ahead_s:+.6} x{:.6}\n", self.rate)
    }
}

/// Where the library is.
pub(crate) fn library() -> Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    folders
        .chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")])
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.is_file())
        .context("libfaketimeMT.so.1 is not there: apt-get install libfaketime")
}

/// Gives every node a clock of its own, true as yet.
pub(crate) fn prepare(cluster: &mut Cluster) -> Result<()> {
    let library = library()?;
    for node in 0..cluster.size() {
        let file = file(cluster.folder(node));
        write(&file, Clock::TRUE, Duration::ZERO)?;
        for (name, value) in [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
        ] {
            cluster.set_env(node, name, &value);
        }
    }
    Ok(())
}

/// Sets a node's clock.
pub(crate) fn set(cluster: &Cluster, node: usize, clock: Clock) -> Result<()> {
    write(
        &file(cluster.folder(node)),
        clock,
        cluster.running_for(node),
    )
}

fn file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// In one step: half a line would end the node.
fn write(file: &Path, clock: Clock, running: Duration) -> Result<()> {
    let next = file.with_extension("next");
    fs::write(&next, clock.line(running))
        .and_then(|()| fs::rename(&next, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// A node's clock as the node itself says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// So many milliseconds ahead of ours.
    pub(crate) ahead_ms: f64,
    /// It may be off by so many.
    pub(crate) error_ms: f64,
    /// When.
    pub(crate) at: Instant,
}

const READ_LIMIT: Duration = Duration::from_millis(500);
/// Of so many readings the one that took the shortest counts.
const READINGS: usize = 3;

/// How long a node that has just been started may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(20);

/// Asks a node for its clock. None: it does not answer, or its target has no such page.
pub(crate) fn read(address: SocketAddr) -> Option<Reading> {
    let begun = Instant::now();
    let first = loop {
        match read_once(address) {
            Ok(reading) => break reading,
            Err(_) if begun.elapsed() < START_LIMIT => std::thread::sleep(AGAIN),
            Err(_) => return None,
        }
    };
    let more = (1..READINGS).filter_map(|_| read_once(address).ok());
    let readings = std::iter::once(first).chain(more);
    readings.min_by(|a, b| a.error_ms.total_cmp(&b.error_ms))
}

fn read_once(address: SocketAddr) -> Result<Reading> {
    let question = Question::to(address, READ_LIMIT)?;
    let (at, before) = (Instant::now(), SystemTime::now());
    let answer = question.get(schism_targets::wire::CLOCK_PATH)?;
    let took_ms = at.elapsed().as_secs_f64() * 1e3;
    let theirs = answer.body["wall_ms"].as_f64().context("no wall_ms")?;
    let ours = before
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("before 1970")?;
    Ok(Reading {
        ahead_ms: theirs - ours.as_secs_f64() * 1e3 - took_ms / 2.0,
        error_ms: took_ms / 2.0 + 1.0,
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_from_now_though_the_library_counts_from_the_start() {
        let line = |ahead_ms, rate| Clock { ahead_ms, rate }.line(Duration::from_secs(10));
        assert_eq!(line(0.0, 1.0), "+0.000000 x1.000000\n");
        assert_eq!(line(-1500.0, 1.0), "-1.500000 x1.000000\n");
        assert_eq!(line(0.0, 2.0), "-10.000000 x2.000000\n");
        assert_eq!(line(1000.0, 0.5), "+6.000000 x0.500000\n");
    }
}
