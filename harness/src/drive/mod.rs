//! Drives one run inside the arena: cluster up, clients and nemesis together, heal, recovery, final reads, cluster down.
//!
//! Everything that happens goes into the history; nothing is judged here.

mod clients;
mod ends;
mod final_reads;
mod interrupt;
mod lookout;
mod progress;
mod recorder;

pub use clients::{Connection, Entry, TargetConnection, Worker};
pub use recorder::{Recorder, Writer};

use crate::arena::{Arena, Ending, Host, NetNs, run_inside};
use crate::capture::{self, Taker, Tally};
use crate::cluster::Cluster;
use crate::control::{self, Orders, Place};
use crate::nemesis::{self, Impossible, Nemesis, Planned, World};
use crate::network::Network;
use crate::schedule::Schedule;
use crate::spec::{Binding, Pcap, Resolved};
use crate::status::Watcher;
use crate::stderr::say;
use crate::store::Run;
use anyhow::{Context, Result, bail};
use interrupt::Interrupts;
use lookout::Lookout;
use progress::Progress;
use schism_targets::registry::NodeAddress;
use schism_targets::wire::Status;
use schism_workloads::generator::{Arrivals, Listed, stream};
use schism_workloads::{Generator, Options};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The streams of the clients' arrival times; those of what they do begin at 0.
const ARRIVALS: u64 = 1 << 32;
/// How long the nodes may take until they first say that they are up.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether a node has ended while it started.
const CRASH_LOOK: Duration = Duration::from_millis(50);
/// How long nodes have to end by themselves.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// How a run is carried out, which changes nothing of what it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way {
    /// No progress on stderr.
    pub quiet: bool,
    /// Whether the cluster stays up after the load, faults in force, until it is told to end.
    pub hold: bool,
    /// Whether the load ends at the first violation.
    pub stop_on_violation: bool,
}

/// Records the run into its folder, without faults of the families that are left out: enters the arena, and comes back when it is gone.
pub fn record(spec: &Resolved, left_out: &[Impossible], run: &Run, way: Way) -> Result<()> {
    let origin = Instant::now();
    let stored = spec.schedule()?;
    let can = |fault: &Planned| left_out.iter().all(|l| l.family != fault.family);
    let plan = Plan {
        faults: spec.faults()?.into_iter().filter(can).collect(),
        made_ready: nemesis::made_ready(&spec.spec)?
            .into_iter()
            .filter(can)
            .collect(),
        left_out,
        operations: stored.as_ref(),
    };
    let mut listener = match control::listen(run.folder()) {
        Ok(listener) => Some(listener),
        Err(error) if way.hold => return Err(error),
        Err(error) => {
            tracing::warn!("no faults by hand: {error:#}");
            None
        }
    };
    let inside = || match inside(spec, plan, run, origin, way, listener.take()) {
        Ok(()) => crate::exit::PASS,
        Err(error) => {
            say(&format!("schism: {error:#}"));
            crate::exit::HARNESS
        }
    };
    let ending = run_inside(inside);
    control::close(run.folder());
    let ending = ending?;
    match ending {
        Ending::Code(crate::exit::PASS) => run.arena_went(origin),
        Ending::Code(interrupt::AT_ONCE) => Err(Failed::AtOnce(run.folder().to_owned()).into()),
        Ending::Code(_) => Err(Failed::Said(run.folder().to_owned()).into()),
        Ending::Signal(signal) => Err(Failed::Signal {
            signal,
            folder: run.folder().to_owned(),
        }
        .into()),
    }
}

/// Why a run was not recorded to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The user wanted it to stop at once.
    #[error("stopped at once; what was recorded until then is in {}", .0.display())]
    AtOnce(PathBuf),
    /// The controller has said why.
    #[error("what was recorded until then is in {}", .0.display())]
    Said(PathBuf),
    /// The controller was killed.
    #[error("the controller was ended by {signal}; what was recorded until then is in {}", folder.display())]
    Signal {
        /// By which signal.
        signal: nix::sys::signal::Signal,
        /// The run's folder.
        folder: PathBuf,
    },
}

