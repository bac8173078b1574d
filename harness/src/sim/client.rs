//! A client in simulated time: one operation in flight, the same ways from node to node as the client over HTTP.
//!
//! It decides, and sends nothing itself: [`Client::begin`] and [`Client::hear`] say what is to be asked next, or what came of it.

use schism_targets::client::{Answer, CallError, Request};
use schism_targets::replicas::NodeName;
use schism_targets::route::{HOPS_MAX, Route};
use schism_targets::simulator::{Call, Heard};
use schism_targets::wire::{Said, kind};
use schism_workloads::{Completion, Invocation, Workload};

/// One client: a sequence of processes, each with a session of its own.
pub(super) struct Client {
    workload: &'static dyn Workload,
    host: usize,
    nodes: Vec<String>,
    process: u64,
    of: u64,
    route: Route,
    flight: Option<Flight>,
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

/// What a workload wants next of an operation.
enum Step {
    Ask(Request),
    Done(Completion),
}

/// The one place where it is asked.
fn converse(
    workload: &dyn Workload,
    invocation: &Invocation,
    so_far: &[Result<Answer, CallError>],
) -> Step {
    match so_far.last() {
        None => Step::Ask(workload.request(invocation)),
        Some(answer) => Step::Done(workload.complete(invocation, answer.clone())),
    }
}

impl Client {
    /// One of `of` clients, on this host, whose first process has the host's number. It begins where its session says.
    pub(super) fn new(
        workload: &'static dyn Workload,
        host: usize,
        of: usize,
        nodes: usize,
    ) -> Self {
        let nodes: Vec<String> = (1..=nodes).map(|n| format!("n{n}")).collect();
        let process = host as u64;
        Self {
            workload,
            host,
            route: Route::new(nodes.clone(), process, None),
            nodes,
            process,
            of: of as u64,
            flight: None,
        }
    }

    /// The number under which it acts now; also its session's.
    pub(super) fn process(&self) -> u64 {
        self.process
    }

    /// Goes on under this number, with a new session.
    pub(super) fn become_process(&mut self, process: u64) {
        self.process = process;
        self.route = Route::new(self.nodes.clone(), process, None);
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
    pub(super) fn begin(&mut self, invocation: Invocation, local: Option<usize>) -> Next {
        self.go_on(invocation, Vec::new(), local)
    }

    fn go_on(
        &mut self,
        invocation: Invocation,
        so_far: Vec<Result<Answer, CallError>>,
        local: Option<usize>,
    ) -> Next {
        let request = match converse(self.workload, &invocation, &so_far) {
            Step::Ask(request) => request,
            Step::Done(completion) => return Next::Done(invocation, completion),
        };
        let start = local.unwrap_or_else(|| self.route.start());
        let flight = Flight {
            invocation,
            so_far,
            request,
            start,
            at: start,
            hops: 0,
            local,
        };
        let call = self.call(&flight);
        self.flight = Some(flight);
        Next::Ask(call)
    }

    fn call(&self, flight: &Flight) -> Call {
        let avoid = self.route.avoided().iter();
        Call {
            client: self.host,
            node: flight.at,
            session: self.process,
            avoid: avoid.map(|name| NodeName(name.clone())).collect(),
            local: flight.local.is_some(),
            request: flight.request.clone(),
        }
    }

    /// What it does after it has heard this; nothing where it waits for nothing.
    pub(super) fn hear(&mut self, heard: Heard) -> Option<Next> {
        let mut flight = self.flight.take()?;
        let result = match heard {
            Heard::Said(Said::Answer(body)) => Ok(body.into()),
            Heard::Said(Said::Refused(status, body)) => Err(CallError::refused(status, body)),
            Heard::Said(Said::Redirect(to)) => match self.route.index_of(&to.0) {
                Some(_) if flight.local.is_some() => {
                    Err(CallError::definite(kind::REDIRECT, "asked elsewhere"))
                }
                Some(node) => return Some(self.ask_again(flight, node)),
                None => Err(CallError::definite(
                    kind::REDIRECT,
                    "to nobody that is known",
                )),
            },
            Heard::Unreachable if flight.local.is_none() && self.moves_on(&flight) => {
                flight.at = flight.start;
                let start = flight.start;
                return Some(self.ask_again(flight, start));
            }
            Heard::Unreachable => Err(CallError::definite(kind::UNREACHABLE, "no connection")),
            Heard::Reset => Err(CallError::open(kind::RESET, "the node went down")),
        };
        Some(self.conclude(flight, result))
    }

    /// The operation has taken too long.
    pub(super) fn time_out(&mut self) -> Option<Next> {
        let flight = self.flight.take()?;
        let late = CallError::open(kind::TIMEOUT, "no answer in time");
        Some(self.conclude(flight, Err(late)))
    }

    fn moves_on(&mut self, flight: &Flight) -> bool {
        self.route.moves_on(flight.at, &flight.request)
    }

    fn ask_again(&mut self, mut flight: Flight, node: usize) -> Next {
        if flight.hops == HOPS_MAX {
            let error = CallError::definite(kind::REDIRECT_LOOP, "sent from node to node");
            return self.conclude(flight, Err(error));
        }
        flight.hops += 1;
        flight.at = node;
        let call = self.call(&flight);
        self.flight = Some(flight);
        Next::Ask(call)
    }

    fn conclude(&mut self, flight: Flight, result: Result<Answer, CallError>) -> Next {
        if flight.local.is_none() {
            self.route.ended(flight.start, &result);
        }
        let mut so_far = flight.so_far;
        so_far.push(result.map_err(|error| error.of(&flight.request)));
        self.go_on(flight.invocation, so_far, flight.local)
    }
}
