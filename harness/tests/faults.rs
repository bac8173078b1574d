//! Each family of faults, proved from outside the harness. On a machine that forbids namespaces this whole binary is skipped: see `scripts/all-tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use common::{events, passed, start};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// One fault of a run with three nodes: what, with which options.
fn spec(fault: &str, options: &str) -> String {
    format!(
        "seed = 1\nnodes = 3\nworkload = \"register\"\ntime-limit = \"30s\"\nend-after = \"1500ms\"\n\
         [[faults]]\nfault = \"{fault}\"\nat = \"700ms\"\nfor = \"1500ms\"\noptions = {{ {options} }}\n"
    )
}

/// Carries the run out to its end, which must be a pass.
fn run(spec: &str) -> Vec<Value> {
    let out = tempfile::tempdir().unwrap();
    passed(start(out.path(), spec), out.path())
}

/// The fault's event of this stage.
fn stage<'e>(events: &'e [Value], family: &str, stage: &str) -> Option<&'e Value> {
    let mut of_nemesis = events.iter().filter(|e| e["process"] == "nemesis");
    of_nemesis.find(|e| e["f"] == family && e["value"]["stage"] == stage)
}

fn evidence<'e>(events: &'e [Value], family: &str, at: &str) -> &'e str {
    let event = stage(events, family, at).unwrap();
    assert_eq!(event["value"]["proved"], true, "{event}");
    event["value"]["evidence"].as_str().unwrap()
}

/// The state of each of the run's nodes, as the kernel says: a letter, by the node's name.
fn states(out: &Path) -> Vec<(String, char)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let nodes = processes.filter_map(|process| {
        let command = fs::read_to_string(process.path().join("cmdline")).ok()?;
        let words: Vec<&str> = command.split('\0').collect();
        let after = |flag: &str| {
            let place = words.iter().position(|w| *w == flag)?;
            words.get(place + 1).copied()
        };
        let data = after("--data")?;
        let ours = Path::new(data).starts_with(out.canonicalize().ok()?);
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        ours.then(|| (after("--id").unwrap_or_default().to_owned(), state))
    });
    nodes.collect()
}

/// Waits for the stage, while `look` looks on.
fn until(out: &Path, family: &str, at: &str, mut look: impl FnMut()) {
    let begun = Instant::now();
    while stage(&events(out), family, at).is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{family} {at} never came"
        );
        look();
    }
}

#[test]
fn a_node_that_is_stopped_ends_in_good_order_and_comes_back() {
    let events = run(&spec("stop:n2", ""));
    assert_eq!(
        evidence(&events, "stop", "effect"),
        "n2: exited with code 0 (waitpid)"
    );
    assert!(evidence(&events, "stop", "healed").contains("running"));
}

/// From outside: how often the kernel shows the node as stopped, out of many looks.
#[test]
fn a_slow_node_has_a_share_of_its_time() {
    let out = tempfile::tempdir().unwrap();
    let run = start(
        out.path(),
        &spec("slow:n2", "share = \"30%\", period = \"200ms\""),
    );
    until(out.path(), "slow", "effect", || {
        std::thread::sleep(Duration::from_millis(20));
    });
    let (mut stopped, mut looks) = (0, 0);
    until(out.path(), "slow", "heal", || {
        for _ in 0..10 {
            for (name, state) in states(out.path()) {
                assert!(name == "n2" || state != 'T', "{name} is not the one");
                if name == "n2" {
                    looks += 1;
                    stopped += u32::from(state == 'T');
                }
            }
            std::thread::sleep(Duration::from_millis(7));
        }
    });
    assert_eq!(run.wait_with_output().unwrap().status.code(), Some(0));
    let share = f64::from(stopped) / f64::from(looks);
    // 70 % were asked for; a busy machine lengthens whichever of the two it delays.
    assert!(
        looks > 20 && (0.35..0.95).contains(&share),
        "{stopped} of {looks}"
    );
    let events = events(out.path());
    assert!(evidence(&events, "slow", "healed").contains("it was stopped for"));
}

/// How the clients' attempts at the node that is cut off from them have ended.
fn errors(events: &[Value]) -> Vec<String> {
    let time = |at: &str| {
        stage(events, "partition", at).unwrap()["time"]
            .as_u64()
            .unwrap()
    };
    let (from, to) = (time("effect"), time("heal"));
    let during = events
        .iter()
        .filter(|e| (from..to).contains(&e["time"].as_u64().unwrap()));
    let errors = during.filter_map(|e| e["error"]["kind"].as_str());
    errors.map(str::to_owned).collect()
}

#[test]
fn a_reset_answers_at_once_and_a_drop_never() {
    let cut = "partition:n1+n2+n3/clients";
    let drop = errors(&run(&spec(cut, "")));
    let reset = errors(&run(&spec(cut, "with = \"reset\"")));
    // Who is reset tries again at once; who is dropped waits for its time-out.
    assert!(reset.len() > 3 * drop.len().max(1), "{reset:?} {drop:?}");
}

