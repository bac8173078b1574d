//! A client in simulated time: one operation in flight, the same ways from node to node as the client over HTTP.
//!
//! It decides, and sends nothing itself: [`Client::begin`] and [`Client::hear`] say what is to be asked next, or what came of it.

use super::setting::Setting;
use schism_targets::client::{Answer, CallError, Request};
use schism_targets::route::{HOPS_MAX, Route};
use schism_targets::simulator::{Call, Heard};
use schism_targets::wire::{Said, kind};
use schism_workloads::{Completion, Invocation, Options, Step, Workload};
use std::sync::Arc;
use std::time::Duration;

/// After this long without an answer an outcome is unknown: the same as in a real run.
pub(super) const TIME_OUT: Duration = Duration::from_secs(1);

/// One client: a sequence of processes, each with a session of its own.
pub(super) struct Client {
    workload: &'static dyn Workload,
    options: Arc<Options>,
    host: usize,
    size: usize,
    /// Where its next request goes, if it goes round.
    in_turn: Option<usize>,
    process: u64,
    of: u64,
    route: Route,
    flight: Option<Flight>,
    /// After it the operation that is under way asks nothing more.
    deadline: Duration,
}

/// The operation that is under way.
struct Flight {
    invocation: Invocation,
    so_far: Vec<Result<Answer, CallError>>,
    request: Request,
    /// Where the call began, where it is, and how often it was sent on.
    start: usize,
    at: usize,
    hops: usize,
    /// Only that node is asked, and of its own state.
    local: Option<usize>,
}

/// What a client does next.
pub(super) enum Next {
    /// It asks a node.
    Ask(Call),
    /// The operation has come to its end.
    Done(Invocation, Completion),
}

fn unsent() -> CallError {
    CallError::definite(kind::TIMEOUT, "the time was up before it was sent")
}

impl Client {
    /// One of `of` clients, on this host, whose first process has the host's number. It begins where its session says.
    pub(super) fn new(setting: &Setting, host: usize, of: usize) -> Self {
        let size = setting.wanted.nodes;
        let nodes = (1..=size).map(|n| format!("n{n}")).collect();
        let process = host as u64;
        Self {
            workload: setting.workload,
            options: Arc::clone(&setting.workload_options),
            host,
            size,
            in_turn: setting.workload.goes_round().then_some(host % size),
            route: Route::new(nodes, process, None),
            process,
            of: of as u64,
            flight: None,
            deadline: Duration::ZERO,
        }
    }

    /// The number under which it acts now; also its session's.
    pub(super) fn process(&self) -> u64 {
        self.process
    }

    /// Goes on under this number, with a new session.
    pub(super) fn become_process(&mut self, process: u64) {
        self.process = process;
        self.route = self.route.renewed(process);
    }

    /// Goes on after an outcome that nobody knows.
    pub(super) fn renew(&mut self) {
        self.become_process(self.process + self.of);
    }

    /// Whether it is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.flight.is_some()
    }

    /// Begins an operation; `local`: of that node's own state.
    pub(super) fn begin(
        &mut self,
        now: Duration,
        invocation: Invocation,
        local: Option<usize>,
    ) -> Next {
        self.deadline = now + TIME_OUT;
        self.go_on(now, invocation, Vec::new(), local)
    }

    fn go_on(
        &mut self,
        now: Duration,
        invocation: Invocation,
        mut so_far: Vec<Result<Answer, CallError>>,
        local: Option<usize>,
    ) -> Next {
        let request = loop {
            match self.workload.converse(&self.options, &invocation, &so_far) {
                Step::Ask(request) if now < self.deadline => break request,
                Step::Ask(_) => so_far.push(Err(unsent())),
                Step::Done(completion) => return Next::Done(invocation, completion),
            }
        };
        let start = local.unwrap_or_else(|| self.next_start());
        let flight = Flight {
            invocation,
            so_far,
            request,
            start,
            at: start,
            hops: 0,
            local,
        };
        let call = self.call(now, &flight);
        self.flight = Some(flight);
        Next::Ask(call)
    }

    fn next_start(&mut self) -> usize {
        if let Some(node) = self.in_turn {
            self.route.begin_at(node);
            self.in_turn = Some((node + 1) % self.size);
        }
        self.route.start()
    }

    fn call(&self, now: Duration, flight: &Flight) -> Call {
        Call {
            client: self.host,
            node: flight.at,
            told: self.route.told(now),
            local: flight.local.is_some(),
            request: flight.request.clone(),
        }
    }

    /// What it does after it has heard this; nothing where it waits for nothing.
    pub(super) fn hear(&mut self, now: Duration, heard: Heard) -> Option<Next> {
        let mut flight = self.flight.take()?;
        let result = match heard {
            Heard::Said(Said::Answer(body)) => Ok(body.into()),
            Heard::Said(Said::Refused(status, body)) => Err(CallError::refused(status, body)),
            Heard::Said(Said::Redirect(to)) => match self.route.index_of(to.as_str()) {
                Some(_) if flight.local.is_some() => {
                    Err(CallError::definite(kind::REDIRECT, "asked elsewhere"))
                }
                Some(node) => return Some(self.ask_again(now, flight, node)),
                None => Err(CallError::definite(
                    kind::REDIRECT,
                    "to nobody that is known",
                )),
            },
            Heard::Unreachable if flight.local.is_none() && self.moves_on(&flight) => {
                flight.at = flight.start;
                let start = flight.start;
                return Some(self.ask_again(now, flight, start));
            }
            Heard::Unreachable => Err(CallError::definite(kind::UNREACHABLE, "no connection")),
            Heard::Reset => Err(CallError::open(kind::RESET, "the node went down")),
        };
        Some(self.conclude(now, flight, result))
    }

    /// The operation has taken too long.
    pub(super) fn time_out(&mut self, now: Duration) -> Option<Next> {
        let flight = self.flight.take()?;
        let late = CallError::open(kind::TIMEOUT, "no answer in time");
        Some(self.conclude(now, flight, Err(late)))
    }

    fn moves_on(&mut self, flight: &Flight) -> bool {
        self.route.moves_on(flight.at, &flight.request)
    }

    fn ask_again(&mut self, now: Duration, mut flight: Flight, node: usize) -> Next {
        if flight.hops == HOPS_MAX {
            let error = CallError::definite(kind::REDIRECT_LOOP, "sent from node to node");
            return self.conclude(now, flight, Err(error));
        }
        flight.hops += 1;
        flight.at = node;
        let call = self.call(now, &flight);
        self.flight = Some(flight);
        Next::Ask(call)
    }

    fn conclude(
        &mut self,
        now: Duration,
        flight: Flight,
        result: Result<Answer, CallError>,
    ) -> Next {
        if flight.local.is_none() {
            self.route
                .ended(flight.start, &flight.request, &result, now);
        }
        let mut so_far = flight.so_far;
        so_far.push(result.map_err(|error| error.of(&flight.request)));
        self.go_on(now, flight.invocation, so_far, flight.local)
    }
}
