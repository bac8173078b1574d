//! The asking side: what `schism fault` and `schism exec` do.

use super::{Answer, LINE_MAX, Reply, Request, near};
use anyhow::{Context, Result, anyhow};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Asks a run that goes on, and waits for its answer.
pub fn ask(run: &Path, request: &Request) -> Result<Answer> {
    let mut stream = connect(run)?;
    stream
        .write_all(&line(request)?)
        .context("the run does not listen any more")?;
    answer(stream)
}

/// Carries a command out inside a run, with our own standard streams. Its exit code.
pub fn carry_out(run: &Path, node: &str, command: &[String]) -> Result<i32> {
    let stream = connect(run)?;
    let request = Request::Exec {
        node: node.to_owned(),
        command: command.to_vec(),
    };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams: [BorrowedFd<'_>; 3] = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    along.push(SendAncillaryMessage::ScmRights(&streams));
    let text = line(&request)?;
    // The streams go with the first bytes; a long line may need more than one send.
    let sent = sendmsg(
        &stream,
        &[IoSlice::new(&text)],
        &mut along,
        SendFlags::empty(),
    )
    .context("the run does not listen any more")?;
    (&stream)
        .write_all(&text[sent..])
        .context("the run does not listen any more")?;
    let answer = answer(stream)?;
    answer
        .code
        .context("the run did not say how the command ended")
}

fn line(request: &Request) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec(request).context("cannot write the request as JSON")?;
    text.push(b'\n');
    anyhow::ensure!(text.len() <= LINE_MAX, "the request is too long");
    Ok(text)
}

fn connect(run: &Path) -> Result<UnixStream> {
    let (_folder, path) = near(run)?;
    UnixStream::connect(path).with_context(|| {
        format!(
            "{} does not go on now: nobody listens at its control socket (name another run with --run)",
            run.display()
        )
    })
}

fn answer(stream: UnixStream) -> Result<Answer> {
    let mut text = String::new();
    let mut reader = BufReader::new(stream).take(LINE_MAX as u64);
    reader
        .read_line(&mut text)
        .context("the run does not answer any more")?;
    if text.is_empty() {
        return Err(anyhow!("the run has ended before it answered"));
    }
    let reply: Reply = serde_json::from_str(&text).context("the run's answer is no answer")?;
    reply.map_err(|why| anyhow!(why))
}
