//! KV through a real connection: what a first user does, and every thread plan doing the same.

use crate::server::{PATIENCE, PLANS, Server, Setup, TempDir};
use engine::pb::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use std::time::Instant;

#[test]
fn put_get_delete_compact_under_every_plan() {
    for plan in PLANS {
        let dir = TempDir::new("kv");
        let server = Server::start(dir.path(), Setup::with(plan));
        let mut client = server.client();
        let deadline = Instant::now() + PATIENCE;
        for number in 0..10 {
            let put = PutRequest { key: format!("k{number}").into(), value: "v".into(), ..Default::default() };
            client.put(&put, deadline).unwrap();
        }
        let all = RangeRequest { key: "k".into(), range_end: "l".into(), limit: 3, ..Default::default() };
        let page = client.range(&all, deadline).unwrap();
        assert_eq!((page.kvs.len(), page.count, page.more), (3, 10, true));
        let delete = DeleteRangeRequest { key: "k3".into(), range_end: "k6".into(), prev_kv: true };
        let deleted = client.delete_range(&delete, deadline).unwrap();
        assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (3, 3));
        let revision = deleted.header.unwrap().revision;
        client.compact(revision, deadline).unwrap();
        let old = RangeRequest { revision: revision - 1, ..all.clone() };
        let error = client.range(&old, deadline).unwrap_err();
        assert_eq!(error.message, "etcdserver: mvcc: required revision has been compacted");
        assert_eq!(client.range(&all, deadline).unwrap().count, 7);
        let hash = client.hash_kv(0, deadline).unwrap();
        assert_eq!((hash.hash_revision, hash.compact_revision), (revision, revision));
    }
}

#[test]
fn a_value_of_a_mebibyte_crosses_the_windows_both_ways() {
    let dir = TempDir::new("large");
    let server = Server::start(dir.path(), Setup::default());
    let mut client = server.client();
    let deadline = Instant::now() + PATIENCE;
    let value: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
    for key in ["a", "b", "c"] {
        let put = PutRequest { key: key.into(), value: value.clone().into(), ..Default::default() };
        client.put(&put, deadline).unwrap();
    }
    let all = RangeRequest { key: "a".into(), range_end: "z".into(), ..Default::default() };
    let answer = client.range(&all, deadline).unwrap();
    assert!(answer.kvs.len() == 3 && answer.kvs.iter().all(|kv| kv.value == value));

    let too_large = PutRequest { key: "d".into(), value: vec![0; 1_600_000].into(), ..Default::default() };
    assert_eq!(client.put(&too_large, deadline).unwrap_err().message, "etcdserver: request is too large");
    let huge = PutRequest { key: "d".into(), value: vec![0; 3 << 20].into(), ..Default::default() };
    let error = client.put(&huge, deadline).unwrap_err();
    assert!(error.message.starts_with("grpc: received message larger than max ("), "{error:?}");
}

#[test]
fn a_log_longer_than_a_segment_is_read_back() {
    let dir = TempDir::new("segments");
    let mut server = Server::start(dir.path(), Setup::default());
    let mut client = server.client();
    let deadline = Instant::now() + PATIENCE;
    for number in 0..90 {
        let put = PutRequest { key: "k".into(), value: vec![number; 1 << 20].into(), ..Default::default() };
        client.put(&put, deadline).unwrap();
    }
    let segments = || {
        std::fs::read_dir(server.wal_dir())
            .unwrap()
            .flatten()
            .filter(|e| e.path().extension().is_some_and(|x| x == "wal"))
            .count()
    };
    assert!(segments() >= 2, "the log was not cut");
    server.kill();
    let server = server.restart();
    let get = RangeRequest { key: "k".into(), ..Default::default() };
    let answer = server.client().range(&get, Instant::now() + PATIENCE).unwrap();
    assert_eq!((answer.kvs[0].value[0], answer.header.unwrap().revision), (89, 91));
}
