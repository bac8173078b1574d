//! The paths that name several registers: a read of them, a transaction, a transfer.
//!
//! Only what makes sense passes; what it does to the state is decided in
//! [`crate::replicas::single_leader::KeySpace`].

use axum::extract::{Query as Pairs, State};
use axum::http::{HeaderMap, Uri};

use super::http::{Answered, App, Body, Refused, Shared};
use crate::client::Request;
use crate::replicas::single_leader::operation;
use crate::wire;

/// `GET /kv?key=a&key=b`, with `local=true` from the replica's own state.
pub(super) async fn read_registers(State(app): Shared, headers: HeaderMap, uri: Uri) -> Answered {
    let (request, local) = registers(&app, &uri)?;
    let operation = operation(request, local);
    app.submit(&headers, &uri, operation, None).await
}

/// `POST /txn`.
pub(super) async fn transact(
    State(app): Shared,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Answered {
    change(&app, &headers, &uri, transaction(&app, body)?).await
}

/// `POST /transfer`.
pub(super) async fn transfer(
    State(app): Shared,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Answered {
    change(&app, &headers, &uri, moved(&app, body)?).await
}

async fn change(app: &App, headers: &HeaderMap, uri: &Uri, request: Request) -> Answered {
    let concern = app.concern(uri)?;
    let operation = operation(request, false);
    app.submit(headers, uri, operation, concern).await
}

/// What is asked for, and whether of the replica's own state.
fn registers(app: &App, uri: &Uri) -> Result<(Request, bool), Refused> {
    let pairs = Pairs::<Vec<(String, String)>>::try_from_uri(uri);
    let Pairs(pairs) = pairs.map_err(|rejection| app.bad(rejection.body_text()))?;
    let (mut keys, mut local) = (Vec::new(), false);
    for (name, value) in pairs {
        match (name.as_str(), value.as_str()) {
            ("key", key) => {
                app.check_key(key)?;
                keys.push(value);
            }
            ("local", "true") => local = true,
            ("local", "false") => local = false,
            _ => return Err(app.bad(format!("unknown query `{name}={value}`"))),
        }
    }
    if keys.is_empty() {
        return Err(app.bad("no register is named: ask with `?key=a&key=b`".to_owned()));
    }
    Ok((Request::ReadMany { keys }, local))
}

fn transaction(app: &App, body: Body) -> Result<Request, Refused> {
    let wire::TransactBody { expect, write } = app.parse_shallow(body, 2)?;
    if expect.is_empty() && write.is_empty() {
        return Err(app.bad("nothing is expected, and nothing is to be written".to_owned()));
    }
    for key in expect.keys().chain(write.keys()) {
        app.check_key(key)?;
    }
    Ok(Request::Transact { expect, write })
}

fn moved(app: &App, body: Body) -> Result<Request, Refused> {
    let wire::TransferBody { from, to, amount } = app.parse_shallow(body, 1)?;
    app.check_key(&from)?;
    app.check_key(&to)?;
    if from == to {
        return Err(app.bad(format!("`{from}` cannot transfer to itself")));
    }
    if amount == 0 {
        return Err(app.bad("the amount is 0".to_owned()));
    }
    Ok(Request::Transfer { from, to, amount })
}
