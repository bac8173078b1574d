//! The program as its user meets it, where no namespace is needed: bad input, saved histories, registries.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn schism(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_schism"))
        .args(args)
        .stdin(Stdio::piped())
        .output()
        .unwrap()
}

/// One clear line on stderr, exit code 254.
fn refused(args: &[&str], says: &str) {
    let output = schism(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(254), "{args:?}: {stderr}");
    assert!(
        stderr.contains(says),
        "{args:?} should say {says:?}: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(
        stderr.starts_with("error:") || stderr.trim_end().lines().count() == 1,
        "{args:?}: {stderr}"
    );
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn bad_input_is_one_line_and_254() {
    let folder = tempfile::tempdir().unwrap();
    let typed = file(folder.path(), "typed.toml", "nodes = \"three\"\n");
    let unknown = file(folder.path(), "unknown.toml", "noodles = 3\n");
    let broken = file(
        folder.path(),
        "broken.jsonl",
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"\n",
    );
    let overlap = file(
        folder.path(),
        "overlap.jsonl",
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}\n{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}\n",
    );
    refused(&["check", "--stream", "/dev/stdin"], "several times");
    refused(&["run", &typed], "line 1, column 9");
    refused(&["run", &unknown], "noodles");
    refused(&["run", "no-such-spec.toml"], "no-such-spec.toml");
    refused(&["run", "--nodes", "0"], "nodes must be 1");
    refused(&["run", "--nodes", "100000"], "nodes must be 1");
    refused(&["run", "--nodes", "-3"], "unexpected argument");
    refused(&["run", "--set", "ack=perhaps"], "majority");
    refused(&["run", "--set", "akc=majority"], "ack");
    refused(&["run", "--set", "workload.keys=none"], "from 1");
    refused(&["run", "--target", "oracle"], "single-leader");
    refused(&["run", "--nemesis", "partition:n1/n9"], "n9");
    refused(
        &["run", "--nemesis", "partition:ring", "--nodes", "3"],
        "at least 4",
    );
    refused(&["run", "--property", "quick"], "linearizable");
    refused(&["run", "--time-limit", "soon"], "--time-limit");
    refused(&["check", &broken], "line 1, column");
    refused(&["check", &overlap], "still open");
    refused(
        &["check", folder.path().to_str().unwrap()],
        "no history.jsonl",
    );
    refused(
        &["check", "/dev/null", "--property", "lost-writes"],
        "lost-writes",
    );
    refused(&["report", "nowhere.jsonl"], "nowhere.jsonl");
}

#[test]
fn a_place_where_nothing_can_be_written_is_said_before_anything_starts() {
    refused(&["run", "--out", "/proc/nowhere"], "--out");
}

const STALE: &str = r#"{"index":0,"time":0,"process":0,"type":"invoke","f":"write","key":"x","value":1}
{"index":1,"time":1000000,"process":0,"type":"ok","f":"write","key":"x","value":1}
{"index":2,"time":2000000,"process":0,"type":"invoke","f":"write","key":"x","value":2}
{"index":3,"time":3000000,"process":0,"type":"ok","f":"write","key":"x","value":2}
{"index":4,"time":4000000,"process":1,"type":"invoke","f":"read","key":"x","value":null}
{"index":5,"time":5000000,"process":1,"type":"ok","f":"read","key":"x","value":1}
"#;

#[test]
fn a_bare_history_is_checked_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let stale = file(folder.path(), "stale.jsonl", STALE);
    let output = schism(&["check", &stale]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(
        stdout.contains("VIOLATED stale-reads") && stdout.contains("verdict: violation"),
        "{stdout}"
    );

    let output = schism(&["check", &stale, "--json", "--property", "monotonic-reads"]);
    assert_eq!(output.status.code(), Some(0));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["properties"]["monotonic-reads"]["verdict"], "holds");

    let report = folder.path().join("report.html");
    let output = schism(&["report", &stale, "--out", report.to_str().unwrap()]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(fs::read_to_string(report).unwrap().contains("stale-reads"));
}

const QUEUE: &str = r#"{"process":0,"type":"invoke","f":"enqueue","key":"q","value":1}
{"process":0,"type":"ok","f":"enqueue","key":"q","value":1}
{"process":0,"type":"invoke","f":"enqueue","key":"q","value":2}
{"process":0,"type":"ok","f":"enqueue","key":"q","value":2}
{"process":1,"type":"invoke","f":"dequeue","key":"q","value":null}
{"process":1,"type":"ok","f":"dequeue","key":"q","value":2}
"#;

