//! Large histories of each shape that properties are about, all correct: for measuring what a check takes.
//!
//! Twenty clients, each operation begun ten nanoseconds after the one before it and up to eighteen in flight. Each takes effect as it begins, so a model is a
//! plain value. Draws are seeded, so that two runs measure the same.

use schism_history::{Event, EventKind, History, Key, NodeId, Process, Time};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

const CLIENTS: u64 = 20;
const STEP_NS: u64 = 10;
/// How many final reads there are at the end.
const FINALS: u64 = 3;

/// A shape of history: its name, and how one of so many operations is made.
pub(crate) type Shape = (&'static str, fn(u64) -> History);

pub(crate) const SHAPES: [Shape; 26] = [
    ("a register", |n| registers(n, 1, 0)),
    ("100 registers", |n| registers(n, 100, 0)),
    ("a register with one writer", |n| registers(n, 1, 1)),
    ("a register of five values", few_values),
    ("a register that is swapped", swapped),
    ("siblings", siblings),
    ("a cart", cart),
    ("a set", set),
    ("sets of 200", |n| sets(n, 200)),
    ("a set of many removals", |n| removals(n, 100)),
    ("an element removed often", |n| removals(n, 1)),
    ("a set of few removals", |n| removals(n, n / 4 + 1)),
    ("a counter", |n| counter(n, true)),
    ("a counter that grows", |n| counter(n, false)),
    ("a queue", queue),
    ("a lock", lock),
    ("a bank", bank),
    ("lists in transactions", lists),
    ("groups of keys written once", groups),
    ("questions and answers", questions),
    ("rows", rows),
    ("a text", |n| texts(n, n)),
    ("texts of 1000", |n| texts(n, 1000)),
    ("ids", ids),
    ("parts of keys", parts),
    ("a run", run),
];

/// In two parts. What is read is no more than a window of the last ones, so that a history grows with its operations only.
fn questions(n: u64) -> History {
    const WINDOW: usize = 50;
    let (asked, answered) = (Key::from("questions"), Key::from("answers"));
    let mut load = Load::new(n);
    let (mut questions, mut answers) = (Vec::new(), Vec::new());
    while load.done < n {
        let place = |key: &Key, f, argument: Value, answer: Value| Call {
            f,
            key: Some(key.clone()),
            argument,
            answer,
        };
        let q = load.done;
        if load.draws.below(2) == 0 && !questions.is_empty() {
            load.op(place(&answered, "read", Value::Null, json!(answers)));
            load.op(place(&asked, "read", Value::Null, json!(questions)));
            continue;
        }
        load.op(place(&asked, "ask", json!(q), json!(q)));
        questions.push(json!(q));
        // The answer comes when its question is acknowledged.
        load.done += CLIENTS;
        let answer = json!({ "q": q, "a": q });
        load.op(place(&answered, "answer", answer.clone(), answer.clone()));
        load.done += CLIENTS;
        answers.push(answer);
        if questions.len() > WINDOW {
            questions.remove(0);
            answers.remove(0);
        }
    }
    load.history()
}

/// `SplitMix64`.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

struct Load {
    events: Vec<Event>,
    draws: Draws,
    done: u64,
    nodes: Vec<NodeId>,
}

/// What an operation is asked to do and what it answers.
struct Call {
    f: &'static str,
    key: Option<Key>,
    argument: Value,
    answer: Value,
}

fn call(f: &'static str, key: u64, argument: Value, answer: Value) -> Call {
    let key = Some(Key::Number(key as i64));
    Call {
        f,
        key,
        argument,
        answer,
    }
}

/// The same value asked and answered.
fn change(f: &'static str, key: u64, value: Value) -> Call {
    call(f, key, value.clone(), value)
}

fn read(key: u64, value: Value) -> Call {
    call("read", key, Value::Null, value)
}

/// A transaction that answers what it was asked, with what it read.
fn txn(micros: Value) -> Call {
    Call {
        f: "txn",
        key: None,
        argument: micros.clone(),
        answer: micros,
    }
}

impl Load {
    fn new(n: u64) -> Self {
        Self {
            events: Vec::with_capacity(2 * n as usize),
            draws: Draws(n),
            done: 0,
            nodes: (1..=3).map(|n| NodeId(format!("n{n}").into())).collect(),
        }
    }

    /// Which client the next operation is one of.
    fn client(&self) -> u64 {
        self.done % CLIENTS
    }

    /// One operation, of the next client.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "each call is made for its one operation"
    )]
    fn op(&mut self, call: Call) {
        let start = self.done * STEP_NS;
        let end = start + 5 + STEP_NS * self.draws.below(CLIENTS - 1);
        self.push(self.client(), start, end, &call, false);
        self.done += 1;
    }

    /// A final read of each replica, when all has ended.
    fn finals(&mut self, f: &'static str, key: u64, value: &Value) {
        for node in 0..FINALS {
            self.done += CLIENTS;
            let start = self.done * STEP_NS;
            let read = call(f, key, Value::Null, value.clone());
            self.push(1000 + node, start, start + 5, &read, true);
        }
    }

    fn push(&mut self, client: u64, start: u64, end: u64, call: &Call, is_final: bool) {
        let node = if is_final { client - 1000 } else { 0 };
        let event = |time, kind, value| Event {
            key: call.key.clone(),
            node: Some(self.nodes[node as usize].clone()),
            term: Some(1),
            is_final,
            ..Event::new(
                Time(time),
                Process::Client(client),
                kind,
                Cow::Borrowed(call.f),
                value,
            )
        };
        let invoke = event(start, EventKind::Invoke, call.argument.clone());
        let ok = event(end, EventKind::Ok, call.answer.clone());
        self.events.extend([invoke, ok]);
    }

    fn said(&mut self, time: u64, f: &'static str, value: Value) {
        let f = Cow::Borrowed(f);
        let event = Event::new(Time(time), Process::Nemesis, EventKind::Info, f, value);
        self.events.push(event);
    }

    fn history(mut self) -> History {
        self.events.sort_by_key(|event| event.time);
        History::new(self.events).expect("clients do one thing at a time")
    }
}

