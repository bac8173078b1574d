//! Questions and answers: no answer is seen before its question.
//!
//! `ask` puts a question (its value, whatever it is), `answer` puts `{"q": question, "a": answer}`, and `read` returns the list of both: an object with
//! `q` and `a` is an answer, everything else a question. A key names a part (a partition): a read with a key returns what is there, one without
//! returns all. An ask without a key is in the part `questions`.
//!
//! An answer names its question, so the order of these two is sure where the question was there before the answer was invoked: its ask
//! was acknowledged, or a read had returned it. All other orders are no business of this (another question may be in a partition that lags, by right).
//! Two kinds of contradiction: a read that covers the question's part has the answer and lacks the question (Terry 2013, consistent prefix; Kleppmann
//! 2017, chapter 5); and a read has the answer, its part being another one, and the next read of the question's part in that session lacks the
//! question, which no session sees that does not go back (with monotonic reads, Terry et al. 1994). Final reads are a replica's own state, and left
//! out. O(n log n) in operations and in what was read.

use crate::findings::{Advice, Findings, anomaly};
use crate::fixed::FixedMap;
use crate::intern::{Interner, Val};
use crate::verdict::Anomaly;
use crate::{Budget, Prepared, Shape, words};
use schism_history::{Key, Op, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;

const ADVICE: Advice = Advice {
    cause: "Questions and answers are in partitions (or on replicas) with different lag, and the one with the answers was ahead.",
    mend: "Keep what depends on one another in one partition (placement=causal), or let a read wait until what an answer depends on has arrived.",
};

/// Where questions are that were asked without a key.
const QUESTIONS: &str = "questions";

/// The two values of an answer.
pub(crate) fn parts(value: &Value) -> Option<(&Value, &Value)> {
    Some((value.get("q")?, value.get("a")?))
}

/// Whether an element of a list is an answer.
fn is_answer(value: &Value) -> bool {
    parts(value).is_some()
}

/// Looks at every answer that a read shows.
pub(crate) fn check(history: &Prepared<'_>, findings: &mut Findings, budget: &Budget<'_>) {
    let mut ops: Vec<&Op<'_>> = history
        .keys_of(Shape::Questions)
        .flat_map(|keyed| &keyed.ops)
        .map(|&i| &history.ops[i])
        .collect();
    ops.sort_by_key(|op| op.index());
    let mut told = Told::new();
    told.writes(&ops, findings);
    told.reads(&ops, findings, budget);
    Judge::new(&told).judge(findings, budget);
}

/// A part, by its number.
type Part = u32;

/// Which parts a read returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Covers {
    All,
    One(Part),
    /// A part in which nothing was asked.
    Other,
}

impl Covers {
    fn has(self, part: Part) -> bool {
        self == Self::All || self == Self::One(part)
    }
}

/// A question, as it was asked in one part.
struct Asked<'p> {
    part: Part,
    /// The earliest ask that may have happened.
    begun: &'p Op<'p>,
    /// The one that was acknowledged first.
    acknowledged: Option<&'p Op<'p>>,
    /// The first read that was answered with it.
    seen: Option<&'p Op<'p>>,
}

/// Why a question was there before its answer.
#[derive(Clone, Copy)]
struct Proof<'p> {
    ask: &'p Op<'p>,
    /// Where the ask itself was not acknowledged in time.
    seen: Option<&'p Op<'p>>,
}

impl<'p> Asked<'p> {
    fn before(&self, answer: &Op<'_>) -> Option<Proof<'p>> {
        let in_time = |op: &&Op<'_>| op.precedes(answer);
        let acknowledged = self.acknowledged.filter(in_time);
        if let Some(ask) = acknowledged {
            return Some(Proof { ask, seen: None });
        }
        let seen = self.seen.filter(in_time)?;
        Some(Proof {
            ask: self.begun,
            seen: Some(seen),
        })
    }
}

/// An answer of one value.
struct Answered<'p> {
    question: Val,
    /// The earliest that may have happened.
    op: &'p Op<'p>,
}

/// A read that was answered.
struct Read<'p> {
    op: &'p Op<'p>,
    covers: Covers,
    questions: Vec<Val>,
    answers: Vec<u32>,
}

