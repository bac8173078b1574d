//! A history that does not fit into memory: whether it does, the passes over its file, and what is said of them on stderr.

use crate::check::{self, Limits};
use crate::stderr::say;
use anyhow::{Context, Result};
use schism_checkers::stream::{self, Frame, Survey};
use schism_checkers::verdict::Verdict;
use schism_checkers::{Chosen, Model, Prepared, choose, merge};
use schism_history::jsonl::Error;
use schism_history::{Event, Format, Torn, edn, format};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a history takes in memory, with all that is made of it: so many bytes for each of the file. Measured: registers 429 MB for 240, sets whose reads are long
/// lists of small numbers 281 MB for 38.
const MEMORY_PER_BYTE: u64 = 8;
/// How often a pass says how far it is, and after how many events it looks at the clock.
const SAY_EVERY: Duration = Duration::from_secs(5);
const LOOK_EVERY: u32 = 1 << 16;

/// Why a history has to be read as a stream; nothing where it fits into memory.
pub fn too_large(path: &Path) -> Option<String> {
    let size = std::fs::metadata(path).ok()?.len();
    let available = available_bytes()?;
    (size.saturating_mul(MEMORY_PER_BYTE) > available).then(|| {
        let (size, available) = (bytesize::ByteSize(size), bytesize::ByteSize(available));
        format!("is {size}, and {available} of memory are available")
    })
}

/// What the kernel and the control group leave.
fn available_bytes() -> Option<u64> {
    let number = |path: &str| {
        std::fs::read_to_string(path)
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kernel = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10;
    let group = number("/sys/fs/cgroup/memory.max")
        .map(|max| max.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    Some(group.map_or(kernel, |group| group.min(kernel)))
}

/// Checks the history in this file, in bounded memory; `why` it is read so is said.
pub fn check(
    path: &Path,
    model: Option<Model>,
    named: Option<&[String]>,
    deciding: &[String],
    limits: Limits,
    why: &str,
) -> Result<(Verdict, Option<Torn>)> {
    let begun = Instant::now();
    let source = Source::new(path)?;
    let pass = |name| source.pass(name).with_context(|| source.name());
    let survey =
        Survey::new(pass("first pass")?, limits.memory_bytes).with_context(|| source.name())?;
    let prepared = Prepared::new(&survey.sample).with_model(model);
    let chosen = choose(&prepared, named, deciding)?;
    say(&format!(
        "{} {why}: read as a stream{}",
        source.name(),
        left_out(&chosen, &prepared)
    ));
    let frame = Frame {
        survey: &survey,
        prepared: &prepared,
        memory_bytes: limits.memory_bytes,
    };
    let names = Cell::new(["third pass", "second pass"].as_slice());
    let mut open = || {
        let (name, rest) = names.get().split_last().unwrap_or((&"another pass", &[]));
        names.set(rest);
        source.pass(name)
    };
    let one = |chosen: Chosen, part: &Prepared<'_>| check::check_one(part, chosen, limits);
    let (tally, results) =
        stream::run(&frame, chosen, &mut open, &one).with_context(|| source.name())?;
    let mut verdict = merge(&prepared, &tally, results);
    let torn = source.torn.take();
    check::add_stats(&mut verdict, &prepared, torn.as_ref(), begun.elapsed());
    Ok((verdict, torn))
}

/// The properties that cannot be read so, in words.
fn left_out(chosen: &[Chosen], prepared: &Prepared<'_>) -> String {
    let whole = chosen
        .iter()
        .filter(|c| c.property.stream(prepared).is_none());
    let names: Vec<&str> = whole.map(|c| c.property.name()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        "; these properties need the whole history in memory and are unknown: {}",
        names.join(", ")
    )
}

/// A file that is read several times.
struct Source<'p> {
    path: &'p Path,
    bytes: u64,
    tuples: bool,
    torn: RefCell<Option<Torn>>,
}

impl<'p> Source<'p> {
    fn new(path: &'p Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let metadata = file.metadata();
        if !metadata.as_ref().is_ok_and(std::fs::Metadata::is_file) {
            anyhow::bail!(
                "{} cannot be read several times, as a stream must be: give a file",
                path.display()
            );
        }
        let bytes = metadata.map_or(0, |m| m.len());
        let mut input = BufReader::new(file);
        let is_edn = Format::of(input.fill_buf()?) == Format::Edn;
        let tuples =
            is_edn && edn::has_tuples(input).with_context(|| path.display().to_string())?;
        Ok(Self {
            path,
            bytes,
            tuples,
            torn: RefCell::new(None),
        })
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn pass<'s>(&'s self, name: &'static str) -> Result<Pass<'s, 'p>, Error> {
        let input = BufReader::with_capacity(1 << 20, File::open(self.path)?);
        Ok(Pass {
            source: self,
            reader: format::Reader::new(input, self.tuples)?,
            name,
            events: 0,
            said: Instant::now(),
        })
    }
}

/// One pass over the events.
struct Pass<'s, 'p> {
    source: &'s Source<'p>,
    reader: format::Reader<BufReader<File>>,
    name: &'static str,
    events: u32,
    said: Instant,
}

impl Pass<'_, '_> {
    fn say_how_far(&mut self) {
        if self.said.elapsed() > SAY_EVERY {
            self.said = Instant::now();
            let bytes = bytesize::ByteSize;
            let (read, all) = (bytes(self.reader.bytes()), bytes(self.source.bytes));
            say(&format!("{}: {read} of {all}", self.name));
        }
    }
}

impl Iterator for Pass<'_, '_> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.events = self.events.wrapping_add(1);
        if self.events.is_multiple_of(LOOK_EVERY) {
            self.say_how_far();
        }
        let next = self.reader.next();
        if next.is_none() {
            self.source.torn.replace(self.reader.torn().cloned());
        }
        next
    }
}