/// Unique values; with `writers`, only the first so many clients write.
fn registers(n: u64, keys: u64, writers: u64) -> History {
    let mut load = Load::new(n);
    fill(&mut load, n, keys, writers);
    load.history()
}

fn fill(load: &mut Load, n: u64, keys: u64, writers: u64) {
    let mut state = vec![Value::Null; keys as usize];
    for i in 0..n {
        let key = load.draws.below(keys);
        let writes = if writers == 0 {
            load.draws.below(2) == 0
        } else {
            load.client() < writers
        };
        if writes {
            state[key as usize] = json!(i + 1);
            load.op(change("write", key, json!(i + 1)));
        } else {
            load.op(read(key, state[key as usize].clone()));
        }
    }
    for (key, value) in (0..).zip(state) {
        load.finals("read", key, &value);
    }
}

fn few_values(n: u64) -> History {
    let (mut load, mut state) = (Load::new(n), Value::Null);
    for _ in 0..n {
        if load.draws.below(2) == 0 {
            state = json!(load.draws.below(5));
            load.op(change("write", 0, state.clone()));
        } else {
            load.op(read(0, state.clone()));
        }
    }
    load.finals("read", 0, &state);
    load.history()
}

fn swapped(n: u64) -> History {
    let (mut load, mut state) = (Load::new(n), Value::Null);
    for i in 0..n {
        if load.draws.below(2) == 0 {
            load.op(change("cas", 0, json!([state, i + 1])));
            state = json!(i + 1);
        } else {
            load.op(read(0, state.clone()));
        }
    }
    load.finals("read", 0, &state);
    load.history()
}

/// Each client has a register of its own; reads return a list of the one value that is there.
fn siblings(n: u64) -> History {
    let (mut load, mut state) = (Load::new(n), vec![json!([]); CLIENTS as usize]);
    for i in 0..n {
        let key = load.client();
        if (i / CLIENTS).is_multiple_of(2) {
            state[key as usize] = json!([i + 1]);
            load.op(change("write", key, json!(i + 1)));
        } else {
            load.op(read(key, state[key as usize].clone()));
        }
    }
    for (key, value) in (0..).zip(state) {
        load.finals("read", key, &value);
    }
    load.history()
}

/// Carts of ten lines, each write with one line more and one less.
fn cart(n: u64) -> History {
    let (mut load, mut lines) = (Load::new(n), VecDeque::new());
    let list = |lines: &VecDeque<u64>| json!(lines);
    for i in 0..n {
        if load.client() == 0 {
            lines.push_back(i);
            if lines.len() > 10 {
                lines.pop_front();
            }
            load.op(change("write", 0, list(&lines)));
        } else {
            load.op(read(0, json!([list(&lines)])));
        }
    }
    load.finals("read", 0, &json!([list(&lines)]));
    load.history()
}

