//! Users who look at what they have written, and again and again at what others write.
//!
//! Each client has two keys and writes rising values to the one and then to the other, so that the order of a key's versions is known (single-writer
//! keys) and so is that of the two. It reads back what it wrote last, and reads others: the second key of one client several times in a row, then the
//! first of the same client or of a third, then the second again. Who has the second and lacks the first shows that writes of one session took effect in
//! another order (`monotonic-writes`), or came before what their session had read (`writes-follow-reads`); in one log neither can be, with
//! `partitions` of different lag both. Up to its first colon the name of both keys is the same: with `placement=causal` they lie together.
//! After a request of unknown outcome a client is another session, and goes on under other keys: a key has one writer. Its requests go to one node after another, as behind a load balancer, if the spec does not bind clients otherwise: who is
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
/// How many pairs of keys a client may have, one after another; it stays with the last.
const PAIRS_EACH: u64 = 4;

impl Workload for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn summary(&self) -> &'static str {
        "users read what they have written, and what others write, again and again; each has two keys and writes them in turn"
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
            pairs: (0..workers).map(Pair::first).collect(),
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
        let firsts = (0..workers).map(Pair::first);
        let pairs = firsts.flat_map(|first| std::iter::successors(Some(first), |pair| pair.next()));
        let keys = pairs.flat_map(|pair| [pair.earlier(), pair.later()]);
        keys.map(|key| read(&key)).collect()
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

/// Two keys of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    user: u64,
    number: u64,
}

impl Pair {
    fn first(user: u64) -> Self {
        Self { user, number: 0 }
    }

    /// The key that is written first.
    fn earlier(self) -> String {
        format!("u{}.{}:one", self.user, self.number)
    }

    /// The key that is written after the other.
    fn later(self) -> String {
        format!("u{}.{}:two", self.user, self.number)
    }

    /// The pair of a key.
    fn of(key: &str) -> Option<Self> {
        let (pair, _) = key.strip_prefix('u')?.split_once(':')?;
        let (user, number) = pair.split_once('.')?;
        Some(Self {
            user: user.parse().ok()?,
            number: number.parse().ok()?,
        })
    }

    /// The one after it, if there is one.
    fn next(self) -> Option<Self> {
        let number = self.number + 1;
        (number < PAIRS_EACH).then_some(Self { number, ..self })
    }
}

fn read(key: &str) -> Invocation {
    Invocation::on(key, "read", Value::Null)
}

struct User {
    rng: ChaCha8Rng,
    reads: u64,
    me: u64,
    /// The latest keys of each user, as far as this one knows.
    pairs: Vec<Pair>,
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
        // Whoever has been seen under new keys writes there now.
        if let Some(pair) = Pair::of(&invocation.key_name())
            && invocation.f == "read"
            && completion.kind == EventKind::Ok
            && !completion.value.is_null()
            && let Some(known) = self.pairs.get_mut(pair.user as usize)
        {
            known.number = known.number.max(pair.number);
        }
    }
}

impl User {
    fn make_plan(&mut self) {
        let others = self.pairs.len() as u64 - 1;
        if others == 0 || self.rng.random_bool(0.5) {
            self.write_both();
        } else {
            let (one, third) = (self.another(others), self.another(others));
            // Now and then: has it moved on?
            let next = one.next().filter(|_| self.rng.random_ratio(1, 4));
            self.plan.extend(next.map(|next| read(&next.later())));
            self.read_often(&one.later());
            self.read_often(&third.earlier());
            self.plan.push_back(read(&one.later()));
        }
    }

    fn write_both(&mut self) {
        self.written += 1;
        let own = self.pairs[self.me as usize];
        for key in [own.earlier(), own.later()] {
            self.plan
                .push_back(Invocation::on(&key, "write", self.written));
        }
        self.read_often(&own.later());
    }

    /// The keys of somebody else.
    fn another(&mut self, others: u64) -> Pair {
        let user = (self.me + self.rng.random_range(1..=others)) % (others + 1);
        self.pairs[user as usize]
    }

    fn read_often(&mut self, key: &str) {
        self.plan.extend((0..self.reads).map(|_| read(key)));
    }

    /// Another session must not write where this one did.
    fn move_on(&mut self) {
        let own = &mut self.pairs[self.me as usize];
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
        for (key, writes) in writes.iter().filter(|(key, _)| !key.contains(".3:")) {
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
            let moved = op.key_name().starts_with("u1.1:");
            read_again += u64::from(moved);
            let value = if moved { 7.into() } else { Value::Null };
            user.observe(&op, &Completion::ok(value));
        }
        assert!(read_again > 300, "{read_again}");
    }

    /// What a user with two others does, all of it answered.
    fn of_three(steps: usize) -> Vec<Invocation> {
        let options = resolve(&Sessions, &Options::new()).unwrap();
        let mut user = Sessions.generator(&options, 3, 0, 3);
        (0..steps).map(|_| user.next().unwrap()).collect()
    }

    #[test]
    fn both_keys_are_written_in_turn_with_the_same_value() {
        let ops = of_three(500);
        let writes: Vec<_> = ops.iter().filter(|op| op.f == "write").collect();
        for pair in writes.chunks_exact(2) {
            assert_eq!(
                [pair[0].key_name(), pair[1].key_name()],
                ["u0.0:one", "u0.0:two"]
            );
            assert_eq!(pair[0].value, pair[1].value);
        }
    }

    #[test]
    fn what_was_written_later_is_read_first() {
        let keys: Vec<_> = of_three(500).iter().map(Invocation::key_name).collect();
        let found = |one: &str, then: &str| keys.windows(2).any(|w| w == [one, then]);
        assert!(found("u1.0:two", "u1.0:one"), "of the same session");
        assert!(
            found("u1.0:two", "u2.0:one"),
            "of the session that it may have read"
        );
    }

    #[test]
    fn a_lonely_user_reads_what_it_writes() {
        let options = resolve(&Sessions, &Options::new()).unwrap();
        let mut user = Sessions.generator(&options, 1, 0, 1);
        let keys: Vec<_> = (0..20).map(|_| user.next().unwrap().key_name()).collect();
        assert!(keys.iter().all(|key| key.starts_with("u0.0:")), "{keys:?}");
    }
}
