//! Drives one simulation: cluster up, clients and faults together, recovery, final reads. What comes of it is a history, as of a real run.
//!
//! The stages are those of `drive` and the events have the same shapes, so the checkers see no difference.

use super::client::{Next, TIME_OUT};
use super::members::Change;
use super::plan::{Plan, PlannedOperation, What};
use super::recording::Recording;
use super::setting::{CLIENTS, Setting};
use super::stages::Stage;
use super::worker::{Task, Worker, workers};
use anyhow::Result;
use schism_history::{EventKind, History};
use schism_targets::replicas::RequestId;
use schism_targets::simulator::{Call, Fault, Micros, News, Setup, Simulation, Traced};
use schism_workloads::{Completion, Invocation};
use std::collections::BTreeMap;
use std::time::Duration;

/// How soon what was refused of an errand is tried again.
const BACK_OFF: Micros = Micros::from_millis(50);

/// What came of a plan.
pub struct Driven {
    /// What clients saw, and what was done to the cluster.
    pub history: History,
    /// The plan with the operations as they were invoked, and when, so that they are invoked again whatever is left out.
    pub plan: Plan,
    /// What has happened inside, where that was wanted.
    pub trace: Vec<Traced>,
}

/// Why it was to be woken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wake {
    Ask,
    Due(usize),
    /// The client's operation of this number has taken too long.
    TimeUp(usize, u64),
    Inject(usize),
    Heal(usize),
    /// Of the fault at this place: whether the node is to join.
    Change(usize, bool),
}

/// A simulation that is being driven.
pub(super) struct Drive<'a> {
    pub(super) setting: &'a Setting,
    pub(super) plan: &'a Plan,
    pub(super) simulation: Box<dyn Simulation>,
    pub(super) workers: Vec<Worker>,
    pub(super) calls: BTreeMap<RequestId, usize>,
    /// Changes of the members, by the place of the fault, and what was asked for each.
    pub(super) changes: BTreeMap<usize, Change>,
    pub(super) asked: BTreeMap<RequestId, usize>,
    pub(super) wakes: Vec<Wake>,
    pub(super) stage: Stage,
    pub(super) begun: Micros,
    /// Until then what was refused of an errand is tried again.
    pub(super) patience: Micros,
    /// Faults that are not healed yet.
    pub(super) unhealed: usize,
    pub(super) fresh_process: u64,
    pub(super) recording: Recording,
    pub(super) invoked: Vec<PlannedOperation>,
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
    let setting = &setting.of(plan)?;
    let mut drive = Drive {
        setting,
        plan,
        simulation: setting.simulation(&setup)?,
        workers: workers(setting, plan)?,
        calls: BTreeMap::new(),
        changes: BTreeMap::new(),
        asked: BTreeMap::new(),
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
                    } else if let Some(place) = self.asked.remove(&id) {
                        self.hear_of_change(place, &heard);
                    }
                }
                None => unreachable!("whoever drives it asks now and then"),
            }
        }
    }

    pub(super) fn wake(&mut self, at: Micros, wake: Wake) {
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
            Wake::Change(fault, join) => self.ask_for_change(fault, join),
        }
    }

    // ---- clients

    pub(super) fn wake_when_due(&mut self, worker: usize) {
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
        let since = self.simulation.now().0 - self.begun.0;
        self.invoked.push(PlannedOperation {
            at_us: Micros(since),
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
        let late = now.plus(Micros(TIME_OUT.as_micros() as u64));
        self.wake(late, time_up);
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

    pub(super) fn go_on_errand(&mut self, number: usize) {
        if let Task::Errand(ahead) = &mut self.workers[number].task
            && let Some(invocation) = ahead.pop_front()
        {
            self.begin(number, invocation, None);
        }
    }

    /// The next final read of a replica, each under a process of its own.
    pub(super) fn read_next(&mut self, number: usize) {
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
        if let (Fault::Leave { .. }, [node]) = (&planned.fault, &injected.nodes[..]) {
            self.begin_leaving(place, *node);
        }
    }

    fn heal(&mut self, place: usize) {
        let planned = &self.plan.faults[place];
        self.simulation.heal(planned.id);
        if !self.begin_joining(place) {
            self.end_heal(place);
        }
    }

    pub(super) fn end_heal(&mut self, place: usize) {
        let planned = &self.plan.faults[place];
        self.recording.healed(self.simulation.now(), planned);
        self.unhealed -= 1;
        self.end_stage_if_over();
    }
}
