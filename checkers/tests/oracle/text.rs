//! `text`, and `lost-updates` on texts: every run against every read, and every two reads against each other.

use crate::support::random::{Lines, cases, one_in, pick};
use crate::{agree, by_key, prove, violated_if, worst};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_checkers::verdict::Decision;
use schism_history::{History, Op, Outcome};
use serde_json::Value;
use std::collections::BTreeSet;

/// A run in the list that all replicas would agree on.
struct Place {
    run: usize,
    deleted: bool,
}

/// Clients insert runs behind others, delete and read; replicas have parts of one list. In half of the histories something is wrong.
fn texts(rng: &mut ChaCha8Rng) -> Lines {
    let (letters, wrong) = (one_in(rng, 2), one_in(rng, 2));
    let repeats = one_in(rng, 10);
    let run = |n: usize| {
        if letters {
            ["ab", "cde", "f", "gh", "ijk", "lm"][n].to_owned()
        } else {
            format!("({n})")
        }
    };
    let mut lines = Vec::new();
    let mut list: Vec<Place> = Vec::new();
    let mut inserted = 0;
    let (mut process, mut free_at) = ([0, 1], [0, 1]);
    for _ in 0..rng.random_range(2..9) {
        let client = rng.random_range(0..2);
        let start = free_at[client] + rng.random_range(0..3);
        let end = start + rng.random_range(1..5);
        free_at[client] = end + 1;
        let who = process[client];
        let outcome = pick(rng, &["ok", "ok", "ok", "ok", "info", "fail"]);
        let happens = outcome == "ok" || (outcome == "info" && one_in(rng, 2));
        match rng.random_range(0..4) {
            0 | 1 if inserted < 6 => {
                let at = rng.random_range(0..=list.len());
                let after = at
                    .checked_sub(1)
                    .map_or_else(String::new, |i| run(list[i].run));
                let text = run(if repeats && one_in(rng, 3) {
                    0
                } else {
                    inserted
                });
                lines.push(format!(r#"{who}: insert t {{"after":"{after}","text":"{text}"}} @{start}..{end} {outcome}"#));
                if happens {
                    list.insert(
                        at,
                        Place {
                            run: inserted,
                            deleted: false,
                        },
                    );
                }
                inserted += 1;
            }
            2 if !list.is_empty() => {
                let from = rng.random_range(0..list.len());
                let to = (from + rng.random_range(0..3)).min(list.len() - 1);
                let (a, b) = (run(list[from].run), run(list[to].run));
                lines.push(format!(
                    r#"{who}: delete t {{"from":"{a}","to":"{b}"}} @{start}..{end} {outcome}"#
                ));
                if happens {
                    list[from..=to]
                        .iter_mut()
                        .for_each(|place| place.deleted = true);
                }
            }
            _ => {
                let there: Vec<usize> = list
                    .iter()
                    .filter(|p| !p.deleted && !one_in(rng, 6))
                    .map(|p| p.run)
                    .collect();
                let spoil = wrong && one_in(rng, 3);
                let text = show(rng, &there, letters, spoil, &run);
                lines.push(format!(r#"{who}: read t "{text}" @{start}..{end}"#));
                continue;
            }
        }
        if outcome == "info" {
            process[client] += 2;
        }
    }
    let there: Vec<usize> = list.iter().filter(|p| !p.deleted).map(|p| p.run).collect();
    for node in 0..rng.random_range(1..3) {
        let (spoil, start) = (wrong && one_in(rng, 2), rng.random_range(25..60));
        let text = show(rng, &there, letters, spoil, &run);
        lines.push(format!(
            r#"{}: read t "{text}" @{start}..61 final"#,
            90 + node
        ));
    }
    lines
}

fn show(
    rng: &mut ChaCha8Rng,
    there: &[usize],
    letters: bool,
    wrong: bool,
    run: &dyn Fn(usize) -> String,
) -> String {
    let mut runs: Vec<String> = there.iter().map(|n| run(*n)).collect();
    let n = runs.len();
    if wrong && n > 0 {
        let at = rng.random_range(0..n);
        match rng.random_range(0..9) {
            0 | 6..=8 => drop(runs.remove(at)),
            1 => runs.swap(at, 0),
            2 => runs.push(runs[at].clone()),
            3 => runs.push(run(rng.random_range(0..6))),
            4 if letters => drop(runs[at].pop()),
            5 if letters && n > 1 => {
                let other = runs.remove((at + 1) % n);
                let at = at.min(n - 2);
                runs[at].insert_str(1, &other);
            }
            _ => runs[at].push('#'),
        }
    }
    runs.concat()
}

/// How a run stands in a text.
#[derive(Debug, Clone, PartialEq)]
enum Stands {
    Absent,
    Partly,
    Twice,
    /// From here on, in one piece.
    Whole(usize),
    /// In pieces, with these runs inside.
    Torn(BTreeSet<usize>),
}

struct Read<'o, 'h> {
    op: &'o Op<'h>,
    stranger: bool,
    opaque: bool,
    runs: Vec<Stands>,
}

struct Text<'o, 'h> {
    unclear: Vec<&'o Op<'h>>,
    inserts: Vec<&'o Op<'h>>,
    deletes: Vec<&'o Op<'h>>,
    reads: Vec<Read<'o, 'h>>,
    strange: bool,
    unreadable: bool,
}

fn field<'h>(op: &Op<'h>, name: &str) -> &'h str {
    op.argument()[name].as_str().unwrap()
}

impl<'o, 'h> Text<'o, 'h> {
    fn new(ops: &'o [Op<'h>]) -> Self {
        let inserts = || ops.iter().filter(|op| op.f() == "insert");
        let may: Vec<&Op<'_>> = inserts()
            .filter(|op| op.outcome() != Outcome::Fail)
            .collect();
        let texts: BTreeSet<&str> = may.iter().map(|op| field(op, "text")).collect();
        let twice = texts.len() < may.len();
        let mut all = may;
        for op in inserts().filter(|op| op.outcome() == Outcome::Fail) {
            if !all
                .iter()
                .any(|other| field(other, "text") == field(op, "text"))
            {
                all.push(op);
            }
        }
        let deletes = ops
            .iter()
            .filter(|op| op.f() == "delete" && op.outcome() != Outcome::Fail);
        let known = |name: &str| all.iter().any(|op| field(op, "text") == name);
        let strange_insert = all
            .iter()
            .any(|op| !field(op, "after").is_empty() && !known(field(op, "after")));
        let (sound, strange): (Vec<&Op<'_>>, Vec<&Op<'_>>) =
            deletes.partition(|op| known(field(op, "from")) && known(field(op, "to")));
        let runs: Vec<&str> = all.iter().map(|op| field(op, "text")).collect();
        let letters: Vec<char> = runs.iter().flat_map(|run| run.chars()).collect();
        let distinct = letters.iter().collect::<BTreeSet<_>>().len() == letters.len();
        let pairs = (0..runs.len()).flat_map(|a| (0..runs.len()).map(move |b| (a, b)));
        let beginning = pairs
            .filter(|(a, b)| a != b)
            .any(|(a, b)| runs[a].starts_with(runs[b]));
        let reads = ops.iter().filter(|op| op.f() == "read" && op.is_ok());
        let reads = reads.map(|op| {
            let text = op.result().and_then(Value::as_str).unwrap_or_default();
            let clean: String = text.chars().filter(|c| letters.contains(c)).collect();
            let stranger = clean.len() < text.len();
            if distinct {
                return Read {
                    op,
                    stranger,
                    opaque: false,
                    runs: by_letters(&clean, &runs),
                };
            }
            let words = words(text, &runs);
            let opaque = words.is_none();
            let words = words.unwrap_or_default();
            let stands = |run: usize| match words.iter().filter(|w| **w == run).count() {
                0 => Stands::Absent,
                1 => Stands::Whole(words.iter().position(|w| *w == run).unwrap()),
                _ => Stands::Twice,
            };
            Read {
                op,
                stranger,
                opaque,
                runs: (0..runs.len()).map(stands).collect(),
            }
        });
        Self {
            reads: reads.collect(),
            unreadable: twice || (!distinct && beginning),
            strange: strange_insert || !strange.is_empty(),
            unclear: strange,
            inserts: all,
            deletes: sound,
        }
    }

    fn run(&self, text: &str) -> usize {
        self.inserts
            .iter()
            .position(|op| field(op, "text") == text)
            .unwrap()
    }

    fn ends(&self, delete: &Op<'_>) -> (usize, usize) {
        (
            self.run(field(delete, "from")),
            self.run(field(delete, "to")),
        )
    }

    fn at(read: &Read<'_, '_>, run: usize) -> Option<usize> {
        match read.runs[run] {
            Stands::Whole(at) => Some(at),
            _ => None,
        }
    }

    fn covers(&self, delete: &Op<'_>, run: usize) -> bool {
        let (from, to) = self.ends(delete);
        let own = self
            .reads
            .iter()
            .filter(|r| r.op.session() == delete.session() && r.op.precedes(delete));
        let both = own.filter(
            |r| matches!((Self::at(r, from), Self::at(r, to)), (Some(a), Some(b)) if a <= b),
        );
        let view = both.max_by_key(|r| r.op.index());
        let between = view.is_some_and(|r| {
            Self::at(r, run)
                .is_some_and(|at| Self::at(r, from) <= Some(at) && Some(at) <= Self::at(r, to))
        });
        run == from || run == to || between
    }

    fn may_cover(&self, delete: &Op<'_>, run: usize) -> bool {
        let (from, to) = self.ends(delete);
        let outside = self.reads.iter().any(|r| {
            let (Some(at), from, to) = (Self::at(r, run), Self::at(r, from), Self::at(r, to))
            else {
                return false;
            };
            from.is_some_and(|from| at < from) || to.is_some_and(|to| at > to)
        });
        from != to && !outside
    }

    fn finals(&self) -> Vec<&Read<'o, 'h>> {
        self.reads.iter().filter(|r| r.op.is_final()).collect()
    }

    fn lost(&self) -> Decision {
        if self.unreadable || self.finals().is_empty() {
            return Decision::Unknown;
        }
        let opaque = self.finals().iter().any(|r| r.opaque);
        let unknown = if self.strange || opaque {
            Decision::Unknown
        } else {
            Decision::Holds
        };
        let each = (0..self.inserts.len()).filter(|run| self.inserts[*run].is_ok());
        worst(each.map(|run| self.fate(run)).chain([unknown]))
    }

    fn fate(&self, run: usize) -> Decision {
        let insert = self.inserts[run];
        let after: Vec<_> = self
            .finals()
            .into_iter()
            .filter(|r| r.op.start() > insert.end())
            .collect();
        if after.is_empty() {
            return Decision::Unknown;
        }
        let letters = |r: &Read<'_, '_>| {
            let text = r.op.result().and_then(Value::as_str).unwrap_or_default();
            let count = |text: &str, c: char| text.chars().filter(|d| *d == c).count();
            let run = field(insert, "text");
            run.chars().all(|c| count(text, c) >= count(run, c))
        };
        let gone = |r: &Read<'_, '_>| match r.runs[run] {
            Stands::Twice => !letters(r),
            Stands::Absent | Stands::Partly => !(r.opaque && letters(r)),
            Stands::Whole(_) | Stands::Torn(_) => false,
        };
        let mut deletes = self
            .deletes
            .iter()
            .filter(|d| !d.precedes(insert))
            .peekable();
        let deletes: Vec<_> = std::iter::from_fn(|| deletes.next()).collect();
        if !after.iter().all(|r| gone(r)) || deletes.iter().any(|d| self.covers(d, run)) {
            return Decision::Holds;
        }
        let unclear = self.unclear.iter().any(|d| !d.precedes(insert));
        if unclear || deletes.iter().any(|d| self.may_cover(d, run)) {
            return Decision::Unknown;
        }
        Decision::Violated
    }

    fn knew(&self, run: usize, other: usize) -> bool {
        let (own, before) = (self.inserts[run], self.inserts[other]);
        let earlier = |op: &Op<'_>| op.session() == own.session() && op.precedes(own);
        let read = self
            .reads
            .iter()
            .any(|r| earlier(r.op) && matches!(r.runs[other], Stands::Whole(_)));
        field(own, "after") == field(before, "text") || earlier(before) || read
    }

    fn wrong_in(&self, read: &Read<'_, '_>) -> bool {
        let n = self.inserts.len();
        let odd = |run: usize| {
            let insert = self.inserts[run];
            let early = insert.outcome() == Outcome::Fail || insert.start() > read.op.end();
            let anchor = self
                .inserts
                .iter()
                .position(|op| field(op, "text") == field(insert, "after"));
            match &read.runs[run] {
                Stands::Absent => false,
                Stands::Twice => true,
                Stands::Torn(inside) => {
                    early
                        || inside
                            .iter()
                            .any(|o| *o == run || self.knew(run, *o) || self.knew(*o, run))
                }
                Stands::Partly => early,
                Stands::Whole(at) => {
                    early || anchor.is_some_and(|a| Self::at(read, a).is_some_and(|a| a > *at))
                }
            }
        };
        read.stranger || (0..n).any(odd)
    }

    fn disagree(&self) -> bool {
        let n = self.inserts.len();
        let pairs = (0..n).flat_map(|x| (0..n).map(move |y| (x, y)));
        let before = |r: &Read<'_, '_>, x, y| matches!((Self::at(r, x), Self::at(r, y)), (Some(a), Some(b)) if a < b);
        let mut pairs = pairs.filter(|(x, y)| x != y);
        pairs.any(|(x, y)| {
            self.reads.iter().any(|r| before(r, x, y)) && self.reads.iter().any(|r| before(r, y, x))
        })
    }

    fn came_back(&self) -> bool {
        let mut pairs =
            (0..self.inserts.len()).flat_map(|run| self.deletes.iter().map(move |d| (run, d)));
        pairs.any(|(run, delete)| {
            let after: Vec<_> = self
                .finals()
                .into_iter()
                .filter(|r| r.op.start() > delete.end())
                .collect();
            let there = |r: &Read<'_, '_>| !r.opaque && r.runs[run] != Stands::Absent;
            delete.is_ok()
                && self.covers(delete, run)
                && !after.is_empty()
                && after.iter().all(|r| there(r))
        })
    }

    fn equal(&self, ops: &[Op<'_>]) -> Decision {
        let finals = self.finals();
        let texts: BTreeSet<&str> = finals
            .iter()
            .map(|r| r.op.result().unwrap().as_str().unwrap())
            .collect();
        if texts.len() < 2 {
            return Decision::Holds;
        }
        let first = finals.iter().map(|r| r.op.start()).min().unwrap();
        let late =
            |op: &Op<'_>| op.f() != "read" && op.outcome() != Outcome::Fail && op.end() >= first;
        let whole = |r: &&Read<'_, '_>| {
            !r.opaque
                && !r.stranger
                && r.runs
                    .iter()
                    .all(|s| matches!(s, Stands::Absent | Stands::Whole(_)))
        };
        let clear =
            !self.unreadable && finals.iter().all(whole) && !self.unclear.iter().any(|op| late(op));
        let stays = |run: usize| {
            let has = |r: &&Read<'_, '_>| Self::at(r, run).is_some();
            let mut deletes = self.deletes.iter().filter(|d| late(d));
            finals.iter().any(has)
                && !finals.iter().all(has)
                && !late(self.inserts[run])
                && !deletes.any(|d| self.covers(d, run) || self.may_cover(d, run))
        };
        if ops.iter().any(late) && !(clear && (0..self.inserts.len()).any(stays)) {
            Decision::Unknown
        } else {
            Decision::Violated
        }
    }
}

/// The runs that a text is made of, if there is a way to read it so.
fn words(text: &str, runs: &[&str]) -> Option<Vec<usize>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let first = (0..runs.len()).find(|run| text.starts_with(runs[*run]))?;
    let mut all = vec![first];
    all.extend(words(&text[runs[first].len()..], runs)?);
    Some(all)
}

fn by_letters(text: &str, runs: &[&str]) -> Vec<Stands> {
    let owner = |c: char| runs.iter().position(|run| run.contains(c)).unwrap();
    let stands = |run: usize| {
        let there: Vec<usize> = text
            .char_indices()
            .filter(|(_, c)| owner(*c) == run)
            .map(|(i, _)| i)
            .collect();
        let distinct: BTreeSet<char> = text.chars().filter(|c| owner(*c) == run).collect();
        if there.is_empty() {
            Stands::Absent
        } else if distinct.len() < there.len() {
            Stands::Twice
        } else if distinct.len() < runs[run].len() {
            Stands::Partly
        } else if let Some(at) = text.find(runs[run]) {
            Stands::Whole(at)
        } else {
            let letters = &text[there[0]..=there[there.len() - 1]];
            let own: String = letters.chars().filter(|c| owner(*c) == run).collect();
            let inside = letters
                .chars()
                .map(owner)
                .filter(|o| *o != run || own != runs[run]);
            Stands::Torn(inside.collect())
        }
    };
    (0..runs.len()).map(stands).collect()
}

fn each_text(history: &History, decide: impl Fn(&Text<'_, '_>, &[Op<'_>]) -> Decision) -> Decision {
    worst(
        by_key(history)
            .values()
            .map(|ops| decide(&Text::new(ops), ops)),
    )
}

fn oracle_lost_updates(history: &History) -> Decision {
    each_text(history, |text, _| text.lost())
}

fn oracle_text(history: &History) -> Decision {
    each_text(history, |text, ops| {
        let end = worst([text.lost(), text.equal(ops)]);
        if text.unreadable {
            return end;
        }
        let opaque = text.reads.iter().any(|r| r.opaque && !r.stranger);
        let unknown = if opaque {
            Decision::Unknown
        } else {
            Decision::Holds
        };
        let wrong = text.reads.iter().any(|r| text.wrong_in(r));
        worst([
            end,
            unknown,
            violated_if(wrong || text.disagree() || text.came_back()),
        ])
    })
}

#[test]
fn text() {
    agree("text", cases(2000), &texts, oracle_text);
    prove("text", cases(2000), &texts, oracle_text);
}

#[test]
fn lost_updates_of_texts() {
    agree("lost-updates", cases(2000), &texts, oracle_lost_updates);
    prove("lost-updates", cases(2000), &texts, oracle_lost_updates);
}
