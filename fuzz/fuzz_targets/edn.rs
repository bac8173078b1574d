//! Whatever the bytes, the reader of EDN does not panic; and a history that it read, it reads again from what was written of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schism_history::edn;

fuzz_target!(|bytes: &[u8]| {
    let Ok((history, _)) = edn::read(bytes) else {
        return;
    };
    let mut written = Vec::new();
    edn::write(&mut written, &history).expect("a vector takes everything");
    let (again, losses) = edn::read(&written[..]).expect("it was written by us");
    assert_eq!(again.events, history.events);
    assert_eq!(losses, edn::Losses::default());
});
