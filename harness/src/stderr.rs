//! What is said on stderr beside the results. A stderr that nobody reads any more is no reason to stop.

use std::io::Write as _;

/// Says one line.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
