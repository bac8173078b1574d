//! The captures of a saved run: which there are is in its history, and they are in its folder.

use super::{EVENT, Traffic, Window};
use schism_history::{Event, History};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// What a run's captures show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures {
    /// What passed between the hosts.
    pub traffic: Traffic,
    /// The hosts' addresses, by their places.
    pub addresses: Vec<Ipv4Addr>,
    /// What the wall clock showed when the run began.
    pub origin: Duration,
    /// Whether there is anything but notes.
    pub kept: bool,
}

/// What the clocks may differ by before that is said.
const STEP_US: u64 = 1000;

impl Captures {
    /// Reads them from the folder of the nodes' folders; none where none were taken. What is wrong with them becomes a note.
    pub fn read(nodes: &Path, history: &History) -> Option<Self> {
        let events = || history.faults().filter(|e| e.f.as_ref() == EVENT);
        let at = |stage: &str| events().find(|e| e.value["stage"] == stage);
        let begun = at("begun")?;
        let ended = at("ended");
        let origin_us = begun.value["origin_us"].as_u64()?;
        let windows = windows(begun, ended, origin_us);
        let there = |w: &Window| nodes.join(&w.host).join(super::part(0)).is_file();
        let mut captures = Self {
            origin: Duration::from_micros(origin_us),
            addresses: windows.iter().map(|w| w.ip).collect(),
            kept: windows.iter().any(there),
            ..Self::default()
        };
        if !captures.kept {
            let note = "Packets were captured, and the captures are not there: of a run that passes they are kept with --pcap=always alone.";
            captures.traffic.notes.push(note.to_owned());
            return Some(captures);
        }
        match Traffic::read(nodes, &windows) {
            Ok(traffic) => captures.traffic = traffic,
            Err(error) => captures
                .traffic
                .notes
                .push(format!("The captures cannot be read: {error:#}.")),
        }
        captures.traffic.notes.extend(clock_note(origin_us, ended));
        Some(captures)
    }
}

fn clock_note(origin_us: u64, ended: Option<&Event>) -> Option<String> {
    let Some(ended) = ended else {
        return Some(
            "The captures were not ended in good order: their last moments are missing.".to_owned(),
        );
    };
    let ended = &ended.value;
    if let Some(error) = ended["error"].as_str() {
        return Some(format!("The captures ended early: {error}."));
    }
    let moved = ended["origin_us"].as_u64()?.abs_diff(origin_us);
    (moved > STEP_US).then(|| {
        format!(
            "The machine's clock was set while the run went on: the times of packets may be wrong by {:.1} ms.",
            moved as f64 / 1e3
        )
    })
}

fn windows(begun: &Event, ended: Option<&Event>, origin_us: u64) -> Vec<Window> {
    let us = |value: &Value| value.as_u64().map(Duration::from_micros);
    let time =
        |event: &Event| Duration::from_micros(origin_us) + Duration::from_nanos(event.time.0);
    let tallies = ended.and_then(|e| e.value["hosts"].as_array());
    let hosts = begun.value["hosts"].as_array().into_iter().flatten();
    let window = |host: &Value| {
        let name = host["host"].as_str().filter(|name| is_plain(name))?;
        let tally = tallies.and_then(|all| all.iter().find(|t| t["host"] == name));
        let gaps = tally
            .and_then(|t| t["gaps_us"].as_array())
            .into_iter()
            .flatten();
        Some(Window {
            host: name.to_owned(),
            ip: host["ip"].as_str()?.parse().ok()?,
            begun: time(begun),
            ended: ended.filter(|_| tally.is_some()).map(time),
            gaps: gaps
                .filter_map(|gap| Some((us(&gap[0])?, us(&gap[1])?)))
                .collect(),
        })
    };
    hosts.filter_map(window).collect()
}

/// Whether it is a name, and no way to another folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}
