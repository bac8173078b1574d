//! The paths of counters and queues.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use super::http::{Body, Key, Refused, Shared};
use crate::replicas::single_leader::{Command, Query};
use crate::wire;

pub(super) async fn read_counter(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    app.read(key, &headers, &uri, Query::Counter)
        .await
        .unwrap_or_else(Refused::into_response)
}

pub(super) async fn increment(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Response {
    let command = |key, wire::IncrementBody { by }| Command::Increment { key, by };
    app.change(key, &headers, &uri, body, command)
        .await
        .unwrap_or_else(Refused::into_response)
}

pub(super) async fn enqueue(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Response {
    let command = |key, wire::EnqueueBody { element }| Command::Enqueue { key, element };
    app.change(key, &headers, &uri, body, command)
        .await
        .unwrap_or_else(Refused::into_response)
}

pub(super) async fn read_head(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    app.read(key, &headers, &uri, Query::Head)
        .await
        .unwrap_or_else(Refused::into_response)
}

pub(super) async fn dequeue(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Response {
    // Without a body nothing is expected.
    let body = body.map(|bytes| {
        if bytes.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            bytes
        }
    });
    let command = |key, wire::DequeueBody { expect }| Command::Dequeue { key, expect };
    app.change(key, &headers, &uri, body, command)
        .await
        .unwrap_or_else(Refused::into_response)
}

pub(super) async fn drain(State(app): Shared, key: Key, headers: HeaderMap, uri: Uri) -> Response {
    app.take(key, &headers, &uri, |key| Command::Drain { key })
        .await
        .unwrap_or_else(Refused::into_response)
}
