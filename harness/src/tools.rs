//! The tools that the harness starts (`ip`, `tc`, iptables): found also where an ordinary user's PATH does not look.

use std::ffi::OsString;
use std::process::Command;

/// Where Debian keeps them; a login shell of an ordinary user has none of these in its PATH.
const ADMIN_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// The command of a tool.
pub(crate) fn tool(name: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    path.push(":");
    path.push(ADMIN_FOLDERS);
    let mut command = Command::new(name);
    command.env("PATH", path);
    command
}
