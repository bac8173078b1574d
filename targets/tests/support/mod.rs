//! A cluster of in-process servers on loopback ports, for tests.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use schism_targets::client::{self, Client, Request};
use schism_targets::registry::{self, NodeAddress};
use schism_targets::server::{self, Settings};
use schism_targets::storage;
use schism_targets::wire::Status;
use serde_json::Value;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(120);

/// Tries until it succeeds; fails the test with the last reason after two minutes.
pub(crate) async fn poll<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(reason) if began.elapsed() > PATIENCE => panic!("no {what}: {reason}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<NodeAddress>,
    options: Vec<String>,
    data: tempfile::TempDir,
    /// A runtime for each node: shutting it down is the kill.
    running: Vec<Option<Runtime>>,
    http: reqwest::Client,
}

impl Cluster {
    pub(crate) async fn start(size: usize, options: &[(&str, &str)]) -> Self {
        // Bound and released again: these ports were free, and nobody else is given them soon.
        let sockets: Vec<_> = (0..size)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let address = |socket: &std::net::TcpListener| socket.local_addr().unwrap();
        let name = |index| format!("n{}", index + 1);
        let nodes = sockets
            .iter()
            .enumerate()
            .map(|(index, socket)| NodeAddress {
                name: name(index),
                address: address(socket),
            });
        let nodes: Vec<_> = nodes.collect();
        drop(sockets);
        let options = options
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let data = tempfile::tempdir().unwrap();
        let running = (0..size).map(|_| None).collect();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut cluster = Self {
            nodes,
            options,
            data,
            running,
            http,
        };
        for index in 0..size {
            cluster.restart(index).await;
        }
        cluster
    }

    pub(crate) fn data(&self, index: usize) -> PathBuf {
        self.data.path().join(&self.nodes[index].name)
    }

    /// What follows `schism node` for this node.
    pub(crate) fn args(&self, index: usize) -> Vec<String> {
        let target = registry::target("single-leader").unwrap();
        let pairs = self
            .options
            .iter()
            .filter_map(|option| option.split_once('='));
        let given = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let options = target.resolve(&given, self.nodes.len()).unwrap();
        let node = &self.nodes[index];
        let command = target.command(&options, node, &self.nodes, &self.data(index));
        command.args[1..].to_vec()
    }

    pub(crate) async fn restart(&mut self, index: usize) {
        let settings = Settings::parse(&self.args(index)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listen: SocketAddr = settings.listen;
        runtime.spawn(async move {
            let listener = loop {
                match server::listen(listen).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            server::serve(settings, listener, std::future::pending())
                .await
                .unwrap();
        });
        self.running[index] = Some(runtime);
        poll("started node", async || {
            self.status(index).await.ok_or("no status".into())
        })
        .await;
    }

    pub(crate) async fn kill(&mut self, index: usize) {
        if let Some(runtime) = self.running[index].take() {
            runtime.shutdown_background();
        }
        poll("dead node", async || match self.status(index).await {
            Some(_) => Err("it answers".into()),
            // Its disk thread ends a little later.
            None => storage::lock(&self.data(index))
                .map(drop)
                .map_err(|error| error.to_string()),
        })
        .await;
    }

    pub(crate) fn wipe(&self, index: usize) {
        std::fs::remove_dir_all(self.data(index)).unwrap();
    }

    pub(crate) fn client(&self, session: u64) -> Client {
        Client::new(&self.nodes, session, None, Duration::from_secs(30))
    }

    pub(crate) async fn status(&self, index: usize) -> Option<Status> {
        client::status(&self.http, &self.nodes[index], Duration::from_secs(5)).await
    }

    pub(crate) async fn statuses(&self) -> Vec<Option<Status>> {
        let mut statuses = Vec::new();
        for index in 0..self.nodes.len() {
            statuses.push(self.status(index).await);
        }
        statuses
    }

    /// Waits for the target's own word; the index of the leader.
    pub(crate) async fn recovered(&self) -> usize {
        let target = registry::target("single-leader").unwrap();
        poll("recovered cluster", async || {
            let statuses = self.statuses().await;
            target
                .recovered(&statuses)
                .map_err(|why| format!("{why}: {statuses:?}"))?;
            target.leader(&statuses).ok_or("no leader".into())
        })
        .await
    }

    pub(crate) async fn write_until_acknowledged(&self, client: &mut Client, request: &Request) {
        poll("acknowledged write", async || {
            client
                .call(request)
                .await
                .map_err(|error| error.to_string())
        })
        .await;
    }

    pub(crate) async fn read_everywhere(&self, request: &Request) -> Vec<Value> {
        let client = self.client(99);
        let mut values = Vec::new();
        for index in 0..self.nodes.len() {
            let answer = client.read_local(index, request).await.unwrap();
            values.push(answer.value);
        }
        values
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for runtime in self.running.iter_mut().filter_map(Option::take) {
            runtime.shutdown_background();
        }
    }
}
