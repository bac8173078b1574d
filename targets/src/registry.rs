//! The one registry of targets: what can be tested, and with which options.
//!
//! A target is one file under `catalog/` that implements [`Target`], and its line in [`targets`]. The controller knows
//! targets only through this trait: which command starts a node, when the cluster has recovered, who leads,
//! what the configuration promises. Nothing here starts anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use crate::catalog::targets;
use crate::simulator::{Setup, Simulation};
use crate::wire::{Role, Status};

/// Option name to value, as given with `--set`.
pub type Options = BTreeMap<String, String>;

/// An option that a simulation may vary, for no promise depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Varied {
    /// Its name.
    pub option: &'static str,
    /// What else it may be than its default.
    pub values: &'static [&'static str],
}

/// An option that a simulation does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSimulated {
    /// Its name.
    pub option: &'static str,
    /// Why not, as the end of a sentence.
    pub why: &'static str,
}

/// One option of a target.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its name.
    pub name: &'static str,
    /// Its value where none is given: the safe one.
    pub default: &'static str,
    /// What it may be.
    pub values: ValueKind,
    /// One line for `schism list targets`.
    pub help: &'static str,
}

/// What an option's value may be.
#[derive(Debug, Clone, Copy)]
pub enum ValueKind {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Whole milliseconds between these two; a suffix `ms` is allowed.
    DurationMs {
        /// The shortest.
        min: u64,
        /// The longest.
        max: u64,
    },
    /// A whole number for some of the nodes: `n1=2,n3=0`, or nothing.
    PerNode,
    /// A whole number between these two.
    Count {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
}

/// Why options cannot be used. Each message names what can be given instead.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionError {
    /// No such option.
    #[error("unknown option `{name}` of {target}{hint}; it has {known}")]
    Unknown {
        /// The target.
        target: &'static str,
        /// What was given.
        name: String,
        /// Empty, or the likely meaning.
        hint: String,
        /// What there is.
        known: String,
    },
    /// No such value.
    #[error("{name}={value}: {choices}{hint}")]
    Value {
        /// The option.
        name: String,
        /// What was given.
        value: String,
        /// What can be given.
        choices: String,
        /// Empty, or the likely meaning.
        hint: String,
    },
    /// The cluster has the wrong size.
    #[error("{target} runs on {choices} nodes, not {nodes}")]
    Nodes {
        /// The target.
        target: &'static str,
        /// What was asked for.
        nodes: usize,
        /// What is possible.
        choices: &'static str,
    },
}

/// A node and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its name, such as `n1`.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
}

/// Which executable a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Our own, whose `node` command is the bundled server.
    Own,
    /// Another.
    Path(PathBuf),
}

/// How to start a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCommand {
    /// The executable.
    pub program: Program,
    /// Its arguments; for [`Program::Own`] they begin with `node`.
    pub args: Vec<String>,
    /// Its environment beyond the controller's.
    pub env: Vec<(String, String)>,
}

/// What reads promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPromise {
    /// Every read sees everything acknowledged before it began, in one order.
    Linearizable,
    /// The leader's state: a session sees its own writes while no deposed leader answers.
    Leader,
    /// A session sees its own writes and never goes back in time, whichever replica answers.
    Session,
    /// A session sees its own writes, as long as no replica lags for longer than the target assumes.
    OwnWrites,
    /// A session never goes back in time, as long as its replica lives.
    Sticky,
    /// Some state, the newest in the end.
    Eventual,
}

/// What must not befall a replica, for a promise on reads to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// It goes down.
    Down,
    /// It falls behind the others, for longer than a target may assume.
    Behind,
}

impl ReadPromise {
    /// What the promise is limited by: where that befalls a replica, nothing is promised.
    pub fn limit(self) -> Option<Harm> {
        match self {
            Self::Sticky => Some(Harm::Down),
            Self::OwnWrites => Some(Harm::Behind),
            Self::Linearizable | Self::Leader | Self::Session | Self::Eventual => None,
        }
    }
}

