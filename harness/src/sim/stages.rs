//! The stages of one simulation: up, opened, load, recovery, closed, read; each begins when the one before is over.

use super::client::Client;
use super::drive::{Drive, Wake};
use super::setting::CLIENTS;
use super::worker::{Task, Worker};
use schism_targets::simulator::{Host, Micros};
use schism_targets::wire;
use schism_workloads::Invocation;

/// How long the cluster may take to come up, and to recover after the last heal.
const START_LIMIT: Micros = Micros::from_millis(20_000);
const RECOVERY_LIMIT: Micros = Micros::from_millis(15_000);
/// How often it is asked whether it has.
const ASK_EVERY: Micros = Micros::from_millis(100);
/// What is done in the end is done after what was answered last, and not in the same moment.
const MOMENT: Micros = Micros::from_millis(1);
/// How long what comes first and last is tried again after it was refused.
const PATIENCE: Micros = Micros::from_millis(10_000);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
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

impl Drive<'_> {
    pub(super) fn ask_whether_well(&mut self) {
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
    pub(super) fn end_stage_if_over(&mut self) {
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
                self.simulation.calm();
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
        let statuses = self.simulation.statuses();
        for node in 0..self.setting.wanted.nodes {
            // One that nobody has taken in again need not have what the others have.
            if !wire::is_member(&statuses, &Host::Node(node).to_string()) {
                continue;
            }
            let client = Client::new(self.setting, CLIENTS, CLIENTS);
            let task = Task::Reads(node, reads.iter().cloned().collect());
            self.workers.push(Worker::new(client, task));
            self.read_next(self.workers.len() - 1);
        }
        self.end_stage_if_over();
    }
}
