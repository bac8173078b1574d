//! The client: one session, one request at a time, and an honest word about every failure.
//!
//! It follows redirects, and tries nothing twice: a request that may have been sent is never sent again.
//! What matters most is whether a failure is *definite* (the request surely had no effect) or open: a
//! checker that is told "it failed" of a write that took effect raises a false alarm. So everything that
//! is not certain is open, except for reads, which have no effect.

mod request;

pub use request::Request;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::{StatusCode, Url, header};
use serde_json::Value;

use crate::registry::NodeAddress;
use crate::route::{HOPS_MAX, Route};
use crate::wire::{self, AnswerBody, ErrorBody, kind};

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The value read, written, added, taken or generated.
    pub value: Value,
    /// Who answered.
    pub node: String,
    /// In which term.
    pub term: Option<u64>,
    /// The log position of the last change of the item.
    pub version: Option<u64>,
    /// How far the replica was that answered.
    pub seen: u64,
    /// Of which partition.
    pub partition: usize,
}

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct CallError {
    /// It surely had no effect; otherwise nobody knows.
    pub definite: bool,
    /// One of [`wire::kind`].
    pub kind: String,
    /// The reason, for people.
    pub message: String,
    /// Who said so, if anybody did.
    pub node: Option<String>,
    /// For a refusal by the state: what was there instead.
    pub current: Option<Value>,
}

/// One session with a cluster.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    nodes: Vec<NodeAddress>,
    route: Route,
    /// From when on its times count.
    begun: Instant,
    timeout: Duration,
}

impl Client {
    /// A session that begins every call at node `home`, or, without one, at the node that answered last.
    pub fn new(
        nodes: &[NodeAddress],
        session: u64,
        home: Option<usize>,
        timeout: Duration,
    ) -> Self {
        let names = nodes.iter().map(|node| node.name.clone()).collect();
        Self {
            http: http_client(timeout),
            nodes: nodes.to_vec(),
            route: Route::new(names, session, home),
            begun: Instant::now(),
            timeout,
        }
    }

    /// Does it, within the session's time-out, redirects included.
    pub async fn call(&mut self, request: &Request) -> Result<Answer, CallError> {
        self.call_by(request, Instant::now() + self.timeout).await
    }

    /// The same by a deadline of the caller's, for what takes more than one request. After it nothing is sent.
    pub async fn call_by(
        &mut self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        if deadline <= Instant::now() {
            let message = "the time was up before it was sent";
            return Err(CallError::definite(kind::TIMEOUT, message));
        }
        let start = self.route.start();
        let Some(node) = self.nodes.get(start).cloned() else {
            return Err(CallError::definite(kind::UNREACHABLE, "there are no nodes"));
        };
        let result = self.call_from(&node, request, deadline).await;
        let now = self.begun.elapsed();
        self.route.ended(start, request, &result, now);
        result.map_err(|error| error.of(request))
    }

    /// Begins the next call at this node, unless there is a home.
    pub fn begin_at(&mut self, node: usize) {
        self.route.begin_at(node);
    }

    /// What that replica has applied itself: reads only. Changes nothing.
    pub async fn read_local(&self, node: usize, request: &Request) -> Result<Answer, CallError> {
        let Some(node) = self.nodes.get(node).filter(|_| request.is_read()) else {
            return Err(CallError::definite(
                kind::BAD_REQUEST,
                "only reads, of known nodes",
            ));
        };
        let deadline = Instant::now() + self.timeout;
        let sent = match request.url(node.address) {
            Ok(mut url) => {
                url.query_pairs_mut().append_pair("local", "true");
                self.send(url, request, deadline).await
            }
            Err(error) => Err(error),
        };
        match sent {
            Ok(Step::Answered(answer)) => Ok(answer),
            Ok(Step::Redirected(_)) => Err(CallError::definite(kind::REDIRECT, "asked elsewhere")),
            Err(error) => Err(error.of(request)),
        }
    }

    async fn call_from(
        &mut self,
        node: &NodeAddress,
        request: &Request,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let first = request.url(node.address)?;
        let mut url = first.clone();
        for _ in 0..=HOPS_MAX {
            match self.send(url.clone(), request, deadline).await {
                Ok(Step::Answered(answer)) => return Ok(answer),
                Ok(Step::Redirected(to)) => url = to,
                Err(error) if error.kind == kind::UNREACHABLE && self.moves_on(&url, request) => {
                    url.clone_from(&first);
                }
                Err(error) => return Err(error),
            }
        }
        Err(CallError::definite(
            kind::REDIRECT_LOOP,
            "sent from node to node",
        ))
    }

    /// Whether the call begins again, because the replica at this address is dead.
    fn moves_on(&mut self, url: &Url, request: &Request) -> bool {
        let dead = self.nodes.iter().position(|node| is_at(url, node.address));
        dead.is_some_and(|dead| self.route.moves_on(dead, request))
    }