/// What a configuration promises while nodes crash and networks split, disks and power holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent promises, each read by its own workload"
)]
pub struct Guarantees {
    /// On reads.
    pub reads: ReadPromise,
    /// Who reads one thing and then another, in one session, never sees an effect without its cause: each read shows all writes up to
    /// some point, and no later one of the session goes back behind it.
    pub consistent_prefix: bool,
    /// No acknowledged write is ever lost.
    pub keeps_acknowledged_writes: bool,
    /// Two nodes never acknowledge as leaders what cannot both stand.
    pub no_split_brain: bool,
    /// Acknowledged writes survive the power loss of all nodes.
    pub survives_power_loss: bool,
    /// All this holds though wall clocks jump.
    pub survives_clock_jumps: bool,
    /// All this holds though nodes lose their disks, no more than a minority before the target has made them whole again.
    pub survives_replacement: bool,
    /// Writes go on, after a pause, while a minority of the nodes is down or cut off.
    pub available_with_minority_down: bool,
}

impl Guarantees {
    /// What is left of them where this befalls replicas.
    #[must_use]
    pub fn under(self, harms: &[Harm]) -> Self {
        if self
            .reads
            .limit()
            .is_none_or(|limit| !harms.contains(&limit))
        {
            return self;
        }
        Self {
            reads: ReadPromise::Eventual,
            consistent_prefix: false,
            ..self
        }
    }
}

/// Forgets what a node's data directory holds that was not synced, but for a share of it; says what is gone.
pub type LoseUnsynced = fn(data: &Path, keep: f64) -> Result<String, crate::storage::StorageError>;

/// A system under test.
pub trait Target: Sync + std::fmt::Debug {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// One line about it.
    fn summary(&self) -> &'static str;
    /// Its options with their defaults.
    fn options(&self) -> &'static [OptionSpec];
    /// The mistakes that it makes where it is asked to (`--set bug=...`), with a line about each.
    fn bugs(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
    /// Every option filled in; unknown names, impossible values and node counts are errors that name the
    /// choices.
    fn resolve(&self, given: &Options, nodes: usize) -> Result<Options, OptionError>;
    /// What the controller must start for `node`. `peers` may contain the node itself.
    fn command(
        &self,
        options: &Options,
        node: &NodeAddress,
        peers: &[NodeAddress],
        data: &Path,
    ) -> NodeCommand;
    /// The target's own word that it has recovered, from one status a node (none: unreachable).
    /// Otherwise why not yet.
    fn recovered(&self, statuses: &[Option<Status>]) -> Result<(), String>;
    /// The index of the leader: of those that claim to lead, the one with the highest term.
    fn leader(&self, statuses: &[Option<Status>]) -> Option<usize> {
        let leading = statuses.iter().enumerate().filter_map(|(index, status)| {
            let status = status
                .as_ref()
                .filter(|status| status.role == Role::Leader)?;
            Some((status.term, index))
        });
        leading.max().map(|(_, index)| index)
    }
    /// How to ask for a node to become a member (`true`), or to be none any more, in words of HTTP: path and JSON body of
    /// each `POST` that it takes, answered once it is so. Empty: the target cannot.
    fn change_members(
        &self,
        _options: &Options,
        _node: &str,
        _join: bool,
    ) -> Vec<(String, String)> {
        Vec::new()
    }
    /// What a loss of power leaves of a node's data, but for this share of what was not synced: carried out while the node is down, and told in words.
    /// None: the target cannot tell.
    fn lose_unsynced(&self) -> Option<LoseUnsynced> {
        None
    }
    /// The replicas under these (resolved) options in the simulator; none where they are not pure state machines.
    fn simulation(
        &self,
        _options: &Options,
        _nodes: usize,
        _setup: &Setup,
    ) -> Option<Box<dyn Simulation>> {
        None
    }
    /// What a simulation may vary under these (resolved) options, on so many nodes, without a promise being touched.
    fn varied(&self, _options: &Options, _nodes: usize) -> Vec<Varied> {
        Vec::new()
    }
    /// The options that a simulation does not have: there they must have their defaults.
    fn not_simulated(&self) -> &'static [NotSimulated] {
        &[]
    }
    /// What these (resolved) options promise.
    fn guarantees(&self, options: &Options) -> Guarantees;
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static dyn Target> {
    targets()
        .iter()
        .copied()
        .find(|target| target.name() == name)
}

/// Fills in defaults and checks names and values: what every target's `resolve` begins with.
///
/// ```
/// use schism_targets::registry::{Options, target};
/// let target = target("single-leader").unwrap();
/// let wrong = Options::from([("ack".to_owned(), "majorty".to_owned())]);
/// let error = target.resolve(&wrong, 3).unwrap_err().to_string();
/// assert!(error.contains("did you mean `majority`?"), "{error}");
/// ```
pub fn fill_in(
    target: &'static str,
    specs: &[OptionSpec],
    given: &Options,
) -> Result<Options, OptionError> {
    if let Some(name) = given
        .keys()
        .find(|name| specs.iter().all(|spec| spec.name != **name))
    {
        let names: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
        let (hint, known) = (did_you_mean(name, &names), names.join(", "));
        return Err(OptionError::Unknown {
            target,
            name: name.clone(),
            hint,
            known,
        });
    }
    let fill = |spec: &OptionSpec| {
        let value = given.get(spec.name).map_or(spec.default, String::as_str);
        Ok((spec.name.to_owned(), spec.check(value)?))
    };
    specs.iter().map(fill).collect()
}

impl OptionSpec {
    /// The value in its plain form, or what it could be.
    fn check(&self, value: &str) -> Result<String, OptionError> {
        let plain = match self.values {
            ValueKind::DurationMs { .. } => value.trim_end_matches("ms"),
            _ => value,
        };
        let valid = match self.values {
            ValueKind::OneOf(words) => words.contains(&plain),
            ValueKind::DurationMs { min, max } | ValueKind::Count { min, max } => {
                in_range(plain, min, max)
            }
            ValueKind::PerNode => per_node(plain).is_some(),
        };
        if valid {
            Ok(plain.to_owned())
        } else {
            Err(self.refusal(value))
        }
    }