fn set(n: u64) -> History {
    let mut load = Load::new(n);
    (0..n).for_each(|i| load.op(change("add", 0, json!(i))));
    load.finals("read", 0, &json!((0..n).collect::<Vec<_>>()));
    load.history()
}

/// One set after another, each read now and then.
fn sets(n: u64, adds: u64) -> History {
    let mut load = Load::new(n);
    for i in 0..n {
        let (key, number) = (i / adds, i % adds);
        if number % 50 == 49 {
            let there = (0..number).filter(|n| n % 50 != 49);
            load.op(read(key, json!(there.collect::<Vec<_>>())));
        } else {
            load.op(change("add", key, json!(number)));
        }
    }
    for key in 0..n.div_ceil(adds) {
        let all = (key * adds..n.min((key + 1) * adds)).map(|i| i % adds);
        let there: Vec<u64> = all.filter(|n| n % 50 != 49).collect();
        load.finals("read", key, &json!(there));
    }
    load.history()
}

/// Elements that a client adds and then removes, over and over.
fn removals(n: u64, elements: u64) -> History {
    let mut load = Load::new(n);
    for i in 0..n {
        let element = json!((i / CLIENTS / 2 * CLIENTS + load.client()) % elements);
        let f = if (i / CLIENTS).is_multiple_of(2) {
            "add"
        } else {
            "remove"
        };
        load.op(change(f, 0, element));
    }
    load.finals("read", 0, &json!([]));
    load.history()
}

fn counter(n: u64, falls: bool) -> History {
    let (mut load, mut sum) = (Load::new(n), 0);
    for _ in 0..n {
        if load.draws.below(2) == 0 {
            let by = load.draws.below(5) as i64 + 1;
            let by = if falls && load.draws.below(2) == 0 {
                -by
            } else {
                by
            };
            sum += by;
            load.op(change("add", 0, json!(by)));
        } else {
            load.op(read(0, json!(sum)));
        }
    }
    load.finals("read", 0, &json!(sum));
    load.history()
}

fn queue(n: u64) -> History {
    let (mut load, mut inside) = (Load::new(n), VecDeque::new());
    for i in 0..n {
        let first = inside.front().copied();
        if let Some(first) = first.filter(|_| load.draws.below(2) == 0) {
            inside.pop_front();
            load.op(call("dequeue", 0, Value::Null, json!(first)));
        } else {
            inside.push_back(i);
            load.op(change("enqueue", 0, json!(i)));
        }
    }
    load.op(call("drain", 0, Value::Null, json!(inside)));
    load.history()
}

/// One after another, so that the lock is free.
fn lock(n: u64) -> History {
    let mut load = Load::new(n);
    for i in 0..n {
        let f = if i % 2 == 0 { "acquire" } else { "release" };
        let client = i / 2 % CLIENTS;
        let start = i * STEP_NS;
        let call = call(f, 0, Value::Null, Value::Null);
        load.push(client, start, start + 5, &call, false);
    }
    load.history()
}

fn bank(n: u64) -> History {
    let mut load = Load::new(n);
    let mut accounts: BTreeMap<String, i64> = (0..8).map(|a| (a.to_string(), 100)).collect();
    for i in 0..n {
        let all = json!(accounts);
        let bank = |f, argument, answer| Call {
            f,
            key: None,
            argument,
            answer,
        };
        if i % 10 == 0 {
            load.op(bank("read", Value::Null, all));
            continue;
        }
        let (from, to) = (load.draws.below(8), load.draws.below(7));
        let to = (from + 1 + to) % 8;
        *accounts.get_mut(&from.to_string()).expect("one of eight") -= 1;
        *accounts.get_mut(&to.to_string()).expect("one of eight") += 1;
        let transfer = json!({"from": from.to_string(), "to": to.to_string(), "amount": 1});
        load.op(bank("transfer", transfer.clone(), transfer));
    }
    load.history()
}

