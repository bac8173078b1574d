//! What a run is to be: the spec, from a file, from flags, from defaults, in that order of weakness.
//!
//! A run's folder holds it with every default filled in, the seed first, so that it can be run again as it was.

mod datacenters;
mod resolved;
mod script;
mod stretch;

pub use resolved::Resolved;
pub use stretch::Stretch;

use crate::nemesis::Witness;
use anyhow::{Context, Result};
use schism_targets::registry::Options;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that a run needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Spec {
    /// From which everything random comes: operations and fault schedule.
    pub seed: u64,
    /// The replicated system: see `schism list targets`.
    pub target: String,
    /// The executable of the target's nodes, where it is not our own: one that was built from another commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<PathBuf>,
    /// A `schedule.jsonl` whose faults and operations take the place of those that would be drawn from the seed, or are written below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<PathBuf>,
    /// How many nodes it has.
    pub nodes: usize,
    /// Nodes that stand together, by a name that a fault's shape may have: `east = ["n1", "n2"]`. The shape `datacenter` is one of them, drawn.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub datacenters: BTreeMap<String, Vec<String>>,
    /// What clients do: see `schism list workloads`.
    pub workload: String,
    /// Faults drawn from the seed: a family, or `family:shape`; see `schism list nemeses`.
    pub nemesis: Vec<String>,
    /// Options of those families, by their names; numbers may stand without quotes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub nemesis_options: BTreeMap<String, Scalars>,
    /// Families that are made ready for faults by hand, beside those that are planned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prepare: Vec<String>,
    /// Stretches of the run in which those faults come or not: `quiet 5s`, `chaos 20s`, `chaos 20s partition kill`. Together they are the time-limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Stretch>,
    /// A schedule in words, `at 5s partition leader; at 12s heal`: another way to write `faults`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// How long clients run.
    #[serde(with = "humantime_serde")]
    pub time_limit: Duration,
    /// Operations a second, all clients together; 0 means as fast as answers come.
    pub rate: f64,
    /// How many clients.
    pub concurrency: u64,
    /// Where a client goes first. Without it the workload says so: as a rule `bound`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<Binding>,
    /// After this long without an answer the outcome is unknown.
    #[serde(with = "humantime_serde")]
    pub client_timeout: Duration,
    /// Mean length of a drawn fault, and of the quiet between two of one kind.
    #[serde(with = "humantime_serde")]
    pub fault_interval: Duration,
    /// How long the target may take to say that it has recovered, after the last heal.
    #[serde(with = "humantime_serde")]
    pub recovery_limit: Duration,
    /// How long the target may take to recover after each heal, unless another fault comes or is in force; past that `recovery` is violated.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub recovers_within: Option<Duration>,
    /// Properties that decide the verdict; empty means those that the workload claims.
    pub properties: Vec<String>,
    /// How long clients go on after the last fault of a written schedule is healed, and at least until some operations have succeeded; without it, until `time-limit`.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub end_after: Option<Duration>,
    /// Whether the packets between the hosts are captured: `true` keeps the captures as the nodes' data is kept, not of a run that passes; `"always"` keeps them.
    pub pcap: Pcap,
    /// The target's options; numbers and booleans may stand without quotes.
    #[serde(deserialize_with = "scalars")]
    pub options: Options,
    /// The workload's options.
    #[serde(deserialize_with = "scalars")]
    pub workload_options: Options,
    /// What the target must keep up under the faults; decides the verdict too, unless `properties` names others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// Whether faults that this machine cannot do are left out, aloud, instead of refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_unavailable: bool,
    /// A written schedule; when there is one, `nemesis` must be empty.
    pub faults: Vec<PlannedFault>,
}

/// Where a client sends its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// Client i always starts at node i mod n and follows its redirects: an isolated leader keeps its clients.
    Bound,
    /// To whoever answered last, else to the next in turn.
    Roaming,
    /// Request by request to the next node in turn, as behind a load balancer.
    InTurn,
}

impl Binding {
    fn name(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Roaming => "roaming",
            Self::InTurn => "in-turn",
        }
    }
}

/// Whether packets are captured, and of which runs the captures are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pcap {
    /// Nothing is captured
    #[default]
    Off,
    /// Kept as the nodes' data is: not of a run that passes
    Failed,
    /// Kept always
    Always,
}

