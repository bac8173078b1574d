//! A text that clients edit together, as runs: each insert puts one run behind another one, and reads show which runs are there in which order.
//!
//! Operations: `insert` `{after, text}`, where `after` is the text of an earlier run, or `""` for the beginning; `delete` `{from, to}`, the texts of
//! the first and the last run of what is deleted; `read`, the whole text. So that a text says which runs are in it, no text is inserted twice, and
//! either all letters of all runs differ, or no run is the beginning of another one (`<17>`, `word `): then a text is read from the left in one way
//! only. A client that inserts tokens with a number of its own in them does that. With letters that differ, a run that is not in one piece can be
//! told; else only that the text is not made of whole runs. Linear in the texts of all reads, but for a factor log n.

use crate::budget::STEPS;
use crate::fixed::FixedMap;
use crate::{Budget, Keyed, Prepared, words};
use schism_history::{Op, Outcome, Time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The number of a run.
pub(crate) type RunId = u32;

/// One inserted run.
#[derive(Debug)]
pub(crate) struct Run<'p> {
    pub(crate) op: &'p Op<'p>,
    pub(crate) text: &'p str,
    /// The run that it was put behind, if that is known.
    pub(crate) after: Option<RunId>,
    letters: usize,
}

impl Run<'_> {
    pub(crate) fn is_refused(&self) -> bool {
        self.op.outcome() == Outcome::Fail
    }
}

/// A deletion that may have happened.
#[derive(Debug)]
pub(crate) struct Delete<'p> {
    pub(crate) op: &'p Op<'p>,
    pub(crate) from: RunId,
    pub(crate) to: RunId,
    /// The last read of its session before it that has both ends, by its place.
    pub(crate) view: Option<usize>,
    /// What it surely covers: its ends, and what stood between them in that read.
    pub(crate) covers: Vec<RunId>,
}

/// What a read shows.
#[derive(Debug)]
pub(crate) struct Reading<'p> {
    pub(crate) op: &'p Op<'p>,
    pub(crate) text: &'p str,
    /// The runs that are there in one piece, in order.
    pub(crate) whole: Vec<RunId>,
    /// Runs of which some letters are missing.
    pub(crate) partial: Vec<RunId>,
    /// Runs that are not in one piece, each with those that stand inside it (itself, if its letters are out of order).
    pub(crate) torn: Vec<(RunId, BTreeSet<RunId>)>,
    pub(crate) twice: Vec<RunId>,
    /// A letter that is in no run.
    pub(crate) stranger: Option<char>,
    /// Whether it is not made of whole runs, and more cannot be told.
    pub(crate) opaque: bool,
}

/// How a text is taken apart.
enum Alphabet<'p> {
    /// Each letter is in one run, at one place.
    Letters(FixedMap<char, (RunId, usize)>),
    /// The runs, sorted; none is the beginning of another.
    Words(Vec<(&'p str, RunId)>),
}

/// One text with its history.
pub(crate) struct Runs<'p> {
    pub(crate) keyed: &'p Keyed<'p>,
    pub(crate) all: Vec<Run<'p>>,
    pub(crate) deletes: Vec<Delete<'p>>,
    /// Deletions of what nobody inserted: nobody knows what they cover.
    unclear: Vec<&'p Op<'p>>,
    /// Every insert and delete that may have happened.
    pub(crate) changes: Vec<&'p Op<'p>>,
    /// Answered reads by invocation.
    pub(crate) reads: Vec<Reading<'p>>,
    /// Why not all is known.
    pub(crate) strange: Vec<String>,
    /// Why nothing of it can be told.
    pub(crate) unreadable: Option<String>,
    /// By run, the reads that have it in one piece, and its place there.
    pub(crate) seen: Vec<Vec<(usize, usize)>>,
    /// By run, the reads that have all or some of it.
    touched: Vec<Vec<usize>>,
    /// By run, the deletes that surely cover it.
    covered: Vec<Vec<u32>>,
    /// By session, its reads.
    sessions: BTreeMap<u64, Vec<usize>>,
    finals: Vec<usize>,
}

/// What became of an acknowledged run.
#[derive(Debug, Clone)]
pub(crate) enum Fate<'p> {
    /// It is in a final read.
    There,
    /// A delete covered it.
    Deleted,
    /// It is in none, and this delete may have covered it.
    Perhaps(&'p Op<'p>),
    /// It is in none of these final reads, and no delete covered it.
    Lost(Vec<usize>),
    /// No final read began after its acknowledgement.
    NotRead,
}

