//! Random operations, seeded, against the model: every answer, every lease change, hashes, frozen views, old revisions.

use crate::model::Model;
use crate::{Random, convert};
use bytes::Bytes;
use engine::apply::kv::{self, Context};
use engine::apply::mvcc::{self, Keys, LeaseChange, Reader, Store, View};
use engine::pb::etcdserverpb::compare::TargetUnion;
use engine::pb::etcdserverpb::request_op::Request;
use engine::pb::etcdserverpb::response_op::Response;
use engine::pb::etcdserverpb::*;
use std::collections::{BTreeMap, HashMap};

const LEASES: [i64; 3] = [7, 8, i64::MAX];
const HASHES_MAX: usize = 10;

struct Run {
    random: Random,
    keys: Vec<Vec<u8>>,
    store: Store,
    reader: Reader,
    model: Model,
    attached: HashMap<Vec<u8>, i64>,
    /// Hashes of finished compactions: revision to (hash, compacted before).
    hashes: BTreeMap<i64, (u32, i64)>,
    pending_hash: Option<(i64, (u32, i64))>,
    frozen: Vec<(View, RangeRequest, RangeResponse, u32)>,
}

impl Run {
    fn new(seed: u64, keys: Vec<Vec<u8>>) -> Run {
        let store = Store::new();
        Run {
            random: Random(seed),
            keys,
            reader: store.reader(),
            store,
            model: Model::new(&LEASES),
            attached: HashMap::new(),
            hashes: BTreeMap::new(),
            pending_hash: None,
            frozen: vec![],
        }
    }

    fn key(&mut self) -> Bytes {
        let index = self.random.below(self.keys.len() as u64) as usize;
        self.keys[index].clone().into()
    }

    fn range_end(&mut self) -> Bytes {
        match self.random.below(5) {
            0 | 1 => Bytes::new(),
            2 => Bytes::from_static(&[0]),
            _ => self.key(),
        }
    }

    fn revision(&mut self) -> i64 {
        match self.random.below(8) {
            0..=3 => 0,
            4 => -1 - self.random.below(2) as i64,
            5 => self.model.revision - self.random.below(3) as i64,
            _ => self.random.below(self.model.revision as u64 + 2) as i64,
        }
    }

    fn filter(&mut self) -> i64 {
        if self.random.chance(8) { self.random.below(self.model.revision as u64 + 2) as i64 } else { 0 }
    }

