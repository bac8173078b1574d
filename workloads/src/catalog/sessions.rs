//! Users who look at what they have written, and again and again at what others write.
//!
//! Each client writes rising values to a key of its own, so that the order of a key's versions is known (single-writer keys), reads it back, and reads
//! a key of another client several times in a row. After a write of unknown outcome it is another session, and goes on under another key:
//! a key has one writer. Its requests go to one node after another, as behind a load balancer, if the spec does not bind clients otherwise: who is
//! always answered by the same replica does not see that replicas differ.

use crate::generator::{Generator, stream};
use crate::registry::{ValueKind, number};
use crate::{Completion, Invocation, OptionSpec, Options, Workload, claims};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_history::EventKind;
use schism_targets::client::Request;
use schism_targets::registry::Guarantees;
use serde_json::Value;
use std::collections::VecDeque;

/// The workload.
pub(super) struct Sessions;

const OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: "reads",
    default: "3",
    values: ValueKind::Count { min: 1, max: 100 },
    help: "how often a key is read in a row",
}];
/// How many keys a client may have, one after another; it stays with the last.
const KEYS_EACH: u64 = 4;

impl Workload for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn summary(&self) -> &'static str {
        "users read what they have written, and what others write, again and again; each key has one writer"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn generator(
        &self,
        options: &Options,
        seed: u64,
        worker: u64,
        workers: u64,
    ) -> Box<dyn Generator> {
        Box::new(User {
            rng: stream(seed, worker),
            reads: number(options, "reads"),
            me: worker,
            keys: (0..workers).map(|user| (user, 0)).map(Key::from).collect(),
            written: 0,
            plan: VecDeque::new(),
        })
    }

    fn request(&self, _: &Options, invocation: &Invocation) -> Request {
        let key = invocation.key_name();
        match invocation.f {
            "write" => Request::Write {
                key,
                value: invocation.value.clone(),
            },
            _ => Request::Read { key },
        }
    }

    fn final_reads(&self, _: &Options, workers: u64) -> Vec<Invocation> {
        let keys = (0..workers).flat_map(|user| (0..KEYS_EACH).map(move |n| (user, n)));
        keys.map(|key| Key::from(key).read()).collect()
    }

    fn goes_round(&self) -> bool {
        true
    }

    fn claims(&self, guarantees: &Guarantees) -> Vec<&'static str> {
        let reads = claims::of_reads(guarantees.reads);
        let writes: &[_] = if claims::are_current(guarantees.reads) {
            &["monotonic-writes", "writes-follow-reads"]
        } else {
            &[]
        };
        claims::with_common(*guarantees, &[&["convergence"], reads, writes].concat())
    }
}

/// A key of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    user: u64,
    number: u64,
}

impl From<(u64, u64)> for Key {
    fn from((user, number): (u64, u64)) -> Self {
        Self { user, number }
    }
}

impl Key {
    fn name(self) -> String {
        format!("u{}.{}", self.user, self.number)
    }

    fn of(name: &str) -> Option<Self> {
        let (user, number) = name.strip_prefix('u')?.split_once('.')?;
        Some(Self {
            user: user.parse().ok()?,
            number: number.parse().ok()?,
        })
    }

    /// The one after it, if there is one.
    fn next(self) -> Option<Self> {
        let number = self.number + 1;
        (number < KEYS_EACH).then_some(Self { number, ..self })
    }

    fn read(self) -> Invocation {
        Invocation::on(&self.name(), "read", Value::Null)
    }
}

struct User {
    rng: ChaCha8Rng,
    reads: u64,
    me: u64,
    /// The latest key of each user, as far as this one knows.
    keys: Vec<Key>,
    written: u64,
    /// What comes next.
    plan: VecDeque<Invocation>,
}

impl Generator for User {
    fn next(&mut self) -> Option<Invocation> {
        if self.plan.is_empty() {
            self.make_plan();
        }
        self.plan.pop_front()
    }

