//! What commands make of the key space, one after another.

use super::*;
use serde_json::json;

/// A key space with the positions counted.
#[derive(Default)]
struct Told {
    state: KeySpace,
    position: u64,
}

impl Told {
    fn apply(&mut self, command: &Command) -> Outcome {
        self.position += 1;
        self.state.apply(LogPosition(self.position), command)
    }

    /// What it answers, or the kind and the rest of the refusal.
    fn ask(&mut self, command: &Command) -> Result<Value, (ConflictKind, Value)> {
        told(self.apply(command))
    }

    fn read(&self, query: &Query) -> Value {
        told(self.state.read(query)).unwrap()
    }

    fn registers(&self, keys: &[&str]) -> Value {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        self.read(&Query::Registers(keys))
    }
}

fn told(outcome: Outcome) -> Result<Value, (ConflictKind, Value)> {
    match outcome {
        Outcome::Done { value, .. } => Ok(value),
        Outcome::Precondition(conflict) => Err((conflict.kind, conflict.current)),
    }
}

fn write(key: &str, value: Value) -> Command {
    let key = key.to_owned();
    Command::Write { key, value }
}

fn add(key: &str, element: Value) -> Command {
    let key = key.to_owned();
    Command::Add { key, element }
}

fn increment(key: &str, by: i64) -> Command {
    let key = key.to_owned();
    Command::Increment { key, by }
}

fn enqueue(key: &str, element: Value) -> Command {
    let key = key.to_owned();
    Command::Enqueue { key, element }
}

fn transact(expect: Value, write: Value) -> Command {
    let map = |value| serde_json::from_value(value).unwrap();
    Command::Transact {
        expect: map(expect),
        write: map(write),
    }
}

fn transfer(from: &str, to: &str, amount: u64) -> Command {
    Command::Transfer {
        from: from.to_owned(),
        to: to.to_owned(),
        amount,
    }
}

const UNEXPECTED: ConflictKind = ConflictKind::Unexpected;

#[test]
fn cas_compares_an_absent_key_with_null_and_tells_what_it_saw() {
    let mut told = Told::default();
    let cas = |old, new| Command::Cas {
        key: "x".into(),
        old,
        new,
    };
    assert_eq!(told.ask(&cas(json!(null), json!(1))), Ok(json!(1)));
    let second = told.ask(&cas(json!(null), json!(2)));
    assert_eq!(second, Err((UNEXPECTED, json!(1))));
}

#[test]
fn a_key_keeps_its_type_and_a_refusal_changes_nothing() {
    let mut told = Told::default();
    told.ask(&write("r", json!(1))).unwrap();
    told.ask(&add("s", json!(1))).unwrap();
    told.ask(&increment("c", 1)).unwrap();
    told.ask(&enqueue("q", json!(1))).unwrap();
    let before = told.state.clone();
    let dequeue = |key: &str| Command::Dequeue {
        key: key.into(),
        expect: None,
    };
    let drain = |key: &str| Command::Drain { key: key.into() };
    for key in ["r", "s", "c", "q"] {
        let commands = [
            ("r", write(key, json!(2))),
            ("r", transact(json!({}), json!({"new": 1, key: 2}))),
            ("s", add(key, json!(2))),
            ("c", increment(key, 2)),
            ("q", enqueue(key, json!(2))),
            ("q", dequeue(key)),
            ("q", drain(key)),
        ];
        for (_, command) in commands.iter().filter(|(of, _)| *of != key) {
            let refused = told.ask(command).unwrap_err();
            assert_eq!(refused.0, UNEXPECTED, "{command:?}");
        }
    }
    assert_eq!(told.state, before);
    let set = told.state.read(&Query::Set("r".into()));
    assert!(matches!(set, Outcome::Precondition(_)));
    assert_eq!(
        told.state.read(&Query::Register("r".into())),
        outcome(Ok(json!(1)), Some(LogPosition(1)))
    );
}

#[test]
fn a_counter_adds_up_and_does_not_wrap() {
    let mut told = Told::default();
    let read = Query::Counter("c".into());
    assert_eq!(told.read(&read), json!(0));
    assert_eq!(told.ask(&increment("c", 5)), Ok(json!(5)));
    assert_eq!(told.ask(&increment("c", -7)), Ok(json!(-2)));
    let low = told.ask(&increment("c", i64::MIN));
    assert_eq!(low, Err((UNEXPECTED, json!(-2))));
    assert_eq!(told.read(&read), json!(-2));
}