    fn refusal(&self, value: &str) -> OptionError {
        let choices = match self.values {
            ValueKind::OneOf(words) => format!("it is one of {}", words.join(", ")),
            ValueKind::DurationMs { min, max } => {
                format!("it is a whole number of milliseconds from {min} to {max}")
            }
            ValueKind::PerNode => "it is a whole number a node, such as n1=2,n3=0".to_owned(),
            ValueKind::Count { min, max } => format!("it is a whole number from {min} to {max}"),
        };
        let hint = match self.values {
            ValueKind::OneOf(words) => did_you_mean(value, words),
            _ => String::new(),
        };
        let (name, value) = (self.name.to_owned(), value.to_owned());
        OptionError::Value {
            name,
            value,
            choices,
            hint,
        }
    }
}

/// What such an option says: `n1=2,n3=0`.
pub(crate) fn per_node(text: &str) -> Option<BTreeMap<String, u64>> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    let read = |pair: &str| {
        let (node, number) = pair.split_once('=')?;
        let node = Some(node.trim()).filter(|node| !node.is_empty())?;
        Some((node.to_owned(), number.trim().parse().ok()?))
    };
    pairs.map(read).collect()
}

fn in_range(text: &str, min: u64, max: u64) -> bool {
    text.parse()
        .is_ok_and(|number: u64| (min..=max).contains(&number))
}

fn did_you_mean(given: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|word| (edit_distance(given, word), word))
        .min();
    match near {
        Some((distance, word)) if distance <= word.len().div_ceil(2) => {
            format!(" (did you mean `{word}`?)")
        }
        _ => String::new(),
    }
}

/// Levenshtein's distance, a row at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
