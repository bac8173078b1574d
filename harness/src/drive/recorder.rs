//! Writes the history while it happens: one clock, one order, one file.
//!
//! Time is taken under the lock that gives the index, so the file's order is the clock's order. A thread of its own turns events
//! into JSON and flushes often: when the controller is killed, all but the last moments are on disk.

use crate::nemesis::Watch;
use crate::schedule;
use anyhow::{Context, Result};
use schism_history::{Event, EventKind, Process, Time, jsonl};
use schism_workloads::Invocation;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Takes events from everybody.
#[derive(Debug)]
pub struct Recorder {
    origin: Instant,
    state: Mutex<State>,
    wake: Condvar,
    counts: Counts,
    faults: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    events: Vec<Event>,
    plans: Vec<String>,
    watches: BTreeMap<u64, Watch>,
    closed: bool,
    broken: Option<String>,
}

/// Completions so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    ok: AtomicU64,
    fail: AtomicU64,
    info: AtomicU64,
    processes: AtomicU64,
}

/// The thread that writes; to be finished with [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    recorder: Arc<Recorder>,
    thread: JoinHandle<Result<()>>,
}

/// How long events may wait for the disk.
const FLUSH_AFTER: Duration = Duration::from_millis(20);

impl Recorder {
    /// Opens `history.jsonl` and `schedule.jsonl` in `folder`. Times count from `origin`.
    pub fn create(folder: &Path, origin: Instant) -> Result<(Arc<Self>, Writer)> {
        let open = |name: &str| {
            let path = folder.join(name);
            File::create(&path)
                .map(BufWriter::new)
                .with_context(|| format!("cannot write {}", path.display()))
        };
        let (mut history, schedule) = (open("history.jsonl")?, open(schedule::FILE)?);
        jsonl::write_header(&mut history).context("cannot write history.jsonl")?;
        let recorder = Arc::new(Self {
            origin,
            state: Mutex::default(),
            wake: Condvar::new(),
            counts: Counts::default(),
            faults: Mutex::default(),
        });
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn({
                let recorder = Arc::clone(&recorder);
                move || recorder.write_all(history, schedule)
            })
            .context("cannot start the recorder's thread")?;
        Ok((Arc::clone(&recorder), Writer { recorder, thread }))
    }

