//! What a request or an answer is, told from the first bytes of it: for whoever looks at packets, not for whoever serves them.
//!
//! The bytes may be cut anywhere, and may be anything: what cannot be understood is left out. Nothing here decides anything.

use serde_json::Value;

use crate::wire::SESSION_HEADER;

/// The beginning of a message, in words. They come from the bytes, so they may hold anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// What kind of message it is: the same of many, such as `heartbeat term 3` or `POST /set/s0`.
    pub what: String,
    /// What is particular about it; may be empty.
    pub detail: String,
    /// Who speaks to whom.
    pub way: Way,
    /// The client's session, where one is named.
    pub session: Option<u64>,
}

/// Who speaks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A client asks a node.
    Request,
    /// A node is answered, or a client.
    Answer,
    /// A node tells another one that all is as it was.
    Heartbeat,
    /// A node tells another one something.
    Peer,
    /// A node has heard another one: nothing but that is in it.
    Heard,
}

/// Characters of a body that are kept.
const DETAIL_CHARS: usize = 500;
/// Kinds of messages of one batch that are told.
const BATCH_TOLD: usize = 2;

/// Reads what these bytes begin, where they begin a request or an answer of HTTP.
///
/// ```
/// use schism_targets::glance::{Way, glance};
/// let seen = glance(b"PUT /kv/x HTTP/1.1\r\nx-schism-session: 7\r\n\r\n{\"value\":12}").unwrap();
/// assert_eq!((seen.what.as_str(), seen.session), ("PUT /kv/x", Some(7)));
/// assert_eq!((seen.detail.as_str(), seen.way), ("value=12", Way::Request));
/// assert_eq!(glance(b"the middle of something"), None);
/// ```
pub fn glance(bytes: &[u8]) -> Option<Glance> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.split("\r\n");
    let first: Vec<&str> = lines.next()?.split(' ').collect();
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let header = |name: &str| {
        let of = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        of.map(|(_, value)| *value)
    };
    match first[..] {
        ["HTTP/1.1", status, ..] => Some(answer(status, header("location"), body)),
        ["POST", path, "HTTP/1.1"] if is_of_peers(path) => Some(peer(body)),
        [
            method @ ("GET" | "PUT" | "POST" | "DELETE"),
            path,
            "HTTP/1.1",
        ] => Some(Glance {
            what: format!("{method} {path}"),
            detail: fields(body),
            way: Way::Request,
            session: header(SESSION_HEADER).and_then(|n| n.parse().ok()),
        }),
        _ => None,
    }
}

fn answer(status: &str, location: Option<&str>, body: &str) -> Glance {
    let value = mended(body);
    let error = value.as_ref().and_then(|v| v["error"].as_str());
    let (what, detail) = match (error, location) {
        (Some("redirect") | None, Some(to)) => (status.to_owned(), format!("to {to}")),
        (Some(error), _) => (format!("{status} {error}"), String::new()),
        _ => (status.to_owned(), fields(body)),
    };
    let heard = body.is_empty() && status.starts_with('2');
    Glance {
        what: if heard { format!("{what} heard") } else { what },
        detail,
        way: if heard { Way::Heard } else { Way::Answer },
        session: None,
    }
}

/// `value=12, term=3` of an object; else its text.
fn fields(body: &str) -> String {
    let Some(Value::Object(fields)) = mended(body) else {
        return shorten(body);
    };
    let known = [
        "value", "element", "by", "old", "new", "expect", "write", "from", "to", "amount", "term",
    ];
    let told = known
        .iter()
        .filter_map(|name| Some((name, fields.get(*name)?)));
    let told: Vec<String> = told
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    shorten(&told.join(", "))
}

/// The path of any partition.
fn is_of_peers(path: &str) -> bool {
    path == "/peer" || path.starts_with("/peer/")
}

