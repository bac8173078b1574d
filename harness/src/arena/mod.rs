//! The arena: one network namespace a node, one for the clients, all routed through the router, which is the controller's own.
//!
//! Traffic is routed, not bridged, so that the router's FORWARD chain sees every packet between two hosts: that is where links are
//! cut. The controller itself sits in the router and so reaches every host whatever is cut: its packets are not forwarded.
//!
//! ```text
//!   n1 10.77.1.2 ---- 10.77.1.1 \
//!   n2 10.77.2.2 ---- 10.77.2.1  router (controller)  10.77.250.1 ---- 10.77.250.2 clients
//!   n3 10.77.3.2 ---- 10.77.3.1 /
//! ```

mod ask;
mod enter;
mod netns;

pub use ask::ask;
pub use enter::{Ending, run_inside};
pub use netns::NetNs;

use crate::tools::tool;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::sync::Barrier;

/// The most nodes that the address plan holds.
pub const NODES_MAX: usize = 200;
/// What bounds how long TCP waits until it sends again, in milliseconds; newer kernels have it.
pub const BACKOFF_LIMIT: &str = "/proc/sys/net/ipv4/tcp_rto_max_ms";
const CLIENTS_OCTET: u8 = 250;
/// The name of the clients' host in cuts and reports.
pub const CLIENTS: &str = "clients";

/// A host: a node, or the clients.
#[derive(Debug, Clone)]
pub struct Host {
    /// `n1`, `n2`, ... or `clients`.
    pub name: String,
    /// Its one address.
    pub ip: IpAddr,
    /// Its namespace.
    pub ns: NetNs,
    octet: u8,
}

/// The standing arena.
#[derive(Debug)]
pub struct Arena {
    /// The nodes, `n1` first.
    pub nodes: Vec<Host>,
    /// Where the clients run.
    pub clients: Host,
}

impl Arena {
    /// Makes the namespaces, links, addresses and routes. Must be called inside [`run_inside`].
    pub fn build(nodes: usize) -> Result<Self> {
        if nodes == 0 || nodes > NODES_MAX {
            bail!("an arena holds 1 to {NODES_MAX} nodes, not {nodes}");
        }
        raise_file_limit();
        let plan: Vec<(String, u8)> = (1..=nodes)
            .map(|i| (format!("n{i}"), i as u8))
            .chain(std::iter::once((CLIENTS.to_owned(), CLIENTS_OCTET)))
            .collect();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context(
            "cannot let the router forward packets; inside a container /proc/sys is read-only: see `schism doctor`",
        )?;
        let mut hosts = wire(&plan)?;
        let clients = hosts.pop().expect("the plan ends with the clients");
        Ok(Self {
            nodes: hosts,
            clients,
        })
    }

    /// All hosts: the nodes, then the clients.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.nodes.iter().chain(std::iter::once(&self.clients))
    }
}

/// Makes each host's namespace in a thread that stays until the router has handed it its end of the link.
fn wire(plan: &[(String, u8)]) -> Result<Vec<Host>> {
    let (made, wired) = (Barrier::new(plan.len() + 1), Barrier::new(plan.len() + 1));
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let threads: Vec<_> = plan
            .iter()
            .map(|(name, octet)| {
                let (made, wired, send) = (&made, &wired, send.clone());
                scope.spawn(move || {
                    let mut waited = false;
                    let result = NetNs::create(|tid| {
                        let _ = send.send((*octet, tid));
                        made.wait();
                        wired.wait();
                        waited = true;
                        bring_up(*octet)
                    });
                    if !waited {
                        made.wait();
                        wired.wait();
                    }
                    let (ns, ()) = result.with_context(|| format!("host {name}"))?;
                    let ip = IpAddr::V4(Ipv4Addr::new(10, 77, *octet, 2));
                    Ok(Host {
                        name: name.clone(),
                        ip,
                        ns,
                        octet: *octet,
                    })
                })
            })
            .collect();
        made.wait();
        let routed = route(receive.try_iter());
        wired.wait();
        let hosts = threads
            .into_iter()
            .map(|t| t.join().expect("a host's thread does not panic"))
            .collect::<Result<Vec<Host>>>();
        routed.and(hosts)
    })
}

/// The router's side: a link a host, its other end moved into the host's namespace.
fn route(hosts: impl Iterator<Item = (u8, nix::unistd::Pid)>) -> Result<()> {
    let mut batch = String::from("link set lo up\n");
    for (octet, tid) in hosts {
        let _ = writeln!(
            batch,
            "link add r{octet} type veth peer name eth0 netns {tid}"
        );
        let _ = writeln!(batch, "addr add 10.77.{octet}.1/30 dev r{octet}");
        let _ = writeln!(batch, "link set r{octet} up");
    }
    ip_batch(&batch)
}

/// The host's side, run inside its namespace.
fn bring_up(octet: u8) -> Result<()> {
    // TCP's back-off would hide a heal for seconds: newer kernels can bound it.
    let _ = std::fs::write(BACKOFF_LIMIT, "1000");
    ip_batch(&format!(
        "link set lo up\naddr add 10.77.{octet}.2/30 dev eth0\nlink set eth0 up\nroute add default via 10.77.{octet}.1\n"
    ))
}

fn ip_batch(batch: &str) -> Result<()> {
    let mut child = tool("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start `ip`; install it: apt-get install iproute2")?;
    child
        .stdin
        .take()
        .expect("stdin was piped")
        .write_all(batch.as_bytes())
        .context("cannot talk to `ip`")?;
    let output = child.wait_with_output().context("cannot wait for `ip`")?;
    if !output.status.success() {
        bail!(
            "`ip -batch` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Each client and node needs sockets: take all that the machine allows.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

impl Host {
    /// The router's interface on this host's link.
    pub fn router_interface(&self) -> String {
        format!("r{}", self.octet)
    }
}
