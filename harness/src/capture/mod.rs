//! Captures: every packet that passes the router, host by host, in files that any tool for captures reads.
//!
//! The router sees a packet twice: coming in on the link of whoever sent it, and going out on the link of whoever it is for. So what was
//! lost between two hosts is what came in and never went out ([`Traffic`]). A capture is bounded: of each packet its head, of each host a few
//! parts of some megabytes, of which the oldest gives way to a new one. It is evidence and no part of the verdict: what it lacks is said.

mod fate;
mod read;
mod roll;
mod saved;
mod take;
#[cfg(test)]
mod tests;
mod traffic;

pub use fate::{Fate, Gap, Window};
pub use read::{Frame, Seen, Transport};
pub use saved::Captures;
pub use take::{Taker, Tally, supported, works};
pub use traffic::{Lost, Message, Traffic};

/// Parts that are kept of one host's capture.
pub const PARTS: usize = 3;
/// Bytes of one part, about.
pub const PART_BYTES: u64 = 10_000_000;
/// Bytes that are kept of one packet: its headers, and the line that says what it is.
pub const HEAD_BYTES: usize = 1024;

/// The event of the history that says which hosts are captured, and which moment of the wall clock was the beginning of the run.
pub const EVENT: &str = "capture";

/// The name of a part: the newest is `capture.pcap`, older ones `capture.1.pcap`, `capture.2.pcap`.
pub fn part(age: usize) -> String {
    match age {
        0 => "capture.pcap".to_owned(),
        age => format!("capture.{age}.pcap"),
    }
}
