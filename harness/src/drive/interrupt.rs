//! Ctrl-C: the first one ends the run early in good order, the second one at once. Either way the kernel cleans up: we are pid 1 of the arena.

use crate::signals::is_ignored;
use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The exit code, inside the arena only, of a controller that was told to stop at once.
pub(super) const AT_ONCE: i32 = 130;

/// Whether the user has had enough.
pub(super) struct Interrupts(watch::Receiver<Option<&'static str>>);

impl Interrupts {
    /// From now on signals are taken here. Must be called inside a runtime.
    pub(super) fn listen() -> Result<Self> {
        let on = |kind: Signal| {
            let kind = SignalKind::from_raw(kind as i32);
            signal(kind).context("cannot listen for signals")
        };
        let mut listened = Vec::new();
        for kind in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            if !is_ignored(kind) {
                listened.push((kind.as_str(), on(kind)?));
            }
        }
        let (first, seen) = watch::channel(None);
        for (name, mut signal) in listened {
            let first = first.clone();
            tokio::spawn(async move {
                while signal.recv().await.is_some() {
                    if first.send_replace(Some(name)).is_some() {
                        std::process::exit(AT_ONCE);
                    }
                }
            });
        }
        // They have been blocked until now, so that none is lost.
        let mut heard = SigSet::empty();
        heard.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        heard.thread_unblock().context("cannot unblock signals")?;
        Ok(Self(seen))
    }

    /// The first signal, by name, when it comes.
    pub(super) async fn first(&mut self) -> &'static str {
        match self.0.wait_for(Option::is_some).await {
            Ok(name) => name.unwrap_or("a signal"),
            Err(_) => std::future::pending().await,
        }
    }
}