/// From outside: clients are told, again and again, and the links stay as they are.
#[test]
fn connections_are_reset_and_links_stay_whole() {
    let spec = spec("sockets:n1+n2+n3", "of = \"clients\", every = \"100ms\"");
    let events = run(&spec.replace("1500ms\"\noptions", "4s\"\noptions"));
    let time = |at: &str| {
        stage(&events, "sockets", at).unwrap()["time"]
            .as_u64()
            .unwrap()
    };
    let (from, to) = (time("inject"), time("heal"));
    let told = |e: &&Value| {
        (from..to).contains(&e["time"].as_u64().unwrap()) && e["error"]["kind"] == "reset"
    };
    let told = events.iter().filter(told).count();
    assert!(told >= 3, "{told}");
    assert!(evidence(&events, "sockets", "effect").contains("reset"));
    let healed = evidence(&events, "sockets", "healed");
    let rounds = healed.split(" rounds").next().unwrap();
    let rounds: u32 = rounds.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(rounds >= 3, "{healed}");
}

#[test]
fn a_flapping_link_is_cut_again_and_again() {
    let events = run(&spec("partition:n1/n2+n3", "flap = \"200ms\""));
    let healed = evidence(&events, "partition", "healed");
    let cuts = healed.rsplit_once("it was cut ").unwrap().1;
    let cuts: u32 = cuts.trim_end_matches(" times").parse().unwrap();
    assert!((2..=4).contains(&cuts), "{healed}");
}

#[test]
fn an_option_that_no_family_has_is_refused() {
    for (fault, options, says) in [
        ("slow:one", "share = \"0%\"", "more than 0%"),
        ("slow:one", "speed = 3", "it has: share, period"),
        ("kill:one", "speed = 3", "it has: none"),
        ("partition:one", "with = \"love\"", "neither drop nor reset"),
    ] {
        let out = tempfile::tempdir().unwrap();
        let output = start(out.path(), &spec(fault, options))
            .wait_with_output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(254), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

/// Seconds ahead, as the node itself says.
fn ahead_s(evidence: &str) -> f64 {
    let words: Vec<&str> = evidence.split_whitespace().collect();
    let far: f64 = words[1].parse().unwrap();
    let unit = if words[2] == "ms" { 1e-3 } else { 1.0 };
    let side = if words[3].starts_with("behind") {
        -1.0
    } else {
        1.0
    };
    side * far * unit
}

#[test]
fn a_clock_is_wrong_as_far_as_it_was_asked_and_right_again() {
    for (options, far) in [
        ("by = \"+60s\"", 60.0),
        ("by = \"-5m\"", -300.0),
        ("rate = 3", 0.0),
    ] {
        let events = run(&spec("clock:n2", options));
        let effect = evidence(&events, "clock", "effect");
        assert!((ahead_s(effect) - far).abs() < 1.0, "{options}: {effect}");
        assert_eq!(effect.contains("times the speed"), far == 0.0, "{effect}");
        let healed = evidence(&events, "clock", "healed");
        assert!(ahead_s(healed).abs() < 1.0, "{options}: {healed}");
    }
}

#[test]
fn a_clock_jumps_to_and_fro_and_a_restarted_node_keeps_the_wrong_one() {
    let kill = "[[faults]]\nfault = \"kill:n2\"\nat = \"900ms\"\nfor = \"300ms\"\n\
                [[faults]]\nfault = \"clock:n2\"\nat = \"1700ms\"\nfor = \"300ms\"\noptions = { by = \"+10s\" }\n";
    let first = spec("clock:n2", "by = \"+60s\"");
    let events = run(&format!("{first}{kill}"));
    let clocks: Vec<&str> = events
        .iter()
        .filter(|e| e["f"] == "clock" && e["value"]["proved"] == true)
        .map(|e| e["value"]["evidence"].as_str().unwrap())
        .collect();
    let [one, both, alone, none] = clocks.as_slice() else {
        panic!("{clocks:?}")
    };
    // What two faults do adds up; the first one, which is healed last, began before the node was killed.
    for (said, far) in [(one, 60.0), (both, 70.0), (alone, 60.0), (none, 0.0)] {
        assert!((ahead_s(said) - far).abs() < 1.0, "{said}: {far} s");
    }
    run(&spec("clock:all", "by = \"+1s\", strobe = \"50ms\""));
}

/// Lines of the run's own storage: what was there before, and what is left.
#[test]
fn a_loss_of_power_takes_what_was_not_synced_and_nothing_else() {
    let with = |fsync: &str| {
        format!(
            "{}\n[options]\nfsync = \"{fsync}\"\n",
            spec("power:all", "")
        )
    };
    let gone = |evidence: &str| -> u64 {
        let records = evidence.split("; n").skip(1).map(|part| {
            let word = part.split_whitespace().nth(1).unwrap();
            word.parse::<u64>().unwrap_or(0)
        });
        records.sum()
    };
    // Under fsync=always nothing that was acknowledged was not synced: the run passes, whatever else is gone.
    let always = run(&with("always"));
    let (few, many) = (evidence(&always, "power", "effect"), {
        let out = tempfile::tempdir().unwrap();
        let output = start(out.path(), &with("never"))
            .wait_with_output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(1),
            "what was acknowledged is gone"
        );
        let events = events(out.path());
        evidence(&events, "power", "effect").to_owned()
    });
    assert!(
        gone(&many) > 30 && gone(few) < gone(&many),
        "{few} / {many}"
    );
}

/// What the target said of its recovery, by the fault's number.
fn recoveries(events: &[Value]) -> Vec<&Value> {
    let of = |e: &&Value| e["value"]["stage"] == "recovered";
    events.iter().filter(of).map(|e| &e["value"]).collect()
}

#[test]
fn a_recovery_is_timed_and_held_against_what_is_declared() {
    let script = |words: &str| {
        format!(
            "seed = 1\nnodes = 3\nworkload = \"register\"\ntime-limit = \"30s\"\nend-after = \"1500ms\"\nscript = \"{words}\"\n"
        )
    };
    let events = run(&script(
        "at 700ms kill n2 for 1500ms recovers within 25s; at 1s pause n1 for 400ms",
    ));
    let told = recoveries(&events);
    // The pause ends while the kill is in force.
    assert_eq!(told[0]["recovered"], Value::Null, "{told:?}");
    assert_eq!(told[1]["recovered"], true, "{told:?}");
    assert_eq!(told[1]["within_ms"], 25000.0, "{told:?}");

    let out = tempfile::tempdir().unwrap();
    let late = script("at 700ms kill leader for 1500ms recovers within 1ms");
    let output = start(out.path(), &late).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("was to recover from fault 1 (kill n"),
        "{said}"
    );
}

