//! What the report says of captures: made by hand, and beside a run that lost something.

use super::page::Page;
use super::{anomaly, input, lossy_run, violated};
use crate::capture::{Captures, Lost, Message, Traffic};
use crate::report::html;
use schism_checkers::verdict::Verdict;
use schism_history::History;
use schism_targets::glance::{Glance, Way};
use serde_json::json;
use std::net::Ipv4Addr;
use std::time::Duration;

/// When the run began: since 1970.
const ORIGIN: Duration = Duration::from_secs(1_700_000_000);
const N1: usize = 0;
const N2: usize = 1;
const CLIENTS: usize = 2;

fn at(us: u64) -> Duration {
    ORIGIN + Duration::from_micros(us)
}

fn message((from, to): (usize, usize), us: u64, what: &str, way: Way) -> Message {
    let (what, detail) = what.split_once(": ").unwrap_or((what, ""));
    let port = |host: usize| if host == CLIENTS { 40_000 } else { 8000 };
    Message {
        from,
        to,
        ports: (port(from), port(to)),
        sent: at(us),
        arrived: Some(at(us + 40)),
        glance: Some(Glance {
            what: what.to_owned(),
            detail: detail.to_owned(),
            way,
            session: (way == Way::Request).then_some(1),
        }),
        sign: "data",
        again: false,
        packets: 1,
        lost: 0,
        unknown: 0,
        torn: false,
        bytes: 100,
    }
}

fn lost(message: Message) -> Message {
    Message {
        arrived: None,
        lost: 1,
        ..message
    }
}

fn captures(messages: Vec<Message>) -> Captures {
    let mut traffic = Traffic {
        hosts: ["n1", "n2", "clients"].map(str::to_owned).to_vec(),
        messages,
        ..Traffic::default()
    };
    let of = |(place, m): (usize, &Message)| {
        (m.lost > 0).then_some(Lost {
            at: m.sent,
            link: (m.from, m.to),
            message: Some(place),
            sign: m.sign,
            length: 100,
        })
    };
    traffic.lost = traffic.messages.iter().enumerate().filter_map(of).collect();
    Captures {
        traffic,
        addresses: (1..4).map(|n| Ipv4Addr::new(10, 77, n, 2)).collect(),
        origin: ORIGIN,
        kept: true,
    }
}

/// Process 1 adds 2 at 250 ms, while n1 is cut off; n1 acknowledges, and cannot tell n2.
fn story() -> Vec<Message> {
    let beat = |us: u64| message((N2, N1), us, "heartbeat term 3", Way::Heartbeat);
    vec![
        message(
            (CLIENTS, N1),
            249_000,
            "POST /set/s: element=9",
            Way::Request,
        ),
        message(
            (CLIENTS, N1),
            250_200,
            "POST /set/s: element=2",
            Way::Request,
        ),
        lost(message(
            (N1, N2),
            250_400,
            "append term 3: add s 1, add s 2",
            Way::Peer,
        )),
        message((N1, CLIENTS), 252_100, "200: value=2, term=3", Way::Answer),
        beat(253_000),
        beat(254_000),
        message((N1, CLIENTS), 254_100, "200: value=7, term=3", Way::Answer),
        lost(message(
            (N1, N2),
            450_000,
            "append term 3 (again): add s 2",
            Way::Peer,
        )),
    ]
}

fn history() -> History {
    lossy_run().history()
}

/// The add of 2 is lost.
fn verdict(history: &History) -> Verdict {
    let ops = history.ops();
    let add = ops.iter().find(|op| op.argument() == &json!(2)).unwrap();
    violated("lost-writes", vec![anomaly(vec![add.index()], "Lost.")])
}

fn page(captures: Option<Captures>) -> (String, Page) {
    let history = history();
    let verdict = verdict(&history);
    let mut input = input(&history, &verdict);
    input.captures = captures;
    let markup = html(&input).unwrap();
    let page = Page::read(&markup);
    (markup, page)
}

#[test]
fn the_messages_of_an_anomaly_are_drawn() {
    let (_, page) = page(Some(captures(story())));
    let prose = page.prose();
    for said in [
        "What passed between the hosts: 6 messages, 2 lost",
        "n1 n2 clients",
        "250.200 POST /set/s: element=2",
        "✗ append term 3: … s 2 …",
        "252.100 200: value=2, term=3",
        "253.000 heartbeat term 3 ×2 until 254.000",
        "400.000 1 partition: heal",
        "Not drawn: 2 messages of other operations.",
    ] {
        assert!(prose.contains(said), "{said:?} is not in {prose}");
    }
    assert!(page.says("n1 to n2 at 250.400 ms: append term 3: … s 2 …; 1 of the kind, lost"));
    // Each lost message is a line and a cross, drawn for a page and for a phone: in the anomaly, and where the fault came the first.
    let crossed = |class: &str| page.all("class").filter(|c| *c == class).count();
    assert_eq!(crossed("msg lost"), 2 * 2 * (2 + 1));
    assert_eq!(crossed("msg own"), 2 * 2 * 2);
}

