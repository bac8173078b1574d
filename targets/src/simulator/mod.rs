//! The simulator of replicas: pure state machines under a scheduler where every moment is decided beforehand.
//!
//! Time jumps from one event to the next ([`Cluster`]), so a second costs what happens in it. A message that nobody disturbs takes a
//! fixed small time; what becomes of others is listed by link and number ([`fates`]), never drawn while it goes: so leaving one
//! fault or one message's fate out leaves all others as they were, and the same input gives the same run to the last message. Disks
//! forget what they had not done, or not synced, clocks differ ([`Machine`]), hosts are cut off, killed and paused ([`Fault`]).
//!
//! It knows replicas only by [`Simulated`], and nothing of histories and checkers: clients in simulated time and everything
//! that is drawn are the harness' business. The manner is that of `FoundationDB`'s and `TigerBeetle`'s simulators.

mod clock;
mod cluster;
mod disk;
pub mod fates;
mod fault;
mod holds;
mod host;
mod news;
mod node;
mod outside;
mod queue;
pub mod single_leader;
mod trace;

pub use clock::{Clock, DRIFT_PPM_ALLOWED, DRIFT_PPM_BROKEN, DRIFT_PPM_MAX, Machine, Micros};
pub use cluster::{Cluster, Common};
pub use fates::{Fate, Perturbation};
pub use fault::{Fault, Injected, Kept, Whom};
pub use host::{Host, Link, UnknownHost};
pub use news::{Call, Heard, News};
pub use trace::{Happened, Traced};

use crate::replicas::{NodeName, RequestId};
use crate::wire::{Said, Status};

/// What a replica must be to be simulated.
pub trait Simulated: Sized {
    /// What it is told when it starts.
    type Config;
    /// What it says to another one.
    type Message: Clone;
    /// One thing for its disk to do.
    type Job;
    /// What a client asks it.
    type Request: Clone;
    /// What is on its disk; the default is an empty one.
    type Disk: Clone + Default;
    /// How far the disk is, as the replica is told it.
    type Done;

    /// A process that starts with what its disk holds; `life` counts its starts, from 0.
    fn start(config: &Self::Config, disk: &mut Self::Disk, clock: Clock, life: u64) -> Self;
    /// Takes one input, and adds what is to be done.
    fn step(&mut self, clock: Clock, input: Input<Self>, out: &mut Vec<Effect<Self>>);
    /// Its view of itself.
    fn status(&self) -> Status;
    /// What a client's call asks of it.
    fn request(call: Call) -> Self::Request;
    /// What asks it to take a node in, or out.
    fn change_members(node: NodeName, join: bool) -> Self::Request;

    /// Does a job on a disk.
    fn perform(disk: &mut Self::Disk, job: &Self::Job);
    /// What a job forces to the disk, whatever the `fsync` option says.
    fn forces(job: &Self::Job) -> Force;
    /// How far a disk is.
    fn done(disk: &Self::Disk) -> Self::Done;
    /// Whether a node with this disk has what others rely on it to have; one whose disk was emptied has not, until it was made whole.
    fn is_whole(disk: &Self::Disk) -> bool;

    /// A request for people.
    fn describe_request(request: &Self::Request) -> String;
    /// A message for people.
    fn describe(message: &Self::Message) -> String;
    /// Whether a message is of those by which nodes settle who leads: where it leads to two of them, it is there that one must look.
    fn elects(message: &Self::Message) -> bool;
    /// A job for people; none where there is nothing to say.
    fn describe_job(job: &Self::Job) -> Option<String>;
}

/// What comes in.
#[derive(Debug, Clone)]
pub enum Input<R: Simulated> {
    /// A client's request.
    Client {
        /// Its number, echoed in the reply.
        id: RequestId,
        /// What is asked.
        request: R::Request,
    },
    /// A message of another node.
    Peer {
        /// Who sent it.
        from: NodeName,
        /// What it says.
        message: R::Message,
    },
    /// Time has passed.
    Tick,
    /// The disk has done its work up to here.
    Persisted(R::Done),
}

/// What a replica wants done, in this order.
#[derive(Debug, Clone)]
pub enum Effect<R: Simulated> {
    /// A message to a peer.
    Send {
        /// To whom.
        to: NodeName,
        /// What.
        message: R::Message,
        /// Only once everything given to the disk before is done.
        after_disk: bool,
    },
    /// Something for the disk.
    Disk(R::Job),
    /// The answer to a client.
    Reply {
        /// Which request.
        to: RequestId,
        /// The answer.
        said: Said,
    },
    /// A line for the log.
    Note(String),
}

/// What a job forces to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Nothing: it waits for the next sync.
    Nothing,
    /// Itself, past what waits: a file of its own.
    Itself,
    /// Itself, and everything before it.
    Everything,
}

/// What a simulation is made of, beside the target's options.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// One for each node.
    pub machines: Vec<Machine>,
    /// How many hosts of clients there are.
    pub clients: usize,
    /// What becomes of messages.
    pub perturbations: Vec<Perturbation>,
    /// Seed of what replicas draw themselves, such as their election time-outs.
    pub seed: u64,
    /// Whether everything that happens is written down.
    pub traced: bool,
}

/// A simulated cluster, whatever its replicas are.
pub trait Simulation {
    /// The simulated time.
    fn now(&self) -> Micros;
    /// Goes on until something concerns whoever drives it; none when nothing can happen any more.
    fn next(&mut self) -> Option<News>;
    /// [`News::Woken`] comes then.
    fn wake(&mut self, at: Micros, token: u64);
    /// Sends a request; [`News::Heard`] tells what comes of it, if anything does.
    fn call(&mut self, call: Call) -> RequestId;
    /// Asks who leads to take a node in (`join`) or out; the answer has the members' names.
    fn change_members(&mut self, client: usize, node: usize, join: bool) -> RequestId;
    /// A fault, under a number of its own.
    fn inject(&mut self, id: u64, fault: &Fault) -> Injected;
    /// Takes it back; what another fault holds stays held.
    fn heal(&mut self, id: u64);
    /// No message meets a fate of its own any more, and what is late arrives now: the network is whole from now on.
    fn calm(&mut self);
    /// What each node says of itself; none where it is down.
    fn statuses(&self) -> Vec<Option<Status>>;
    /// What has happened, where it was to be written down.
    fn take_trace(&mut self) -> Vec<Traced>;
}
