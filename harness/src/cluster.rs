//! The nodes as OS processes: start, kill, pause, resume, and what the kernel says of each.
//!
//! A node's process is a child of the controller (pid 1 of the arena), so its state comes from `waitpid` and not from guesses.

use crate::arena::Arena;
use crate::disk::probe::{self, Answer};
use crate::disk::{self, Call, Disk};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use schism_targets::registry::{NodeAddress, NodeCommand, Options, Program, Target};
use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The port on which every node serves.
pub const PORT: u16 = 8000;

/// What the kernel says of a node's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// SIGSTOP holds it.
    Paused,
    /// It is gone; how.
    Gone(String),
}

#[derive(Debug)]
struct Node {
    command: NodeCommand,
    folder: PathBuf,
    ns: crate::arena::NetNs,
    pid: Option<Pid>,
    started: Instant,
    state: State,
    /// Whether we asked for its end.
    asked_to_end: bool,
    /// Whether that was SIGKILL.
    killed: bool,
    /// What is mounted over its data.
    disk: Option<Disk>,
}

/// Who forgets what a node had not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgets {
    /// The target's own storage where it can, else the disk.
    Auto,
    /// The target's own storage, told after the end of the node.
    Target,
    /// The disk that is mounted over the node's data.
    Disk,
}

/// All nodes of the target.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    /// Where each serves.
    pub addresses: Vec<NodeAddress>,
    /// Ends that nobody asked for, until they are taken.
    crashes: Vec<(usize, String)>,
    /// Our own executable, held open: it may be replaced during a run.
    own: File,
    /// What takes its place.
    binary: Option<PathBuf>,
    /// What they are nodes of.
    pub target: &'static dyn Target,
    /// With which options.
    pub options: Options,
}

