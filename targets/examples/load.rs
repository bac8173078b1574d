//! How fast is a cluster of `node` examples on loopback? `load SESSIONS SECONDS SIZE [option=value]...`
//!
//! Starts the nodes as processes (the `node` example beside it must be built), writes or reads from so many
//! sessions at once, prints operations a second and latencies, then kills the leader with SIGKILL and
//! prints how long no write was acknowledged. A measurement, not a test.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use schism_targets::client::{Client, Request, status};
use schism_targets::registry::{NodeAddress, Options, target};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

struct Nodes(Vec<Child>);

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default| args.get(index).map_or(Ok(default), |text| text.parse());
    let (sessions, seconds, size) = (number(0, 10)?, number(1, 5)?, number(2, 3)?);
    let given: Options = args
        .iter()
        .skip(3)
        .filter_map(|arg| arg.split_once('='))
        .map(own)
        .collect();
    let data = tempfile::tempdir()?;
    let addresses = (0..size).map(|index| {
        let name = format!("n{}", index + 1);
        Ok(NodeAddress {
            name,
            address: format!("127.0.0.1:{}", 18000 + index).parse()?,
        })
    });
    let addresses: Vec<NodeAddress> = addresses.collect::<Result<_, Failure>>()?;
    let mut nodes = start(&addresses, &given, data.path())?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let leader = wait_for_leader(&http, &addresses).await?;

    for read in [false, true] {
        let limit = Duration::from_secs(seconds);
        let mut latencies = load(&addresses, sessions, limit, read).await?;
        latencies.sort_unstable();
        let at = |part: f64| latencies[(latencies.len() as f64 * part) as usize];
        let rate = latencies.len() as u64 / seconds;
        let what = if read { "reads" } else { "writes" };
        println!("{rate} {what}/s, median {:?}, p99 {:?}", at(0.5), at(0.99));
    }
    nodes.0[leader].kill()?;
    let killed = Instant::now();
    let mut client = Client::new(&addresses, 1, None, Duration::from_secs(2));
    let write = Request::Write {
        key: "after".to_owned(),
        value: json!(1),
    };
    while client.call(&write).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!(
        "{:?} from the leader's SIGKILL to the next acknowledged write",
        killed.elapsed()
    );
    Ok(())
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn start(nodes: &[NodeAddress], given: &Options, data: &std::path::Path) -> Result<Nodes, Failure> {
    let target = target("single-leader").ok_or("no such target")?;
    let options = target.resolve(given, nodes.len())?;
    let program = std::env::current_exe()?.with_file_name("node");
    let mut children = Nodes(Vec::new());
    for node in nodes {
        let args = target
            .command(&options, node, nodes, &data.join(&node.name))
            .args;
        let log = std::fs::File::create(data.join(format!("{}.log", node.name)))?;
        let mut command = Command::new(&program);
        command.args(&args[1..]).stdin(Stdio::null()).stderr(log);
        children.0.push(command.spawn()?);
    }
    Ok(children)
}

async fn wait_for_leader(http: &reqwest::Client, nodes: &[NodeAddress]) -> Result<usize, Failure> {
    let target = target("single-leader").ok_or("no such target")?;
    loop {
        let mut statuses = Vec::new();
        for node in nodes {
            statuses.push(status(http, node, Duration::from_secs(1)).await);
        }
        if target.recovered(&statuses).is_ok()
            && let Some(leader) = target.leader(&statuses)
        {
            return Ok(leader);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn load(
    nodes: &[NodeAddress],
    sessions: u64,
    limit: Duration,
    read: bool,
) -> Result<Vec<Duration>, Failure> {
    let until = Instant::now() + limit;
    let tasks = (0..sessions).map(|session| {
        let mut client = Client::new(nodes, session, None, Duration::from_secs(5));
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < until {
                let key = format!("k{}", latencies.len() % 50);
                let request = if read {
                    Request::Read { key }
                } else {
                    Request::Write {
                        key,
                        value: json!(session),
                    }
                };
                let began = Instant::now();
                if client.call(&request).await.is_ok() {
                    latencies.push(began.elapsed());
                }
            }
            latencies
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await?);
    }
    Ok(all)
}