/// What is to happen.
struct Plan<'a> {
    /// The faults that will come.
    faults: Vec<Planned>,
    /// One of each family that is made ready for faults by hand.
    made_ready: Vec<Planned>,
    /// Those that this machine cannot do.
    left_out: &'a [Impossible],
    /// The operations that are to be done again, instead of what the seed draws.
    operations: Option<&'a Schedule>,
}

fn inside(
    spec: &Resolved,
    plan: Plan<'_>,
    run: &Run,
    origin: Instant,
    way: Way,
    listener: Option<UnixListener>,
) -> Result<()> {
    let asked = Instant::now();
    let arena = Arena::build(spec.spec.nodes)?;
    let network = Network::new(&arena)?;
    let up_ms = asked.elapsed().as_secs_f64() * 1e3;
    let (recorder, writer) = Recorder::create(run.folder(), origin)?;
    recorder.nemesis(
        "arena",
        json!({"up_ms": up_ms, "firewall": network.variant().name()}),
    );
    let controller = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the controller's runtime")?;
    let cluster = Cluster::new(
        spec.target,
        &spec.spec.options,
        spec.spec.binary.as_deref(),
        &arena,
        &run.nodes_folder(),
    )?;
    let clients = client_runtime(&arena.clients.ns)?;
    let captures = begin_captures(spec.spec.pcap, &arena, run, &recorder)?;
    let driver = Driver {
        spec,
        plan,
        way,
        run,
        options: Arc::new(spec.spec.workload_options.clone()),
        nodes: cluster.addresses.clone().into(),
        watcher: Watcher::new(spec.target, &cluster.addresses)?,
        recorder,
    };
    let orders = listener
        .map(|listener| control::serve(listener, places(&arena, run)))
        .transpose()?;
    let world = World::new(network, cluster);
    let driven = controller.block_on(driver.drive(world, &clients, orders));
    clients.shutdown_background();
    if let Some(captures) = captures {
        end_captures(captures, &driver.recorder);
    }
    usage(&driver.recorder);
    let written = writer.finish();
    driven.and(written)
}

/// Where commands by hand are carried out: each host's namespace, and its folder.
fn places(arena: &Arena, run: &Run) -> BTreeMap<String, Place> {
    let place = |host: &Host| {
        let own = run.nodes_folder().join(&host.name);
        let folder = if own.is_dir() {
            own
        } else {
            run.folder().to_owned()
        };
        let ns = host.ns.clone();
        (host.name.clone(), Place { ns, folder })
    };
    arena.hosts().map(place).collect()
}

/// Begins the captures that are wanted: before the first node starts.
fn begin_captures(
    wanted: Pcap,
    arena: &Arena,
    run: &Run,
    recorder: &Recorder,
) -> Result<Option<Taker>> {
    if wanted == Pcap::Off {
        return Ok(None);
    }
    let taker = Taker::start(arena.hosts(), &run.nodes_folder())
        .context("cannot capture packets; `schism doctor` says more")?;
    let hosts: Vec<_> = arena
        .hosts()
        .map(|h| json!({"host": h.name, "ip": h.ip.to_string()}))
        .collect();
    recorder.nemesis(
        capture::EVENT,
        json!({"stage": "begun", "origin_us": recorder.origin_us(), "hosts": hosts}),
    );
    Ok(Some(taker))
}

/// Ends the captures. That they could not be written is no reason to throw the run away.
fn end_captures(captures: Taker, recorder: &Recorder) {
    let mut value = match captures.finish() {
        Ok(tallies) => json!({"hosts": tallies.iter().map(Tally::to_json).collect::<Vec<_>>()}),
        Err(error) => json!({"error": format!("{error:#}")}),
    };
    value["stage"] = json!("ended");
    value["origin_us"] = json!(recorder.origin_us());
    recorder.nemesis(capture::EVENT, value);
}

