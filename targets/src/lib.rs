//! The bundled replication servers of `schism`, the wire protocol they speak, and its client.
//!
//! A target is a replica as a *pure state machine* (`replicas`: message, request or timer in, effects
//! out), a server that gives it sockets, a disk and a clock (`server`, `storage`), and a line in the
//! `registry` that tells the controller how to start it. The crate knows nothing of faults, histories or
//! checkers: it is the system under test, and nothing in it may help itself to look better than it is.

pub mod catalog;
pub mod client;
pub mod glance;
pub mod registry;
pub mod replicas;
pub mod route;
pub mod server;
pub mod simulator;
pub mod storage;
pub mod wire;
