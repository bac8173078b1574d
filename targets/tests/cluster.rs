//! Whole servers on loopback, in this process: HTTP, disk, kill and restart.
//!
//! Nothing here depends on speed: every wait polls with a generous bound. A "kill" drops the server's tasks
//! without the orderly stop, as far as one process can; the byte-exact crashes are in `tests/log_file.rs`.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use schism_targets::client::{Client, Request};
use schism_targets::wire::kind;
use serde_json::{Value, json};
use support::Cluster;

fn write(key: &str, value: Value) -> Request {
    Request::Write {
        key: key.into(),
        value,
    }
}

fn read(key: &str) -> Request {
    Request::Read { key: key.into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_writes_loses_a_node_and_gets_it_back() {
    let mut cluster = Cluster::start(3, &[("snapshot-every", "20")]).await;
    let leader = cluster.recovered().await;
    let mut client = cluster.client(1);
    for i in 0..30 {
        client.call(&write("x", json!(i))).await.unwrap();
    }
    let cas = Request::Cas {
        key: "x".into(),
        old: json!(29),
        new: json!("a/b ü"),
    };
    client.call(&cas).await.unwrap();
    let again = client.call(&cas).await.unwrap_err();
    assert!(
        again.definite && again.current == Some(json!("a/b ü")),
        "{again:?}"
    );

    cluster.kill(leader).await;
    cluster
        .write_until_acknowledged(&mut client, &write("a/b ü", json!(1)))
        .await;
    for i in 0..50 {
        let add = Request::Add {
            key: "s".into(),
            element: json!(i),
        };
        client.call(&add).await.unwrap();
    }
    let ids = [Request::GenerateId, Request::GenerateId];
    let first = client.call(&ids[0]).await.unwrap().value;
    assert_ne!(first, client.call(&ids[1]).await.unwrap().value);

    cluster.restart(leader).await;
    cluster.recovered().await;
    assert_eq!(client.call(&read("x")).await.unwrap().value, json!("a/b ü"));
    let set = Request::ReadSet { key: "s".into() };
    let everywhere = cluster.read_everywhere(&set).await;
    assert_eq!(everywhere[0], json!((0..50).collect::<Vec<_>>()));
    assert!(
        everywhere.iter().all(|value| *value == everywhere[0]),
        "{everywhere:?}"
    );
    assert_eq!(
        cluster.read_everywhere(&read("a/b ü")).await,
        vec![json!(1); 3]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_queues_and_transactions_are_kept_by_all() {
    let mut cluster = Cluster::start(3, &[("snapshot-every", "5")]).await;
    cluster.recovered().await;
    let mut client = cluster.client(1);
    let accounts = ["a&b=c", "d,e"].map(str::to_owned);
    let open = Request::Transact {
        expect: BTreeMap::new(),
        write: accounts.clone().map(|key| (key, json!(10))).into(),
    };
    client.call(&open).await.unwrap();
    let [from, to] = accounts.clone();
    let transfer = |amount| Request::Transfer {
        from: from.clone(),
        to: to.clone(),
        amount,
    };
    client.call(&transfer(4)).await.unwrap();
    let poor = client.call(&transfer(7)).await.unwrap_err();
    assert!(
        poor.definite && poor.kind == kind::INSUFFICIENT_FUNDS && poor.current == Some(json!(6)),
        "{poor:?}"
    );
    let key = || "k".to_owned();
    for element in 1..=4 {
        let element = json!(element);
        let enqueue = Request::Enqueue {
            key: key(),
            element,
        };
        client.call(&enqueue).await.unwrap();
    }
    let head = Request::ReadHead { key: key() };
    assert_eq!(client.call(&head).await.unwrap().value, json!(1));
    let dequeue = |expect| Request::Dequeue { key: key(), expect };
    let first = client.call(&dequeue(None)).await;
    assert_eq!(first.unwrap().value, json!(1));
    let late = client.call(&dequeue(Some(json!(1)))).await.unwrap_err();
    assert_eq!(
        (late.kind.as_str(), late.current),
        (kind::PRECONDITION, Some(json!(2)))
    );
    for by in [5, -2] {
        let key = "sum".to_owned();
        client.call(&Request::Increment { key, by }).await.unwrap();
    }
    cluster.recovered().await;
    for node in 0..3 {
        cluster.kill(node).await;
        cluster.restart(node).await;
    }
    cluster.recovered().await;
    let sum = Request::ReadCounter {
        key: "sum".to_owned(),
    };
    assert_eq!(cluster.read_everywhere(&sum).await, vec![json!(3); 3]);
    let both = Request::ReadMany {
        keys: accounts.to_vec(),
    };
    let balances = json!({"a&b=c": 6, "d,e": 14});
    assert_eq!(cluster.read_everywhere(&both).await, vec![balances; 3]);
    let rest = client.call(&Request::Drain { key: key() }).await;
    assert_eq!(rest.unwrap().value, json!([2, 3, 4]));
    let empty = client.call(&dequeue(None)).await;
    assert_eq!(empty.unwrap_err().kind, kind::EMPTY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_joins_by_snapshot() {
    let mut cluster = Cluster::start(3, &[("snapshot-every", "10")]).await;
    let leader = cluster.recovered().await;
    let mut client = cluster.client(1);
    for i in 0..45 {
        client
            .call(&write(&format!("k{i}"), json!(i)))
            .await
            .unwrap();
    }
    let follower = (leader + 1) % 3;
    cluster.kill(follower).await;
    cluster.wipe(follower);
    for i in 45..60 {
        client
            .call(&write(&format!("k{i}"), json!(i)))
            .await
            .unwrap();
    }
    cluster.restart(follower).await;
    cluster.recovered().await;
    let status = cluster.status(follower).await.unwrap();
    assert!(
        status.counters.snapshots_installed > 0 && status.voter,
        "{status:?}"
    );
    for key in ["k0", "k44", "k59"] {
        let values = cluster.read_everywhere(&read(key)).await;
        assert!(
            values
                .iter()
                .all(|value| *value == values[0] && !value.is_null()),
            "{key}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_combination_starts_and_acknowledges() {
    for ack in ["async", "semi-sync", "majority", "sync"] {
        for (failover, read_mode) in [("off", "leader"), ("naive", "any"), ("consensus", "sticky")]
        {
            let options = [("ack", ack), ("failover", failover), ("read", read_mode)];
            let cluster = Cluster::start(3, &options).await;
            cluster.recovered().await;
            let mut client = cluster.client(7);
            client.call(&write("x", json!(ack))).await.unwrap();
            cluster.recovered().await;
            let answer = client.call(&read("x")).await.unwrap();
            assert_eq!(answer.value, json!(ack), "{options:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sticky_session_has_one_replica_and_moves_when_it_dies() {
    let mut cluster = Cluster::start(3, &[("read", "sticky"), ("ack", "sync")]).await;
    cluster.recovered().await;
    let mut client = cluster.client(5);
    client.call(&write("x", json!(1))).await.unwrap();
    cluster.recovered().await;
    let first = client.call(&read("x")).await.unwrap().node;
    for home in 0..3 {
        let nodes = &cluster.nodes;
        let mut bound = Client::new(nodes, 5, Some(home), Duration::from_secs(20));
        assert_eq!(bound.call(&read("x")).await.unwrap().node, first);
    }
    let index = cluster
        .nodes
        .iter()
        .position(|node| node.name == first)
        .unwrap();
    cluster.kill(index).await;
    let answer = support::poll("a read at another replica", async || {
        client
            .call(&read("x"))
            .await
            .map_err(|error| error.to_string())
    });
    assert_ne!(answer.await.node, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nothing_is_acknowledged_and_refusals_are_definite() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.recovered().await;
    for other in [(leader + 1) % 3, (leader + 2) % 3] {
        cluster.kill(other).await;
    }
    let nodes = &cluster.nodes;
    let mut bound = Client::new(nodes, 1, Some(leader), Duration::from_secs(20));
    let pending = bound.call(&write("x", json!(1))).await.unwrap_err();
    assert!(pending.kind == kind::UNKNOWN && !pending.definite || pending.kind == kind::NO_LEADER);
    support::poll("a definite refusal", async || {
        match bound.call(&write("x", json!(2))).await {
            Err(error) if error.definite && error.kind == kind::NO_LEADER => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let read = bound.call(&read("x")).await.unwrap_err();
    assert!(read.definite);
    let mut elsewhere = Client::new(nodes, 1, Some((leader + 1) % 3), Duration::from_secs(5));
    let refused = elsewhere.call(&write("x", json!(3))).await.unwrap_err();
    assert!(
        refused.definite && refused.kind == kind::UNREACHABLE,
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_have_logs_of_their_own() {
    let mut cluster = Cluster::start(3, &[("partitions", "3")]).await;
    cluster.recovered().await;
    let mut client = cluster.client(1);
    let keys: Vec<String> = (0..30).map(|key| format!("k{key}")).collect();
    for key in &keys {
        let request = write(key, json!(key));
        cluster
            .write_until_acknowledged(&mut client, &request)
            .await;
    }
    let leader = cluster.recovered().await;
    let logs = |status: &schism_targets::wire::Status| -> Vec<u64> {
        let others = status.partitions.iter().map(|other| other.position);
        std::iter::once(status.position).chain(others).collect()
    };
    let positions = logs(&cluster.status(leader).await.unwrap());
    // Each holds its part, and one entry of each term beside.
    assert_eq!(positions.len(), 3);
    assert!(
        positions.iter().all(|position| (4..30).contains(position)),
        "{positions:?}"
    );
    assert!(positions.iter().sum::<u64>() >= 33, "{positions:?}");
    let victim = (leader + 1) % 3;
    cluster.kill(victim).await;
    cluster.restart(victim).await;
    cluster.recovered().await;
    for key in &keys {
        assert_eq!(
            cluster.read_everywhere(&read(key)).await,
            vec![json!(key); 3]
        );
    }
}

/// Bounded: what does not fit is refused at once, with the word when to come back; what was taken is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_is_refused_in_order() {
    let cluster = Cluster::start(1, &[("service-time", "50"), ("queue", "3")]).await;
    cluster.recovered().await;
    let url = format!("http://{}/kv/x", cluster.nodes[0].address);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked: Vec<_> = (0..20)
        .map(|value| {
            let request = http.put(&url).json(&json!({ "value": value }));
            tokio::spawn(async move { request.send().await.unwrap() })
        })
        .collect();
    let (mut taken, mut refused) = (0, 0);
    for answer in asked {
        let answer = answer.await.unwrap();
        match answer.status().as_u16() {
            200 => taken += 1,
            503 => {
                assert_eq!(answer.headers()["retry-after"], "1");
                let body: schism_targets::wire::ErrorBody = answer.json().await.unwrap();
                assert_eq!(body.error, kind::OVERLOADED);
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(
        taken >= 3 && refused >= 1,
        "{taken} taken, {refused} refused"
    );
    assert_eq!(taken + refused, 20);
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_values_are_refused_or_kept() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.recovered().await;
    let mut client = cluster.client(1);
    let refused = client.call(&write("x", nested(122))).await.unwrap_err();
    assert!(
        refused.definite && refused.kind == kind::BAD_REQUEST,
        "{refused:?}"
    );
    client.call(&write("x", nested(32))).await.unwrap();
    client.call(&write("y", json!(1))).await.unwrap();
    cluster.recovered().await;
    for index in 0..3 {
        cluster.kill(index).await;
    }
    for index in 0..3 {
        cluster.restart(index).await;
    }
    cluster.recovered().await;
    assert_eq!(
        cluster.read_everywhere(&read("x")).await,
        vec![nested(32); 3]
    );
    assert_eq!(cluster.read_everywhere(&read("y")).await, vec![json!(1); 3]);
}

/// Not a test: what [`process`] starts. Does nothing where it is run with the others.
#[test]
fn node_process() {
    let Ok(args) = std::env::var(NODE_ARGS) else {
        return;
    };
    let args: Vec<String> = args.lines().map(str::to_owned).collect();
    schism_targets::server::main(&args).unwrap();
}

const NODE_ARGS: &str = "SCHISM_TEST_NODE_ARGS";

struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node in a process of its own: this program again.
fn process(args: &[String], stderr: std::fs::File) -> Process {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "node_process", "--nocapture"])
        .env(NODE_ARGS, args.join("\n"))
        .env("RUST_LOG", "info")
        .stdout(std::process::Stdio::null())
        .stderr(stderr)
        .spawn();
    Process(child.unwrap())
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_log_cannot_be_written_serves() {
    let mut cluster = Cluster::start(1, &[]).await;
    cluster.kill(0).await;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let mut node = process(&cluster.args(0), full.unwrap());
    support::poll("status", async || {
        let ended = node.0.try_wait().unwrap();
        assert!(ended.is_none(), "the node ended: {ended:?}");
        cluster.status(0).await.ok_or("no answer".to_owned())
    })
    .await;
    cluster.recovered().await;
    let mut client = cluster.client(1);
    client.call(&write("x", json!(1))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_in_the_same_folder_ends() {
    let cluster = Cluster::start(1, &[]).await;
    cluster.recovered().await;
    let mut args = cluster.args(0);
    let listen = args.iter().position(|arg| arg == "--listen").unwrap() + 1;
    args[listen] = "127.0.0.1:0".to_owned();
    let said = tempfile::NamedTempFile::new().unwrap();
    let mut second = process(&args, said.reopen().unwrap());
    let ended = support::poll("end of the second node", async || {
        second.0.try_wait().unwrap().ok_or("it runs".to_owned())
    });
    assert!(!ended.await.success());
    let said = std::fs::read_to_string(said.path()).unwrap();
    assert!(said.contains("InUse"), "{said}");
    let mut client = cluster.client(1);
    client.call(&write("x", json!(1))).await.unwrap();
}

/// Method, path, body; the status of the answer, and its kind.
type Case<'c> = (&'c str, &'c str, &'c str, u16, &'c str);

async fn are_refused(cluster: &Cluster, cases: &[Case<'_>]) {
    let base = format!("http://{}", cluster.nodes[0].address);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for (method, path, body, status, kind) in cases {
        let method = method.parse().unwrap();
        let request = http
            .request(method, format!("{base}{path}"))
            .body((*body).to_owned());
        let answer = request.send().await.unwrap();
        let got = answer.status().as_u16();
        let json: Value = answer.json().await.unwrap();
        assert_eq!(
            (got, json["error"].as_str()),
            (*status, Some(*kind)),
            "{path}: {json}"
        );
        assert!(!json["message"].as_str().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_transactions_and_takings_get_a_reason() {
    let cluster = Cluster::start(1, &[]).await;
    cluster.recovered().await;
    let deep = json!({ "write": { "x": nested(33) } }).to_string();
    let (bad, met) = (kind::BAD_REQUEST, kind::PRECONDITION);
    let expecting = r#"{"expect":{"x":1},"write":{"y":1}}"#;
    let cases: [Case<'_>; 16] = [
        ("POST", "/queue/q/dequeue", r#"{"head":1}"#, 400, bad),
        ("POST", "/txn", &deep, 400, bad),
        ("POST", "/txn", "{}", 400, bad),
        ("POST", "/txn", r#"{"write":{}}"#, 400, bad),
        ("POST", "/txn", r#"{"write":{"":1}}"#, 400, bad),
        ("POST", "/txn", expecting, 409, met),
        (
            "POST",
            "/transfer",
            r#"{"from":"a","to":"a","amount":1}"#,
            400,
            bad,
        ),
        (
            "POST",
            "/transfer",
            r#"{"from":"a","to":"b","amount":0}"#,
            400,
            bad,
        ),
        (
            "POST",
            "/transfer",
            r#"{"from":"a","to":"b","amount":-1}"#,
            400,
            bad,
        ),
        (
            "POST",
            "/transfer",
            r#"{"from":"a","to":"b","amount":1}"#,
            409,
            met,
        ),
        ("GET", "/kv", "", 400, bad),
        ("GET", "/kv?key=", "", 400, bad),
        ("GET", "/kv?key=a&lokal=true", "", 400, bad),
        ("POST", "/counter/c", r#"{"by":1.5}"#, 400, bad),
        ("POST", "/queue/q", "{}", 400, bad),
        ("POST", "/queue/q/dequeue", "", 409, kind::EMPTY),
    ];
    are_refused(&cluster, &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_get_a_reason() {
    let cluster = Cluster::start(1, &[]).await;
    cluster.recovered().await;
    let base = format!("http://{}", cluster.nodes[0].address);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let long = format!("/kv/{}", "k".repeat(600));
    let large = format!("{{\"value\":\"{}\"}}", "x".repeat(1 << 20));
    let deep = nested(33);
    let deep_write = json!({ "value": deep }).to_string();
    let deep_old = json!({ "old": deep, "new": 1 }).to_string();
    let deep_new = json!({ "old": 1, "new": { "a": nested(32) } }).to_string();
    let deep_element = json!({ "element": deep }).to_string();
    let deepest = format!("{{\"value\":{}", "[".repeat(100_000));
    let cases: [Case<'_>; 23] = [
        ("PUT", "/kv/x", &deep_write, 400, kind::BAD_REQUEST),
        ("PUT", "/kv/x", &deepest, 400, kind::BAD_REQUEST),
        ("POST", "/kv/x/cas", &deep_old, 400, kind::BAD_REQUEST),
        ("POST", "/kv/x/cas", &deep_new, 400, kind::BAD_REQUEST),
        ("POST", "/set/x", &deep_element, 400, kind::BAD_REQUEST),
        ("PUT", "/kv/x", "{", 400, kind::BAD_REQUEST),
        ("PUT", "/kv/x", "{}", 400, kind::BAD_REQUEST),
        (
            "PUT",
            "/kv/x",
            "{\"value\":1,\"more\":2}",
            400,
            kind::BAD_REQUEST,
        ),
        (
            "PUT",
            "/kv/x?w=two",
            "{\"value\":1}",
            400,
            kind::BAD_REQUEST,
        ),
        ("PUT", "/kv/x?v=2", "{\"value\":1}", 400, kind::BAD_REQUEST),
        ("GET", "/kv/x?w=1", "", 400, kind::BAD_REQUEST),
        ("PUT", "/kv/x?w=2", "{\"value\":1}", 409, kind::PRECONDITION),
        (
            "POST",
            "/members",
            "{\"join\":\"n9\"}",
            409,
            kind::PRECONDITION,
        ),
        (
            "POST",
            "/members",
            "{\"kick\":\"n1\"}",
            400,
            kind::BAD_REQUEST,
        ),
        ("PUT", &long, "{\"value\":1}", 400, kind::BAD_REQUEST),
        ("PUT", "/kv/%ff", "{\"value\":1}", 400, kind::BAD_REQUEST),
        ("GET", "/kv/x?local=maybe", "", 400, kind::BAD_REQUEST),
        ("GET", "/nowhere", "", 404, kind::NOT_FOUND),
        ("DELETE", "/kv/x", "", 405, kind::METHOD),
        ("PUT", "/kv/x", &large, 413, kind::TOO_LARGE),
        ("POST", "/peer", "[]", 400, kind::BAD_REQUEST),
        (
            "POST",
            "/kv/x/cas",
            "{\"old\":1,\"new\":2}",
            409,
            kind::PRECONDITION,
        ),
        ("POST", "/set/x", "{}", 400, kind::BAD_REQUEST),
    ];
    are_refused(&cluster, &cases).await;
    let request = http.put(format!("{base}/kv/x")).body("{\"value\":null}");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let session = http
        .get(format!("{base}/kv/x"))
        .header("x-schism-session", "me");
    assert_eq!(session.send().await.unwrap().status(), 400);
    let wrong = http.get(format!("{base}/set/x")).send().await.unwrap();
    assert_eq!(wrong.status(), 409);
}
