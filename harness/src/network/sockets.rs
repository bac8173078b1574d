//! Connections that are cut off: the kernel ends them at once, both sides are told (`ss --kill`, `sock_diag` destroy).

use crate::arena::Host;
use crate::tools::tool;
use anyhow::{Context, Result, bail};
use std::net::IpAddr;

/// TCP connections of a host to any of these, none of them our own.
fn to(others: &[IpAddr]) -> String {
    let each: Vec<String> = others.iter().map(|ip| format!("dst {ip}")).collect();
    each.join(" or ")
}

fn ss(host: &Host, flags: &[&str], others: &[IpAddr]) -> Result<usize> {
    if others.is_empty() {
        return Ok(0);
    }
    let mut command = tool("ss");
    command
        .args(["--tcp", "--numeric", "--no-header"])
        .args(flags)
        .args(["state", "established"])
        .arg(to(others));
    let output = host.ns.run(|| {
        command
            .output()
            .context("cannot start `ss`; install it: apt-get install iproute2")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ss` failed: {}", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().count())
}

/// Ends every established connection of a host to the others; says how many.
pub(super) fn reset(host: &Host, others: &[IpAddr]) -> Result<usize> {
    ss(host, &["--kill"], others)
}

/// How many established connections a host has to the others.
pub(super) fn established(host: &Host, others: &[IpAddr]) -> Result<usize> {
    ss(host, &[], others)
}