/// What the history says.
struct Told<'p> {
    values: Interner<'p>,
    parts: BTreeMap<Key, Part>,
    /// By question, each part in which it was asked.
    asked: Vec<Vec<Asked<'p>>>,
    /// By question and answer.
    numbers: FixedMap<(Val, Val), u32>,
    answers: Vec<Answered<'p>>,
    reads: Vec<Read<'p>>,
}

impl<'p> Told<'p> {
    fn new() -> Self {
        Self {
            values: Interner::new(),
            parts: BTreeMap::new(),
            asked: Vec::new(),
            numbers: FixedMap::new(),
            answers: Vec::new(),
            reads: Vec::new(),
        }
    }

    fn writes(&mut self, ops: &[&'p Op<'p>], findings: &mut Findings) {
        for op in ops.iter().filter(|op| op.outcome() != Outcome::Fail) {
            match op.f() {
                "ask" => self.ask(op),
                "answer" => match parts(op.argument()) {
                    Some((question, answer)) => self.answer(op, question, answer),
                    None => findings.doubt(|| {
                        format!(
                            "event {}: the value of an answer is {{\"q\": question, \"a\": answer}}",
                            op.index()
                        )
                    }),
                },
                _ => {}
            }
        }
    }

    fn ask(&mut self, op: &'p Op<'p>) {
        let key = op.key().cloned().unwrap_or_else(|| QUESTIONS.into());
        let next = self.parts.len() as Part;
        let part = *self.parts.entry(key).or_insert(next);
        let question = self.values.intern(op.argument()) as usize;
        if self.asked.len() <= question {
            self.asked.resize_with(question + 1, Vec::new);
        }
        let asked = &mut self.asked[question];
        let at = asked.iter().position(|a| a.part == part);
        let at = at.unwrap_or_else(|| {
            asked.push(Asked {
                part,
                begun: op,
                acknowledged: None,
                seen: None,
            });
            asked.len() - 1
        });
        if op.is_ok() {
            sooner(&mut asked[at].acknowledged, op);
        }
    }

    fn answer(&mut self, op: &'p Op<'p>, question: &'p Value, answer: &'p Value) {
        let pair = (self.values.intern(question), self.values.intern(answer));
        if self.numbers.get(&pair).is_none() {
            self.numbers.insert(pair, self.answers.len() as u32);
            let question = pair.0;
            self.answers.push(Answered { question, op });
        }
    }

    fn reads(&mut self, ops: &[&'p Op<'p>], findings: &mut Findings, budget: &Budget<'_>) {
        let reads = || {
            let reads = ops.iter().filter(|op| op.f() == "read" && !op.is_final());
            reads.filter_map(|op| Some((*op, op.result()?)))
        };
        let all = reads().count();
        for (done, (op, list)) in reads().enumerate() {
            if findings.out_of_time(budget, || {
                format!(
                    "after {done} of {all} reads, before {}",
                    words::noun_short(op)
                )
            }) {
                return;
            }
            let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
            self.read(op, list, findings);
        }
    }

    fn read(&mut self, op: &'p Op<'p>, list: &'p [Value], findings: &mut Findings) {
        let covers = match op.key() {
            None => Covers::All,
            Some(key) => self
                .parts
                .get(key)
                .map_or(Covers::Other, |part| Covers::One(*part)),
        };
        let (mut questions, mut answers) = (Vec::new(), Vec::new());
        for value in list.iter().filter(|value| !is_answer(value)) {
            // One that nobody asked proves nothing here.
            let Some(question) = self.values.known(value) else {
                continue;
            };
            questions.push(question);
            self.see(question, covers, op);
        }
        for (question, answer) in list.iter().filter_map(parts) {
            let pair = self.values.known(question).zip(self.values.known(answer));
            match pair.and_then(|pair| self.numbers.get(&pair)) {
                Some(number) => answers.push(*number),
                None => findings.doubt(|| {
                    format!(
                        "nobody had given the answer {} to {} that {} returned",
                        words::value(answer),
                        words::value(question),
                        words::noun_short(op)
                    )
                }),
            }
        }
        self.reads.push(Read {
            op,
            covers,
            questions,
            answers,
        });
    }