impl<'p> Runs<'p> {
    /// Not all of it where the time is up.
    pub(crate) fn new(
        history: &'p Prepared<'_>,
        keyed: &'p Keyed<'p>,
        budget: &Budget<'_>,
    ) -> Self {
        let mut runs = Self {
            keyed,
            all: Vec::new(),
            deletes: Vec::new(),
            unclear: Vec::new(),
            changes: Vec::new(),
            reads: Vec::new(),
            strange: Vec::new(),
            unreadable: None,
            seen: Vec::new(),
            touched: Vec::new(),
            covered: Vec::new(),
            sessions: BTreeMap::new(),
            finals: Vec::new(),
        };
        let ops: Vec<&Op<'_>> = keyed.ops.iter().map(|&i| &history.ops[i]).collect();
        let changes = ops
            .iter()
            .filter(|op| op.f() != "read" && op.outcome() != Outcome::Fail);
        runs.changes = changes.copied().collect();
        let numbers = runs.inserts(&ops, budget);
        let alphabet = runs.alphabet(budget);
        runs.readings(&ops, alphabet.as_ref(), budget);
        runs.deletes(&ops, &numbers, budget);
        runs
    }

    /// Takes the inserts; the number of each text.
    fn inserts(&mut self, ops: &[&'p Op<'p>], budget: &Budget<'_>) -> BTreeMap<&'p str, RunId> {
        let mut numbers: BTreeMap<&'p str, RunId> = BTreeMap::new();
        let inserts = || ops.iter().filter(|op| op.f() == "insert");
        let refused = inserts().filter(|op| op.outcome() == Outcome::Fail);
        let others = inserts().filter(|op| op.outcome() != Outcome::Fail);
        for op in budget.lasting(others.chain(refused)) {
            let Some(text) = field(op, "text").filter(|text| !text.is_empty()) else {
                self.strange.push(malformed(op));
                continue;
            };
            let refused = op.outcome() == Outcome::Fail;
            let known = numbers.contains_key(text);
            if known && !refused {
                let key = words::key(self.keyed.key);
                self.unreadable = Some(format!(
                    "{text:?} was inserted into {key} more than once, so nobody knows which of them a read shows"
                ));
            }
            if !known {
                numbers.insert(text, self.all.len() as RunId);
                self.all.push(Run {
                    op,
                    text,
                    after: None,
                    letters: text.chars().count(),
                });
            }
        }
        for run in budget.lasting(&mut self.all) {
            let after = field(run.op, "after").filter(|after| !after.is_empty());
            run.after = after.and_then(|after| numbers.get(after).copied());
            if after.is_some() && run.after.is_none() {
                let noun = words::noun(run.op);
                self.strange
                    .push(format!("{noun} is put behind what nobody inserted"));
            }
        }
        self.seen = vec![Vec::new(); self.all.len()];
        self.touched = vec![Vec::new(); self.all.len()];
        self.covered = vec![Vec::new(); self.all.len()];
        numbers
    }

    fn alphabet(&mut self, budget: &Budget<'_>) -> Option<Alphabet<'p>> {
        if self.unreadable.is_some() || budget.is_exhausted() {
            return None;
        }
        let mut letters: FixedMap<char, (RunId, usize)> = FixedMap::new();
        let mut n = 0;
        for (run, id) in budget.lasting(self.all.iter().zip(0..)) {
            for (place, letter) in run.text.chars().enumerate() {
                letters.insert(letter, (id, place));
                n += 1;
            }
        }
        if letters.len() == n {
            return Some(Alphabet::Letters(letters));
        }
        let mut sorted: Vec<(&'p str, RunId)> =
            self.all.iter().map(|run| run.text).zip(0..).collect();
        sorted.sort_unstable();
        let mut pairs = sorted.windows(2);
        if let Some(pair) = pairs.find(|pair| pair[1].0.starts_with(pair[0].0)) {
            let key = words::key(self.keyed.key);
            let (one, other) = (pair[0].0, pair[1].0);
            self.unreadable = Some(format!(
                "{one:?} is the beginning of {other:?}, so a text of {key} does not say which of them is in it"
            ));
            return None;
        }
        Some(Alphabet::Words(sorted))
    }

    fn readings(
        &mut self,
        ops: &[&'p Op<'p>],
        alphabet: Option<&Alphabet<'p>>,
        budget: &Budget<'_>,
    ) {
        let mut letters: FixedMap<char, ()> = FixedMap::new();
        let all = self.all.iter().flat_map(|run| run.text.chars());
        for letter in budget.lasting(all) {
            letters.insert(letter, ());
        }
        let reads = ops.iter().filter(|op| op.f() == "read");
        for op in reads.take_while(|_| !budget.is_exhausted()) {
            let text = match op.result() {
                Some(Value::String(text)) => text.as_str(),
                Some(Value::Null) => "",
                _ => continue,
            };
            let place = self.reads.len();
            let mut reading = Reading {
                op,
                text,
                whole: Vec::new(),
                partial: Vec::new(),
                torn: Vec::new(),
                twice: Vec::new(),
                stranger: text.chars().find(|c| letters.get(c).is_none()),
                opaque: false,
            };
            match alphabet {
                Some(Alphabet::Letters(letters)) => self.spell(&mut reading, letters, budget),
                Some(Alphabet::Words(words)) => spell_words(&mut reading, words, budget),
                None => reading.opaque = true,
            }
            for (at, run) in reading.whole.iter().enumerate() {
                self.seen[*run as usize].push((place, at));
            }
            let torn = reading.torn.iter().map(|(run, _)| run);
            let some = reading
                .whole
                .iter()
                .chain(&reading.partial)
                .chain(&reading.twice);
            for run in some.chain(torn) {
                let touched = &mut self.touched[*run as usize];
                if touched.last() != Some(&place) {
                    touched.push(place);
                }
            }
            if op.is_final() {
                self.finals.push(place);
            }
            if let Some(session) = op.session() {
                self.sessions.entry(session).or_default().push(place);
            }
            self.reads.push(reading);
        }
    }

    /// Takes a text apart letter by letter.
    fn spell(
        &self,
        reading: &mut Reading<'_>,
        letters: &FixedMap<char, (RunId, usize)>,
        budget: &Budget<'_>,
    ) {
        let known = reading
            .text
            .chars()
            .filter_map(|c| letters.get(&c).copied());
        let text: Vec<(RunId, usize)> = budget.lasting(known).collect();
        // By run, where its letters are, in the order of the text.
        let mut places: BTreeMap<RunId, Vec<usize>> = BTreeMap::new();
        for (at, (run, _)) in text.iter().enumerate() {
            places.entry(*run).or_default().push(at);
        }
        let mut whole: Vec<(usize, RunId)> = Vec::new();
        for (run, at) in budget.lasting(places) {
            let all = self.all[run as usize].letters;
            let mut there: Vec<usize> = at.iter().map(|at| text[*at].1).collect();
            let in_order = there.is_sorted();
            there.sort_unstable();
            there.dedup();
            let (first, last) = (at[0], at[at.len() - 1]);
            if there.len() < at.len() {
                reading.twice.push(run);
            } else if there.len() < all {
                reading.partial.push(run);
            } else if in_order && last - first + 1 == all {
                whole.push((first, run));
            } else {
                let inside = text[first..=last].iter().map(|(other, _)| *other);
                let mut inside: BTreeSet<RunId> = inside.collect();
                if in_order {
                    inside.remove(&run);
                }
                reading.torn.push((run, inside));
            }
        }
        whole.sort_unstable();
        reading.whole = whole.into_iter().map(|(_, run)| run).collect();
    }

    fn deletes(
        &mut self,
        ops: &[&'p Op<'p>],
        numbers: &BTreeMap<&'p str, RunId>,
        budget: &Budget<'_>,
    ) {
        let deletes = ops
            .iter()
            .filter(|op| op.f() == "delete" && op.outcome() != Outcome::Fail);
        for op in budget.lasting(deletes) {
            let run = |name: &str| field(op, name).map(|text| numbers.get(text).copied());
            match (run("from"), run("to")) {
                (Some(Some(from)), Some(Some(to))) => {
                    let view = self.view(op, from, to);
                    let covers = match view {
                        Some((r, first, last)) => self.reads[r].whole[first..=last].to_vec(),
                        None => vec![from, to],
                    };
                    for run in &covers {
                        self.covered[*run as usize].push(self.deletes.len() as u32);
                    }
                    self.deletes.push(Delete {
                        op,
                        from,
                        to,
                        view: view.map(|(r, _, _)| r).filter(|_| from != to),
                        covers,
                    });
                }
                (Some(_), Some(_)) => {
                    let noun = words::noun(op);
                    self.strange
                        .push(format!("{noun} takes away what nobody inserted"));
                    self.unclear.push(op);
                }
                _ => {
                    self.strange.push(malformed(op));
                    self.unclear.push(op);
                }
            }
        }
    }

    /// The last read of the session that ended before a delete and has both ends in order: its place, and theirs in it.
    fn view(&self, op: &Op<'_>, from: RunId, to: RunId) -> Option<(usize, usize, usize)> {
        let own = op.session().and_then(|s| self.sessions.get(&s))?;
        let begun = own.partition_point(|r| self.reads[*r].op.start() < op.start());
        let own = own[..begun].iter().rev();
        let mut own = own.filter(|r| self.reads[**r].op.precedes(op));
        own.find_map(|r| {
            let (first, last) = (self.place(from, *r)?, self.place(to, *r)?);
            (first <= last).then_some((*r, first, last))
        })
    }

    /// Where a run stands in a read that has it in one piece.
    fn place(&self, run: RunId, reading: usize) -> Option<usize> {
        let seen = &self.seen[run as usize];
        let found = seen.binary_search_by_key(&reading, |(r, _)| *r);
        found.ok().map(|i| seen[i].1)
    }

    /// The final reads that began after an operation had ended.
    pub(crate) fn finals_after(&self, op: &Op<'_>) -> &[usize] {
        let started = |r: &usize| self.reads[*r].op.start() <= op.end();
        &self.finals[self.finals.partition_point(started)..]
    }

    pub(crate) fn finals(&self) -> &[usize] {
        &self.finals
    }

    /// Whether a read may have a run in one piece.
    fn may_have(&self, reading: usize, run: RunId) -> bool {
        // Two of a run are there, and a run in pieces is not gone: other names tell what is wrong with these.
        let there = &self.reads[reading];
        let torn = there.torn.iter().any(|(r, _)| *r == run);
        let odd = (there.opaque || torn || there.twice.contains(&run))
            && has_letters(there.text, self.all[run as usize].text);
        odd || self.place(run, reading).is_some()
    }

    /// Whether a read has all or some of a run.
    pub(crate) fn has_some(&self, reading: usize, run: RunId) -> bool {
        self.touched[run as usize].binary_search(&reading).is_ok()
    }

    /// What became of a run that was acknowledged.
    pub(crate) fn fate(&self, run: RunId) -> Fate<'p> {
        let insert = self.all[run as usize].op;
        let finals = self.finals_after(insert);
        if finals.is_empty() {
            return Fate::NotRead;
        }
        if finals.iter().any(|r| self.may_have(*r, run)) {
            return Fate::There;
        }
        let covered = self.covered[run as usize].iter();
        if covered
            .map(|d| &self.deletes[*d as usize])
            .any(|d| !d.op.precedes(insert))
        {
            return Fate::Deleted;
        }
        let ranges = self
            .deletes
            .iter()
            .filter(|d| d.from != d.to && !d.op.precedes(insert));
        let perhaps = ranges.filter(|d| !self.is_outside(run, d)).map(|d| d.op);
        let unclear = self
            .unclear
            .iter()
            .copied()
            .filter(|op| !op.precedes(insert));
        let perhaps = unclear.chain(perhaps).next();
        perhaps.map_or_else(|| Fate::Lost(finals.to_vec()), Fate::Perhaps)
    }

    /// A final read that has a run and one that lacks it, where no edit that had not ended by this time can have put it there or taken it away.
    /// Only where all final reads are made of whole runs.
    pub(crate) fn unexplained(&self, from: Time, budget: &Budget<'_>) -> Option<(usize, usize)> {
        let odd = |r: &Reading<'_>| {
            r.opaque
                || r.stranger.is_some()
                || !(r.partial.is_empty() && r.torn.is_empty() && r.twice.is_empty())
        };
        if self.unreadable.is_some() || self.finals.iter().any(|r| odd(&self.reads[*r])) {
            return None;
        }
        let late = |op: &Op<'_>| op.end() >= from;
        if self.unclear.iter().any(|op| late(op)) {
            return None;
        }
        let deletes: Vec<&Delete<'_>> = self.deletes.iter().filter(|d| late(d.op)).collect();
        let may_cover = |run: RunId, d: &Delete<'_>| {
            d.covers.contains(&run) || (d.from != d.to && !self.is_outside(run, d))
        };
        let mut all = budget.lasting((0..).zip(&self.all));
        all.find_map(|(run, insert)| {
            let has = |r: &&usize| self.place(run, **r).is_some();
            let with = self.finals.iter().find(has)?;
            let without = self.finals.iter().find(|r| !has(r))?;
            let excused = late(insert.op) || deletes.iter().any(|d| may_cover(run, d));
            (!excused).then_some((*with, *without))
        })
    }

