//! Whatever the bytes, the reader of JSON Lines does not panic; and a history that it read, it reads again from what was written of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schism_history::{History, jsonl};

fuzz_target!(|bytes: &[u8]| {
    let Ok(history) = jsonl::read(bytes) else {
        return;
    };
    let mut written = Vec::new();
    jsonl::write(&mut written, &history).expect("a vector takes everything");
    let again = jsonl::read(&written[..]).expect("it was written by us");
    assert_eq!(again.events, history.events);
    let one_by_one: Vec<_> = jsonl::Reader::new(&written[..]).map(Result::unwrap).collect();
    assert_eq!(History::new(one_by_one).expect("it is one already").events, history.events);
});