#[test]
fn a_history_is_checked_as_the_model_says() {
    let folder = tempfile::tempdir().unwrap();
    let queue = file(folder.path(), "queue.jsonl", QUEUE);
    let output = schism(&["check", &queue, "--model", "fifo-queue"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("VIOLATED linearizable"), "{stdout}");

    let both = [
        "--property",
        "queue",
        "--property",
        "linearizable",
        "--json",
    ];
    let output = schism(&[&["check", &queue, "--model", "unordered-queue"][..], &both].concat());
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["properties"]["linearizable"]["verdict"], "holds");
    assert!(verdict["properties"]["queue"].is_object());

    refused(&["check", &queue, "--model", "lifo"], "fifo-queue");
    refused(&["check", &queue, "--model", "register"], "event 0");
    refused(
        &[
            "check",
            &queue,
            "--model",
            "fifo-queue",
            "--property",
            "queue",
        ],
        "--property linearizable",
    );
    let cas = QUEUE.replace("dequeue", "cas").replace("enqueue", "write");
    let cas = file(folder.path(), "cas.jsonl", &cas);
    refused(&["check", &cas, "--model", "register"], "use cas-register");
    let help = schism(&["check", "--help"]);
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("multi-register"), "{help}");
}

#[test]
fn a_torn_history_is_checked_as_far_as_it_goes_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let torn = file(folder.path(), "torn.jsonl", &STALE[..STALE.len() - 20]);
    let output = schism(&["check", &torn, "--json"]);
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["stats"]["torn"]["line"], 6, "{verdict}");
}

#[test]
fn registries_are_listed() {
    for what in ["targets", "workloads", "nemeses", "properties", "bugs"] {
        let output = schism(&["list", what]);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty());
        let json = schism(&["list", what, "--json"]).stdout;
        assert!(
            serde_json::from_slice::<Vec<serde_json::Value>>(&json)
                .is_ok_and(|all| !all.is_empty())
        );
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [&["--help"][..], &["--version"], &["run", "--help"]] {
        assert_eq!(schism(args).status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn a_history_survives_the_way_to_edn_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let stale = file(folder.path(), "stale.jsonl", STALE);
    let edn = folder.path().join("stale.edn");
    let back = folder.path().join("back.jsonl");
    let convert = |from: &str, to: &Path| {
        let output = schism(&["convert", from, to.to_str().unwrap()]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    convert(&stale, &edn);
    convert(edn.to_str().unwrap(), &back);
    let text = fs::read_to_string(&back).unwrap();
    assert_eq!(text.split_once('\n').unwrap().1, STALE);
    // A Jepsen history is checked as it is.
    let output = schism(&["check", edn.to_str().unwrap(), "--property", "stale-reads"]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    refused(&["convert", &stale, "history.csv"], ".edn");
    let broken = file(
        folder.path(),
        "broken.edn",
        "{:process 0, :type :begin, :f :read}\n",
    );
    refused(&["check", &broken], "line 1, column 1");
}

/// The same history in memory and as a stream: the same verdict, and stderr says which way.
fn both_ways(path: &str, properties: &[&str], code: i32) -> String {
    let mut args = vec!["check", path];
    args.extend(properties.iter().flat_map(|p| ["--property", p]));
    let in_memory = schism(&args);
    args.push("--stream");
    let streamed = schism(&args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&streamed.stdout), text(&in_memory.stdout), "{args:?}");
    assert_eq!(
        (streamed.status.code(), in_memory.status.code()),
        (Some(code), Some(code)),
        "{args:?}"
    );
    text(&streamed.stderr)
}

const REPLACED_AND_TORN: &str = r#"{"process":0,"type":"invoke","f":"write","key":"x","value":1}
{"process":0,"type":"ok","f":"write","key":"x","value":1}
{"process":0,"type":"invoke","f":"write","key":"x","value":2}
{"process":0,"type":"ok","f":"write","key":"x","value":2}
{"process":1,"type":"invoke","f":"read","key":"x","value":null}
{"process":1,"type":"ok","f":"read","key":"x","value":1}
{"process":1,"type":"invo"#;

#[test]
fn a_history_read_as_a_stream_is_judged_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "history.jsonl", REPLACED_AND_TORN);
    let said = both_ways(&path, &["linearizable", "stale-reads"], 1);
    assert!(said.contains("read as a stream"), "{said}");
    assert!(said.contains("line 7 of the history is torn"), "{said}");
    let tuples = "{:process 0 :type :invoke :f :write :value [7 1]}{:process 0 :type :ok :f :write :value [7 1]}\
                  {:process 0 :type :invoke :f :read :value [7 nil]}{:process 0 :type :ok :f :read :value [7 1]}";
    let path = file(folder.path(), "history.edn", tuples);
    both_ways(&path, &["linearizable", "stale-reads"], 0);
}

#[test]
fn what_needs_the_whole_history_is_unknown_in_a_stream_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "history.jsonl", REPLACED_AND_TORN);
    let output = schism(&["check", &path, "--stream", "--property", "monotonic-reads"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("unknown: monotonic-reads"), "{said}");
}

#[test]
fn broken_input_is_refused_in_a_stream_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<&str> = REPLACED_AND_TORN.lines().collect();
    let broken = file(
        folder.path(),
        "broken.jsonl",
        &format!("{}\n{{\"process\":0,\n{}\n", lines[0], lines[1]),
    );
    refused(&["check", &broken, "--stream"], "line 2, column");
    let overlap = file(
        folder.path(),
        "overlap.jsonl",
        &format!("{0}\n{0}\n", lines[0]),
    );
    refused(&["check", &overlap, "--stream"], "still open");
}
