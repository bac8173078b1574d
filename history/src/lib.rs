//! The shared vocabulary of schism: who did what when, and what came of it.
//!
//! A [`History`] is a list of [`Event`]s in the order in which the controller saw them: invocations and completions of
//! clients' operations, and faults. [`Op`] pairs an invocation with its completion, as a closed interval of [`Time`].
//! The on-disk format is one JSON object a line ([`jsonl`]); tests write histories in a one-line notation ([`dsl`]).
//!
//! What does not live here: sockets, async code, clocks. The names are Jepsen's, so that its histories map one to one.
//!
//! ```
//! use schism_history::{History, Outcome};
//!
//! let history = History::dsl("0: write x 7 @0..5; 1: read x 7 @6..8; 0: write x 8 @9..? info").unwrap();
//! let ops = history.ops();
//! assert_eq!(ops.len(), 3);
//! assert_eq!(ops[2].outcome(), Outcome::Info);
//! assert!(ops[0].precedes(&ops[1]));
//! ```

mod blocks;
mod by_process;
pub mod dsl;
pub mod edn;
mod event;
mod fast;
pub mod format;
mod history;
pub mod jepsen_log;
pub mod jsonl;
mod line;
mod op;
mod pairing;
mod steps;
mod time;

pub use event::{Event, EventKind, Key, NodeId, OpError, Process};
pub use format::Format;
pub use history::{History, Malformed, Torn};
pub use op::{Op, Outcome};
pub use steps::{Step, Steps};
pub use time::Time;
