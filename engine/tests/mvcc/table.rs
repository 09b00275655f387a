//! One test per sentence about revisions, compaction, ranges, puts, deletes and transactions; and HashKV from raw bytes.

use bytes::Bytes;
use engine::apply::kv::{self, Answer, Context, Error, Outcome, TxnOutcome};
use engine::apply::mvcc::{Keys, Kv, LeaseChange, Projection, RangeResult, RowKey, Store};
use engine::pb::etcdserverpb::compare::TargetUnion;
use engine::pb::etcdserverpb::request_op::Request;
use engine::pb::etcdserverpb::*;

#[derive(Default)]
struct Bench {
    store: Store,
    changes: Vec<LeaseChange>,
}

const LEASE: i64 = 5;

impl Bench {
    fn context<T>(&mut self, run: impl FnOnce(&mut Store, &mut Context<'_>) -> T) -> T {
        let mut context = Context {
            lease_exists: &|lease| lease == LEASE || lease == LEASE + 1,
            answer_wanted: true,
            lease_changes: &mut self.changes,
        };
        run(&mut self.store, &mut context)
    }

    fn try_put(&mut self, request: PutRequest) -> Result<Answer, Error> {
        self.context(|store, context| kv::apply_put(store, &request, context))
    }

    fn put(&mut self, key: &str, value: &str) -> i64 {
        self.try_put(put(key, value)).expect("a plain put").revision
    }

    fn delete(&mut self, key: &str, end: &str) -> (i64, i64) {
        let request = DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: false };
        let answer = self.context(|store, context| kv::apply_delete_range(store, &request, context));
        let Outcome::DeleteRange { deleted, prev_kvs } = answer.outcome else { panic!("{answer:?}") };
        assert!(prev_kvs.is_empty(), "only if asked for");
        (deleted, answer.revision)
    }

    fn txn(&mut self, request: &TxnRequest) -> Result<(i64, TxnOutcome), Error> {
        let answer = self.context(|store, context| kv::apply_txn(store, request, context))?;
        let Outcome::Txn(outcome) = answer.outcome else { panic!("a txn answers a txn") };
        Ok((answer.revision, outcome))
    }

    fn range(&self, request: RangeRequest) -> Result<RangeResult, engine::apply::mvcc::Error> {
        self.store.view().range(&request, usize::MAX)
    }

    fn keys(&self, request: RangeRequest) -> String {
        let result = self.range(request).expect("a range that works");
        let keys: Vec<_> = result.kvs.iter().map(|kv| kv.key().escape_ascii().to_string()).collect();
        format!("{} {}{}", keys.join(","), result.count, if result.more { " more" } else { "" })
    }