/// A runtime whose threads live in the clients' namespace, and so all their connections.
fn client_runtime(ns: &NetNs) -> Result<tokio::runtime::Runtime> {
    let ns = ns.clone();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("client")
        .on_thread_start(move || ns.enter().expect("a client thread enters its namespace"))
        .enable_all()
        .build()
        .context("cannot start the clients' runtime")
}

/// What the run has cost: the controller's own CPU time, and that of the nodes it has waited for.
fn usage(recorder: &Recorder) {
    use nix::sys::resource::{UsageWho, getrusage};
    let seconds = |who| {
        getrusage(who).map_or(0.0, |u| {
            let (user, system) = (u.user_time(), u.system_time());
            (user.tv_sec() + system.tv_sec()) as f64
                + (user.tv_usec() + system.tv_usec()) as f64 / 1e6
        })
    };
    let (controller, nodes) = (
        seconds(UsageWho::RUSAGE_SELF),
        seconds(UsageWho::RUSAGE_CHILDREN),
    );
    recorder.nemesis(
        "usage",
        json!({"controller_cpu_s": controller, "nodes_cpu_s": nodes}),
    );
}

/// Why the load has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Its time was over, or the nemesis had done all.
    Over,
    /// By this signal.
    By(&'static str),
    /// A violation was found.
    Violated,
}

async fn first_violation(lookout: &mut Option<Lookout>) -> String {
    match lookout {
        Some(lookout) => lookout.first().await,
        None => std::future::pending().await,
    }
}

struct Driver<'a> {
    spec: &'a Resolved,
    plan: Plan<'a>,
    way: Way,
    run: &'a Run,
    /// The workload's, resolved.
    options: Arc<Options>,
    nodes: Arc<[NodeAddress]>,
    watcher: Watcher,
    recorder: Arc<Recorder>,
}