impl Pcap {
    /// As it stands on a command line.
    pub fn flag(self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::Failed => Some("--pcap"),
            Self::Always => Some("--pcap=always"),
        }
    }
}

impl Serialize for Pcap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::Failed => serializer.serialize_bool(true),
            Self::Always => serializer.serialize_str("always"),
        }
    }
}

impl<'de> Deserialize<'de> for Pcap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Switch(bool),
            Word(String),
        }
        match Given::deserialize(deserializer)? {
            Given::Switch(false) => Ok(Self::Off),
            Given::Switch(true) => Ok(Self::Failed),
            Given::Word(word) if word == "always" => Ok(Self::Always),
            Given::Word(word) => Err(serde::de::Error::custom(format!(
                "pcap must be true, false or \"always\", not {word:?}"
            ))),
        }
    }
}

/// What is declared for the property `availability`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Availability {
    /// The least share of the attempts that succeed while a fault is in force, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The longest time without a success.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub outage: Option<Duration>,
    /// How often the leader may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_changes: Option<u64>,
}

impl Availability {
    /// As it stands in a history.
    pub fn to_json(&self) -> serde_json::Value {
        let outage_ms = self.outage.map(|o| o.as_secs_f64() * 1e3);
        let figures = [
            ("share", serde_json::json!(self.share)),
            ("outage_ms", serde_json::json!(outage_ms)),
            ("leader_changes", serde_json::json!(self.leader_changes)),
        ];
        let given = figures.into_iter().filter(|(_, figure)| !figure.is_null());
        given
            .map(|(name, figure)| (name.to_owned(), figure))
            .collect()
    }
}

/// One fault of a written schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PlannedFault {
    /// When, since the clients began.
    #[serde(with = "humantime_serde")]
    pub at: Duration,
    /// For how long, at most.
    #[serde(rename = "for", with = "humantime_serde")]
    pub lasts: Duration,
    /// The family, or `family:shape`.
    pub fault: String,
    /// The family's options; numbers may stand without quotes.
    #[serde(
        default,
        deserialize_with = "scalars",
        skip_serializing_if = "Options::is_empty"
    )]
    pub options: Options,
    /// It comes only when the fault before it has shown these, or when it has waited for as long as it may last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Witness>,
    /// It is healed as soon as it has shown these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub until: Vec<Witness>,
    /// How long the target may take to recover after its heal.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    pub recovers_within: Option<Duration>,
    /// The number of the stream from which it draws whom it hits; without it, its place in the schedule. So a fault draws the same when others
    /// are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<u64>,
}

const TIME_LIMIT: Duration = Duration::from_secs(30);
const CONCURRENCY_MAX: u64 = 10_000;
/// Operations a second.
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 10_000_000.0;
/// The longest time that makes sense anywhere in a spec.
const TIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// As many faults as a run may plan, about.
const FAULTS_MAX: f64 = 100_000.0;

impl Default for Spec {
    fn default() -> Self {
        Self {
            // Seeds stay below 2^53 so that every JSON and TOML reader keeps them exactly.
            seed: rand::random::<u64>() >> 11,
            target: "single-leader".into(),
            binary: None,
            schedule: None,
            nodes: 5,
            datacenters: BTreeMap::new(),
            workload: "register".into(),
            nemesis: Vec::new(),
            nemesis_options: BTreeMap::new(),
            prepare: Vec::new(),
            phases: Vec::new(),
            script: None,
            time_limit: TIME_LIMIT,
            rate: 500.0,
            concurrency: 10,
            clients: None,
            client_timeout: Duration::from_secs(1),
            fault_interval: Duration::from_secs(5),
            recovery_limit: Duration::from_secs(15),
            recovers_within: None,
            properties: Vec::new(),
            end_after: None,
            pcap: Pcap::Off,
            options: Options::new(),
            workload_options: Options::new(),
            availability: None,
            skip_unavailable: false,
            faults: Vec::new(),
        }
    }
}

