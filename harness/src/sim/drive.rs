//! Drives one simulation: cluster up, clients and faults together, recovery, final reads. What comes of it is a history, as of a real run.
//!
//! The stages are those of `drive` and the events have the same shapes, so the checkers see no difference.

use super::client::{Client, Next};
use super::plan::{Plan, PlannedOperation, What};
use super::recording::Recording;
use super::setting::{CLIENTS, Setting};
use anyhow::Result;
use schism_history::{EventKind, History};
use schism_targets::replicas::RequestId;
use schism_targets::simulator::{Call, Micros, News, Setup, Simulation, Traced};
use schism_workloads::{Completion, Generator, Invocation};
use std::collections::{BTreeMap, VecDeque};

/// After this long without an answer an outcome is unknown: the same as in a real run.
const TIME_OUT: Micros = Micros::from_millis(1000);
/// How long the cluster may take to come up, and to recover after the last heal.
const START_LIMIT: Micros = Micros::from_millis(20_000);
const RECOVERY_LIMIT: Micros = Micros::from_millis(15_000);
/// How often it is asked whether it has.
const ASK_EVERY: Micros = Micros::from_millis(100);

/// What came of a plan.
pub struct Driven {
    /// What clients saw, and what was done to the cluster.
    pub history: History,
    /// The plan with the operations as they were invoked, so that they are invoked again whatever is left out.
    pub plan: Plan,
    /// What has happened inside, where that was wanted.
    pub trace: Vec<Traced>,
}

/// Why it was to be woken.
#[derive(Debug, Clone, Copy)]
enum Wake {
    Ask,
    Due(usize),
    /// The client's operation of this number has taken too long.
    TimeUp(usize, u64),
    Inject(usize),
    Heal(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Main,
    Recovering(Micros),
    Reading,
    Ended,
}

/// A client with what it is still to do.
struct Worker {
    client: Client,
    generator: Option<Box<dyn Generator>>,
    ahead: VecDeque<PlannedOperation>,
    /// Final reads of this node, and what is still to be read there.
    reads: Option<(usize, VecDeque<Invocation>)>,
    /// Which of its operations is under way.
    number: u64,
}

struct Drive<'a> {
    setting: &'a Setting,
    plan: &'a Plan,
    simulation: Box<dyn Simulation>,
    workers: Vec<Worker>,
    calls: BTreeMap<RequestId, usize>,
    wakes: Vec<Wake>,
    stage: Stage,
    begun: Micros,
    /// Faults that are not healed yet.
    unhealed: usize,
    fresh_process: u64,
    recording: Recording,
    invoked: Vec<PlannedOperation>,
}

/// Carries a plan out.
pub fn drive(setting: &Setting, plan: &Plan, traced: bool) -> Result<Driven> {
    let setup = Setup {
        machines: plan.machines.clone(),
        // One more, whose links nothing disturbs, for the final reads.
        clients: CLIENTS + 1,
        perturbations: plan.messages.clone(),
        seed: plan.seed,
        traced,
    };
    let mut drive = Drive {
        setting,
        plan,
        simulation: setting.simulation(&setup)?,
        workers: workers(setting, plan)?,
        calls: BTreeMap::new(),
        wakes: Vec::new(),
        stage: Stage::Starting,
        begun: Micros::ZERO,
        unhealed: plan.faults.len(),
        fresh_process: CLIENTS as u64,
        recording: Recording::default(),
        invoked: Vec::with_capacity(plan.operations.len()),
    };
    drive.run();
    let trace = drive.simulation.take_trace();
    let mut plan = plan.clone();
    plan.operations = drive.invoked;
    Ok(Driven {
        history: drive.recording.history()?,
        plan,
        trace,
    })
}

fn workers(setting: &Setting, plan: &Plan) -> Result<Vec<Worker>> {
    for operation in &plan.operations {
        operation.what.as_ref().map(What::invocation).transpose()?;
    }
    let worker = |host: usize| {
        let mine = plan.operations.iter().filter(|o| o.client == host);
        let ahead: VecDeque<PlannedOperation> = mine.cloned().collect();
        let drawn = ahead.iter().any(|operation| operation.what.is_none());
        let options = &setting.wanted.workload_options;
        let (host_number, of) = (host as u64, CLIENTS as u64);
        let generator = || {
            setting
                .workload
                .generator(options, plan.seed, host_number, of)
        };
        Worker {
            client: Client::new(setting.workload, host, CLIENTS, setting.wanted.nodes),
            generator: drawn.then(generator),
            ahead,
            reads: None,
            number: 0,
        }
    };
    Ok((0..CLIENTS).map(worker).collect())
}

