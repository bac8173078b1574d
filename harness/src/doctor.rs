//! What this machine can do: each ability is tried, not guessed, and what is missing comes with the command that mends it.

use crate::arena::{Arena, ask};
use crate::disk::{self, Call, Disk, Rule};
use crate::network::{Choice, Disturbance, Disturbed, Network, Variant};
use crate::summary::to_stdout;
use crate::tools::tool;
use crate::{capture, exit};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::getuid;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// One ability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was tried.
    pub what: String,
    /// Whether it works.
    pub works: bool,
    /// What was seen.
    pub seen: String,
    /// The command that mends it; empty where it works.
    pub mend: String,
    /// Whether a basic run needs it.
    pub needed: bool,
}

/// Tries everything and prints it. 255 when a basic run cannot work.
pub fn print(json: bool) -> Result<i32> {
    let findings = examine();
    let fit = findings.iter().all(|f| f.works || !f.needed);
    if json {
        let text = serde_json::to_string_pretty(&findings).context("cannot write JSON")?;
        to_stdout(&format!("{text}\n"))?;
    } else {
        to_stdout(&table(&findings, fit))?;
    }
    Ok(if fit { exit::PASS } else { exit::HARNESS })
}

/// Tries everything.
pub fn examine() -> Vec<Finding> {
    let mut findings = inside();
    findings.extend([libfaketime(), file_limit()]);
    findings
}

fn table(findings: &[Finding], fit: bool) -> String {
    let mut out = String::new();
    for f in findings {
        let word = match (f.works, f.needed) {
            (true, _) => "works",
            (false, true) => "MISSING",
            (false, false) => "missing",
        };
        let _ = writeln!(out, "{word:<8} {:<22} {}", f.what, f.seen);
        if !f.works {
            let _ = writeln!(out, "         {:<22} -> {}", "", f.mend);
        }
    }
    let _ = writeln!(
        out,
        "{}",
        if fit {
            "a basic run works here"
        } else {
            "a basic run cannot work here until what is MISSING is mended"
        }
    );
    out
}

/// What can only be tried inside the arena.
fn inside() -> Vec<Finding> {
    ask(abilities).unwrap_or_else(|error| {
        vec![Finding {
            what: "namespaces".into(),
            works: false,
            seen: format!("{error:#}"),
            mend: namespaces_mend(),
            needed: true,
        }]
    })
}

fn abilities() -> Vec<Finding> {
    let mut findings = vec![Finding {
        what: "namespaces".into(),
        works: true,
        seen: format!(
            "user, pid, mount and network, as {}",
            if getuid().is_root() {
                "root inside"
            } else {
                "a user"
            }
        ),
        mend: String::new(),
        needed: true,
    }];
    let begun = Instant::now();
    let arena = Arena::build(2);
    findings.push(match &arena {
        Ok(_) => works(
            "links between hosts",
            &format!("2 nodes and clients in {:.0} ms", ms(begun.elapsed())),
        ),
        Err(error) => missing(
            "links between hosts",
            &format!("{error:#}"),
            &links_mend(),
            true,
        ),
    });
    let firewalls = Variant::ALL.map(|variant| (variant, variant.works()));
    let some = firewalls.iter().any(|(_, works)| works.is_ok());
    for (variant, tried) in firewalls {
        findings.push(match tried {
            Ok(()) => works(variant.name(), "restores the FORWARD chain"),
            Err(error) => missing(
                variant.name(),
                &format!("{error:#}"),
                "apt-get install iptables",
                !some,
            ),
        });
    }
    findings.push(fuse());
    if let Ok(arena) = &arena {
        findings.push(cutting(arena));
        findings.push(
            match Network::new(arena).and_then(|network| network.can_reset()) {
                Ok(()) => works(
                    "resetting sockets",
                    "a connection was ended under its programs",
                ),
                Err(error) => missing(
                    "resetting sockets",
                    &format!("{error:#}"),
                    "apt-get install iproute2, and a kernel with CONFIG_INET_DIAG_DESTROY",
                    false,
                ),
            },
        );
        findings.push(captures(arena));
        findings.push(engine(
            arena,
            "netem",
            Choice::Netem,
            "modprobe sch_netem sch_htb cls_u32 (as root on the host), or a kernel with CONFIG_NET_SCH_NETEM",
        ));
        findings.push(engine(
            arena,
            "NFQUEUE",
            Choice::NfQueue,
            "modprobe nfnetlink_queue xt_NFQUEUE (as root on the host)",
        ));
        findings.push(engine(
            arena,
            "disturbing packets",
            Choice::Auto,
            "one of netem and NFQUEUE must work: see above",
        ));
    }
    findings
}

/// A link is cut, seen to drop, and mended.
fn cutting(arena: &Arena) -> Finding {
    let tried = || -> Result<String> {
        let mut network = Network::new(arena)?;
        let limit = Duration::from_secs(1);
        let begun = Instant::now();
        network.set_cut([(0, 1)].into(), [].into())?;
        let cut = network.prove(limit)?;
        let took = ms(begun.elapsed());
        network.set_cut([].into(), [].into())?;
        let mended = network.prove(limit)?;
        anyhow::ensure!(cut.proved, "cut: {}", cut.evidence);
        anyhow::ensure!(mended.proved, "mended: {}", mended.evidence);
        Ok(format!("cut and proved in {took:.1} ms"))
    };
    match tried() {
        Ok(seen) => works("cutting a link", &seen),
        Err(error) => missing(
            "cutting a link",
            &format!("{error:#}"),
            "apt-get install iptables",
            true,
        ),
    }
}