impl Spec {
    /// Reads a spec file; what it leaves out has its default.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the spec {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("spec {}", path.display()))
    }

    /// Reads a spec from TOML.
    pub fn parse(text: &str) -> Result<Self> {
        from_toml(text)
    }

    /// The spec as the file of a run's folder.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("cannot write the spec as TOML")
    }

    /// The command line that runs it again.
    pub fn command(&self) -> String {
        let files = !self.faults.is_empty() || self.schedule.is_some();
        if files || self.availability.is_some() || !self.datacenters.is_empty() {
            // A written schedule has no flags, and neither has what is declared.
            return "schism run spec.toml".to_owned();
        }
        let time = |t: Duration| humantime::format_duration(t).to_string().replace(' ', "");
        let mut words = vec!["schism run".to_owned()];
        let mut flag = |name: &str, value: String| words.push(format!("--{name} {value}"));
        flag("target", self.target.clone());
        if let Some(binary) = &self.binary {
            flag("binary", binary.display().to_string());
        }
        flag("nodes", self.nodes.to_string());
        flag("workload", self.workload.clone());
        let none = || vec!["none".to_owned()];
        flag(
            "nemesis",
            if self.nemesis.is_empty() {
                none()
            } else {
                self.nemesis.clone()
            }
            .join(","),
        );
        if self.phases.is_empty() {
            flag("time-limit", time(self.time_limit));
        } else {
            let phases: Vec<_> = self.phases.iter().map(ToString::to_string).collect();
            flag("phases", format!("'{}'", phases.join(",")));
        }
        flag("fault-interval", time(self.fault_interval));
        flag("rate", self.rate.to_string());
        flag("concurrency", self.concurrency.to_string());
        if let Some(binding) = self.clients {
            flag("clients", binding.name().to_owned());
        }
        flag("client-timeout", time(self.client_timeout));
        flag("recovery-limit", time(self.recovery_limit));
        if let Some(within) = self.recovers_within {
            flag("recovers-within", time(within));
        }
        for (key, value) in &self.options {
            flag("set", format!("{key}={value}"));
        }
        for (key, value) in &self.workload_options {
            flag("set", format!("workload.{key}={value}"));
        }
        for (family, options) in &self.nemesis_options {
            for (key, value) in &options.0 {
                flag("set", format!("nemesis.{family}.{key}={value}"));
            }
        }
        if !self.prepare.is_empty() {
            flag("prepare", self.prepare.join(","));
        }
        for property in &self.properties {
            flag("property", property.clone());
        }
        flag("seed", self.seed.to_string());
        if self.skip_unavailable {
            words.push("--skip-unavailable".to_owned());
        }
        words.extend(self.pcap.flag().map(str::to_owned));
        words.join(" ")
    }

    /// The faults that are drawn, each once: those of `nemesis`, then what phases name besides.
    pub(crate) fn drawn(&self) -> Vec<&String> {
        let named = self.phases.iter().flat_map(Stretch::named);
        let mut all: Vec<&String> = self.nemesis.iter().collect();
        for fault in named {
            if !all.contains(&fault) {
                all.push(fault);
            }
        }
        all
    }

    /// The options that are given for the family of a fault that is drawn.
    pub fn fault_options(&self, fault: &str) -> &Options {
        static NONE: Options = Options::new();
        let family = fault.split(':').next().unwrap_or(fault);
        self.nemesis_options.get(family).map_or(&NONE, |o| &o.0)
    }
}

/// Options that may be given as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scalars(#[serde(deserialize_with = "scalars")] pub Options);

/// Options are text on the command line; in a file they may be what they mean.
fn scalars<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Options, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Text(String),
        Whole(i64),
        Float(f64),
        Bool(bool),
    }
    let given = std::collections::BTreeMap::<String, Scalar>::deserialize(deserializer)?;
    let text = |scalar| match scalar {
        Scalar::Text(text) => text,
        Scalar::Whole(n) => n.to_string(),
        Scalar::Float(f) => f.to_string(),
        Scalar::Bool(b) => b.to_string(),
    };
    Ok(given
        .into_iter()
        .map(|(name, scalar)| (name, text(scalar)))
        .collect())
}

/// Reads TOML; an error is one line with its place.
pub fn from_toml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = &text[..at.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |i| i + 1) + 1;
        let message = error.message().replace('\n', "; ");
        anyhow::anyhow!("line {line}, column {column}: {message}")
    })
}

