//! Captures that are made by hand: what was sent, what arrived, and what is said of it.

use super::fate::Capture;
use super::read::{Frame, Parts, frame, records};
use super::roll::Rolling;
use super::{Fate, Message, PARTS, Traffic, Window, part};
use etherparse::PacketBuilder;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// When the captures begin: since 1970.
const BEGUN: Duration = Duration::from_secs(1_700_000_000);
const HOSTS: [&str; 3] = ["n1", "n2", "clients"];

fn address(host: usize) -> [u8; 4] {
    [10, 77, host as u8 + 1, 2]
}

fn at(ms: u64) -> Duration {
    BEGUN + Duration::from_millis(ms)
}

/// A segment of TCP from one host to another, with the number that its sender's kernel gave it.
#[derive(Clone, Copy)]
struct Segment<'a> {
    link: (usize, usize),
    id: u16,
    sequence: u32,
    sign: char,
    carries: &'a [u8],
}

impl Segment<'_> {
    fn bytes(self) -> Vec<u8> {
        let (from, to) = self.link;
        let mut ip = etherparse::Ipv4Header::new(
            0,
            64,
            etherparse::IpNumber::TCP,
            address(from),
            address(to),
        )
        .unwrap();
        ip.identification = self.id;
        let tcp = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ip(etherparse::IpHeaders::Ipv4(
                ip,
                etherparse::Ipv4Extensions::default(),
            ))
            .tcp(40_000 + from as u16, 8000, self.sequence, 64_000);
        let tcp = match self.sign {
            'S' => tcp.syn(),
            'R' => tcp.rst(),
            'F' => tcp.fin().ack(1),
            _ => tcp.ack(1),
        };
        let mut bytes = Vec::new();
        tcp.write(&mut bytes, self.carries).unwrap();
        bytes
    }
}

/// What passes the router: each packet in the captures of those hosts on whose links it was seen.
#[derive(Default)]
struct Tape {
    taken: [Vec<(Duration, Vec<u8>)>; 3],
    gaps: Vec<(Duration, Duration)>,
}

impl Tape {
    fn sent(mut self, ms: u64, segment: Segment<'_>) -> Self {
        self.taken[segment.link.0].push((at(ms), segment.bytes()));
        self
    }

    fn arrived(mut self, ms: u64, segment: Segment<'_>) -> Self {
        self.taken[segment.link.1].push((at(ms), segment.bytes()));
        self
    }

    fn carried(self, ms: u64, segment: Segment<'_>) -> Self {
        self.sent(ms, segment).arrived(ms, segment)
    }

    fn windows(&self) -> Vec<Window> {
        let window = |(host, name): (usize, &&str)| Window {
            host: (*name).to_owned(),
            ip: Ipv4Addr::from(address(host)),
            begun: BEGUN,
            ended: Some(at(10_000)),
            gaps: if host == 1 {
                self.gaps.clone()
            } else {
                Vec::new()
            },
        };
        HOSTS.iter().enumerate().map(window).collect()
    }

    fn traffic(&self) -> Traffic {
        self.with_parts(1)
    }

    fn with_parts(&self, parts: usize) -> Traffic {
        let frames = |host: usize| -> Vec<Frame<'_>> {
            let taken = self.taken[host].iter();
            taken
                .filter_map(|(at, bytes)| frame(*at, bytes.len() as u32, bytes))
                .collect()
        };
        let windows = self.windows();
        let captures = windows.iter().enumerate();
        let captures: Vec<Capture<'_>> = captures
            .map(|(host, w)| Capture::new(w, frames(host), parts, true))
            .collect();
        Traffic::of(&captures)
    }

    /// Writes them as a run does.
    fn write(&self, folder: &Path) {
        for (host, name) in HOSTS.iter().enumerate() {
            let mut rolling = Rolling::create(&folder.join(name)).unwrap();
            for (at, bytes) in &self.taken[host] {
                rolling.write(*at, bytes.len(), bytes).unwrap();
            }
            rolling.flush().unwrap();
        }
    }
}

