//! The client: one session, one request at a time, and an honest word about every failure.
//!
//! It follows redirects, and tries nothing twice: a request that may have been sent is never sent again.
//! What matters most is whether a failure is *definite* (the request surely had no effect) or open: a
//! checker that is told "it failed" of a write that took effect raises a false alarm. So everything that
//! is not certain is open, except for reads, which have no effect.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode, Url, header};
use serde_json::{Value, json};

use crate::registry::NodeAddress;
use crate::wire::{self, AnswerBody, ErrorBody, kind};

/// Redirects followed in one call.
const HOPS_MAX: usize = 4;

/// What a client can ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// The value of a register.
    Read {
        /// Which.
        key: String,
    },
    /// Set a register.
    Write {
        /// Which.
        key: String,
        /// To what.
        value: Value,
    },
    /// Set a register if it holds `old` (null: or is absent).
    Cas {
        /// Which.
        key: String,
        /// What it must hold.
        old: Value,
        /// What it holds then.
        new: Value,
    },
    /// Add to a set.
    Add {
        /// Which.
        key: String,
        /// What.
        element: Value,
    },
    /// The elements of a set.
    ReadSet {
        /// Which.
        key: String,
    },
    /// A number that nobody else gets.
    GenerateId,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The value read, written, added or generated.
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
    /// For a failed compare-and-set: what was there instead.
    pub current: Option<Value>,
}

