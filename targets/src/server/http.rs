//! HTTP: paths, bodies, status codes. Nothing is decided here but what is a bad request.
//!
//! Every answer is JSON. A refusal names its kind and its reason; 503 carries `Retry-After`; a wrong node
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
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::ServerError;
use super::node::{Batch, Call};
use super::peers::PeerBody;
use crate::client::Request;
use crate::replicas::NodeName;
use crate::replicas::single_leader::{Operation, Reply, operation, said};
use crate::wire::{self, ErrorBody, Said, kind};

const KEY_MAX: usize = 512;
const BODY_MAX: usize = 1 << 20;
/// How deep arrays and objects may nest in a client's value. `serde_json` reads 128 levels, and a value is
/// read again inside of messages, log records and snapshots, which add some ten.
const DEPTH_MAX: usize = 32;

/// What the handlers share.
pub(super) struct App {
    pub(super) name: NodeName,
    pub(super) clients: mpsc::Sender<Call>,
    pub(super) statuses: mpsc::Sender<oneshot::Sender<wire::Status>>,
    pub(super) inbox: mpsc::Sender<Batch>,
    pub(super) addresses: BTreeMap<NodeName, SocketAddr>,
}

type Shared = State<Arc<App>>;
type Body = Result<Bytes, BytesRejection>;
type Key = Result<Path<String>, PathRejection>;
/// A refusal on the way: the handlers' error. Boxed, for a response is large.
struct Refused(Box<Response>);

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
    let peer = post(receive).layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/kv/{key}", get(read_register).put(write))
        .route("/kv/{key}/cas", post(compare_and_set))
        .route("/set/{key}", get(read_set).post(add))
        .route("/ids", post(generate_id))
        .route("/status", get(status))
        .route(wire::CLOCK_PATH, get(clock))
        .route("/peer", peer)
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

async fn read_register(State(app): Shared, key: Key, headers: HeaderMap, uri: Uri) -> Response {
    app.read(key, &headers, &uri, |key| Request::Read { key })
        .await
        .unwrap_or_else(|refused| *refused.0)
}

async fn read_set(State(app): Shared, key: Key, headers: HeaderMap, uri: Uri) -> Response {
    app.read(key, &headers, &uri, |key| Request::ReadSet { key })
        .await
        .unwrap_or_else(|refused| *refused.0)
}

async fn write(State(app): Shared, key: Key, headers: HeaderMap, uri: Uri, body: Body) -> Response {
    let request = |key, wire::WriteBody { value }| Request::Write { key, value };
    app.change(key, &headers, &uri, body, request)
        .await
        .unwrap_or_else(|refused| *refused.0)
}

