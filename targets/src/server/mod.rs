//! The server that gives a replica sockets, a disk and a clock: what `schism node` runs.
//!
//! One task owns the replica and feeds it (`node`), one thread owns the disk (`disk`), one task a peer
//! sends (`peers`), axum receives (`http`). All decisions are the replica's; all I/O is here. What comes waits
//! in `arrivals`. Each of a node's `partitions` has a replica, a task and a disk thread of its own.

mod args;
pub(crate) mod arrivals;
mod asked;
mod collections;
mod disk;
mod http;
mod node;
pub(crate) mod partitions;
pub(crate) mod peers;
mod transactions;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub use args::Settings;

use crate::catalog::single_leader::{Setup, configure};
use crate::registry::OptionError;
use crate::replicas::Millis;
use crate::replicas::single_leader::Replica;
use crate::storage::StorageError;

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An argument is wrong or missing.
    #[error("{0}")]
    Arguments(String),
    /// An option is wrong.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The runtime, a thread or a socket failed.
    #[error("{0}: {1}")]
    System(&'static str, std::io::Error),
    /// The HTTP client for peers could not be built.
    #[error("cannot build the client for peers: {0}")]
    Client(#[from] reqwest::Error),
    /// The disk thread ended, having logged why.
    #[error("the disk has failed; this node stops rather than guess what is durable")]
    DiskFailed,
}

/// Runs a node with the arguments that follow `schism node`, until it is killed; SIGTERM and SIGINT stop
/// it in an orderly way. Installs a `tracing` subscriber that writes to stderr (`RUST_LOG` is honoured).
pub fn main(args: &[String]) -> Result<(), ServerError> {
    let settings = Settings::parse(args)?;
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| ServerError::System("cannot start the runtime", error))?;
    runtime.block_on(async {
        let listener = listen(settings.listen).await?;
        let stop = stop_signal()?;
        serve(settings, listener, stop).await
    })
}

/// A listener that can take over an address at once after the last process there was killed.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    // Tokio sets SO_REUSEADDR on Unix.
    TcpListener::bind(address)
        .await
        .map_err(|source| ServerError::Listen { address, source })
}

/// Runs a node on a listener until `stop` ends or a disk fails; in-process clusters in tests do this.
pub async fn serve(
    settings: Settings,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let setup = configure(&settings.options, &settings.id, settings.members());
    let (mut partitions, mut disks, mut nodes) = (Vec::new(), Vec::new(), JoinSet::new());
    for number in 0..setup.partitions {
        let (partition, jobs, node) = start(&settings, &setup, number)?;
        partitions.push(partition);
        disks.push(jobs);
        nodes.spawn(node);
    }
    tracing::info!(
        "{} listens on {}: {:?}",
        settings.id,
        settings.listen,
        settings.options
    );
    let app = http::App {
        name: settings.id.as_str().into(),
        partitions,
        placement: setup.placement,
        addresses: settings.addresses(),
    };
    let result = tokio::select! {
        result = http::serve(listener, Arc::new(app)) => result,
        _ = nodes.join_next() => Err(ServerError::DiskFailed),
        () = stop => Ok(()),
    };
    for jobs in &disks {
        finish(jobs).await;
    }
    result
}

/// Opens a partition's disk and prepares the task that owns its replica.
fn start(
    settings: &Settings,
    setup: &Setup,
    number: usize,
) -> Result<
    (
        http::Partition,
        disk::Jobs,
        impl Future<Output = ()> + use<>,
    ),
    ServerError,
> {
    let mut config = setup.replica(number);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    config.seed ^= since.map_or(0, |since| since.as_nanos() as u64);
    let tick = Duration::from_millis((config.heartbeat.0 / 4).clamp(2, 10));
    let timeout = Duration::from_millis(config.election_timeout.0.clamp(200, 1000));
    let folder = partitions::folder(&settings.data, number);
    let (disk, restored) = disk::open(&folder, setup.log_check)?;
    let (done, completions) = mpsc::unbounded_channel();
    let path = partitions::peer_path(number);
    let outbox = peers::Outbox::start(&config.name, &settings.peers, &path, timeout)?;
    let jobs = disk.start(setup.fsync, done, outbox.clone())?;
    let (entrance, arrivals) = arrivals::queues(setup.sharing, tick);
    let (status_sender, statuses) = mpsc::channel(64);
    let replica = Replica::new(config, restored, Millis(0));
    let node = node::Node::new(replica, Instant::now(), outbox, jobs.clone());
    let inputs = node::Inputs {
        arrivals,
        statuses,
        completions,
    };
    let partition = http::Partition {
        entrance,
        statuses: status_sender,
    };
    Ok((partition, jobs, node.run(inputs)))
}

/// Lets the disk thread complete what it was given.
async fn finish(jobs: &disk::Jobs) {
    let (done, finished) = oneshot::channel();
    if jobs.send(disk::Job::Stop(done)).is_ok() {
        let _ = tokio::time::timeout(Duration::from_secs(5), finished).await;
    }
}

fn stop_signal() -> Result<impl Future<Output = ()>, ServerError> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error| ServerError::System("cannot listen for signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
    })
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Where the program has installed a subscriber already, that one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(|| Stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init();
}

/// Stderr, but what cannot be written is lost in silence: no node dies of a full disk under its log.
/// (Left to itself, the subscriber would report the failure with `eprintln!`, which panics.)
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
