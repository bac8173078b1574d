//! Asks a mounted disk what it does, in a process of its own: the controller may not wait for its own answer.

use super::PROBE;
use super::policy::Call;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How one call of a kind went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The error's number; none: it was carried out.
    pub(crate) error: Option<i32>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.error {
            Some(number) => write!(out, "{}", io::Error::from_raw_os_error(number)),
            None => write!(out, "done in {:.1} ms", self.took.as_secs_f64() * 1e3),
        }
    }
}

/// Makes one call of this kind at the mount over `folder`; `program` is ourselves.
pub(crate) fn ask(program: &Path, folder: &Path, call: Call) -> Result<Answer> {
    let output = Command::new(program)
        .arg0_schism()
        .arg("probe-disk")
        .arg(folder)
        .arg(call.name())
        .stdin(Stdio::null())
        .output()
        .context("cannot start the probe of a disk")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("the probe of a disk failed: {}", said.trim());
    }
    serde_json::from_slice(&output.stdout).context("cannot read what the probe of a disk says")
}

/// Our own name, whatever the path is by which we are started.
trait Named {
    fn arg0_schism(&mut self) -> &mut Self;
}

impl Named for Command {
    fn arg0_schism(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::arg0(self, "schism")
    }
}

/// The process' side: one call of this kind, timed alone. An error is not one of the call's, which is its answer.
pub(crate) fn answer(folder: &Path, call: &str) -> Result<()> {
    let Some(call) = Call::ALL.into_iter().find(|c| c.name() == call) else {
        bail!("{call:?} is no kind of call");
    };
    let path = folder.join(PROBE);
    let _ = fs::remove_file(&path);
    let answer = match call {
        // A new file needs room, and what is in it too.
        Call::Write => timed(|| File::create(&path).map(drop)),
        Call::Sync => {
            let file = File::create(&path).with_context(|| path.display().to_string())?;
            timed(|| file.sync_all())
        }
        Call::Read => timed(|| fs::read_dir(folder)?.try_for_each(|entry| entry.map(drop))),
    };
    let _ = fs::remove_file(&path);
    let text = serde_json::to_vec(&answer)?;
    io::stdout().write_all(&text).context("cannot answer")
}

fn timed(call: impl FnOnce() -> io::Result<()>) -> Answer {
    let begun = Instant::now();
    let done = call();
    Answer {
        took: begun.elapsed(),
        error: done.err().map(|e| e.raw_os_error().unwrap_or(-1)),
    }
}