#[test]
fn the_packets_that_a_fault_stopped_are_listed() {
    let (markup, page) = page(Some(captures(story())));
    let prose = page.prose();
    for said in [
        "packets that it stopped",
        "Stopped by fault 1 partition link lost in the captures from, ms to n1 → n2 1 250.400 250.400",
        "The first 1 of 1 packets that were lost",
        "250.400000 n1 → n2 append term 3: add s 1, add s 2 100",
        "tcpdump -nn -A -r nodes/n1/capture.pcap 'src host 10.77.1.2 and dst host 10.77.2.2'",
        "frame.time_epoch >= 1700000000.250400000",
    ] {
        assert!(prose.contains(said), "{said:?} is not in {prose}");
    }
    assert!(markup.contains("href=\"#drops1\"") && markup.contains("id=\"drops1\""));
}

#[test]
fn what_the_rules_have_counted_is_told_without_captures() {
    let text = lossy_run().text().replace(
        "\"stage\":\"healed\"",
        "\"stage\":\"healed\",\"stopped\":{\"n1>n2\":12,\"n2>n1\":3456,\"no link\":1,\"n1>n3\":\"many\"}",
    );
    let history = schism_history::jsonl::read(text.as_bytes()).unwrap();
    let verdict = verdict(&history);
    let prose = Page::read(&html(&input(&history, &verdict)).unwrap()).prose();
    let rows = "link stopped by its rule from, ms to n1 → n2 12 200.000 400.000 n2 → n1 3\u{202f}456 200.000 400.000 A rule's count";
    assert!(prose.contains(rows), "{prose}");
    assert!(!prose.contains("no link") && !prose.contains("What passed between"));
}

#[test]
fn without_captures_nothing_is_said_of_them_and_what_they_lack_is() {
    let (_, bare) = page(None);
    assert!(!bare.prose().contains("capture") && bare.count("msg") == 0);
    let mut gone = captures(Vec::new());
    gone.kept = false;
    gone.traffic.notes = vec!["The capture of n2 is <not> there.".to_owned()];
    let (_, page) = page(Some(gone));
    assert!(page.prose().contains("The capture of n2 is <not> there.") && page.count("msg") == 0);
}

#[test]
fn what_servers_send_cannot_leave_its_place() {
    let evil =
        "</text></svg><script>alert(1)</script>\u{202e}\u{0}\"'&: ]]> \u{1b}[31m<b onload=\"x\">";
    let long = "y".repeat(1_000_000);
    let mut messages = story();
    for words in [evil, &long, "", ": "] {
        messages.push(message((CLIENTS, N1), 250_900, words, Way::Request));
        messages.push(message((N1, N2), 250_900, words, Way::Peer));
        messages.push(lost(message((N1, N2), 250_901, words, Way::Peer)));
    }
    messages.sort_by_key(|m| m.sent);
    // The strict reader panics at what is not ours.
    let (markup, page) = page(Some(captures(messages)));
    assert!(page.says("<script>alert(1)</script>"));
    assert!(markup.len() < 300_000, "{} bytes", markup.len());
    assert!(!markup.contains('\u{202e}') && !markup.contains('\u{1b}'));
}

#[test]
fn thousands_of_messages_are_bounded_and_counted() {
    let link = |i: u64| [(N1, N2), (N2, N1)][i as usize % 2];
    let mut messages: Vec<Message> = (0..5000)
        .map(|i| {
            message(
                link(i),
                245_000 + i * 20,
                &format!("say {i} term 3"),
                Way::Peer,
            )
        })
        .collect();
    messages.extend(story());
    messages.sort_by_key(|m| m.sent);
    let (markup, page) = page(Some(captures(messages)));
    assert!(markup.len() < 300_000, "{} bytes", markup.len());
    let prose = page.prose();
    assert!(
        prose.contains("What passed between the hosts: 32 messages, 2 lost"),
        "{prose}"
    );
    assert!(prose.contains("messages between nodes, 2 messages of other operations"));
}