fn peer(body: &str) -> Glance {
    let batch = mended(body).unwrap_or_default();
    let messages = batch["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let told: Vec<(String, String, bool)> = messages.iter().filter_map(message).collect();
    let quiet = !told.is_empty() && told.iter().all(|(_, _, quiet)| *quiet);
    // What is quiet is not told beside what is not.
    let telling = told.iter().filter(|(.., still)| quiet || !still);
    let what = kinds(telling.map(|(what, ..)| what.as_str()));
    let details: Vec<&str> = told.iter().map(|(_, detail, _)| detail.as_str()).collect();
    let details: Vec<&str> = details.into_iter().filter(|d| !d.is_empty()).collect();
    Glance {
        what,
        detail: shorten(&details.join("; ")),
        way: if quiet { Way::Heartbeat } else { Way::Peer },
        session: None,
    }
}

/// What a batch is made of: `2× append term 3; vote granted term 3`.
fn kinds<'t>(told: impl Iterator<Item = &'t str>) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for what in told {
        match kinds.iter_mut().find(|(kind, _)| *kind == what) {
            Some((_, n)) => *n += 1,
            None => kinds.push((what, 1)),
        }
    }
    let words = kinds.iter().take(BATCH_TOLD).map(|(kind, n)| match n {
        1 => (*kind).to_owned(),
        n => format!("{n}× {kind}"),
    });
    let words: Vec<String> = words.collect();
    match kinds.len().saturating_sub(BATCH_TOLD) {
        _ if kinds.is_empty() => "POST /peer".to_owned(),
        0 => words.join("; "),
        more => format!("{}; {more} more kinds", words.join("; ")),
    }
}

/// One message between nodes: its kind and its term, its particulars, and whether it says nothing new.
fn message(message: &Value) -> Option<(String, String, bool)> {
    let (kind, value) = message.as_object()?.iter().next()?;
    let term = value["term"].as_u64().or(value["report"]["term"].as_u64());
    let term = term.map_or_else(String::new, |term| format!(" term {term}"));
    let is = |name: &str| value[name].as_bool() == Some(true);
    let entries = value["entries"].as_array().map_or(&[][..], Vec::as_slice);
    let (what, detail, quiet) = match kind.as_str() {
        "append" if entries.is_empty() && value["entries"].is_array() => {
            ("heartbeat".to_owned(), String::new(), true)
        }
        "append" => ("append".to_owned(), entries_told(entries), false),
        "append-answer" => {
            let matched = value["matched"].as_u64();
            let refused = value["rejection"].is_object();
            let word = if refused {
                "append refused"
            } else {
                "append answer"
            };
            let upto = matched.map_or_else(String::new, |n| format!("up to {n}"));
            (word.to_owned(), upto, !refused)
        }
        "vote-request" if is("pre") => ("may I ask for votes?".to_owned(), String::new(), false),
        "vote-request" => ("vote for me?".to_owned(), String::new(), false),
        "vote-answer" => {
            let word = if is("granted") {
                "vote granted"
            } else {
                "vote denied"
            };
            let pre = if is("pre") { " (only asked)" } else { "" };
            (format!("{word}{pre}"), String::new(), false)
        }
        other => (other.to_owned(), String::new(), false),
    };
    Some((what + &term, detail, quiet))
}

fn entries_told(entries: &[Value]) -> String {
    let told = entries.iter().filter_map(|entry| {
        let (kind, of) = match &entry["command"] {
            Value::Object(command) => command.iter().next()?,
            Value::String(word) => return Some(word.clone()),
            _ => return None,
        };
        let value = ["element", "value", "new", "by", "write", "amount"]
            .iter()
            .find_map(|name| of.get(name));
        let value = value.map_or_else(String::new, |value| format!(" {value}"));
        Some(format!(
            "{kind} {}{value}",
            of["key"].as_str().unwrap_or_default()
        ))
    });
    let told: Vec<String> = told.collect();
    told.join(", ")
}

/// JSON whose end may be missing: cut back to what is whole, and closed.
fn mended(text: &str) -> Option<Value> {
    if let Ok(whole) = serde_json::from_str(text) {
        return Some(whole);
    }
    let (mut open, mut whole) = (Vec::new(), None);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' if open.pop() == Some(c) => whole = Some((at + 1, open.clone())),
            '}' | ']' => return None,
            ',' => whole = Some((at, open.clone())),
            _ => {}
        }
    }
    let (end, open) = whole?;
    let closing: String = open.iter().rev().collect();
    serde_json::from_str(&format!("{}{closing}", &text[..end])).ok()
}

