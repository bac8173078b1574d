//! One question to a node over HTTP, from code that waits for the answer: the nemesis reads a clock, or asks for a change of the members.

use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection for one question.
pub(crate) struct Question {
    stream: TcpStream,
    address: SocketAddr,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// Its HTTP status.
    pub(crate) status: u16,
    /// Where else to ask.
    pub(crate) location: Option<String>,
    /// Its body; null where that is no JSON.
    pub(crate) body: Value,
}

impl Question {
    /// Connects; neither that nor the answer may take longer than the limit.
    pub(crate) fn to(address: SocketAddr, limit: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, limit).context("no connection")?;
        stream
            .set_read_timeout(Some(limit))
            .context("no time-out")?;
        Ok(Self { stream, address })
    }

    /// `GET`.
    pub(crate) fn get(self, path: &str) -> Result<Answer> {
        self.ask("GET", path, "")
    }

    /// `POST` of JSON.
    pub(crate) fn post(self, path: &str, body: &str) -> Result<Answer> {
        self.ask("POST", path, body)
    }

    fn ask(mut self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let (address, length) = (self.address, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream
            .write_all(request.as_bytes())
            .context("cannot ask")?;
        let mut answer = String::new();
        self.stream
            .read_to_string(&mut answer)
            .context("no answer")?;
        read(&answer)
    }
}

fn read(answer: &str) -> Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let location = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("location");
        is_it.then(|| value.trim().to_owned())
    });
    Ok(Answer {
        status: status.context("no status")?,
        location,
        body: serde_json::from_str(body).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_says_where_to() {
        let text = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://10.77.2.2:8000/members\r\n\r\n{\"error\":\"redirect\"}";
        let answer = read(text).unwrap();
        assert_eq!(answer.status, 307);
        assert_eq!(
            answer.location.as_deref(),
            Some("http://10.77.2.2:8000/members")
        );
        assert_eq!(answer.body["error"], "redirect");
        assert!(read("HTTP/1.1").is_err());
    }
}