/// One session with a cluster.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    nodes: Vec<NodeAddress>,
    session: u64,
    home: Option<usize>,
    /// Where the next call begins when there is no home.
    next: usize,
    /// Replicas that refused a connection (`read=sticky` moves on to another).
    avoid: Vec<String>,
    /// The newest position that any answer has shown of each partition.
    seen: BTreeMap<usize, u64>,
    /// When the last write was acknowledged.
    wrote: Option<Instant>,
    /// Whether reads go to one node after another.
    spreads_reads: bool,
    reads: usize,
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
        let next = home.unwrap_or_else(|| session as usize % nodes.len().max(1));
        let http = http_client(timeout);
        let nodes = nodes.to_vec();
        Self {
            http,
            nodes,
            session,
            home,
            next,
            avoid: Vec::new(),
            seen: BTreeMap::new(),
            wrote: None,
            spreads_reads: false,
            reads: session as usize,
            timeout,
        }
    }

    /// With `true` reads begin at one node after another, as behind a load balancer, wherever writes begin.
    #[must_use]
    pub fn spreading_reads(self, spreads_reads: bool) -> Self {
        Self {
            spreads_reads,
            ..self
        }
    }

    /// Another session with the same cluster, in the same way.
    #[must_use]
    pub fn renewed(&self, session: u64) -> Self {
        Self::new(&self.nodes, session, self.home, self.timeout).spreading_reads(self.spreads_reads)
    }

    /// Does it, within the session's time-out, redirects included.
    pub async fn call(&mut self, request: &Request) -> Result<Answer, CallError> {
        let start = self.start_of(request);
        let Some(node) = self.nodes.get(start).cloned() else {
            return Err(CallError::definite(kind::UNREACHABLE, "there are no nodes"));
        };
        let deadline = Instant::now() + self.timeout;
        let result = self.call_from(&node, request, deadline).await;
        if let Ok(answer) = &result {
            let seen = self.seen.entry(answer.partition).or_default();
            *seen = answer.seen.max(*seen);
            self.wrote = (!request.is_read()).then(Instant::now).or(self.wrote);
        }
        if self.spreads_reads && request.is_read() {
            return result.map_err(|error| error.of(request));
        }
        self.next = match &result {
            Ok(answer) => self.index_of(&answer.node).unwrap_or(start),
            // A refusal that is the request's own fault says nothing against the node.
            Err(error) if error.kind == kind::PRECONDITION => start,
            Err(_) => (start + 1) % self.nodes.len(),
        };
        result.map_err(|error| error.of(request))
    }

    fn start_of(&mut self, request: &Request) -> usize {
        if self.spreads_reads && request.is_read() {
            self.reads += 1;
            return self.reads % self.nodes.len().max(1);
        }
        self.home.unwrap_or(self.next)
    }

    /// What that replica has applied itself: `Read` and `ReadSet` only. Changes nothing.
    pub async fn read_local(&self, node: usize, request: &Request) -> Result<Answer, CallError> {
        let readable = matches!(request, Request::Read { .. } | Request::ReadSet { .. });
        let Some(node) = self.nodes.get(node).filter(|_| readable) else {
            return Err(CallError::definite(
                kind::BAD_REQUEST,
                "only reads, of known nodes",
            ));
        };
        let deadline = Instant::now() + self.timeout;
        let sent = match request.url(node.address) {
            Ok(mut url) => {
                url.set_query(Some("local=true"));
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

    /// A read whose replica is dead is asked again where the call began, which names another replica if
    /// reads are sticky. (Only reads: a write goes to the leader or nowhere.)
    fn moves_on(&mut self, url: &Url, request: &Request) -> bool {
        let dead = self.nodes.iter().find(|node| is_at(url, node.address));
        let Some(name) = dead.map(|node| node.name.clone()) else {
            return false;
        };
        let moves = request.is_read() && !self.avoid.contains(&name);
        if moves {
            self.avoid.push(name);
            // Not all of them: then none would be left to ask.
            if self.avoid.len() == self.nodes.len() {
                self.avoid.remove(0);
            }
        }
        moves
    }

    async fn send(
        &self,
        url: Url,
        request: &Request,
        deadline: Instant,
    ) -> Result<Step, CallError> {
        let (method, body) = request.method_and_body();
        let mut builder = self
            .http
            .request(method, url)
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .header(wire::SESSION_HEADER, self.session)
            .header(wire::SEEN_HEADER, self.seen_header());
        if let Some(wrote) = self.wrote {
            let since = wrote.elapsed().as_millis();
            builder = builder.header(wire::SINCE_WRITE_HEADER, since.to_string());
        }
        if !self.avoid.is_empty() {
            builder = builder.header(wire::AVOID_HEADER, self.avoid.join(","));
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

    fn seen_header(&self) -> String {
        let seen = self.seen.iter();
        let pairs: Vec<_> = seen
            .map(|(of, position)| format!("{of}:{position}"))
            .collect();
        pairs.join(",")
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }
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
        let AnswerBody {
            value,
            node,
            term,
            version,
            seen,
            partition,
        } = body.map_err(|error| CallError::from_send(&error))?;
        return Ok(Step::Answered(Answer {
            value,
            node,
            term,
            version,
            seen,
            partition,
        }));
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
    Err(CallError {
        definite: wire::is_definite(status.as_u16(), &body.error),
        kind: body.error,
        message: body.message,
        node: body.node,
        current: body.value,
    })
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
    fn definite(kind: &str, message: &str) -> Self {
        let (kind, message) = (kind.to_owned(), message.to_owned());
        Self {
            definite: true,
            kind,
            message,
            node: None,
            current: None,
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
    fn of(mut self, request: &Request) -> Self {
        self.definite |= request.is_read();
        self
    }
}

impl Request {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::ReadSet { .. })
    }

    fn url(&self, address: SocketAddr) -> Result<Url, CallError> {
        let segments: &[&str] = match self {
            Self::Read { key } | Self::Write { key, .. } => &["kv", key],
            Self::Cas { key, .. } => &["kv", key, "cas"],
            Self::Add { key, .. } | Self::ReadSet { key } => &["set", key],
            Self::GenerateId => &["ids"],
        };
        // A URL would lose these.
        if segments
            .iter()
            .any(|segment| matches!(*segment, "" | "." | ".."))
        {
            return Err(CallError::definite(
                kind::BAD_REQUEST,
                "no key can be empty, `.` or `..`",
            ));
        }
        let broken = || CallError::definite(kind::BAD_REQUEST, "the address makes no URL");
        let mut url = Url::parse(&format!("http://{address}/")).map_err(|_| broken())?;
        url.path_segments_mut()
            .map_err(|()| broken())?
            .clear()
            .extend(segments);
        Ok(url)
    }

    fn method_and_body(&self) -> (Method, Option<Value>) {
        match self {
            Self::Read { .. } | Self::ReadSet { .. } => (Method::GET, None),
            Self::Write { value, .. } => (Method::PUT, Some(json!({ "value": value }))),
            Self::Cas { old, new, .. } => (Method::POST, Some(json!({ "old": old, "new": new }))),
            Self::Add { element, .. } => (Method::POST, Some(json!({ "element": element }))),
            Self::GenerateId => (Method::POST, None),
        }
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
