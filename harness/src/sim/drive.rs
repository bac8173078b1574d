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
use std::time::Duration;

/// After this long without an answer an outcome is unknown: the same as in a real run.
const TIME_OUT: Micros = Micros::from_millis(1000);
/// How long the cluster may take to come up, and to recover after the last heal.
const START_LIMIT: Micros = Micros::from_millis(20_000);
const RECOVERY_LIMIT: Micros = Micros::from_millis(15_000);
/// How often it is asked whether it has.
const ASK_EVERY: Micros = Micros::from_millis(100);
/// What is done in the end is done after what was answered last, and not in the same moment.
const MOMENT: Micros = Micros::from_millis(1);
/// How long what comes first and last is tried again after it was refused, and after how long each time.
const PATIENCE: Micros = Micros::from_millis(10_000);
const BACK_OFF: Micros = Micros::from_millis(50);

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
    /// The workload does what comes first; then it is waited until all replicas have that.
    Opening,
    Opened,
    Main,
    Recovering(Micros),
    /// The workload does what comes last.
    Closing,
    Reading,
    Ended,
}

/// What a client is there for.
enum Task {
    /// The load: what it is still to do, and where it gets that from.
    Load {
        generator: Option<Box<dyn Generator>>,
        ahead: VecDeque<PlannedOperation>,
    },
    /// A few operations, each until it is not refused any more.
    Errand(VecDeque<Invocation>),
    /// Final reads of this node.
    Reads(usize, VecDeque<Invocation>),
}

/// A client with its task.
struct Worker {
    client: Client,
    task: Task,
    /// Which of its operations is under way.
    number: u64,
}

impl Worker {
    fn new(client: Client, task: Task) -> Self {
        let number = 0;
        Self {
            client,
            task,
            number,
        }
    }

    /// Whether it has something under way, or ahead.
    fn works(&self) -> bool {
        let ahead = match &self.task {
            Task::Load { ahead, .. } => ahead.len(),
            Task::Errand(ahead) | Task::Reads(_, ahead) => ahead.len(),
        };
        self.client.is_busy() || ahead > 0
    }