/// Finds by name, or says what there is.
pub fn find<T: Copy>(
    what: &str,
    name: &str,
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
) -> Result<T> {
    all.iter()
        .copied()
        .find(|t| name_of(*t) == name)
        .with_context(|| {
            let known: Vec<_> = all.iter().map(|t| name_of(*t)).collect();
            format!(
                "there is no {what} {name:?}; there are: {}",
                known.join(", ")
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_survives_its_own_file() {
        let spec = Spec::parse(
            "seed = 7\nnodes = 3\npcap = true\n[[faults]]\nat = \"5s\"\nfor = \"2s\"\nfault = \"kill:leader\"\n\
             until = [\"acknowledged-there\"]\n[availability]\noutage = \"2s\"\n",
        )
        .unwrap();
        assert_eq!(spec.faults[0].at, Duration::from_secs(5));
        assert_eq!(Spec::parse(&spec.to_toml().unwrap()).unwrap(), spec);
    }

    #[test]
    fn options_may_be_numbers() {
        let spec = Spec::parse("[options]\nelection-timeout = 300\nack = \"async\"\n").unwrap();
        assert_eq!(spec.options["election-timeout"], "300");
    }

    #[test]
    fn a_capture_is_asked_for_by_a_switch_or_a_word() {
        for (text, pcap, flag) in [
            ("", Pcap::Off, None),
            ("pcap = false", Pcap::Off, None),
            ("pcap = true", Pcap::Failed, Some("--pcap")),
            ("pcap = \"always\"", Pcap::Always, Some("--pcap=always")),
        ] {
            let spec = Spec::parse(text).unwrap();
            assert_eq!(spec.pcap, pcap);
            assert_eq!(Spec::parse(&spec.to_toml().unwrap()).unwrap(), spec);
            assert_eq!(
                spec.command().split(' ').find(|w| w.starts_with("--pcap")),
                flag
            );
        }
        let error = format!("{:#}", Spec::parse("pcap = \"sometimes\"").unwrap_err());
        assert!(error.contains("true, false or"), "{error}");
    }

    #[test]
    fn mistakes_are_one_line_with_their_place() {
        for (text, says) in [
            ("seed = 1\nnodes = \"three\"\n", "line 2, column 9"),
            ("noodles = 3\n", "noodles"),
            ("time-limit = \"soon\"\n", "line 1"),
        ] {
            let error = format!("{:#}", Spec::parse(text).unwrap_err());
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn what_cannot_run_is_refused() {
        for (text, says) in [
            ("nodes = 0", "nodes must be 1"),
            ("target = \"oracle\"", "there are: single-leader"),
            ("workload = \"registr\"", "register"),
            ("nemesis = [\"earthquake\"]", "partition"),
            ("nemesis = [\"partition:sideways\"]", "leader"),
            ("properties = [\"fast\"]", "lost-writes"),
            ("rate = -1.0", "rate must be"),
            ("[availability]\nshare = 7.0", "share must be 0 to 1"),
            ("end-after = \"1s\"", "there are none"),
            (
                "[[faults]]\nfault = \"kill:one\"\nat = \"1s\"\nfor = \"1s\"\nwhen = [\"acknowledged-there\"]",
                "none before it",
            ),
            ("time-limit = \"0s\"", "time-limit must be 10ms to"),
            ("rate = 1e-30", "rate must be 0 or"),
            ("client-timeout = \"9000years\"", "client-timeout must be"),
            (
                "nemesis = [\"kill\"]\ntime-limit = \"30days\"\nfault-interval = \"10ms\"",
                "too many faults",
            ),
            (
                "[[faults]]\nfault = \"kill:one\"\nat = \"1s\"\nfor = \"0s\"",
                "for must be",
            ),
            ("[options]\nack = \"maybe\"", "majority"),
            (
                "phases = [\"quiet 5s\", \"chaos 5s\"]",
                "chaos without faults",
            ),
            ("phases = [\"chaos 5s earthquake\"]", "partition"),
            ("script = \"at 5s kill\"", "never healed"),
            (
                "script = \"at 5s kill for 1s\"\nnemesis = [\"kill\"]",
                "not both",
            ),
        ] {
            let Err(error) = Spec::parse(text).unwrap().resolve() else {
                panic!("{text} was taken")
            };
            let error = format!("{error:#}");
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
