//! What the replicas of `single-leader` say to one another, and are asked, in words for a trace.

use crate::replicas::single_leader::{
    self as replica, Append, AppendAnswer, Command, Entry, Query,
};
use crate::replicas::{LogPosition, NodeName, Term};
use serde_json::json;
use std::sync::Arc;

pub(super) fn query_words(query: &Query) -> String {
    match query {
        Query::Register(key) => format!("read {key}"),
        Query::Set(key) => format!("read the set {key}"),
        Query::Counter(key) => format!("read the counter {key}"),
        Query::Head(key) => format!("read the head of {key}"),
        Query::Registers(keys) => format!("read {}", keys.join(" ")),
    }
}

pub(super) fn command_words(command: &Command) -> String {
    match command {
        Command::Write { key, value } => format!("write {key} = {value}"),
        Command::Cas { key, old, new } => format!("cas {key} {old} -> {new}"),
        Command::Add { key, element } => format!("add {element} to {key}"),
        Command::Increment { key, by } => format!("increment {key} by {by}"),
        Command::Enqueue { key, element } => format!("enqueue {element} in {key}"),
        Command::Dequeue { key, expect: None } => format!("dequeue from {key}"),
        Command::Dequeue {
            key,
            expect: Some(expect),
        } => format!("dequeue {expect} from {key}"),
        Command::Drain { key } => format!("drain {key}"),
        Command::Transact { expect, write } => {
            format!("expect {}, write {}", json!(expect), json!(write))
        }
        Command::Transfer { from, to, amount } => format!("transfer {amount} from {from} to {to}"),
        Command::GenerateId => "generate an id".to_owned(),
        Command::Noop => "nothing".to_owned(),
        Command::Members(names) => {
            let names: Vec<&str> = names.iter().map(NodeName::as_str).collect();
            format!("the members are {}", names.join(" "))
        }
    }
}

pub(super) fn append_words(append: &Append) -> String {
    let (term, committed) = (append.term, append.committed);
    let (_, previous) = append.previous;
    let what = match span(&append.entries) {
        Some(span) => format!("append {span} {} after {previous}", inside(append)),
        None => format!("heartbeat after {previous}"),
    };
    let admit = if append.admit { ", admitted" } else { "" };
    format!("{what}, term {term}, committed {committed}{admit}")
}

/// How many entries of one message are told in words.
const ENTRIES_TOLD: usize = 3;

/// `{add 3 to s0; nothing}`: what a leader sends on, with the term where that is an older one.
fn inside(append: &Append) -> String {
    let words = |entry: &Arc<Entry>| match command_words(&entry.command) {
        words if entry.term == append.term => words,
        words => format!("{words}, of term {}", entry.term),
    };
    let told: Vec<String> = append
        .entries
        .iter()
        .take(ENTRIES_TOLD)
        .map(words)
        .collect();
    let more = if append.entries.len() > ENTRIES_TOLD {
        "; ..."
    } else {
        ""
    };
    format!("{{{}{more}}}", told.join("; "))
}

/// `5` or `5-7`.
pub(super) fn span(entries: &[Arc<Entry>]) -> Option<String> {
    let (first, last) = (entries.first()?.position, entries.last()?.position);
    Some(if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    })
}

pub(super) fn answer_words(answer: &AppendAnswer) -> String {
    let (term, matched) = (answer.term, answer.matched);
    match answer.rejection {
        None => format!("have {matched}, term {term}"),
        Some(rejection) if rejection.needs_snapshot => {
            format!("does not fit: need a snapshot, term {term}")
        }
        Some(rejection) => format!("does not fit: try after {}, term {term}", rejection.hint),
    }
}

pub(super) fn vote(pre: bool) -> &'static str {
    if pre { "pre-vote" } else { "vote" }
}

pub(super) fn vote_words(term: Term, pre: bool, (last_term, last): (Term, LogPosition)) -> String {
    let vote = vote(pre);
    format!("{vote} for me in term {term}? my log ends at {last} of term {last_term}")
}

pub(super) fn report_words(report: &replica::PositionReport) -> String {
    let (term, last) = report.last;
    let sees = if report.sees_leader {
        ", and see a leader"
    } else {
        ""
    };
    format!("my log ends at {last} of term {term}{sees}")
}

pub(super) fn copy_words(copy: &replica::Copy) -> String {
    let position = copy.snapshot.position;
    let after = span(&copy.entries).map_or_else(String::new, |span| format!(" and {span}"));
    format!("all that I have: the state at {position}{after}")
}

pub(super) fn hello_words(blank: bool, answer: bool) -> String {
    let blank = if blank { "I am new" } else { "I am not new" };
    let mark = if answer { "" } else { ", and you?" };
    format!("hello: {blank}{mark}")
}
