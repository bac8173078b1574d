//! schism: fault-injection testing for replicated data systems, in one binary.
//!
//! One function tells the whole story ([`run::run`]): a spec becomes an arena and a cluster; clients and nemesis work on it together and
//! leave a history on disk; checkers read it and a report is drawn. See `ARCHITECTURE.md`.

pub mod arena;
pub mod bisect;
pub mod campaign;
pub mod capture;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod control;
pub mod convert;
mod disk;
pub mod doctor;
pub mod draw;
pub mod drive;
pub mod exit;
mod interval;
pub mod list;
pub mod nemesis;
pub mod network;
mod node_http;
pub mod replay;
pub mod report;
pub mod run;
pub mod schedule;
pub mod shrink;
mod signals;
pub mod sim;
pub mod spec;
pub mod status;
mod stderr;
pub mod store;
pub mod streamed;
pub mod summary;
mod tools;