async fn compare_and_set(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Response {
    let request = |key, wire::CasBody { old, new }| Request::Cas { key, old, new };
    app.change(key, &headers, &uri, body, request)
        .await
        .unwrap_or_else(|refused| *refused.0)
}

async fn add(State(app): Shared, key: Key, headers: HeaderMap, uri: Uri, body: Body) -> Response {
    let request = |key, wire::AddBody { element }| Request::Add { key, element };
    app.change(key, &headers, &uri, body, request)
        .await
        .unwrap_or_else(|refused| *refused.0)
}

async fn generate_id(State(app): Shared, headers: HeaderMap, uri: Uri) -> Response {
    let operation = operation(Request::GenerateId, false);
    let result = match app.no_query(&uri) {
        Ok(()) => app.submit(&headers, &uri, operation).await,
        Err(refused) => Err(refused),
    };
    result.unwrap_or_else(|refused| *refused.0)
}

async fn status(State(app): Shared) -> Response {
    let (sender, status) = oneshot::channel();
    let sent = app.statuses.try_send(sender).is_ok();
    match status.await {
        Ok(status) if sent => Json(status).into_response(),
        _ => app.overloaded("too many wait for the status"),
    }
}

/// The wall clock, which nothing here decides by: whoever makes it wrong wants to see that it is.
async fn clock() -> Response {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let wall_ms = since.map_or(0.0, |since| since.as_secs_f64() * 1e3);
    Json(serde_json::json!({ "wall_ms": wall_ms })).into_response()
}

async fn receive(State(app): Shared, body: Body) -> Response {
    match app.parse::<PeerBody>(body) {
        Ok(PeerBody { from, messages }) => {
            // A full queue drops messages, as a network does.
            let _ = app.inbox.try_send(Batch { from, messages });
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refused) => *refused.0,
    }
}

impl App {
    async fn read(
        &self,
        key: Key,
        headers: &HeaderMap,
        uri: &Uri,
        request: fn(String) -> Request,
    ) -> Result<Response, Refused> {
        let request = request(self.key(key)?);
        let local = match uri.query() {
            None | Some("" | "local=false") => false,
            Some("local=true") => true,
            Some(other) => return Err(self.bad(format!("unknown query `{other}`"))),
        };
        self.submit(headers, uri, operation(request, local)).await
    }

    async fn change<B: DeserializeOwned>(
        &self,
        key: Key,
        headers: &HeaderMap,
        uri: &Uri,
        body: Body,
        request: impl FnOnce(String, B) -> Request,
    ) -> Result<Response, Refused> {
        let key = self.key(key)?;
        self.no_query(uri)?;
        let body = self.parse_shallow(body)?;
        self.submit(headers, uri, operation(request(key, body), false))
            .await
    }

    /// Hands the request to the replica and waits for its reply.
    async fn submit(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        operation: Operation,
    ) -> Result<Response, Refused> {
        let (session, avoid) = (self.session(headers)?, avoided(headers));
        let (sender, reply) = oneshot::channel();
        let call = Call {
            session,
            avoid,
            operation,
            reply: sender,
        };
        match self.clients.try_send(call) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Ok(self.overloaded("too many requests wait already"));
            }
            Err(TrySendError::Closed(_)) => {
                return Ok(self.unavailable(kind::NO_LEADER, "this node stops".to_owned()));
            }
        }
        match reply.await {
            Ok(reply) => Ok(self.answer(uri, reply)),
            Err(_) => Ok(self.unavailable(kind::UNKNOWN, "this node stops".to_owned())),
        }
    }

    fn answer(&self, uri: &Uri, reply: Reply) -> Response {
        match said(&self.name, reply) {
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
            Ok(Path(key)) if key.len() > KEY_MAX => {
                Err(self.bad(format!("the key is longer than {KEY_MAX} bytes")))
            }
            Ok(Path(key)) => Ok(key),
            Err(rejection) => Err(self.bad(rejection.body_text())),
        }
    }

    fn session(&self, headers: &HeaderMap) -> Result<u64, Refused> {
        let Some(value) = headers.get(wire::SESSION_HEADER) else {
            return Ok(0);
        };
        let number = value.to_str().ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| self.bad(format!("{} is not a number", wire::SESSION_HEADER)))
    }

    fn no_query(&self, uri: &Uri) -> Result<(), Refused> {
        match uri.query() {
            None | Some("") => Ok(()),
            Some(query) => Err(self.bad(format!("unknown query `{query}`"))),
        }
    }

    /// A client's body: an object around its values.
    fn parse_shallow<B: DeserializeOwned>(&self, body: Body) -> Result<B, Refused> {
        if let Ok(bytes) = &body
            && depth(bytes) > DEPTH_MAX + 1
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

    fn bad(&self, message: String) -> Refused {
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

/// The replicas that the session has found dead, comma-separated.
fn avoided(headers: &HeaderMap) -> Vec<NodeName> {
    let text = headers
        .get(wire::AVOID_HEADER)
        .and_then(|value| value.to_str().ok());
    let names = text.unwrap_or_default().split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(NodeName::from)
        .collect()
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