    /// A read of all parts tells where a question was only if that can be but one.
    fn see(&mut self, question: Val, covers: Covers, op: &'p Op<'p>) {
        let Some(asked) = self.asked.get_mut(question as usize) else {
            return;
        };
        let sure = asked.len() == 1;
        let of_it =
            |a: &&mut Asked<'_>| covers == Covers::One(a.part) || (sure && covers == Covers::All);
        if let Some(asked) = asked.iter_mut().find(of_it) {
            sooner(&mut asked.seen, op);
        }
    }

    fn asked(&self, question: Val) -> &[Asked<'p>] {
        self.asked
            .get(question as usize)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// Keeps the operation that ended first.
fn sooner<'p>(kept: &mut Option<&'p Op<'p>>, op: &'p Op<'p>) {
    if kept.is_none_or(|known| op.end() < known.end()) {
        *kept = Some(op);
    }
}

/// Something that a later read of a session must have.
struct Owed<'p> {
    /// The later read, and the one that has the answer.
    next: usize,
    shows: usize,
    answer: u32,
    proof: Proof<'p>,
}

struct Judge<'p, 't> {
    told: &'t Told<'p>,
    /// By session and what they cover, the reads in order of invocation.
    sessions: BTreeMap<(Option<u64>, Covers), Vec<usize>>,
    /// By question, the last read (counted from 1) that has it.
    has: Vec<u32>,
    /// By read, whether something was judged by it, and whether it lacks something.
    judged: Vec<bool>,
    lacks: Vec<bool>,
    /// Answers to what nobody asked.
    unasked: Vec<bool>,
}

impl<'p, 't> Judge<'p, 't> {
    fn new(told: &'t Told<'p>) -> Self {
        let mut sessions: BTreeMap<(Option<u64>, Covers), Vec<usize>> = BTreeMap::new();
        for (number, read) in told.reads.iter().enumerate() {
            let of = sessions.entry((read.op.session(), read.covers));
            of.or_default().push(number);
        }
        Self {
            told,
            sessions,
            has: vec![0; told.values.len()],
            judged: vec![false; told.reads.len()],
            lacks: vec![false; told.reads.len()],
            unasked: vec![false; told.answers.len()],
        }
    }