/// A datagram is heard on its way.
fn captures(arena: &Arena) -> Finding {
    let tried = arena.nodes.first().map_or(Ok(()), capture::works);
    match tried {
        Ok(()) => works(
            "captures (--pcap)",
            "a packet socket heard a datagram on a link",
        ),
        Err(error) => missing(
            "captures (--pcap)",
            &format!("{error:#}"),
            "modprobe af_packet (as root on the host), or a kernel with CONFIG_PACKET",
            false,
        ),
    }
}

/// A link is disturbed, seen to be late, and sound again.
fn engine(arena: &Arena, what: &str, choice: Choice, mend: &str) -> Finding {
    let tried = || -> Result<String> {
        let mut network = Network::new(arena)?;
        network.prepare_packets(choice, 1)?;
        let links = [(0, 1)].into();
        let late = Disturbance {
            delay: Duration::from_millis(30),
            ..Disturbance::default()
        };
        network.set_disturbed(Disturbed::from([((0, 1), late)]))?;
        let disturbed = network.prove_disturbed(&links)?;
        network.set_disturbed(Disturbed::new())?;
        let sound = network.prove_sound(&links)?;
        anyhow::ensure!(disturbed.proved, "disturbed: {}", disturbed.evidence);
        anyhow::ensure!(sound.proved, "afterwards: {}", sound.evidence);
        let by = network.packets_by().unwrap_or("nothing");
        Ok(format!("by {by}: a link was 30 ms late, and sound again"))
    };
    match tried() {
        Ok(seen) => works(what, &seen),
        Err(error) => missing(what, &format!("{error:#}"), mend, false),
    }
}

/// A disk is mounted, seen to be full, and well again.
fn fuse() -> Finding {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let folder = std::env::temp_dir().join(format!("schism-doctor-{}", since.as_nanos()));
    let tried = disk::device().and_then(|()| try_disk(&folder));
    let _ = fs::remove_dir_all(&folder);
    match tried {
        Ok(()) => works("FUSE", "mounted: a disk was full, and well again"),
        Err(error) => missing("FUSE", &format!("{error:#}"), disk::MEND, false),
    }
}

fn try_disk(folder: &Path) -> Result<()> {
    let data = folder.join("data");
    fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let mounted = Disk::mount(&data, &folder.join("removed"))?;
    let own = format!("/proc/{}/exe", std::process::id());
    let write = || disk::probe::ask(Path::new(&own), &data, Call::Write);
    mounted.policy().set(1, Rule::Full);
    let full = write()?;
    mounted.policy().lift(1);
    let well = write()?;
    anyhow::ensure!(
        full.error == Some(Errno::ENOSPC as i32),
        "while it is full: {full}"
    );
    anyhow::ensure!(well.error.is_none(), "afterwards: {well}");
    Ok(())
}

/// Looks for the library, and asks `date` through it.
fn libfaketime() -> Finding {
    let Ok(library) = crate::nemesis::faketime::library() else {
        return missing(
            "libfaketime",
            "libfaketimeMT.so.1 is not there",
            "apt-get install libfaketime",
            false,
        );
    };
    let year = Command::new("date")
        .arg("+%Y")
        .env("LD_PRELOAD", &library)
        .env("FAKETIME", "@2001-01-01 12:00:00")
        .output();
    match year {
        Ok(output) if output.stdout.starts_with(b"2001") => works(
            "libfaketime",
            &format!("shifts a clock ({})", library.display()),
        ),
        _ => missing(
            "libfaketime",
            "it is there, and shifts nothing",
            "apt-get install --reinstall libfaketime",
            false,
        ),
    }
}

const FILES_WANTED: u64 = 4096;

fn file_limit() -> Finding {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    if hard >= FILES_WANTED {
        works("open files", &format!("up to {hard} a process"))
    } else {
        missing(
            "open files",
            &format!("at most {hard} a process"),
            &format!("ulimit -Hn {FILES_WANTED} (as root, or in /etc/security/limits.conf)"),
            false,
        )
    }
}

fn links_mend() -> String {
    let installed = tool("ip")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if installed {
        namespaces_mend()
    } else {
        "apt-get install iproute2".to_owned()
    }
}

/// The command for what forbids namespaces here: the kernel's own switch, and the flags of the container that we are in.
fn namespaces_mend() -> String {
    let is = |(file, value, _): &&(&str, &str, &str)| {
        fs::read_to_string(file).is_ok_and(|text| text.trim() == *value)
    };
    let switch = SWITCHES
        .iter()
        .find(is)
        .map(|(.., command)| format!("{command} (as root)"));
    let mends: Vec<String> = switch.into_iter().chain(container_flags()).collect();
    if mends.is_empty() {
        return "run as root, or on a kernel with CONFIG_USER_NS and CONFIG_NET_NS".to_owned();
    }
    mends.join("; and ")
}

/// What forbids user namespaces: the file, the value that does, and the command that mends it.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "sysctl -w user.max_user_namespaces=10000",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// What a container's engine must be told, when we are in one.
fn container_flags() -> Option<String> {
    let exists = |file: &str| Path::new(file).exists();
    if exists("/run/.containerenv") {
        Some("podman run --security-opt seccomp=unconfined --security-opt unmask=ALL ...".into())
    } else if exists("/.dockerenv") {
        Some("docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined ...".into())
    } else {
        None
    }
}

fn works(what: &str, seen: &str) -> Finding {
    Finding {
        what: what.into(),
        works: true,
        seen: seen.into(),
        mend: String::new(),
        needed: false,
    }
}

fn missing(what: &str, seen: &str, mend: &str, needed: bool) -> Finding {
    Finding {
        what: what.into(),
        works: false,
        seen: seen.replace('\n', "; "),
        mend: mend.into(),
        needed,
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