    /// Whether some read shows a run before the first or behind the last one of what was deleted.
    fn is_outside(&self, run: RunId, delete: &Delete<'_>) -> bool {
        self.seen[run as usize].iter().any(|(reading, at)| {
            let (from, to) = (
                self.place(delete.from, *reading),
                self.place(delete.to, *reading),
            );
            from.is_some_and(|from| *at < from) || to.is_some_and(|to| *at > to)
        })
    }

    /// Whether the client that inserted a run had surely seen another one.
    pub(crate) fn knew(&self, run: RunId, other: RunId) -> bool {
        let (own, before) = (&self.all[run as usize], self.all[other as usize].op);
        let session = before.session() == own.op.session() && before.precedes(own.op);
        own.after == Some(other) || session || self.read_before(run, other).is_some()
    }

    /// The read of the inserting session before it inserted a run that has another one.
    fn read_before(&self, run: RunId, other: RunId) -> Option<&'p Op<'p>> {
        let own = self.all[run as usize].op;
        let reads = self.seen[other as usize]
            .iter()
            .map(|(reading, _)| self.reads[*reading].op);
        let mut reads = reads.filter(|op| op.session() == own.session() && op.precedes(own));
        reads.next()
    }

    /// The read that shows that the client of one of two runs had seen the other one, if there is one.
    pub(crate) fn witness(&self, one: RunId, other: RunId) -> Option<&'p Op<'p>> {
        let first = self.read_before(one, other);
        first.or_else(|| self.read_before(other, one))
    }

