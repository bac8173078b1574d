//! Which signals the user who started us wants ignored: `nohup` ignores SIGHUP, a shell's background job SIGINT.

use nix::sys::signal::Signal;
use std::fs;

/// Whether the signal was ignored when this process was started, as the kernel says.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal as u64 - 1)) != 0)
}
