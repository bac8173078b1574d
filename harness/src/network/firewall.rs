//! Cuts links by the router's FORWARD chain: one rule a link, the whole chain in one atomic restore. Links that the packet queue disturbs are
//! handed over to it there.
//!
//! iptables-legacy is tried first (its restore takes 2 ms), then iptables-nft (20 ms). Bad input leaves the old rules whole.

use super::{Cut, Link};
use crate::tools::tool;
use anyhow::{Context, Result, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Stdio;
use std::sync::OnceLock;

/// Which iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The old kernel interface.
    Legacy,
    /// The same commands over `nf_tables`.
    Nft,
}

impl Variant {
    /// Both, the faster first.
    pub const ALL: [Self; 2] = [Self::Legacy, Self::Nft];

    /// As its commands are named.
    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy => "iptables-legacy",
            Self::Nft => "iptables-nft",
        }
    }

    /// Whether a rule can be set in the network namespace of the caller.
    pub fn works(self) -> Result<()> {
        self.restores("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")
    }

    /// Whether it takes these rules, which replace the ones that there are.
    pub fn restores(self, rules: &str) -> Result<()> {
        restore(self, rules)
    }
}

/// The router's FORWARD chain.
#[derive(Debug)]
pub struct Firewall {
    variant: Variant,
    addresses: Vec<IpAddr>,
}

impl Firewall {
    /// The first variant that works here. `addresses` are the hosts', by their place.
    pub fn detect(addresses: Vec<IpAddr>) -> Result<Self> {
        let mut reasons = Vec::new();
        for variant in Variant::ALL {
            match variant.works() {
                Ok(()) => return Ok(Self { variant, addresses }),
                Err(error) => reasons.push(format!("{error:#}")),
            }
        }
        bail!(
            "no working iptables (apt-get install iptables; `schism doctor` says more): {}",
            reasons.join("; ")
        )
    }

    /// Which one was found.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// Whether a rule can hand packets over to the packet queue. Leaves the chain empty.
    pub(super) fn queues(&self) -> Result<()> {
        self.replace(&Cut::new(), &Cut::new(), &[(0, 0)].into())?;
        self.replace(&Cut::new(), &Cut::new(), &Cut::new())
    }

    /// Replaces the whole chain: these links drop, those of `reset` answer TCP with a reset and drop the rest, those of `queued`, none of which
    /// is cut, go through the packet queue, all others carry.
    pub(super) fn replace(&self, cut: &Cut, reset: &Cut, queued: &Cut) -> Result<()> {
        let mut rules = String::from("*filter\n:FORWARD ACCEPT [0:0]\n");
        for (from, to) in reset.union(cut) {
            let (s, d) = (self.addresses[*from], self.addresses[*to]);
            let link = format!("-A FORWARD -s {s}/32 -d {d}/32");
            // A link that is cut both ways drops: the harder of the two.
            if !cut.contains(&(*from, *to)) {
                let _ = writeln!(rules, "{link} -p tcp -j REJECT --reject-with tcp-reset");
            }
            let _ = writeln!(rules, "{link} -j DROP");
        }
        for (from, to) in queued {
            let (s, d) = (self.addresses[*from], self.addresses[*to]);
            let _ = writeln!(
                rules,
                "-A FORWARD -s {s}/32 -d {d}/32 -j NFQUEUE --queue-num {}",
                super::packets::NUMBER
            );
        }
        rules.push_str("COMMIT\n");
        restore(self.variant, &rules)
    }

    /// The links of `cut` whose rule has dropped at least one packet since the last restore.
    pub fn dropped(&self, cut: &Cut) -> Result<Cut> {
        let counts = self.counts()?;
        let dropped = |link: &Link| counts.get(&self.ends(*link)).is_some_and(|c| c.dropped > 0);
        Ok(cut.iter().copied().filter(dropped).collect())
    }

