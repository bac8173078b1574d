//! The registries, for people and as JSON.

use crate::nemesis;
use crate::summary::to_stdout;
use anyhow::{Context, Result};
use schism_targets::registry::ValueKind;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Which registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// The systems under test
    Targets,
    /// What clients do
    Workloads,
    /// The faults
    Nemeses,
    /// What is checked
    Properties,
    /// The mistakes that targets make where they are asked to (--set bug=...)
    Bugs,
}

/// Prints one registry.
pub fn print(what: What, as_json: bool) -> Result<()> {
    let entries = entries(what);
    if as_json {
        let text = serde_json::to_string_pretty(&entries).context("cannot write JSON")?;
        return to_stdout(&format!("{text}\n"));
    }
    let mut out = String::new();
    let longest = |values: &mut dyn Iterator<Item = &Value>| {
        let names = values.filter_map(|v| v["name"].as_str()).map(str::len);
        names.max().unwrap_or(0)
    };
    let wide = longest(&mut entries.iter());
    for entry in &entries {
        let options = entry["options"].as_array().map_or(&[][..], Vec::as_slice);
        let wide_options = longest(&mut options.iter());
        let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let when = if entry["only_when_named"] == true {
            " (only when named)"
        } else {
            ""
        };
        let _ = writeln!(out, "{:<wide$}  {}{when}", field("name"), field("summary"));
        for option in options {
            let field = |name: &str| option[name].as_str().unwrap_or_default().to_owned();
            let default = match option["default"].as_str() {
                None => String::new(),
                Some("") => " [none]".to_owned(),
                Some(some) => format!(" [{some}]"),
            };
            let _ = writeln!(
                out,
                "  {:<wide_options$}  {}{default}",
                field("name"),
                field("help")
            );
        }
    }
    if what == What::Nemeses {
        out += "\nInstead of a shape, nodes may be named (kill:n1+n2), or a datacenter of the spec (kill:east); datacenter is one of them, drawn.\n";
    }
    to_stdout(&out)
}

fn entries(what: What) -> Vec<Value> {
    match what {
        What::Targets => schism_targets::registry::targets()
            .iter()
            .map(|t| {
                let options: Vec<_> = t
                    .options()
                    .iter()
                    .map(|o| json!({"name": o.name, "default": o.default, "help": format!("{} ({})", o.help, values(o.values))}))
                    .collect();
                json!({"name": t.name(), "summary": t.summary(), "options": options})
            })
            .collect(),
        What::Workloads => schism_workloads::workloads()
            .iter()
            .map(|w| {
                let options: Vec<_> = w
                    .options()
                    .iter()
                    .map(|o| json!({"name": format!("workload.{}", o.name), "default": o.default, "help": format!("{} ({})", o.help, values(o.values))}))
                    .collect();
                json!({"name": w.name(), "summary": w.summary(), "options": options})
            })
            .collect(),
        What::Nemeses => nemesis::families()
            .iter()
            .map(|f| {
                let options: Vec<_> = f
                    .shapes()
                    .iter()
                    .map(|s| json!({"name": format!("{}:{}", f.name(), s.name), "help": s.help}))
                    .chain(f.options().iter().map(|o| json!({"name": format!("nemesis.{}.{}", f.name(), o.name), "default": o.default, "help": o.help})))
                    .collect();
                json!({"name": f.name(), "summary": f.summary(), "options": options})
            })
            .collect(),
        What::Bugs => schism_targets::registry::targets()
            .iter()
            .map(|t| {
                let bugs = t.bugs().into_iter();
                let bugs: Vec<_> = bugs.map(|(name, help)| json!({"name": format!("bug={name}"), "help": help})).collect();
                json!({"name": t.name(), "summary": "--set", "options": bugs})
            })
            .collect(),
        What::Properties => schism_checkers::properties()
            .iter()
            .map(|p| json!({"name": p.name(), "summary": p.summary(), "only_when_named": p.only_when_named()}))
            .collect(),
    }
}

fn values(kind: ValueKind) -> String {
    match kind {
        ValueKind::OneOf(words) => words.join(" | "),
        ValueKind::DurationMs { min, max } => format!("milliseconds, {min} to {max}"),
        ValueKind::PerNode => "a number for nodes: n1=2,n3=0".to_owned(),
        ValueKind::Count { min, max } => format!("{min} to {max}"),
    }
}
