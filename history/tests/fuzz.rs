//! Random bytes and random histories against the reader: it never panics, and what it wrote it reads back.
//!
//! Proptest's usual 256 cases of each (`PROPTEST_CASES` for more); `make fuzz` runs a fuzzer proper, see `fuzz/`.

use proptest::prelude::*;
use schism_history::{Event, EventKind, History, Key, NodeId, OpError, Process, Time, jsonl};
use serde_json::{Value, json};

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        (any::<i32>(), any::<String>()).prop_map(|(a, b)| json!([a, {"b": b}])),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let optional = (
        proptest::option::of(any::<String>().prop_map(|k| Key::Name(k.into()))),
        proptest::option::of("n[0-9]"),
        proptest::option::of(any::<u64>()),
        proptest::option::of((any::<String>(), any::<String>())),
        any::<bool>(),
    );
    (0..4u8, value(), 0..1_000_000u64, optional).prop_map(
        |(kind, value, time, (key, node, term, error, last))| {
            let kind = [
                EventKind::Invoke,
                EventKind::Ok,
                EventKind::Fail,
                EventKind::Info,
            ][usize::from(kind)];
            let mut event = Event::new(Time(time), Process::Client(0), kind, "write", value);
            event.key = key;
            event.node = node.map(|node| NodeId(node.into()));
            event.term = term;
            event.error = error.map(|(kind, message)| Box::new(OpError { kind, message }));
            event.is_final = last;
            event
        },
    )
}

/// Pairs of invocation and completion, each by a process of its own.
fn history() -> impl Strategy<Value = History> {
    proptest::collection::vec((event(), event()), 0..20).prop_map(|pairs| {
        let mut events = Vec::new();
        for (process, (mut invoke, mut completion)) in (0..).zip(pairs) {
            invoke.kind = EventKind::Invoke;
            completion.key.clone_from(&invoke.key);
            if completion.kind == EventKind::Invoke {
                completion.kind = EventKind::Ok;
            }
            for event in [&mut invoke, &mut completion] {
                event.process = Process::Client(process);
                event.time = Time(events.len() as u64);
            }
            events.extend([invoke, completion]);
        }
        History::new(events).expect("the pairs are in order")
    })
}

proptest! {
    #[test]
    fn random_bytes_are_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = jsonl::read(&bytes[..]);
    }

    #[test]
    fn damaged_lines_are_an_error_and_no_panic(event in event(), at in any::<usize>(), byte in any::<u8>()) {
        let mut line = Vec::new();
        jsonl::write_event(&mut line, &event).unwrap();
        let at = at % line.len();
        line[at] = byte;
        if let Err(error) = jsonl::read(&line[..]) {
            prop_assert!(!error.to_string().contains('\n') || line.contains(&b'\n'));
        }
    }

    #[test]
    fn what_was_written_is_read_back(history in history()) {
        let mut bytes = Vec::new();
        jsonl::write(&mut bytes, &history).unwrap();
        prop_assert_eq!(jsonl::read(&bytes[..]).unwrap(), history);
    }

    #[test]
    fn a_file_cut_anywhere_is_read_as_far_as_it_goes(history in history(), cut in any::<usize>()) {
        let mut bytes = Vec::new();
        jsonl::write(&mut bytes, &history).unwrap();
        bytes.truncate(cut % (bytes.len() + 1));
        let lines = jsonl_lines(&bytes);
        let read = jsonl::read(&bytes[..]).unwrap();
        prop_assert_eq!(read.events.len(), lines.saturating_sub(1));
        prop_assert_eq!(read.torn.is_some(), bytes.last().is_some_and(|b| *b != b'\n'));
    }
}

fn jsonl_lines(bytes: &[u8]) -> usize {
    bytes
        .split_inclusive(|b| *b == b'\n')
        .filter(|line| line.ends_with(b"\n"))
        .count()
}