    fn observe(&mut self, invocation: &Invocation, completion: &Completion) {
        if completion.kind == EventKind::Info {
            self.move_on();
        }
        // Whoever has been seen under a new key writes there now.
        if let Some(key) = Key::of(&invocation.key_name())
            && invocation.f == "read"
            && completion.kind == EventKind::Ok
            && !completion.value.is_null()
            && let Some(known) = self.keys.get_mut(key.user as usize)
        {
            known.number = known.number.max(key.number);
        }
    }
}

impl User {
    fn make_plan(&mut self) {
        let others = self.keys.len() as u64 - 1;
        if others == 0 || self.rng.random_bool(0.5) {
            self.written += 1;
            let own = self.keys[self.me as usize];
            let write = Invocation::on(&own.name(), "write", self.written);
            self.plan.push_back(write);
            self.plan_reads(own);
        } else {
            let other = (self.me + self.rng.random_range(1..=others)) % (others + 1);
            let key = self.keys[other as usize];
            // Now and then: has it moved on?
            let next = key.next().filter(|_| self.rng.random_ratio(1, 4));
            self.plan.extend(next.map(Key::read));
            self.plan_reads(key);
        }
    }

    fn plan_reads(&mut self, key: Key) {
        self.plan.extend((0..self.reads).map(|_| key.read()));
    }

    /// Another session must not write where this one did.
    fn move_on(&mut self) {
        let own = &mut self.keys[self.me as usize];
        *own = own.next().unwrap_or(*own);
        self.plan.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::resolve;
    use std::collections::BTreeMap;

    /// Three users in turn on one register each; every 50th operation has an unknown outcome. Answers who wrote what where.
    fn writes() -> BTreeMap<String, Vec<(usize, u64, u64)>> {
        let options = resolve(&Sessions, &Options::new()).unwrap();
        let mut users: Vec<_> = (0..3)
            .map(|user| (Sessions.generator(&options, 42, user, 3), 0))
            .collect();
        let (mut state, mut writes) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
        for step in 0..600 {
            let (user, session) = &mut users[step % 3];
            let op = user.next().unwrap();
            let key = op.key_name();
            let mut done = Completion::ok(state.get(&key).cloned().unwrap_or(Value::Null));
            if op.f == "write" {
                let of_key = writes.entry(key.clone()).or_default();
                of_key.push((step % 3, *session, op.value.as_u64().unwrap()));
                state.insert(key, op.value.clone());
                done.value = op.value.clone();
                if step % 50 < 3 {
                    done.kind = EventKind::Info;
                    *session += 1;
                }
            }
            user.observe(&op, &done);
        }
        writes
    }

    #[test]
    fn a_key_has_one_session_that_writes_rising_values() {
        let writes = writes();
        assert!(writes.len() > 3, "someone has moved on: {writes:?}");
        for (key, writes) in writes.iter().filter(|(key, _)| !key.ends_with(".3")) {
            let sessions = |w: &[(usize, u64, u64)]| (w[0].0, w[0].1) == (w[1].0, w[1].1);
            assert!(writes.windows(2).all(sessions), "{key}: {writes:?}");
            assert!(writes.windows(2).all(|w| w[0].2 < w[1].2), "{key}");
        }
    }

    #[test]
    fn others_are_followed_to_their_new_keys() {
        let options = resolve(&Sessions, &Options::new()).unwrap();
        let mut user = Sessions.generator(&options, 1, 0, 2);
        let mut read_again = 0;
        for _ in 0..1000 {
            let op = user.next().unwrap();
            let moved = op.key_name() == "u1.1";
            read_again += u64::from(moved);
            let value = if moved { 7.into() } else { Value::Null };
            user.observe(&op, &Completion::ok(value));
        }
        assert!(read_again > 300, "{read_again}");
    }

    #[test]
    fn a_lonely_user_reads_what_it_writes() {
        let options = resolve(&Sessions, &Options::new()).unwrap();
        let mut user = Sessions.generator(&options, 1, 0, 1);
        let keys: Vec<_> = (0..20).map(|_| user.next().unwrap().key_name()).collect();
        assert!(keys.iter().all(|key| key == "u0.0"), "{keys:?}");
    }
}
