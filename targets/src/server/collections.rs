//! The paths of counters and queues.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};

use super::http::{Answered, Body, Key, Shared};
use crate::client::Request;
use crate::wire;

pub(super) async fn read_counter(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
) -> Answered {
    app.read(key, &headers, &uri, |key| Request::ReadCounter { key })
        .await
}

pub(super) async fn increment(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Answered {
    let request = |key, wire::IncrementBody { by }| Request::Increment { key, by };
    app.change(key, &headers, &uri, body, request).await
}

pub(super) async fn enqueue(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Answered {
    let request = |key, wire::EnqueueBody { element }| Request::Enqueue { key, element };
    app.change(key, &headers, &uri, body, request).await
}

pub(super) async fn read_head(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
) -> Answered {
    app.read(key, &headers, &uri, |key| Request::ReadHead { key })
        .await
}

pub(super) async fn dequeue(
    State(app): Shared,
    key: Key,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Answered {
    // Without a body nothing is expected.
    let body = body.map(|bytes| {
        if bytes.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            bytes
        }
    });
    let request = |key, wire::DequeueBody { expect }| Request::Dequeue { key, expect };
    app.change(key, &headers, &uri, body, request).await
}

pub(super) async fn drain(State(app): Shared, key: Key, headers: HeaderMap, uri: Uri) -> Answered {
    app.take(key, &headers, &uri, |key| Request::Drain { key })
        .await
}