/// Keys with what was read of them.
type Reads = Vec<(String, String)>;

/// What the final reads of a node say, and those of the others.
fn finals(events: &[Value], node: &str) -> (Reads, Reads) {
    let finals = |own: bool| {
        let mut reads: Vec<_> = events
            .iter()
            .filter(|e| e["final"] == true && e["type"] == "ok" && (e["node"] == node) == own)
            .map(|e| (e["key"].to_string(), e["value"].to_string()))
            .collect();
        reads.sort();
        reads.dedup();
        reads
    };
    (finals(true), finals(false))
}

/// From outside: the others say that they are fewer, and then, that they are as many as before; it comes back empty and ends with what they have.
#[test]
fn a_node_leaves_and_joins_empty() {
    let events = run(&spec("membership:follower", "do = \"leave\""));
    let node = &stage(&events, "membership", "inject").unwrap()["value"]["nodes"][0];
    let node = node.as_str().unwrap();
    let effect = evidence(&events, "membership", "effect");
    let (members, _) = effect.split_once(';').unwrap();
    assert!(
        members.contains("the members are n") && !members.contains(node),
        "{effect}"
    );
    assert!(effect.contains("nothing is left"), "{effect}");
    let healed = evidence(&events, "membership", "healed");
    assert!(healed.contains("the members are n1, n2, n3"), "{healed}");
    let (own, others) = finals(&events, node);
    assert!(!own.is_empty() && own == others, "{own:?} {others:?}");
}

/// From outside: it is gone with all that it had, and in the end it has what the others have, which came over the network.
#[test]
fn a_replaced_node_is_empty_and_catches_up() {
    let events = run(&spec("membership:follower", ""));
    let effect = evidence(&events, "membership", "effect");
    assert!(effect.contains("bytes gone, nothing is left"), "{effect}");
    let node = &stage(&events, "membership", "inject").unwrap()["value"]["nodes"][0];
    let (own, others) = finals(&events, node.as_str().unwrap());
    assert!(!own.is_empty() && own == others, "{own:?} {others:?}");
    assert!(own.iter().any(|(_, value)| value != "null"), "{own:?}");
}

/// From outside: `/proc` shows the node as stopped, or does not show it, and shows it again after the heal.
#[test]
fn the_kernel_shows_who_is_paused_and_who_is_gone() {
    for (family, while_there) in [("pause", Some('T')), ("kill", None)] {
        let out = tempfile::tempdir().unwrap();
        let run = start(
            out.path(),
            &spec(&format!("{family}:n2"), "").replace("1500ms\"\noptions", "6s\"\noptions"),
        );
        let of = |name: &str| {
            let all = states(out.path());
            all.iter()
                .find(|(id, _)| id == name)
                .map(|(_, state)| *state)
        };
        until(out.path(), family, "effect", || {
            std::thread::sleep(Duration::from_millis(5));
        });
        let shown = (of("n1"), of("n2"));
        assert!(
            stage(&events(out.path()), family, "heal").is_none(),
            "looked too late on this machine"
        );
        assert_eq!(shown.1, while_there, "{family}: {shown:?}");
        assert!(
            shown.0.is_some_and(|state| state != 'T'),
            "{family}: {shown:?}"
        );
        until(out.path(), family, "healed", || {
            std::thread::sleep(Duration::from_millis(5));
        });
        let after = of("n2");
        assert!(
            after.is_some_and(|state| state != 'T'),
            "{family}: {after:?}"
        );
        assert_eq!(run.wait_with_output().unwrap().status.code(), Some(0));
    }
}
