//! Disturbs links by the kernel's `netem`, on the router's interface towards the destination: a class and a filter a source.
//!
//! The randomness is the kernel's own, not the run's.

use crate::network::{Cut, Distribution, Disturbance, Disturbed, HostIndex, Link};
use crate::tools::tool;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::Stdio;

/// The router's side of each host's link.
#[derive(Debug)]
pub(in crate::network) struct Netem {
    interfaces: Vec<String>,
    addresses: Vec<IpAddr>,
    /// Hosts whose interface has our root.
    rooted: BTreeSet<HostIndex>,
    /// Links that have a class and a filter.
    classed: Cut,
    disturbed: Disturbed,
}

impl Netem {
    /// Tries everything that it will need on one interface, and takes it away again.
    pub(super) fn detect(interfaces: Vec<String>, addresses: Vec<IpAddr>) -> Result<Self> {
        let mut netem = Self {
            interfaces,
            addresses,
            rooted: BTreeSet::new(),
            classed: Cut::new(),
            disturbed: Disturbed::new(),
        };
        let ms = std::time::Duration::from_millis;
        let all = Disturbance {
            delay: ms(2),
            jitter: ms(1),
            distribution: Distribution::Normal,
            loss: 0.01,
            duplicate: 0.01,
            reorder: 0.01,
            corrupt: 0.01,
            rate: Some(1_000_000),
        };
        // Newer kernels let no two of them duplicate on one interface: then it is the queue's turn.
        let tried = netem.set(&Disturbed::from([((0, 0), all), ((1, 0), all)]));
        let gone = netem.set(&Disturbed::new());
        tried.and(gone)?;
        Ok(netem)
    }

    /// Makes it so. What is held for links that are no longer disturbed is lost, as TCP copes with.
    pub(super) fn set(&mut self, disturbed: &Disturbed) -> Result<()> {
        let batch = self.batch(disturbed);
        if batch.is_empty() {
            return Ok(());
        }
        let done = tc_batch(&batch);
        if done.is_err() {
            self.clear();
        }
        done
    }

    /// Starts over after a step that failed half-way.
    fn clear(&mut self) {
        for host in std::mem::take(&mut self.rooted) {
            let _ = tc_batch(&format!("qdisc del dev {} root\n", self.interfaces[host]));
        }
        self.classed.clear();
        self.disturbed.clear();
    }

    /// The commands that lead from what is to what shall be.
    fn batch(&mut self, disturbed: &Disturbed) -> String {
        let mut batch = String::new();
        let before = std::mem::replace(&mut self.disturbed, disturbed.clone());
        let hosts: BTreeSet<HostIndex> = disturbed.keys().map(|(_, to)| *to).collect();
        for host in self.rooted.difference(&hosts) {
            let _ = writeln!(batch, "qdisc del dev {} root", self.interfaces[*host]);
            self.classed.retain(|(_, to)| to != host);
        }
        for host in hosts.difference(&self.rooted) {
            // What no filter takes, the controller's own packets for one, goes straight through.
            let device = &self.interfaces[*host];
            let _ = writeln!(batch, "qdisc add dev {device} root handle 1: htb default 0");
        }
        for link in before.keys().filter(|link| !disturbed.contains_key(link)) {
            if hosts.contains(&link.1) {
                let _ = writeln!(batch, "qdisc del {}", self.leaf(*link));
            }
        }
        for (link, how) in disturbed
            .iter()
            .filter(|(l, how)| before.get(l) != Some(how))
        {
            if self.classed.insert(*link) {
                self.class(*link, &mut batch);
            }
            // A change in place would keep what the new one does not name.
            if before.contains_key(link) {
                let _ = writeln!(batch, "qdisc del {}", self.leaf(*link));
            }
            let _ = writeln!(batch, "qdisc add {} netem {}", self.leaf(*link), words(how));
        }
        self.rooted = hosts;
        batch
    }

    fn leaf(&self, (from, to): Link) -> String {
        let (device, class) = (&self.interfaces[to], from + 1);
        format!("dev {device} parent 1:{class:x} handle {:x}:", class + 0x10)
    }

    fn class(&self, (from, to): Link, batch: &mut String) {
        let (device, class, source) = (&self.interfaces[to], from + 1, self.addresses[from]);
        let _ = writeln!(
            batch,
            "class add dev {device} parent 1: classid 1:{class:x} htb rate 10gbit quantum 60000\n\
             filter add dev {device} parent 1: protocol ip prio {class} u32 match ip src {source}/32 flowid 1:{class:x}"
        );
    }

