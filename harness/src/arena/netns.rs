//! Network namespaces: made in a thread, kept open by a file descriptor, entered by threads.
//!
//! A process that is started by a thread inside a namespace stays in it; so does a socket that is opened there.

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::sync::Arc;

/// One network namespace. It goes when the last descriptor, process and socket in it goes.
#[derive(Debug, Clone)]
pub struct NetNs(Arc<File>);

impl NetNs {
    /// The one that the calling thread is in.
    pub fn current() -> Result<Self> {
        let file =
            File::open("/proc/thread-self/ns/net").context("cannot open the network namespace")?;
        Ok(Self(Arc::new(file)))
    }

    /// Moves the calling thread into it, for good.
    pub fn enter(&self) -> Result<()> {
        setns(&*self.0, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")
    }

    /// Runs `work` in a thread of its own inside this namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// Makes a new one, with `work` run inside it by the thread that made it; `work` gets that thread's id, by which other tools
    /// can name the namespace as long as it runs.
    pub fn create<T: Send>(
        work: impl FnOnce(nix::unistd::Pid) -> Result<T> + Send,
    ) -> Result<(Self, T)> {
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            let ns = Self::current()?;
            Ok((ns, work(nix::unistd::gettid())?))
        })
    }
}

fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .map_err(|_| anyhow!("a namespace thread panicked"))?
    })
}