    /// A run in a sentence.
    pub(crate) fn shown(&self, run: RunId) -> String {
        format!("{:?}", self.all[run as usize].text)
    }
}

/// Takes a text apart run by run, from the left.
fn spell_words(reading: &mut Reading<'_>, words: &[(&str, RunId)], budget: &Budget<'_>) {
    let mut rest = reading.text;
    let mut there: BTreeMap<RunId, usize> = BTreeMap::new();
    while !rest.is_empty() {
        if reading.whole.len() % STEPS == STEPS - 1 && budget.is_exhausted() {
            return;
        }
        // Only the last one that is not greater can be its beginning, as none is the beginning of another.
        let after = words.partition_point(|(word, _)| *word <= rest);
        let Some((word, run)) = after
            .checked_sub(1)
            .map(|i| words[i])
            .filter(|(word, _)| rest.starts_with(word))
        else {
            reading.opaque = true;
            reading.whole.clear();
            reading.twice.clear();
            return;
        };
        rest = &rest[word.len()..];
        let times = there.entry(run).or_default();
        *times += 1;
        if *times == 1 {
            reading.whole.push(run);
        }
    }
    let twice = there
        .iter()
        .filter(|(_, times)| **times > 1)
        .map(|(run, _)| *run);
    reading.twice = twice.collect();
    reading.whole.retain(|run| there[run] == 1);
}

/// Whether a text has all letters of a run, wherever they stand.
fn has_letters(text: &str, run: &str) -> bool {
    let mut wanted: BTreeMap<char, usize> = BTreeMap::new();
    for letter in run.chars() {
        *wanted.entry(letter).or_default() += 1;
    }
    let there = |letter: char| text.chars().filter(|c| *c == letter).count();
    wanted.iter().all(|(letter, n)| there(*letter) >= *n)
}

fn field<'p>(op: &Op<'p>, name: &str) -> Option<&'p str> {
    match op.argument().get(name) {
        Some(Value::String(text)) => Some(text),
        None | Some(Value::Null) if name == "after" => Some(""),
        _ => None,
    }
}

fn malformed(op: &Op<'_>) -> String {
    let form = if op.f() == "insert" {
        "{after, text}"
    } else {
        "{from, to}"
    };
    format!(
        "event {}: {} takes {form}, not {}",
        op.index(),
        op.f(),
        op.argument()
    )
}
