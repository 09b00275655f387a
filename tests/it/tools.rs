//! The tools against a real server: what the quickstart tells a person to type.

use crate::server::{Server, Setup, TempDir};
use std::process::{Command, Output};

fn etcdctl(server: &Server, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcdctl"));
    command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", server.endpoint())).args(args).output().unwrap()
}

fn text(output: &Output) -> (i32, String, String) {
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), of(&output.stdout), of(&output.stderr))
}

#[test]
fn the_quickstart() {
    let dir = TempDir::new("quickstart");
    let server = Server::start(dir.path(), Setup::default());
    for (args, stdout) in [
        (&["put", "foo", "bar"][..], "OK\n"),
        (&["get", "foo"], "foo\nbar\n"),
        (&["get", "foo", "--print-value-only"], "bar\n"),
        (&["del", "foo"], "1\n"),
        (&["get", "foo"], ""),
    ] {
        assert_eq!(text(&etcdctl(&server, args)), (0, stdout.to_owned(), String::new()), "{args:?}");
    }
    let (code, stdout, stderr) = text(&etcdctl(&server, &["endpoint", "health"]));
    assert!(code == 0 && (stdout + &stderr).contains("is healthy: successfully committed proposal: took = "));
    let (code, stdout, _) = text(&etcdctl(&server, &["endpoint", "status", "-w", "table"]));
    assert!(code == 0 && stdout.contains("RAFT APPLIED INDEX") && stdout.contains("3.7.1"), "{stdout}");
    let (code, stdout, _) = text(&etcdctl(&server, &["version"]));
    assert_eq!((code, stdout.as_str()), (0, "etcdctl version: 3.7.1\nAPI version: 3.7\n"));
    let (code, _, stderr) = text(&etcdctl(&server, &["put", "", "x"]));
    assert!(code == 1 && stderr.contains("etcdserver: key is not provided"), "{code} {stderr}");
}

#[test]
fn json_goes_through_the_same_store() {
    let dir = TempDir::new("json");
    let server = Server::start(dir.path(), Setup::default());
    etcdctl(&server, &["put", "foo", "bar"]);
    let (code, stdout, _) = text(&etcdctl(&server, &["get", "foo", "-w", "json"]));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, json["kvs"][0]["key"].as_str(), json["kvs"][0]["value"].as_str()),
        (0, Some("Zm9v"), Some("YmFy"))
    );
    assert_eq!(json["count"], 1);
}
