//! How many writes a second a cluster of `node` examples acknowledges, beside what the machine allows, in one run:
//! `throughput [SECONDS=5] [option=value]...`
//!
//! What it allows: an fsync loop (one record appended and forced to the disk, again and again), alone and as three side by side, which is what three
//! nodes on one disk have; and a bare axum handler that takes the same requests and does nothing. Then three nodes that force each record to the
//! disk by itself (`fsync=each`), and three with group commit (`fsync=always`), by more and more connections: group commit must carry five times what one fsync each
//! carries. The clients speak plain HTTP over kept connections to the leader, so that they cost little. A measurement, not a test.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::routing::put;
use axum::{Json, Router};
use schism_targets::client::status;
use schism_targets::registry::{NodeAddress, Options, target};
use schism_targets::wire::{AnswerBody, WriteBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many connections write at once.
const CONNECTIONS: [usize; 4] = [1, 16, 128, 512];
const NODES: usize = 3;
/// Group commit must carry so many times the writes of one fsync each.
const WANTED: f64 = 5.0;

struct Nodes(Vec<Child>);

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seconds = args.first().map_or(Ok(5), |text| text.parse())?;
    let limit = Duration::from_secs(seconds);
    let given: Options = args
        .iter()
        .filter_map(|arg| arg.split_once('='))
        .map(own)
        .collect();
    let data = tempfile::tempdir()?;

    let alone = fsyncs(data.path(), 1, limit)?;
    println!("{alone:>8.0} fsyncs/s, one after the other (a record of 120 bytes each)");
    let beside = fsyncs(data.path(), NODES, limit)?;
    println!("{beside:>8.0} fsyncs/s in each of three such loops side by side");
    let bare = bare_handler().await?;
    for connections in CONNECTIONS {
        let rate = rate(bare, connections, limit).await?;
        println!("{rate:>8.0} requests/s by a bare axum handler, {connections} connections");
    }
    let each = best(&given, "each", data.path(), limit).await?;
    let grouped = best(&given, "always", data.path(), limit).await?;
    println!(
        "the best is {:.1} times the fsyncs of one loop alone",
        grouped / alone
    );
    let ratio = grouped / each;
    let word = if ratio >= WANTED { "reached" } else { "MISSED" };
    println!(
        "group commit: {ratio:.1} times the writes of one fsync each; wanted {WANTED}: {word}"
    );
    if ratio < WANTED {
        return Err("group commit is slower than it must be".into());
    }
    Ok(())
}

/// The most writes a second that three nodes acknowledge, by any number of connections.
async fn best(given: &Options, fsync: &str, data: &Path, limit: Duration) -> Result<f64, Failure> {
    let mut options = given.clone();
    options.insert("fsync".to_owned(), fsync.to_owned());
    let (_nodes, leader) = cluster(&options, &data.join(fsync)).await?;
    let mut best: f64 = 0.0;
    for connections in CONNECTIONS {
        let rate = rate(leader, connections, limit).await?;
        best = best.max(rate);
        println!("{rate:>8.0} writes/s by three nodes, fsync={fsync}, {connections} connections");
    }
    Ok(best)
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// One record after the other, each forced to the disk, in so many files at once; a second and file.
fn fsyncs(folder: &Path, files: usize, limit: Duration) -> Result<f64, Failure> {
    let rates: Result<Vec<f64>, std::io::Error> = std::thread::scope(|scope| {
        let path = |number| folder.join(format!("fsyncs-{number}"));
        let loops: Vec<_> = (0..files)
            .map(|number| scope.spawn(move || fsync_loop(&path(number), limit)))
            .collect();
        let ended = loops
            .into_iter()
            .map(|one| one.join().expect("a loop does not panic"));
        ended.collect()
    });
    Ok(rates?.iter().sum::<f64>() / files as f64)
}

fn fsync_loop(path: &Path, limit: Duration) -> Result<f64, std::io::Error> {
    let mut file = std::fs::File::create(path)?;
    let began = Instant::now();
    let mut count = 0.0;
    while began.elapsed() < limit {
        file.write_all(&[b'x'; 120])?;
        file.sync_data()?;
        count += 1.0;
    }
    Ok(count / began.elapsed().as_secs_f64())
}

/// Takes what a node takes, and answers as one does.
async fn bare_handler() -> Result<SocketAddr, Failure> {
    let answer = async |Json(WriteBody { value }): Json<WriteBody>| {
        Json(AnswerBody {
            value,
            node: "n1".to_owned(),
            term: Some(1),
            version: Some(1),
            seen: 1,
            partition: 0,
        })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new().route("/kv/{key}", put(answer));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

/// Writes a second, by so many connections that each wait for their answers.
async fn rate(address: SocketAddr, connections: usize, limit: Duration) -> Result<f64, Failure> {
    let began = Instant::now();
    let until = began + limit;
    let tasks: Vec<_> = (0..connections)
        .map(|number| tokio::spawn(write_until(address, number, until)))
        .collect();
    let mut count = 0.0;
    for task in tasks {
        count += task.await??;
    }
    Ok(count / began.elapsed().as_secs_f64())
}

async fn write_until(address: SocketAddr, number: usize, until: Instant) -> Result<f64, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4096];
    let mut count = 0.0;
    while Instant::now() < until {
        let body = format!("{{\"value\":{count}}}");
        let length = body.len();
        let request = format!(
            "PUT /kv/k{number} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut got = 0;
        // Bodies are small: an answer ends with the brace of its JSON.
        while got == 0 || buffer[got - 1] != b'}' {
            let read = stream.read(&mut buffer[got..]).await?;
            if read == 0 {
                return Err("the connection was closed".into());
            }
            got += read;
        }
        if !buffer.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&buffer[..got]).into());
        }
        count += 1.0;
    }
    Ok(count)
}

/// Three nodes, and where their leader is.
async fn cluster(given: &Options, data: &Path) -> Result<(Nodes, SocketAddr), Failure> {
    let target = target("single-leader").ok_or("no such target")?;
    let options = target.resolve(given, NODES)?;
    let addresses: Vec<NodeAddress> = (1..=NODES)
        .map(|number| {
            let address = format!("127.0.0.1:{}", 18000 + number).parse()?;
            let name = format!("n{number}");
            Ok(NodeAddress { name, address })
        })
        .collect::<Result<_, Failure>>()?;
    let program = std::env::current_exe()?.with_file_name("node");
    std::fs::create_dir_all(data)?;
    let mut nodes = Nodes(Vec::new());
    for node in &addresses {
        let command = target.command(&options, node, &addresses, &data.join(&node.name));
        let log = std::fs::File::create(data.join(format!("{}.log", node.name)))?;
        let mut child = Command::new(&program);
        child
            .args(&command.args[1..])
            .stdin(Stdio::null())
            .stderr(log);
        nodes.0.push(child.spawn()?);
    }
    let http = reqwest::Client::builder().no_proxy().build()?;
    loop {
        let mut statuses = Vec::new();
        for node in &addresses {
            statuses.push(status(&http, node, Duration::from_secs(1)).await);
        }
        let leader = target.leader(&statuses);
        if let Some(leader) = leader.filter(|_| target.recovered(&statuses).is_ok()) {
            return Ok((nodes, addresses[leader].address));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