    fn judge(&mut self, findings: &mut Findings, budget: &Budget<'_>) {
        let (mut owed, all) = (Vec::new(), self.told.reads.len());
        for number in 0..all {
            if findings.out_of_time_after(budget, (number, all), || "reads".to_owned()) {
                break;
            }
            self.alone(number, &mut owed, findings);
        }
        owed.sort_by_key(|owed| (owed.next, owed.shows));
        let owed: Vec<&[Owed<'_>]> = owed.chunk_by(|a, b| a.next == b.next).collect();
        for (done, of_one) in owed.iter().enumerate() {
            let what = || "reads that follow others in their session".to_owned();
            if findings.out_of_time_after(budget, (done, owed.len()), what) {
                break;
            }
            self.after(of_one, findings);
        }
        let judged = self.judged.iter().filter(|judged| **judged).count();
        findings.checked(judged);
        if judged == 0 {
            findings.doubt(|| {
                "no read showed an answer to a question that had surely been asked before, so nothing was put to the test"
                    .to_owned()
            });
        }
    }

    fn mark(&mut self, number: usize) -> u32 {
        let turn = number as u32 + 1;
        for question in &self.told.reads[number].questions {
            self.has[*question as usize] = turn;
        }
        turn
    }

    /// What a read says by itself, and what it asks of later ones.
    fn alone(&mut self, number: usize, owed: &mut Vec<Owed<'p>>, findings: &mut Findings) {
        let told = self.told;
        let (turn, read) = (self.mark(number), &told.reads[number]);
        let mut missing: Option<(&Answered<'_>, Proof<'_>)> = None;
        let mut count = 0;
        for answer in &read.answers {
            let answered = &told.answers[*answer as usize];
            let asked = told.asked(answered.question);
            if asked.is_empty() && !std::mem::replace(&mut self.unasked[*answer as usize], true) {
                findings.doubt(|| {
                    format!("nobody had asked what {} answers", words::noun(answered.op))
                });
            }
            for asked in asked {
                let Some(proof) = asked.before(answered.op) else {
                    continue;
                };
                if read.covers.has(asked.part) {
                    self.judged[number] = true;
                    if self.has[answered.question as usize] != turn {
                        count += 1;
                        missing = missing.or(Some((answered, proof)));
                    }
                } else if let Some(next) = self.next(read, asked.part) {
                    owed.push(Owed {
                        next,
                        shows: number,
                        answer: *answer,
                        proof,
                    });
                }
            }
        }
        if let Some((answered, proof)) = missing {
            self.lacks[number] = true;
            findings.violate(|| without_question(read.op, answered, proof).with("missing", count));
        }
    }

    /// The next read of its session that returns a part.
    fn next(&self, read: &Read<'_>, part: Part) -> Option<usize> {
        let first = |covers: Covers| {
            let reads = self.sessions.get(&(read.op.session(), covers))?;
            let start = |number: &usize| self.told.reads[*number].op.start();
            let at = reads.partition_point(|number| start(number) <= read.op.end());
            reads.get(at).copied()
        };
        let (all, one) = (first(Covers::All), first(Covers::One(part)));
        all.into_iter().chain(one).min()
    }

    /// What earlier reads of its session ask of a read.
    fn after(&mut self, owed: &[Owed<'p>], findings: &mut Findings) {
        let (told, next) = (self.told, owed[0].next);
        let turn = self.mark(next);
        self.judged[next] = true;
        if self.lacks[next] {
            return;
        }
        let question = |owed: &Owed<'_>| told.answers[owed.answer as usize].question;
        let missing = |owed: &&Owed<'_>| self.has[question(owed) as usize] != turn;
        let count = owed.iter().filter(missing).count();
        if let Some(first) = owed.iter().find(missing) {
            let reads = [first.shows, next].map(|number| told.reads[number].op);
            let answered = &told.answers[first.answer as usize];
            findings.violate(|| still_missing(reads, answered, first.proof).with("missing", count));
        }
    }
}

/// The end of a sentence: why the question came first.
fn because(answered: &Answered<'_>, proof: Proof<'_>) -> String {
    let answer = words::noun(answered.op);
    match proof.seen {
        None => format!(
            "although {} had been acknowledged before {answer} was invoked",
            words::noun(proof.ask)
        ),
        Some(seen) => format!(
            "although {} had returned the question before {answer} was invoked",
            words::noun_short(seen)
        ),
    }
}

fn operations(reads: &[&Op<'_>], answered: &Answered<'_>, proof: Proof<'_>) -> Vec<u64> {
    let others = [answered.op, proof.ask].into_iter().chain(proof.seen);
    let all = reads.iter().copied().chain(others);
    all.map(Op::index).collect()
}

/// The question and the answer in a sentence.
fn said(answered: &Answered<'_>) -> (String, String) {
    let (question, answer) =
        parts(answered.op.argument()).expect("only these were taken for answers");
    (words::value(question), words::value(answer))
}

fn without_question(read: &Op<'_>, answered: &Answered<'_>, proof: Proof<'_>) -> Anomaly {
    let (question, answer) = said(answered);
    let message = format!(
        "{} shows the answer {answer} and not the question {question} that it answers, {}.",
        words::noun_short(read),
        because(answered, proof)
    );
    let operations = operations(&[read], answered, proof);
    anomaly("answer-before-question", operations, message, &ADVICE)
        .with("question", question)
        .with("answer", answer)
}

fn still_missing(
    [shows, lacks]: [&Op<'_>; 2],
    answered: &Answered<'_>,
    proof: Proof<'_>,
) -> Anomaly {
    let (question, answer) = said(answered);
    let part = lacks
        .key()
        .map_or_else(|| "all parts".to_owned(), |key| format!("the part {key}"));
    let message = format!(
        "{} shows the answer {answer} to {question}, and the next read of the questions in that session, {} of {part}, lacks the question, {}: \
         no session sees this whose reads never go back (monotonic reads) and show a prefix of the writes.",
        words::noun_short(shows),
        words::noun_short(lacks),
        because(answered, proof)
    );
    let operations = operations(&[shows, lacks], answered, proof);
    anomaly("answer-read-before-question", operations, message, &ADVICE)
        .with("question", question)
        .with("answer", answer)
}
