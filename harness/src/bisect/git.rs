//! The few things that are asked of git.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Commit {
    /// Its hash.
    pub(super) hash: String,
    /// The first line of its message.
    pub(super) subject: String,
}

impl Commit {
    /// Its hash, shortened.
    pub(super) fn short(&self) -> &str {
        self.hash.get(..12).unwrap_or(&self.hash)
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.short(), self.subject)
    }
}

/// Runs git in a folder; what it says on stdout.
fn git(folder: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        // Nothing that the user has set up for bisecting by hand, and no hooks.
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "advice.detachedHead=false",
        ])
        .args(words)
        .env("LC_ALL", "C")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .context("cannot run git; is it installed?")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("git {}: {}", words.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The root of the working tree.
pub(super) fn root(folder: &Path) -> Result<PathBuf> {
    git(folder, &["rev-parse", "--show-toplevel"]).map(PathBuf::from)
}

/// The commit that a name stands for.
pub(super) fn commit(repository: &Path, name: &str) -> Result<Commit> {
    let name = format!("{name}^{{commit}}");
    let line = git(
        repository,
        &["log", "-1", "--format=%H %s", "--end-of-options", &name],
    )?;
    let (hash, subject) = line.split_once(' ').unwrap_or((&line, ""));
    Ok(Commit {
        hash: hash.to_owned(),
        subject: subject.to_owned(),
    })
}

/// How many commits `bad` has that `good` has not. None is an error: then there is nothing to search.
pub(super) fn between(repository: &Path, good: &Commit, bad: &Commit) -> Result<u64> {
    let range = format!("{}..{}", good.hash, bad.hash);
    let count: u64 = git(repository, &["rev-list", "--count", &range])?
        .parse()
        .context("git counts commits in numbers")?;
    if count == 0 {
        bail!("bad {bad} has no commit that good {good} has not: are they the right way round?");
    }
    Ok(count)
}

/// What git wants to know next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Whether this one is good; it is checked out.
    Test(Commit),
    /// Nothing: this is the first bad one.
    Found(Commit),
    /// Nothing, for these cannot be tested, and one of them is the first bad one.
    OneOf(Vec<Commit>),
}

/// A clone that shares the repository's objects and nothing else. It goes when it is dropped.
#[derive(Debug)]
pub(super) struct Clone {
    folder: PathBuf,
}

impl Clone {
    /// Makes it.
    pub(super) fn new(repository: &Path, folder: &Path) -> Result<Self> {
        let from = root(repository)?;
        let (from, to) = (from.to_string_lossy(), folder.to_string_lossy());
        git(
            repository,
            &[
                "clone",
                "--quiet",
                "--shared",
                "--no-checkout",
                "--",
                &from,
                &to,
            ],
        )?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the tree that of a commit; what was built stays, so that the next build is short.
    pub(super) fn check_out(&self, commit: &Commit) -> Result<()> {
        git(
            &self.folder,
            &["checkout", "--quiet", "--force", "--detach", &commit.hash],
        )
        .map(drop)
    }

    /// Starts the search.
    pub(super) fn start(&self, good: &Commit, bad: &Commit) -> Result<Next> {
        git(&self.folder, &["bisect", "start", &bad.hash, &good.hash])?;
        self.next()
    }

    /// Says of the commit that is checked out that it is `good`, `bad` or one to `skip`.
    pub(super) fn mark(&self, word: &str) -> Result<Next> {
        // Where only skipped commits are left git says so, and fails.
        let marked = git(&self.folder, &["bisect", word]);
        match self.next()? {
            next @ Next::Test(_) => marked.map(|_| next),
            end => Ok(end),
        }
    }

    fn next(&self) -> Result<Next> {
        let log = git(&self.folder, &["bisect", "log"])?;
        let named = |line: &str, before: &str| {
            let rest = line.strip_prefix(before)?.strip_prefix('[')?;
            let (hash, subject) = rest.split_once(']')?;
            Some(Commit {
                hash: hash.to_owned(),
                subject: subject.trim().to_owned(),
            })
        };
        if let Some(found) = log.lines().find_map(|l| named(l, "# first bad commit: ")) {
            return Ok(Next::Found(found));
        }
        let left: Vec<Commit> = log
            .lines()
            .filter_map(|l| named(l, "# possible first bad commit: "))
            .collect();
        if !left.is_empty() {
            return Ok(Next::OneOf(left));
        }
        commit(&self.folder, "HEAD").map(Next::Test)
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
