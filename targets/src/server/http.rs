//! HTTP: paths, bodies, status codes. Nothing is decided here but what is a bad request.
//!
//! Every answer is JSON. A refusal names its kind and its reason; 503, which had no effect, carries `Retry-After`, and 504 (nobody knows) does not; a wrong node
//! answers 307 with the right one's address. Peers come in by `POST /peer`, whose bodies have no limit
//! (snapshots); clients' bodies have one of a mebibyte, and their values may nest only so deep: what is
//! acknowledged is wrapped in messages and records, and must still be readable there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::ServerError;
use super::arrivals::{self, Entrance};
use super::node::{Batch, Call};
use super::partitions::Placement;
use super::peers::PeerBody;
use super::{collections, transactions};
use crate::client::Request;
use crate::replicas::NodeName;
use crate::replicas::single_leader::{
    self as replica, MemberChange, Operation, Reply, WriteConcern, operation, said,
};
use crate::wire::{self, ErrorBody, MembersBody, Said, kind};

const KEY_MAX: usize = 512;
const BODY_MAX: usize = 1 << 20;
/// How deep arrays and objects may nest in a client's value. `serde_json` reads 128 levels, and a value is
/// read again inside of messages, log records and snapshots, which add some ten.
const DEPTH_MAX: usize = 32;

/// What the handlers share.
pub(super) struct App {
    pub(super) name: NodeName,
    /// One at least.
    pub(super) partitions: Vec<Partition>,
    pub(super) placement: Placement,
    pub(super) addresses: BTreeMap<NodeName, SocketAddr>,
}

/// The ways to the replica of one partition.
pub(super) struct Partition {
    pub(super) entrance: Entrance,
    pub(super) statuses: mpsc::Sender<oneshot::Sender<wire::Status>>,
}

pub(super) type Shared = State<Arc<App>>;
pub(super) type Body = Result<Bytes, BytesRejection>;
pub(super) type Key = Result<Path<String>, PathRejection>;
/// A refusal on the way: the handlers' error. Boxed, for a response is large.
pub(super) struct Refused(Box<Response>);

/// What a handler answers.
pub(super) type Answered = Result<Response, Refused>;

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

/// Serves until the listener fails.
pub(super) async fn serve(listener: TcpListener, app: Arc<App>) -> Result<(), ServerError> {
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let failed = |error| ServerError::System("the server socket failed", error);
    axum::serve(listener, router(app)).await.map_err(failed)
}

