//! Readers on other threads while the writer works: a view never changes, and revisions only rise.

use crate::{Random, convert};
use engine::apply::kv::{self, Context};
use engine::apply::mvcc::{Keys, Store};
use engine::pb::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn all(revision: i64, limit: i64) -> RangeRequest {
    RangeRequest { key: "\0".into(), range_end: "\0".into(), revision, limit, ..Default::default() }
}

fn put(store: &mut Store, key: String, value: Vec<u8>) {
    let mut changes = vec![];
    let mut context = Context { lease_exists: &|_| true, answer_wanted: true, lease_changes: &mut changes };
    let request = PutRequest { key: key.into(), value: value.into(), ..Default::default() };
    kv::apply_put(store, &request, &mut context).expect("a plain put");
}

#[test]
fn views_stay_frozen_while_the_writer_works() {
    let mut store = Store::new();
    let reader = store.reader();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..3 {
            let (mut reader, done) = (reader.clone(), &done);
            scope.spawn(move || {
                let mut random = Random(seed);
                let mut last = 0;
                while !done.load(Ordering::Acquire) {
                    let view = reader.pin().clone();
                    assert!(view.revision() >= last, "revisions never fall");
                    last = view.revision();
                    let low = view.compacted_revision().max(1);
                    let at = low + random.below((last - low + 1) as u64) as i64;
                    let first = view.range(&all(at, 0), usize::MAX).expect("between compacted and current");
                    assert_eq!(view.count(Keys::new(b"\0", b"\0"), at), Ok(first.count as u64), "count is scan");
                    for kv in &first.kvs {
                        assert!(kv.mod_revision() <= at);
                        // Value says at which revision its key was written.
                        assert_eq!(kv.value(), kv.mod_revision().to_string().as_bytes());
                    }
                    let hash = view.hash_kv(at);
                    thread::yield_now();
                    let second = view.range(&all(at, 0), usize::MAX).expect("still there");
                    assert_eq!(first, second);
                    assert_eq!(hash, view.hash_kv(at));
                }
            });
        }
        let mut random = Random(99);
        for round in 0..12_000u64 {
            let key = format!("/registry/{:04}", random.below(400));
            if random.chance(6) {
                let mut changes = vec![];
                let mut context = Context { lease_exists: &|_| true, answer_wanted: true, lease_changes: &mut changes };
                let request = DeleteRangeRequest { key: key.into(), ..Default::default() };
                kv::apply_delete_range(&mut store, &request, &mut context);
            } else {
                let value = (store.revision() + 1).to_string().into_bytes();
                put(&mut store, key, value);
            }
            if round % 500 == 499 {
                store.compact(store.revision() - 100).expect("compacts");
            }
            store.compact_step(20);
            if !random.chance(3) {
                store.publish();
            }
        }
        done.store(true, Ordering::Release);
    });
    assert!(store.revision() > 5000);
}

#[test]
fn nothing_shows_before_publish() {
    let mut store = Store::new();
    let mut reader = store.reader();
    put(&mut store, "a".into(), vec![]);
    put(&mut store, "b".into(), vec![]);
    assert_eq!(reader.pin().revision(), 1);
    assert_eq!(store.view().revision(), 3, "the writer sees its own");
    store.publish();
    assert_eq!((reader.pin().revision(), reader.pin().live_keys()), (3, 2));
    store.compact(3).expect("compacts");
    assert_eq!(reader.pin().compacted_revision(), -1);
    store.publish();
    assert_eq!(reader.pin().compacted_revision(), 3);
}

#[test]
fn a_paged_list_keeps_its_root() {
    let mut store = Store::new();
    let mut reader = store.reader();
    for i in 0..100 {
        put(&mut store, format!("key-{i:02}"), vec![]);
    }
    store.publish();
    let first = reader.range(&all(0, 10), usize::MAX).expect("page one");
    assert!(first.more && first.count == 100);
    assert_eq!(reader.kept_revisions().collect::<Vec<_>>(), [101]);
    for i in 0..100 {
        put(&mut store, format!("key-{i:02}"), vec![1]);
        put(&mut store, format!("other-{i:02}"), vec![1]);
        store.publish();
    }
    let mut request = all(first.revision, 10);
    request.key = "key-96".into();
    let page = reader.range(&request, usize::MAX).expect("a later page");
    let wanted = reader.pin().range(&request, usize::MAX).expect("the long way");
    assert_eq!(convert::range(&page), convert::range(&wanted));
    assert_eq!((page.revision, page.count), (301, 4), "the header's revision is the current one");
    for _ in 0..10 {
        put(&mut store, "key-00".into(), vec![2]);
        store.publish();
        reader.range(&all(0, 10), usize::MAX).expect("more pagers");
    }
    assert_eq!(reader.kept_revisions().count(), 4, "at most so many");
    store.compact(store.revision()).expect("compacts");
    store.publish();
    reader.pin();
    assert_eq!(reader.kept_revisions().count(), 1, "a compacted root is let go");
}
