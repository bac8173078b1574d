//! A history from one format into another: what it cannot keep, it says.

use crate::stderr::say;
use anyhow::{Context, Result, bail};
use schism_history::{Format, History, edn, format, jsonl};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

/// Reads `from`, whatever its format, and writes `to` in the format of its ending: `.jsonl` or `.edn`.
pub fn convert(from: &Path, to: &Path) -> Result<()> {
    let target = match to.extension().and_then(|e| e.to_str()) {
        Some("jsonl") => Format::Jsonl,
        Some("edn") => Format::Edn,
        _ => bail!("{} ends neither in .jsonl nor in .edn", to.display()),
    };
    let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let (history, losses) = format::read(BufReader::with_capacity(1 << 20, file))
        .with_context(|| from.display().to_string())?;
    write(&history, target, to).with_context(|| format!("cannot write {}", to.display()))?;
    say(&format!("{} events", history.events.len()));
    if let Some(torn) = &history.torn {
        say(&format!(
            "line {} is torn: {} bytes were left out",
            torn.line, torn.bytes
        ));
    }
    for line in said(losses) {
        say(&line);
    }
    Ok(())
}

fn write(history: &History, format: Format, to: &Path) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(to)?);
    match format {
        Format::Edn => edn::write(&mut out, history)?,
        Format::Jsonl | Format::Log => jsonl::write(&mut out, history)?,
    }
    out.flush()
}

/// What was lost, a line each.
fn said(losses: edn::Losses) -> Vec<String> {
    let all = [
        (
            losses.names,
            "keywords or symbols among values became strings",
        ),
        (losses.sets, "sets among values became lists"),
        (
            losses.numbers,
            "ratios or numbers beyond 64 bits became strings",
        ),
        (
            losses.fields,
            "fields that have no place in a history of ours were left out",
        ),
        (
            losses.tuples,
            "tuples of a key and a value were taken apart",
        ),
        (losses.inits, "events of :read-init became plain reads"),
    ];
    all.into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("not kept as it was: {n} {what}"))
        .collect()
}
