//! A line of a trace, and how lines are laid out: what clients see on the left, what the cluster does on the right.

use schism_targets::simulator::{Host, Micros};
use std::fmt::Write as _;

/// The column of the clients is not wider than this; what is longer reaches into the other one.
const CLIENTS_WIDE_MAX: usize = 40;
/// From how many times on it is said how often something came again.
const TOLD_FROM: u32 = 4;

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) at: Micros,
    pub(super) what: What,
    /// Whether an anomaly names it.
    pub(super) marked: bool,
}

/// What a line is about.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// A client begins an operation, or sees its end.
    Client(OfClient),
    /// A fault comes or goes, or a stage of the simulation begins.
    Fault(String),
    /// Something inside.
    Inside(Inside),
    /// What the replicas hold in the end, of one key.
    Final(String),
    /// So many lines were left out here.
    Gap(usize),
}

#[derive(Debug, Clone)]
pub(super) struct OfClient {
    /// On which host it is.
    pub(super) host: Host,
    pub(super) text: String,
    /// Whether its operation ends.
    pub(super) ends: bool,
    /// The message that belongs to it.
    pub(super) beside: Option<Inside>,
}

/// Something that happens in the cluster, at several nodes in one moment if it is the same.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inside {
    pub(super) kind: Kind,
    /// Where, or who sends.
    pub(super) from: Vec<Host>,
    /// Who is sent it.
    pub(super) to: Vec<Host>,
    pub(super) text: String,
    /// Whether something was listed to become of it.
    pub(super) fated: bool,
    /// Whether it is about who leads.
    pub(super) elects: bool,
    /// How often it came again after this, and when for the last time.
    pub(super) again: u32,
    pub(super) last: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A message.
    Sent,
    /// It came to a node that is down.
    Unheard,
    /// A node says something of itself.
    Note,
    /// A disk has done something.
    Synced,
}

/// `n1 n3`.
pub(super) fn names<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> String {
    let names: Vec<String> = hosts.into_iter().map(ToString::to_string).collect();
    names.join(" ")
}

impl Inside {
    pub(super) fn is_between_nodes(&self) -> bool {
        let mut hosts = self.from.iter().chain(&self.to);
        hosts.all(|host| matches!(host, Host::Node(_)))
    }

    pub(super) fn words(&self) -> String {
        let (from, to, text) = (names(&self.from), names(&self.to), &self.text);
        let have = if self.from.len() > 1 { "have" } else { "has" };
        let mut words = match self.kind {
            Kind::Sent => format!("{from} -> {to}  {text}"),
            Kind::Unheard => format!("{from} -> {to}  is not heard: {to} is down"),
            Kind::Note if self.from.len() > 1 => format!("{from}: {text}"),
            Kind::Note => format!("{from} {text}"),
            Kind::Synced => format!("{from} {have} on disk: {text}"),
        };
        if self.again >= TOLD_FROM {
            let (times, last) = (self.again + 1, self.last.as_millis_f64());
            let _ = write!(words, "  (x{times}, until {last:.3})");
        }
        words
    }
}

/// All lines under their heads.
pub(super) fn lay_out(rows: &[Row]) -> String {
    let of_clients = |row: &Row| match &row.what {
        What::Client(client) => Some(client.text.chars().count()),
        _ => None,
    };
    let wide = rows.iter().filter_map(of_clients).max().unwrap_or(0);
    let wide = wide.clamp(7, CLIENTS_WIDE_MAX);
    let mut out = format!("{:>11}  {:<wide$}  the cluster\n", "ms", "clients");
    for row in rows {
        line(&mut out, row, wide);
    }
    out
}

fn line(out: &mut String, row: &Row, wide: usize) {
    let at = row.at.as_millis_f64();
    let mark = if row.marked { '*' } else { ' ' };
    let (left, right) = match &row.what {
        What::Client(client) => {
            let beside = client.beside.as_ref().map(Inside::words);
            (client.text.as_str(), beside.unwrap_or_default())
        }
        What::Final(text) => (text.as_str(), String::new()),
        What::Fault(text) => ("", format!("=== {text}")),
        What::Inside(inside) => ("", inside.words()),
        What::Gap(lines) => {
            let _ = writeln!(out, "{:>11}  ({lines} lines are left out)", "...");
            return;
        }
    };
    let line = format!("{at:>11.3} {mark}{left:<wide$}  {right}");
    let _ = writeln!(out, "{}", line.trim_end());
}