impl Cluster {
    /// Prepares each node's folder under `folder` and its command; starts nothing yet. `binary` stands in for the target's own program.
    pub fn new(
        target: &'static dyn Target,
        options: &Options,
        binary: Option<&Path>,
        arena: &Arena,
        folder: &Path,
    ) -> Result<Self> {
        let addresses: Vec<NodeAddress> = arena
            .nodes
            .iter()
            .map(|h| NodeAddress {
                name: h.name.clone(),
                address: SocketAddr::new(h.ip, PORT),
            })
            .collect();
        let nodes = arena
            .nodes
            .iter()
            .enumerate()
            .map(|(i, host)| {
                let folder = folder.join(&host.name);
                let data = folder.join("data");
                fs::create_dir_all(&data)
                    .with_context(|| format!("cannot make {}", data.display()))?;
                let mut peers = addresses.clone();
                let node = peers.remove(i);
                let command = target.command(options, &node, &peers, &data);
                Ok(Node {
                    command,
                    folder,
                    ns: host.ns.clone(),
                    pid: None,
                    started: Instant::now(),
                    state: State::Gone("not started".into()),
                    asked_to_end: false,
                    killed: false,
                    disk: None,
                })
            })
            .collect::<Result<_>>()?;
        let own = File::open("/proc/self/exe").context("cannot open our own executable")?;
        Ok(Self {
            nodes,
            addresses,
            crashes: Vec::new(),
            own,
            binary: binary.map(Path::to_owned),
            target,
            options: options.clone(),
        })
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A node's name.
    pub fn name(&self, node: usize) -> &str {
        &self.addresses[node].name
    }

    /// A node's own folder.
    pub fn folder(&self, node: usize) -> &Path {
        &self.nodes[node].folder
    }

    /// Adds to a node's environment, from its next start on.
    pub fn set_env(&mut self, node: usize, name: &str, value: &str) {
        let env = &mut self.nodes[node].command.env;
        env.push((name.to_owned(), value.to_owned()));
    }

    /// Whether the target can tell what a loss of power would leave.
    pub fn can_lose_unsynced(&self) -> bool {
        self.target.lose_unsynced().is_some()
    }

    /// Puts a disk that can fail over every node's data. The nodes must not run yet.
    pub(crate) fn mount_disks(&mut self) -> Result<()> {
        disk::usable()?;
        for node in &mut self.nodes {
            if node.disk.is_none() {
                let (data, graves) = (node.folder.join("data"), node.folder.join("removed"));
                node.disk = Some(Disk::mount(&data, &graves)?);
            }
        }
        Ok(())
    }

    /// The disk that is mounted over a node's data.
    pub(crate) fn disk(&self, node: usize) -> Result<&Disk> {
        let disk = self.nodes[node].disk.as_ref();
        disk.with_context(|| format!("no disk is mounted over the data of {}", self.name(node)))
    }

    /// Makes one call of this kind at a node's disk, as the node would.
    pub(crate) fn probe_disk(&self, node: usize, call: Call) -> Result<Answer> {
        let own = format!("/proc/{}/fd/{}", std::process::id(), self.own.as_raw_fd());
        let data = self.folder(node).join("data");
        probe::ask(Path::new(&own), &data, call)
    }

    /// A node's data, of a node that is down, changed by us. No disk that is mounted over it comes between.
    pub(crate) fn change_data<T>(
        &mut self,
        node: usize,
        change: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        self.must_be_down(node)?;
        let it = &self.nodes[node];
        let data = match &it.disk {
            Some(disk) => disk.below().to_owned(),
            None => it.folder.join("data"),
        };
        let changed = change(&data)
            .with_context(|| format!("cannot change the data of {}", self.name(node)))?;
        it.disk.as_ref().map_or(Ok(()), Disk::settle)?;
        Ok(changed)
    }

    /// Forgets what a node that is down had not synced, but for this share; says what is gone.
    pub(crate) fn lose_unsynced(
        &mut self,
        node: usize,
        keep: f64,
        forgets: Forgets,
    ) -> Result<String> {
        let target =
            forgets == Forgets::Target || (forgets == Forgets::Auto && self.can_lose_unsynced());
        if !target {
            self.must_be_down(node)?;
            return Ok(self.disk(node)?.lose_unsynced(keep)?.to_string());
        }
        let lose = self
            .target
            .lose_unsynced()
            .context("the target cannot tell what it had not synced")?;
        self.change_data(node, |data| Ok(lose(data, keep)?))
    }

    fn must_be_down(&mut self, node: usize) -> Result<()> {
        if !matches!(self.state(node), State::Gone(_)) {
            bail!(
                "{} is not down, so its data cannot be changed",
                self.name(node)
            );
        }
        Ok(())
    }

    /// Since when it runs.
    pub fn running_for(&self, node: usize) -> Duration {
        self.nodes[node].started.elapsed()
    }

    /// Starts a node in its namespace; its output is appended to its own files.
    pub fn start(&mut self, node: usize) -> Result<()> {
        let it = &mut self.nodes[node];
        let program = match (&it.command.program, &self.binary) {
            (_, Some(binary)) => binary.clone(),
            (Program::Own, None) => {
                PathBuf::from(format!("/proc/self/fd/{}", self.own.as_raw_fd()))
            }
            (Program::Path(path), None) => path.clone(),
        };
        let log = |name: &str| {
            let path = it.folder.join(name);
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))
        };
        let mut command = Command::new(program);
        if matches!(it.command.program, Program::Own) && self.binary.is_none() {
            command.arg0("schism");
        }
        command
            .args(&it.command.args)
            .envs(it.command.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log("stdout")?)
            .stderr(log("stderr")?);
        let child = it
            .ns
            .run(|| command.spawn().context("cannot start a node"))?;
        it.started = Instant::now();
        it.pid = Some(Pid::from_raw(child.id() as i32));
        it.state = State::Running;
        it.asked_to_end = false;
        it.killed = false;
        Ok(())
    }

    /// Sends a signal; a node that is gone stays so.
    fn signal(&self, node: usize, signal: Signal) -> Result<()> {
        match self.nodes[node].pid {
            Some(pid) => kill(pid, signal)
                .with_context(|| format!("cannot send {signal} to {}", self.name(node))),
            None => Ok(()),
        }
    }

    /// SIGKILL. Its end is proved by [`Cluster::wait_for`].
    pub fn kill(&mut self, node: usize) -> Result<()> {
        // What had ended before must be noticed first.
        if !matches!(self.state(node), State::Gone(_)) {
            self.nodes[node].asked_to_end = true;
            self.nodes[node].killed = true;
        }
        self.signal(node, Signal::SIGKILL)
    }

    /// SIGTERM. Its end is proved by [`Cluster::wait_for`].
    pub fn terminate(&mut self, node: usize) -> Result<()> {
        if !matches!(self.state(node), State::Gone(_)) {
            self.nodes[node].asked_to_end = true;
        }
        self.signal(node, Signal::SIGTERM)
    }

    /// Makes sure that a node which was asked to end has done so.
    pub fn end_what_is_asked_to(&mut self, node: usize) -> Result<()> {
        let gone = |s: &State| matches!(s, State::Gone(_));
        if self.nodes[node].asked_to_end && !gone(&self.state(node)) {
            self.kill(node)?;
            self.wait_for(node, gone, Duration::from_secs(2));
        }
        Ok(())
    }

    /// SIGSTOP.
    pub fn pause(&self, node: usize) -> Result<()> {
        self.signal(node, Signal::SIGSTOP)
    }

    /// SIGCONT.
    pub fn resume(&self, node: usize) -> Result<()> {
        self.signal(node, Signal::SIGCONT)
    }

    /// Asks the kernel, and says what it answered.
    pub fn state(&mut self, node: usize) -> State {
        let it = &mut self.nodes[node];
        let Some(pid) = it.pid else {
            return it.state.clone();
        };
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED;
        let gone = match waitpid(pid, Some(flags)) {
            Ok(WaitStatus::Stopped(..)) => {
                it.state = State::Paused;
                None
            }
            Ok(WaitStatus::Continued(_)) => {
                it.state = State::Running;
                None
            }
            Ok(WaitStatus::Exited(_, code)) => Some(format!("exited with code {code}")),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(format!("killed by {signal}")),
            Ok(_) | Err(_) => None,
        };
        if let Some(how) = gone {
            it.pid = None;
            if !it.asked_to_end {
                self.crashes.push((node, how.clone()));
            }
            it.state = State::Gone(how);
        }
        it.state.clone()
    }

    /// Waits until the kernel says that the node is as wished.
    pub fn wait_for(
        &mut self,
        node: usize,
        wish: impl Fn(&State) -> bool,
        limit: Duration,
    ) -> State {
        let begun = Instant::now();
        loop {
            let state = self.state(node);
            // A call that is late would keep even a killed process.
            if let (true, Some(disk)) = (self.nodes[node].killed, &self.nodes[node].disk) {
                disk.policy().release();
            }
            if wish(&state) || begun.elapsed() > limit {
                return state;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Nodes that ended without being asked to since this was last called, with how.
    pub fn take_crashes(&mut self) -> Vec<(usize, String)> {
        for node in 0..self.size() {
            self.state(node);
        }
        std::mem::take(&mut self.crashes)
    }

    /// Whether the node is gone because we sent it a signal to end.
    pub fn was_killed(&mut self, node: usize) -> bool {
        matches!(self.state(node), State::Gone(_)) && self.nodes[node].asked_to_end
    }

    /// Stops every node in good order: SIGTERM, then SIGKILL for those that linger.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        for node in 0..self.size() {
            if !matches!(self.state(node), State::Gone(_)) {
                self.nodes[node].asked_to_end = true;
            }
            let _ = self.resume(node);
            let _ = self.signal(node, Signal::SIGTERM);
        }
        for node in 0..self.size() {
            self.wait_for(node, |s| matches!(s, State::Gone(_)), patience);
            let _ = self.kill(node);
            let state = self.wait_for(
                node,
                |s| matches!(s, State::Gone(_)),
                Duration::from_secs(5),
            );
            if !matches!(state, State::Gone(_)) {
                bail!("{} is still there after SIGKILL", self.name(node));
            }
        }
        Ok(())
    }
}