fn shorten(text: &str) -> String {
    if text.chars().nth(DETAIL_CHARS).is_none() {
        return text.to_owned();
    }
    text.chars().take(DETAIL_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicas::single_leader::{Append, AppendAnswer, Command, Entry, Message};
    use crate::replicas::{LogPosition, NodeName, Term};
    use crate::server::peers::PeerBody;
    use std::sync::Arc;

    /// The bytes that a node really sends.
    fn sent(messages: Vec<Message>) -> Vec<u8> {
        let from = NodeName::from("n1");
        let body = serde_json::to_string(&PeerBody { from, messages }).unwrap();
        format!("POST /peer HTTP/1.1\r\nhost: 10.77.2.2:8000\r\n\r\n{body}").into_bytes()
    }

    fn append(entries: Vec<Entry>) -> Message {
        Message::Append(Append {
            term: Term(3),
            round: 9,
            previous: (Term(2), LogPosition(4)),
            entries: entries.into_iter().map(Arc::new).collect(),
            committed: LogPosition(4),
            admit: false,
            incarnation: None,
        })
    }

    fn add(element: u64) -> Entry {
        Entry {
            term: Term(3),
            position: LogPosition(5),
            command: Command::Add {
                key: "s0".into(),
                element: element.into(),
            },
        }
    }

    fn told(bytes: &[u8]) -> (String, String, Way) {
        let seen = glance(bytes).unwrap();
        (seen.what, seen.detail, seen.way)
    }

    fn words(what: &str, detail: &str, way: Way) -> (String, String, Way) {
        (what.to_owned(), detail.to_owned(), way)
    }

    #[test]
    fn messages_between_nodes_are_told_as_they_are_sent() {
        let answer = Message::AppendAnswer(AppendAnswer {
            term: Term(3),
            round: 9,
            matched: LogPosition(5),
            voter: true,
            rejection: None,
            incarnation: 1,
        });
        let vote = Message::VoteRequest {
            handed_over: false,
            term: Term(4),
            pre: false,
            last: (Term(3), LogPosition(5)),
        };
        let granted = Message::VoteAnswer {
            term: Term(4),
            pre: false,
            granted: true,
        };
        let heartbeat = words("heartbeat term 3", "", Way::Heartbeat);
        assert_eq!(told(&sent(vec![append(Vec::new())])), heartbeat);
        let two = words("append term 3", "add s0 17, add s0 18", Way::Peer);
        assert_eq!(told(&sent(vec![append(vec![add(17), add(18)])])), two);
        let answered = words("append answer term 3", "up to 5", Way::Heartbeat);
        assert_eq!(told(&sent(vec![answer])), answered);
        let votes = words("vote for me? term 4; vote granted term 4", "", Way::Peer);
        assert_eq!(told(&sent(vec![vote, granted])), votes);
        let quiet = append(Vec::new());
        let batch = vec![append(vec![add(17)]), quiet, append(vec![add(18)])];
        let twice = words("2× append term 3", "add s0 17; add s0 18", Way::Peer);
        assert_eq!(told(&sent(batch)), twice);
    }

    #[test]
    fn clients_and_their_answers() {
        let read = b"GET /kv/x HTTP/1.1\r\nX-Schism-Session: 3\r\n\r\n";
        assert_eq!(told(read), words("GET /kv/x", "", Way::Request));
        let done =
            b"HTTP/1.1 200 OK\r\n\r\n{\"value\":[1,2],\"node\":\"n1\",\"term\":3,\"version\":8}";
        assert_eq!(told(done), words("200", "value=[1,2], term=3", Way::Answer));
        let refused =
            b"HTTP/1.1 503 Service Unavailable\r\n\r\n{\"error\":\"no-leader\",\"message\":\"x\"}";
        assert_eq!(told(refused), words("503 no-leader", "", Way::Answer));
        let sent_on = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://n2/\r\n\r\n{\"error\":\"redirect\"}";
        assert_eq!(told(sent_on), words("307", "to http://n2/", Way::Answer));
        let heard = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(told(heard).2, Way::Heard);
    }

    #[test]
    fn bytes_that_are_cut_anywhere_are_no_trouble() {
        let whole = sent(vec![append(vec![add(17), add(18)])]);
        for end in 0..whole.len() {
            let seen = glance(&whole[..end]);
            assert!(seen.is_none_or(|s| !s.what.is_empty()), "{end}");
        }
        // The second entry is cut off.
        let element = whole.windows(2).rposition(|bytes| bytes == b"18");
        let cut = element.unwrap() - 20;
        assert_eq!(
            told(&whole[..cut]),
            words("append term 3", "add s0 17", Way::Peer)
        );
    }

    #[test]
    fn bytes_that_are_anything_are_no_trouble() {
        for bytes in [
            &b"POST /peer HTTP/1.1\r\n\r\n{\"messages\":[[{]}]}"[..],
            b"POST /peer HTTP/1.1\r\n\r\n{\"messages\":[7,{},{\"append\":[]},{\"\\u0000\":null}]}",
            b"HTTP/1.1 \xff\xfe\r\n\r\n\xff",
            b"HTTP/1.1",
            b"",
            b"\r\n\r\n",
        ] {
            let seen = glance(bytes);
            assert!(seen.is_none_or(|s| s.detail.chars().count() <= DETAIL_CHARS));
        }
    }
}