const REQUEST: &[u8] = b"POST /peer HTTP/1.1\r\n\r\n{\"from\":\"n1\",\"messages\":[{\"append\":{\"term\":3,\"entries\":[]}}]}";

fn segment(id: u16, sequence: u32, carries: &[u8]) -> Segment<'_> {
    Segment {
        link: (0, 1),
        id,
        sequence,
        sign: 'A',
        carries,
    }
}

fn told(traffic: &Traffic) -> Vec<(String, Fate)> {
    let told = |m: &Message| (Traffic::words(m), m.fate());
    traffic.messages.iter().map(told).collect()
}

fn words(text: &str, fate: Fate) -> (String, Fate) {
    (text.to_owned(), fate)
}

#[test]
fn what_never_went_out_was_lost_and_what_is_sent_again_is_another_packet() {
    let (first, again) = (segment(7, 100, REQUEST), segment(8, 100, REQUEST));
    let traffic = Tape::default()
        .sent(10, first)
        .sent(210, again)
        .arrived(215, again)
        .traffic();
    assert_eq!(
        told(&traffic),
        [
            words("heartbeat term 3", Fate::Lost),
            words("heartbeat term 3 (again)", Fate::Delivered)
        ]
    );
    assert_eq!(traffic.messages[1].arrived, Some(at(215)));
    let lost: Vec<_> = traffic
        .lost
        .iter()
        .map(|l| (l.at, l.link, l.message))
        .collect();
    assert_eq!(lost, [(at(10), (0, 1), Some(0))]);
    assert!(traffic.notes.is_empty(), "{:?}", traffic.notes);
}

#[test]
fn a_message_is_lost_in_part_where_one_of_its_segments_is() {
    let traffic = Tape::default()
        .carried(10, segment(1, 100, REQUEST))
        .sent(11, segment(2, 100 + REQUEST.len() as u32, &[b'x'; 700]))
        .carried(12, segment(3, 800 + REQUEST.len() as u32, &[b'y'; 50]))
        .traffic();
    assert_eq!(told(&traffic), [words("heartbeat term 3", Fate::Partly)]);
    let message = &traffic.messages[0];
    assert_eq!((message.packets, message.lost), (3, 1));
    assert_eq!(message.bytes, REQUEST.len() as u64 + 750);
    assert_eq!(traffic.lost[0].length, 700);
}

#[test]
fn a_packet_that_goes_out_in_pieces_has_arrived_and_one_that_comes_twice_did_so_once() {
    let whole = [b'z'; 3000];
    let pieces = Tape::default()
        .sent(10, segment(5, 100, &whole))
        .arrived(11, segment(5, 100, &whole[..1448]))
        .arrived(11, segment(6, 1548, &whole[..1448]));
    assert_eq!(told(&pieces.traffic()), [words("data", Fate::Partly)]);
    let last = pieces.arrived(12, segment(7, 2996, &whole[..104]));
    assert_eq!(told(&last.traffic()), [words("data", Fate::Delivered)]);
    let twice = Tape::default()
        .carried(10, segment(5, 100, REQUEST))
        .arrived(11, segment(5, 100, REQUEST));
    assert_eq!(
        told(&twice.traffic()),
        [words("heartbeat term 3", Fate::Delivered)]
    );
}

#[test]
fn of_two_that_look_alike_the_later_one_has_arrived() {
    let connect = Segment {
        sign: 'S',
        ..segment(0, 9, b"")
    };
    let traffic = Tape::default()
        .sent(10, connect)
        .sent(1010, connect)
        .arrived(1011, connect)
        .traffic();
    assert_eq!(
        told(&traffic),
        [
            words("connect", Fate::Lost),
            words("connect", Fate::Delivered)
        ]
    );
}