    /// How many packets each disturbed link's netem has let through or dropped.
    pub(super) fn seen(&self) -> Result<BTreeMap<Link, u64>> {
        let mut seen = BTreeMap::new();
        for host in &self.rooted {
            let device = &self.interfaces[*host];
            let output = tool("tc")
                .args(["-s", "-j", "qdisc", "show", "dev", device])
                .output()
                .context("cannot start `tc`")?;
            let qdiscs: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)
                .with_context(|| format!("`tc` says nothing of {device}"))?;
            let leaves = qdiscs.iter().filter(|q| q["kind"] == "netem");
            seen.extend(leaves.filter_map(|q| {
                let class = q["parent"].as_str()?.strip_prefix("1:")?;
                let from = usize::from_str_radix(class, 16).ok()?.checked_sub(1)?;
                let count = |name: &str| q[name].as_u64().unwrap_or(0);
                Some((
                    (from, *host),
                    count("packets") + count("drops") + count("qlen"),
                ))
            }));
        }
        Ok(seen)
    }
}

/// As `tc` wants it.
fn words(how: &Disturbance) -> String {
    let mut words = String::from("limit 10000");
    let ms = |t: std::time::Duration| t.as_secs_f64() * 1e3;
    if !how.delay.is_zero() {
        let _ = write!(words, " delay {}ms", ms(how.delay));
        if !how.jitter.is_zero() {
            let _ = write!(words, " {}ms", ms(how.jitter));
            if how.distribution == Distribution::Normal {
                words.push_str(" distribution normal");
            }
        }
    }
    let shares = [
        ("loss random", how.loss),
        ("duplicate", how.duplicate),
        ("reorder", how.reorder),
        ("corrupt", how.corrupt),
    ];
    for (name, share) in shares.into_iter().filter(|(_, share)| *share > 0.0) {
        let _ = write!(words, " {name} {}%", share * 100.0);
    }
    if let Some(rate) = how.rate {
        let _ = write!(words, " rate {rate}bit");
    }
    words
}

fn tc_batch(batch: &str) -> Result<()> {
    let mut child = tool("tc")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start `tc`; install it: apt-get install iproute2")?;
    let mut stdin = child.stdin.take().expect("stdin was piped");
    let written = stdin.write_all(batch.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().context("cannot wait for `tc`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("tc: {}", said.trim().replace('\n', "; "));
    }
    written.context("cannot talk to `tc`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn commands_lead_from_one_state_to_the_next() {
        let mut netem = Netem {
            interfaces: vec!["r1".into(), "r2".into()],
            addresses: vec!["10.77.1.2".parse().unwrap(), "10.77.2.2".parse().unwrap()],
            rooted: BTreeSet::new(),
            classed: Cut::new(),
            disturbed: Disturbed::new(),
        };
        let late = Disturbance {
            delay: Duration::from_millis(60),
            jitter: Duration::from_millis(5),
            distribution: Distribution::Normal,
            ..Disturbance::default()
        };
        let lossy = Disturbance {
            loss: 0.3,
            rate: Some(1_000_000),
            ..Disturbance::default()
        };
        let lines = |text: String| -> Vec<String> { text.lines().map(str::to_owned).collect() };
        assert_eq!(
            lines(netem.batch(&Disturbed::from([((0, 1), late)]))),
            [
                "qdisc add dev r2 root handle 1: htb default 0",
                "class add dev r2 parent 1: classid 1:1 htb rate 10gbit quantum 60000",
                "filter add dev r2 parent 1: protocol ip prio 1 u32 match ip src 10.77.1.2/32 flowid 1:1",
                "qdisc add dev r2 parent 1:1 handle 11: netem limit 10000 delay 60ms 5ms distribution normal",
            ]
        );
        assert_eq!(
            lines(netem.batch(&Disturbed::from([((0, 1), lossy)]))),
            [
                "qdisc del dev r2 parent 1:1 handle 11:",
                "qdisc add dev r2 parent 1:1 handle 11: netem limit 10000 loss random 30% rate 1000000bit",
            ]
        );
        assert_eq!(
            lines(netem.batch(&Disturbed::new())),
            ["qdisc del dev r2 root"]
        );
    }
}
