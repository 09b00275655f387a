//! What a browser, a kubelet and Prometheus see on the client port.

use crate::server::{PATIENCE, PLANS, Server, Setup, TempDir};
use engine::pb::etcdserverpb::PutRequest;
use std::time::Instant;

#[test]
fn health_version_and_unknown_paths() {
    for plan in PLANS {
        let dir = TempDir::new("http");
        let server = Server::start(dir.path(), Setup::with(plan));
        for (method, target, status, body) in [
            ("GET", "/health", 200, r#"{"health":"true","reason":""}"#),
            ("GET", "/health?serializable=true", 200, r#"{"health":"true","reason":""}"#),
            ("GET", "/health?exclude=NOSPACE", 200, r#"{"health":"true","reason":""}"#),
            ("GET", "/version", 200, r#"{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}"#),
            ("GET", "/livez", 200, "ok\n"),
            ("GET", "/readyz", 200, "ok\n"),
            ("GET", "/nothing", 404, "404 page not found\n"),
            ("POST", "/version", 405, "Method Not Allowed\n"),
        ] {
            assert_eq!(server.http(method, target), (status, body.to_owned()), "{method} {target}");
        }
        let (status, body) = server.http("GET", "/readyz?verbose");
        assert_eq!(status, 200);
        assert!(body.contains("[+]linearizable_read ok"), "{body}");
    }
}

#[test]
fn metrics_count_what_happened() {
    let dir = TempDir::new("metrics");
    let server = Server::start(dir.path(), Setup::with(&["--cores=raft:1,shards:2"]));
    let mut client = server.client();
    for _ in 0..5 {
        let put = PutRequest { key: "a".into(), value: "b".into(), ..Default::default() };
        client.put(&put, Instant::now() + PATIENCE).unwrap();
    }
    client.put(&PutRequest::default(), Instant::now() + PATIENCE).unwrap_err();
    let (status, page) = server.http("GET", "/metrics");
    assert_eq!(status, 200);
    for line in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_server_leader_changes_seen_total 1",
        r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 5"#,
        r#"grpc_server_handled_total{grpc_code="InvalidArgument",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
        "etcd_debugging_mvcc_current_revision 6",
        "etcd_mvcc_put_total 5",
    ] {
        assert!(page.lines().any(|l| l == line), "`{line}` is not on the page:\n{page}");
    }
    let synced = page.lines().find_map(|l| l.strip_prefix("etcd_disk_wal_fsync_duration_seconds_count ")).unwrap();
    assert!(synced.parse::<f64>().unwrap() >= 5.0, "{synced}");
}

#[test]
fn the_peer_port_shows_pages_and_nothing_else() {
    let dir = TempDir::new("peer-port");
    let server = Server::start(dir.path(), Setup::with(&["--cores=raft:1,shards:2"]));
    let (status, body) = server.http_at(server.peer_port, "GET", "/version");
    assert!(status == 200 && body.contains("3.7.1"), "{status} {body}");
    // A client that took the wrong port is not served.
    let endpoint = etcd_uring::client::Endpoint::parse(&format!("http://127.0.0.1:{}", server.peer_port)).unwrap();
    let mut client = server.client_of(endpoint);
    let put = PutRequest { key: "a".into(), value: "b".into(), ..Default::default() };
    client.put(&put, Instant::now() + PATIENCE).unwrap_err();
}
