//! A question that only an arena can answer: asked in one of its own, which is gone when the answer is there.

use super::run_inside;
use anyhow::{Context, Result};
use nix::unistd::pipe;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{Read, Write};

/// Answers inside an arena. An error says why none could be entered. As [`run_inside`], only while the process has one thread.
pub fn ask<T: Serialize + DeserializeOwned>(answer: impl FnOnce() -> T) -> Result<T> {
    let (reader, writer) = pipe().context("cannot make a pipe")?;
    let writer = File::from(writer);
    let entered = run_inside(|| {
        let text = serde_json::to_vec(&answer()).unwrap_or_default();
        let mut writer = &writer;
        i32::from(writer.write_all(&text).is_err())
    });
    drop(writer);
    let mut text = Vec::new();
    File::from(reader)
        .read_to_end(&mut text)
        .context("cannot read what was found in the arena")?;
    let read = serde_json::from_slice(&text);
    match (read, entered) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), Err(error)) => Err(error),
        (Err(_), Ok(_)) => Err(anyhow::anyhow!(
            "the arena could not be entered; the reason stands above"
        )),
    }
}