impl Drive<'_> {
    fn run(&mut self) {
        self.wake(Micros::ZERO, Wake::Ask);
        while self.stage != Stage::Ended {
            match self.simulation.next() {
                Some(News::Woken(token)) => self.woken(self.wakes[token as usize]),
                Some(News::Heard(id, heard)) => {
                    if let Some(worker) = self.calls.remove(&id) {
                        let next = self.workers[worker].client.hear(heard);
                        self.act(worker, next);
                    }
                }
                None => unreachable!("whoever drives it asks now and then"),
            }
        }
    }

    fn wake(&mut self, at: Micros, wake: Wake) {
        self.simulation.wake(at, self.wakes.len() as u64);
        self.wakes.push(wake);
    }

    fn woken(&mut self, wake: Wake) {
        match wake {
            Wake::Ask => self.ask_whether_well(),
            Wake::Due(worker) => self.begin_due(worker),
            Wake::TimeUp(worker, number) => self.time_up(worker, number),
            Wake::Inject(fault) => self.inject(fault),
            Wake::Heal(fault) => self.heal(fault),
        }
    }

    // ---- stages

    fn ask_whether_well(&mut self) {
        let now = self.simulation.now();
        let word = || self.setting.target.recovered(&self.simulation.statuses());
        match self.stage {
            Stage::Starting if now >= START_LIMIT || word().is_ok() => self.begin_main(),
            Stage::Recovering(since) => match word() {
                Ok(()) => self.end_recovery(since, Ok(())),
                Err(why) if now >= since.plus(RECOVERY_LIMIT) => {
                    self.end_recovery(since, Err(why));
                }
                Err(_) => self.wake(now.plus(ASK_EVERY), Wake::Ask),
            },
            Stage::Starting => self.wake(now.plus(ASK_EVERY), Wake::Ask),
            Stage::Main | Stage::Reading | Stage::Ended => {}
        }
    }

    fn begin_main(&mut self) {
        self.stage = Stage::Main;
        self.begun = self.simulation.now();
        self.recording.phase(self.begun, "main");
        let (plan, begun) = (self.plan, self.begun);
        for (place, fault) in plan.faults.iter().enumerate() {
            self.wake(begun.plus(fault.at_us), Wake::Inject(place));
            self.wake(begun.plus(fault.until_us), Wake::Heal(place));
        }
        (0..CLIENTS).for_each(|worker| self.wake_when_due(worker));
        self.end_main_if_over();
    }

    fn end_main_if_over(&mut self) {
        let works = |w: &Worker| w.client.is_busy() || !w.ahead.is_empty();
        if self.stage == Stage::Main && self.unhealed == 0 && !self.workers.iter().any(works) {
            let now = self.simulation.now();
            self.recording.phase(now, "heal");
            self.stage = Stage::Recovering(now);
            // What is read in the end is read after what was answered last, and not in the same moment.
            self.wake(now.plus(Micros::from_millis(1)), Wake::Ask);
        }
    }

    fn end_recovery(&mut self, since: Micros, word: Result<(), String>) {
        let now = self.simulation.now();
        self.recording.recovery(now, since, RECOVERY_LIMIT, word);
        self.recording.phase(now, "final-reads");
        self.stage = Stage::Reading;
        self.begin_final_reads();
        self.end_reads_if_over();
    }

    fn begin_final_reads(&mut self) {
        let (workload, nodes) = (self.setting.workload, self.setting.wanted.nodes);
        let options = &self.setting.wanted.workload_options;
        let reads = workload.final_reads(options);
        for node in 0..nodes {
            let worker = Worker {
                client: Client::new(workload, CLIENTS, CLIENTS, nodes),
                generator: None,
                ahead: VecDeque::new(),
                reads: Some((node, reads.iter().cloned().collect())),
                number: 0,
            };
            self.workers.push(worker);
            self.read_next(self.workers.len() - 1);
        }
    }

    fn end_reads_if_over(&mut self) {
        if self.stage == Stage::Reading && !self.workers.iter().any(|w| w.client.is_busy()) {
            self.recording.phase(self.simulation.now(), "end");
            self.stage = Stage::Ended;
        }
    }

    // ---- clients

    fn wake_when_due(&mut self, worker: usize) {
        if let Some(next) = self.workers[worker].ahead.front() {
            let due = self.begun.plus(next.at_us);
            self.wake(due, Wake::Due(worker));
        }
    }

    fn begin_due(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        let Some(operation) = worker.ahead.pop_front() else {
            return;
        };
        let drawn = |generator: &mut Box<dyn Generator>| generator.next();
        let invocation = match &operation.what {
            Some(what) => what.invocation().ok(),
            None => worker.generator.as_mut().and_then(drawn),
        };
        let Some(invocation) = invocation else {
            // The workload has nothing left to do.
            worker.ahead.clear();
            return self.end_main_if_over();
        };
        self.invoked.push(PlannedOperation {
            what: Some(What::from(&invocation)),
            ..operation
        });
        self.begin(number, invocation, None);
    }

    fn begin(&mut self, number: usize, invocation: Invocation, local: Option<usize>) {
        let now = self.simulation.now();
        let worker = &mut self.workers[number];
        self.recording
            .invoked(now, worker.client.process(), &invocation, local);
        worker.number += 1;
        let time_up = Wake::TimeUp(number, worker.number);
        let next = worker.client.begin(invocation, local);
        self.wake(now.plus(TIME_OUT), time_up);
        self.act(number, Some(next));
    }

    fn time_up(&mut self, worker: usize, number: u64) {
        let late = &mut self.workers[worker];
        if late.number == number {
            let next = late.client.time_out();
            self.act(worker, next);
        }
    }

    fn act(&mut self, worker: usize, next: Option<Next>) {
        match next {
            Some(Next::Ask(call)) => self.call(worker, call),
            Some(Next::Done(invocation, completion)) => self.done(worker, &invocation, completion),
            None => {}
        }
    }

    fn call(&mut self, worker: usize, call: Call) {
        let id = self.simulation.call(call);
        self.calls.retain(|_, caller| *caller != worker);
        self.calls.insert(id, worker);
    }

    fn done(&mut self, number: usize, invocation: &Invocation, completion: Completion) {
        let now = self.simulation.now();
        let worker = &mut self.workers[number];
        let (process, kind) = (worker.client.process(), completion.kind);
        if let Some(generator) = &mut worker.generator {
            generator.observe(invocation, &completion);
        }
        let node = worker.reads.as_ref().map(|(node, _)| *node);
        self.recording
            .completed(now, process, invocation, completion, node);
        if node.is_some() {
            self.read_next(number);
            return self.end_reads_if_over();
        }
        if kind == EventKind::Info {
            worker.client.renew();
            self.fresh_process = self.fresh_process.max(worker.client.process() + 1);
        }
        self.wake_when_due(number);
        self.end_main_if_over();
    }

    /// The next final read of a replica, each under a process of its own.
    fn read_next(&mut self, number: usize) {
        let process = self.fresh_process;
        let worker = &mut self.workers[number];
        let Some((node, reads)) = &mut worker.reads else {
            return;
        };
        let node = *node;
        if let Some(read) = reads.pop_front() {
            worker.client.become_process(process);
            self.fresh_process += 1;
            self.begin(number, read, Some(node));
        }
    }

    // ---- faults

    fn inject(&mut self, place: usize) {
        let planned = &self.plan.faults[place];
        let now = self.simulation.now();
        let injected = self.simulation.inject(planned.id, &planned.fault);
        self.recording.injected(now, planned, &injected);
    }

    fn heal(&mut self, place: usize) {
        let planned = &self.plan.faults[place];
        self.simulation.heal(planned.id);
        self.recording.healed(self.simulation.now(), planned);
        self.unhealed -= 1;
        self.end_main_if_over();
    }
}
