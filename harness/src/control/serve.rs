//! The answering side, inside the arena: commands are carried out here, all else is handed to whoever drives the run.

use super::{Answer, LINE_MAX, Reply, Request};
use crate::arena::NetNs;
use crate::tools::tool;
use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Where a command can be carried out.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The namespace.
    pub(crate) ns: NetNs,
    /// The working directory.
    pub(crate) folder: PathBuf,
}

/// A request that waits for its answer.
pub(crate) struct Order {
    pub(crate) request: Request,
    reply: oneshot::Sender<Reply>,
}

impl Order {
    /// Answers it.
    pub(crate) fn answer(self, answer: Result<Answer>) {
        // Who asked may have gone away.
        let _ = self
            .reply
            .send(answer.map_err(|error| format!("{error:#}")));
    }
}

/// The requests that come.
pub(crate) type Orders = mpsc::UnboundedReceiver<Order>;

/// Listens from now on, in threads of its own.
pub(crate) fn serve(listener: UnixListener, places: BTreeMap<String, Place>) -> Result<Orders> {
    let (orders, taken) = mpsc::unbounded_channel();
    let places = Arc::new(places);
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let (orders, places) = (orders.clone(), Arc::clone(&places));
                std::thread::spawn(move || {
                    let reply = take(&stream, &orders, &places);
                    let mut text = serde_json::to_vec(&reply).unwrap_or_default();
                    text.push(b'\n');
                    let _ = (&stream).write_all(&text);
                });
            }
        })
        .context("cannot start the thread of the control socket")?;
    Ok(taken)
}

fn take(
    stream: &UnixStream,
    orders: &mpsc::UnboundedSender<Order>,
    places: &BTreeMap<String, Place>,
) -> Reply {
    let taken = receive(stream).and_then(|(line, streams)| {
        let request = serde_json::from_slice(&line).context("it is no request")?;
        Ok((request, streams))
    });
    match taken.map_err(|error| format!("{error:#}"))? {
        (Request::Exec { node, command }, streams) => {
            exec(stream, &node, &command, streams, places).map_err(|error| format!("{error:#}"))
        }
        (request, _) => {
            let (reply, told) = oneshot::channel();
            let over = || "the run is over".to_owned();
            orders.send(Order { request, reply }).map_err(|_| over())?;
            told.blocking_recv().map_err(|_| over())?
        }
    }
}

/// One line, and the files that came with it.
fn receive(stream: &UnixStream) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut line, mut files) = (Vec::new(), Vec::new());
    while line.last() != Some(&b'\n') {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        let got = recvmsg(stream, parts, &mut along, RecvFlags::CMSG_CLOEXEC)
            .context("cannot read the request")?;
        for message in along.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                files.extend(received);
            }
        }
        line.extend(&bytes[..got.bytes]);
        if got.bytes == 0 || line.len() > LINE_MAX {
            bail!("the request has no end");
        }
    }
    Ok((line, files))
}

/// Carries a command out. It ends with whoever asked for it.
fn exec(
    stream: &UnixStream,
    node: &str,
    command: &[String],
    streams: Vec<OwnedFd>,
    places: &BTreeMap<String, Place>,
) -> Result<Answer> {
    let known = || places.keys().cloned().collect::<Vec<_>>().join(", ");
    let place = places
        .get(node)
        .with_context(|| format!("there is no {node:?}; there are: {}", known()))?;
    let (program, args) = command.split_first().context("no command is given")?;
    let streams: [OwnedFd; 3] = streams
        .try_into()
        .map_err(|_| anyhow!("a command comes with three streams"))?;
    let [stdin, stdout, stderr] = streams.map(Stdio::from);
    let mut command = tool(program);
    command
        .args(args)
        .current_dir(&place.folder)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    let mut child = place.ns.run(|| {
        command
            .spawn()
            .with_context(|| format!("cannot start {program}"))
    })?;
    // The streams that were handed over must not stay open here.
    drop(command);
    let done = Arc::new(AtomicBool::new(false));
    let listened = stream.try_clone().context("cannot watch the socket")?;
    std::thread::spawn({
        let (done, group) = (Arc::clone(&done), Pid::from_raw(child.id() as i32));
        move || {
            let _ = (&listened).read(&mut [0]);
            if !done.load(Ordering::Acquire) {
                let _ = killpg(group, Signal::SIGKILL);
            }
        }
    });
    let status = child.wait().context("cannot wait for the command")?;
    done.store(true, Ordering::Release);
    Ok(Answer {
        proved: true,
        code: status.code().or(status.signal().map(|signal| 128 + signal)),
        ..Answer::default()
    })
}