#[test]
fn a_queue_gives_what_came_first_and_says_when_it_is_empty() {
    let mut told = Told::default();
    let dequeue = |expect| Command::Dequeue {
        key: "q".into(),
        expect,
    };
    let any = dequeue(None);
    let empty = Err((ConflictKind::Empty, json!(null)));
    let head = Query::Head("q".into());
    assert_eq!(told.read(&head), json!(null));
    assert_eq!(told.ask(&any), empty);
    for element in [json!(1), json!("two"), json!(1), json!(4)] {
        told.ask(&enqueue("q", element)).unwrap();
    }
    assert_eq!(told.ask(&any), Ok(json!(1)));
    let late = told.ask(&dequeue(Some(json!(1))));
    assert_eq!(late, Err((UNEXPECTED, json!("two"))));
    assert_eq!(told.read(&head), json!("two"));
    assert_eq!(told.ask(&dequeue(Some(json!("two")))), Ok(json!("two")));
    let drain = Command::Drain { key: "q".into() };
    assert_eq!(told.ask(&drain), Ok(json!([1, 4])));
    assert_eq!(told.ask(&drain), Ok(json!([])));
    assert_eq!(told.ask(&any), empty);
}

#[test]
fn a_transaction_writes_all_or_tells_what_was_there() {
    let mut told = Told::default();
    let blind = transact(json!({}), json!({"a": 1, "b": 2}));
    assert_eq!(told.ask(&blind), Ok(json!({"a": 1, "b": 2})));
    let right = transact(json!({"a": 1, "c": null}), json!({"a": 3}));
    assert_eq!(told.ask(&right), Ok(json!({"a": 3})));
    let wrong = transact(json!({"a": 3, "b": 7}), json!({"a": 4, "b": 4}));
    assert_eq!(told.ask(&wrong), Err((UNEXPECTED, json!({"a": 3, "b": 2}))));
    assert_eq!(
        told.registers(&["a", "b", "c"]),
        json!({"a": 3, "b": 2, "c": null})
    );
}

#[test]
fn a_transfer_neither_makes_money_nor_overdraws() {
    let mut told = Told::default();
    told.ask(&transact(json!({}), json!({"a": 5, "b": 0, "s": "much"})))
        .unwrap();
    assert_eq!(
        told.ask(&transfer("a", "b", 3)),
        Ok(json!({"a": 2, "b": 3}))
    );
    let funds = ConflictKind::InsufficientFunds;
    assert_eq!(told.ask(&transfer("a", "b", 3)), Err((funds, json!(2))));
    let huge = told.ask(&transfer("a", "b", u64::MAX));
    assert_eq!(huge, Err((funds, json!(2))));
    let absent = told.ask(&transfer("a", "nobody", 1));
    assert_eq!(absent, Err((UNEXPECTED, json!(null))));
    let text = told.ask(&transfer("s", "a", 1));
    assert_eq!(text, Err((UNEXPECTED, json!("much"))));
    told.ask(&transfer("a", "a", 2)).unwrap();
    assert_eq!(told.registers(&["a", "b"]), json!({"a": 2, "b": 3}));
}

#[test]
fn a_read_of_several_is_as_new_as_the_newest() {
    let mut told = Told::default();
    told.ask(&write("a", json!(1))).unwrap();
    told.ask(&write("b", json!(2))).unwrap();
    let query = Query::Registers(vec!["b".into(), "a".into(), "none".into()]);
    let both = json!({"a": 1, "b": 2, "none": null});
    assert_eq!(
        told.state.read(&query),
        outcome(Ok(both), Some(LogPosition(2)))
    );
}

#[test]
fn a_snapshot_keeps_everything_in_order() {
    let mut told = Told::default();
    for element in [json!(3), json!("a"), json!(3), json!(1)] {
        told.ask(&add("s", element.clone())).unwrap();
        told.ask(&enqueue("q", element)).unwrap();
    }
    told.ask(&increment("c", 4)).unwrap();
    told.ask(&write("r", json!([null]))).unwrap();
    told.ask(&Command::GenerateId).unwrap();
    let text = serde_json::to_string(&told.state).unwrap();
    let mut again = Told {
        state: serde_json::from_str(&text).unwrap(),
        position: told.position,
    };
    assert_eq!(again.state, told.state);
    assert_eq!(again.read(&Query::Set("s".into())), json!([3, "a", 1]));
    assert_eq!(again.ask(&Command::GenerateId), Ok(json!(2)));
    // What was there already is in the set for good.
    again.ask(&add("s", json!(3))).unwrap();
    assert_eq!(again.read(&Query::Set("s".into())), json!([3, "a", 1]));
    let drain = Command::Drain { key: "q".into() };
    assert_eq!(again.ask(&drain), Ok(json!([3, "a", 3, 1])));
}
