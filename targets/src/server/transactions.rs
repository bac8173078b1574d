//! The paths that name several registers: a read of them, a transaction, a transfer.
//!
//! Only what makes sense passes; what it does to the state is decided in
//! [`crate::replicas::single_leader::KeySpace`].

use axum::extract::{Query as Pairs, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use super::http::{App, Body, Refused, Shared};
use crate::replicas::single_leader::{Command, Operation, Query};
use crate::wire;

/// `GET /kv?key=a&key=b`, with `local=true` from the replica's own state.
pub(super) async fn read_registers(State(app): Shared, headers: HeaderMap, uri: Uri) -> Response {
    submit(&app, &headers, &uri, registers(&app, &uri)).await
}

/// `POST /txn`.
pub(super) async fn transact(
    State(app): Shared,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Response {
    let command = transaction(&app, body);
    submit(&app, &headers, &uri, command.map(Operation::Change)).await
}

/// `POST /transfer`.
pub(super) async fn transfer(
    State(app): Shared,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Response {
    let command = moved(&app, body);
    submit(&app, &headers, &uri, command.map(Operation::Change)).await
}

async fn submit(
    app: &App,
    headers: &HeaderMap,
    uri: &Uri,
    operation: Result<Operation, Refused>,
) -> Response {
    let concern = match &operation {
        Ok(Operation::Change(_)) => app.concern(uri),
        _ => Ok(None),
    };
    let result = match (operation, concern) {
        (Ok(operation), Ok(concern)) => app.submit(headers, uri, operation, concern).await,
        (Err(refused), _) | (_, Err(refused)) => Err(refused),
    };
    result.unwrap_or_else(Refused::into_response)
}

fn registers(app: &App, uri: &Uri) -> Result<Operation, Refused> {
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
    let query = Query::Registers(keys);
    Ok(if local {
        Operation::ReadLocal(query)
    } else {
        Operation::Read(query)
    })
}

fn transaction(app: &App, body: Body) -> Result<Command, Refused> {
    let wire::TransactBody { expect, write } = app.parse_shallow(body, 2)?;
    if expect.is_empty() && write.is_empty() {
        return Err(app.bad("nothing is expected, and nothing is to be written".to_owned()));
    }
    for key in expect.keys().chain(write.keys()) {
        app.check_key(key)?;
    }
    Ok(Command::Transact { expect, write })
}

fn moved(app: &App, body: Body) -> Result<Command, Refused> {
    let wire::TransferBody { from, to, amount } = app.parse_shallow(body, 1)?;
    app.check_key(&from)?;
    app.check_key(&to)?;
    if from == to {
        return Err(app.bad(format!("`{from}` cannot transfer to itself")));
    }
    if amount == 0 {
        return Err(app.bad("the amount is 0".to_owned()));
    }
    Ok(Command::Transfer { from, to, amount })
}
