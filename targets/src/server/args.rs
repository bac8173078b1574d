//! The arguments of `schism node`.
//!
//! Written by the controller, so there is no help page; but each mistake is one clear line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::ServerError;
use crate::registry::{self, Options};
use crate::replicas::NodeName;

const USAGE: &str = "schism node [--target single-leader] --id n1 --listen ADDR [--peer n2=ADDR]... \
                     --data DIR [--set key=value]...";

/// What a node is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub id: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The other nodes.
    pub peers: Vec<(NodeName, SocketAddr)>,
    /// Where its data are.
    pub data: PathBuf,
    /// The target's options, all of them.
    pub options: Options,
}

#[derive(Default)]
struct Raw {
    target: Option<String>,
    id: Option<String>,
    listen: Option<String>,
    peers: Vec<String>,
    data: Option<String>,
    options: Options,
}

impl Settings {
    /// Parses and checks; options that are not given get their defaults.
    pub fn parse(args: &[String]) -> Result<Self, ServerError> {
        let raw = Raw::parse(args)?;
        let name = raw
            .target
            .as_deref()
            .unwrap_or(crate::catalog::single_leader::NAME);
        let target = registry::target(name).ok_or_else(|| {
            let known: Vec<_> = registry::targets()
                .iter()
                .map(|target| target.name())
                .collect();
            wrong(&format!(
                "unknown target `{name}`; there is {}",
                known.join(", ")
            ))
        })?;
        let id = required(raw.id, "--id")?;
        let peers = raw
            .peers
            .iter()
            .map(|peer| parse_peer(peer))
            .collect::<Result<Vec<_>, _>>()?;
        check_names(&id, &peers)?;
        let options = target.resolve(&raw.options, peers.len() + 1)?;
        let listen = parse_address(&required(raw.listen, "--listen")?)?;
        let data = required(raw.data, "--data")?.into();
        Ok(Self {
            id,
            listen,
            peers,
            data,
            options,
        })
    }

    /// Every node of the cluster, in the order of names.
    pub fn members(&self) -> Vec<NodeName> {
        self.addresses().into_keys().collect()
    }

    /// Where every node listens.
    pub fn addresses(&self) -> BTreeMap<NodeName, SocketAddr> {
        let own = (NodeName::from(self.id.clone()), self.listen);
        self.peers.iter().cloned().chain([own]).collect()
    }
}

impl Raw {
    fn parse(args: &[String]) -> Result<Self, ServerError> {
        let mut raw = Self::default();
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), words.next().cloned()),
            };
            let value = value.ok_or_else(|| wrong(&format!("{flag} needs a value")))?;
            raw.take(flag, value)?;
        }
        Ok(raw)
    }

    fn take(&mut self, flag: &str, value: String) -> Result<(), ServerError> {
        match flag {
            "--target" => self.target = Some(value),
            "--id" => self.id = Some(value),
            "--listen" => self.listen = Some(value),
            "--peer" => self.peers.push(value),
            "--data" => self.data = Some(value),
            "--set" => {
                let (name, value) = value
                    .split_once('=')
                    .ok_or_else(|| wrong(&format!("--set {value}: it is name=value")))?;
                self.options.insert(name.to_owned(), value.to_owned());
            }
            other => return Err(wrong(&format!("unknown argument `{other}`"))),
        }
        Ok(())
    }
}

fn wrong(reason: &str) -> ServerError {
    ServerError::Arguments(format!("{reason} (usage: {USAGE})"))
}

fn required(value: Option<String>, flag: &str) -> Result<String, ServerError> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| wrong(&format!("{flag} is missing")))
}

fn parse_address(text: &str) -> Result<SocketAddr, ServerError> {
    text.parse().map_err(|_| {
        wrong(&format!(
            "`{text}` is not an address such as 10.77.1.2:8000"
        ))
    })
}

fn parse_peer(text: &str) -> Result<(NodeName, SocketAddr), ServerError> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, address) = parts.ok_or_else(|| wrong(&format!("--peer {text}: it is name=ADDR")))?;
    Ok((name.into(), parse_address(address)?))
}

fn check_names(id: &str, peers: &[(NodeName, SocketAddr)]) -> Result<(), ServerError> {
    let mut seen = std::collections::BTreeSet::from([id]);
    for (name, _) in peers {
        if !seen.insert(name.as_str()) {
            return Err(wrong(&format!("node `{name}` is named twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Settings, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Settings::parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_command_line() {
        let line =
            "--id n2 --listen 127.0.0.1:8002 --peer n1=127.0.0.1:8001 --data /d --set ack=sync";
        let settings = parse(line).unwrap();
        assert_eq!(settings.members(), ["n1".into(), "n2".into()]);
        assert_eq!(settings.options["ack"], "sync");
        assert_eq!(settings.options["fsync"], "always");
    }

    #[test]
    fn mistakes_are_named() {
        let base = "--id n1 --listen 127.0.0.1:1 --data /d";
        for (line, part) in [
            ("--listen 127.0.0.1:1 --data /d", "--id is missing"),
            (
                "--id n1 --listen nowhere --data /d",
                "`nowhere` is not an address",
            ),
            (&format!("{base} --set ack"), "name=value"),
            (
                &format!("{base} --set ack=al"),
                "one of async, semi-sync, majority, sync",
            ),
            (&format!("{base} --set akc=all"), "did you mean `ack`?"),
            (
                &format!("{base} --set election-timeout=5001"),
                "milliseconds from 5 to 5000",
            ),
            (&format!("{base} --peer n1=127.0.0.1:2"), "named twice"),
            (&format!("{base} --verbose"), "--verbose needs a value"),
            (&format!("{base} --target raft"), "unknown target `raft`"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