    /// Now, since the run began.
    pub fn now(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// What the wall clock showed when the run began, in microseconds since 1970, as it looks now: captures have its times.
    pub fn origin_us(&self) -> u64 {
        let (before, wall, after) = (self.now(), SystemTime::now(), self.now());
        let now = Duration::from_nanos(before.0 + after.since(before) / 2);
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(wall.saturating_sub(now).as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes an event; its time and index are set here. To be called before a request is sent, and after its answer has arrived.
    pub fn record(&self, mut event: Event) {
        if let Process::Client(number) = event.process {
            self.counts
                .processes
                .fetch_max(number + 1, Ordering::Relaxed);
        }
        match event.kind {
            EventKind::Ok => self.counts.ok.fetch_add(1, Ordering::Relaxed),
            EventKind::Fail => self.counts.fail.fetch_add(1, Ordering::Relaxed),
            EventKind::Info if event.process != Process::Nemesis => {
                self.counts.info.fetch_add(1, Ordering::Relaxed)
            }
            EventKind::Info | EventKind::Invoke => 0,
        };
        let mut state = self.lock();
        event.index = state.next;
        event.time = self.now();
        state.next += 1;
        for watch in state.watches.values_mut() {
            watch.observe(&event);
        }
        state.events.push(event);
    }

    /// From now on it is watched what clients see of this fault.
    pub fn watch(&self, fault: u64, watch: Watch) {
        self.lock().watches.insert(fault, watch);
    }

    /// What clients have seen of a fault so far.
    pub fn watched(&self, fault: u64) -> Watch {
        self.lock().watches.get(&fault).cloned().unwrap_or_default()
    }

    /// Takes what the nemesis or the driver did.
    pub fn nemesis(&self, f: &'static str, value: Value) {
        self.record(Event::new(
            Time::ZERO,
            Process::Nemesis,
            EventKind::Info,
            f,
            value,
        ));
    }

    /// Takes an operation as it was scheduled, for `schedule.jsonl`.
    pub fn scheduled(&self, worker: u64, due: Duration, invocation: &Invocation) {
        self.plan(schedule::operation_line(worker, due, invocation));
    }

    /// Takes a planned fault, for `schedule.jsonl`.
    pub fn planned(&self, fault: &crate::nemesis::Planned) {
        self.plan(schedule::fault_line(fault));
    }

    fn plan(&self, line: Result<String>) {
        let mut state = self.lock();
        match line {
            Ok(line) => state.plans.push(line),
            Err(error) => state.broken = Some(format!("{error:#}")),
        }
    }

    /// How many operations ended ok, fail, info.
    pub fn counts(&self) -> (u64, u64, u64) {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (
            load(&self.counts.ok),
            load(&self.counts.fail),
            load(&self.counts.info),
        )
    }

    /// A process number that no client has had.
    pub fn fresh_process(&self) -> u64 {
        self.counts.processes.load(Ordering::Relaxed)
    }

    /// Which faults are in force, for the live display.
    pub fn set_faults(&self, faults: Vec<String>) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// The faults in force.
    pub fn faults(&self) -> Vec<String> {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Why the history can no longer be written, if so: the disk is full.
    pub fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut history: impl Write, mut schedule: impl Write) -> Result<()> {
        loop {
            let (events, plans, closed) = {
                let mut state = self.lock();
                if !state.closed {
                    let waited = self.wake.wait_timeout(state, FLUSH_AFTER);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                (
                    std::mem::take(&mut state.events),
                    std::mem::take(&mut state.plans),
                    state.closed,
                )
            };
            let written = write_batch(&mut history, &mut schedule, &events, &plans);
            if let Err(error) = written {
                self.lock().broken = Some(format!("{error:#}"));
                return Err(error);
            }
            if closed {
                return Ok(());
            }
        }
    }
}

fn write_batch(
    history: &mut impl Write,
    schedule: &mut impl Write,
    events: &[Event],
    plans: &[String],
) -> Result<()> {
    for event in events {
        jsonl::write_event(&mut *history, event).context("cannot write history.jsonl")?;
    }
    history.flush().context("cannot write history.jsonl")?;
    for plan in plans {
        writeln!(schedule, "{plan}").context("cannot write schedule.jsonl")?;
    }
    schedule.flush().context("cannot write schedule.jsonl")
}

impl Writer {
    /// Writes what is left.
    pub fn finish(self) -> Result<()> {
        self.recorder.lock().closed = true;
        self.recorder.wake.notify_one();
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("the recorder's thread panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_many_threads_record_is_a_history() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, writer) = Recorder::create(folder.path(), Instant::now()).unwrap();
        std::thread::scope(|scope| {
            for process in 0..4 {
                let recorder = &recorder;
                scope.spawn(move || {
                    for i in 0..1000 {
                        let op = Invocation::on("x", "write", i);
                        recorder.record(op.event(Time::ZERO, Process::Client(process)));
                        let done = schism_workloads::Completion::ok(i.into());
                        recorder.record(done.event(&op, Time::ZERO, Process::Client(process)));
                    }
                });
            }
        });
        writer.finish().unwrap();
        assert_eq!(recorder.counts(), (4000, 0, 0));
        assert_eq!(recorder.fresh_process(), 4);
        let file = File::open(folder.path().join("history.jsonl")).unwrap();
        let history = jsonl::read(std::io::BufReader::new(file)).unwrap();
        assert_eq!(history.ops().iter().filter(|op| op.is_ok()).count(), 4000);
    }

    #[test]
    fn a_full_disk_is_said_and_is_no_panic() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let recorder = Recorder {
            origin: Instant::now(),
            state: Mutex::default(),
            wake: Condvar::new(),
            counts: Counts::default(),
            faults: Mutex::default(),
        };
        recorder.nemesis("phase", json!({"phase": "main"}));
        recorder.lock().closed = true;
        let error = recorder
            .write_all(BufWriter::new(full), Vec::new())
            .unwrap_err();
        assert!(format!("{error:#}").contains("No space left"), "{error:#}");
        assert!(recorder.broken().is_some());
    }
}