    /// How many packets the rules of each of these links have kept from passing since the last restore.
    pub(super) fn stopped(&self, cut: &Cut) -> Result<BTreeMap<Link, u64>> {
        let counts = self.counts()?;
        let of = |link: &Link| {
            counts
                .get(&self.ends(*link))
                .map_or(0, |c| c.dropped + c.reset)
        };
        Ok(cut.iter().map(|link| (*link, of(link))).collect())
    }

    fn counts(&self) -> Result<HashMap<(String, String), Counted>> {
        let command = format!("{}-save", self.variant.name());
        let output = iptables(&command)
            .args(["-c", "-t", "filter"])
            .stderr(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {command}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut counts: HashMap<(String, String), Counted> = HashMap::new();
        for (ends, rule) in text.lines().filter_map(counter) {
            let sum = counts.entry(ends).or_default();
            sum.dropped += rule.dropped;
            sum.reset += rule.reset;
        }
        Ok(counts)
    }

    fn ends(&self, (from, to): Link) -> (String, String) {
        (
            format!("{}/32", self.addresses[from]),
            format!("{}/32", self.addresses[to]),
        )
    }
}

/// Packets that the rules of one link have stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    /// In silence.
    dropped: u64,
    /// With a reset as the answer.
    reset: u64,
}

/// Reads `[12:720] -A FORWARD -s A -d B -j DROP`.
fn counter(line: &str) -> Option<((String, String), Counted)> {
    let (count, rule) = line.strip_prefix('[')?.split_once(']')?;
    let packets = count.split_once(':')?.0.parse().ok()?;
    let words: Vec<&str> = rule.split_whitespace().collect();
    let after = |flag: &str| {
        words
            .iter()
            .position(|w| *w == flag)
            .and_then(|i| words.get(i + 1))
            .map(ToString::to_string)
    };
    let (dropped, reset) = match after("-j")?.as_str() {
        "DROP" => (packets, 0),
        "REJECT" => (0, packets),
        _ => return None,
    };
    Some(((after("-s")?, after("-d")?), Counted { dropped, reset }))
}

/// A command of iptables, with a lock file of our own: the usual one under /run is not ours to open.
fn iptables(command: &str) -> std::process::Command {
    static LOCK: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let lock = LOCK.get_or_init(|| memfd_create("xtables.lock", MFdFlags::MFD_CLOEXEC).ok());
    let mut command = tool(command);
    if let Some(lock) = lock {
        command.env(
            "XTABLES_LOCKFILE",
            format!("/proc/{}/fd/{}", std::process::id(), lock.as_raw_fd()),
        );
    }
    command
}

fn restore(variant: Variant, rules: &str) -> Result<()> {
    let command = format!("{}-restore", variant.name());
    let mut child = iptables(&command)
        .arg("-w")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command}"))?;
    child
        .stdin
        .take()
        .expect("stdin was piped")
        .write_all(rules.as_bytes())
        .with_context(|| format!("cannot talk to {command}"))?;
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {command}"))?;
    if !output.status.success() {
        bail!(
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Counted, counter};

    #[test]
    fn counters_are_read_from_the_saved_rules() {
        let line = "[12:720] -A FORWARD -s 10.77.1.2/32 -d 10.77.2.2/32 -j DROP";
        let ends = ("10.77.1.2/32".to_owned(), "10.77.2.2/32".to_owned());
        let counted = |dropped, reset| Some((ends.clone(), Counted { dropped, reset }));
        assert_eq!(counter(line), counted(12, 0));
        let reset = "[3:120] -A FORWARD -s 10.77.1.2/32 -d 10.77.2.2/32 -p tcp -j REJECT --reject-with tcp-reset";
        assert_eq!(counter(reset), counted(0, 3));
        let queued = "[3:120] -A FORWARD -s 10.77.1.2/32 -d 10.77.2.2/32 -j NFQUEUE --queue-num 5";
        assert_eq!(counter(queued), None);
        assert_eq!(counter(":FORWARD ACCEPT [3:180]"), None);
        assert_eq!(counter("COMMIT"), None);
    }
}