    fn kv(&self, key: &str) -> Option<Kv> {
        self.store.get(key.as_bytes())
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

fn all() -> RangeRequest {
    RangeRequest { key: bytes("\0"), range_end: bytes("\0"), ..Default::default() }
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn ops(success: Vec<Request>) -> TxnRequest {
    TxnRequest { success: success.into_iter().map(op).collect(), ..Default::default() }
}

fn compare(key: &str, target: CompareTarget, result: CompareResult, union: Option<TargetUnion>) -> Compare {
    let (target, result) = (target as i32, result as i32);
    Compare { key: bytes(key), target, result, target_union: union, range_end: Bytes::new() }
}

#[test]
fn revisions() {
    let mut b = Bench::default();
    assert_eq!((b.store.revision(), b.store.compacted_revision()), (1, -1));
    assert_eq!(b.put("a", "1"), 2);
    assert_eq!(b.put("a", "1"), 3, "an identical value bumps too");
    assert_eq!(b.delete("x", ""), (0, 3), "a delete of nothing does not");
    assert_eq!(b.delete("a", ""), (1, 4));
    assert_eq!(b.delete("a", ""), (0, 4));
    b.put("a", "2");
    let kv = b.kv("a").expect("put again");
    assert_eq!((kv.create_revision(), kv.mod_revision(), kv.version()), (5, 5, 1), "a delete resets");
    b.put("a", "3");
    let kv = b.kv("a").expect("put again");
    assert_eq!((kv.create_revision(), kv.mod_revision(), kv.version()), (5, 6, 2));
    let (revision, outcome) = b.txn(&ops(vec![Request::Range(all())])).expect("reads");
    assert_eq!((revision, outcome.responses[0].revision), (6, 6), "a txn without changes does not bump");
    let (revision, _) = b.txn(&ops(vec![Request::Put(put("b", "")), Request::Put(put("c", ""))])).expect("writes");
    assert_eq!((revision, b.kv("b").unwrap().sub(), b.kv("c").unwrap().sub()), (7, 0, 1));
    let places: Vec<_> = b.store.view().rows(4).map(|row| (row.main(), row.sub(), row.is_tombstone())).collect();
    assert_eq!(places, [(4, 0, true), (5, 0, false), (6, 0, false), (7, 0, false), (7, 1, false)]);
}

#[test]
fn compaction() {
    let mut b = Bench::default();
    let compact = |b: &mut Bench, revision| {
        kv::apply_compaction(&mut b.store, &CompactionRequest { revision, physical: false })
            .map(|answer| answer.revision)
    };
    assert_eq!(compact(&mut b, -1), Err(Error::Compacted));
    assert_eq!(compact(&mut b, 2), Err(Error::FutureRev));
    assert_eq!(compact(&mut b, 0), Ok(1), "once, on a fresh store");
    assert_eq!(compact(&mut b, 0), Err(Error::Compacted));
    b.put("a", "1");
    b.put("a", "2");
    b.delete("a", "");
    b.put("b", "1");
    assert_eq!(compact(&mut b, 3), Ok(5));
    assert_eq!(compact(&mut b, 3), Err(Error::Compacted));
    while !b.store.compact_step(1) {}
    let at = |revision| RangeRequest { revision, ..all() };
    assert_eq!(b.range(at(2)).map(|r| r.count), Err(engine::apply::mvcc::Error::Compacted));
    assert_eq!(b.range(at(6)).map(|r| r.count), Err(engine::apply::mvcc::Error::FutureRev));
    assert_eq!(b.keys(at(3)), "a 1");
    assert_eq!(b.keys(at(4)), " 0");
    assert_eq!(compact(&mut b, 5), Ok(5), "the current revision may be compacted");
    while !b.store.compact_step(1) {}
    assert_eq!(b.keys(at(5)), "b 1");
    assert_eq!(b.store.census().index_keys, 1, "a compacted tombstone leaves the index");
    assert_eq!(b.keys(at(-9)), "b 1", "a negative revision is the newest, compacted or not");
}

/// Puts `a` at 2, deletes it at 3, puts `b` at 4.
fn short_life() -> Bench {
    let mut b = Bench::default();
    b.put("a", "1");
    b.delete("a", "");
    b.put("b", "1");
    b
}

fn finish_compaction(b: &mut Bench) -> Vec<(i64, bool)> {
    let mut dropped = vec![];
    while !b.store.compact_step_reporting(10, &mut dropped) {}
    let parse = |row: &RowKey| RowKey::parse(row.as_bytes()).map(|(main, _, tombstone)| (main, tombstone));
    dropped.iter().map(|row| parse(row).expect("a row key")).collect()
}

#[test]
fn a_tombstone_at_the_compacted_revision_stays_until_the_next_compaction() {
    let mut b = short_life();
    b.store.compact(3).expect("compacts");
    assert_eq!(finish_compaction(&mut b), [(2, false)], "a watcher may start at the tombstone");
    assert_eq!(b.store.census().index_keys, 2);
    b.store.compact(4).expect("compacts");
    assert_eq!(finish_compaction(&mut b), [(3, true)]);
    assert_eq!(b.store.census().index_keys, 1);
}

#[test]
fn a_compaction_may_overtake_another_anywhere() {
    for steps in 0..12 {
        let mut b = short_life();
        b.store.compact(3).expect("compacts");
        let mut dropped = vec![];
        for _ in 0..steps {
            b.store.compact_step_reporting(1, &mut dropped);
        }
        b.store.compact(4).expect("compacts");
        let rest = finish_compaction(&mut b);
        assert_eq!((dropped.len() + rest.len(), b.store.census().index_keys), (2, 1), "after {steps} steps");
    }
}

#[test]
fn a_tombstone_alone_counts_as_kept_for_the_hash_of_its_compaction() {
    let mut b = Bench::default();
    b.put("a", "1");
    b.store.compact(2).expect("compacts");
    finish_compaction(&mut b);
    b.delete("a", "");
    b.store.compact(3).expect("compacts");
    finish_compaction(&mut b);
    let hash = b.store.view().hash_kv(3).expect("remembered");
    let row = b"key\0\0\0\0\0\0\0\x03_\0\0\0\0\0\0\0\0t\x0a\x01a";
    assert_eq!((hash.hash, hash.compact_revision), (crc32c::crc32c(row), 2), "the row at 2 is not kept");
}

#[test]
fn range_bounds() {
    let mut b = Bench::default();
    for key in ["a", "a\0", "b", "c"] {
        b.put(key, "");
    }
    let range = |key, end| RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() };
    for (key, end, wanted) in [
        ("a", "", "a 1"),
        ("x", "", " 0"),
        ("a", "b", "a,a\\x00 2"),
        ("a", "c", "a,a\\x00,b 3"),
        ("b", "\0", "b,c 2"),
        ("\0", "\0", "a,a\\x00,b,c 4"),
        ("c", "a", " 0"),
        ("b", "b", " 0"),
    ] {
        assert_eq!(b.keys(range(key, end)), wanted, "[{key}, {end})");
        assert_eq!(
            b.keys(RangeRequest { count_only: true, limit: 1, ..range(key, end) }).trim(),
            &wanted[wanted.rfind(' ').unwrap() + 1..]
        );
    }
}

#[test]
fn range_limit_sort_and_filters() {
    let mut b = Bench::default();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("d", "0")] {
        b.put(key, value);
    }
    b.put("b", "1");
    let by = |sort_target: SortTarget, sort_order: SortOrder, limit| RangeRequest {
        sort_target: sort_target as i32,
        sort_order: sort_order as i32,
        limit,
        ..all()
    };
    use SortOrder::{Ascend, Descend, None};
    use SortTarget::{Create, Key, Mod, Value, Version};
    assert_eq!(b.keys(by(Key, None, 2)), "a,b 4 more");
    assert_eq!(b.keys(by(Key, None, 4)), "a,b,c,d 4");
    assert_eq!(b.keys(by(Key, None, -1)), "a,b,c,d 4", "no limit");
    assert_eq!(b.keys(by(Key, Ascend, 3)), "a,b,c 4 more");
    assert_eq!(b.keys(by(Key, Descend, 3)), "d,c,b 4 more");
    assert_eq!(b.keys(by(Value, Ascend, 2)), "d,b 4 more", "an explicit order sorts everything first");
    assert_eq!(b.keys(by(Value, None, 0)), "d,b,c,a 4", "no order but a target: ascending");
    // Three rows are fetched for a limit of two, sorted, and then cut.
    assert_eq!(b.keys(by(Value, None, 2)), "b,c 4 more");
    assert_eq!(b.keys(by(Version, Descend, 1)), "b 4 more");
    assert_eq!(b.keys(by(Version, Ascend, 0)), "a,c,d,b 4", "ties in key order");
    assert_eq!(b.keys(by(Mod, Descend, 0)), "b,d,c,a 4");
    assert_eq!(b.keys(by(Create, Descend, 0)), "d,c,b,a 4");
    assert_eq!(b.keys(RangeRequest { min_mod_revision: 4, ..all() }), "b,c,d 4", "inclusive; count ignores filters");
    assert_eq!(b.keys(RangeRequest { max_mod_revision: 4, limit: 1, ..all() }), "a 4 more");
    assert_eq!(b.keys(RangeRequest { min_create_revision: 3, max_create_revision: 4, ..all() }), "b,c 4");
    assert_eq!(b.keys(RangeRequest { max_mod_revision: 2, limit: 1, ..all() }), "a 4", "nothing was cut");
    let cut = b.store.view().range(&all(), 1).expect("a range");
    assert_eq!(
        (cut.kvs.len(), cut.more, cut.cut, cut.count),
        (1, true, true, 4),
        "a byte budget answers one row at least"
    );
}

#[test]
fn keys_only_has_no_lease_unless_the_order_needs_values() {
    let mut b = Bench::default();
    b.try_put(PutRequest { lease: LEASE, ..put("a", "v") }).expect("the lease exists");
    let mut request = RangeRequest { keys_only: true, ..all() };
    assert_eq!(b.range(request.clone()).unwrap().projection, Projection::KeysOnly);
    request.sort_target = SortTarget::Value as i32;
    let result = b.range(request).unwrap();
    assert_eq!(result.projection, Projection::KeysAndLease);
    let mut out = vec![];
    result.kvs[0].encode_keys_only(false, &mut out);
    assert_eq!(out, [0x0a, 1, b'a', 0x10, 2, 0x18, 2, 0x20, 1]);
    result.kvs[0].encode_keys_only(true, &mut out);
    assert_eq!(out[9..], [0x0a, 1, b'a', 0x10, 2, 0x18, 2, 0x20, 1, 0x30, 5]);
}

#[test]
fn puts() {
    let mut b = Bench::default();
    let keep_value = PutRequest { ignore_value: true, lease: LEASE, ..put("a", "") };
    let keep_lease = PutRequest { ignore_lease: true, prev_kv: true, ..put("a", "2") };
    assert_eq!(b.try_put(PutRequest { lease: 99, ..put("a", "") }), Err(Error::LeaseNotFound));
    assert_eq!(b.try_put(PutRequest { lease: 99, ..keep_value.clone() }), Err(Error::LeaseNotFound), "the lease first");
    assert_eq!(b.try_put(keep_value.clone()), Err(Error::KeyNotFound));
    assert_eq!(b.try_put(keep_lease.clone()), Err(Error::KeyNotFound));
    assert_eq!(b.store.revision(), 1, "a refused put changes nothing");
    b.put("a", "1");
    b.try_put(keep_value).expect("the key exists");
    assert_eq!((b.kv("a").unwrap().value(), b.kv("a").unwrap().lease()), (&b"1"[..], LEASE));
    let Outcome::Put { prev: Some(prev) } = b.try_put(keep_lease).unwrap().outcome else { panic!("prev_kv") };
    assert_eq!((prev.value(), prev.version()), (&b"1"[..], 2));
    assert_eq!((b.kv("a").unwrap().value(), b.kv("a").unwrap().lease()), (&b"2"[..], LEASE));
    b.put("a", "3");
    assert_eq!(b.kv("a").unwrap().lease(), 0, "no lease detaches");
    b.try_put(PutRequest { lease: LEASE, ..put("a", "") }).unwrap();
    b.try_put(PutRequest { lease: LEASE + 1, ..put("a", "") }).unwrap();
    b.delete("a", "");
    let changes: Vec<_> = b.changes.iter().map(|change| (change.from, change.to)).collect();
    assert_eq!(changes, [(0, 5), (5, 0), (0, 5), (5, 6), (6, 0)]);
}

#[test]
fn txn_compares() {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use CompareTarget::{Create, Lease, Mod, Value, Version};
    let mut b = Bench::default();
    b.try_put(PutRequest { lease: LEASE, ..put("a", "v") }).unwrap();
    b.put("b", "w");
    let value = |text| Some(TargetUnion::Value(bytes(text)));
    let mut cases = vec![
        (compare("a", Value, Equal, value("v")), true),
        (compare("a", Value, Greater, value("u")), true),
        (compare("a", Value, Less, value("u")), false),
        (compare("a", Create, Equal, Some(TargetUnion::CreateRevision(2))), true),
        (compare("b", Mod, Greater, Some(TargetUnion::ModRevision(2))), true),
        (compare("a", Version, NotEqual, Some(TargetUnion::Version(1))), false),
        (compare("a", Lease, Equal, Some(TargetUnion::Lease(LEASE))), true),
        (compare("x", Value, NotEqual, value("v")), false),
        (compare("x", Value, Equal, value("")), false),
        (compare("x", Mod, Equal, Some(TargetUnion::ModRevision(0))), true),
        (compare("x", Lease, Less, Some(TargetUnion::Lease(1))), true),
        (compare("x", Create, Equal, value("v")), true),
        (compare("a", Mod, Greater, None), true),
        (compare("a", Value, Greater, Some(TargetUnion::Version(1))), true),
    ];
    let wide = |end: &str, case: Compare| Compare { range_end: bytes(end), ..case };
    cases.push((wide("c", compare("a", Mod, Greater, Some(TargetUnion::ModRevision(1)))), true));
    cases.push((wide("\0", compare("a", Mod, Less, Some(TargetUnion::ModRevision(3)))), false));
    cases.push((wide("z", compare("x", Version, Equal, Some(TargetUnion::Version(0)))), true));
    cases.push((wide("z", compare("x", Value, Equal, value(""))), false));
    cases.push((Compare { result: 9, ..compare("a", Value, Equal, value("zzz")) }, true));
    cases.push((Compare { target: 9, ..compare("a", Value, Equal, value("zzz")) }, true));
    for (case, wanted) in cases {
        let request = TxnRequest { compare: vec![case.clone()], ..Default::default() };
        assert_eq!(b.txn(&request).expect("no operations").1.succeeded, wanted, "{case:?}");
    }
    assert!(b.txn(&TxnRequest::default()).unwrap().1.succeeded, "no compare is true");
}

#[test]
fn txn_execution() {
    let mut b = Bench::default();
    b.put("a", "1");
    let nested = TxnRequest {
        compare: vec![compare("n", CompareTarget::Version, CompareResult::Equal, None)],
        success: vec![op(Request::Put(put("m", "")))],
        failure: vec![op(Request::Put(put("wrong", "")))],
    };
    let delete = DeleteRangeRequest { key: bytes("a"), range_end: bytes("\0"), prev_kv: true };
    let request = ops(vec![
        Request::Range(all()),
        Request::Put(put("n", "")),
        Request::Txn(nested),
        Request::Range(all()),
        Request::DeleteRange(delete),
        Request::Range(all()),
        Request::Range(RangeRequest { revision: 2, ..all() }),
    ]);
    let (revision, outcome) = b.txn(&request).expect("runs");
    let seen = |answer: &Answer| match &answer.outcome {
        Outcome::Range(result) => (answer.revision, result.count, result.revision),
        Outcome::DeleteRange { deleted, prev_kvs } => (answer.revision, *deleted, prev_kvs.len() as i64),
        _ => (answer.revision, 0, 0),
    };
    let seen: Vec<_> = outcome.responses.iter().map(seen).collect();
    // The nested compare ran before `n` was put; a nested transaction has an empty header.
    assert_eq!(seen, [(2, 1, 2), (3, 0, 0), (0, 0, 0), (3, 3, 3), (3, 3, 3), (3, 0, 3), (3, 1, 3)]);
    assert_eq!((revision, b.store.revision()), (3, 3));
    assert_eq!(b.store.view().rows(3).map(Kv::sub).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn txn_checks_come_before_the_first_mutation() {
    let mut b = Bench::default();
    let doomed = |bad: Request| ops(vec![Request::Put(put("a", "")), Request::Txn(ops(vec![bad]))]);
    let range_at = |revision| Request::Range(RangeRequest { revision, ..all() });
    for (bad, error) in [
        (Request::Put(PutRequest { lease: 99, ..put("b", "") }), Error::LeaseNotFound),
        (Request::Put(PutRequest { ignore_value: true, ..put("a", "") }), Error::KeyNotFound),
        (range_at(2), Error::FutureRev),
        (range_at(-2), Error::Compacted),
    ] {
        assert_eq!(b.txn(&doomed(bad)).map(|_| ()), Err(error));
        assert_eq!((b.store.revision(), b.kv("a")), (1, None));
    }
    assert!(b.txn(&ops(vec![range_at(-1)])).is_ok(), "-1 works until the first compaction");
    b.store.compact(0).expect("compacts");
    assert_eq!(b.txn(&ops(vec![range_at(-1)])).map(|_| ()), Err(Error::Compacted));
}

#[test]
fn ranges_nobody_waits_for_are_checked_and_not_executed() {
    let mut store = Store::new();
    let mut changes = vec![];
    let mut context = Context { lease_exists: &|_| true, answer_wanted: false, lease_changes: &mut changes };
    let request = ops(vec![Request::Put(put("a", "")), Request::Range(all())]);
    let Outcome::Txn(outcome) = kv::apply_txn(&mut store, &request, &mut context).unwrap().outcome else { panic!() };
    let Outcome::Range(result) = &outcome.responses[1].outcome else { panic!() };
    assert_eq!((result.count, result.revision), (0, 2));
    let future = ops(vec![Request::Range(RangeRequest { revision: 9, ..all() })]);
    assert_eq!(kv::apply_txn(&mut store, &future, &mut context), Err(Error::FutureRev));
}

#[test]
fn read_only_and_serializable() {
    let range = |serializable| Request::Range(RangeRequest { serializable, ..all() });
    for (request, read_only, serializable) in [
        (ops(vec![range(true)]), true, true),
        (ops(vec![range(true), range(false)]), true, false),
        (ops(vec![Request::Txn(ops(vec![range(true)]))]), false, false),
        (TxnRequest { failure: vec![op(Request::Put(put("a", "")))], ..Default::default() }, false, false),
        (TxnRequest::default(), true, true),
    ] {
        assert_eq!((kv::is_read_only(&request), kv::is_serializable(&request)), (read_only, serializable));
    }
    let mut b = Bench::default();
    b.put("a", "1");
    let answer = kv::read_txn(&b.store.view(), &ops(vec![range(true)])).expect("reads");
    assert_eq!(answer.revision, 2);
}

#[test]
fn previous_of_an_event() {
    let mut b = Bench::default();
    b.put("a", "1");
    b.put("a", "2");
    b.delete("a", "");
    b.put("a", "3");
    let view = b.store.view();
    let values: Vec<_> = view.rows(2).map(|row| view.previous(row).map(|kv| kv.value().to_vec())).collect();
    assert_eq!(values, [None, Some(b"1".to_vec()), Some(b"2".to_vec()), None]);
    b.store.compact(3).expect("compacts");
    let view = b.store.view();
    let values: Vec<_> = view.rows(3).map(|row| view.previous(row).is_some()).collect();
    assert_eq!(values, [false, true, false], "missing when the revision before is compacted");
}

#[test]
fn hash_from_raw_bytes() {
    let mut b = Bench::default();
    b.put("foo", "bar");
    b.try_put(PutRequest { lease: 5, ..put("k", "") }).unwrap();
    b.delete("foo", "");
    // Row key, then the message: key 0a, create 10, mod 18, version 20, value 2a, lease 30; a tombstone only has the key.
    let rows: [&[u8]; 3] = [
        b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0\x0a\x03foo\x10\x02\x18\x02\x20\x01\x2a\x03bar",
        b"\0\0\0\0\0\0\0\x03_\0\0\0\0\0\0\0\0\x0a\x01k\x10\x03\x18\x03\x20\x01\x30\x05",
        b"\0\0\0\0\0\0\0\x04_\0\0\0\0\0\0\0\0t\x0a\x03foo",
    ];
    let crc = |rows: &[&[u8]]| crc32c::crc32c(&[b"key", &rows.concat()[..]].concat());
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283, "CRC-32C");
    let hash = |b: &Bench, revision| b.store.view().hash_kv(revision).map(|h| (h.hash, h.compact_revision, h.revision));
    assert_eq!(hash(&b, 0), Ok((crc(&rows), -1, 4)));
    assert_eq!(hash(&b, 3), Ok((crc(&rows[..2]), -1, 3)));
    assert_eq!(hash(&b, 1), Ok((crc(&[]), -1, 1)));
    assert_eq!(hash(&b, 5), Err(engine::apply::mvcc::Error::FutureRev));
    b.store.compact(4).expect("compacts");
    // The tombstone stands at the compacted revision: it is in the file and not in the hash.
    assert_eq!(hash(&b, 0), Ok((crc(&rows[1..2]), 4, 4)));
    while !b.store.compact_step(1) {}
    assert_eq!(hash(&b, 0), Ok((crc(&rows[1..2]), 4, 4)), "however far the compaction has come");
    assert_eq!(hash(&b, 4), Ok((crc(&rows), -1, 4)), "a finished compaction's own hash is remembered");
    assert_eq!(hash(&b, 3), Err(engine::apply::mvcc::Error::Compacted));
    assert_eq!(b.store.view().count(Keys::new(b"\0", b"\0"), 4), Ok(1));
}