/// Appends and reads of ten lists at a time, each of ten elements.
fn lists(n: u64) -> History {
    let mut load = Load::new(n);
    let mut lists: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for i in 0..n {
        let key = |draw: u64| i / 100 * 10 + draw;
        let (one, other) = (key(load.draws.below(10)), key(load.draws.below(10)));
        let seen = json!(lists.get(&other).cloned().unwrap_or_default());
        lists.entry(one).or_default().push(i);
        lists = lists.split_off(&key(0));
        load.op(txn(json!([["r", other, seen], ["append", one, i]])));
    }
    load.history()
}

/// Two keys that are each written once, and reads of both.
fn groups(n: u64) -> History {
    let mut load = Load::new(n);
    let mut written = 0;
    for i in 0..n {
        let keys = i / 4 * 2;
        if i % 4 < 2 {
            written = i % 4 + 1;
            load.op(txn(json!([["w", keys + i % 4, 1]])));
            continue;
        }
        let seen = |key: u64| if key < written { json!(1) } else { Value::Null };
        load.op(txn(json!([["r", keys, seen(0)], ["r", keys + 1, seen(1)]])));
    }
    load.history()
}

fn rows(n: u64) -> History {
    let mut load = Load::new(n);
    let row = |i: u64| json!({"val": i, "sts": i * 10, "proc": 0, "node": i % 3, "tb": i % 2});
    for i in 0..n {
        let add = Call {
            f: "add",
            key: None,
            argument: json!(i),
            answer: row(i),
        };
        load.op(add);
    }
    let all: Vec<Value> = (0..n).map(row).collect();
    load.done += CLIENTS;
    load.op(Call {
        f: "read",
        key: None,
        argument: Value::Null,
        answer: Value::Array(all),
    });
    load.history()
}

/// Runs one behind another, of texts of so many operations, each read now and then and in the end.
fn texts(n: u64, runs: u64) -> History {
    let mut load = Load::new(n);
    let run = |i: u64| format!("{i};");
    for i in 0..n {
        let (key, number) = (i / runs, i % runs);
        if runs < n && number % 200 == 199 {
            let all: String = (0..number).filter(|n| n % 200 != 199).map(run).collect();
            load.op(read(key, json!(all)));
        } else {
            let after = match number {
                0 => String::new(),
                _ if (number - 1) % 200 == 199 => run(number - 2),
                _ => run(number - 1),
            };
            let insert = json!({"after": after, "text": run(number)});
            load.op(change("insert", key, insert));
        }
    }
    for key in 0..n.div_ceil(runs) {
        let all = (key * runs..n.min((key + 1) * runs)).map(|i| i % runs);
        let there = all.filter(|n| runs == load.done || n % 200 != 199 || runs >= 1_001);
        let text: String = there.map(run).collect();
        load.finals("read", key, &json!(text));
    }
    load.history()
}

fn ids(n: u64) -> History {
    let mut load = Load::new(n);
    for i in 0..n {
        load.op(Call {
            f: "generate",
            key: None,
            argument: Value::Null,
            answer: json!(i),
        });
    }
    load.history()
}

/// Keys of three parts, as in Jepsen's sequential.
fn parts(n: u64) -> History {
    let mut load = Load::new(n);
    for i in 0..n {
        let (f, argument, answer) = if i % 2 == 0 {
            ("write", json!(i), json!(i))
        } else {
            let key = i - 1;
            let parts = [2, 1, 0].map(|part| format!("{key}_{part}"));
            ("read", json!(key), json!([key, parts]))
        };
        load.op(Call {
            f,
            key: None,
            argument,
            answer,
        });
    }
    load.history()
}

/// Registers under ten faults, with all that a driver says.
fn run(n: u64) -> History {
    let mut load = Load::new(n);
    let share = json!({"availability": {"share": 0.5, "outage_ms": 2000, "leader_changes": 3}});
    load.said(0, "declared", share);
    load.said(0, "phase", json!({"phase": "main"}));
    fill(&mut load, n, 10, 0);
    let end = n * STEP_NS;
    for fault in 0..10 {
        let at = |part: u64| end / 12 * (fault + 1) + end / 100 * part;
        for (part, stage) in (0..).zip(["inject", "effect", "heal", "healed"]) {
            let value = json!({"fault": fault, "stage": stage, "nodes": ["n1"], "proved": true});
            load.said(at(part), "kill", value);
        }
    }
    let healed = end / 12 * 11 + end / 50;
    load.said(healed, "phase", json!({"phase": "heal"}));
    let recovered = json!({"recovered": true, "after_ms": 1.0});
    load.said(healed + 1, "recovery", recovered);
    load.history()
}
