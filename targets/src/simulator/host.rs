//! The hosts of a simulation, and the links between them: by name in a plan, `n1` and `c0`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A node or a client, counted from 0. Nodes are shown, as everywhere, from `n1` on, clients as their first processes are numbered, from `c0` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Host {
    /// A node.
    Node(usize),
    /// A client.
    Client(usize),
}

/// From one host to another, one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link {
    /// Whence.
    pub from: Host,
    /// Whither.
    pub to: Host,
}

/// A name that no host has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no host: nodes are n1, n2, ..., clients are c0, c1, ...")]
pub struct UnknownHost(pub String);

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(index) => write!(out, "n{}", index + 1),
            Self::Client(index) => write!(out, "c{index}"),
        }
    }
}

impl FromStr for Host {
    type Err = UnknownHost;

    fn from_str(text: &str) -> Result<Self, UnknownHost> {
        let unknown = || UnknownHost(text.to_owned());
        let (kind, number) = text.split_at_checked(1).ok_or_else(unknown)?;
        let number: usize = number.parse().map_err(|_| unknown())?;
        match kind {
            "n" => number.checked_sub(1).map(Self::Node).ok_or_else(unknown),
            "c" => Ok(Self::Client(number)),
            _ => Err(unknown()),
        }
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

impl TryFrom<String> for Host {
    type Error = UnknownHost;

    fn try_from(text: String) -> Result<Self, UnknownHost> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown_and_others_are_not() {
        for host in [Host::Node(0), Host::Node(11), Host::Client(2)] {
            assert_eq!(host.to_string().parse(), Ok(host));
        }
        for name in ["", "n", "n0", "x1", "1", "ñ1", "n-1"] {
            assert!(name.parse::<Host>().is_err(), "{name}");
        }
    }
}