fn router(app: Arc<App>) -> Router {
    let peer = || post(receive).layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/kv", get(transactions::read_registers))
        .route("/kv/{key}", get(read_register).put(write))
        .route("/kv/{key}/cas", post(compare_and_set))
        .route("/txn", post(transactions::transact))
        .route("/transfer", post(transactions::transfer))
        .route("/set/{key}", get(read_set).post(add))
        .route(
            "/counter/{key}",
            get(collections::read_counter).post(collections::increment),
        )
        .route(
            "/queue/{key}",
            get(collections::read_head).post(collections::enqueue),
        )
        .route("/queue/{key}/dequeue", post(collections::dequeue))
        .route("/queue/{key}/drain", post(collections::drain))
        .route("/ids", post(generate_id))
        .route("/status", get(status))
        .route(wire::MEMBERS_PATH, post(change_members))
        .route(wire::CLOCK_PATH, get(clock))
        .route("/peer", peer())
        .route("/peer/{partition}", peer())
        .fallback(async |State(app): Shared, uri: Uri| {
            app.refuse(
                StatusCode::NOT_FOUND,
                kind::NOT_FOUND,
                format!("no such path: {}", uri.path()),
            )
        })
        .method_not_allowed_fallback(async |State(app): Shared| {
            let message = "this path knows other methods".to_owned();
            app.refuse(StatusCode::METHOD_NOT_ALLOWED, kind::METHOD, message)
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(app)
}

async fn read_register(State(app): Shared, key: Key, headers: HeaderMap, uri: Uri) -> Answered {
    app.read(key, &headers, &uri, |key| Request::Read { key })
        .await
}

async fn read_set(State(app): Shared, key: Key, headers: HeaderMap, uri: Uri) -> Answered {
    app.read(key, &headers, &uri, |key| Request::ReadSet { key })
        .await
}

async fn write(State(app): Shared, key: Key, headers: HeaderMap, uri: Uri, body: Body) -> Answered {
    let request = |key, wire::WriteBody { value }| Request::Write { key, value };
    app.change(key, &headers, &uri, body, request).await
}

async fn compare_and_set(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Answered {
    let request = |key, wire::CasBody { old, new }| Request::Cas { key, old, new };
    app.change(key, &headers, &uri, body, request).await
}

async fn add(State(app): Shared, key: Key, headers: HeaderMap, uri: Uri, body: Body) -> Answered {
    let request = |key, wire::AddBody { element }| Request::Add { key, element };
    app.change(key, &headers, &uri, body, request).await
}

async fn generate_id(State(app): Shared, headers: HeaderMap, uri: Uri) -> Answered {
    let concern = app.concern(&uri)?;
    let operation = operation(Request::GenerateId, false);
    app.submit(&headers, &uri, operation, concern).await
}

async fn change_members(State(app): Shared, headers: HeaderMap, uri: Uri, body: Body) -> Answered {
    app.reconfigure(&headers, &uri, body).await
}

async fn status(State(app): Shared) -> Response {
    let mut all = Vec::new();
    for partition in &app.partitions {
        let (sender, status) = oneshot::channel();
        let sent = partition.statuses.try_send(sender).is_ok();
        match status.await {
            Ok(status) if sent => all.push(status),
            _ => return app.overloaded("too many wait for the status"),
        }
    }
    let mut first = all.remove(0);
    first.partitions = all;
    Json(first).into_response()
}

/// The wall clock, which nothing here decides by: whoever makes it wrong wants to see that it is.
async fn clock() -> Response {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let wall_ms = since.map_or(0.0, |since| since.as_secs_f64() * 1e3);
    Json(serde_json::json!({ "wall_ms": wall_ms })).into_response()
}

async fn receive(State(app): Shared, partition: Option<Path<usize>>, body: Body) -> Answered {
    let number = partition.map_or(0, |Path(number)| number);
    let PeerBody { from, messages } = app.parse(body)?;
    let Some(partition) = app.partitions.get(number) else {
        return Err(app.bad(format!("there is no partition {number}")));
    };
    partition.entrance.peer(Batch { from, messages });
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl App {
    pub(super) async fn read(
        &self,
        key: Key,
        headers: &HeaderMap,
        uri: &Uri,
        request: fn(String) -> Request,
    ) -> Answered {
        let request = request(self.key(key)?);
        let local = match uri.query() {
            None | Some("" | "local=false") => false,
            Some("local=true") => true,
            Some(other) => return Err(self.bad(format!("unknown query `{other}`"))),
        };
        let operation = operation(request, local);
        self.submit(headers, uri, operation, None).await
    }

    pub(super) async fn change<B: DeserializeOwned>(
        &self,
        key: Key,
        headers: &HeaderMap,
        uri: &Uri,
        body: Body,
        request: impl FnOnce(String, B) -> Request,
    ) -> Answered {
        let key = self.key(key)?;
        let concern = self.concern(uri)?;
        let body = self.parse_shallow(body, 1)?;
        let operation = operation(request(key, body), false);
        self.submit(headers, uri, operation, concern).await
    }

    /// A change without a body.
    pub(super) async fn take(
        &self,
        key: Key,
        headers: &HeaderMap,
        uri: &Uri,
        request: fn(String) -> Request,
    ) -> Answered {
        let key = self.key(key)?;
        let concern = self.concern(uri)?;
        let operation = operation(request(key), false);
        self.submit(headers, uri, operation, concern).await
    }

    /// Hands the request to the replica and waits for its reply.
    pub(super) async fn submit(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        operation: Operation,
        concern: Option<WriteConcern>,
    ) -> Answered {
        let partitions = self.partitions.len();
        let Some(partition) = self.placement.of_all(&operation, partitions) else {
            return Err(self.bad("the keys lie in different partitions".to_owned()));
        };
        self.submit_to(partition, headers, uri, operation, concern)
            .await
    }

    async fn submit_to(
        &self,
        partition: usize,
        headers: &HeaderMap,
        uri: &Uri,
        operation: Operation,
        concern: Option<WriteConcern>,
    ) -> Answered {
        let Some(way) = self.partitions.get(partition) else {
            return Err(self.bad(format!("there is no partition {partition}")));
        };
        let session = self.session(headers, partition)?;
        let (sender, reply) = oneshot::channel();
        let call = Call {
            session,
            operation,
            concern,
            reply: sender,
        };
        match way.entrance.client(call) {
            Ok(()) => {}
            Err(arrivals::Refused::Full) => {
                return Ok(self.overloaded("too many requests wait already"));
            }
            Err(arrivals::Refused::Closed) => {
                return Ok(self.unavailable(kind::NO_LEADER, "this node stops".to_owned()));
            }
        }
        match reply.await {
            Ok(reply) => Ok(self.answer(uri, partition, reply)),
            Err(_) => Ok(self.refuse(
                StatusCode::GATEWAY_TIMEOUT,
                kind::UNKNOWN,
                "this node stops".to_owned(),
            )),
        }
    }

    fn answer(&self, uri: &Uri, number: usize, reply: Reply) -> Response {
        let of = self.partitions.len();
        match said(&self.name, replica::Partition { number, of }, reply) {
            Said::Answer(body) => Json(body).into_response(),
            Said::Refused(status, body) => refused(status, body),
            Said::Redirect(to) => self.redirect(uri, &to),
        }
    }

    fn redirect(&self, uri: &Uri, to: &NodeName) -> Response {
        let location = self
            .addresses
            .get(to)
            .map(|address| format!("http://{address}{uri}"));
        let value = location.and_then(|location| HeaderValue::try_from(location).ok());
        let Some(location) = value else {
            return self.unavailable(kind::NO_LEADER, format!("{to} has no address"));
        };
        let body = Json(self.error(kind::REDIRECT, format!("ask {to}")));
        let headers = [(header::LOCATION, location)];
        (StatusCode::TEMPORARY_REDIRECT, headers, body).into_response()
    }

    fn key(&self, key: Key) -> Result<String, Refused> {
        match key {
            Ok(Path(key)) => self.check_key(&key).map(|()| key),
            Err(rejection) => Err(self.bad(rejection.body_text())),
        }
    }

    /// `POST /members`, of one partition: `?partition=1`.
    async fn reconfigure(&self, headers: &HeaderMap, uri: &Uri, body: Body) -> Answered {
        let query = uri.query().unwrap_or_default();
        let number = match query.strip_prefix("partition=").map(str::parse) {
            None if query.is_empty() => 0,
            Some(Ok(number)) => number,
            _ => return Err(self.bad(format!("unknown query `{query}`"))),
        };
        let change = match self.parse(body)? {
            MembersBody::Join(name) => MemberChange::Join(NodeName(name)),
            MembersBody::Leave(name) => MemberChange::Leave(NodeName(name)),
        };
        let operation = Operation::Reconfigure(change);
        self.submit_to(number, headers, uri, operation, None).await
    }

    pub(super) fn check_key(&self, key: &str) -> Result<(), Refused> {
        match key.len() {
            0 => Err(self.bad("a key is empty".to_owned())),
            n if n > KEY_MAX => Err(self.bad(format!("the key is longer than {KEY_MAX} bytes"))),
            _ => Ok(()),
        }
    }

    /// A client's body: so many objects around its values.
    pub(super) fn parse_shallow<B: DeserializeOwned>(
        &self,
        body: Body,
        around: usize,
    ) -> Result<B, Refused> {
        if let Ok(bytes) = &body
            && depth(bytes) > DEPTH_MAX + around
        {
            return Err(self.bad(format!(
                "bad body: a value nests deeper than {DEPTH_MAX} levels"
            )));
        }
        self.parse(body)
    }

    fn parse<B: DeserializeOwned>(&self, body: Body) -> Result<B, Refused> {
        let bytes = body.map_err(|rejection| {
            let status = rejection.status();
            let too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
            let kind = if too_large {
                kind::TOO_LARGE
            } else {
                kind::BAD_REQUEST
            };
            Refused::from(self.refuse(status, kind, rejection.body_text()))
        })?;
        serde_json::from_slice(&bytes).map_err(|error| self.bad(format!("bad body: {error}")))
    }

    pub(super) fn bad(&self, message: String) -> Refused {
        self.refuse(StatusCode::BAD_REQUEST, kind::BAD_REQUEST, message)
            .into()
    }

    fn overloaded(&self, message: &str) -> Response {
        self.unavailable(kind::OVERLOADED, message.to_owned())
    }

    fn unavailable(&self, kind: &str, message: String) -> Response {
        refused(503, self.error(kind, message))
    }

    fn refuse(&self, status: StatusCode, kind: &str, message: String) -> Response {
        (status, Json(self.error(kind, message))).into_response()
    }

    fn error(&self, kind: &str, message: String) -> ErrorBody {
        let (error, node) = (kind.to_owned(), Some(self.name.0.clone()));
        ErrorBody {
            error,
            message,
            value: None::<Value>,
            node,
        }
    }
}

/// A refusal; where it may help to come again, it says when.
fn refused(status: u16, body: ErrorBody) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let soon = HeaderValue::from_static("1");
        response.headers_mut().insert(header::RETRY_AFTER, soon);
    }
    response
}

/// How deep arrays and objects nest in a JSON text; of anything else, some number.
fn depth(json: &[u8]) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_but_not_those_in_strings() {
        for (json, expected) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"value":[[],[[1]],{}]}"#, 4),
            (r#"{"value":"[[[["}"#, 1),
            (r#"{"value":"\"[[\\"}"#, 1),
            (r#"{"[\\":[]}"#, 2),
            ("]]][", 1),
        ] {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn the_deepest_value_is_read_again_wherever_it_is_wrapped() {
        use crate::replicas::single_leader::{Append, Command, Entry, KeySpace, Message, Snapshot};
        use crate::replicas::{LogPosition, Term};

        let nested = (0..DEPTH_MAX).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let (key, element) = ("s".to_owned(), nested);
        let command = Command::Add { key, element };
        let (term, position) = (Term(1), LogPosition(1));
        let mut state = KeySpace::default();
        state.apply(position, &command);
        let snapshot = Arc::new(Snapshot {
            position,
            term,
            members: Vec::new(),
            state,
        });
        let append = Message::Append(Append {
            term,
            round: 1,
            previous: (Term(0), LogPosition::START),
            entries: vec![Arc::new(Entry {
                term,
                position,
                command,
            })],
            committed: position,
            admit: false,
            incarnation: None,
        });
        let install = Message::Install {
            term,
            round: 1,
            snapshot,
        };
        let from = "n1".into();
        let messages = vec![append, install];
        let json = serde_json::to_vec(&PeerBody { from, messages }).unwrap();
        assert!(depth(&json) > DEPTH_MAX);
        serde_json::from_slice::<PeerBody>(&json).unwrap();
    }
}