    async fn send(
        &self,
        url: Url,
        request: &Request,
        deadline: Instant,
    ) -> Result<Step, CallError> {
        let (method, body) = request.method_and_body();
        let told = self.route.told(self.begun.elapsed());
        let mut builder = self
            .http
            .request(method, url)
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .header(wire::SESSION_HEADER, told.number)
            .header(wire::SEEN_HEADER, seen_header(&told.seen));
        if let Some(since) = told.since_write {
            builder = builder.header(wire::SINCE_WRITE_HEADER, since.as_millis().to_string());
        }
        if !told.avoid.is_empty() {
            builder = builder.header(wire::AVOID_HEADER, told.avoid.join(","));
        }
        if let Some(body) = body {
            builder = builder.json(&body);
        }
        let response = builder
            .send()
            .await
            .map_err(|error| CallError::from_send(&error))?;
        read_response(response).await
    }
}

fn seen_header(seen: &BTreeMap<usize, u64>) -> String {
    let pairs = seen.iter().map(|(of, position)| format!("{of}:{position}"));
    pairs.collect::<Vec<_>>().join(",")
}

enum Step {
    Answered(Answer),
    Redirected(Url),
}

async fn read_response(response: reqwest::Response) -> Result<Step, CallError> {
    let status = response.status();
    if status == StatusCode::TEMPORARY_REDIRECT {
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|v| v.to_str().ok());
        let url = location.and_then(|text| Url::parse(text).ok());
        let broken = || CallError::definite(kind::REDIRECT, "a redirect without an address");
        // The body is read so that the connection can be used again.
        let _ = response.bytes().await;
        return url.map(Step::Redirected).ok_or_else(broken);
    }
    if status == StatusCode::OK {
        let body = response.json::<AnswerBody>().await;
        let body = body.map_err(|error| CallError::from_send(&error))?;
        return Ok(Step::Answered(body.into()));
    }
    let body = response
        .json::<ErrorBody>()
        .await
        .unwrap_or_else(|_| ErrorBody {
            error: status.as_str().to_owned(),
            message: "an answer that cannot be read".to_owned(),
            value: None,
            node: None,
        });
    Err(CallError::refused(status.as_u16(), body))
}

impl From<AnswerBody> for Answer {
    fn from(body: AnswerBody) -> Self {
        let AnswerBody {
            value,
            node,
            term,
            version,
            seen,
            partition,
        } = body;
        Self {
            value,
            node,
            term,
            version,
            seen,
            partition,
        }
    }
}

fn is_at(url: &Url, address: SocketAddr) -> bool {
    let host = url
        .host_str()
        .map(|host| host.trim_matches(['[', ']']).to_owned());
    host == Some(address.ip().to_string()) && url.port_or_known_default() == Some(address.port())
}

/// A client that follows nothing by itself and uses no proxy. Connecting gets most of the time-out, so that
/// "no connection" can be told from "no answer".
fn http_client(timeout: Duration) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .connect_timeout(timeout.mul_f64(0.9))
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(1)
        .build()
        .expect("a plain HTTP client needs nothing that could be missing")
}

impl CallError {
    /// It surely had no effect.
    pub fn definite(kind: &str, message: &str) -> Self {
        Self {
            definite: true,
            ..Self::open(kind, message)
        }
    }

    /// Nobody knows whether it had an effect.
    pub fn open(kind: &str, message: &str) -> Self {
        let (kind, message) = (kind.to_owned(), message.to_owned());
        Self {
            definite: false,
            kind,
            message,
            node: None,
            current: None,
        }
    }

    /// A node has refused it with this status.
    pub fn refused(status: u16, body: ErrorBody) -> Self {
        Self {
            definite: wire::is_definite(status, &body.error),
            kind: body.error,
            message: body.message,
            node: body.node,
            current: body.value,
        }
    }

    /// No connection: nothing was sent. Everything else: it may have arrived.
    fn from_send(error: &reqwest::Error) -> Self {
        let (definite, kind) = match error {
            _ if error.is_connect() => (true, kind::UNREACHABLE),
            _ if error.is_builder() => (true, kind::BAD_REQUEST),
            _ if error.is_timeout() => (false, kind::TIMEOUT),
            _ => (false, kind::RESET),
        };
        let mut message = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self {
            definite,
            kind: kind.to_owned(),
            message,
            node: None,
            current: None,
        }
    }

    /// A read has no effect, so it failed for sure.
    #[must_use]
    pub fn of(mut self, request: &Request) -> Self {
        self.definite |= request.is_read();
        self
    }
}

/// A node's status, or none where it cannot be reached in time.
pub async fn status(
    client: &reqwest::Client,
    node: &NodeAddress,
    timeout: Duration,
) -> Option<wire::Status> {
    let url = format!("http://{}/status", node.address);
    let response = client.get(url).timeout(timeout).send().await.ok()?;
    response.json().await.ok()
}