impl Driver<'_> {
    async fn drive(
        &self,
        world: World,
        clients: &tokio::runtime::Runtime,
        orders: Option<Orders>,
    ) -> Result<()> {
        let mut interrupts = Interrupts::listen()?;
        let spec = &self.spec.spec;
        self.tell_plan();
        let mut progress = Progress::new(spec.time_limit, self.way.quiet);
        let mut nemesis = Nemesis::new(
            world,
            Arc::clone(&self.recorder),
            self.watcher.clone(),
            spec.seed,
            spec.recovery_limit,
        );

        if let Some(orders) = orders {
            nemesis.take_orders(orders, spec);
        }
        nemesis.prepare(&[&self.plan.faults[..], &self.plan.made_ready].concat())?;
        self.start_cluster(&mut nemesis).await?;
        self.open(clients).await?;
        let load = self.load(&mut nemesis, clients, &mut progress, &mut interrupts);
        let loaded = load.await;
        if let Ok(interrupted) = loaded {
            let closed = self.close(&mut nemesis, clients);
            tokio::select! {
                closed = closed => closed?,
                // The first one has ended the load already: then the second one ends the process.
                signal = interrupts.first(), if !interrupted => {
                    self.recorder.nemesis("interrupted", json!({"why": signal}));
                    progress.say(&format!("{signal}: not waiting any longer"));
                }
            }
        }
        self.phase("end");
        progress.finish();
        nemesis.look();
        nemesis.world.cluster.stop(STOP_PATIENCE)?;
        loaded.map(drop)
    }

    /// Writes down what is to come, and what is not.
    fn tell_plan(&self) {
        for fault in &self.plan.faults {
            self.recorder.planned(fault);
        }
        for family in self.plan.left_out.iter().filter(|l| l.faults > 0) {
            let what = match family.faults {
                1 => format!("1 fault of {}", family.family),
                n => format!("{n} faults of {}", family.family),
            };
            let value = json!({"what": what, "why": family.why, "unavailable": true});
            self.recorder.nemesis("skipped", value);
        }
    }

    /// After the load: recovery, then the final reads.
    async fn close(&self, nemesis: &mut Nemesis, clients: &tokio::runtime::Runtime) -> Result<()> {
        let statuses = self.recovery(nemesis).await;
        self.finish(clients).await?;
        self.phase("final-reads");
        self.final_reads(&statuses, clients).await
    }

    async fn start_cluster(&self, nemesis: &mut Nemesis) -> Result<()> {
        let cluster = &mut nemesis.world.cluster;
        (0..cluster.size()).try_for_each(|node| cluster.start(node))?;
        let up = self.watcher.recovered(START_LIMIT);
        tokio::pin!(up);
        loop {
            tokio::select! {
                word = &mut up => return word.map_err(|why| anyhow::anyhow!(
                    "the cluster did not come up within {START_LIMIT:?}: {why}; see the nodes' stderr in the run's folder"
                )),
                () = tokio::time::sleep(CRASH_LOOK) => {
                    if let Some((node, how)) = cluster.take_crashes().first() {
                        let name = &self.nodes[*node].name;
                        bail!("{name} {how} while it started; see its stderr in the run's folder");
                    }
                }
            }
        }
    }

    /// Clients and nemesis together, until the time is over or the user has enough (then: true); every fault is healed.
    async fn load(
        &self,
        nemesis: &mut Nemesis,
        clients: &tokio::runtime::Runtime,
        progress: &mut Progress,
        interrupts: &mut Interrupts,
    ) -> Result<bool> {
        if let Some(declared) = &self.spec.spec.availability {
            let declared = json!({"availability": declared.to_json()});
            self.recorder.nemesis("declared", declared);
        }
        let schedule = &self.plan.faults;
        self.phase("main");
        progress.begin();
        let begun = Instant::now();
        let (stop, stopped) = watch::channel(false);
        let workers: Vec<_> = (0..self.spec.spec.concurrency)
            .map(|i| clients.spawn(self.worker(i).work(begun, stopped.clone())))
            .collect();
        let mut tick = tokio::time::interval(progress::TICK);
        let mut lookout = self.lookout()?;
        let outcome = {
            let faults = nemesis.carry_out(schedule, begun, self.spec.spec.end_after);
            tokio::pin!(faults);
            let end = tokio::time::sleep_until((begun + self.spec.spec.time_limit).into());
            tokio::pin!(end);
            loop {
                tokio::select! {
                    failed = &mut faults => break failed.map(|()| Ended::Over),
                    () = &mut end => break Ok(Ended::Over),
                    signal = interrupts.first() => {
                        self.recorder.nemesis("interrupted", json!({"why": signal}));
                        progress.say(&format!("{signal}: ending the run early, checking what there is (once more to stop at once)"));
                        break Ok(Ended::By(signal));
                    }
                    found = first_violation(&mut lookout) => {
                        self.recorder.nemesis("violation", json!({"what": found}));
                        progress.say(&format!("violation: {found}"));
                        break Ok(Ended::Violated);
                    }
                    _ = tick.tick() => {
                        progress.tick(&self.recorder);
                        if let Some(why) = self.recorder.broken() {
                            break Err(anyhow::anyhow!("{why}; free some space or give another --out"));
                        }
                    }
                }
            }
        };
        let _ = stop.send(true);
        let mut interrupted = matches!(outcome, Ok(Ended::By(_)));
        if self.way.hold && outcome.is_ok() && !interrupted {
            interrupted = self.hold(nemesis, progress, interrupts).await?;
        }
        progress.say("healing, waiting for recovery, reading every replica");
        self.phase("heal");
        let why = match outcome {
            Ok(Ended::By(signal)) => format!("the run was ended by {signal} before it came"),
            Ok(Ended::Violated) => {
                "the load ended at the first violation before it came".to_owned()
            }
            _ => "the clients' time was over before it could come".to_owned(),
        };
        nemesis.missed(schedule, &why);
        nemesis.heal_all()?;
        // The last operations are completed: after the heal, for they may wait for a node that a fault held.
        let last = async {
            for worker in workers {
                worker.await.context("a client's task panicked")?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            last = last => last?,
            signal = interrupts.first(), if !interrupted => {
                self.recorder.nemesis("interrupted", json!({"why": signal}));
                interrupted = true;
            }
        }
        outcome.map(|_| interrupted)
    }

    /// Looks for violations while the load goes on, if that is wanted.
    fn lookout(&self) -> Result<Option<Lookout>> {
        let wanted = self.way.stop_on_violation.then(|| self.run.history_path());
        wanted
            .map(|history| Lookout::start(history, &self.spec.deciding()))
            .transpose()
    }

    /// Leaves everything as it is until it is told to end; true: by a signal.
    async fn hold(
        &self,
        nemesis: &mut Nemesis,
        progress: &mut Progress,
        interrupts: &mut Interrupts,
    ) -> Result<bool> {
        self.phase("hold");
        progress.finish();
        let run = self.run.folder().display();
        let faults = match nemesis.faults() {
            none if none.is_empty() => "no fault is in force".to_owned(),
            faults => faults,
        };
        say(&format!(
            "held: the cluster stays up, clients have stopped; {faults}\n\
             from another terminal:\n  \
             schism exec --run {run} n1 -- ss -tn\n  \
             schism fault --run {run} status\n  \
             schism fault --run {run} kill n1        (or: heal; `schism list nemeses` has all)\n\
             logs: {run}/nodes/n1/stderr\n\
             to go on with heal, recovery, final reads and checks: schism fault --run {run} end, or Ctrl-C here"
        ));
        tokio::select! {
            held = nemesis.hold() => held.map(|()| false),
            signal = interrupts.first() => {
                say(&format!("{signal}: going on to the end (once more to stop at once)"));
                Ok(true)
            }
        }
    }

    fn worker(&self, number: u64) -> Worker<TargetConnection> {
        let spec = &self.spec.spec;
        let (generator, arrivals) = self.operations(number);
        Worker {
            number,
            of: spec.concurrency,
            connection: self.connection(number, self.entry(number), spec.client_timeout),
            generator,
            arrivals,
            recorder: Arc::clone(&self.recorder),
        }
    }

    fn entry(&self, client: u64) -> Entry {
        let node = client as usize % self.nodes.len();
        match self.spec.binding() {
            Binding::Bound => Entry::Home(node),
            Binding::Roaming => Entry::LastAnswered,
            Binding::InTurn => Entry::InTurn(node),
        }
    }

    fn connection(&self, process: u64, entry: Entry, timeout: Duration) -> TargetConnection {
        let does = (self.spec.workload, &self.options);
        TargetConnection::new(does, &self.nodes, process, entry, timeout)
    }

    /// What a client does, and when.
    fn operations(&self, worker: u64) -> (Box<dyn Generator>, Arrivals) {
        let spec = &self.spec.spec;
        if let Some(stored) = self.plan.operations {
            let operations = stored.of(worker).map(|o| o.invocation.clone());
            let times = stored.of(worker).map(|o| o.at);
            return (Box::new(Listed::new(operations)), Arrivals::listed(times));
        }
        let rate = (spec.rate > 0.0).then(|| spec.rate / spec.concurrency as f64);
        let generator = self.spec.workload.generator(
            &spec.workload_options,
            spec.seed,
            worker,
            spec.concurrency,
        );
        let arrivals = Arrivals::new(stream(spec.seed, ARRIVALS + worker), rate);
        (generator, arrivals)
    }

    /// Waits for the target's own word; that it never comes is a finding.
    async fn recovery(&self, nemesis: &mut Nemesis) -> Vec<Option<Status>> {
        let asked = Instant::now();
        let limit = self.spec.spec.recovery_limit;
        let word = self.watcher.recovered(limit).await;
        nemesis.settle().await;
        nemesis.look();
        let after_ms = asked.elapsed().as_secs_f64() * 1e3;
        let value = match word {
            Ok(()) => json!({"recovered": true, "after_ms": after_ms}),
            Err(why) => {
                json!({"recovered": false, "within_ms": limit.as_millis() as u64, "why": why})
            }
        };
        self.recorder.nemesis("recovery", value);
        let statuses = self.watcher.statuses().await;
        self.recorder.nemesis("status", json!(statuses));
        statuses
    }

    fn phase(&self, name: &str) {
        self.recorder.nemesis("phase", json!({"phase": name}));
    }
}
