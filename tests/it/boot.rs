//! Starting, ending and refusing to start.

use crate::server::{PATIENCE, PLANS, Server, Setup, TempDir, etcd, free_port, wait};
use engine::pb::etcdserverpb::{PutRequest, RangeRequest};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Instant;

#[test]
fn everything_is_there_after_a_restart_under_every_plan() {
    for plan in PLANS {
        let dir = TempDir::new("restart");
        let mut server = Server::start(dir.path(), Setup::with(plan));
        let mut client = server.client();
        let mut revision = 1;
        for number in 0..50 {
            let put = PutRequest {
                key: format!("k{number:02}").into(),
                value: format!("v{number}").into(),
                ..Default::default()
            };
            let answer = client.put(&put, Instant::now() + PATIENCE).unwrap();
            revision += 1;
            assert_eq!(answer.header.unwrap().revision, revision);
        }
        assert_eq!(server.end(Signal::SIGTERM).signal(), Some(15), "the shell must see 143");
        server = server.restart();
        let get = RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
        let answer = server.client().range(&get, Instant::now() + PATIENCE).unwrap();
        assert_eq!((answer.count, answer.header.unwrap().revision), (50, revision));
        assert_eq!(server.end(Signal::SIGINT).signal(), Some(2), "the shell must see 130");
    }
}

#[test]
fn the_first_entries_are_etcds() {
    let dir = TempDir::new("first");
    let server = Server::start(dir.path(), Setup::default());
    let status = server.client().status(Instant::now() + PATIENCE).unwrap();
    // A conf change, the leader's empty entry, publish, cluster version.
    assert_eq!((status.raft_index, status.raft_term), (4, 2));
    assert_eq!(status.header.as_ref().unwrap().revision, 1);
    assert_eq!((status.version.as_str(), status.storage_version.as_str()), ("3.7.1", "3.7.0"));
    assert_eq!(status.leader, status.header.unwrap().member_id);
    let log = server.log_when_ready();
    for text in [
        "ready to serve client requests",
        "published local member to cluster through raft",
        "set initial cluster version",
        "became leader at term 2",
        "core plan",
    ] {
        assert!(log.contains(text), "`{text}` is not in the log:\n{log}");
    }
    for line in log.lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(["debug", "info", "warn"].contains(&json["level"].as_str().unwrap()), "{line}");
        for key in ["ts", "caller", "msg"] {
            assert!(json[key].is_string(), "{key} in {line}");
        }
    }
}

/// Arguments, exit code, and what must stand on stderr.
fn refused(args: &[&str], code: i32, expect: &[&str]) {
    let mut child =
        etcd().args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = wait(&mut child);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(status.code(), Some(code), "{args:?}: {text}");
    for part in expect {
        assert!(text.contains(part), "{args:?}: `{part}` is not in: {text}");
    }
}

#[test]
fn refusals_name_the_input_and_the_next_step() {
    let dir = TempDir::new("refused");
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["--lissten-client-urls=x"], 2, &["listen-client-urls"]),
        (&["extra"], 1, &["extra"]),
        (&["--version"], 0, &["etcd Version: 3.7.1"]),
        (&["--help"], 0, &["--data-dir"]),
        (&["--heartbeat-interval=1000", "--election-timeout=1000"], 1, &["heartbeat", "election"]),
        (&["--client-cert-auth"], 1, &["client-cert-auth"]),
        (&["--quota-backend-bytes=5"], 1, &["quota-backend-bytes"]),
        (&["--initial-cluster=default=http://localhost:2380,b=http://localhost:3380"], 1, &["initial-cluster"]),
        (
            &["--listen-client-urls=http://example.com:1", "--advertise-client-urls=http://example.com:1"],
            1,
            &["example.com"],
        ),
        (&["--cores=raft:9"], 1, &["cores"]),
    ];
    for (args, code, expect) in cases {
        let mut all = vec!["--data-dir", data];
        if *code == 2 || args.contains(&"extra") {
            all.clear();
        }
        all.extend_from_slice(args);
        refused(&all, *code, expect);
    }
}

#[test]
fn directories_that_are_not_ours_are_refused() {
    let dir = TempDir::new("foreign");
    let with_db = dir.path().join("with-db");
    fs::create_dir_all(with_db.join("member/snap")).unwrap();
    fs::write(with_db.join("member/snap/db"), b"bolt").unwrap();
    refused(&["--data-dir", with_db.to_str().unwrap()], 1, &["member/snap/db"]);
    assert_eq!(fs::read(with_db.join("member/snap/db")).unwrap(), b"bolt", "a refused directory is left as it was");

    let a_file = dir.path().join("a-file");
    fs::write(&a_file, b"").unwrap();
    refused(&["--data-dir", a_file.to_str().unwrap()], 1, &["a-file"]);
}

#[test]
fn a_second_server_on_the_directory_is_refused() {
    let dir = TempDir::new("locked");
    let server = Server::start(dir.path(), Setup::default());
    let (client, peer) = (free_port(), free_port());
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let data = dir.path().join("data");
    let args = [
        "--data-dir",
        data.to_str().unwrap(),
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
        "--listen-peer-urls",
        &peer,
    ];
    refused(&args, 1, &["locked by another process"]);
    assert_eq!(server.http("GET", "/health").0, 200);
}

#[test]
fn a_taken_port_is_named() {
    let dir = TempDir::new("taken");
    let server = Server::start(dir.path(), Setup::default());
    let other = TempDir::new("taken-other");
    let url = server.endpoint();
    let data = other.path().join("data");
    let args = ["--data-dir", data.to_str().unwrap(), "--listen-client-urls", &url, "--advertise-client-urls", &url];
    refused(&args, 1, &[&server.client_port.to_string(), "address already in use"]);
}

#[test]
fn directories_are_private_and_the_log_is_named_as_etcd_names_it() {
    let dir = TempDir::new("private");
    let server = Server::start(dir.path(), Setup::default());
    for path in ["data", "data/member", "data/member/wal", "data/member/snap"] {
        let mode = fs::metadata(dir.path().join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{path}");
    }
    let segment = server.wal_dir().join("0000000000000000-0000000000000000.wal");
    let metadata = fs::metadata(segment).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, 64_000_000));
}
