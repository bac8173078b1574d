//! A run's control socket: faults by hand, commands inside the arena, and the word to end, from another terminal.
//!
//! The outer process opens it in the run's folder before the arena is entered, and hands it in. A client sends one JSON line, for a
//! command with its own stdin, stdout and stderr as ancillary data, and gets one line back.

mod ask;
mod serve;

pub use ask::{ask, carry_out};
pub(crate) use serve::{Order, Orders, Place, serve};

use crate::nemesis::FaultOptions;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The socket's name in a run's folder.
pub const FILE: &str = "control.sock";
/// The longest line.
const LINE_MAX: usize = 64 * 1024;

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// A fault.
    Fault {
        /// `family` or `family:shape`.
        fault: String,
        /// The family's options, as far as they are given.
        options: FaultOptions,
        /// How long it lasts, in milliseconds; none: until it is healed.
        for_ms: Option<u64>,
    },
    /// The end of faults in force: of one by its number, of a family, or of all.
    Heal(Option<String>),
    /// How the nodes are, and which faults are in force.
    Status,
    /// A command in a node's network namespace (or the clients'), with the standard streams that come along.
    Exec {
        /// `n1`, or `clients`.
        node: String,
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// The end of the run's load, or of the hold.
    End,
}

/// The answer to a request that was carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What came of it, for people.
    pub said: String,
    /// Whether it was seen to be so.
    pub proved: bool,
    /// The exit code of a command.
    pub code: Option<i32>,
}

/// As it goes over the socket: an error is a text.
type Reply = Result<Answer, String>;

/// Opens the socket of a run.
pub fn listen(folder: &Path) -> Result<UnixListener> {
    let (_folder, path) = near(folder)?;
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot open a control socket in {}", folder.display()))?;
    fs::set_permissions(folder.join(FILE), Permissions::from_mode(0o600))
        .context("cannot keep the control socket from others")?;
    Ok(listener)
}

/// Takes the socket of a run that is over away.
pub fn close(folder: &Path) {
    let _ = fs::remove_file(folder.join(FILE));
}

/// The socket's path by way of its open folder: an address has room for some 100 bytes only. The folder must stay open.
fn near(folder: &Path) -> Result<(File, PathBuf)> {
    let open = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    let path = format!("/proc/self/fd/{}/{FILE}", open.as_raw_fd());
    Ok((open, path.into()))
}
