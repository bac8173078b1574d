//! How fast the harness drives clients, with every event recorded.
//!
//! Two figures: an in-process client that does nothing (the limit of the harness itself), and the bundled target over HTTP, with the
//! share of CPU that the controller took of all that was used. `cargo bench --bench driver`.

use schism::drive::{Connection, Recorder, Worker};
use schism_workloads::generator::{Arrivals, stream};
use schism_workloads::{Completion, Invocation, workload};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What the design asks of the no-op client.
const NOOP_WANTED: f64 = 100_000.0;
const CLIENTS: u64 = 10;
const DURATION: Duration = Duration::from_secs(5);

struct Noop;

impl Connection for Noop {
    async fn call(&mut self, invocation: &Invocation) -> Completion {
        Completion::ok(invocation.value.clone())
    }

    fn renew(&mut self, _: u64) {}
}

fn noop() -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let (recorder, writer) = Recorder::create(folder.path(), Instant::now())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let register = workload("register").expect("there is a register workload");
    let options = schism_workloads::registry::resolve(register, &schism_workloads::Options::new())?;
    let (stop, stopped) = watch::channel(false);
    let begun = Instant::now();
    let workers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let worker = Worker {
                number,
                of: CLIENTS,
                connection: Noop,
                generator: register.generator(&options, 1, number, CLIENTS),
                arrivals: Arrivals::new(stream(1, 1 << 32), None),
                recorder: Arc::clone(&recorder),
            };
            runtime.spawn(worker.work(begun, stopped.clone()))
        })
        .collect();
    std::thread::sleep(DURATION);
    stop.send(true)?;
    for worker in workers {
        runtime.block_on(worker)?;
    }
    // The clock stops when the last event is on disk.
    writer.finish()?;
    let (ok, _, _) = recorder.counts();
    Ok(ok as f64 / begun.elapsed().as_secs_f64())
}

fn http() -> anyhow::Result<(f64, f64)> {
    let out = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_schism"))
        .args([
            "run",
            "--workload",
            "register",
            "--nemesis",
            "none",
            "--nodes",
            "3",
            "--rate",
            "0",
            "--concurrency",
            "20",
        ])
        .args([
            "--set",
            "ack=async",
            "--set",
            "fsync=interval",
            "--set",
            "read=leader",
            "--clients",
            "roaming",
        ])
        .args([
            "--time-limit",
            "5s",
            "--seed",
            "1",
            "--property",
            "stats",
            "--json",
            "--quiet",
            "--out",
        ])
        .arg(out.path())
        .stdin(Stdio::null())
        .output()?;
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| anyhow::anyhow!("{e}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let history = std::fs::read_to_string(out.path().join("latest/history.jsonl"))?;
    let ok = history
        .lines()
        .filter(|l| l.contains(r#""type":"ok""#))
        .count();
    let usage = &verdict["stats"]["usage"];
    let (controller, nodes) = (
        usage["controller_cpu_s"].as_f64().unwrap_or(0.0),
        usage["nodes_cpu_s"].as_f64().unwrap_or(0.0),
    );
    Ok((
        ok as f64 / DURATION.as_secs_f64(),
        controller / (controller + nodes),
    ))
}

fn main() -> anyhow::Result<()> {
    let rate = noop()?;
    println!(
        "no-op client: {rate:.0} operations/s recorded, {:.2} of the {NOOP_WANTED:.0} wanted",
        rate / NOOP_WANTED
    );
    let (rate, share) = http()?;
    println!(
        "HTTP target, 3 nodes: {rate:.0} operations/s recorded; the controller with all clients took {:.0} % of the CPU time used",
        share * 100.0
    );
    Ok(())
}