    /// The node of which it takes final reads.
    fn reads(&self) -> Option<usize> {
        match self.task {
            Task::Reads(node, _) => Some(node),
            _ => None,
        }
    }
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
    /// Until then what was refused of an errand is tried again.
    patience: Micros,
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
        patience: Micros::ZERO,
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

/// On the clock of the clients.
fn elapsed(now: Micros) -> Duration {
    Duration::from_micros(now.0)
}

fn workers(setting: &Setting, plan: &Plan) -> Result<Vec<Worker>> {
    for operation in &plan.operations {
        operation.what.as_ref().map(What::invocation).transpose()?;
    }
    let worker = |host: usize| {
        let mine = plan.operations.iter().filter(|o| o.client == host);
        let ahead: VecDeque<PlannedOperation> = mine.cloned().collect();
        let drawn = ahead.iter().any(|operation| operation.what.is_none());
        let (number, of) = (host as u64, CLIENTS as u64);
        let options = &setting.workload_options;
        let generator = || setting.workload.generator(options, plan.seed, number, of);
        let generator = drawn.then(generator);
        let client = Client::new(setting, host, CLIENTS);
        Worker::new(client, Task::Load { generator, ahead })
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
                        let now = elapsed(self.simulation.now());
                        let next = self.workers[worker].client.hear(now, heard);
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
        let word = self.setting.target.recovered(&self.simulation.statuses());
        let late = now >= START_LIMIT;
        match (self.stage, word) {
            (Stage::Starting, word) if late || word.is_ok() => self.begin_opening(),
            (Stage::Opened, word) if late || word.is_ok() => self.begin_main(),
            (Stage::Recovering(since), Ok(())) => self.end_recovery(since, Ok(())),
            (Stage::Recovering(since), Err(why)) if now >= since.plus(RECOVERY_LIMIT) => {
                self.end_recovery(since, Err(why));
            }
            (Stage::Starting | Stage::Opened | Stage::Recovering(_), _) => {
                self.wake(now.plus(ASK_EVERY), Wake::Ask);
            }
            (Stage::Opening | Stage::Main | Stage::Closing | Stage::Reading | Stage::Ended, _) => {}
        }
    }

    /// What comes first goes by the undisturbed host, as the first client, which has not begun.
    fn begin_opening(&mut self) {
        self.stage = Stage::Opening;
        let (workload, options) = (self.setting.workload, &self.setting.workload_options);
        if let Some((name, value)) = workload.declares(options) {
            self.recording.declared(self.simulation.now(), name, value);
        }
        let operations = workload.opening(options);
        self.begin_errand(0, operations);
        self.end_stage_if_over();
    }

    fn begin_errand(&mut self, process: u64, operations: Vec<Invocation>) {
        let mut client = Client::new(self.setting, CLIENTS, CLIENTS);
        client.become_process(process);
        let task = Task::Errand(operations.into());
        self.patience = self.simulation.now().plus(PATIENCE);
        self.workers.push(Worker::new(client, task));
        self.go_on_errand(self.workers.len() - 1);
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
        self.end_stage_if_over();
    }

    /// Goes on to the next stage once all that belongs to this one is done.
    fn end_stage_if_over(&mut self) {
        let of_stage = match self.stage {
            Stage::Main => &self.workers[..CLIENTS],
            _ => &self.workers[CLIENTS..],
        };
        if of_stage.iter().any(Worker::works) {
            return;
        }
        let now = self.simulation.now();
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Opened;
                self.wake(now.plus(MOMENT), Wake::Ask);
            }
            Stage::Main if self.unhealed == 0 => {
                self.recording.phase(now, "heal");
                self.stage = Stage::Recovering(now);
                self.wake(now.plus(MOMENT), Wake::Ask);
            }
            Stage::Closing => self.begin_final_reads(),
            Stage::Reading => {
                self.recording.phase(now, "end");
                self.stage = Stage::Ended;
            }
            _ => {}
        }
    }

    fn end_recovery(&mut self, since: Micros, word: Result<(), String>) {
        let now = self.simulation.now();
        self.recording.recovery(now, since, RECOVERY_LIMIT, word);
        self.stage = Stage::Closing;
        let closing = self
            .setting
            .workload
            .closing(&self.setting.workload_options);
        let process = self.fresh_process;
        self.fresh_process += 1;
        self.begin_errand(process, closing);
        self.end_stage_if_over();
    }

    fn begin_final_reads(&mut self) {
        self.stage = Stage::Reading;
        self.recording.phase(self.simulation.now(), "final-reads");
        let options = &self.setting.workload_options;
        let reads = self.setting.workload.final_reads(options, CLIENTS as u64);
        for node in 0..self.setting.wanted.nodes {
            let client = Client::new(self.setting, CLIENTS, CLIENTS);
            let task = Task::Reads(node, reads.iter().cloned().collect());
            self.workers.push(Worker::new(client, task));
            self.read_next(self.workers.len() - 1);
        }
        self.end_stage_if_over();
    }

    // ---- clients

    fn wake_when_due(&mut self, worker: usize) {
        if let Task::Load { ahead, .. } = &self.workers[worker].task
            && let Some(next) = ahead.front()
        {
            let due = self.begun.plus(next.at_us);
            self.wake(due, Wake::Due(worker));
        }
    }

    fn begin_due(&mut self, number: usize) {
        let Task::Load { generator, ahead } = &mut self.workers[number].task else {
            return self.go_on_errand(number);
        };
        let Some(operation) = ahead.pop_front() else {
            return;
        };
        let invocation = match &operation.what {
            Some(what) => what.invocation().ok(),
            None => generator.as_mut().and_then(|generator| generator.next()),
        };
        let Some(invocation) = invocation else {
            // The workload has nothing left to do.
            ahead.clear();
            return self.end_stage_if_over();
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
        let next = worker.client.begin(elapsed(now), invocation, local);
        self.wake(now.plus(TIME_OUT), time_up);
        self.act(number, Some(next));
    }

    fn time_up(&mut self, worker: usize, number: u64) {
        let now = elapsed(self.simulation.now());
        let late = &mut self.workers[worker];
        if late.number == number {
            let next = late.client.time_out(now);
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
        if let Task::Load {
            generator: Some(generator),
            ..
        } = &mut worker.task
        {
            generator.observe(invocation, &completion);
        }
        let node = worker.reads();
        self.recording
            .completed(now, process, invocation, completion, node);
        if kind == EventKind::Info && node.is_none() {
            worker.client.renew();
            self.fresh_process = self.fresh_process.max(worker.client.process() + 1);
        }
        match &mut worker.task {
            Task::Load { .. } => self.wake_when_due(number),
            Task::Reads(..) => self.read_next(number),
            Task::Errand(ahead) => {
                if kind == EventKind::Fail && now < self.patience {
                    ahead.push_front(invocation.clone());
                    self.wake(now.plus(BACK_OFF), Wake::Due(number));
                } else if kind == EventKind::Ok {
                    self.go_on_errand(number);
                } else {
                    // Nobody knows what the next would come upon.
                    ahead.clear();
                }
            }
        }
        self.end_stage_if_over();
    }

    fn go_on_errand(&mut self, number: usize) {
        if let Task::Errand(ahead) = &mut self.workers[number].task
            && let Some(invocation) = ahead.pop_front()
        {
            self.begin(number, invocation, None);
        }
    }

    /// The next final read of a replica, each under a process of its own.
    fn read_next(&mut self, number: usize) {
        let process = self.fresh_process;
        let worker = &mut self.workers[number];
        if let Task::Reads(node, ahead) = &mut worker.task
            && let Some(read) = ahead.pop_front()
        {
            let node = *node;
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
        self.end_stage_if_over();
    }
}