#[test]
fn a_reset_that_nobody_sent_is_the_routers_and_a_bare_acknowledgement_is_no_message() {
    let reset = Segment {
        link: (1, 0),
        sign: 'R',
        ..segment(0, 5, b"")
    };
    let bare = segment(3, 100, b"");
    let traffic = Tape::default().arrived(10, reset).sent(20, bare).traffic();
    assert_eq!(
        told(&traffic),
        [words("reset by the cut link", Fate::FromRouter)]
    );
    assert_eq!(
        (traffic.lost.len(), traffic.lost[0].sign),
        (1, "acknowledgement")
    );
}

#[test]
fn what_the_receivers_capture_does_not_cover_is_not_called_lost() {
    let early = Tape::default()
        .sent(10, segment(1, 100, REQUEST))
        .carried(500, segment(2, 400, REQUEST));
    // With as many parts as there can be, older packets may have given way.
    let traffic = early.with_parts(PARTS);
    assert_eq!(traffic.messages[0].fate(), Fate::Unknown);
    assert!(
        traffic.notes[0].contains("The capture of n2 reaches back only to 0.5 s"),
        "{:?}",
        traffic.notes
    );
    assert_eq!(early.traffic().messages[0].fate(), Fate::Lost);
    let gap = Tape {
        gaps: vec![(at(5), at(30))],
        ..early
    };
    assert_eq!(gap.traffic().messages[0].fate(), Fate::Unknown);
    let late = Tape::default().sent(9_500, segment(1, 100, REQUEST));
    assert_eq!(
        late.traffic().messages[0].fate(),
        Fate::Unknown,
        "it may be on its way"
    );
    assert_eq!(early_and_gone().messages[0].fate(), Fate::Unknown);
}

/// A run whose receiver's capture is not there.
fn early_and_gone() -> Traffic {
    let folder = tempfile::tempdir().unwrap();
    let tape = Tape::default().sent(10, segment(1, 100, REQUEST));
    tape.write(folder.path());
    fs::remove_file(folder.path().join("n2").join(part(0))).unwrap();
    let traffic = Traffic::read(folder.path(), &tape.windows()).unwrap();
    assert_eq!(traffic.notes, ["The capture of n2 is not there."]);
    traffic
}

#[test]
fn a_torn_file_is_read_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let tape = Tape::default()
        .carried(10, segment(1, 100, REQUEST))
        .carried(20, segment(2, 400, REQUEST));
    tape.write(folder.path());
    let path = folder.path().join("n1").join(part(0));
    let bytes = fs::read(&path).unwrap();
    for end in 0..bytes.len() {
        fs::write(&path, &bytes[..end]).unwrap();
        let traffic = Traffic::read(folder.path(), &tape.windows()).unwrap();
        // The receiver has both, so both are told.
        assert_eq!(traffic.messages.len(), 2, "{end}");
        assert!(traffic.lost.is_empty());
    }
    let torn = Traffic::read(folder.path(), &tape.windows()).unwrap().notes;
    assert!(
        torn[0].starts_with("A part of the capture of n1 is torn: its last "),
        "{torn:?}"
    );
}

#[test]
fn bytes_that_are_anything_are_no_packets() {
    for bytes in [&b""[..], b"\xff\xff\xff\xff\xff\xff", &[0; 14], &[0x45; 60]] {
        assert_eq!(frame(BEGUN, 9, bytes), None);
    }
    let good = segment(1, 100, REQUEST).bytes();
    for place in 0..good.len().min(60) {
        for value in [0, 0x7f, 0xff] {
            let mut bad = good.clone();
            bad[place] = value;
            // Whatever it says, it is said of what there is.
            let seen = frame(BEGUN, bad.len() as u32, &bad);
            assert!(seen.is_none_or(|f| f.head.len() <= REQUEST.len() + 40));
        }
    }
    assert_eq!(
        records(b"not a capture at all, only text", |_, _, _| {}).as_deref(),
        Some("is no capture")
    );
    let folder = tempfile::tempdir().unwrap();
    assert!(Parts::read(folder.path()).unwrap().bytes.is_empty());
}
