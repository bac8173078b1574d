//! A campaign: many runs, each with what is expected of it; its verdict, and what CI systems want of it.
//!
//! ```text
//! campaign.toml -> record (campaign.json) -> engine: runs side by side -> outcomes -> baseline -> table, page, JUnit, Markdown
//! ```

mod adopt;
mod baseline;
mod engine;
mod file;
mod junit;
mod live;
mod matrix;
mod outcome;
mod page;
mod record;
mod stats;
mod table;
mod words;

pub use adopt::{add, cell as adopted};
pub use baseline::Baseline;
pub use engine::Way;
pub(crate) use engine::{Listener, carries, carry_out};
pub use file::{Campaign, Cell};
pub use outcome::{Judgement, Outcome};
pub(crate) use outcome::{fingerprints, property};
pub use record::{Entry, Record};

use crate::stderr::say;
use crate::summary::to_stdout;
use anyhow::{Context, Result, bail};
use live::Live;
use std::fs;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What is to be told besides the table on stdout.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// `JUnit` XML into this file.
    pub junit: Option<PathBuf>,
    /// Markdown into this file.
    pub summary: Option<PathBuf>,
    /// The record as JSON on stdout instead of the table.
    pub json: bool,
}

/// Where the text of the campaign file is kept, so that a campaign can go on from its folder alone.
pub const TEXT: &str = "campaign.toml";

/// Makes the folder of a new campaign under `out`, with the campaign's files in it, and points `latest-campaign` at it.
pub fn create(campaign: &Campaign, out: &Path) -> Result<PathBuf> {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = campaign.name.chars().map(safe).collect();
    let folder = crate::store::fresh(out, &format!("campaign-{name}"), "latest-campaign")?;
    let included = campaign.files.iter().skip(1).map(|(name, _)| name.as_str());
    for (name, (_, text)) in std::iter::once(TEXT).chain(included).zip(&campaign.files) {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(folder)
}

/// All campaigns of this name under `out`, the oldest first.
fn all(out: &Path, name: &str) -> Vec<Record> {
    let entries = fs::read_dir(out).into_iter().flatten().flatten();
    let folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    let mut folders: Vec<PathBuf> = folders
        .map(|e| e.path())
        .filter(|f| f.join(TEXT).is_file())
        .collect();
    folders.sort();
    let records = folders.iter().filter_map(|f| Record::read(f).ok());
    records.filter(|r| r.name == name).collect()
}

/// The latest campaign of this name under `out`.
pub fn last(out: &Path, name: &str) -> Option<Record> {
    all(out, name).pop()
}

/// Carries a campaign out and tells what came of it. The exit code.
pub fn run(
    campaign: &Campaign,
    mut record: Record,
    way: &Way,
    baseline: &Baseline,
    told: &Told,
    quiet: bool,
) -> Result<i32> {
    let mut live = Live::new(quiet);
    live.say(&format!(
        "campaign {}: {} runs, from seed {}; {}",
        campaign.name,
        record.cells.len(),
        record.seed,
        way.folder.display()
    ));
    let ended = engine::carry_out(campaign, &mut record, way, &mut live);
    live.finish();
    let came_to_its_end = ended?;
    baseline.apply(&mut record, SystemTime::now());
    tell(&mut record, &way.folder, told)?;
    if !came_to_its_end {
        say(&format!(
            "stopped; go on with: schism campaign --resume {}",
            way.folder.display()
        ));
        // What stands against an expectation is said, whatever is still open.
        return Ok(match record.exit_code() {
            crate::exit::VIOLATION => crate::exit::VIOLATION,
            _ => crate::exit::HARNESS,
        });
    }
    Ok(record.exit_code())
}

/// Tells how the cells of all campaigns of this name under `out` came out.
pub fn stats(out: &Path, name: &str, json: bool) -> Result<()> {
    let records = all(out, name);
    if records.is_empty() {
        bail!("there is no campaign {name:?} under {}", out.display());
    }
    if json {
        let rates = stats::rates(&records);
        let text = serde_json::to_string_pretty(&rates).context("cannot write JSON")?;
        return to_stdout(&format!("{text}\n"));
    }
    to_stdout(&stats::text(&records))
}

/// Puts the parts of a campaign together in a folder of its own under `out`. The exit code of the whole.
pub fn merge(parts: &[PathBuf], out: &Path, baseline: &Baseline, told: &Told) -> Result<i32> {
    let records = parts
        .iter()
        .map(|part| Record::read(part))
        .collect::<Result<Vec<_>>>()?;
    let mut whole = Record::merged(records)?;
    let folder = create(&Campaign::read(&parts[0].join(TEXT))?, out)?;
    for part in parts {
        copy(&part.join("runs"), &folder.join("runs"))?;
    }
    baseline.apply(&mut whole, SystemTime::now());
    tell(&mut whole, &folder, told)?;
    Ok(whole.exit_code())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = || -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                copy(&from, &to).map_err(std::io::Error::other)?;
            } else if kind.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
            } else {
                fs::copy(&from, &to)?;
            }
        }
        Ok(())
    };
    if from.is_dir() {
        copied().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

fn tell(record: &mut Record, folder: &Path, told: &Told) -> Result<()> {
    record.write(folder)?;
    let write = |path: &Path, text: String| {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write(&folder.join("index.html"), page::html(record)?)?;
    if let Some(path) = &told.junit {
        write(path, junit::xml(record)?)?;
    }
    if let Some(path) = &told.summary {
        write(path, words::markdown(record))?;
    }
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY") {
        let file = fs::OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(words::markdown(record).as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if std::env::var_os("GITHUB_ACTIONS").is_some() {
        // On stderr, so that stdout stays JSON for those who asked for it.
        say(words::annotations(record).trim_end());
    }
    if told.json {
        let text =
            serde_json::to_string_pretty(record).context("cannot write the campaign as JSON")?;
        return to_stdout(&format!("{text}\n"));
    }
    let colour = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    to_stdout(&words::matrix(record, folder, colour))
}

/// Reads `2/8`.
pub fn shard(text: &str) -> Result<(u64, u64)> {
    let parts = text.split_once('/').map(|(k, n)| (k.parse(), n.parse()));
    match parts {
        Some((Ok(k), Ok(n))) if (1..=n).contains(&k) => Ok((k, n)),
        _ => bail!("{text:?} is no shard: 2/8 is the second of eight"),
    }
}
