//! Without io_uring the server starts on epoll and says so once; on tmpfs it works too.

use crate::server::{PATIENCE, Server, Setup, TempDir};
use engine::pb::etcdserverpb::{PutRequest, RangeRequest};
use std::time::Instant;

fn put_and_get(server: &Server) {
    let mut client = server.client();
    let put = PutRequest { key: "a".into(), value: "b".into(), ..Default::default() };
    client.put(&put, Instant::now() + PATIENCE).unwrap();
    let get = RangeRequest { key: "a".into(), ..Default::default() };
    assert_eq!(client.range(&get, Instant::now() + PATIENCE).unwrap().kvs[0].value, "b");
}

#[test]
fn a_denied_ring_means_epoll_and_one_warning() {
    let dir = TempDir::new("denied");
    let server = Server::start(dir.path(), Setup { deny_io_uring: true, ..Setup::default() });
    put_and_get(&server);
    let warnings: Vec<String> = server
        .log_when_ready()
        .lines()
        .filter(|l| l.contains("\"warn\"") && l.contains("io_uring"))
        .map(str::to_owned)
        .collect();
    assert_eq!(warnings.len(), 1, "{}", server.log());
    for part in ["EPERM", "epoll", "more CPU per request"] {
        assert!(warnings[0].contains(part), "what was missing, what is used, what it costs: {}", warnings[0]);
    }
}

#[test]
fn a_ring_that_was_asked_for_is_not_replaced() {
    let dir = TempDir::new("asked");
    let mut command = crate::server::etcd();
    command.args(["--reactor=ring", "--data-dir"]).arg(dir.path().join("data"));
    crate::seccomp::deny_io_uring(&mut command);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("io_uring"), "{text}");
}

#[test]
fn tmpfs_works() {
    let path = std::path::Path::new("/dev/shm").join(format!("etcd-uring-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    let server = Server::start(&path, Setup::default());
    put_and_get(&server);
    let server = server.restart();
    put_and_get(&server);
    drop(server);
    std::fs::remove_dir_all(&path).unwrap();
}
