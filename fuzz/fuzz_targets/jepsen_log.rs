//! Whatever the bytes, the reader of Jepsen's old logs does not panic; and what it read is a history of ours.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schism_history::{jepsen_log, jsonl};

fuzz_target!(|bytes: &[u8]| {
    let Ok(history) = jepsen_log::read(bytes) else {
        return;
    };
    let mut written = Vec::new();
    jsonl::write(&mut written, &history).expect("a vector takes everything");
    let again = jsonl::read(&written[..]).expect("it was written by us");
    assert_eq!(again.events, history.events);
});
