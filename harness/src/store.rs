//! A run's folder: where everything about a run is, and the only thing that `check` and `report` read.

use crate::capture;
use crate::spec::{Pcap, Resolved, Spec};
use anyhow::{Context, Result, bail};
use schism_checkers::verdict::Verdict;
use schism_history::{Event, EventKind, History, Process, Time, jsonl};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    folder: PathBuf,
}

/// The end of one node's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTail {
    /// The node.
    pub node: String,
    /// `stdout` or `stderr`.
    pub file: String,
    /// Its last part.
    pub tail: String,
    /// Whether there was more before.
    pub truncated: bool,
}

const TAIL_BYTES: u64 = 16 * 1024;

impl Run {
    /// Makes `out/<time>-<target>-<workload>-<seed>/` with its `spec.toml`, and points `out/latest` at it.
    pub fn create(spec: &Resolved, out: &Path) -> Result<Self> {
        let Spec {
            target,
            workload,
            seed,
            ..
        } = &spec.spec;
        let name = format!("{target}-{workload}-{seed}");
        let folder = fresh(out, &name, "latest")?;
        let run = Self { folder };
        run.write("spec.toml", &spec.spec.to_toml()?)?;
        Ok(run)
    }

    /// A folder that is there already.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.join("history.jsonl").is_file() {
            bail!(
                "{} is no run's folder: it has no history.jsonl",
                folder.display()
            );
        }
        let folder = folder
            .canonicalize()
            .with_context(|| format!("cannot find {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the nodes' folders are.
    pub fn nodes_folder(&self) -> PathBuf {
        self.folder.join("nodes")
    }

    /// What was run.
    pub fn spec(&self) -> Result<Resolved> {
        Spec::read(&self.folder.join("spec.toml"))?.resolve()
    }

    /// What happened, as far as it was written.
    pub fn history(&self) -> Result<History> {
        read_history(&self.history_path())
    }

    /// Where that is written.
    pub fn history_path(&self) -> PathBuf {
        self.folder.join("history.jsonl")
    }

    /// Adds how long the arena took to go: the last thing that is known of a run.
    pub fn arena_went(&self, origin: Instant) -> Result<()> {
        let now = Time(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let path = self.folder.join("history.jsonl");
        let Some(last) = last_event(&path)? else {
            return Ok(());
        };
        let down_ms = now.since(last.time) as f64 / 1e6;
        let mut event = Event::new(
            now,
            Process::Nemesis,
            EventKind::Info,
            "arena",
            json!({"down_ms": down_ms}),
        );
        event.index = last.index + 1;
        let file = OpenOptions::new().append(true).open(&path);
        file.and_then(|file| jsonl::write_event(file, &event))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The verdict, as it was written last.
    pub fn verdict(&self) -> Result<Verdict> {
        let path = self.folder.join("results.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes the verdict.
    pub fn write_verdict(&self, verdict: &Verdict) -> Result<()> {
        let text =
            serde_json::to_string_pretty(verdict).context("cannot write the verdict as JSON")?;
        self.write("results.json", &text)
    }

    /// Writes one file of the folder, making its own folder where needed.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        folder
            .and_then(|()| fs::write(&path, text))
            .with_context(|| {
                format!(
                    "cannot write {}; free some space or give another place with --out",
                    path.display()
                )
            })
    }

    /// The nodes' data is kept on a violation only, and so are captures unless they are wanted always; logs are kept always.
    pub fn drop_node_data(&self, pcap: Pcap) -> Result<()> {
        for node in read_folder(&self.nodes_folder()) {
            if pcap != Pcap::Always {
                drop_captures(&node)?;
            }
            match fs::remove_dir_all(node.join("data")) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", node.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps the spec, the verdict and the report alone: of a run that has passed nothing else is worth its room. With `proof`, the history as well.
    pub fn keep_small(&self, proof: bool) -> Result<()> {
        let mut gone = vec!["nodes", "plots", "schedule.jsonl"];
        if !proof {
            gone.push("history.jsonl");
        }
        for name in gone {
            let path = self.folder.join(name);
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The ends of the nodes' logs, empty ones left out.
    pub fn log_tails(&self) -> Vec<LogTail> {
        let mut tails = Vec::new();
        for node in read_folder(&self.nodes_folder()) {
            let name = node
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            for file in ["stderr", "stdout"] {
                if let Ok((tail, truncated)) = tail(&node.join(file))
                    && !tail.is_empty()
                {
                    tails.push(LogTail {
                        node: name.clone(),
                        file: file.into(),
                        tail,
                        truncated,
                    });
                }
            }
        }
        tails
    }
}

/// A host of which nothing but its capture was kept has no folder without it.
fn drop_captures(node: &Path) -> Result<()> {
    for path in (0..capture::PARTS).map(|age| node.join(capture::part(age))) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    let _ = fs::remove_dir(node);
    Ok(())
}

/// Whether runs can be kept under `out`: tried before anything starts, so that nothing is lost later.
pub fn writable(out: &Path) -> Result<()> {
    let probe = out.join(format!(".probe-{}", std::process::id()));
    fs::create_dir_all(out)
        .and_then(|()| fs::write(&probe, [0; 4096]))
        .with_context(|| {
            format!(
                "cannot write to {}; give another place with --out",
                out.display()
            )
        })
        .inspect_err(|_| drop(fs::remove_file(&probe)))?;
    fs::remove_file(&probe).with_context(|| format!("cannot remove {}", probe.display()))
}

/// Reads a history file; errors name it.
pub fn read_history(path: &Path) -> Result<History> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let read = schism_history::format::read(BufReader::with_capacity(1 << 20, file));
    read.map(|(history, _)| history)
        .with_context(|| path.display().to_string())
}

/// Makes the folder `<time>-<name>` under `out`, by another name where that is taken, and points the link `latest` at it.
pub fn fresh(out: &Path, name: &str, latest: &str) -> Result<PathBuf> {
    fs::create_dir_all(out).with_context(|| {
        format!(
            "cannot make {}; give another place with --out",
            out.display()
        )
    })?;
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let time = time.replace([':', '-'], "");
    let folder = fresh_folder(out, &format!("{time}-{name}"))?;
    let folder = folder
        .canonicalize()
        .with_context(|| format!("cannot find {}", folder.display()))?;
    point(out, latest, &folder);
    Ok(folder)
}

fn fresh_folder(out: &Path, name: &str) -> Result<PathBuf> {
    for suffix in 1.. {
        let folder = match suffix {
            1 => out.join(name),
            n => out.join(format!("{name}.{n}")),
        };
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "cannot make {}; give another place with --out",
                        folder.display()
                    )
                });
            }
        }
    }
    unreachable!("some suffix is free")
}

/// A link in `out`, replaced in one step. That it cannot be made (a file system without links) is no reason not to run.
fn point(out: &Path, link: &str, folder: &Path) {
    let Some(name) = folder.file_name() else {
        return;
    };
    let temporary = out.join(format!(".{link}-{}", std::process::id()));
    let _ = std::os::unix::fs::symlink(name, &temporary);
    if fs::rename(&temporary, out.join(link)).is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

fn read_folder(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The last event of a history file, where its end is whole.
fn last_event(path: &Path) -> Result<Option<Event>> {
    let (text, _) = tail(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text
        .lines()
        .last()
        .and_then(|line| jsonl::parse_event(line).ok()))
}

fn tail(path: &Path) -> std::io::Result<(String, bool)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole_lines = if start == 0 {
        &*text
    } else {
        text.split_once('\n').map_or("", |(_, rest)| rest)
    };
    Ok((whole_lines.to_owned(), start > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_of_one_second_have_two_folders_and_latest_is_the_second() {
        let out = tempfile::tempdir().unwrap();
        let spec = Spec {
            seed: 9,
            ..Spec::default()
        }
        .resolve()
        .unwrap();
        let first = Run::create(&spec, out.path()).unwrap();
        let second = Run::create(&spec, out.path()).unwrap();
        assert_ne!(first.folder(), second.folder());
        assert_eq!(
            out.path().join("latest").canonicalize().unwrap(),
            second.folder()
        );
        assert_eq!(
            Spec::read(&second.folder().join("spec.toml")).unwrap().seed,
            9
        );
    }

    #[test]
    fn a_long_log_is_cut_at_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stderr");
        fs::write(&path, "0123456789\n".repeat(3000)).unwrap();
        let (text, truncated) = tail(&path).unwrap();
        assert!(truncated && text.starts_with("0123456789\n") && text.len() as u64 <= TAIL_BYTES);
    }
}