    fn range(&mut self) -> RangeRequest {
        RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit: if self.random.chance(2) { self.random.below(6) as i64 - 1 } else { 0 },
            revision: self.revision(),
            sort_order: if self.random.chance(2) { self.random.below(3) as i32 } else { 0 },
            sort_target: if self.random.chance(2) { self.random.below(5) as i32 } else { 0 },
            serializable: self.random.chance(2),
            keys_only: self.random.chance(4),
            count_only: self.random.chance(6),
            min_mod_revision: self.filter(),
            max_mod_revision: self.filter(),
            min_create_revision: self.filter(),
            max_create_revision: self.filter(),
        }
    }

    fn put(&mut self) -> PutRequest {
        let lease = match self.random.below(12) {
            0 => 99,
            n @ 1..=3 => LEASES[n as usize - 1],
            _ => 0,
        };
        let len = self.random.below(200) as usize;
        let byte = self.random.below(4) as u8;
        PutRequest {
            key: self.key(),
            value: vec![byte; len].into(),
            lease,
            prev_kv: self.random.chance(3),
            ignore_value: self.random.chance(10),
            ignore_lease: self.random.chance(10),
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let range_end = if self.random.chance(3) { self.range_end() } else { Bytes::new() };
        DeleteRangeRequest { key: self.key(), range_end, prev_kv: self.random.chance(3) }
    }

    fn compare(&mut self) -> Compare {
        let target = self.random.below(5) as i32;
        let number = self.random.below(4) as i64;
        let revision = self.random.below(self.model.revision as u64 + 1) as i64;
        // Sometimes not the kind that belongs to the target.
        let union = match if self.random.chance(10) { self.random.below(6) as i32 } else { target } {
            0 => Some(TargetUnion::Version(number)),
            1 => Some(TargetUnion::CreateRevision(revision)),
            2 => Some(TargetUnion::ModRevision(revision)),
            3 => Some(TargetUnion::Value(vec![number as u8; revision as usize % 200].into())),
            4 => Some(TargetUnion::Lease(if number == 0 { 0 } else { LEASES[0] })),
            _ => None,
        };
        Compare {
            result: self.random.below(4) as i32,
            target,
            key: self.key(),
            target_union: union,
            range_end: if self.random.chance(4) { self.range_end() } else { Bytes::new() },
        }
    }

    fn txn(&mut self, depth: u64) -> TxnRequest {
        let compare = (0..self.random.below(3)).map(|_| self.compare()).collect();
        let mut ops = || {
            let mut ops = vec![];
            for _ in 0..self.random.below(5) {
                let request = match self.random.below(10) {
                    0..=2 => Request::Range(self.range()),
                    3..=6 => Request::Put(self.put()),
                    7 => Request::DeleteRange(self.delete()),
                    _ if depth < 3 => Request::Txn(self.txn(depth + 1)),
                    _ => Request::Put(self.put()),
                };
                ops.push(RequestOp { request: Some(request) });
            }
            ops
        };
        TxnRequest { compare, success: ops(), failure: ops() }
    }

    fn write(&mut self) {
        let exists = |lease: i64| LEASES.contains(&lease);
        let mut changes: Vec<LeaseChange> = vec![];
        let kind = self.random.below(10);
        let (put, delete, txn) = (self.put(), self.delete(), self.txn(0));
        let mut context = Context { lease_exists: &exists, answer_wanted: true, lease_changes: &mut changes };
        let (got, wanted) = match kind {
            0..=4 => (kv::apply_put(&mut self.store, &put, &mut context), self.model.put(&put).map(Response::Put)),
            5..=6 => (
                Ok(kv::apply_delete_range(&mut self.store, &delete, &mut context)),
                Ok(Response::DeleteRange(self.model.delete(&delete))),
            ),
            _ => (kv::apply_txn(&mut self.store, &txn, &mut context), self.model.txn(&txn).map(Response::Txn)),
        };
        let got = got.map(|answer| convert::answer(&answer)).map_err(convert::error);
        assert_eq!(got, wanted);
        assert_eq!(self.store.revision(), self.model.revision);
        if got.is_err() {
            assert!(changes.is_empty(), "a refused request changes nothing");
        }
        for change in changes {
            let key = change.row.key().to_vec();
            assert_eq!(self.attached.get(&key).copied().unwrap_or(0), change.from);
            self.attached.insert(key, change.to);
        }
    }

    fn compact(&mut self) {
        let revision = self.model.revision - self.random.below(12) as i64;
        let (before, busy) = (self.model.compacted, self.store.is_compacting());
        let hash = self.model.hash(before, revision, true);
        let wanted = self.model.compact(revision);
        let answer = kv::apply_compaction(&mut self.store, &CompactionRequest { revision, physical: false });
        assert_eq!(
            answer.as_ref().map(|answer| answer.revision).map_err(|error| convert::error(*error)),
            wanted.map(|()| self.model.revision)
        );
        if wanted.is_ok() {
            self.pending_hash = if busy { None } else { Some((revision, (hash, before))) };
        }
    }

    fn compact_step(&mut self) {
        let budget = 1 + self.random.below(40) as usize;
        if self.store.compact_step(budget)
            && let Some((revision, hash)) = self.pending_hash.take()
        {
            self.hashes.insert(revision, hash);
            if self.hashes.len() > HASHES_MAX {
                self.hashes.pop_first();
            }
        }
    }

    /// Everything a reader can ask, right after a publish.
    fn read(&mut self) {
        self.store.publish();
        for _ in 0..3 {
            let request = self.range();
            let wanted = self.model.range(&request);
            let got = self.reader.range(&request, usize::MAX);
            assert_eq!(got.map(|r| convert::range(&r)).map_err(|e| convert::error(e.into())), wanted, "{request:?}");
        }
        let (key, end, revision) = (self.key(), self.range_end(), self.revision());
        let count_only =
            RangeRequest { key: key.clone(), range_end: end.clone(), revision, count_only: true, ..Default::default() };
        let wanted = self.model.range(&count_only).map(|response| response.count as u64);
        let got = self.reader.pin().count(Keys::new(&key, &end), revision);
        assert_eq!(got.map_err(|error| convert::error(error.into())), wanted);
        self.read_hash();
        if self.frozen.len() < 4 || self.random.chance(3) {
            let request = RangeRequest { revision: 0, limit: 0, ..self.range() };
            let response = self.model.range(&request).expect("the current revision");
            let hash = self.model.hash(self.model.compacted, self.model.revision, false);
            if !self.hashes.contains_key(&self.model.revision) {
                self.frozen.push((self.reader.pin().clone(), request, response, hash));
            }
        }
        if self.frozen.len() > 4 {
            let (view, request, response, hash) = self.frozen.remove(0);
            assert_eq!(convert::range(&view.range(&request, usize::MAX).expect("frozen")), response);
            assert_eq!(view.hash_kv(view.revision()).expect("frozen").hash, hash);
        }
    }

    fn read_hash(&mut self) {
        let revision = self.revision().max(0);
        let view = self.reader.pin().clone();
        let got = view.hash_scan(revision).map(|mut scan| {
            loop {
                if let Some(hash) = scan.step(1 + self.random.below(30) as usize) {
                    return hash;
                }
            }
        });
        let asked = if revision == 0 { self.model.revision } else { revision };
        if let Some((hash, before)) = self.hashes.get(&revision) {
            let got = got.expect("remembered");
            assert_eq!((got.hash, got.compact_revision, got.revision), (*hash, *before, revision));
        } else if revision > 0 && revision < self.model.compacted {
            assert_eq!(got, Err(mvcc::Error::Compacted));
        } else if revision > self.model.revision {
            assert_eq!(got, Err(mvcc::Error::FutureRev));
        } else {
            let got = got.expect("a revision to hash");
            let hash = self.model.hash(self.model.compacted, asked, false);
            assert_eq!((got.hash, got.compact_revision, got.revision), (hash, self.model.compacted, asked));
        }
    }

    /// Every key once, so that the index is several levels high.
    fn fill(&mut self) {
        for key in self.keys.clone() {
            let put = PutRequest { key: key.into(), ..self.put() };
            let put = PutRequest { lease: 0, ignore_value: false, ignore_lease: false, ..put };
            let mut changes = vec![];
            let mut context = Context { lease_exists: &|_| true, answer_wanted: true, lease_changes: &mut changes };
            let got = kv::apply_put(&mut self.store, &put, &mut context).map_err(convert::error);
            let wanted = self.model.put(&put).map(Response::Put);
            assert_eq!(got.map(|answer| convert::answer(&answer)), wanted);
        }
    }

    fn steps(&mut self, ops: usize, compact_one_in: u64) {
        for _ in 0..ops {
            self.write();
            if self.random.chance(3) {
                self.read();
            }
            if self.random.chance(compact_one_in) {
                self.compact();
            }
            if self.random.chance(4) {
                self.compact_step();
            }
            if self.random.chance(200) {
                self.store.census();
            }
        }
        while self.store.is_compacting() {
            self.compact_step();
        }
        let census = self.store.census();
        assert_eq!(census.live_keys as usize, self.model.live(&[0], &[0], i64::MAX).len());
        let newest = self.model.keys.values().filter_map(|versions| versions.last());
        let indexed = newest.filter(|version| !version.tombstone || version.main >= self.model.compacted).count();
        assert_eq!(census.index_keys, indexed, "compacted tombstones are gone, all other keys are there");
    }
}

