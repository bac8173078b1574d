//! Entering the arena: pid + mount + network namespaces of our own, and a user namespace unless we are root, in a process of our own.
//!
//! Three processes take part. The outer one (what the user started) stays on the host and waits. The middle one unshares and forks.
//! The inner one is pid 1 of the new pid namespace: when it dies, the kernel kills every process in there, and interfaces, rules
//! and mounts go with their namespaces. Each dies with the one before it: by `PR_SET_PDEATHSIG`, and by end-of-file on a pipe for
//! the moment before that is set (`getppid` cannot tell inside a new pid namespace: it is 0 there from the start).
//!
//! This is the only module with `unsafe` code: `fork`, called while the process has one thread.

use crate::signals::is_ignored;
use crate::stderr::say;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getgid, getuid, pipe, setpgid};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

/// How the inner process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it: it was killed from outside, or stopped by a second Ctrl-C.
    Signal(Signal),
}

const FORWARDED: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Runs `inside` as pid 1 of a fresh arena and waits for it. Its result is the exit code.
///
/// SIGINT, SIGTERM and SIGHUP that reach the caller are forwarded. Must be called while the process has one thread only.
pub fn run_inside(inside: impl FnOnce() -> i32) -> Result<Ending> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        bail!("the arena must be entered before any thread starts; there are {threads}");
    }
    let (reader, writer) = pipe().context("cannot make a pipe")?;
    let waiting = block_signals()?;
    match fork_single_threaded().context("cannot fork")? {
        ForkResult::Parent { child } => {
            drop(reader);
            let ending = supervise(child, &waiting);
            drop(writer);
            waiting.thread_unblock().context("cannot unblock signals")?;
            ending
        }
        ForkResult::Child => {
            drop(writer);
            // A process group of its own: Ctrl-C on the terminal reaches the outer process alone, which forwards it once.
            let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
            die_with_parent(&reader);
            std::process::exit(match middle(&reader, &waiting, inside) {
                Ok(code) => code,
                Err(error) => {
                    say(&format!("schism: {error:#}"));
                    crate::exit::HARNESS
                }
            })
        }
    }
}

/// Unshares, forks the inner process and waits for it.
fn middle(outer: &OwnedFd, waiting: &SigSet, inside: impl FnOnce() -> i32) -> Result<i32> {
    unshare_all()?;
    let (reader, writer) = pipe().context("cannot make a pipe")?;
    match fork_single_threaded().context("cannot fork into the new pid namespace")? {
        ForkResult::Parent { child } => {
            drop(reader);
            let ending = supervise(child, waiting)?;
            drop(writer);
            Ok(match ending {
                Ending::Code(code) => code,
                Ending::Signal(signal) => {
                    say(&format!("schism: the controller was ended by {signal}"));
                    crate::exit::HARNESS
                }
            })
        }
        ForkResult::Child => {
            drop(writer);
            let outer = outer.try_clone().context("cannot keep the pipe")?;
            die_with_parent(&reader);
            die_with_parent(&outer);
            private_mounts()?;
            // Signals stay blocked until somebody listens: pid 1 would lose those that come before.
            let code = inside();
            // The pipes must stay open for the inner process' whole life.
            drop((reader, outer));
            std::process::exit(code)
        }
    }
}

#[expect(unsafe_code, reason = "fork is the only way to enter a pid namespace")]
fn fork_single_threaded() -> nix::Result<ForkResult> {
    // SAFETY: `run_inside` has checked that this process has one thread, and no thread is started before the forks. So no lock
    // can be held by a thread that does not exist in the child, and the child may go on as an ordinary process.
    unsafe { fork() }
}

/// Dies when the parent does: at once if it is already gone.
fn die_with_parent(pipe: &OwnedFd) {
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    let gone = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0);
    if gone {
        std::process::exit(crate::exit::HARNESS);
    }
}

/// Blocks the signals that are waited for, but for those that whoever started us wants ignored; and SIGTTOU, which would stop a
/// process that writes to a terminal from a process group of its own.
fn block_signals() -> Result<SigSet> {
    let mut set = SigSet::empty();
    for signal in FORWARDED.into_iter().filter(|signal| !is_ignored(*signal)) {
        set.add(signal);
    }
    set.add(Signal::SIGCHLD);
    let mut blocked = set;
    blocked.add(Signal::SIGTTOU);
    blocked.thread_block().context("cannot block signals")?;
    Ok(set)
}

/// Waits for the child and hands signals on to it.
fn supervise(child: Pid, waiting: &SigSet) -> Result<Ending> {
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(Ending::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Ending::Signal(signal)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the arena"),
        }
        match waiting.wait() {
            Ok(Signal::SIGCHLD) | Err(_) => {}
            Ok(signal) => {
                let _ = kill(child, signal);
            }
        }
    }
}

fn unshare_all() -> Result<()> {
    let rest = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    let (uid, gid) = (getuid(), getgid());
    // Real root needs no user namespace, may be where they are forbidden, and would lose its rights over other users' folders in one.
    if uid.is_root() && unshare(rest).is_ok() {
        return Ok(());
    }
    unshare(rest | CloneFlags::CLONE_NEWUSER).context(
        "cannot make a user namespace; `schism doctor` says what to change on this machine",
    )?;
    map_user(uid.as_raw(), gid.as_raw())
}

/// Maps our own user to root inside. Nothing on the host becomes writable by it.
fn map_user(uid: u32, gid: u32) -> Result<()> {
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).with_context(|| {
            format!("cannot write {file} of the user namespace; `schism doctor` says more")
        })
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}

/// A /proc of the new pid namespace.
fn private_mounts() -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context(
        "cannot make mounts private; a security module may forbid it: see `schism doctor`",
    )?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none).context(
        "cannot mount /proc of the new pid namespace; inside a container its engine masks /proc: see `schism doctor`",
    )
}
