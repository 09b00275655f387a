//! A store built again from the rows of a file must be the store that wrote them; and memory comes back after churn.

use crate::Random;
use engine::apply::kv::{self, Context};
use engine::apply::mvcc::{Keys, RestoreError, RowKey, Store};
use engine::pb::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use std::collections::BTreeMap;

fn put(store: &mut Store, key: &str, value: Vec<u8>) {
    let mut changes = vec![];
    let mut context = Context { lease_exists: &|_| true, answer_wanted: true, lease_changes: &mut changes };
    let request = PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() };
    kv::apply_put(store, &request, &mut context).expect("a plain put");
}

fn delete(store: &mut Store, key: &str) {
    let mut changes = vec![];
    let mut context = Context { lease_exists: &|_| true, answer_wanted: true, lease_changes: &mut changes };
    let request = DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
    kv::apply_delete_range(store, &request, &mut context);
}

fn churn(seed: u64, ops: u64) -> Store {
    let mut random = Random(seed);
    let mut store = Store::new();
    for _ in 0..ops {
        let key = format!("key-{:03}", random.below(300));
        if random.chance(5) {
            delete(&mut store, &key);
        } else {
            let len = random.below(50) as usize;
            put(&mut store, &key, vec![b'v'; len]);
        }
    }
    store
}

fn rows(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    store.view().rows(0).map(|row| (row.row_key().as_bytes().to_vec(), row.encoded().to_vec())).collect()
}

#[test]
fn same_store_after_a_restart() {
    let store = churn(1, 20_000);
    let mut again = Store::new();
    for (key, value) in rows(&store) {
        let (main, sub, tombstone) = RowKey::parse(&key).expect("a row key");
        again.restore_row(main, sub, tombstone, &value).expect("a row");
    }
    again.restore_compacted(None, None);
    assert_eq!((again.revision(), again.compacted_revision()), (store.revision(), -1));
    assert_eq!(again.census(), store.census());
    for revision in [2, 777, 10_000, store.revision()] {
        assert_eq!(again.view().hash_kv(revision), store.view().hash_kv(revision));
        let request = RangeRequest { key: "\0".into(), range_end: "\0".into(), revision, ..RangeRequest::default() };
        assert_eq!(again.view().range(&request, usize::MAX), store.view().range(&request, usize::MAX));
    }
    put(&mut again, "key-000", vec![]);
}

#[test]
fn an_interrupted_compaction_is_done_again_and_the_revision_never_falls() {
    for steps in [0, 1, 3, 10, 1000] {
        let mut store = churn(2, 5_000);
        put(&mut store, "key-001", vec![]);
        delete(&mut store, "key-001");
        let newest = store.revision();
        let mut file: BTreeMap<_, _> = rows(&store).into_iter().collect();
        store.compact(newest).expect("compacts");
        let mut dropped = vec![];
        for _ in 0..steps {
            store.compact_step_reporting(500, &mut dropped);
        }
        for row in &dropped {
            assert!(file.remove(row.as_bytes()).is_some(), "every row is reported once");
        }
        let mut again = Store::new();
        for (key, value) in &file {
            let (main, sub, tombstone) = RowKey::parse(key).expect("a row key");
            again.restore_row(main, sub, tombstone, value).expect("a row");
        }
        again.restore_compacted(None, Some(newest));
        assert_eq!((again.revision(), again.compacted_revision()), (newest, newest));
        while !again.compact_step_reporting(500, &mut dropped) {}
        while !store.compact_step(500) {}
        assert_eq!(again.view().hash_kv(0).map(|hash| hash.hash), store.view().hash_kv(0).map(|hash| hash.hash));
        assert_eq!(again.census().live_keys, store.census().live_keys);
        assert_eq!(again.census().index_keys, store.census().index_keys);
    }
    // The newest rows may have been compacted tombstones, absent from the file.
    let mut store = Store::new();
    store.restore_compacted(Some(100), Some(100));
    assert_eq!((store.revision(), store.compacted_revision(), store.is_compacting()), (100, 100, false));
}

#[test]
fn bad_rows_are_refused() {
    let mut store = Store::new();
    let good = b"\x0a\x01a\x10\x02\x18\x02\x20\x01";
    assert_eq!(store.restore_row(2, 0, false, b"\x0a\x05a"), Err(RestoreError::Malformed));
    assert_eq!(store.restore_row(2, 0, false, b""), Err(RestoreError::Malformed));
    assert_eq!(store.restore_row(3, 0, false, good), Err(RestoreError::Malformed), "another mod_revision");
    assert_eq!(store.restore_row(2, 0, true, good), Err(RestoreError::Malformed), "a tombstone with fields");
    assert_eq!(
        store.restore_row(2, 0, false, b"\x0a\x01a\x10\x02\x18\x02\x20\x01\x30\0"),
        Err(RestoreError::NotCanonical)
    );
    assert_eq!(store.restore_row(2, 0, false, good), Ok(()));
    assert_eq!(store.restore_row(2, 0, false, good), Err(RestoreError::OutOfOrder));
    assert_eq!(store.restore_row(1, 0, true, b"\x0a\x01a"), Err(RestoreError::OutOfOrder));
    for bad in [&b"short"[..], &[0; 17], &[0xff; 17], b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0x"] {
        assert_eq!(RowKey::parse(bad), None);
    }
}

#[test]
fn memory_comes_back_after_churn() {
    let mut store = churn(3, 200_000);
    for key in 0..300 {
        delete(&mut store, &format!("key-{key:03}"));
    }
    put(&mut store, "last", vec![]);
    let before = store.census();
    assert!(before.rows > 180_000 && before.segments > 40, "{before:?}");
    store.compact(store.revision()).expect("compacts");
    let mut steps = 0;
    while !store.compact_step(1000) {
        steps += 1;
    }
    store.publish();
    let after = store.census();
    assert!(steps > 100, "in bounded steps");
    assert_eq!((after.live_keys, after.index_keys), (1, 1));
    // What is left is the open segment's share below the threshold for sealing it.
    assert!(after.segments <= 1 && after.rows < 600, "{after:?}");
}

#[test]
fn large_values_come_back_at_once() {
    let mut store = Store::new();
    for _ in 0..100 {
        put(&mut store, "key", vec![0; 1 << 20]);
    }
    store.compact(store.revision()).expect("compacts");
    while !store.compact_step(1000) {}
    assert!(store.census().rows <= 2, "{:?}", store.census());
    put(&mut store, "key", vec![1]);
    assert_eq!(store.view().count(Keys::new(b"key", b""), 0), Ok(1));
}

#[test]
fn cold_rows_survive_in_sparse_segments() {
    let mut store = Store::new();
    for i in 0..100_000u64 {
        if i % 1000 == 0 {
            put(&mut store, &format!("cold-{i:06}"), vec![b'c'; 30]);
        }
        put(&mut store, &format!("hot-{}", i % 10), vec![b'h'; 30]);
    }
    store.compact(store.revision()).expect("compacts");
    while !store.compact_step(777) {}
    assert_eq!(store.census().live_keys, 110);
    assert!(store.census().rows < 110 + 700, "{:?}", store.census());
    for i in (0..100_000u64).step_by(1000) {
        assert_eq!(store.get(format!("cold-{i:06}").as_bytes()).map(|kv| kv.value().len()), Some(30));
    }
}