fn small_keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> =
        vec![vec![0], vec![0, 0], vec![0xff], vec![0xff, 0xff], b"a".to_vec(), b"a\0".to_vec()];
    for i in 0..12u8 {
        keys.push(vec![b'a' + i]);
        keys.push([b"/registry/pods/".as_slice(), &[b'a' + i]].concat());
        keys.push([b"/registry/pods/default/pod-0000".as_slice(), &[b'0' + i]].concat());
    }
    keys
}

fn many_keys() -> Vec<Vec<u8>> {
    let deep = "x".repeat(100);
    (0..3000u64)
        .map(|i| match i % 4 {
            0 => format!("/registry/pods/ns-{}/pod-{:06}", i % 7, i * 7919 % 100_000).into_bytes(),
            1 => format!("/registry/leases/{deep}/{}", i * 31 % 977).into_bytes(),
            2 => Random(i).number().to_be_bytes()[..(i % 8) as usize + 1].to_vec(),
            _ => i.to_le_bytes().to_vec(),
        })
        .collect()
}

fn run(seed: u64, keys: Vec<Vec<u8>>, ops: usize, compact_one_in: u64) {
    println!("seed {seed}");
    Run::new(seed, keys).steps(ops, compact_one_in);
}

#[test]
fn few_keys_deep_history() {
    for seed in 0..12 {
        run(seed, small_keys(), 2500, 60);
    }
}

#[test]
fn few_keys_never_compacted() {
    run(100, small_keys(), 2500, u64::MAX);
}

#[test]
fn compaction_all_the_time() {
    for seed in 200..204 {
        run(seed, small_keys(), 2500, 3);
    }
}

#[test]
fn many_keys_wide_index() {
    for seed in 300..303 {
        println!("seed {seed}");
        let mut run = Run::new(seed, many_keys());
        run.fill();
        run.store.census();
        run.steps(1000, 50);
    }
}
