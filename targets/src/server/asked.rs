//! What a request tells beside its path and its body: its session in headers, its write concern in the query.

use axum::http::{HeaderMap, Uri};

use super::http::{App, Refused};
use crate::replicas::single_leader::{Session, WriteConcern};
use crate::replicas::{LogPosition, Millis, NodeName};
use crate::wire;

/// How long a write concern without `wtimeout` waits.
const WTIMEOUT: Millis = Millis(10_000);

impl App {
    pub(super) fn session(
        &self,
        headers: &HeaderMap,
        partition: usize,
    ) -> Result<Session, Refused> {
        let number = |name| self.number(headers, name);
        Ok(Session {
            number: number(wire::SESSION_HEADER)?.unwrap_or_default(),
            avoid: avoided(headers),
            seen: self.seen(headers, partition)?,
            since_write: number(wire::SINCE_WRITE_HEADER)?.map(Millis),
        })
    }

    /// What the session has seen of a partition.
    fn seen(&self, headers: &HeaderMap, partition: usize) -> Result<LogPosition, Refused> {
        let Some(value) = headers.get(wire::SEEN_HEADER) else {
            return Ok(LogPosition::START);
        };
        let broken = || self.bad(format!("{} is not 0:17,1:5", wire::SEEN_HEADER));
        let mut seen = LogPosition::START;
        let text = value.to_str().map_err(|_| broken())?;
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let pair = pair.split_once(':').and_then(|(of, position)| {
                Some((of.parse::<usize>().ok()?, position.parse().ok()?))
            });
            let (of, position) = pair.ok_or_else(broken)?;
            if of == partition {
                seen = LogPosition(position);
            }
        }
        Ok(seen)
    }

    fn number(&self, headers: &HeaderMap, name: &str) -> Result<Option<u64>, Refused> {
        let Some(value) = headers.get(name) else {
            return Ok(None);
        };
        let number = value.to_str().ok().and_then(|text| text.parse().ok());
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.bad(format!("{name} is not a number"))),
        }
    }

    /// The write concern of a change: `?w=2&wtimeout=500`, in nodes and milliseconds.
    pub(super) fn concern(&self, uri: &Uri) -> Result<Option<WriteConcern>, Refused> {
        let (mut nodes, mut timeout) = (None, WTIMEOUT);
        for pair in uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let unknown = || self.bad(format!("unknown query `{pair}`"));
            let (name, value) = pair.split_once('=').ok_or_else(unknown)?;
            match (name, value.parse()) {
                ("w", Ok(number)) => nodes = usize::try_from(number).ok(),
                ("wtimeout", Ok(number)) => timeout = Millis(number),
                _ => return Err(unknown()),
            }
        }
        Ok(nodes.map(|nodes| WriteConcern { nodes, timeout }))
    }
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
